package mesh

import (
	"sync"
	"time"
)

// agenda says how long until each of its keys is due. It counts elapsed time
// only, so that a step of the wall clock neither starves nor floods. One
// goroutine owns it.
type agenda[K comparable] struct {
	left map[K]time.Duration
}

func newAgenda[K comparable]() *agenda[K] { return &agenda[K]{left: make(map[K]time.Duration)} }

// set makes k due in d.
func (a *agenda[K]) set(k K, d time.Duration) { a.left[k] = d }

// sooner makes k due in d, unless it is due earlier anyway.
func (a *agenda[K]) sooner(k K, d time.Duration) {
	if old, ok := a.left[k]; !ok || d < old {
		a.left[k] = d
	}
}

func (a *agenda[K]) drop(k K) { delete(a.left, k) }

// next returns the shortest wait; false if there is nothing to wait for.
func (a *agenda[K]) next() (time.Duration, bool) {
	var shortest time.Duration
	found := false
	for _, d := range a.left {
		if !found || d < shortest {
			shortest, found = d, true
		}
	}
	return max(shortest, 0), found
}

// advance lets time pass and returns the keys that became due, removed.
func (a *agenda[K]) advance(elapsed time.Duration) []K {
	var due []K
	for k, d := range a.left {
		if d -= elapsed; d > 0 {
			a.left[k] = d
			continue
		}
		delete(a.left, k)
		due = append(due, k)
	}
	return due
}

// wait blocks until the next key is due or wake or done is ready, and returns
// the time that has passed. A clock that was stepped meanwhile can shorten
// or lengthen that by no more than the wait itself.
func (a *agenda[K]) wait(clock Clock, wake, done <-chan struct{}) time.Duration {
	var timer <-chan time.Time
	d, ok := a.next()
	if ok && d <= 0 {
		return 0
	}
	if ok {
		timer = clock.After(d)
	}
	start := clock.Now()
	select {
	case <-timer:
		return d
	case <-wake:
	case <-done:
	}
	passed := max(clock.Now().Sub(start), 0)
	if ok {
		passed = min(passed, d)
	}
	return passed
}

// mailbox hands events to the goroutine that owns the state, without ever
// blocking the sender: senders are libp2p's own callbacks.
type mailbox[E any] struct {
	mu    sync.Mutex
	items []E
	wake  chan struct{} // capacity 1
}

func newMailbox[E any]() *mailbox[E] { return &mailbox[E]{wake: make(chan struct{}, 1)} }

func (m *mailbox[E]) put(e E) {
	m.mu.Lock()
	m.items = append(m.items, e)
	m.mu.Unlock()
	m.ring()
}

// ring wakes the owner.
func (m *mailbox[E]) ring() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *mailbox[E]) take() []E {
	m.mu.Lock()
	defer m.mu.Unlock()
	items := m.items
	m.items = nil
	return items
}
