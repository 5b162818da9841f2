package node

// Low-bandwidth mode: over bad lines headers and urgent messages come first, and
// what nobody waits for is put off. It switches itself on and off by what the
// mesh measures (thrift_judge.go), or is set by hand.
//
//	what                     usually                 in low-bandwidth mode
//	missing entries          whole, or by class      headers; bodies that are control or urgent,
//	                                                 and a trickle of routine ones when nothing else is left
//	routine gossip           received, handed on     not received (mesh.SetThrift)
//	receipts                 after a second          after a minute, in one batch
//	testimony                with every pull         every ten minutes
//	evidence of forks        with every pull         the proof alone
//	attachments              fetched                 thumbnails, and what somebody asked for
//	pulls, nudges            every 30 s, after 1 s   every 2 minutes, after 10 s (mesh.SetThrift)

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"tocsin/ledger"
)

// The modes of [Node.SetThrift].
const (
	ThriftAuto = "auto" // by what the mesh measures
	ThriftOn   = "on"
	ThriftOff  = "off"
)

const (
	// thriftTick is how often the links are looked at.
	thriftTick = 10 * time.Second
	// thriftReceipts is how long receipts gather in low-bandwidth mode.
	thriftReceipts = time.Minute
	// thriftTestimony is how seldom testimony is exchanged, and made.
	thriftTestimony = 10 * time.Minute
	// thriftTrickle is how many bytes of routine bodies one session fetches when
	// nothing urgent is left: at a pull every two minutes 1 kbit/s, so that on a line
	// that never gets better they come all the same.
	thriftTrickle = 16 << 10
)

// ThriftState says whether low-bandwidth mode is on, and why.
type ThriftState struct {
	Mode  string    `json:"mode"` // auto, on or off
	On    bool      `json:"on"`
	Since time.Time `json:"since,omitzero"` // of On as it is
	// Waiting are messages whose header is here and whose body is not.
	Waiting int `json:"waiting,omitempty"`
	// Words are for people: one sentence while it is on, empty while it is off.
	Words string `json:"words,omitempty"`
}

// thrift is the state of the mode.
type thrift struct {
	on   atomic.Bool
	wake chan struct{} // one pending wake-up of thriftLoop

	mu        sync.Mutex
	mode      string    // guarded by mu, with what follows
	since     time.Time // of on as it is
	why       string
	judge     thriftJudge
	testimony time.Time // when it was exchanged last
}

func newThrift(mode string) *thrift {
	return &thrift{mode: mode, wake: make(chan struct{}, 1)}
}

func thriftMode(mode string) (string, error) {
	switch mode {
	case "":
		return ThriftAuto, nil
	case ThriftAuto, ThriftOn, ThriftOff:
		return mode, nil
	}
	return "", invalid("low-bandwidth mode is auto, on or off, not %q", mode)
}

// Thrifty reports whether low-bandwidth mode is on. It takes no lock, and whoever
// is about to send what nobody waits for asks it.
func (n *Node) Thrifty() bool { return n.thrift.on.Load() }

// SetThrift sets low-bandwidth mode: [ThriftAuto], [ThriftOn] or [ThriftOff]. It
// holds until the node is closed. Errors: [ErrInvalid].
func (n *Node) SetThrift(mode string) error {
	mode, err := thriftMode(mode)
	if err != nil {
		return err
	}
	n.thrift.mu.Lock()
	n.thrift.mode = mode
	n.thrift.judge = thriftJudge{}
	n.thrift.mu.Unlock()
	n.lookAtLinks()
	return nil
}

// Thrift says whether low-bandwidth mode is on.
func (n *Node) Thrift() ThriftState {
	t := n.thrift
	t.mu.Lock()
	s := ThriftState{Mode: t.mode, On: t.on.Load(), Since: t.since}
	why := t.why
	t.mu.Unlock()
	if !s.On {
		return s
	}
	n.sync.bodies(func(a *ledger.Absence) { s.Waiting = a.Bodies() })
	s.Words = "Low-bandwidth mode: headers and urgent messages only" + why + "."
	if s.Waiting > 0 {
		s.Words += fmt.Sprintf(" %d messages that are not urgent wait; they come when the line is quiet or gets better.", s.Waiting)
	}
	return s
}

// thriftLoop is the one goroutine that looks at the links.
func (n *Node) thriftLoop() {
	defer n.wg.Done()
	n.lookAtLinks()
	for n.wait(thriftTick) {
		n.lookAtLinks()
	}
}

// lookAtLinks decides anew, and switches where that changes something.
func (n *Node) lookAtLinks() {
	var links []linkReading
	for _, p := range n.mesh.Peers() {
		links = append(links, linkReading{latency: p.Latency, goodput: p.Goodput, loss: p.Loss})
	}
	now := n.cfg.Clock.Now()
	t := n.thrift
	t.mu.Lock()
	on, why := t.mode == ThriftOn, ""
	if t.mode == ThriftAuto {
		on, why = t.judge.look(links)
	}
	changed := on != t.on.Load()
	if changed {
		t.since = now
	}
	if t.why = ""; why != "" {
		t.why = " (" + why + ")"
	}
	t.on.Store(on)
	t.mu.Unlock()
	if !changed {
		return
	}
	n.mesh.SetThrift(on)
	n.attached.wantAll()
	n.log.Info("low-bandwidth mode", "on", on, "why", why)
	n.events.publish(Event{Type: EventThrift})
	if !on { // what was put off
		n.receiptsSoon()
		for _, p := range n.mesh.Peers() {
			n.mesh.SyncSoon(p.ID)
		}
	}
}

// testimonyPause is how seldom neighbours are told that there is new testimony.
func (n *Node) testimonyPause() time.Duration {
	if n.Thrifty() {
		return max(n.cfg.TestimonyPause, thriftTestimony)
	}
	return n.cfg.TestimonyPause
}

// witnessPause is how long what logs grow by gathers before testimony is made.
func (n *Node) witnessPause() time.Duration {
	if n.Thrifty() {
		return max(n.cfg.WitnessPause, time.Minute)
	}
	return n.cfg.WitnessPause
}

// receiptDelay is how long receipts gather.
func (n *Node) receiptDelay() time.Duration {
	if n.Thrifty() {
		return max(n.cfg.ReceiptDelay, thriftReceipts)
	}
	return n.cfg.ReceiptDelay
}

// testimonyDue reports whether a pull compares testimony now.
func (n *Node) testimonyDue() bool {
	if !n.Thrifty() {
		return true
	}
	now := n.cfg.Clock.Now()
	t := n.thrift
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.testimony).Abs() < thriftTestimony {
		return false
	}
	t.testimony = now
	return true
}

// thriftyBodies chooses, of absent bodies, those that are asked for in
// low-bandwidth mode: what is control or urgent, and where there is none of that
// a trickle of the others, the newest first. held reports whether some were
// left.
func thriftyBodies(absent []*ledger.Entry, now time.Time) (chosen []*ledger.Entry, held bool) {
	for _, e := range absent {
		if ledger.ClassOf(&e.Header, now) <= ledger.ClassUrgent {
			chosen = append(chosen, e)
		}
	}
	if len(chosen) > 0 {
		return chosen, len(chosen) < len(absent)
	}
	room := thriftTrickle
	for _, e := range newestFirst(absent) {
		if ledger.ClassOf(&e.Header, now) == ledger.ClassRoutine && int(e.Header.BodyLen) <= room {
			room -= int(e.Header.BodyLen)
			chosen = append(chosen, e)
		}
	}
	return chosen, len(chosen) < len(absent)
}
