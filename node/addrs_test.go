package node

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"tocsin/mesh"
)

// TestAddressesAreWrittenTogether: the first at once; those of a mesh that comes together not each time that one is met, but the last
// of them without anything else happening; and what was met last when the node closes.
func TestAddressesAreWrittenTogether(t *testing.T) {
	t.Parallel()
	clock := testClock{gate: make(chan time.Time)}
	clock.stopped.Store(true) // a rest ends when the test says so
	n := &Node{
		cfg: Config{Dir: t.TempDir(), Clock: &clock}, log: slog.New(slog.DiscardHandler), addrs: metAddrs{wake: make(chan struct{}, 1)},
	}
	n.ctx, n.cancel = context.WithCancel(t.Context())
	file := filepath.Join(n.cfg.Dir, addrsFile)
	written := func(k int) bool {
		infos, err := readAddrs(file)
		check(t, err)
		return len(infos) == k
	}
	met := func(k int) {
		var infos []mesh.Remembered
		for i := range k {
			infos = append(infos, mesh.Remembered{Peer: peer.AddrInfo{ID: peer.ID([]byte{0, 2, 1, byte(i)})}, Met: true})
		}
		n.rememberAddrs(infos)
	}
	n.wg.Add(1)
	go n.addrsLoop()
	met(1)
	eventually(t, "the first is written", func() bool { return written(1) })
	check(t, os.Remove(file))
	for k := range 20 {
		met(k + 1)
	}
	eventually(t, "the loop rests", func() bool { return clock.waits.Load() == 1 })
	if !written(0) {
		t.Error("they are written with everyone that is met")
	}
	clock.gate <- time.Time{}
	eventually(t, "the last of them are written", func() bool { return written(20) })
	met(30)
	n.cancel()
	n.wg.Wait()
	if !written(30) {
		t.Error("those that were met last were not kept when the node closed")
	}
}

// askedClock tells how long who waits wants to wait, and lets it wait until gate.
type askedClock struct {
	Clock
	gate  chan time.Time
	asked chan time.Duration
}

func (c *askedClock) After(d time.Duration) <-chan time.Time {
	c.asked <- d
	return c.gate
}

// TestAddressesAreWrittenMoreSeldom: while they change all the time, and as soon as before once they have not.
func TestAddressesAreWrittenMoreSeldom(t *testing.T) {
	t.Parallel()
	clock := askedClock{gate: make(chan time.Time), asked: make(chan time.Duration, 1)}
	n := &Node{
		cfg: Config{Dir: t.TempDir(), Clock: &clock}, log: slog.New(slog.DiscardHandler), addrs: metAddrs{wake: make(chan struct{}, 1)},
	}
	n.ctx, n.cancel = context.WithCancel(t.Context())
	n.wg.Add(1)
	go n.addrsLoop()
	n.rememberAddrs(nil)
	for want := addrsPause; want <= 2*addrsPauseMost; want *= 2 {
		if d := <-clock.asked; d != min(want, addrsPauseMost) {
			t.Fatalf("a rest of %v, not of %v", d, min(want, addrsPauseMost))
		}
		n.rememberAddrs(nil)
		clock.gate <- time.Time{}
	}
	n.cancel()
	n.wg.Wait()
	if d := restAfter(addrsPauseMost, false); d != addrsPause {
		t.Errorf("after a quiet time the rest is %v", d)
	}
}
