package node

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"testing"

	"tocsin/ledger"
	"tocsin/ledger/memstore"
)

// spoiling is the store of a device that lies: once armed, what it reads of one
// log has wrong signatures at some places, and its own checks do not find out.
type spoiling struct {
	*memstore.Store

	mu    sync.Mutex
	log   ledger.LogID
	seqs  []uint64
	armed bool
}

func (s *spoiling) arm(log ledger.LogID, seqs ...uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log, s.seqs, s.armed = log, seqs, true
}

// spoil turns over a bit of the signature in a stored entry, and makes the check
// before it fit (ledger/FORMAT.md, "Values").
func (s *spoiling) spoil(id ledger.LogID, seq uint64, value []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.armed || id != s.log || !slices.Contains(s.seqs, seq) {
		return value
	}
	value = slices.Clone(value)
	rest := value[storedPrefix:]
	n := int(rest[0])<<8 | int(rest[1])
	rest[2+n-1] ^= 1
	sum := sha256.Sum256(slices.Concat([]byte("tocsin/1 stored\x00"), value[8:storedPrefix], rest[2:2+n]))
	copy(value, sum[:8])
	return value
}

// storedPrefix is what stands before the signed header in a stored entry.
const storedPrefix = 8 + 1 + 4

func (s *spoiling) Get(ctx context.Context, t ledger.Table, id ledger.LogID, seq uint64) ([]byte, error) {
	value, err := s.Store.Get(ctx, t, id, seq)
	if err == nil && t == ledger.TableEntries {
		value = s.spoil(id, seq, value)
	}
	return value, err
}

func (s *spoiling) Range(ctx context.Context, id ledger.LogID, from, to uint64, fn func(uint64, []byte) error) error {
	return s.Store.Range(ctx, id, from, to, func(seq uint64, value []byte) error {
		return fn(seq, s.spoil(id, seq, value))
	})
}

// longLog is a mesh in which Ben wrote a long log and left, and Mallory holds it
// and spoils what she hands on of it.
type longLog struct {
	*world
	ben     ledger.LogID
	mallory *Node
	spoilt  []uint64
	honest  *Node // holds all of it too
}

func newLongLog(t *testing.T) *longLog {
	t.Helper()
	w := newWorld(t)
	ben := w.enrol("Ben", orgAmbulance).start(t)
	store := &spoiling{Store: memstore.New()}
	mallory := w.enrol("Mallory", orgHospital).start(t, knows(ben), func(cfg *Config) { cfg.Store = store })
	honest := w.enrol("Chi", orgHospital).start(t, knows(ben))
	g := makeGroup(t, ben)
	for i := range 64 + provedLeast {
		say(t, ben, g, fmt.Sprint("message ", i))
	}
	head, _ := ben.logs.Head(ben.self)
	for _, n := range []*Node{mallory, honest} {
		eventually(t, "the carriers hold the log, and a checkpoint of nearly all of it", func() bool {
			h, _ := n.logs.Head(ben.self)
			tt, err := n.testimony.table.Of(t.Context(), ben.self)
			check(t, err)
			return h.Next >= head.Next && slices.ContainsFunc(tt.Cosigned(), func(c ledger.Cosigned) bool { return c.Size >= 64+provedLeast })
		})
	}
	l := &longLog{world: w, ben: ben.self, mallory: mallory, honest: honest, spoilt: []uint64{70, 71, 150}}
	check(t, ben.SetOnline(false))
	check(t, honest.SetOnline(false))
	store.arm(l.ben, l.spoilt...)
	return l
}

// TestSpoilerNamed: a carrier that spoils signatures inside a proved range is
// named and blamed, over a real network. The author is not, nor is an honest
// device that forwarded the same log, and nothing of what is spoilt is handed on.
func TestSpoilerNamed(t *testing.T) {
	t.Parallel()
	l := newLongLog(t)
	amal := l.enrol("Amal", orgHospital).start(t, knows(l.mallory))
	eventually(t, "Mallory is named", func() bool {
		s := amal.Spoilers()
		return len(s) == 1 && s[0].Entries == uint64(len(l.spoilt))
	})
	if m := amal.Metrics(); m.Proved < provedLeast-8 || m.Spoilt != uint64(len(l.spoilt)) {
		t.Fatalf("%d entries came in a proved range, %d were spoilt", m.Proved, m.Spoilt)
	}
	s := amal.Spoilers()[0]
	if s.Peer != l.mallory.mesh.ID().String() || s.Name != "Mallory" || s.Missing != uint64(len(l.spoilt)) {
		t.Fatalf("named: %+v", s)
	}
	if b := amal.mesh.Stats().Blamed; b[blameSpoiled] == 0 {
		t.Fatalf("the mesh was not told: %v", b)
	}
	status := amal.Status()
	if len(status.Spoilers) != 1 {
		t.Fatalf("the status names %v", status.Spoilers)
	}

	// Whoever pulls from Amal now gets the rest, and blames nobody.
	dee := l.enrol("Dee", orgHospital).start(t, alone)
	_, pull, serve := meet(t, dee, amal, nil)
	check(t, pull)
	check(t, serve)
	if head, _ := dee.logs.Head(l.ben); head.Next < 64 || len(dee.Spoilers()) != 0 || dee.Metrics().Refused != 0 {
		t.Fatalf("of an honest forwarder: %d entries, %v, %d refused", head.Next, dee.Spoilers(), dee.Metrics().Refused)
	}

	// An honest carrier comes: all is whole again, and it is not held against it.
	blamed := amal.mesh.Stats().Blamed[blameSpoiled]
	check(t, l.honest.SetOnline(true))
	fay := l.enrol("Fay", orgAmbulance).start(t, knows(l.honest, amal))
	eventually(t, "everything is held", func() bool {
		return len(amal.logs.Lost()) == 0 && amal.logs.Checked(l.ben) > l.spoilt[len(l.spoilt)-1] && amal.logs.Tree().Root() == l.honest.logs.Tree().Root()
	})
	if s := amal.Spoilers(); len(s) != 1 || s[0].Missing != 0 || s[0].Name != "Mallory" {
		t.Fatalf("named in the end: %+v", s)
	}
	for _, p := range amal.Peers() {
		if p.ID == fay.mesh.ID() && p.Score < 0 {
			t.Fatalf("an honest forwarder has a score of %v", p.Score)
		}
	}
	if now := amal.mesh.Stats().Blamed[blameSpoiled]; now != blamed {
		t.Fatal("somebody was blamed for an honest entry")
	}
	rep, err := amal.logs.VerifyAll(t.Context(), nil)
	check(t, err)
	if !rep.OK() {
		t.Fatalf("%+v", rep.First)
	}
}
