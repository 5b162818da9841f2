package badgerstore_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/ledger/badgerstore"
)

// The benchmarks of durable appends (docs/performance.md): entries are signed
// beforehand, so that the disk is what is measured. Compare the figures of one
// run only:
//
//	go test -run '^$' -bench . -benchtime 2s ./ledger/badgerstore

// benchBody is the length of each body: a short message, sealed.
const benchBody = 400

var benchTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type everyone struct{}

func (everyone) Known(identity.Key) bool   { return true }
func (everyone) Admit(*ledger.Entry) error { return nil }

func testDevice(name string) (ed25519.PrivateKey, ledger.LogID) {
	seed := sha256.Sum256([]byte(name))
	key := ed25519.NewKeyFromSeed(seed[:])
	return key, ledger.LogID{Author: identity.KeyOf(key)}
}

// signChain signs n entries of a log from seq 0.
func signChain(t testing.TB, name string, n int) (ledger.LogID, []ledger.Verified) {
	t.Helper()
	key, id := testDevice(name)
	vs := make([]ledger.Verified, 0, n)
	var prev ledger.ID
	for seq := range uint64(n) {
		h := ledger.Header{Seq: seq, Prev: prev, HLC: uint64(benchTime.UnixMilli())<<16 + seq, Kind: ledger.KindControl}
		body := make([]byte, benchBody)
		body[0] = byte(seq)
		v, err := ledger.Sign(key, h, body)
		if err != nil {
			t.Fatal(err)
		}
		prev = v.Entry().ID()
		vs = append(vs, v)
	}
	return id, vs
}

// openBench opens logs without budgets on a new store.
func openBench(b *testing.B) *ledger.Logs {
	b.Helper()
	s, err := badgerstore.Open(b.TempDir(), badgerstore.Options{Key: testKey})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	l, err := ledger.Open(context.Background(), ledger.Config{
		Store: s, Authors: everyone{}, Limits: ledger.Limits{DayHeaders: 1 << 31, DayBytes: 1 << 62},
	})
	if err != nil {
		b.Fatal(err)
	}
	return l
}

// BenchmarkBareFdatasync is the floor: the same bytes to a plain file.
func BenchmarkBareFdatasync(b *testing.B) {
	_, vs := signChain(b, "bare", 1)
	frame := vs[0].Entry().Frame()
	f, err := os.Create(filepath.Join(b.TempDir(), "bare"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.SetBytes(int64(len(frame)))
	for b.Loop() {
		if _, err := f.Write(frame); err != nil {
			b.Fatal(err)
		}
		if err := datasync(f); err != nil {
			b.Fatal(err)
		}
	}
	perEntry(b, 1)
}

// BenchmarkAppendSingle appends one entry after the other, each durable.
func BenchmarkAppendSingle(b *testing.B) {
	b.Run("foreign", func(b *testing.B) { benchForeign(b, 1) })
	b.Run("own", func(b *testing.B) { benchOwn(b, 1) })
}

// BenchmarkAppendBatch64 appends 64 entries with one call, durable together.
func BenchmarkAppendBatch64(b *testing.B) {
	b.Run("foreign", func(b *testing.B) { benchForeign(b, 64) })
	b.Run("own", func(b *testing.B) { benchOwn(b, 64) })
}

// perEntry reports how many entries were made durable in a second.
func perEntry(b *testing.B, batch int) {
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "entries/s")
}

func benchForeign(b *testing.B, batch int) {
	ctx := context.Background()
	l := openBench(b)
	var vs []ledger.Verified
	at, chains := 0, 0
	b.SetBytes(int64(batch * benchBody))
	for b.Loop() {
		if at+batch > len(vs) {
			b.StopTimer()
			chains++
			_, vs = signChain(b, fmt.Sprintf("foreign %d", chains), 8192)
			at = 0
			b.StartTimer()
		}
		out, err := l.AppendBatch(ctx, vs[at:at+batch], benchTime)
		if err != nil || out[0] != ledger.Appended {
			b.Fatal(out, err)
		}
		at += batch
	}
	perEntry(b, batch)
}

func benchOwn(b *testing.B, batch int) {
	ctx := context.Background()
	l := openBench(b)
	key, id := testDevice("own")
	g, err := l.Own(ctx, id)
	if err != nil {
		b.Fatal(err)
	}
	body := make([]byte, benchBody)
	b.SetBytes(int64(batch * benchBody))
	for b.Loop() {
		// Signing needs the place that the entry before leads to, so it cannot be
		// done beforehand; it is taken out of the time instead.
		b.StopTimer()
		p, err := g.Reserve(benchTime)
		if err != nil {
			b.Fatal(err)
		}
		vs := make([]ledger.Verified, 0, batch)
		for range batch {
			h := p.Header()
			h.Kind = ledger.KindControl
			v, err := ledger.Sign(key, h, body)
			if err != nil {
				b.Fatal(err)
			}
			vs = append(vs, v)
			p = p.After(v)
		}
		b.StartTimer()
		if err := g.AppendBatch(ctx, vs); err != nil {
			b.Fatal(err)
		}
	}
	perEntry(b, batch)
}
