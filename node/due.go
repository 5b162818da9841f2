package node

import (
	"cmp"
	"maps"
	"sync"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// due is what the drain has to do: the logs that have grown since it last
// looked and what else there is to open, and the newest entries of the logs, so
// that it need not read back what was appended a moment ago. What does not fit is read from the store.
type due struct {
	wake chan struct{} // one pending wake-up of drainLoop

	mu      sync.Mutex
	work    work
	presses bool                                        // something in work is urgent
	recent  map[dueKey]*ledger.Entry                    // with their bodies
	bytes   int                                         // that recent takes
	early   map[identity.LogID]map[chan struct{}]uint64 // who waits for a log to pass a number
	late    map[identity.LogID]uint64                   // urgent entries that gossip did not hand on, because they were early

	// handOn tells neighbours to pull; it must not block. Nil for none.
	handOn func()
}

// work is what a turn of the drain has to do.
type work struct {
	logs       map[identity.LogID]struct{} // have grown
	all        bool                        // whatever logs says, look at every log
	filled     map[dueKey]urgency          // entries passed before their bodies came, which now have
	allFilled  bool                        // look at every entry that was passed so
	learnt     map[group.Tag]struct{}      // entries may have waited for these
	allWaiting bool                        // look at every entry that waits
}

func newWork() work {
	return work{
		logs: make(map[identity.LogID]struct{}), filled: make(map[dueKey]urgency), learnt: make(map[group.Tag]struct{}),
	}
}

// none reports whether there is nothing to do.
func (w *work) none() bool {
	return len(w.logs)+len(w.filled)+len(w.learnt) == 0 && !w.all && !w.allFilled && !w.allWaiting
}

// urgency is in which order entries whose bodies came late are opened.
type urgency uint8

const (
	needed   urgency = iota // by others, to be read: control and epoch entries
	atOnce                  // stat
	soon                    // urgent
	whenever                // all else
)

func urgencyOf(h *ledger.Header) urgency {
	switch {
	case h.Kind == ledger.KindControl || h.Kind == ledger.KindEpoch:
		return needed
	case h.Priority == ledger.Stat:
		return atOnce
	case h.Priority == ledger.Urgent:
		return soon
	}
	return whenever
}

type dueKey struct {
	log identity.LogID
	seq uint64
}

func (k dueKey) compare(o dueKey) int { return cmp.Or(k.log.Compare(o.log), cmp.Compare(k.seq, o.seq)) }

const (
	// maxRecentBytes bounds the entries held for the drain. A locked node fills it
	// once and drains from the store.
	maxRecentBytes = 4 << 20
	// recentCost is what an entry takes beside its body.
	recentCost = 1 << 10
	// maxLate bounds the logs of which an early urgent entry is remembered. Beyond
	// it neighbours hear of one at their next round.
	maxLate = 1024
	// maxFilled bounds the bodies that are noted one by one.
	maxFilled = 4096
)

func newDue() *due {
	d := &due{
		wake: make(chan struct{}, 1), work: newWork(), recent: make(map[dueKey]*ledger.Entry),
		early: make(map[identity.LogID]map[chan struct{}]uint64), late: make(map[identity.LogID]uint64),
	}
	d.work.all = true
	return d
}

// add notes an entry that was appended and how long its log is now, and wakes
// the drain and who waits for the log; it never blocks. Where only the header has
// come the drain reads the store, which knows whether the body came since.
func (d *due) add(e *ledger.Entry, length uint64) {
	id := e.Header.Log()
	d.mu.Lock()
	d.work.logs[id] = struct{}{}
	d.presses = d.presses || e.HasBody() && urgencyOf(&e.Header) < whenever
	key := dueKey{id, e.Header.Seq}
	if _, held := d.recent[key]; !held && e.HasBody() && d.bytes+recentCost+len(e.Body) <= maxRecentBytes {
		d.recent[key] = e
		d.bytes += recentCost + len(e.Body)
	}
	for ch, seq := range d.early[id] {
		if seq < length {
			close(ch)
			delete(d.early[id], ch)
		}
	}
	seq, late := d.late[id]
	if late = late && seq < length; late {
		delete(d.late, id)
	}
	d.mu.Unlock()
	d.ring()
	if late && d.handOn != nil {
		d.handOn()
	}
}

// overtook notes an urgent entry that came so far ahead of its predecessors that
// gossip could not wait for them: once they are here, neighbours are told to pull,
// or it would go no further until their next round.
func (d *due) overtook(id identity.LogID, seq uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at, known := d.late[id]; known || len(d.late) < maxLate {
		d.late[id] = max(at, seq)
	}
}

// fill notes an entry whose body came after its header, and wakes the drain,
// which reads it from the store.
func (d *due) fill(e *ledger.Entry) {
	key := dueKey{e.Header.Log(), e.Header.Seq}
	d.mu.Lock()
	d.forget(key)
	d.note(key, urgencyOf(&e.Header))
	d.mu.Unlock()
	d.ring()
}

// note adds a key to those that were filled. Where they are too many the drain
// looks at all that it passed, and at all that waits, because what waits may have
// been lost and have come again. d.mu is held.
func (d *due) note(key dueKey, u urgency) {
	if len(d.work.filled) >= maxFilled {
		d.work.allFilled, d.work.allWaiting = true, true
		clear(d.work.filled)
	}
	d.work.filled[key] = u
	d.presses = d.presses || u < whenever
}

// pressing reports whether something urgent has come since the drain took its work.
func (d *due) pressing() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.presses
}

