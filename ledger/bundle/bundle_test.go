package bundle

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func newKey(t testing.TB) hpke.PrivateKey {
	t.Helper()
	k, err := hpke.MLKEM768X25519().GenerateKey()
	check(t, err)
	return k
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// options are those of a bundle to the given keys.
func options(to ...hpke.PrivateKey) Options {
	o := Options{
		Rand: rand.Reader, Mesh: identity.MeshID{1, 2, 3}, Creator: identity.LogID{Author: identity.Key{7}, Incarnation: 2},
		Witness: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, 32)), Created: noon, Expires: noon.Add(240 * time.Hour),
	}
	for _, k := range to {
		o.Recipients = append(o.Recipients, k.PublicKey().Bytes())
	}
	return o
}

// heads is a frontier of n logs.
func heads(n int) ledger.Frontier {
	f := make(ledger.Frontier, n)
	for i := range f {
		f[i].Log.Author[0] = 1
		binary.BigEndian.PutUint32(f[i].Log.Author[8:], uint32(i))
		f[i].Next, f[i].ID = uint64(i+1), ledger.ID{byte(i)}
	}
	return f
}

// sample writes records of many sizes and returns the file and the records.
func sample(t testing.TB, o Options, n int) ([]byte, []Record) {
	t.Helper()
	var buf bytes.Buffer
	w, err := NewWriter(&buf, o)
	check(t, err)
	var want []Record
	for i := range n {
		data := bytes.Repeat([]byte{byte(i)}, 1+(i*7919)%3000)
		if i%50 == 49 {
			data = bytes.Repeat([]byte{byte(i)}, ledger.MaxBody) // spans blocks
		}
		r := Record{Type: []Type{Statement, Table, Header, Body, Entry}[i%5], Data: data}
		if r.Type == Body {
			r.Log, r.Seq = identity.LogID{Author: identity.Key{byte(i)}, Incarnation: uint32(i)}, uint64(i)
			check(t, w.Body(r.Log, r.Seq, data))
		} else {
			check(t, w.Put(r.Type, data))
		}
		want = append(want, r)
	}
	_, err = w.Close()
	check(t, err)
	return buf.Bytes(), want
}

// drain reads all that can be read, and how it ended.
func drain(r *Reader) (got []Record, err error) {
	for {
		rec, err := r.Next()
		if err != nil {
			return got, err
		}
		got = append(got, rec)
	}
}

func same(a, b Record) bool {
	return a.Type == b.Type && a.Log == b.Log && a.Seq == b.Seq && bytes.Equal(a.Data, b.Data)
}

func TestEveryRecordComesBack(t *testing.T) {
	us, them := newKey(t), newKey(t)
	o := options(them, us)
	o.Frontier, o.Planned = heads(1500), Counts{Headers: 5}
	file, want := sample(t, o, 400)
	r, err := NewReader(bytes.NewReader(file), newKey(t), us)
	check(t, err)
	m := r.Manifest()
	if m.Mesh != o.Mesh || m.Creator != o.Creator || !m.Created.Equal(o.Created) || !m.Expires.Equal(o.Expires) ||
		m.Planned != o.Planned || m.Frontier.Hash() != o.Frontier.Hash() || m.Witness != identity.KeyOf(o.Witness) {
		t.Fatalf("the manifest came back as %+v", m)
	}
	got, err := drain(r)
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d of %d records", len(got), len(want))
	}
	for i := range got {
		if !same(got[i], want[i]) {
			t.Fatalf("record %d is another", i)
		}
	}
	if rep := r.Report(); rep.Read != rep.Held || rep.Read.Headers != 160 || rep.Read.Bodies != 160 || rep.Cut || rep.Damaged != 0 {
		t.Fatalf("report %+v", rep)
	}
}

func TestOnlyRecipientsRead(t *testing.T) {
	us := newKey(t)
	file, _ := sample(t, options(us), 3)
	if _, err := NewReader(bytes.NewReader(file), newKey(t)); !errors.Is(err, ErrNotForUs) {
		t.Fatal(err)
	}
	if _, err := NewReader(bytes.NewReader(file)); !errors.Is(err, ErrNotForUs) {
		t.Fatal(err)
	}
	pub := us.PublicKey().Bytes()
	if bytes.Contains(file, pub[:16]) || bytes.Contains(file, pub[len(pub)-16:]) {
		t.Fatal("the clear part names its recipient")
	}
}

