package group

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"testing"
)

// The four benchmarks belong together: Seal and Open of 1 KiB, and beside
// them the primitives that suite 1 prescribes for it and nothing else, in their
// cheapest form; each result is in memory of its own, as a caller needs it. The
// aim is a ratio of at most 1.5 in one run:
//
//	go test ./crypto/group -run '^$' -bench 'Seal|Open' -count 6
const benchPayload = 1024

// benchPair is a sender and a receiver with an epoch that never runs out: its
// chains are put back when they come to an end.
func benchPair(b *testing.B) (alice, bob *device, id ID) {
	ds, id := meet(b, 2, start)
	for _, d := range ds {
		d.k.cfg.Rand = rand.Reader
	}
	return ds[0], ds[1], id
}

func BenchmarkSeal(b *testing.B) {
	alice, _, id := benchPair(b)
	payload := make([]byte, benchPayload)
	rewind := alice.rewinder(id, alice)
	b.SetBytes(benchPayload)
	b.ReportAllocs()
	for b.Loop() {
		s, err := alice.k.Seal(id, alice.place(), payload, start)
		if err != nil {
			b.Fatal(err)
		}
		if err := alice.k.Apply(s.Changes...); err != nil {
			b.Fatal(err)
		}
		if s.Generation == RotateGeneration-1 {
			rewind()
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	alice, bob, id := benchPair(b)
	payload := make([]byte, benchPayload)
	rewind := bob.rewinder(id, alice)
	var messages []sent
	for range RotateGeneration {
		messages = append(messages, alice.seal(id, string(payload), start))
	}
	b.SetBytes(benchPayload)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		m := &messages[i]
		_, changes, err := bob.k.Open(m.at, m.tag, m.commit, m.body, start)
		if err != nil {
			b.Fatal(err)
		}
		if err := bob.k.Apply(changes...); err != nil {
			b.Fatal(err)
		}
		if i++; i == len(messages) {
			i = 0
			rewind()
		}
	}
}

// rewinder returns a function that puts d's copy of the sender's chain back to
// its start.
func (d *device) rewinder(id ID, sender *device) func() {
	e := d.k.groups[id].parts[0].usable[0]
	first := e.chains[sender.log].change(e.id, sender.log)
	return func() {
		if err := d.k.Apply(first); err != nil {
			d.t.Fatal(err)
		}
	}
}

// primitives holds what the primitive benchmarks work on.
type primitives struct {
	ck, payload, plain, aad []byte
}

func newPrimitives() *primitives {
	size := padded(plainPrefix + benchPayload)
	return &primitives{ck: make([]byte, 32), payload: make([]byte, benchPayload), plain: make([]byte, size),
		aad: make([]byte, nailSize)}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// step derives a message's keys and the next chain key.
func (p *primitives) step(salt string) (keys []byte, aead cipher.AEAD) {
	// One keyed hash for both children, as in the package: the cheaper form.
	h := hmac.New(sha256.New, p.ck)
	h.Write([]byte(labelSeed + "\x01"))
	ms := h.Sum(nil)
	h.Reset()
	h.Write([]byte(labelNext + "\x01"))
	p.ck = h.Sum(p.ck[:0])
	keys = must(hkdf.Expand(sha256.New, ms, labelMessage+salt, messageKeys))
	return keys, must(cipher.NewGCM(must(aes.NewCipher(keys[:32]))))
}

func (p *primitives) commit(opening []byte) [32]byte {
	h := sha256.New()
	h.Write([]byte(labelCommit))
	h.Write(opening)
	h.Write(p.payload)
	return [32]byte(h.Sum(nil))
}

func BenchmarkSealPrimitives(b *testing.B) {
	p := newPrimitives()
	b.SetBytes(benchPayload)
	b.ReportAllocs()
	for b.Loop() {
		var drawn [48]byte
		must(io.ReadFull(rand.Reader, drawn[:]))
		p.commit(drawn[:32])
		keys, aead := p.step(string(drawn[32:]))
		aead.Seal(nil, keys[32:44], p.plain, p.aad)
	}
}

func BenchmarkOpenPrimitives(b *testing.B) {
	p := newPrimitives()
	salt := string(bytes.Repeat([]byte{7}, 16))
	keys, aead := p.step(salt)
	nonce := keys[32:44]
	// As many bodies as BenchmarkOpen has, for messages do not come from the
	// processor's cache.
	sealed := make([][]byte, RotateGeneration)
	for i := range sealed {
		sealed[i] = aead.Seal(nil, nonce, p.plain, p.aad)
	}
	b.SetBytes(benchPayload)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		p.step(salt)
		must(aead.Open(nil, nonce, sealed[i%len(sealed)], p.aad))
		p.commit(p.ck)
		i++
	}
}
