package mesh

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// BlobWant is a chunk that the node wants.
type BlobWant struct {
	Name BlobName
	// Rank orders what is fetched: lower ones first.
	Rank uint64
	// Hops is how many devices in a row may be asked to fetch the chunk for us where no
	// neighbour has it; 0 for none.
	Hops uint8
}

// blobPlan says what to ask of whom and who fetches what: pure state under a
// lock, without a clock or a network. A chunk is fetched from one holder at a time,
// while there are others to fetch from the next; at the end, from two.
type blobPlan struct {
	mu    sync.Mutex
	wants map[BlobName]*blobWant
	order []*blobWant // by rank; nil: to be made anew
	peers map[peer.ID]*blobPeer
}

// blobWant is the plan's view of a want.
type blobWant struct {
	BlobWant
	claims   []peer.ID // who is fetching it from whom
	carriers []peer.ID // who was asked to fetch it for us
	lacked   bool      // somebody was asked and has it not
}

// blobPeer is the plan's view of a neighbour.
type blobPeer struct {
	held   map[BlobName]bool      // its answers
	parts  map[BlobName]*blobPart // fetched in part, by sessions that ended
	banned bool                   // it sent what is not what its name says
	here   bool                   // it is connected
}

// blobPart is a chunk on its way from one neighbour. The session that claimed it
// owns it.
type blobPart struct {
	name   BlobName
	size   uint32 // 0 while unknown
	data   []byte // received
	issued uint32 // up to where it was asked for
}

func newBlobPlan() *blobPlan {
	return &blobPlan{wants: make(map[BlobName]*blobWant), peers: make(map[peer.ID]*blobPeer)}
}

func (pl *blobPlan) peer(p peer.ID) *blobPeer {
	b := pl.peers[p]
	if b == nil {
		b = &blobPeer{held: make(map[BlobName]bool), parts: make(map[BlobName]*blobPart)}
		pl.peers[p] = b
	}
	return b
}

// add takes wants up to maxBlobWants, and returns how many it did not take.
// One that is known gets the better rank and more hops.
func (pl *blobPlan) add(wants []BlobWant) (left int) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	for _, w := range wants {
		if old := pl.wants[w.Name]; old != nil {
			old.Rank, old.Hops = min(old.Rank, w.Rank), max(old.Hops, w.Hops)
			pl.order = nil
			continue
		}
		if len(pl.wants) >= maxBlobWants {
			left++
			continue
		}
		pl.wants[w.Name] = &blobWant{BlobWant: w}
		pl.order = nil
	}
	return left
}

// forget drops wants, and what was known of their holders.
func (pl *blobPlan) forget(names []BlobName) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	for _, name := range names {
		pl.drop(name)
	}
}

func (pl *blobPlan) drop(name BlobName) {
	if pl.wants[name] == nil {
		return
	}
	delete(pl.wants, name)
	pl.order = nil
	for p, b := range pl.peers {
		delete(b.held, name)
		delete(b.parts, name)
		if !b.here && !b.banned && len(b.held)+len(b.parts) == 0 {
			delete(pl.peers, p)
		}
	}
}

// ordered returns the wants by rank. mu is held.
func (pl *blobPlan) ordered() []*blobWant {
	if pl.order == nil {
		pl.order = make([]*blobWant, 0, len(pl.wants))
		for _, w := range pl.wants {
			pl.order = append(pl.order, w)
		}
		slices.SortFunc(pl.order, func(a, b *blobWant) int {
			return cmp.Or(cmp.Compare(a.Rank, b.Rank), slices.Compare(a.Name[:], b.Name[:]))
		})
	}
	return pl.order
}

// meet begins a new round with p: what it lacked it may have by now.
func (pl *blobPlan) meet(p peer.ID) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	for name, held := range pl.peer(p).held {
		if !held {
			delete(pl.peers[p].held, name)
		}
	}
}

// newcomer notes that p is connected, and lets other neighbours be asked to carry than
// those that were.
func (pl *blobPlan) newcomer(p peer.ID) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	pl.peer(p).here = true
	for _, w := range pl.wants {
		w.carriers = nil
	}
}

// leave forgets what p said, but keeps what was fetched from it in part.
func (pl *blobPlan) leave(p peer.ID) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	b := pl.peers[p]
	if b == nil {
		return
	}
	clear(b.held)
	b.here = false
	if len(b.parts) == 0 && !b.banned {
		delete(pl.peers, p)
	}
}

// ask returns at most most names to ask p for, and with how many hops.
func (pl *blobPlan) ask(p peer.ID, most int) (names []BlobName, hops uint8) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	b := pl.peer(p)
	if b.banned {
		return nil, 0
	}
	for _, w := range pl.ordered() {
		if _, asked := b.held[w.Name]; asked {
			continue
		}
		h := pl.hopsFor(w, p)
		if len(names) > 0 && h != hops {
			continue // by another ask
		}
		hops, names = h, append(names, w.Name)
		if h > 0 && !slices.Contains(w.carriers, p) {
			w.carriers = append(w.carriers, p)
		}
		if len(names) == most {
			break
		}
	}
	return names, hops
}

