package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"

	"tocsin/ledger"
	"tocsin/mesh"
)

const (
	// pullBatch and pullBatchBytes are how much of what came shares one write. Credit is
	// given for what was written and a quarter of a window at a time, so that what waits here
	// must leave the other side enough for the longest item.
	pullBatch      = 64
	pullBatchBytes = ledger.Window / 4
	// maxWants is how many ranges are asked for at once.
	maxWants = 32
	// maxEmpty is how many claims of a neighbour may turn out to be empty before
	// the session ends.
	maxEmpty = 16
)

// puller is the client's side of one session.
type puller struct {
	n      *Node
	from   peer.ID
	s      mesh.SyncStream
	inflow *ledger.Inflow
	number uint16
	wants  map[uint16]*ledger.Expected
	empty  int
	items  int // that came

	appended int  // entries that were new here
	filled   int  // bodies that came
	later    bool // the other side ended ranges because the session is full
	more     bool // bodies are left that this session did not plan for
	// skipped: something was left, because the other side or another session of ours is at
	// its log; busy are the logs of which the other side said so.
	skipped bool
	busy    map[ledger.LogID]bool
	// came: of which logs entries were asked for, and whether any came; nil but while headers
	// are fetched.
	came map[ledger.LogID]bool

	urgent []*ledger.Entry     // of the headers that came, whose bodies are to be asked for first
	tried  map[dueKey]struct{} // urgent bodies that were asked for

	gap   *collected // headers of a proved range that are gathered; nil while there is none
	batch []item     // what came and is not stored yet, in order
	bytes int
}

// item is one thing that came.
type item struct {
	ledger.Item
	class ledger.Class
	size  int
	want  *ledger.Expected
}

func (n *Node) pull(ctx context.Context, from peer.ID, s mesh.SyncStream) error {
	p := &puller{n: n, from: from, s: s, inflow: ledger.NewInflow(), wants: make(map[uint16]*ledger.Expected),
		busy: make(map[ledger.LogID]bool), tried: make(map[dueKey]struct{})}
	defer n.sync.release(p)
	err := p.run(ctx)
	if err != nil {
		// What did come is good: keep it, and resume from there.
		if serr := p.store(context.WithoutCancel(ctx)); serr != nil {
			n.log.Debug("the end of a session was not stored", "err", serr)
		}
	}
	return err
}

// run is the session: step 1 for every scope, then headers, then testimony,
// which is only taken of logs and witnesses that are known, then bodies.
func (p *puller) run(ctx context.Context) error {
	n := p.n
	if err := n.scanAbsent(ctx); err != nil {
		n.log.Error("absent bodies are not known", "err", err)
	}
	scopes := []ledger.Scope{ledger.ScopeControl, ledger.ScopeHeaders}
	if n.tree(ledger.ScopeBodies).Len() > 0 {
		scopes = append(scopes, ledger.ScopeBodies)
	}
	answers, err := p.roots(scopes)
	if err != nil {
		return err
	}
	headers, behind, err := p.compare(ledger.ScopeHeaders, answers[1])
	if err != nil {
		return err
	}
	p.came = make(map[ledger.LogID]bool)
	if err := p.headers(ctx, headers); err != nil {
		return err
	}
	// What is urgent waits for nothing else: testimony alone takes a busy device seconds.
	ask := func() bool {
		// Where both lack the same bodies neither can help, unless headers came, here or to
		// another session.
		return p.appended > 0 || (len(scopes) == 2 || !answers[2].Equal) && n.sync.worthAsking(p.from, n.cfg.Clock.Now())
	}
	if ask() {
		if err := p.bodies(ctx, ledger.ClassUrgent); err != nil {
			return err
		}
	}
	n.sync.release(p) // all headers are here, so that anybody can tell what is urgent
	p.came = nil
	if err := p.evidence(ctx, headers); err != nil {
		return err
	}
	if !answers[0].Equal && n.testimonyDue() {
		control, _, err := p.compare(ledger.ScopeControl, answers[0])
		if err != nil {
			return err
		}
		if err := p.records(ctx, control); err != nil {
			return err
		}
	}
	if err := p.lost(ctx); err != nil {
		return err
	}
	n.sync.release(p) // nobody may have what was lost: it holds up nothing
	if err := p.letGo(ctx, headers); err != nil {
		return err
	}
	if ask() {
		if err := p.bodies(ctx, ledger.ClassBulk); err != nil {
			return err
		}
	}
	if behind {
		if err := p.s.Send(mesh.Frame{Type: frameBehind}); err != nil {
			return err
		}
	}
	switch moved := p.appended+p.filled > 0; {
	case (p.later || p.skipped) && !moved:
		return mesh.ErrNothingYet
	case p.later || p.skipped || p.more && p.filled > 0:
		return mesh.ErrSessionLimit
	case !moved && n.logs.Lacks(headers):
		return mesh.ErrNothingNew
	}
	return nil
}

