package node

import (
	"sync"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// due is what the drain has to do: the logs that have grown since it last
// looked, and the newest of their entries, so that it need not read back what
// was appended a moment ago. What does not fit is read from the store.
type due struct {
	wake chan struct{} // one pending wake-up of drainLoop

	mu     sync.Mutex
	logs   map[identity.LogID]struct{}
	all    bool                // whatever logs says, look at every log
	filled map[dueKey]struct{} // entries passed before their bodies came, which now have
	recent map[dueKey]*ledger.Entry
	bytes  int                                         // of the bodies in recent
	early  map[identity.LogID]map[chan struct{}]uint64 // who waits for a log to pass a number
}

type dueKey struct {
	log identity.LogID
	seq uint64
}

// maxRecentBytes bounds the bodies held for the drain. A locked node fills it
// once and drains from the store.
const maxRecentBytes = 4 << 20

func newDue() *due {
	return &due{
		wake: make(chan struct{}, 1), all: true,
		logs: make(map[identity.LogID]struct{}), filled: make(map[dueKey]struct{}), recent: make(map[dueKey]*ledger.Entry),
		early: make(map[identity.LogID]map[chan struct{}]uint64),
	}
}

// add notes an entry that was appended and how long its log is now, and wakes
// the drain and who waits for the log; it never blocks.
func (d *due) add(e *ledger.Entry, length uint64) {
	id := e.Header.Log()
	d.mu.Lock()
	d.logs[id] = struct{}{}
	key := dueKey{id, e.Header.Seq}
	if _, held := d.recent[key]; !held && d.bytes+len(e.Body) <= maxRecentBytes {
		d.recent[key] = e
		d.bytes += len(e.Body)
	}
	for ch, seq := range d.early[id] {
		if seq < length {
			close(ch)
			delete(d.early[id], ch)
		}
	}
	d.mu.Unlock()
	d.ring()
}

// fill notes an entry whose body came after its header, and wakes the drain.
func (d *due) fill(e *ledger.Entry) {
	d.mu.Lock()
	d.filled[dueKey{e.Header.Log(), e.Header.Seq}] = struct{}{}
	d.mu.Unlock()
	d.ring()
}

// takeFilled returns those entries and forgets them.
func (d *due) takeFilled() map[dueKey]struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.filled
	d.filled = make(map[dueKey]struct{})
	return out
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
	d.all = true
	d.mu.Unlock()
	d.ring()
}

func (d *due) ring() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// take returns the logs to look at, or that all are to be, and forgets them.
func (d *due) take() (logs []identity.LogID, all bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id := range d.logs {
		logs = append(logs, id)
	}
	all, d.all = d.all, false
	clear(d.logs)
	return logs, all
}

// entry hands over an entry that is held, or nil.
func (d *due) entry(id identity.LogID, seq uint64) *ledger.Entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := dueKey{id, seq}
	e := d.recent[key]
	if e != nil {
		delete(d.recent, key)
		d.bytes -= len(e.Body)
	}
	return e
}
