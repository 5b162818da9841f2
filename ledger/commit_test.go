package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"tocsin/ledger"
	"tocsin/ledger/memstore"
)

// gate is a Store that waits for permission at each Commit and can fail it.
type gate struct {
	ledger.Store
	mu      sync.Mutex
	commits int
	entered chan struct{} // one signal for each Commit that began
	leave   chan error    // what it should do: nil commits
}

func newGate() *gate {
	return &gate{Store: memstore.New(), entered: make(chan struct{}, 100), leave: make(chan error, 100)}
}

func (g *gate) Commit(ctx context.Context, batch []ledger.Record) error {
	g.mu.Lock()
	g.commits++
	g.mu.Unlock()
	g.entered <- struct{}{}
	if err := <-g.leave; err != nil {
		return err
	}
	return g.Store.Commit(ctx, batch)
}

// TestCommitIsShared: callers that come while the disk is busy share the next
// commit, and each hears how it ended.
func TestCommitIsShared(t *testing.T) {
	g := newGate()
	l := open(t, g, everyone(), ledger.Limits{})
	const n = 20
	var wg sync.WaitGroup
	out := make([]ledger.Outcome, n)
	errs := make([]error, n)
	entries := make([]ledger.Verified, n)
	for i := range n {
		entries[i] = newDevice(fmt.Sprint(i)).chain(t, 1)[0]
	}
	start := func(i int) {
		wg.Go(func() { out[i], errs[i] = l.Append(context.Background(), entries[i], noon) })
	}
	start(0)
	<-g.entered
	for i := 1; i < n; i++ {
		start(i)
	}
	waitFor(t, func() bool { return ledger.Queued(l) == n-1 })
	if len(l.Frontier()) != 0 {
		t.Fatal("a head moved before it was durable")
	}
	for range 2 {
		g.leave <- nil
	}
	wg.Wait()
	for i := range n {
		if out[i] != ledger.Appended || errs[i] != nil {
			t.Fatalf("caller %d: %s %v", i, out[i], errs[i])
		}
	}
	if g.commits != 2 {
		t.Fatalf("%d commits for %d callers, want 2", g.commits, n)
	}
}

// TestCommitFails: everyone whose entry was in the batch hears of it, nothing
// counts as held, and those who needed no commit are not disturbed.
func TestCommitFails(t *testing.T) {
	g := newGate()
	l := open(t, g, everyone(), ledger.Limits{})
	held := newDevice("held").chain(t, 3)
	g.leave <- nil
	add(t, l, held[0], ledger.Appended)
	<-g.entered

	fresh := newDevice("fresh").chain(t, 1)
	broken := errors.New("disk broke")
	type result struct {
		o   ledger.Outcome
		err error
	}
	results := make(chan result, 10)
	call := func(v ledger.Verified) {
		go func() {
			o, err := l.Append(context.Background(), v, noon)
			results <- result{o, err}
		}()
	}
	call(newDevice("first").chain(t, 1)[0])
	<-g.entered
	call(held[1])  // next
	call(fresh[0]) // next, of a new log
	call(fresh[0]) // the same again: known only if the commit succeeds
	waitFor(t, func() bool { return ledger.Queued(l) == 3 })
	g.leave <- nil
	if r := <-results; r.err != nil {
		t.Fatal(r.err)
	}
	<-g.entered
	g.leave <- broken
	for range 3 {
		if r := <-results; !errors.Is(r.err, broken) {
			t.Fatalf("%s %v, want the store's error", r.o, r.err)
		}
	}
	if next(l, held[0].Entry().Header.Log()) != 1 || next(l, fresh[0].Entry().Header.Log()) != 0 {
		t.Fatal("a head moved although the commit failed")
	}
	add(t, l, held[0], ledger.Known) // needs no commit
	for range 2 {
		g.leave <- nil
	}
	add(t, l, held[1], ledger.Appended)
	add(t, l, fresh[0], ledger.Appended)
}

// TestPenSurvivesAFailedCommit: what waited is not lost with the commit that
// would have taken it.
func TestPenSurvivesAFailedCommit(t *testing.T) {
	g := newGate()
	l := open(t, g, everyone(), ledger.Limits{})
	d := newDevice("a")
	chain := d.chain(t, 3)
	addAll(t, l, chain[1:], ledger.Penned)
	g.leave <- errors.New("disk broke")
	if _, err := l.Append(context.Background(), chain[0], noon); err == nil {
		t.Fatal("no error")
	}
	if s := l.Stats(); s.Penned != 2 {
		t.Fatalf("%d wait, want 2", s.Penned)
	}
	g.leave <- nil
	add(t, l, chain[0], ledger.Appended)
	if next(l, d.id) != 3 {
		t.Fatalf("%d entries, want 3", next(l, d.id))
	}
}

func TestCancelledWhileQueued(t *testing.T) {
	g := newGate()
	l := open(t, g, everyone(), ledger.Limits{})
	done := make(chan error, 2)
	go func() {
		_, err := l.Append(context.Background(), newDevice("a").chain(t, 1)[0], noon)
		done <- err
	}()
	<-g.entered
	ctx, cancel := context.WithCancel(context.Background())
	b := newDevice("b")
	go func() {
		_, err := l.Append(ctx, b.chain(t, 1)[0], noon)
		done <- err
	}()
	waitFor(t, func() bool { return ledger.Queued(l) == 1 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("%v, want context.Canceled", err)
	}
	g.leave <- nil
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if next(l, b.id) != 0 {
		t.Fatal("a withdrawn entry was appended")
	}
	g.leave <- nil
	add(t, l, b.chain(t, 1)[0], ledger.Appended)
	if _, err := l.Append(ctx, b.chain(t, 2)[1], noon); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v, want context.Canceled", err)
	}
}

// TestManyCallers mixes all calls; the race detector watches.
func TestManyCallers(t *testing.T) {
	ctx := context.Background()
	store := memstore.New()
	l := open(t, store, everyone(), ledger.Limits{})
	me := newDevice("own")
	g := own(t, l, me)
	const logs, length = 8, 30
	var wg sync.WaitGroup
	for i := range logs {
		chain := newDevice(fmt.Sprint(i)).chain(t, length)
		for range 3 {
			wg.Go(func() {
				for j := range chain {
					if _, err := l.Append(ctx, chain[(j*7)%length], noon); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Go(func() {
		for range length {
			p, err := g.Reserve(noon)
			if err != nil {
				t.Error(err)
				return
			}
			if err := g.Append(ctx, signAt(t, me, p, "x")); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Go(func() {
		for range length {
			l.Stats()
			missing(l, l.Frontier(), noon)
			if _, err := l.VerifyAll(ctx, nil); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	l = open(t, store.Reopen(), everyone(), ledger.Limits{})
	rep, err := l.VerifyAll(ctx, nil)
	if err != nil || !rep.OK() || rep.Entries != (logs+1)*length {
		t.Fatalf("%d entries, want %d: %+v %v", rep.Entries, (logs+1)*length, rep.First, err)
	}
}

// waitFor spins until a condition that another goroutine brings about holds.
func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	for range 10_000_000 {
		if cond() {
			return
		}
		runtime.Gosched()
	}
	t.Fatal("it never happened")
}
