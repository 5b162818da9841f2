package node

// The inbound flow, top to bottom. Every frame passes accept, whatever it came
// by: gossip (Receive), synchronisation (Pull in sync.go), and later a stick.
//
//	Receive, Pull    a frame from a neighbour
//	accept           verify → append (on disk), idempotent
//	settle           the verdict, and the work for the drain
//	drain.go         control → directory, epoch → group, data → opened message
//
// The verdict on which a neighbour is scored judges the entry alone: our own
// full disk or locked vault is never the neighbour's fault.

import (
	"bytes"
	"context"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/mesh"
)

// earlyWait is how long an entry that came ahead of its predecessor keeps its
// place in gossip. Frames of one author are checked concurrently and overtake
// each other by milliseconds; without the wait such an entry would be kept here
// and handed on to nobody.
const earlyWait = 500 * time.Millisecond

// Receive implements [mesh.Receiver].
func (n *Node) Receive(ctx context.Context, from peer.ID, frame []byte) mesh.Verdict {
	if bytes.HasPrefix(frame, frameReceipt) {
		return n.receiveReceipt(frame)
	}
	r := n.accept(ctx, frame)[0]
	if r.outcome != ledger.Penned || !n.people.Known(r.entry.Header.Author) {
		return r.verdict
	}
	n.hurry(from, r.entry)
	h := &r.entry.Header
	reached := n.due.reach(h.Log(), h.Seq)
	defer n.due.giveUp(h.Log(), reached)
	if head, _ := n.logs.Head(h.Log()); head.Next <= h.Seq {
		select {
		case <-reached:
		case <-ctx.Done():
			return mesh.Ignore
		case <-n.cfg.Clock.After(earlyWait):
			if h.Priority != ledger.Routine {
				n.due.overtook(h.Log(), h.Seq)
			}
			return mesh.Ignore
		}
	}
	if held, err := n.logs.Entry(ctx, h.Log(), h.Seq); err != nil || held.ID() != r.entry.ID() {
		return mesh.Ignore // another branch took the place
	}
	return mesh.Accept
}

// handOn has neighbours pull what gossip has not handed on.
func (n *Node) handOn() {
	select {
	case <-n.joined:
		n.mesh.Nudge()
	default: // nobody is in reach yet
	}
}

// received is what became of one frame.
type received struct {
	verdict mesh.Verdict
	outcome ledger.Outcome // 0 when it did not verify or could not be saved
	entry   *ledger.Entry  // as it was stored, nil when it did not verify
	unsure  bool           // it was stored without its body before it was clear whether this device reads it
}

// way is how an entry came, on which depends what is done while it cannot be told
// whether its body is for this device.
type way uint8

const (
	pushed  way = iota // by gossip: others are not held up, and the body can be asked for
	fetched            // by synchronisation: it can wait a moment
	brought            // on a stick, which may not come again
)

func (r received) rejected() bool { return r.verdict == mesh.Reject }

// accept takes in what was pushed at this device.
func (n *Node) accept(ctx context.Context, frames ...[]byte) []received {
	return n.acceptBy(ctx, pushed, frames...)
}

// acceptBy is the one way into the ledger for entries that this device did not
// write. It says what became of each frame; those that verify share one
// write, so that a backlog does not cost a sync an entry.
func (n *Node) acceptBy(ctx context.Context, by way, frames ...[]byte) []received {
	results := make([]received, len(frames))
	verified := make([]ledger.Verified, 0, len(frames))
	places := make([]int, 0, len(frames))
	coming := make(map[identity.Key]uint64)
	for i, frame := range frames {
		v, err := ledger.Verify(frame)
		if err != nil {
			results[i].verdict = mesh.Reject
			n.count(func(m *Metrics) { m.Refused++ })
			n.log.Debug("refused an entry", "err", err)
			continue
		}
		v, unsure := n.bounded(v, by, coming)
		if unsure {
			defer n.due.fill(v.Entry()) // once it is stored
		}
		results[i] = received{verdict: mesh.Ignore, entry: v.Entry(), unsure: unsure}
		verified, places = append(verified, v), append(places, i)
	}
	n.cfg.Step("inbound:verified")
	now := n.cfg.Clock.Now()
	outcomes, err := n.logs.AppendBatch(ctx, verified, now)
	if err != nil {
		n.count(func(m *Metrics) { m.StoreErrors++ })
		n.log.Error("entries could not be saved; they will be asked for again", "entries", len(verified), "err", err)
		n.recover(ctx, verified)
		return results
	}
	n.cfg.Step("inbound:appended")
	for i, o := range outcomes {
		r := &results[places[i]]
		r.outcome, r.verdict = o, n.settle(ctx, r.entry, o)
	}
	return results
}

