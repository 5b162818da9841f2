package mesh

import (
	"errors"
	"maps"
	"sync"
	"sync/atomic"
)

// Stats are counters since the start of the Mesh, but for Peers and
// Connections, which are current. The zero value is empty.
type Stats struct {
	// Peers is the number of admitted neighbours, Connections of connections to
	// them.
	Peers, Connections int
	// Refused counts connections that were not admitted, in both directions, by
	// reason: a small fixed set of words without content.
	Refused map[string]uint64

	// Published counts our own frames given to gossip.
	Published uint64
	// Accepted, Ignored and Rejected count verdicts of the Receiver.
	Accepted, Ignored, Rejected uint64
	// Oversized counts frames over MaxFrame, which are rejected unseen.
	Oversized uint64
	// Throttled counts frames dropped before the Receiver saw them, because too
	// many were waiting.
	Throttled uint64
	// DroppedRPCs counts RPCs dropped because a neighbour's queue was full;
	// Undeliverable frames dropped inside gossipsub before its subscriber.
	DroppedRPCs, Undeliverable uint64
	// Duplicates counts frames that came again.
	Duplicates uint64
	// Dropped counts RPCs dropped from a neighbour's outbox because it was full or an
	// urgent one of the same author passed over them, by class; Suppressed those left out because the neighbour turned out to have
	// the frame; Spared those not sent to save a thin link.
	Dropped            [4]uint64
	Suppressed, Spared uint64
	// Knocks counts connections that others opened to us, admitted or not: also those
	// that never say a word, which are ended after a while and refused beyond a bound.
	Knocks uint64
	// Malformed counts streams of gossip ended because what came was none.
	Malformed uint64
	// Budget counts what was dropped unseen because a neighbour or author was over
	// a budget, by its word; Blamed what neighbours were blamed for, and Cut the
	// neighbours that were cut off for it, by word.
	Budget, Blamed, Cut map[string]uint64
	// Nudges counts neighbours told to pull because gossip may have missed them.
	Nudges uint64

	// Pulls counts sessions that we began as client and that ended well,
	// PullsFailed those that did not; Serves and ServesFailed count likewise as
	// server, ServesRefused those beyond our limits.
	Pulls, PullsFailed, Serves, ServesFailed, ServesRefused uint64
	// Stalled counts sessions, of either end, that were ended because nothing
	// passed any more; Yielded those that made room for others and are resumed.
	Stalled, Yielded uint64
	// SyncRefused counts sessions that ended because the other side broke the
	// rules of synchronisation, by reason: a small fixed set of words without
	// content ([Refused]).
	SyncRefused map[string]uint64
	// SyncIn and SyncOut count bytes of synchronisation frames, headers included.
	SyncIn, SyncOut uint64

	// BlobIn and BlobOut count bytes of the answers by which chunks of attachments are
	// fetched and served, BlobChunksIn and BlobChunksOut whole chunks; BlobsBad chunks
	// that were not what their name says, BlobServesRefused sessions beyond our limits.
	BlobIn, BlobOut, BlobChunksIn, BlobChunksOut, BlobsBad, BlobServesRefused uint64

	// Dials and DialsFailed count dials of discovery.
	Dials, DialsFailed uint64
	// Contacts is the size of the address book, Records how many signed address records
	// are held to be handed on, Reservations at how many relays we can be reached;
	// DHT says whether the directory is in use, with DHTPeers in our part of it.
	Contacts, Records, Reservations, DHTPeers int
	DHT                                       bool
	// Exchanges and ExchangesFailed count address exchanges that we began,
	// ExchangesRefused those with a neighbour that broke the rules or asked too often.
	// RecordsStale and RecordsRefused count records that were not taken: too old or too
	// far from the future; too many strangers of one neighbour.
	Exchanges, ExchangesFailed, ExchangesRefused, RecordsStale, RecordsRefused uint64
	// Networks counts changes of this machine's network addresses.
	Networks uint64
	// Carried counts connections that this device has carried for others as a relay,
	// CarriedNow those of now, CarriedBytes what passed over them in both
	// directions, and CarryRefused reservations and connections that it refused.
	Carried, CarriedBytes, CarryRefused uint64
	CarriedNow                          int
}

