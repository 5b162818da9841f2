package bundle

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// paperLog signs n entries of a log, with bodies of different lengths.
func paperLog(t testing.TB, seed byte, n int) []*ledger.Entry {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32))
	var out []*ledger.Entry
	var prev ledger.ID
	for i := range n {
		h := ledger.Header{Seq: uint64(i), Prev: prev, Kind: ledger.KindControl, HLC: uint64(noon.UnixMilli()) << 16}
		if i > 0 {
			h.Kind, h.Priority, h.GroupTag, h.Commit = ledger.KindData, ledger.Stat, [16]byte{9}, [32]byte{8}
			h.Refs = []ledger.Ref{{Log: [8]byte{1, byte(i)}, Seq: 7, ID: ledger.ID{5}}}
		}
		v, err := ledger.Sign(key, h, bytes.Repeat([]byte{byte(i + 1)}, 100+77*i))
		check(t, err)
		prev = v.Entry().ID()
		out = append(out, v.Entry())
	}
	return out
}

// headerOnly is an entry whose body is not printed.
func headerOnly(t testing.TB, e *ledger.Entry) *ledger.Entry {
	t.Helper()
	h, err := ledger.VerifyHeader(e.SignedHeader())
	check(t, err)
	return h
}

var paperKey = [32]byte{7, 7}

func sheetOf(t testing.TB, runs ...PaperRun) []byte {
	t.Helper()
	content, err := SealPaper(rand.Reader, identity.MeshID{1}, 3, paperKey, runs)
	check(t, err)
	return content
}