// roots is step 1: one frame each way for all scopes.
func (p *puller) roots(scopes []ledger.Scope) ([]ledger.Answered, error) {
	var roots []ledger.ScopeRoot
	for _, s := range scopes {
		roots = append(roots, ledger.ScopeRoot{Scope: s, Root: p.n.tree(s).Root()})
	}
	if err := p.s.Send(mesh.Frame{Type: frameRoots, Payload: ledger.MarshalRoots(roots)}); err != nil {
		return nil, err
	}
	f, err := p.expect(frameEqual)
	if err != nil {
		return nil, err
	}
	return ledger.ParseAnswers(f.Payload, len(roots))
}

func (p *puller) expect(typ uint8) (mesh.Frame, error) {
	f, err := p.s.Receive()
	if err != nil {
		return f, err
	}
	if f.Type != typ {
		return f, ledger.Breach(ledger.BrokenRange, "frame type %d in place of %d", f.Type, typ)
	}
	return f, nil
}

// compare is step 2: which marks of theirs differ, and whether they lack
// something.
func (p *puller) compare(scope ledger.Scope, answer ledger.Answered) ([]ledger.Mark, bool, error) {
	if answer.Equal {
		return nil, false, nil
	}
	var salt [ledger.SaltSize]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return nil, false, fmt.Errorf("node: randomness: %w", err)
	}
	c := ledger.Compare(p.n.tree(scope), salt, answer.Count)
	for !c.Done() {
		if q, ok := c.Ask(); ok {
			if err := p.s.Send(mesh.Frame{Type: frameAsk, Payload: q}); err != nil {
				return nil, false, err
			}
		}
		f, err := p.expect(frameMarks)
		if err != nil {
			return nil, false, err
		}
		if err := c.Take(f.Payload); err != nil {
			return nil, false, err
		}
	}
	theirs, behind := c.Result()
	return theirs, behind, nil
}

// headers fetches what the marks lead to, again as long as that brings something:
// of an author who was not known more can be asked for once the first entries
// are here, and another session may have let go of a log.
func (p *puller) headers(ctx context.Context, theirs []ledger.Mark) error {
	for pass := 0; ; pass++ {
		need := p.n.logs.Need(theirs, p.n.cfg.Clock.Now())
		if pass == 0 {
			if err := p.proofs(ctx, need.Proofs); err != nil {
				return err
			}
		}
		before := p.appended
		skipped, err := p.entries(ctx, need.Wants)
		if err != nil {
			return err
		}
		if err := p.heralded(ctx); err != nil {
			return err
		}
		if p.later || p.appended == before && (pass > 0 || !skipped) {
			p.skipped = skipped // they may come to nothing there
			return p.branches(ctx, theirs)
		}
	}
}

// entries fetches ranges: whole entries where few are missing, else headers
// only, whose bodies follow by urgency. skipped says that other sessions are at
// some of the logs.
func (p *puller) entries(ctx context.Context, wants []ledger.Want) (skipped bool, err error) {
	var mine []ledger.Want
	missing := uint64(0)
	for _, w := range wants {
		if !p.n.sync.claim(p, w.Log, p.n.cfg.Clock.Now()) {
			skipped = true
			continue
		}
		if w, err = p.proved(ctx, w); err != nil {
			return skipped, err
		}
		if w.From == w.To {
			continue
		}
		mine = append(mine, w)
		missing += w.To - w.From
	}
	piece, class := ledger.PieceEntry, ledger.ClassUrgent
	if missing > headersFirst || p.n.Thrifty() {
		piece, class = ledger.PieceHeader, ledger.ClassControl
	}
	var requests []ledger.Request
	for _, w := range ledger.Cut(mine) {
		r := ledger.Request{Want: w, Class: class, Piece: piece}
		if w.From == 0 && piece == ledger.PieceHeader {
			// The first entry holds the credential without which the log is not taken.
			first := r
			first.To, first.Piece = 1, ledger.PieceEntry
			requests = append(requests, first)
			if r.From = 1; r.To == 1 {
				continue
			}
		}
		requests = append(requests, r)
	}
	return skipped, p.fetch(ctx, requests)
}

