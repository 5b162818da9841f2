package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"tocsin/crypto/group"
)

// RefusedMessage is a message that the record does not take, and why, in the endpoint's words: they go to no log.
type RefusedMessage struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// The states of an upload.
const (
	UploadIdle    = "idle"    // none was begun since this device was started
	UploadRunning = "running" // requests are under way
	UploadStopped = "stopped" // it goes on by itself within the hour, at the next unlock, or when it is begun again
	UploadDone    = "done"    // everything that was signed off was taken or refused
)

// TransferProgress is how far the upload of one conversation is.
type TransferProgress struct {
	Group       string           `json:"group"`
	State       string           `json:"state"`
	Record      string           `json:"record,omitempty"` // URL
	Messages    int              `json:"messages"`
	Transferred int              `json:"transferred"`
	UnderWay    int              `json:"under_way"`
	Refused     []RefusedMessage `json:"refused,omitempty"`
	Stopped     string           `json:"stopped,omitempty"` // why, in words
	Started     time.Time        `json:"started,omitzero"`
	Ended       time.Time        `json:"ended,omitzero"`
}

// transfers are the uploads of this device: one at a time, by transferLoop.
type transfers struct {
	wake chan struct{} // one pending wake-up of transferLoop

	mu     sync.Mutex
	queue  []group.ID
	keep   bool // what has had its time is to be erased
	now    group.ID
	cancel context.CancelCauseFunc // of the upload that runs; nil for none
	last   map[group.ID]*TransferProgress
}

func newTransfers() *transfers {
	return &transfers{wake: make(chan struct{}, 1), last: make(map[group.ID]*TransferProgress)}
}

// running reports whether an upload of the conversation is under way or waits for its turn.
func (t *transfers) running(g group.ID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cancel != nil && t.now == g || slices.Contains(t.queue, g)
}

// progress is a copy of what is known of the last upload of a conversation; nil for none.
func (t *transfers) progress(g group.ID) *TransferProgress {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.last[g]
	if p == nil {
		return nil
	}
	out := *p
	out.Refused = slices.Clone(p.Refused)
	return &out
}

// begin puts a conversation in the queue, unless it is there.
func (t *transfers) begin(g group.ID, p *TransferProgress) {
	t.mu.Lock()
	if !(t.cancel != nil && t.now == g) && !slices.Contains(t.queue, g) {
		t.queue = append(t.queue, g)
		t.last[g] = p
	}
	t.mu.Unlock()
	ring(t.wake)
}

// retainSoon has transferLoop erase what has had its time.
func (t *transfers) retainSoon() {
	t.mu.Lock()
	t.keep = true
	t.mu.Unlock()
	ring(t.wake)
}

// next takes the next upload, with a context that [transfers.stop] ends.
func (t *transfers) next(ctx context.Context) (context.Context, group.ID, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		return nil, group.ID{}, false
	}
	t.now, t.queue = t.queue[0], t.queue[1:]
	ctx, t.cancel = context.WithCancelCause(ctx)
	return ctx, t.now, true
}

func (t *transfers) retain() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	keep := t.keep
	t.keep = false
	return keep
}

// update changes what is known of the upload of a conversation.
func (t *transfers) update(g group.ID, f func(p *TransferProgress)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last[g] == nil {
		t.last[g] = &TransferProgress{Group: g.String(), State: UploadIdle}
	}
	f(t.last[g])
}

// over notes that the upload that ran is over.
func (t *transfers) over() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cancel(nil)
	t.cancel = nil
}

var (
	errUploadStopped = errors.New("it was stopped by hand")
	errUploadLocked  = errors.New("this device was locked; it goes on once it is unlocked")
)

// stop ends the upload of one conversation and reports whether there was one.
func (t *transfers) stop(g group.ID, why error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.queue, g); i >= 0 {
		t.queue = slices.Delete(t.queue, i, i+1)
		t.last[g].State, t.last[g].Stopped = UploadStopped, why.Error()
		return true
	}
	if t.cancel == nil || t.now != g {
		return false
	}
	t.cancel(why)
	return true
}

// stopAll ends all uploads: the device is being locked.
func (t *transfers) stopAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, g := range t.queue {
		t.last[g].State, t.last[g].Stopped = UploadStopped, errUploadLocked.Error()
	}
	t.queue = nil
	if t.cancel != nil {
		t.cancel(errUploadLocked)
	}
	for _, p := range t.last { // an endpoint's words may repeat what was said
		p.Refused = nil
	}
}
