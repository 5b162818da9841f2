package mesh

import (
	"context"
	"errors"
	"fmt"

	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"golang.org/x/crypto/cryptobyte"
)

// PeersProtocol is the libp2p protocol by which admitted devices tell each other
// where devices can be reached. One stream is one exchange, each side sends one
// message (16-bit length in front) and closes its direction:
//
//	struct { uint8 version = 1; uint8 want; opaque own<1..maxRecord>; } Ask;
//	struct { uint8 version = 1; Listed records<0..want>; } Answer;      /* to the end of the message */
//	struct { opaque record<1..maxRecord>; } Listed;                     /* 16-bit lengths */
//
// The first record of an answer is the answerer's own.
const PeersProtocol protocol.ID = "/tocsin/peers/1"

var errExchange = errors.New("mesh: malformed address exchange")

// offer is a record that may be handed on.
type offer struct {
	record *record
	up     bool // its device is our neighbour now
}

// heard is what one exchange brought.
type heard struct {
	from    peer.ID
	records []*record
}

// exchanger runs both ends of exchanges. It knows nothing of the address book:
// the finder hands it what may be offered, and is handed what was heard.
type exchanger struct {
	host   host.Host
	tag    [tagSize]byte
	clock  Clock
	log    *slog.Logger
	counts *counters
	hear   func(heard)                    // must not block
	blame  func(p peer.ID, reason string) // a neighbour that broke the rules
	own    atomic.Pointer[[]byte]         // our record; set before the first exchange
	offers atomic.Pointer[[]offer]        // replaced as a whole
	opened openedRecords
	mu     sync.Mutex
	purses map[peer.ID]*purse
	busy   int
}

// purse bounds how often one neighbour is answered.
type purse struct {
	left  float64
	since time.Time
	busy  bool
}

// take reports whether another exchange may begin at the given time. A clock that was
// stepped fills the purse at most.
func (p *purse) take(now time.Time) bool {
	p.left = min(exchangeBurst, p.left+float64(now.Sub(p.since).Abs())/float64(exchangePause))
	p.since = now
	if p.left < 1 {
		return false
	}
	p.left--
	return true
}

// enter takes a slot to answer p.
func (x *exchanger) enter(p peer.ID) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := x.clock.Now()
	w := x.purses[p]
	if w == nil {
		w = &purse{left: exchangeBurst, since: now}
		x.purses[p] = w
	}
	if w.busy || x.busy >= maxExchanges || !w.take(now) {
		return false
	}
	w.busy = true
	x.busy++
	return true
}

func (x *exchanger) leave(p peer.ID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.busy--
	if w := x.purses[p]; w != nil {
		w.busy = false
	}
}

// prune drops what is kept of neighbours that would be back with a full purse.
func (x *exchanger) prune() {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := x.clock.Now()
	for id, w := range x.purses {
		if !w.busy && now.Sub(w.since).Abs() > exchangeBurst*exchangePause {
			delete(x.purses, id)
		}
	}
}

// handle answers one exchange.
func (x *exchanger) handle(stream network.Stream) {
	p := stream.Conn().RemotePeer()
	if !x.enter(p) {
		x.counts.exchangesRefused.Add(1)
		stream.ResetWithError(network.StreamRateLimited)
		return
	}
	defer x.leave(p)
	if err := x.answer(stream, p); err != nil {
		stream.Reset()
		x.failed(p, err)
	}
}

func (x *exchanger) answer(stream network.Stream, p peer.ID) error {
	if err := stream.SetDeadline(deadline(exchangeTimeout)); err != nil {
		return err
	}
	raw, err := readMessage(stream, 2+2+maxRecord)
	if err != nil {
		return err
	}
	want, own, err := parseAsk(raw)
	if err != nil {
		return err
	}
	r, err := x.opened.open(own, x.tag, x.host.ID())
	if err != nil {
		return err
	}
	if r.peer != p {
		return fmt.Errorf("%w: a record of another device as its own", errExchange)
	}
	list := x.list(p, want, r.issued) // before the new record takes the place of the old one
	x.hear(heard{from: p, records: []*record{r}})
	out, err := marshalAnswer(list)
	if err != nil {
		return err
	}
	if err := writeMessage(stream, out); err != nil {
		return err
	}
	return stream.Close()
}

// list returns our own record and a choice of others for p, want in all at most. Where
// we hold a record of p's that is later than the one it shows, issued then, that comes
// first among the others: its clock was ahead, and it must outdo it to be believed.
func (x *exchanger) list(p peer.ID, want int, issued uint64) [][]byte {
	own := x.own.Load()
	if own == nil || want == 0 {
		return nil
	}
	out := [][]byte{*own}
	size := 2 + len(*own)
	offers := x.offers.Load()
	if offers == nil {
		return out
	}
	now := x.clock.Now()
	chosen := chooseOffers(*offers, p, min(want, maxExchanged)-1, now)
	for _, o := range *offers {
		if o.record.peer == p && o.record.issued > issued && o.record.timely(now) && want > 1 {
			chosen = append([]*record{o.record}, chosen[:min(len(chosen), min(want, maxExchanged)-2)]...)
		}
	}
	for _, o := range chosen {
		if size += 2 + len(o.raw); size > maxAnswer {
			break
		}
		out = append(out, o.raw)
	}
	return out
}