// lost fetches again what the store lost.
func (p *puller) lost(ctx context.Context) error {
	var requests []ledger.Request
	for _, w := range ledger.Cut(p.spoiltHere(p.n.logs.Lost())) {
		if p.n.sync.claim(p, w.Log, p.n.cfg.Clock.Now()) {
			requests = append(requests, ledger.Request{Want: w, Class: ledger.ClassUrgent, Piece: ledger.PieceEntry})
		}
	}
	return p.fetch(ctx, requests)
}

// maxPlan bounds the bodies that one session plans for; the next one goes on.
const maxPlan = 8192

// bodies fetches absent bodies of the classes up to worst, the most urgent and newest first.
func (p *puller) bodies(ctx context.Context, worst ledger.Class) error {
	if worst > ledger.ClassUrgent && p.filled > 0 && p.n.Thrifty() {
		return nil // that was enough for once
	}
	now := p.n.cfg.Clock.Now()
	var ranges []ledger.Want
	p.n.sync.bodies(func(a *ledger.Absence) {
		for _, id := range a.All() {
			ranges = append(ranges, a.Of(id)...)
		}
	})
	var absent []*ledger.Entry
	for _, w := range ranges {
		if p.more = len(absent) >= maxPlan; p.more {
			break
		}
		found, err := p.absent(ctx, w)
		if err != nil {
			p.n.log.Error("absent bodies cannot be looked up", "log", w.Log, "err", err)
			continue
		}
		found = slices.DeleteFunc(found, func(e *ledger.Entry) bool { return !p.turnOf(e, worst, now) })
		absent = append(absent, p.notBegun(w.Log, found)...)
	}
	held := false
	if p.n.Thrifty() {
		absent, held = thriftyBodies(absent, now)
	}
	p.try(absent, now)
	if err := p.fetch(ctx, ledger.Plan(absent, now)); err != nil {
		return err
	}
	asked := len(absent)+len(p.tried) > 0
	if worst == ledger.ClassBulk && asked && p.filled == 0 && !p.more && !p.later && !held && !p.skipped {
		p.n.sync.askedInVain(p.from, p.n.cfg.Clock.Now())
	}
	return nil
}

// notBegun leaves out what is routine while another session begins to fetch the headers of
// the log: those that are here are its oldest, and what is urgent may be among the rest.
func (p *puller) notBegun(id ledger.LogID, absent []*ledger.Entry) []*ledger.Entry {
	now := p.n.cfg.Clock.Now()
	if !p.n.sync.fetching(p, id, now) {
		return absent
	}
	urgent := slices.DeleteFunc(absent, func(e *ledger.Entry) bool { return ledger.ClassOf(&e.Header, now) >= ledger.ClassRoutine })
	p.skipped = p.skipped || len(urgent) < len(absent)
	return urgent
}

// absent returns the entries of a range whose bodies are absent still, and takes
// the others, which came or were erased, out of the set.
func (p *puller) absent(ctx context.Context, w ledger.Want) ([]*ledger.Entry, error) {
	var found []*ledger.Entry
	var gone []uint64
	next := w.From
	take := func(e *ledger.Entry) error {
		if next = e.Header.Seq + 1; e.Absent {
			found = append(found, e)
		} else {
			gone = append(gone, e.Header.Seq)
		}
		return nil
	}
	for next < w.To {
		err := p.n.logs.Entries(ctx, w.Log, next, w.To, take)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
			return nil, nil // it waits in the pen
		case errors.Is(err, ledger.ErrDamaged) && ctx.Err() == nil:
			next++ // it is fetched again as a whole
			continue
		case err != nil:
			return nil, err
		}
		break
	}
	found = slices.DeleteFunc(found, func(e *ledger.Entry) bool {
		worth := p.n.worthFetching(ctx, e)
		if !worth {
			gone = append(gone, e.Header.Seq)
		}
		return !worth
	})
	p.n.sync.bodies(func(a *ledger.Absence) { a.Remove(w.Log, gone...) })
	return found, nil
}