// A cut anywhere costs what is behind it and nothing else.
func TestCutAnywhere(t *testing.T) {
	us := newKey(t)
	file, want := sample(t, options(us), 120)
	start := len(magic) + 1 + nonceSize + 2 + wrapSize
	for _, at := range append(everyNth(len(file), 997), start, start+BlockSize+tagSize, start+2*(BlockSize+tagSize), len(file)-1) {
		r, err := NewReader(bytes.NewReader(file[:at]), us)
		if err != nil {
			if at > start+BlockSize+tagSize || !errors.Is(err, ErrCut) && !errors.Is(err, ErrFormat) && !errors.Is(err, ErrDamaged) {
				t.Fatalf("cut at %d: %v", at, err)
			}
			continue
		}
		got, err := drain(r)
		if !errors.Is(err, ErrCut) || !r.Report().Cut {
			t.Fatalf("cut at %d of %d: %v", at, len(file), err)
		}
		bytesRead := 0
		for i := range got {
			if !same(got[i], want[i]) {
				t.Fatalf("cut at %d: record %d is another", at, i)
			}
			bytesRead += len(got[i].Data)
		}
		if whole := (at - start) / (BlockSize + tagSize) * BlockSize; bytesRead+2*MaxRecord < whole {
			t.Fatalf("cut at %d: %d bytes of records from %d bytes of whole blocks", at, bytesRead, whole)
		}
	}
}

func everyNth(n, step int) (out []int) {
	for i := 0; i < n; i += step {
		out = append(out, i)
	}
	return out
}

// One changed byte costs its block, is reported, and shows nothing wrong.
func TestOneChangedByte(t *testing.T) {
	us := newKey(t)
	file, want := sample(t, options(us), 120)
	start := len(magic) + 1 + nonceSize + 2 + wrapSize
	for _, at := range everyNth(len(file), 1009) {
		bad := bytes.Clone(file)
		bad[at] ^= 0x40
		r, err := NewReader(bytes.NewReader(bad), us)
		if err != nil {
			if at >= start+BlockSize+tagSize {
				t.Fatalf("byte %d: %v", at, err)
			}
			continue
		}
		got, err := drain(r)
		if errors.Is(err, io.EOF) {
			t.Fatalf("byte %d: nothing noticed", at)
		}
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrCut) {
			t.Fatalf("byte %d: %v", at, err)
		}
		next := 0
		for _, g := range got { // a part of what was written, in order
			for next < len(want) && !same(g, want[next]) {
				next++
			}
			if next == len(want) {
				t.Fatalf("byte %d: a record that was never written", at)
			}
			next++
		}
		if lost := len(want) - len(got); lost > 110 {
			t.Fatalf("byte %d: %d of %d records lost with one block", at, lost, len(want))
		}
	}
}

// Blocks cannot be swapped, dropped or taken from another file.
func TestBlocksStayInPlace(t *testing.T) {
	us := newKey(t)
	file, _ := sample(t, options(us), 120)
	start, size := len(magic)+1+nonceSize+2+wrapSize, BlockSize+tagSize
	block := func(i int) []byte { return file[start+i*size : start+(i+1)*size] }
	swapped := bytes.Join([][]byte{file[:start], block(0), block(2), block(1), file[start+3*size:]}, nil)
	dropped := bytes.Join([][]byte{file[:start], block(0), file[start+2*size:]}, nil)
	for name, bad := range map[string][]byte{"swapped": swapped, "dropped": dropped} {
		r, err := NewReader(bytes.NewReader(bad), us)
		check(t, err)
		if _, err := drain(r); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrCut) {
			t.Errorf("%s: %v", name, err)
		}
		if r.Report().Damaged == 0 {
			t.Errorf("%s: no block counted", name)
		}
	}
}

// A manifest whose signature is not its witness key's is refused, and so is one
// that was signed for another file key or clear part.
func TestManifestIsSigned(t *testing.T) {
	m := Manifest{Witness: identity.KeyOf(options().Witness), Created: noon, commitment: keyCommitment(make([]byte, 32))}
	raw, err := m.marshal()
	check(t, err)
	signed := append(bytes.Clone(raw), identity.Sign(options().Witness, Domain, raw)...)
	if _, _, _, err := readManifest(signed); err != nil {
		t.Fatal(err)
	}
	for i := range signed {
		bad := bytes.Clone(signed)
		bad[i] ^= 1
		if _, _, _, err := readManifest(bad); err == nil {
			t.Fatalf("byte %d may be changed", i)
		}
	}
	r := &Reader{open: &blocks{clear: [32]byte{1}}}
	var head []byte
	head = append(head, byte(typeManifest), 0, byte(len(signed)>>8), byte(len(signed)))
	r.buf, r.index = append(head, signed...), 1
	if err := r.readManifest(m.commitment); !errors.Is(err, ErrDamaged) {
		t.Fatalf("a manifest of another file: %v", err)
	}
	r = &Reader{open: &blocks{}, buf: append(bytes.Clone(head), signed...), index: 1}
	if err := r.readManifest([32]byte{5}); !errors.Is(err, ErrDamaged) {
		t.Fatalf("a manifest that commits to another key: %v", err)
	}
}