// recover sees to what an append that failed may have saved all the same: entries,
// and bodies of such as the drain has passed.
func (n *Node) recover(ctx context.Context, verified []ledger.Verified) {
	for _, v := range verified {
		if v.Entry().Header.Seq == 0 {
			n.release(context.WithoutCancel(ctx), v.Entry().Header.Author)
		}
	}
	n.due.addEverything()
	n.keeper.readAll(n.logs.Frontier())
}

// settle turns what the ledger did into a verdict, and wakes who waits for it.
func (n *Node) settle(ctx context.Context, e *ledger.Entry, outcome ledger.Outcome) mesh.Verdict {
	switch outcome {
	case ledger.Appended:
		n.count(func(m *Metrics) { m.Appended++ })
		if e.Header.Priority == ledger.Stat {
			n.sync.statCame(e.Header.Log())
		}
		if e.Header.Seq == 0 {
			n.release(ctx, e.Header.Author)
			n.events.publish(Event{Type: EventPeople})
		}
		n.arrived(e)
		n.knock(e)
		return mesh.Accept
	case ledger.Filled, ledger.Restored:
		n.arrived(e)
		n.due.fill(e)
		if outcome == ledger.Restored { // and with it maybe others, that waited in the pen for it
			n.due.putBack(work{allFilled: true, allWaiting: true})
		}
		return mesh.Accept
	case ledger.Known:
		n.count(func(m *Metrics) { m.Known++ })
	case ledger.Penned:
		n.count(func(m *Metrics) { m.Penned++ })
		if n.people.Known(e.Header.Author) {
			n.knock(e)
		}
	case ledger.Forked:
		n.count(func(m *Metrics) { m.Forked++ })
		n.due.ring() // it may be our own log that was cloned
		n.forkSeen(e.Header.Log())
		if e.HasBody() && n.forks.body(e.ID()) {
			n.evidenceSoon()
		}
	case ledger.OverBudget:
		n.count(func(m *Metrics) { m.OverLimit++ })
	case ledger.OwnAhead:
		n.log.Warn("others hold entries of this device that it does not hold itself: it was restored from a backup or copied", "log", e.Header.Log(), "seq", e.Header.Seq)
		n.seen(e.Header.Log())
		n.due.ring() // goOn follows the drain
	}
	return mesh.Ignore
}

// arrived sets to work what follows from an entry that is durable now.
func (n *Node) arrived(e *ledger.Entry) {
	head, _ := n.logs.Head(e.Header.Log())
	n.carried(e)
	n.heed(e, head.Next)
	n.due.add(e, head.Next)
	n.testimony.grew(e.Header.Log())
}

// bodyArrived is arrived for an entry whose body came after its header.
func (n *Node) bodyArrived(id identity.LogID, seq uint64) {
	e, err := n.logs.Entry(n.ctx, id, seq)
	if err != nil {
		n.log.Error("an entry whose body has come cannot be read", "log", id, "seq", seq, "err", err)
		return
	}
	n.arrived(e)
	n.due.fill(e)
}

// release appends what waited for an author's credential.
func (n *Node) release(ctx context.Context, author identity.Key) {
	released, err := n.logs.Release(ctx, author, n.cfg.Clock.Now())
	if err != nil {
		n.log.Error("entries that waited for a credential could not be saved; they will be asked for again", "err", err)
	}
	if released > 0 {
		n.due.addAll()
		n.keeper.readAll(n.logs.Frontier())
	}
}

func (n *Node) count(f func(*Metrics)) {
	n.countMu.Lock()
	defer n.countMu.Unlock()
	f(&n.counters)
}
