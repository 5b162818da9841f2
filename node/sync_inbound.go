package node

import (
	"context"
	"fmt"
	"slices"

	"tocsin/ledger"
	"tocsin/mesh"
)

// acceptHeaders is accept for entries that came without their bodies, as header
// frames: the same checks but for the body, the same batch, the same verdicts.
// erased says which bodies the sender does not have any more.
func (n *Node) acceptHeaders(ctx context.Context, frames ...[]byte) (results []received, erased []bool) {
	results, erased = make([]received, len(frames)), make([]bool, len(frames))
	verified := make([]ledger.Verified, 0, len(frames))
	places := make([]int, 0, len(frames))
	for i, frame := range frames {
		v, gone, err := ledger.VerifyHeaderFrame(frame)
		if err != nil {
			results[i].verdict = mesh.Reject
			n.count(func(m *Metrics) { m.Refused++ })
			n.log.Debug("refused a header", "err", err)
			continue
		}
		results[i], erased[i] = received{verdict: mesh.Ignore, entry: v.Entry()}, gone
		verified, places = append(verified, v), append(places, i)
	}
	outcomes, err := n.logs.AppendBatch(ctx, verified, n.cfg.Clock.Now())
	if err != nil {
		n.count(func(m *Metrics) { m.StoreErrors++ })
		n.log.Error("headers could not be saved; they will be asked for again", "entries", len(verified), "err", err)
		n.recover(ctx, verified)
		return results, erased
	}
	for i, o := range outcomes {
		r := &results[places[i]]
		r.outcome, r.verdict = o, n.settle(ctx, r.entry, o)
		// What waits ahead of a gap is noted too: nobody says when it leaves the pen.
		// What waits for its author's credential is not: the pen may forget it.
		waits := o == ledger.Penned && n.people.Known(r.entry.Header.Author)
		if (o == ledger.Appended || waits) && r.entry.Header.BodyLen > 0 {
			n.sync.bodies(func(a *ledger.Absence) { a.Add(r.entry.Header.Log(), r.entry.Header.Seq) })
		}
	}
	return results, erased
}

// body is one body that came for a header that is held.
type body struct {
	log  ledger.LogID
	seq  uint64
	data []byte
}

// acceptBodies joins bodies to the headers held and takes the whole entries
// through accept. A body that is not its header's is the sender's doing.
func (n *Node) acceptBodies(ctx context.Context, bodies ...body) error {
	frames := make([][]byte, 0, len(bodies))
	for _, b := range bodies {
		e, err := n.logs.Entry(ctx, b.log, b.seq)
		if err != nil {
			return fmt.Errorf("node: the header of a body that came: %w", err)
		}
		frames = append(frames, wholeFrame(e.SignedHeader(), b.data))
	}
	for i, r := range n.acceptBy(ctx, fetched, frames...) {
		if r.rejected() {
			return ledger.Breach(ledger.BrokenEntry, "a body that is not its header's")
		}
		if r.unsure {
			continue // it was not stored, and may be for this device: it is asked for still
		}
		switch r.outcome { // over a budget or unsaved, it is asked for again
		case ledger.Filled, ledger.Known, ledger.Restored, ledger.Appended:
			n.sync.bodies(func(a *ledger.Absence) { a.Remove(bodies[i].log, bodies[i].seq) })
		}
	}
	return nil
}

// wholeFrame is [ledger.Entry.Frame] of an entry in two parts.
func wholeFrame(signed, body []byte) []byte {
	f := make([]byte, 0, 5+len(signed)+len(body))
	f = append(f, byte(len(signed)>>8), byte(len(signed)))
	f = append(f, signed...)
	f = append(f, byte(len(body)>>16), byte(len(body)>>8), byte(len(body)))
	return append(f, body...)
}

// scanAbsent looks through some more of the logs, once after each start, for
// bodies that an earlier run left absent. A session does a part of it, because a
// large store takes a while to read.
func (n *Node) scanAbsent(ctx context.Context) error {
	s := n.sync
	s.scanMu.Lock()
	defer s.scanMu.Unlock()
	for left := uint64(absentScan); left > 0 && !s.scanned; {
		head, found := ledger.Head{}, false
		n.logs.EachHead(s.scanLog, func(h ledger.Head) bool { head, found = h, true; return false })
		if !found {
			s.scanned = true
			return nil
		}
		if head.Log != s.scanLog {
			s.scanLog, s.scanSeq = head.Log, 0
		}
		to := min(head.Next, s.scanSeq+left)
		var absent []*ledger.Entry
		err := n.logs.Bodyless(ctx, head.Log, s.scanSeq, to, func(e *ledger.Entry) error {
			if e.Header.BodyLen > 0 {
				absent = append(absent, e)
			}
			return nil
		})
		if err != nil && ctx.Err() != nil {
			return ctx.Err() // whoever asked has gone: the next one goes on here
		}
		if err != nil {
			// The log is damaged: what is lost of it is fetched again as a whole.
			n.log.Error("absent bodies of a log are not known", "log", head.Log, "err", err)
			to = head.Next
		}
		var seqs []uint64
		for _, e := range absent {
			if n.worthFetching(ctx, e) {
				seqs = append(seqs, e.Header.Seq)
			}
		}
		n.sawAbsent(ctx, head.Log, seqs)
		left -= min(left, max(to-s.scanSeq, 1))
		s.scanSeq = to
		if to == head.Next {
			s.scanLog, s.scanSeq = after(head.Log), 0
		}
	}
	return ctx.Err()
}

// sawAbsent notes bodies that were absent when their log was read. One that came
// between that and now was taken out before it is noted here, so that they are
// looked at once more: else it would count as missing until a session looks.
func (n *Node) sawAbsent(ctx context.Context, id ledger.LogID, seqs []uint64) {
	n.sync.bodies(func(a *ledger.Absence) {
		seqs = slices.DeleteFunc(seqs, func(seq uint64) bool { return a.Has(id, seq) })
		a.Add(id, seqs...)
	})
	var came []uint64
	for _, seq := range seqs {
		if e, err := n.logs.Entry(ctx, id, seq); err == nil && !e.Absent {
			came = append(came, seq)
		}
	}
	n.sync.bodies(func(a *ledger.Absence) { a.Remove(id, came...) })
}

// after returns the log id that follows id in order.
func after(id ledger.LogID) ledger.LogID {
	if id.Incarnation++; id.Incarnation != 0 {
		return id
	}
	for i := len(id.Author) - 1; i >= 0; i-- {
		if id.Author[i]++; id.Author[i] != 0 {
			break
		}
	}
	return id
}
