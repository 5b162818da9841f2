package ledger_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"tocsin/ledger"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

const vectorFile = "testdata/vectors.json"

// vectors is the form of testdata/vectors.json, for other implementations too.
// All bytes are in hexadecimal.
type vectors struct {
	Comment  string
	Entries  []entryVector
	Invalid  []invalidVector
	Frontier struct{ Encoded, Hash string }
}

type entryVector struct {
	Name, Seed, Header, ID, Signature, Body, Frame string
}

type invalidVector struct{ Name, Frame, Reason string }

// makeVectors builds the vectors from fixed seeds.
func makeVectors(t *testing.T) vectors {
	v := vectors{Comment: "FORMAT.md of package ledger; rewrite with: go test ./ledger -run TestVectors -update"}
	d := newDevice("vectors")
	var log []ledger.Verified
	sign := func(name string, h ledger.Header, body string) *ledger.Entry {
		h.Seq = uint64(len(log))
		if len(log) > 0 {
			h.Prev = log[len(log)-1].Entry().ID()
		}
		e := d.sign(t, h, body)
		log = append(log, e)
		v.Entries = append(v.Entries, vectorOf(d, name, e.Entry()))
		return e.Entry()
	}
	first := sign("first entry of a log", ledger.Header{Kind: ledger.KindControl}, "credential")
	full := fullHeader()
	sign("all fields, eight refs", ledger.Header{
		Kind: ledger.KindData, Priority: ledger.Stat, GroupTag: full.GroupTag, LifetimeS: 86400, Commit: full.Commit, Refs: full.Refs,
	}, "sealed message")
	sign("epoch with commitment", ledger.Header{Kind: ledger.KindEpoch, Priority: ledger.Urgent, Commit: full.Commit}, "\x01")
	sign("broadcast, one ref", ledger.Header{Kind: ledger.KindBroadcast, Commit: full.Commit, Refs: full.Refs[:1]}, "sealed")
	last := sign("empty body", ledger.Header{Kind: ledger.KindControl}, "")

	bad := func(name string, e *ledger.Entry, change func([]byte) []byte) {
		frame := change(bytes.Clone(e.Frame()))
		_, err := ledger.Verify(frame)
		if !errors.Is(err, ledger.ErrInvalid) {
			t.Fatalf("%s: %v, want ErrInvalid", name, err)
		}
		v.Invalid = append(v.Invalid, invalidVector{name, hex.EncodeToString(frame), strings.TrimPrefix(err.Error(), ledger.ErrInvalid.Error()+": ")})
	}
	set := func(at int, b byte) func([]byte) []byte {
		return func(f []byte) []byte { f[at] = b; return f }
	}
	bad("version", first, set(2, 2))
	bad("kind", first, set(2+85, 9))
	bad("priority", first, set(2+86, 3))
	bad("group tag of a control entry", first, set(2+87, 1))
	bad("commitment of a control entry", first, set(2+143, 1))
	bad("prev of the first entry", first, set(2+45, 1))
	bad("refs out of order", log[1].Entry(), set(2+ledger.MinHeader, 0xff))
	bad("signature", first, func(f []byte) []byte { f[2+ledger.MinHeader] ^= 1; return f })
	bad("body", first, func(f []byte) []byte { f[len(f)-1] ^= 1; return f })
	bad("one byte more", last, func(f []byte) []byte { return append(f, 0) })
	bad("one byte less", last, func(f []byte) []byte { return f[:len(f)-1] })
	bad("nothing", last, func([]byte) []byte { return nil })

	f := testFrontier()
	b, err := f.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	hash := f.Hash()
	v.Frontier.Encoded, v.Frontier.Hash = hex.EncodeToString(b), hex.EncodeToString(hash[:])
	return v
}

func vectorOf(d *device, name string, e *ledger.Entry) entryVector {
	signed := e.SignedHeader()
	return entryVector{
		Name:      name,
		Seed:      hex.EncodeToString(d.key.Seed()),
		Header:    hex.EncodeToString(signed[:len(signed)-ledger.SignatureSize]),
		ID:        e.ID().String(),
		Signature: hex.EncodeToString(e.Signature[:]),
		Body:      hex.EncodeToString(e.Body),
		Frame:     hex.EncodeToString(e.Frame()),
	}
}

func testFrontier() ledger.Frontier {
	return ledger.Frontier{
		{Log: ledger.LogID{Author: [32]byte{1}}, Next: 1, ID: ledger.ID{1}},
		{Log: ledger.LogID{Author: [32]byte{1}, Incarnation: 1}, Next: 300, ID: ledger.ID{2}},
		{Log: ledger.LogID{Author: [32]byte{2}}, Next: ledger.MaxSeq + 1, ID: ledger.ID{3}},
	}
}

func readVectors(t testing.TB) vectors {
	t.Helper()
	b, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestVectors compares what this code makes with the file, byte by byte.
func TestVectors(t *testing.T) {
	got, err := json.MarshalIndent(makeVectors(t), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(vectorFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("the encoding changed: every device would have to be updated at once. If that is meant, run with -update and raise the version")
	}
}

// TestVectorsRead takes the file as another implementation would.
func TestVectorsRead(t *testing.T) {
	v := readVectors(t)
	l := openMem(t)
	for _, e := range v.Entries {
		frame := unhex(t, e.Frame)
		got, err := ledger.Verify(frame)
		if err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
		key := ed25519.NewKeyFromSeed(unhex(t, e.Seed))
		again, err := ledger.Sign(key, got.Entry().Header, unhex(t, e.Body))
		if err != nil || !bytes.Equal(again.Entry().Frame(), frame) {
			t.Errorf("%s: signing again gives other bytes: %v", e.Name, err)
		}
		if got.Entry().ID().String() != e.ID {
			t.Errorf("%s: id %s", e.Name, got.Entry().ID())
		}
		add(t, l, got, ledger.Appended)
	}
	for _, bad := range v.Invalid {
		if _, err := ledger.Verify(unhex(t, bad.Frame)); !errors.Is(err, ledger.ErrInvalid) || !strings.Contains(err.Error(), bad.Reason) {
			t.Errorf("%s: %v, want %q", bad.Name, err, bad.Reason)
		}
	}
	f, err := ledger.ParseFrontier(unhex(t, v.Frontier.Encoded))
	if err != nil {
		t.Fatal(err)
	}
	if hash := f.Hash(); hex.EncodeToString(hash[:]) != v.Frontier.Hash {
		t.Errorf("frontier hash %x", hash)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
