package node

// Proved ranges (protocol §6, last paragraph): of a long gap below a checkpoint
// only headers, hash links, tree and one signature are checked before it is
// stored, and every signature afterwards, a few at a time:
//
//	proved      fetch a gap as a proved range, from a neighbour that never spoilt one
//	acceptRange store it, unchecked
//	checkLoop   every signature; who spoilt one is named
//
// The ledger hands out nothing unchecked, so neither does anything here.

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

const (
	// provedLeast is from how many missing entries of a log on a proved range is
	// worth its checkpoint, provedMost how many are asked for as one: they wait in
	// memory, at about 300 bytes each, until the last has come.
	provedLeast = 128
	provedMost  = 8192
	// checkBudget is how many signatures are checked in one turn, about 15 ms of
	// work, and checkPause the rest after it.
	checkBudget = 256
	checkPause  = 5 * time.Millisecond
	// spoilerTime is how long whoever spoilt entries is not asked for them again.
	// Nobody else may ever come who has them.
	spoilerTime = time.Hour
	// maxSpoilers bounds those that are remembered.
	maxSpoilers = 256
	// blameSpoiled is what the mesh counts such a neighbour under.
	blameSpoiled = "spoiled"
)

// Spoiler is a neighbour that handed us entries whose signatures it, or its
// disk, had spoilt. The authors of the entries are not to blame.
type Spoiler struct {
	Peer    string    `json:"peer"`
	Name    string    `json:"name,omitempty"` // as its credential says, where that is held
	Org     string    `json:"org,omitempty"`
	Entries uint64    `json:"entries"`           // spoilt since start, and before that if they are missing still
	Last    time.Time `json:"last,omitzero"`     // when the last was found; zero for before the start
	Missing uint64    `json:"missing,omitempty"` // of Entries, those that nobody else has brought yet
}

// checking is what a node knows of proved ranges.
type checking struct {
	wake chan struct{} // one pending wake-up of checkLoop

	mu       sync.Mutex
	spoilers map[peer.ID]*Spoiler // guarded by mu
}

func newChecking() *checking {
	return &checking{wake: make(chan struct{}, 1), spoilers: make(map[peer.ID]*Spoiler)}
}

func (c *checking) ring() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// spoiled notes one more entry that p spoilt.
func (c *checking) spoiled(p peer.ID, entries uint64, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.spoilers[p]
	if s == nil {
		for other := range c.spoilers {
			if len(c.spoilers) < maxSpoilers {
				break
			}
			delete(c.spoilers, other)
		}
		s = &Spoiler{Peer: p.String()}
		c.spoilers[p] = s
	}
	s.Entries += entries
	s.Last = at
}

// distrusts reports whether every signature of what p brings is checked at once.
func (c *checking) distrusts(p peer.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spoilers[p] != nil
}

// avoids reports whether p is not asked for what it spoilt.
func (c *checking) avoids(p peer.ID, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.spoilers[p]
	return s != nil && now.Sub(s.Last).Abs() < spoilerTime
}

// openChecking remembers who spoilt what is missing still.
func (n *Node) openChecking() {
	for carrier, entries := range n.logs.Spoilers() {
		if carrier != "" {
			n.checks.spoiled(peer.ID(carrier), entries, time.Time{})
		}
	}
	n.checks.ring()
}

// Spoilers returns the neighbours that spoilt entries, the worst first.
func (n *Node) Spoilers() []Spoiler {
	missing := n.logs.Spoilers()
	n.checks.mu.Lock()
	defer n.checks.mu.Unlock()
	var out []Spoiler
	for p, s := range n.checks.spoilers {
		one := *s
		one.Missing = missing[string(p)]
		if c := n.people.ofPeer(p); c != nil {
			one.Name, one.Org = c.Claims.Name, c.Person.Org
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b Spoiler) int {
		if a.Entries != b.Entries {
			return int(b.Entries) - int(a.Entries)
		}
		return slices.Compare([]byte(a.Peer), []byte(b.Peer))
	})
	return out
}

