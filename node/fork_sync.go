package node

// How a fork is found, told and spread. The ledger proves it and keeps both
// branches (ledger/evidence.go); here neighbours are told at once, and a session
// fetches what of the branches is not known.

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"tocsin/ledger"
)

// forkWatch remembers what was told of forks, so that each is told once.
type forkWatch struct {
	mu   sync.Mutex
	told map[ledger.LogID]ledger.Mark // guarded by mu: the mark with which it was told last

	asked map[askedOf]askedAt // guarded by mu: neighbours asked for bodies of evidence

	bodies map[ledger.ID]struct{} // guarded by mu: evidence that came with its body; bounded by maxEvidenceBodies

	todo  atomic.Bool // there is evidence that the drain has not looked at
	fresh atomic.Bool // a fork is new: what is shown of its log needs a mark
}

// askedOf and askedAt are what a neighbour was asked for, and when.
type askedOf struct {
	peer peer.ID
	log  ledger.LogID
}

type askedAt struct {
	want ledger.Want
	at   time.Time
}

func newForkWatch() *forkWatch {
	return &forkWatch{told: make(map[ledger.LogID]ledger.Mark), asked: make(map[askedOf]askedAt), bodies: make(map[ledger.ID]struct{})}
}

// maxEvidenceBodies bounds what is remembered of evidence; beyond it some of it is
// looked at once more.
const maxEvidenceBodies = 4096

// body reports whether the body of a piece of evidence was not here before. Headers
// come first, and the mark of a log says nothing of bodies: without this the drain
// would not look again.
func (w *forkWatch) body(id ledger.ID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, known := w.bodies[id]; known {
		return false
	}
	if len(w.bodies) >= maxEvidenceBodies {
		clear(w.bodies)
	}
	w.bodies[id] = struct{}{}
	return true
}

// news reports whether something is known of a fork that was not told, and
// whether the fork itself is new.
func (w *forkWatch) news(m ledger.Mark) (changed, fresh bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old, told := w.told[m.Log]
	w.told[m.Log] = m
	return !told || old.Fork != m.Fork, !told || !old.SameProof(m)
}

// startForks notes the forks that were known before this start.
func (n *Node) startForks() {
	for _, f := range n.logs.Forks() {
		if m, ok := n.logs.Tree().Get(f.Log); ok {
			n.forks.news(m)
		}
	}
}

// forkSeen looks whether a log that has just contradicted something is forked,
// and tells subscribers. Neighbours are told to ask at once, so that everybody
// knows within one round.
func (n *Node) forkSeen(id ledger.LogID) {
	f, forked := n.logs.Fork(id)
	m, ok := n.logs.Tree().Get(id)
	if !forked || !ok {
		return // which branch is whose cannot be told yet
	}
	changed, fresh := n.forks.news(m)
	if !changed {
		return
	}
	if fresh {
		n.forks.fresh.Store(true)
	}
	n.evidenceSoon()
	n.events.publish(Event{Type: EventFork})
	if fresh {
		n.log.Warn("a device signed two entries at one place: it was copied, or it lies; its log is closed", "log", id, "seq", f.Seq)
		n.events.publish(Event{Type: EventPeople})
	}
	select {
	case <-n.joined:
		n.mesh.Nudge()
	default: // neighbours compare logs when they connect
	}
}

// evidence is the step of a session that fetches what of the branches of forked
// logs is not known here: first what lies beyond ours, then, where the two differ
// still, all of it. theirs are the marks that differed.
func (p *puller) evidence(ctx context.Context, theirs []ledger.Mark) error {
	if p.n.Thrifty() {
		return nil // the proof is enough for now
	}
	for _, again := range []bool{false, true} {
		wants := make(map[ledger.LogID]ledger.Want)
		for _, m := range theirs {
			if w, ok := p.n.logs.Evidence(m, again); ok {
				wants[m.Log] = w
			}
		}
		if !again {
			p.bare(wants)
		}
		var requests []ledger.Request
		for _, id := range slices.SortedFunc(maps.Keys(wants), ledger.LogID.Compare) {
			requests = append(requests, ledger.Request{Want: wants[id], Class: ledger.ClassRoutine, Piece: ledger.PieceEvidence})
		}
		if err := p.fetch(ctx, requests); err != nil {
			return err
		}
	}
	return nil
}

// bare adds to wants the evidence of which bodies are missing here, unless this
// neighbour was asked for the same a while ago.
func (p *puller) bare(wants map[ledger.LogID]ledger.Want) {
	now := p.n.cfg.Clock.Now()
	for _, f := range p.n.logs.Forks() {
		w, ok := p.n.logs.Bare(f.Log)
		if !ok || !p.n.forks.ask(p.from, w, now) {
			continue
		}
		if other, ok := wants[w.Log]; ok {
			w.From = min(w.From, other.From)
		}
		wants[w.Log] = w
	}
}

// ask reports whether a neighbour is to be asked for the bodies of evidence, and
// remembers that it was.
func (w *forkWatch) ask(p peer.ID, want ledger.Want, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := askedOf{p, want.Log}
	last, asked := w.asked[key]
	if asked && last.want == want && now.Sub(last.at).Abs() < vainTime {
		return false
	}
	for other := range w.asked {
		if len(w.asked) < maxRations {
			break
		}
		delete(w.asked, other)
	}
	w.asked[key] = askedAt{want, now}
	return true
}

// takeEvidence takes what came: through the one way in for entries, which finds
// that they have no place in the log and keeps them apart.
func (p *puller) takeEvidence(ctx context.Context, run []item) error {
	for len(run) > 0 {
		k := 1
		for k < len(run) && run[k].Data[0] == run[0].Data[0] {
			k++
		}
		frames := make([][]byte, k)
		for i, it := range run[:k] {
			frames[i] = it.Data[1:]
		}
		accept := p.n.accept
		if run[0].Data[0] == 0 {
			accept = func(ctx context.Context, frames ...[]byte) []received {
				results, _ := p.n.acceptHeaders(ctx, frames...)
				return results
			}
		}
		for _, r := range accept(ctx, frames...) {
			if r.rejected() {
				return ledger.Breach(ledger.BrokenEntry, "evidence that does not verify")
			}
		}
		run = run[k:]
	}
	return nil
}

// check holds evidence against what was asked for.
func checkEvidence(i *item) error {
	h, err := ledger.ParseEvidence(i.Data)
	if err != nil {
		return ledger.Breach(ledger.BrokenEntry, "evidence that cannot be read: %v", err)
	}
	return i.want.Take(i.Piece, h.Log(), h.Seq)
}

// readEvidence reads what is asked for of the branches of a log. There are at most
// two entries at a place, so that a place is read whole.
func (v *server) readEvidence(ctx context.Context, j *job) error {
	bytes := 0
	read := j.From
	err := v.n.logs.EachEvidence(ctx, j.Log, j.From, j.To, func(e *ledger.Entry) error {
		if bytes > aheadBytes && e.Header.Seq > read {
			return errEnough
		}
		i := ledger.Item{Number: j.number, Piece: ledger.PieceEvidence, Data: ledger.MarshalEvidence(e)}
		j.ready = append(j.ready, i)
		bytes += len(i.Data)
		read = e.Header.Seq
		return nil
	})
	j.From = read + 1
	if errors.Is(err, errEnough) {
		return nil
	}
	j.read, j.short = true, len(j.ready) == 0 && bytes == 0
	return err
}