// proofs fetches fork proofs that differ from ours.
func (p *puller) proofs(ctx context.Context, logs []ledger.LogID) error {
	var requests []ledger.Request
	for _, id := range logs {
		requests = append(requests, ledger.Request{Want: ledger.Want{Log: id, To: 1}, Class: ledger.ClassControl, Piece: ledger.PieceFork})
	}
	return p.fetch(ctx, requests)
}

// records fetches testimony about logs of which theirs differs. Both sides merge
// and end with the same.
func (p *puller) records(ctx context.Context, theirs []ledger.Mark) error {
	var requests []ledger.Request
	for _, m := range theirs {
		requests = append(requests, ledger.Request{Want: ledger.Want{Log: m.Log, To: 1}, Class: ledger.ClassControl, Piece: ledger.PieceRecords})
	}
	return p.fetch(ctx, requests)
}

// branches looks, for each mark that still contradicts our log, for the lowest
// place at which the two differ; the entry there and ours prove the fork.
func (p *puller) branches(ctx context.Context, theirs []ledger.Mark) error {
	for _, m := range p.n.logs.Need(theirs, p.n.cfg.Clock.Now()).Branches {
		if err := p.bisect(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (p *puller) bisect(ctx context.Context, m ledger.Mark) error {
	hi := m.Next - 1
	ours, err := p.n.logs.Entry(ctx, m.Log, hi)
	if err != nil {
		return nil // damaged here: lost sees to it
	}
	if ours.ID() == ledger.ID(m.ID) {
		return nil // they are behind on the same branch
	}
	p.n.log.Warn("a neighbour holds another branch of a log", "log", m.Log)
	b := ledger.NewBisect(hi)
	for {
		seq, found := b.Place()
		theirs, err := p.one(m.Log, seq)
		if err != nil || theirs == nil {
			return err
		}
		ours, err := p.n.logs.Entry(ctx, m.Log, seq)
		if err != nil {
			return nil
		}
		same := theirs.ID() == ours.ID()
		if !found {
			b.Take(same)
			continue
		}
		if same {
			return ledger.Breach(ledger.BrokenFrontier, "it shows a branch and then does not hold it")
		}
		results, _ := p.n.acceptHeaders(ctx, theirs.HeaderFrame())
		if len(results) == 1 && results[0].rejected() {
			return ledger.Breach(ledger.BrokenEntry, "a header that does not verify")
		}
		return nil
	}
}

// one fetches a single header and verifies it; nil if it is not held there.
func (p *puller) one(id ledger.LogID, seq uint64) (*ledger.Entry, error) {
	r := ledger.Request{Want: ledger.Want{Log: id, From: seq, To: seq + 1}, Class: ledger.ClassControl, Piece: ledger.PieceHeader}
	number := p.number
	if err := p.ask(r); err != nil {
		return nil, err
	}
	var e *ledger.Entry
	for p.wants[number] != nil {
		f, err := p.s.Receive()
		if err != nil {
			return nil, err
		}
		switch f.Type {
		case frameItem:
			it, err := p.item(f)
			if err != nil {
				return nil, err
			}
			v, _, err := ledger.VerifyHeaderFrame(it.Data)
			if err != nil {
				return nil, ledger.Breach(ledger.BrokenEntry, "a header that does not verify: %v", err)
			}
			if err := it.want.Take(it.Piece, v.Entry().Header.Log(), v.Entry().Header.Seq); err != nil {
				return nil, err
			}
			e = v.Entry()
			if err := p.credit(it); err != nil {
				return nil, err
			}
		case frameDone:
			if err := p.done(f.Payload); err != nil {
				return nil, err
			}
		default:
			return nil, ledger.Breach(ledger.BrokenRange, "frame type %d among items", f.Type)
		}
	}
	return e, nil
}