// ofPeer finds a credential by its device's peer id, nil if none is known.
func (d *directory) ofPeer(p peer.ID) *identity.Credential {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, c := range d.creds {
		if c.Peer == p {
			return c
		}
	}
	return nil
}

// checkLoop is the one goroutine that checks the signatures of proved ranges.
func (n *Node) checkLoop() {
	defer n.wg.Done()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.checks.wake:
		}
		for more := true; more; {
			var err error
			if more, err = n.check(); err != nil {
				if n.ctx.Err() == nil {
					n.log.Error("signatures that are still to be checked could not be; it is tried again in a moment", "err", err)
				}
				if !n.wait(drainRetry) {
					return
				}
				more = true
			}
			if !n.wait(checkPause) {
				return
			}
		}
	}
}

// check is one turn of checkLoop, and says whether there is more to do.
func (n *Node) check() (bool, error) {
	r, err := n.logs.Check(n.ctx, checkBudget)
	n.count(func(m *Metrics) { m.Checked += r.Checked; m.Spoilt += uint64(len(r.Spoilt)) })
	if len(r.Spoilt) > 0 {
		n.spoiled(r.Spoilt)
	}
	return r.More, err
}

// spoiled names who brought entries with wrong signatures, and asks others for
// them.
func (n *Node) spoiled(entries []ledger.Spoilt) {
	by := make(map[peer.ID]uint64)
	for _, s := range entries {
		by[peer.ID(s.Carrier)]++
	}
	for p, count := range by {
		if p == "" {
			n.log.Error("entries had wrong signatures, and it is not known any more who brought them; they are asked for again", "entries", count)
			continue
		}
		select {
		case <-n.joined:
			n.mesh.Blame(p, blameSpoiled) // before it is named: who is shown as a spoiler has been blamed
		default: // found before there were neighbours
		}
		n.checks.spoiled(p, count, n.cfg.Clock.Now())
		n.log.Error("a neighbour handed us entries with spoilt signatures; they are asked for elsewhere", "peer", p, "entries", count)
	}
	n.events.publish(Event{Type: EventPeers})
	select {
	case <-n.joined:
		n.mesh.SyncSoon("")
	default:
	}
}

// collected gathers the headers of one range in place of storing them.
type collected struct {
	ledger.Want
	frames [][]byte
}

// proved fetches the beginning of a gap as a proved range where the neighbour, or
// this device, has a checkpoint for it. It returns what is left to be fetched with
// every signature checked.
func (p *puller) proved(ctx context.Context, w ledger.Want) (ledger.Want, error) {
	n := p.n
	if w.From == 0 || w.To-w.From < provedLeast || w.Log.Author == n.cred.SigningKey || n.checks.distrusts(p.from) {
		return w, nil
	}
	cp, err := p.checkpoint(ctx, w)
	if err != nil || cp.Size == 0 {
		return w, err
	}
	p.gap = &collected{Want: ledger.Want{Log: w.Log, From: w.From, To: cp.Size}}
	var requests []ledger.Request
	for _, part := range ledger.Cut([]ledger.Want{p.gap.Want}) {
		requests = append(requests, ledger.Request{Want: part, Class: ledger.ClassControl, Piece: ledger.PieceHeader})
	}
	err = p.fetch(ctx, requests)
	got := p.gap
	p.gap = nil
	if err = errors.Join(err, p.acceptRange(context.WithoutCancel(ctx), got, cp)); err != nil {
		return w, err
	}
	head, _ := n.logs.Head(w.Log)
	w.From = min(max(w.From, head.Next), w.To)
	return w, nil
}

// checkpoint returns the longest checkpoint that a proved range of this gap can
// end at; its size is 0 if there is none.
func (p *puller) checkpoint(ctx context.Context, w ledger.Want) (ledger.Checkpoint, error) {
	best, err := p.bestCheckpoint(ctx, w)
	if err != nil || best.Size > 0 {
		return best, err
	}
	if err := p.records(ctx, []ledger.Mark{{Log: w.Log}}); err != nil {
		return best, err
	}
	return p.bestCheckpoint(ctx, w)
}

