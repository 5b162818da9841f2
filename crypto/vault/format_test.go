package vault

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"flag"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the sample vault of testdata anew")

// TestSampleVault opens a vault that an earlier build wrote: the format does
// not change unseen.
func TestSampleVault(t *testing.T) {
	const sampleDir = "testdata/format2"
	names := []string{headerName, journalName, headName, slotsName, triesName}
	if *update {
		d, _ := sample(t)
		if err := os.MkdirAll(sampleDir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(sampleDir, name), d.names[name].data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	dir := t.TempDir()
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(sampleDir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	v, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if err := v.Unlock(testPass); err != nil {
		t.Fatal(err)
	}
	equal(t, contents(t, v), map[string]string{"b": "second", "c": "", "d": "fourth"})
}

func TestGeneratePassphrase(t *testing.T) {
	seen := map[string]bool{}
	for range 50 {
		p, err := GeneratePassphrase(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(strings.Split(p, " ")); n != passphraseWords || seen[p] {
			t.Fatalf("%d words, seen before: %v", n, seen[p])
		}
		if err := checkPassphrase([]byte(p)); err != nil {
			t.Fatal(err)
		}
		seen[p] = true
	}
	same := func() string {
		p, err := GeneratePassphrase(mrand.NewChaCha8([32]byte{1}))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if same() != same() {
		t.Error("the passphrase does not come from the given randomness alone")
	}
	if _, err := GeneratePassphrase(bytes.NewReader(nil)); err == nil {
		t.Error("a passphrase without randomness")
	}
}

func FuzzHeader(f *testing.F) {
	d, _ := sample(f)
	f.Add(d.names[headerName].data[:headerSize])
	f.Add([]byte(headerMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == headerSize { // past the checksum
			sum := sha256.Sum256(b[:headerSize-sha256.Size])
			copy(b[headerSize-sha256.Size:], sum[:])
		}
		h, err := parseHeader(b)
		if err != nil {
			return
		}
		if !bytes.Equal(h.marshal(), b) {
			t.Fatal("a second encoding")
		}
		if h.params.MemoryKiB > maxMemoryKiB || h.params.Time > maxTime {
			t.Fatalf("%+v", h.params)
		}
	})
}

func FuzzManifest(f *testing.F) {
	good, err := marshalManifest([32]byte{1}, []change{
		{key: "a", version: 7, size: sealOverhead + 3, slot: noSlot}, {key: "b", version: 8, deleted: true, slot: noSlot},
		{key: pinKey, version: 9, size: sealOverhead, slot: 3}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, uint32(2*sealOverhead+3))
	f.Add([]byte{}, uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, valuesLen uint32) {
		hash, changes, err := parseManifest(b, valuesLen)
		if err != nil {
			return
		}
		again, err := marshalManifest(hash, changes)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("a second encoding: %v", err)
		}
	})
}

func FuzzPreambleAndFrame(f *testing.F) {
	p := preamble{id: [idSize]byte{1}, generation: 2, firstVersion: 3, marker: [markerSize]byte{4}}
	f.Add(p.marshal(), frame{1, [32]byte{9}, 2, 3}.append(nil, p.marker))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		got, err := parsePreamble(a)
		if err != nil {
			return
		}
		if !bytes.Equal(got.marshal(), a) {
			t.Fatal("a second encoding of a preamble")
		}
		if fr, ok := parseFrame(b, got.marker); ok && !bytes.Equal(fr.append(nil, got.marker), b[:frameSize]) {
			t.Fatal("a second encoding of a frame")
		}
	})
}

// FuzzTail puts any bytes behind a good journal: they are cut or refused, and
// never change what it holds.
func FuzzTail(f *testing.F) {
	d, want := sample(f)
	at := records(f, d)
	whole := d.names[journalName].data
	f.Add([]byte{})
	f.Add(whole[at[0]:])
	f.Add(whole[at[2] : at[3]-1])
	f.Fuzz(func(t *testing.T, tail []byte) {
		v, err := unlockOn(with(d, journalName, func(b []byte) []byte { return append(b, tail...) }))
		if err == nil {
			equal(t, contents(t, v), want)
		}
	})
}