// What does not fit is refused, what fits is a whole bundle.
func TestLimit(t *testing.T) {
	us := newKey(t)
	o := options(us)
	o.Limit = 200_000
	var buf bytes.Buffer
	w, err := NewWriter(&buf, o)
	check(t, err)
	n := 0
	for {
		if err = w.Put(Header, make([]byte, 5000)); err != nil {
			break
		}
		n++
	}
	if !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	check(t, w.Put(Statement, []byte("a small one may still fit")))
	_, err = w.Close()
	check(t, err)
	if int64(buf.Len()) > o.Limit || int64(buf.Len()) < o.Limit-3*5000 {
		t.Fatalf("%d bytes under a limit of %d", buf.Len(), o.Limit)
	}
	r, err := NewReader(&buf, us)
	check(t, err)
	got, err := drain(r)
	if !errors.Is(err, io.EOF) || len(got) != n+1 {
		t.Fatalf("%d of %d records: %v", len(got), n+1, err)
	}
}

func TestBadOptions(t *testing.T) {
	us := newKey(t)
	for name, change := range map[string]func(*Options){
		"no recipient":  func(o *Options) { o.Recipients = nil },
		"short key":     func(o *Options) { o.Recipients = [][]byte{{1, 2}} },
		"too many":      func(o *Options) { o.Recipients = make([][]byte, MaxRecipients+1) },
		"no witness":    func(o *Options) { o.Witness = nil },
		"no randomness": func(o *Options) { o.Rand = nil },
		"expired":       func(o *Options) { o.Expires = o.Created.Add(-time.Second) },
		"unset clock":   func(o *Options) { o.Created = time.Time{} },
	} {
		o := options(us)
		change(&o)
		if _, err := NewWriter(io.Discard, o); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// memSource is a Source of entries signed here.
type memSource map[ledger.LogID][]*ledger.Entry

func (m memSource) Frontier() (f ledger.Frontier) {
	for id, es := range m {
		f = append(f, ledger.Head{Log: id, Next: uint64(len(es)), ID: es[len(es)-1].ID()})
	}
	sortFrontier(f)
	return f
}

func (m memSource) Entries(_ context.Context, id ledger.LogID, from, to uint64, fn func(*ledger.Entry) error) error {
	for _, e := range m[id][from:min(to, uint64(len(m[id])))] {
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

func (m memSource) Entry(_ context.Context, id ledger.LogID, seq uint64) (*ledger.Entry, error) {
	return m[id][seq], nil
}

func sortFrontier(f ledger.Frontier) {
	for i := range f {
		for j := i; j > 0 && f[j-1].Log.Compare(f[j].Log) > 0; j-- {
			f[j-1], f[j] = f[j], f[j-1]
		}
	}
}

// newSource has logs of a credential, an epoch and messages of all priorities.
func newSource(t testing.TB, logs, entries int) memSource {
	t.Helper()
	m := make(memSource)
	for l := range logs {
		key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(l + 1)}, 32))
		id := identity.LogID{Author: identity.KeyOf(key)}
		var prev ledger.ID
		for i := range entries {
			h := ledger.Header{Seq: uint64(i), Prev: prev, Kind: ledger.KindData, HLC: uint64(noon.Add(time.Duration(i)*time.Minute).UnixMilli()) << 16}
			switch {
			case i == 0:
				h.Kind = ledger.KindControl
			case i == 1:
				h.Kind = ledger.KindEpoch
			default:
				h.Priority = ledger.Priority(i % 3)
				h.GroupTag = [16]byte{1}
			}
			v, err := ledger.Sign(key, h, []byte(fmt.Sprintf("log %d entry %d", l, i)))
			check(t, err)
			prev = v.Entry().ID()
			m[id] = append(m[id], v.Entry())
		}
	}
	return m
}

// A reader can use every record the moment it comes: the header of a body, and
// of all entries before it in its log, came earlier; and what is urgent is in
// the first part of the file.
func TestUrgentFirstAndAlwaysUsable(t *testing.T) {
	us := newKey(t)
	src := newSource(t, 4, 60)
	plan, err := NewPlan(t.Context(), src, nil, [][]byte{[]byte("a list of revocations")}, nil)
	check(t, err)
	o := options(us)
	o.Frontier, o.Planned = plan.Frontier(), plan.Counts()
	var buf bytes.Buffer
	w, err := NewWriter(&buf, o)
	check(t, err)
	check(t, plan.Write(t.Context(), src, w, nil))
	counts, err := w.Close()
	check(t, err)
	if counts != plan.Counts() {
		t.Fatalf("planned %+v, written %+v", plan.Counts(), counts)
	}
	r, err := NewReader(&buf, us)
	check(t, err)
	got, err := drain(r)
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	next := make(map[ledger.LogID]uint64)
	byPlace := make(map[string]*ledger.Entry)
	var order []ledger.Priority
	for i, rec := range got {
		switch rec.Type {
		case Header:
			v, err := ledger.VerifyHeader(rec.Data)
			check(t, err)
			if v.Header.Seq != next[v.Header.Log()] {
				t.Fatalf("record %d is header %d of a log that is at %d", i, v.Header.Seq, next[v.Header.Log()])
			}
			next[v.Header.Log()]++
			byPlace[fmt.Sprint(v.Header.Log(), v.Header.Seq)] = v
		case Entry:
			v, err := ledger.Verify(rec.Data)
			check(t, err)
			if v.Entry().Header.Seq != 0 || next[v.Entry().Header.Log()] != 0 {
				t.Fatalf("record %d is a whole entry at %d", i, v.Entry().Header.Seq)
			}
			next[v.Entry().Header.Log()]++
		case Body:
			e := byPlace[fmt.Sprint(rec.Log, rec.Seq)]
			if e == nil {
				t.Fatalf("record %d is a body without its header", i)
			}
			if e.Header.Kind == ledger.KindData {
				order = append(order, e.Header.Priority)
			}
		}
	}
	for i := 1; i < len(order); i++ {
		if order[i] > order[i-1] {
			t.Fatalf("message %d is more urgent than the one before it", i)
		}
	}
	if len(order) != 4*58 {
		t.Fatalf("%d messages", len(order))
	}
}

// The stick that returns carries exactly the difference.
func TestDifferenceOnly(t *testing.T) {
	src := newSource(t, 3, 20)
	theirs := src.Frontier()
	fifteenth, err := src.Entry(t.Context(), theirs[0].Log, 14)
	check(t, err)
	theirs[0].Next, theirs[0].ID = 15, fifteenth.ID()
	plan, err := NewPlan(t.Context(), src, theirs[:2], nil, nil)
	check(t, err)
	if c := plan.Counts(); c.Headers != 5+20 || c.Bodies != 5+20 {
		t.Fatalf("%+v", c)
	}
	theirs[0].ID[0]++ // another branch: the place where they part is among all of it
	plan, err = NewPlan(t.Context(), src, theirs[:2], nil, nil)
	check(t, err)
	if c := plan.Counts(); c.Headers != 20+20 {
		t.Fatalf("to a reader with another branch: %+v", c)
	}
	plan, err = NewPlan(t.Context(), src, src.Frontier(), nil, nil)
	check(t, err)
	if c := plan.Counts(); c != (Counts{}) {
		t.Fatalf("nothing differs, and it holds %+v", c)
	}
}

func FuzzReader(f *testing.F) {
	us := newKey(f)
	file, _ := sample(f, options(us), 8)
	f.Add(file)
	f.Add(file[:2000])
	f.Add([]byte("TOCSIN\x00B"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := NewReader(bytes.NewReader(data), us)
		if err != nil {
			return
		}
		_, err = drain(r)
		if errors.Is(err, io.EOF) && !bytes.Equal(data, file) {
			t.Fatal("another file was taken for a whole bundle")
		}
	})
}

// FuzzRecords feeds the parser below the seal, where an insider's bytes arrive.
func FuzzRecords(f *testing.F) {
	f.Add([]byte{5, 0, 0, 2, 1, 2, 7, 0, 0, 0})
	f.Add(append([]byte{6, 0, 0, 44}, make([]byte, 44)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &Reader{open: &blocks{}, buf: data, index: 1, final: true}
		got, err := drain(r)
		if err == nil {
			t.Fatal("no end")
		}
		total := 0
		for _, rec := range got {
			total += len(rec.Data)
		}
		if total > len(data) {
			t.Fatal("more was read than there is")
		}
	})
}
