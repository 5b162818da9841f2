package mesh

// Chunks of attachments, fetched from whoever has them (PROTOCOL.md, "Attachments"):
//
//	WantBlobs       the node says what it wants
//	run             decides which neighbour to ask when
//	blobSession     one session with one neighbour: ask, get, verify, hand over (blobfetch.go)
//	handler         the other end of one (blobserve.go)

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// BlobProtocol is the libp2p protocol by which chunks of attachments are fetched.
const BlobProtocol protocol.ID = "/tocsin/blob/1"

// BlobStore is where the node keeps chunks. Its methods are called from several
// goroutines at once and should not block for long.
type BlobStore interface {
	// HaveBlobs says for each name whether the chunk is here. Where hops is not 0
	// the neighbour asks for those that are not to be fetched for it, from devices at most so
	// many steps away; the node may do so, and calls [Mesh.TellBlobs] when one has come.
	HaveBlobs(from peer.ID, names []BlobName, hops uint8) []bool
	// ReadBlob returns a chunk; nil without an error means that it is not here.
	ReadBlob(name BlobName) ([]byte, error)
	// TakeBlob is handed a chunk that was wanted. Its hash is its name. After an error
	// it is wanted no more.
	TakeBlob(from peer.ID, name BlobName, data []byte) error
}

// blobEvent is what the rest of the mesh tells the fetcher.
type blobEvent struct {
	kind blobEventKind
	peer peer.ID
	// Of an ended session: for which spell of being connected it ran, its error, and
	// whether it received anything.
	of    *blobNeighbour
	err   error
	moved bool
}

type blobEventKind uint8

const (
	blobUp     blobEventKind = iota // first connection to peer
	blobDown                        // last connection gone
	blobKick                        // something new is wanted
	blobHeard                       // peer has something that we asked for
	blobTell                        // we have something that peer asked for
	blobEnded                       // our session with peer ended
	blobBanned                      // peer sent wrong bytes
)

// blobTask is what the agenda of the fetcher holds.
type blobTask struct {
	peer peer.ID
	kind blobTaskKind
}

type blobTaskKind uint8

const (
	taskFetch  blobTaskKind = iota // begin a new round with peer
	taskTell                       // send it the notice
	taskPardon                     // ask it again
)

// blobs fetches and serves chunks. The goroutine run owns the scheduling state;
// the plan has a lock of its own.
type blobs struct {
	host   host.Host
	store  BlobStore
	clock  Clock
	log    *slog.Logger
	counts *counters
	plan   *blobPlan
	mail   *mailbox[blobEvent]
	work   sync.WaitGroup // sessions of both ends
	blame  func(p peer.ID, reason string)
	// hearing reports whether p is connected only to hear of its wipe order: it is neither
	// served nor asked.
	hearing func(p peer.ID) bool

	// Owned by run.
	peers  map[peer.ID]*blobNeighbour
	agenda *agenda[blobTask]
	active int

	serveMu sync.Mutex
	serving map[peer.ID]int // guarded by serveMu
	serves  int             // guarded by serveMu
	closed  bool            // guarded by serveMu
}

// blobNeighbour is the scheduler's view of one connected peer.
type blobNeighbour struct {
	running bool
	due     bool // waits for a slot
	again   bool // asked for while running
	failed  bool // its last session ended with an error: only its own timer, or news, begins another
	retry   time.Duration
}

func newBlobs(h host.Host, cfg *Config, counts *counters) *blobs {
	return &blobs{
		host: h, store: cfg.Blobs, clock: cfg.Clock, log: cfg.Logger, counts: counts, plan: newBlobPlan(),
		mail: newMailbox[blobEvent](), peers: make(map[peer.ID]*blobNeighbour), agenda: newAgenda[blobTask](),
		serving: make(map[peer.ID]int), hearing: func(peer.ID) bool { return false },
	}
}

// WantBlobs has chunks fetched from whoever has them, until they have come or
// [Mesh.ForgetBlobs] is called. It returns how many were not taken because too
// many are wanted already: name those again when others have come.
func (m *Mesh) WantBlobs(wants []BlobWant) (left int) {
	if m.blobs == nil || len(wants) == 0 {
		return 0
	}
	left = m.blobs.plan.add(wants)
	m.blobs.mail.put(blobEvent{kind: blobKick})
	return left
}

// ForgetBlobs ends the wanting of chunks.
func (m *Mesh) ForgetBlobs(names []BlobName) {
	if m.blobs != nil {
		m.blobs.plan.forget(names)
	}
}

