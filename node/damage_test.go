package node

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/ledger/memstore"
)

// rottenStore is a store in which one entry went bad.
type rottenStore struct {
	*memstore.Store

	mu  sync.Mutex
	log identity.LogID // the zero id for none
	seq uint64
}

func (s *rottenStore) rot(log identity.LogID, seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log, s.seq = log, seq
}

// read flips a bit of the value at the bad place.
func (s *rottenStore) read(log identity.LogID, seq uint64, value []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(value) == 0 || log != s.log || seq != s.seq {
		return value
	}
	value = bytes.Clone(value)
	value[len(value)-1] ^= 1
	return value
}

func (s *rottenStore) Get(ctx context.Context, t ledger.Table, id ledger.LogID, seq uint64) ([]byte, error) {
	value, err := s.Store.Get(ctx, t, id, seq)
	if t == ledger.TableEntries {
		value = s.read(id, seq, value)
	}
	return value, err
}

func (s *rottenStore) Range(ctx context.Context, id ledger.LogID, from, to uint64, fn func(uint64, []byte) error) error {
	return s.Store.Range(ctx, id, from, to, func(seq uint64, value []byte) error { return fn(seq, s.read(id, seq, value)) })
}

// TestOneBadEntryHoldsUpNothingElse: a device unlocks, shows and serves
// everything but what stands behind an entry that went bad.
func TestOneBadEntryHoldsUpNothingElse(t *testing.T) {
	w := newWorld(t)
	store := &rottenStore{Store: memstore.New()}
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	if b.self.Compare(a.self) < 0 {
		a, b = b, a // a's log is drained and served first
	}
	carrier := w.enrol("Chidi", orgHospital).start(t, knows(a, b), func(cfg *Config) { cfg.Store = store })
	ready(t, 2, a, b, carrier)
	g := makeGroup(t, b, a, carrier)
	shows(t, carrier, g)
	eventually(t, "the group is known", func() bool { c, err := a.Conversations(); return err == nil && len(c) == 1 })
	check(t, carrier.Lock())
	bad := say(t, a, g, "went bad")
	say(t, b, g, "is good")
	eventually(t, "the carrier holds both", func() bool {
		f := carrier.logs.Frontier().Hash()
		return f == a.logs.Frontier().Hash() && f == b.logs.Frontier().Hash()
	})
	check(t, a.SetOnline(false)) // else it comes back from them
	check(t, b.SetOnline(false))
	eventually(t, "the carrier is alone", func() bool { return len(carrier.Peers()) == 0 })
	store.rot(a.self, bad.Seq)
	carrier.due.mu.Lock()
	clear(carrier.due.recent) // as after a restart: read it back
	carrier.due.mu.Unlock()

	check(t, carrier.Unlock(t.Context(), []byte(passphrase)))
	shows(t, carrier, g, "is good")

	late := w.enrol("Dora", orgHospital).start(t, knows(carrier))
	eventually(t, "what is good is served", func() bool {
		first, _ := late.logs.Head(a.self)
		second, _ := late.logs.Head(b.self)
		held, _ := carrier.logs.Head(b.self)
		return first.Next == bad.Seq && second.Next == held.Next
	})
}

func TestBatchKeepsWithinOneRecord(t *testing.T) {
	many := newBatch()
	for !many.full() {
		many.drop("x")
	}
	large := newBatch()
	for !large.full() {
		large.put("x", make([]byte, ledger.MaxBody))
	}
	for _, b := range []*batch{many, large} {
		if len(b.changes) > vault.MaxChanges/2 || b.bytes > vault.MaxCommit/2+ledger.MaxBody {
			t.Errorf("a batch of %d changes and %d bytes, where one record holds %d and %d", len(b.changes), b.bytes, vault.MaxChanges, vault.MaxCommit)
		}
	}
}