// hopsFor is how far p may have w fetched for us: not at all while a neighbour
// has it, was not asked yet, or enough others were asked to. mu is held.
func (pl *blobPlan) hopsFor(w *blobWant, p peer.ID) uint8 {
	if !w.lacked || w.Hops == 0 {
		return 0
	}
	if len(w.carriers) >= maxBlobCarriers && !slices.Contains(w.carriers, p) {
		return 0
	}
	for _, b := range pl.peers {
		if b.held[w.Name] {
			return 0
		}
	}
	return w.Hops
}

// learn takes p's answer.
func (pl *blobPlan) learn(p peer.ID, names []BlobName, held []bool) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	b := pl.peer(p)
	for i, name := range names {
		if w := pl.wants[name]; w != nil {
			b.held[name] = held[i]
			w.lacked = w.lacked || !held[i]
		}
	}
}

// claim gives p the next chunk to be fetched from it, nil for none: what it sent
// in part before, what nobody fetches, and last what one other does.
func (pl *blobPlan) claim(p peer.ID) *blobPart {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	b := pl.peer(p)
	if b.banned {
		return nil
	}
	var best *blobWant
	for _, w := range pl.ordered() {
		if !b.held[w.Name] || len(w.claims) >= maxBlobClaims || slices.Contains(w.claims, p) {
			continue
		}
		switch {
		case b.parts[w.Name] != nil && len(w.claims) == 0:
			return pl.take(b, w, p)
		case best == nil || len(w.claims) < len(best.claims):
			best = w
		}
		if best != nil && len(best.claims) == 0 && len(b.parts) == 0 {
			break
		}
	}
	if best == nil {
		return nil
	}
	return pl.take(b, best, p)
}

func (pl *blobPlan) take(b *blobPeer, w *blobWant, p peer.ID) *blobPart {
	w.claims = append(w.claims, p)
	part := b.parts[w.Name]
	delete(b.parts, w.Name)
	if part == nil {
		part = &blobPart{name: w.Name}
	}
	part.issued = uint32(len(part.data))
	return part
}

// release gives a claim back. What has arrived is kept, within a bound, for the
// next session with the same neighbour: a chunk of two origins that turns out bad
// would be nobody's.
func (pl *blobPlan) release(p peer.ID, part *blobPart, keep bool) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	w := pl.wants[part.name]
	if w == nil {
		return
	}
	w.claims = slices.DeleteFunc(w.claims, func(o peer.ID) bool { return o == p })
	if keep && len(part.data) > 0 && pl.placeForPart() {
		pl.peer(p).parts[part.name] = part
	}
}

// placeForPart reports whether another part may be kept. Where there are as many as may
// be, the smallest of a neighbour that is gone makes way: it may never come again. mu is held.
func (pl *blobPlan) placeForPart() bool {
	if pl.countParts() < maxBlobParts {
		return true
	}
	var of *blobPeer
	var least *blobPart
	for _, b := range pl.peers {
		for _, part := range b.parts {
			if !b.here && (least == nil || len(part.data) < len(least.data)) {
				of, least = b, part
			}
		}
	}
	if least == nil {
		return false
	}
	delete(of.parts, least.name)
	return true
}

func (pl *blobPlan) countParts() (n int) {
	for _, b := range pl.peers {
		n += len(b.parts)
	}
	return n
}

// wanted reports whether a chunk is still wanted.
func (pl *blobPlan) wanted(name BlobName) bool {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	return pl.wants[name] != nil
}

// gone notes that p has a chunk no more.
func (pl *blobPlan) gone(p peer.ID, name BlobName) {
	pl.learn(p, []BlobName{name}, []bool{false})
}

// ban has p asked for nothing; pardon takes that back.
func (pl *blobPlan) ban(p peer.ID) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	b := pl.peer(p)
	b.banned = true
	clear(b.parts)
}

func (pl *blobPlan) pardon(p peer.ID) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if b := pl.peers[p]; b != nil {
		b.banned = false
	}
}

// work reports whether there is anything to ask p for or to fetch from it, and
// whether anything is wanted at all.
func (pl *blobPlan) work(p peer.ID) (now, later bool) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	b := pl.peer(p)
	if b.banned || len(pl.wants) == 0 {
		return false, false
	}
	for _, w := range pl.wants {
		held, asked := b.held[w.Name]
		if !asked || held && len(w.claims) < maxBlobClaims && !slices.Contains(w.claims, p) {
			return true, true
		}
	}
	return false, true
}

// blobWindow is how many bytes may be asked for and not yet here. It grows while
// answers come without a queue and shrinks when they begin to wait for one
// another (the idea of LEDBAT, RFC 6817), so that attachments use what the link
// has to spare and everything else passes.
type blobWindow struct {
	size int
	base time.Duration // shortest time of an answer
}

// sample takes how long an answer of n bytes took. busy: synchronisation moved
// something meanwhile.
func (w *blobWindow) sample(n int, took time.Duration, busy bool) {
	took = max(took, 0)
	if w.base == 0 || took < w.base {
		w.base = max(took, 1)
	}
	queued := took - w.base
	switch {
	case busy:
		w.size = min(w.size, blobBusyWindow)
	case queued > 2*blobDelay:
		w.size /= 2
	case queued < blobDelay:
		w.size += n
	}
	w.size = max(min(w.size, blobMaxWindow), blobMinWindow)
}