func (p *puller) bestCheckpoint(ctx context.Context, w ledger.Want) (best ledger.Checkpoint, err error) {
	t, err := p.n.testimony.table.Of(ctx, w.Log)
	if err != nil {
		return best, nil // what is damaged of it comes again; the gap is fetched without
	}
	for _, c := range t.Cosigned() {
		if c.Size > best.Size && c.Size >= w.From+provedLeast && c.Size <= min(w.To, w.From+provedMost) {
			best = c.Checkpoint
		}
	}
	return best, nil
}

// acceptRange stores what came of a proved range. What is not proved goes
// through the inbound path like everything else, every signature checked.
func (p *puller) acceptRange(ctx context.Context, got *collected, cp ledger.Checkpoint) error {
	frames := got.frames
	if uint64(len(frames)) == got.To-got.From {
		done, err := p.appendRange(ctx, got, cp)
		if err != nil {
			return err
		}
		frames = frames[done:]
	}
	for part := range slices.Chunk(frames, pullBatch) {
		if err := p.acceptFrames(ctx, ledger.PieceHeader, part); err != nil {
			return err
		}
	}
	return nil
}

// appendRange stores the entries of a range that is whole, and says how many it
// took.
func (p *puller) appendRange(ctx context.Context, got *collected, cp ledger.Checkpoint) (int, error) {
	n := p.n
	headers := make([][]byte, len(got.frames))
	for i, frame := range got.frames {
		signed, err := ledger.SignedOf(frame)
		if err != nil {
			return 0, ledger.Breach(ledger.BrokenEntry, "a header that cannot be read: %v", err)
		}
		headers[i] = signed
	}
	edge, err := n.testimony.trees.Edge(ctx, got.Log, got.From)
	if err != nil {
		n.log.Warn("the tree of a log cannot be read; every signature is checked", "log", got.Log, "err", err)
		return 0, nil
	}
	proved, err := ledger.VerifyRange(n.trust.MeshID(), edge, headers, cp)
	if err != nil {
		// Another branch, or a log that grew here meanwhile: their signatures tell.
		n.log.Debug("headers are not those of a checkpoint; every signature is checked", "log", got.Log, "err", err)
		return 0, nil
	}
	outcomes, err := n.logs.AppendProved(ctx, proved, []byte(p.from), n.cfg.Clock.Now())
	if err != nil {
		n.count(func(m *Metrics) { m.StoreErrors++ })
		n.log.Error("entries could not be saved; they will be asked for again", "entries", proved.Len(), "err", err)
		n.due.addAll()
		n.keeper.readAll(n.logs.Frontier())
		return len(got.frames), nil
	}
	done := p.settleRange(ctx, proved.Entries(), outcomes)
	n.checks.ring()
	return done, nil
}

// settleRange does for each entry that was stored what follows from it.
func (p *puller) settleRange(ctx context.Context, entries []*ledger.Entry, outcomes []ledger.Outcome) (done int) {
	n := p.n
	for i, o := range outcomes {
		if o != ledger.Appended && o != ledger.Known {
			break
		}
		done++
		if o == ledger.Appended {
			p.appended++
			n.count(func(m *Metrics) { m.Proved++ })
			n.settle(ctx, entries[i], o)
			n.lacks(&entries[i].Header)
		}
	}
	return done
}

// lacks notes a body that is to be fetched.
func (n *Node) lacks(h *ledger.Header) {
	if h.BodyLen > 0 {
		n.sync.bodies(func(a *ledger.Absence) { a.Add(h.Log(), h.Seq) })
	}
}

// spoiltHere returns which parts of lost places the neighbour is asked for: not
// what it spoilt itself, for a while.
func (p *puller) spoiltHere(lost []ledger.Want) []ledger.Want {
	if !p.n.checks.avoids(p.from, p.n.cfg.Clock.Now()) {
		return lost
	}
	var out []ledger.Want
	for _, w := range lost {
		var seqs []uint64
		for seq := w.From; seq < w.To; seq++ {
			if by, spoilt := p.n.logs.SpoiltBy(w.Log, seq); !spoilt || peer.ID(by) != p.from {
				seqs = append(seqs, seq)
			}
		}
		out = append(out, ledger.Ranges(w.Log, seqs)...)
	}
	return out
}