// forget lets go of an entry that is held. d.mu is held.
func (d *due) forget(key dueKey) *ledger.Entry {
	e := d.recent[key]
	if e != nil {
		delete(d.recent, key)
		d.bytes -= recentCost + len(e.Body)
	}
	return e
}

// reach returns a channel that is closed once entry seq of the log was
// appended. Whoever asks calls giveUp when done.
func (d *due) reach(id identity.LogID, seq uint64) chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	ch := make(chan struct{})
	if d.early[id] == nil {
		d.early[id] = make(map[chan struct{}]uint64)
	}
	d.early[id][ch] = seq
	return ch
}

func (d *due) giveUp(id identity.LogID, ch chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.early[id], ch)
	if len(d.early[id]) == 0 {
		delete(d.early, id)
	}
}

// addAll has the drain look at every log.
func (d *due) addAll() {
	d.mu.Lock()
	d.work.all = true
	d.mu.Unlock()
	d.ring()
}

func (d *due) ring() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// addEverything has the drain look at every log and at all that was passed or
// waits, as after an unlock.
func (d *due) addEverything() {
	d.putBack(work{all: true, allFilled: true, allWaiting: true})
}

// learn has the drain open what waited for these tags; no tags means any.
func (d *due) learn(tags []group.Tag) {
	d.mu.Lock()
	d.work.allWaiting = d.work.allWaiting || tags == nil
	for _, tag := range tags {
		d.work.learnt[tag] = struct{}{}
	}
	d.mu.Unlock()
	d.ring()
}

// take returns all that is to be done, and forgets it.
func (d *due) take() work {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.work
	d.work, d.presses = newWork(), false
	return w
}

// putBack takes back what a turn could not do, and wakes the drain for it.
func (d *due) putBack(w work) {
	if w.none() {
		return
	}
	d.mu.Lock()
	maps.Copy(d.work.logs, w.logs)
	maps.Copy(d.work.learnt, w.learnt)
	d.work.all = d.work.all || w.all
	d.work.allFilled = d.work.allFilled || w.allFilled
	d.work.allWaiting = d.work.allWaiting || w.allWaiting
	for key, u := range w.filled {
		d.note(key, u)
	}
	d.mu.Unlock()
	d.ring()
}

// entry hands over an entry that is held, or nil.
func (d *due) entry(id identity.LogID, seq uint64) *ledger.Entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.forget(dueKey{id, seq})
}

// passed lets go of the entries that the drain has read from the store.
func (d *due) passed(cursors map[identity.LogID]uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key := range d.recent {
		if key.seq < cursors[key.log] {
			d.forget(key)
		}
	}
}