// chooseOffers returns at most n records for p, in no order of value: some relays
// and neighbours of ours, who are there for certain, and others at random, so that
// many exchanges spread all of them.
func chooseOffers(offers []offer, p peer.ID, n int, now time.Time) []*record {
	rank := func(o offer) int {
		switch {
		case o.record.relays:
			return 0
		case o.up:
			return 1
		}
		return 2
	}
	var by [3][]*record
	for _, i := range rand.Perm(len(offers)) {
		if o := offers[i]; o.record.peer != p && o.record.timely(now) {
			by[rank(o)] = append(by[rank(o)], o.record)
		}
	}
	var out []*record
	take := func(kind, most int) {
		k := max(min(len(by[kind]), most, n-len(out)), 0)
		out = append(out, by[kind][:k]...)
		by[kind] = by[kind][k:]
	}
	take(0, max(n/8, 1))
	take(1, n/2)
	take(2, n)
	take(1, n)
	take(0, n)
	return out
}

// ask runs one exchange with p on a connection that is there, and hands on what
// was heard.
func (x *exchanger) ask(ctx context.Context, p peer.ID, want int) error {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	stream, err := x.host.NewStream(network.WithNoDial(ctx, "peers"), p, PeersProtocol)
	if err == nil {
		stop := context.AfterFunc(ctx, func() { stream.Reset() })
		err = x.askOn(stream, p, want)
		stop()
	}
	if err != nil {
		if stream != nil {
			stream.Reset()
		}
		x.failed(p, err)
		return err
	}
	x.counts.exchanges.Add(1)
	return nil
}

func (x *exchanger) askOn(stream network.Stream, p peer.ID, want int) error {
	own := x.own.Load()
	if own == nil {
		return errors.New("mesh: no address record of our own yet")
	}
	if err := stream.SetDeadline(deadline(exchangeTimeout)); err != nil {
		return err
	}
	ask, err := marshalAsk(want, *own)
	if err != nil {
		return err
	}
	if err := writeMessage(stream, ask); err != nil {
		return err
	}
	if err := stream.CloseWrite(); err != nil {
		return err
	}
	raw, err := readMessage(stream, 1+maxAnswer)
	if err != nil {
		return err
	}
	list, err := parseAnswer(raw)
	if err != nil {
		return err
	}
	if len(list) > want {
		return fmt.Errorf("%w: %d records, where %d were asked for", errExchange, len(list), want)
	}
	h := heard{from: p}
	for _, raw := range list {
		r, err := x.opened.open(raw, x.tag, x.host.ID())
		if err != nil {
			return err
		}
		h.records = append(h.records, r)
	}
	x.hear(h)
	return stream.Close()
}

// broke reports whether an exchange failed because the other side broke the rules.
func broke(err error) bool {
	var r *refusal
	return errors.Is(err, errRecord) || errors.Is(err, errExchange) || errors.As(err, &r) && r.reason == reasonMessage
}

// failed counts an exchange that ended badly, and tells of a neighbour that broke
// the rules: who has signed nonsense, or hands it on, is not honest.
func (x *exchanger) failed(p peer.ID, err error) {
	if !broke(err) {
		x.counts.exchangesFailed.Add(1)
		x.log.Debug("address exchange ended early", "error", err)
		return
	}
	x.counts.exchangesRefused.Add(1)
	x.log.Debug("address exchange refused", "error", err)
	x.blame(p, blamePeers)
}

func marshalAsk(want int, own []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(recordVersion)
	b.AddUint8(uint8(want))
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(own) })
	return b.Bytes()
}

func parseAsk(raw []byte) (want int, own []byte, err error) {
	s := cryptobyte.String(raw)
	var version, n uint8
	var record cryptobyte.String
	if !s.ReadUint8(&version) || version != recordVersion || !s.ReadUint8(&n) || !s.ReadUint16LengthPrefixed(&record) || !s.Empty() {
		return 0, nil, fmt.Errorf("%w: the question", errExchange)
	}
	if len(record) == 0 || len(record) > maxRecord {
		return 0, nil, fmt.Errorf("%w: a record of %d bytes", errExchange, len(record))
	}
	return int(n), record, nil
}

func marshalAnswer(records [][]byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(recordVersion)
	for _, r := range records {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(r) })
	}
	return b.Bytes()
}

func parseAnswer(raw []byte) ([][]byte, error) {
	s := cryptobyte.String(raw)
	var version uint8
	if !s.ReadUint8(&version) || version != recordVersion {
		return nil, fmt.Errorf("%w: the answer", errExchange)
	}
	var out [][]byte
	for !s.Empty() {
		var r cryptobyte.String
		if !s.ReadUint16LengthPrefixed(&r) || len(r) == 0 || len(r) > maxRecord || len(out) == maxExchanged {
			return nil, fmt.Errorf("%w: the answer is cut short, too long, or holds a record that is", errExchange)
		}
		out = append(out, r)
	}
	return out, nil
}

// blamePeers is the word against a neighbour that broke the rules of an exchange.
const blamePeers = "peers"