// TellBlobs tells p that something it has asked for is here now. Calls coalesce.
func (m *Mesh) TellBlobs(p peer.ID) {
	if m.blobs != nil {
		m.blobs.mail.put(blobEvent{kind: blobTell, peer: p})
	}
}

// onPeer is told of the first connection to a peer and of the end of the last.
func (b *blobs) onPeer(p peer.ID, up bool) {
	kind := blobDown
	if up && !b.hearing(p) {
		kind = blobUp
	}
	b.mail.put(blobEvent{kind: kind, peer: p})
}

// run schedules until ctx ends, then waits for every session.
func (b *blobs) run(ctx context.Context) {
	defer b.work.Wait()
	defer b.shut()
	for ctx.Err() == nil {
		// Time first: what the mail plans has not waited yet.
		for _, t := range b.agenda.advance(b.agenda.wait(b.clock, b.mail.wake, ctx.Done())) {
			b.task(ctx, t)
		}
		for _, e := range b.mail.take() {
			b.handle(e)
		}
		b.start(ctx)
	}
}

func (b *blobs) task(ctx context.Context, t blobTask) {
	n := b.peers[t.peer]
	switch {
	case t.kind == taskPardon:
		b.plan.pardon(t.peer)
		b.agenda.set(blobTask{t.peer, taskFetch}, 0)
	case n == nil:
	case t.kind == taskFetch:
		b.plan.meet(t.peer)
		b.wake(n)
	case t.kind == taskTell:
		b.work.Go(func() { b.tell(ctx, t.peer) })
	}
}

func (b *blobs) wake(n *blobNeighbour) {
	n.failed = false
	if n.running {
		n.again = true
		return
	}
	n.due = true
}

// wakeIdle has every neighbour looked at that may have something to fetch now: what was
// being fetched from others has been given back. Those that failed wait their time out.
func (b *blobs) wakeIdle() {
	for _, n := range b.peers {
		n.due = n.due || !n.running && !n.failed
	}
}

func (b *blobs) handle(e blobEvent) {
	n := b.peers[e.peer]
	switch e.kind {
	case blobUp:
		if n == nil {
			b.peers[e.peer] = &blobNeighbour{due: true}
			b.plan.newcomer(e.peer)
		}
	case blobDown:
		delete(b.peers, e.peer)
		b.agenda.drop(blobTask{e.peer, taskFetch})
		b.agenda.drop(blobTask{e.peer, taskTell})
		b.plan.leave(e.peer)
		b.wakeIdle()
	case blobKick:
		for _, n := range b.peers {
			n.retry = 0
			b.wake(n)
		}
	case blobHeard:
		if n != nil {
			n.retry = 0
			b.agenda.sooner(blobTask{e.peer, taskFetch}, blobTellDelay)
		}
	case blobTell:
		if n != nil {
			b.agenda.sooner(blobTask{e.peer, taskTell}, blobTellDelay)
		}
	case blobEnded:
		b.active--
		if n != nil && n == e.of {
			b.ended(n, e)
		}
		b.wakeIdle()
	case blobBanned:
		b.agenda.set(blobTask{e.peer, taskPardon}, blobBan)
		b.wakeIdle()
	}
}

// ended plans the next round with a neighbour: at once where there is more to
// fetch, later where it lacked something.
func (b *blobs) ended(n *blobNeighbour, e blobEvent) {
	n.running, n.failed = false, e.err != nil && !n.again
	if e.moved {
		n.retry = 0
	}
	now, later := b.plan.work(e.peer)
	switch {
	case n.again || e.err == nil && now:
		n.again, n.due = false, true
	case later:
		n.retry = min(max(2*n.retry, blobRetryMin), blobRetryMax)
		b.agenda.set(blobTask{e.peer, taskFetch}, n.retry*3/4+rand.N(n.retry/2))
	}
}

// start begins as many sessions as there are slots for.
func (b *blobs) start(ctx context.Context) {
	for p, n := range b.peers { // in no order, so that none is always last
		if !n.due || n.running {
			continue
		}
		if now, _ := b.plan.work(p); !now {
			n.due = false
			continue
		}
		if b.active >= maxBlobFetches {
			return
		}
		n.due, n.running = false, true
		b.active++
		b.work.Go(func() {
			moved, err := b.fetch(ctx, p)
			b.mail.put(blobEvent{kind: blobEnded, peer: p, of: n, err: err, moved: moved})
		})
	}
}
