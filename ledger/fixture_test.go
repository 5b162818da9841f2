package ledger_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/ledger/memstore"
)

// noon is the time at which tests take place.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// device signs entries of one log, in order or not.
type device struct {
	key ed25519.PrivateKey
	id  ledger.LogID
}

func newDevice(name string) *device {
	seed := sha256.Sum256([]byte("test device " + name))
	key := ed25519.NewKeyFromSeed(seed[:])
	return &device{key: key, id: ledger.LogID{Author: identity.KeyOf(key)}}
}

// entry signs a control entry at a place.
func (d *device) entry(t testing.TB, seq uint64, prev ledger.ID, body string) ledger.Verified {
	t.Helper()
	return d.sign(t, ledger.Header{Seq: seq, Prev: prev, Kind: ledger.KindControl}, body)
}

func (d *device) sign(t testing.TB, h ledger.Header, body string) ledger.Verified {
	t.Helper()
	h.Incarnation = d.id.Incarnation
	if h.HLC == 0 {
		h.HLC = uint64(noon.UnixMilli())<<16 + h.Seq
	}
	v, err := ledger.Sign(d.key, h, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// chain signs n entries from seq 0.
func (d *device) chain(t testing.TB, n int) []ledger.Verified {
	t.Helper()
	return d.extend(t, nil, n, "")
}

// extend signs n entries more; branch makes them differ from other branches.
func (d *device) extend(t testing.TB, chain []ledger.Verified, n int, branch string) []ledger.Verified {
	t.Helper()
	chain = append([]ledger.Verified(nil), chain...)
	for range n {
		var prev ledger.ID
		if len(chain) > 0 {
			prev = chain[len(chain)-1].Entry().ID()
		}
		seq := uint64(len(chain))
		chain = append(chain, d.entry(t, seq, prev, fmt.Sprintf("body %d %s", seq, branch)))
	}
	return chain
}

// authors is a set of known authors; with open, everyone is known.
type authors struct {
	mu    sync.Mutex
	open  bool
	known map[identity.Key]bool
	admit func(*ledger.Entry) error
	asked int
}

func (a *authors) Known(k identity.Key) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.open || a.known[k]
}

func (a *authors) Admit(e *ledger.Entry) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	if a.admit == nil && (a.open || a.known[e.Header.Author]) {
		return nil
	}
	if a.admit == nil {
		return errors.New("nobody is admitted")
	}
	if err := a.admit(e); err != nil {
		return err
	}
	if a.known == nil {
		a.known = make(map[identity.Key]bool)
	}
	a.known[e.Header.Author] = true
	return nil
}

func (a *authors) learn(k identity.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil {
		a.known = make(map[identity.Key]bool)
	}
	a.known[k] = true
}

func everyone() *authors { return &authors{open: true} }

func open(t testing.TB, store ledger.Store, who ledger.Authors, limits ledger.Limits) *ledger.Logs {
	t.Helper()
	l, err := ledger.Open(context.Background(), ledger.Config{Store: store, Authors: who, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func openMem(t testing.TB) *ledger.Logs {
	return open(t, memstore.New(), everyone(), ledger.Limits{})
}

// add appends and fails the test unless the outcome is the wanted one.
func add(t testing.TB, l *ledger.Logs, v ledger.Verified, want ledger.Outcome) {
	t.Helper()
	got, err := l.Append(context.Background(), v, noon)
	if err != nil {
		t.Fatalf("seq %d: %v", v.Entry().Header.Seq, err)
	}
	if got != want {
		t.Fatalf("seq %d: outcome %s, want %s", v.Entry().Header.Seq, got, want)
	}
}

func addAll(t testing.TB, l *ledger.Logs, vs []ledger.Verified, want ledger.Outcome) {
	t.Helper()
	for _, v := range vs {
		add(t, l, v, want)
	}
}

// next returns the number of entries held of a log.
func next(l *ledger.Logs, id ledger.LogID) uint64 {
	h, _ := l.Head(id)
	return h.Next
}

// write reserves, signs and appends one own entry.
func write(t testing.TB, g *ledger.Log, d *device, body string) ledger.Verified {
	t.Helper()
	p, err := g.Reserve(noon)
	if err != nil {
		t.Fatal(err)
	}
	h := p.Header()
	h.Kind = ledger.KindControl
	v := d.sign(t, h, body)
	if err := g.Append(context.Background(), v); err != nil {
		t.Fatal(err)
	}
	return v
}