func TestPaperCarriesEntries(t *testing.T) {
	a, b := paperLog(t, 1, 4), paperLog(t, 2, 3)
	a[2] = headerOnly(t, a[2])
	runs := []PaperRun{a, b[1:]}
	content := sheetOf(t, runs...)
	if want := PaperCount(PaperRun(a).PaperSize() + PaperRun(b[1:]).PaperSize()); want != (len(content)+paperPart-1)/paperPart {
		t.Errorf("%d codes foretold, %d made", want, (len(content)+paperPart-1)/paperPart)
	}
	if n, err := PaperNumber(content); err != nil || n != 3 {
		t.Fatal(n, err)
	}
	got, err := OpenPaper(identity.MeshID{1}, paperKey, content)
	check(t, err)
	var want []Record
	for _, e := range slices.Concat(a, b[1:]) {
		switch {
		case e.Header.Seq == 0:
			want = append(want, Record{Type: Entry, Data: e.Frame()})
		case e.Body == nil:
			want = append(want, Record{Type: Header, Data: e.SignedHeader()})
		default:
			want = append(want, Record{Type: Header, Data: e.SignedHeader()}, Record{Type: Body, Data: e.Body, Log: e.Header.Log(), Seq: e.Header.Seq})
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range got {
		if !same(got[i], want[i]) {
			t.Errorf("record %d is another", i)
		}
	}
}

// Whoever finds the paper, or has another mesh's key, learns nothing; one changed
// byte anywhere is told.
func TestPaperIsSealed(t *testing.T) {
	a := paperLog(t, 1, 2)
	content := sheetOf(t, a)
	for _, secret := range [][]byte{a[0].Header.Author[:8], a[1].Body[:8], a[1].Header.GroupTag[:]} {
		if bytes.Contains(content, secret) {
			t.Error("the sheet shows what it carries")
		}
	}
	for i := range content {
		bad := bytes.Clone(content)
		bad[i] ^= 4
		if _, err := OpenPaper(identity.MeshID{1}, paperKey, bad); !errors.Is(err, ErrNotForUs) && !errors.Is(err, ErrFormat) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	if _, err := OpenPaper(identity.MeshID{2}, paperKey, content); !errors.Is(err, ErrNotForUs) {
		t.Error(err)
	}
	if _, err := OpenPaper(identity.MeshID{1}, [32]byte{1}, content); !errors.Is(err, ErrNotForUs) {
		t.Error(err)
	}
}

// A run that is not one, and an empty sheet, are not written.
func TestPaperRefuses(t *testing.T) {
	a, b := paperLog(t, 1, 4), paperLog(t, 2, 2)
	for name, runs := range map[string][]PaperRun{
		"gap": {{a[0], a[2]}}, "another log": {{a[0], b[1]}}, "order": {{a[1], a[0]}}, "nothing": {{}}, "none": nil,
	} {
		if _, err := SealPaper(rand.Reader, identity.MeshID{}, 1, paperKey, runs); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}

var codeForm = regexp.MustCompile(`^[0-9A-Z]+$`)

// Codes of several sheets in any order, some twice, put every sheet together.
func TestPaperCodesInAnyOrder(t *testing.T) {
	var all []string
	want := make(map[string][]byte)
	for i := range 3 {
		content := make([]byte, 1+i*601)
		rand.Read(content)
		codes, err := PaperCodes(content)
		check(t, err)
		for _, c := range codes {
			if len(c) >= 120 || !codeForm.MatchString(c) {
				t.Fatalf("a code of %d characters: %s", len(c), c)
			}
		}
		all = append(append(all, codes...), codes[0])
		want[sheetName(content)] = content
	}
	mrand.New(mrand.NewPCG(1, 2)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	var c PaperCollector
	for _, code := range all {
		check(t, c.Add(code))
	}
	sheets := c.Sheets()
	if len(sheets) != 3 {
		t.Fatalf("%d sheets", len(sheets))
	}
	for _, s := range sheets {
		if !bytes.Equal(s.Content, want[s.ID]) || s.Missing != nil || s.Problem != "" {
			t.Errorf("sheet %s: %+v", s.ID, s)
		}
	}
}

// What is missing is named, and a code that was altered is refused by itself.
func TestPaperCodeMissingOrAltered(t *testing.T) {
	content := bytes.Repeat([]byte("tocsin"), 50)
	codes, err := PaperCodes(content)
	check(t, err)
	var c PaperCollector
	for i, code := range codes {
		if i == 1 {
			continue
		}
		check(t, c.Add(code))
	}
	for at := range codes[1] {
		for _, other := range []byte{'0', '7', 'Z'} {
			if codes[1][at] == other {
				continue
			}
			bad := []byte(codes[1])
			bad[at] = other
			if err := c.Add(string(bad)); !errors.Is(err, ErrCode) {
				t.Fatalf("character %d changed to %c: %v", at, other, err)
			}
		}
	}
	swapped := []byte(codes[1])
	swapped[30], swapped[31] = swapped[31], swapped[30]
	if swapped[30] != swapped[31] {
		if err := c.Add(string(swapped)); !errors.Is(err, ErrCode) {
			t.Error("two characters exchanged:", err)
		}
	}
	s := c.Sheets()[0]
	if !slices.Equal(s.Missing, []int{2}) || s.Content != nil || s.Count != len(codes) {
		t.Fatalf("%+v", s)
	}
	check(t, c.Add(codes[1]))
	if s := c.Sheets()[0]; !bytes.Equal(s.Content, content) {
		t.Fatal("the sheet is not whole")
	}
}

// What a person types: small letters, spaces and dashes, letters for digits.
func TestPaperTyped(t *testing.T) {
	content := bytes.Repeat([]byte{0, 1, 2}, 30)
	codes, err := PaperCodes(content)
	check(t, err)
	var c PaperCollector
	for _, code := range codes {
		typed := strings.ToLower(strings.NewReplacer("0", "O", "1", "l").Replace(code))
		for i := 5; i < len(typed); i += 6 {
			typed = typed[:i] + []string{" ", "-"}[i%2] + typed[i:]
		}
		if !IsPaperCode(typed) {
			t.Fatal("not known as a code")
		}
		check(t, c.Add(typed))
	}
	if s := c.Sheets()[0]; !bytes.Equal(s.Content, content) {
		t.Fatalf("%+v", s)
	}
	for _, no := range []string{"", "TP1", "hello", strings.Repeat("T", 5000), codes[0] + "A", codes[0][:len(codes[0])-1], "Ü" + codes[0]} {
		if err := c.Add(no); !errors.Is(err, ErrCode) {
			t.Errorf("%.20q: %v", no, err)
		}
	}
}

// forged is a code of another content under the name of a sheet.
func forged(code string, part []byte) string {
	body := code[:paperHead] + base32(part)
	return body + codeCheck(body)
}

// Codes that were made to contradict each other spoil their sheet, which says so,
// and no other.
func TestPaperContradiction(t *testing.T) {
	content := bytes.Repeat([]byte("x"), 150)
	codes, err := PaperCodes(content)
	check(t, err)
	for name, add := range map[string][]string{
		"one place twice":    append(slices.Clone(codes), forged(codes[0], make([]byte, paperPart))),
		"not what was named": {forged(codes[0], make([]byte, paperPart)), codes[1], codes[2]},
		"another count": append(slices.Clone(codes), func() string {
			b := codes[0][:paperHead-2] + number32(7) + codes[0][paperHead:len(codes[0])-4]
			return b + codeCheck(b)
		}()),
	} {
		var c PaperCollector
		for _, code := range add {
			check(t, c.Add(code))
		}
		other, err := PaperCodes([]byte("another sheet"))
		check(t, err)
		check(t, c.Add(other[0]))
		sheets := c.Sheets()
		if sheets[0].Problem == "" || sheets[0].Content != nil || string(sheets[1].Content) != "another sheet" {
			t.Errorf("%s: %+v", name, sheets)
		}
	}
}

func TestPaperLimits(t *testing.T) {
	for _, n := range []int{0, MaxPaperCodes*paperPart + 1} {
		if _, err := PaperCodes(make([]byte, n)); err == nil {
			t.Errorf("%d bytes are written", n)
		}
	}
	codes, err := PaperCodes(make([]byte, MaxPaperCodes*paperPart))
	check(t, err)
	var c PaperCollector
	for _, code := range codes {
		check(t, c.Add(code))
	}
	if s := c.Sheets()[0]; len(s.Content) != MaxPaperCodes*paperPart {
		t.Fatal("the largest sheet does not come back")
	}
	for i := range maxSheets + 5 {
		codes, err := PaperCodes(fmt.Appendf(nil, "sheet %d", i))
		check(t, err)
		if err := c.Add(codes[0]); (err == nil) != (i < maxSheets-1) {
			t.Fatalf("sheet %d: %v", i, err)
		}
	}
}

// FuzzPaperCode: a code that is taken is written again as it was, typed in any way.
func FuzzPaperCode(f *testing.F) {
	codes, err := PaperCodes(bytes.Repeat([]byte("seed"), 40))
	check(f, err)
	for _, c := range codes {
		f.Add(c)
	}
	f.Add("TP1")
	f.Fuzz(func(t *testing.T, typed string) {
		p, err := parseCode(typed)
		if err != nil {
			return
		}
		code := paperMagic + p.sheet + number32(p.index) + number32(p.count-1) + base32(p.part)
		if code += codeCheck(code); code != CleanCode(typed) {
			t.Fatalf("%q is read as %q", typed, code)
		}
	})
}

// FuzzPaperRuns: what is read of the inside of a sheet is sealed again to the
// same bytes, and nothing in it makes a reader fall over.
func FuzzPaperRuns(f *testing.F) {
	a := paperLog(f, 1, 3)
	for _, r := range []PaperRun{a, a[1:], {headerOnly(f, a[1])}} {
		raw, err := r.marshal()
		check(f, err)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		content := sealRaw(t, plain)
		records, err := OpenPaper(identity.MeshID{1}, paperKey, content)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		size := 0
		for _, r := range records {
			size += len(r.Data)
		}
		if len(records) > len(plain) || size > len(plain)+400*len(records) {
			t.Fatalf("%d records, %d bytes of %d", len(records), size, len(plain))
		}
	})
}

func sealRaw(t testing.TB, plain []byte) []byte {
	t.Helper()
	clear := make([]byte, paperClear)
	clear[0] = paperVersion
	aead, err := paperAEAD(identity.MeshID{1}, paperKey, clear)
	check(t, err)
	return aead.Seal(clear, make([]byte, aead.NonceSize()), plain, clear)
}