// counters are the live form of Stats. All methods are safe for concurrent use.
type counters struct {
	mu          sync.Mutex
	refused     map[string]uint64
	syncRefused map[string]uint64

	published, accepted, ignored, rejected, oversized       atomic.Uint64
	throttled, droppedRPCs, undeliverable, nudges           atomic.Uint64
	pulls, pullsFailed, serves, servesFailed, servesRefused atomic.Uint64
	syncIn, syncOut, dials, dialsFailed                     atomic.Uint64
	stalled, yielded                                        atomic.Uint64
	blobIn, blobOut, blobChunksIn, blobChunksOut            atomic.Uint64
	blobsBad, blobServesRefused                             atomic.Uint64
	duplicates, suppressed, spared, malformed, knocks       atomic.Uint64
	dropped                                                 [classes]atomic.Uint64
	budget, blamed, cut                                     words
	carried, carriedBytes, carryRefused                     atomic.Uint64
	carriedNow                                              atomic.Int64
	exchanges, exchangesFailed, exchangesRefused            atomic.Uint64
	recordsStale, recordsRefused, networks                  atomic.Uint64
}

func newCounters() *counters {
	return &counters{refused: make(map[string]uint64), syncRefused: make(map[string]uint64)}
}

// refuse counts one refusal and returns the new count of its reason.
func (c *counters) refuse(reason string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused[reason]++
	return c.refused[reason]
}

// refuseSync counts a session that ended in err, if that was the other side's
// doing, and reports whether it was.
func (c *counters) refuseSync(err error) bool {
	var r *refusedError
	if !errors.As(err, &r) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.syncRefused[r.reason]++
	return true
}

func (c *counters) stats() Stats {
	c.mu.Lock()
	refused, syncRefused := maps.Clone(c.refused), maps.Clone(c.syncRefused)
	c.mu.Unlock()
	return Stats{
		Refused: refused, SyncRefused: syncRefused,
		Duplicates: c.duplicates.Load(), Suppressed: c.suppressed.Load(), Spared: c.spared.Load(),
		Dropped:   [classes]uint64{c.dropped[0].Load(), c.dropped[1].Load(), c.dropped[2].Load(), c.dropped[3].Load()},
		Malformed: c.malformed.Load(), Knocks: c.knocks.Load(),
		Budget: c.budget.all(), Blamed: c.blamed.all(), Cut: c.cut.all(),
		Stalled: c.stalled.Load(), Yielded: c.yielded.Load(),
		Published: c.published.Load(), Accepted: c.accepted.Load(),
		Ignored: c.ignored.Load(), Rejected: c.rejected.Load(), Oversized: c.oversized.Load(),
		Throttled: c.throttled.Load(), DroppedRPCs: c.droppedRPCs.Load(),
		Undeliverable: c.undeliverable.Load(), Nudges: c.nudges.Load(),
		Pulls: c.pulls.Load(), PullsFailed: c.pullsFailed.Load(),
		Serves: c.serves.Load(), ServesFailed: c.servesFailed.Load(), ServesRefused: c.servesRefused.Load(),
		SyncIn: c.syncIn.Load(), SyncOut: c.syncOut.Load(),
		BlobIn: c.blobIn.Load(), BlobOut: c.blobOut.Load(), BlobChunksIn: c.blobChunksIn.Load(), BlobChunksOut: c.blobChunksOut.Load(),
		BlobsBad: c.blobsBad.Load(), BlobServesRefused: c.blobServesRefused.Load(),
		Dials: c.dials.Load(), DialsFailed: c.dialsFailed.Load(),
		Exchanges: c.exchanges.Load(), ExchangesFailed: c.exchangesFailed.Load(), ExchangesRefused: c.exchangesRefused.Load(),
		RecordsStale: c.recordsStale.Load(), RecordsRefused: c.recordsRefused.Load(), Networks: c.networks.Load(),
		Carried: c.carried.Load(), CarriedBytes: c.carriedBytes.Load(),
		CarryRefused: c.carryRefused.Load(), CarriedNow: int(c.carriedNow.Load()),
	}
}

// overBudget counts what was dropped for a budget.
func (c *counters) overBudget(word string) { c.budget.add(word) }

// words counts by word. There are at most maxWords of them; further ones are
// counted as "other", for some come from outside this package.
type words struct {
	mu sync.Mutex
	n  map[string]uint64
}

const maxWords = 64

func (w *words) add(word string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n == nil {
		w.n = make(map[string]uint64)
	}
	if _, ok := w.n[word]; !ok && len(w.n) >= maxWords {
		word = "other"
	}
	w.n[word]++
}

func (w *words) all() map[string]uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.n)
}

// Judged returns how many frames were accepted, ignored and rejected; [Mesh.Stats] has the
// three apart.
func (m *Mesh) Judged() uint64 {
	return m.counts.accepted.Load() + m.counts.ignored.Load() + m.counts.rejected.Load()
}
