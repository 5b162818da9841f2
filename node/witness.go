package node

// This device as a witness of others' logs, and others as witnesses of its own
// (protocol §3):
//
//	cut       while unlocked: a checkpoint over our own log, where it has grown
//	cosign    of logs that grew or whose checkpoints came: "I durably hold these
//	          headers"; made durable before it leaves
//	promise   custody of the bodies we hold, which feeds "carried by n devices"
//
// What comes of it is testimony, a last-value table for each log that
// synchronisation compares in the control scope. It is no entry: it would feed
// itself.

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

const (
	// custodyLife is how long a promise to keep bodies holds, custodyRenewal when
	// it is given anew without the log having grown.
	custodyLife    = 7 * 24 * time.Hour
	custodyRenewal = 24 * time.Hour
	// maxTestimony bounds the testimony about one log on the wire.
	maxTestimony = 60 << 10
	// testimonyRate is how many pieces of testimony a second a device is to make
	// and take in the long run (half a per cent of a core and 10 kB/s), and
	// maxWitnessPause the longest it waits for that: in a busy mesh one checkpoint
	// covers more entries, so that witnessing never outweighs what is witnessed.
	testimonyRate   = 50
	maxWitnessPause = 5 * time.Minute
)

// testimony is what a node keeps as a witness.
type testimony struct {
	trees *ledger.Trees
	table *ledger.WitnessTable
	tree  *ledger.Tree // what synchronisation compares
	wake  chan struct{}
	news  bool      // of witnessLoop: there is testimony that neighbours were not told of
	told  time.Time // of witnessLoop: when they were last told to ask

	mu       sync.Mutex
	work     int                         // guarded by mu: pieces made and taken since the last round
	logs     map[identity.LogID]struct{} // guarded by mu: to be looked at
	promised map[identity.LogID]promise  // guarded by mu: our custody
}

// promise is what we have said of the bodies of one log.
type promise struct {
	from, to uint64
	renew    time.Time
}

// openTestimony reads the table.
func (n *Node) openTestimony(ctx context.Context) error {
	w := &testimony{
		trees: ledger.NewTrees(n.logs), tree: ledger.NewTree(ledger.ScopeControl), wake: make(chan struct{}, 1),
		logs: make(map[identity.LogID]struct{}), promised: make(map[identity.LogID]promise),
	}
	var err error
	w.table, err = ledger.NewWitnessTable(ledger.WitnessConfig{
		Logs: n.logs, Trees: w.trees, Mesh: n.trust.MeshID(), Key: n.cfg.Relay.Witness, Witnesses: n.people,
	})
	if err != nil {
		return fmt.Errorf("node: testimony: %w", err)
	}
	n.testimony = w
	if err := w.table.Each(ctx, func(t *ledger.LogTestimony) error { w.mark(t); return nil }); err != nil {
		n.log.Error("testimony on disk cannot be read; it is gathered again from neighbours", "err", err)
	}
	for _, head := range n.logs.Frontier() {
		w.logs[head.Log] = struct{}{}
	}
	w.ring()
	return nil
}

func (w *testimony) mark(t *ledger.LogTestimony) {
	if all := t.Shared().All(); len(all) > 0 {
		w.tree.Set(ledger.Mark{Log: t.Log, Next: uint64(len(all)), ID: t.Hash()})
	}
}

// grew has the witness look at a log.
func (w *testimony) grew(id identity.LogID) {
	w.mu.Lock()
	w.logs[id] = struct{}{}
	w.mu.Unlock()
	w.ring()
}

func (w *testimony) ring() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *testimony) takeLogs() []identity.LogID {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]identity.LogID, 0, len(w.logs))
	for id := range w.logs {
		out = append(out, id)
	}
	clear(w.logs)
	slices.SortFunc(out, identity.LogID.Compare)
	return out
}

// Witness implements [ledger.Witnesses].
func (d *directory) Witness(k identity.Key) (org string, ok bool) {
	if c := d.byWitness(k); c != nil {
		return c.Person.Org, true
	}
	return "", false
}

// byWitness finds the credential with a witness key, nil if none is known.
func (d *directory) byWitness(k identity.Key) *identity.Credential {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if c := d.creds[d.witnesses[k]]; c != nil && c.Claims.Witness == k {
		return c
	}
	return nil
}

// worked counts pieces of testimony that were made or taken.
func (w *testimony) worked(pieces int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.work += pieces
}

// pause is how long the next round is put off: least, or longer if the last
// one was so much work that [testimonyRate] asks for it.
func (w *testimony) pause(least time.Duration) time.Duration {
	w.mu.Lock()
	work := w.work
	w.work = 0
	w.mu.Unlock()
	return max(least, min(time.Duration(work)*time.Second/testimonyRate, maxWitnessPause))
}

// witnessLoop is the one goroutine that makes testimony.
func (n *Node) witnessLoop() {
	defer n.wg.Done()
	for {
		rest := custodyRenewal
		if n.testimony.news {
			rest = n.testimonyPause()
		}
		select {
		case <-n.ctx.Done():
			return
		case <-n.testimony.wake:
		case <-n.cfg.Clock.After(rest):
			if n.testimony.news {
				break
			}
			for _, head := range n.logs.Frontier() {
				n.testimony.grew(head.Log)
			}
		}
		if !n.wait(n.testimony.pause(n.witnessPause())) {
			return
		}
		if err := n.witness(n.ctx); err != nil && n.ctx.Err() == nil {
			n.log.Error("testimony could not be made; it is tried again when something is added", "err", err)
		}
	}
}

// witness makes the testimony that is due.
func (n *Node) witness(ctx context.Context) error {
	w := n.testimony
	if err := n.cutOwn(ctx); err != nil {
		return err
	}
	logs := w.takeLogs()
	now := n.cfg.Clock.Now()
	before := w.tree.Root()
	made, err := w.table.CosignHeld(ctx, now, logs...)
	w.worked(len(made))
	for _, id := range logs {
		err = errors.Join(err, n.promise(ctx, id, now), n.remark(ctx, id))
	}
	// Others' testimony was marked when it came: what differs now is ours.
	w.news = w.news || w.tree.Root() != before
	n.spreadTestimony(now)
	return err
}

// spreadTestimony tells neighbours to ask, if there is news and they were not
// told a moment ago.
func (n *Node) spreadTestimony(now time.Time) {
	w := n.testimony
	if !w.news || now.Sub(w.told).Abs() < n.testimonyPause() {
		return
	}
	w.news, w.told = false, now
	n.mesh.Nudge()
}

// remark tells synchronisation what the table says of a log now.
func (n *Node) remark(ctx context.Context, id identity.LogID) error {
	t, err := n.testimony.table.Of(ctx, id)
	if err != nil {
		return err
	}
	n.testimony.mark(t)
	return nil
}

// cutOwn makes a checkpoint over our own log where it has grown and the signing
// key is at hand.
func (n *Node) cutOwn(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil || n.writable() != nil || n.logs.Closed(n.selfLog()) {
		return nil
	}
	if h, ok := n.logs.Head(n.selfLog()); !ok || h.Next == 0 {
		return nil
	}
	_, made, err := n.testimony.table.Cut(ctx, n.open.keys.Signing, n.selfLog(), n.cfg.Clock.Now())
	if made {
		n.testimony.grew(n.selfLog())
	}
	return err
}

// promise gives custody of the newest bodies of a log that we hold without a
// gap: as far back as the last one that is absent or erased.
func (n *Node) promise(ctx context.Context, id identity.LogID, now time.Time) error {
	head, ok := n.logs.Head(id)
	head.Next = min(head.Next, n.logs.Checked(id))  // what lies behind a spoilt entry is promised once that is back
	if !ok || head.Next == 0 || id == n.selfLog() { // that an author holds its own entries helps nobody
		return nil
	}
	w := n.testimony
	w.mu.Lock()
	p, known := w.promised[id]
	w.mu.Unlock()
	if known && p.to == head.Next && now.Before(p.renew) {
		return nil
	}
	from, start := p.from, p.to
	if !known || !now.Before(p.renew) {
		start = head.Next - min(head.Next, custodyDepth)
		from = start
	}
	n.carry.keep.Lock() // nothing is given up between the look and the promise
	defer n.carry.keep.Unlock()
	from, err := n.keeps(ctx, id, from, start, head.Next, now)
	if err != nil || from >= head.Next {
		return err
	}
	if _, err := w.table.Promise(ctx, id, from, head.Next, now.Add(custodyLife)); err != nil {
		return err
	}
	w.mu.Lock()
	w.work++
	w.promised[id] = promise{from: from, to: head.Next, renew: now.Add(custodyRenewal)}
	w.mu.Unlock()
	return nil
}

// custodyDepth is how far back a promise reaches: what is older has been
// received or is in nobody's hurry.
const custodyDepth = 4096

// unpromise forgets what was promised of a log, so that the next promise looks
// at its bodies again: some were erased.
func (w *testimony) unpromise(id identity.LogID) {
	w.mu.Lock()
	delete(w.promised, id)
	w.mu.Unlock()
	w.grew(id)
}

// records returns the testimony about a log for the wire: each with a two-byte
// length.
func (n *Node) records(ctx context.Context, id identity.LogID) ([]byte, error) {
	t, err := n.testimony.table.Of(ctx, id)
	if err != nil {
		return nil, err
	}
	b := cryptobyte.NewBuilder(nil)
	for _, one := range t.Shared().All() {
		b.AddUint16LengthPrefixed(func(c *cryptobyte.Builder) { c.AddBytes(ledger.MarshalTestimony(one)) })
	}
	return b.Bytes()
}

// acceptRecords takes testimony from a neighbour or a bundle, about one log in
// each of tables; together they cost one write. A record that is not what it
// says is an error that matches [ledger.ErrTestimony]; one about a log or of a
// witness not known yet is left for a later session.
func (n *Node) acceptRecords(ctx context.Context, tables ...[]byte) error {
	var raws [][]byte
	for _, data := range tables {
		more, err := readRecords(data)
		if err != nil {
			return err
		}
		raws = append(raws, more...)
	}
	results, err := n.testimony.table.Take(ctx, raws)
	if err != nil {
		return fmt.Errorf("node: testimony could not be saved: %w", err)
	}
	var bad error
	changed := make(map[identity.LogID]struct{})
	for _, r := range results {
		if r.Changed {
			changed[r.Log] = struct{}{}
			n.testimony.worked(1)
		}
		if errors.Is(r.Err, ledger.ErrTestimony) {
			bad = r.Err
		}
	}
	for id := range changed {
		if err := n.remark(ctx, id); err != nil {
			return err
		}
		n.testimony.grew(id)
	}
	return bad
}

func readRecords(data []byte) (raws [][]byte, err error) {
	if len(data) > maxTestimony {
		return nil, fmt.Errorf("%w: %d bytes of testimony about one log", ledger.ErrTestimony, len(data))
	}
	s := cryptobyte.String(data)
	for !s.Empty() {
		var raw cryptobyte.String
		if !s.ReadUint16LengthPrefixed(&raw) || len(raw) == 0 {
			return nil, fmt.Errorf("%w: it is cut short", ledger.ErrTestimony)
		}
		raws = append(raws, raw)
	}
	return raws, nil
}

// carriers is how many devices other than ours and the author's promise the body
// of an entry at now.
func (n *Node) carriers(id identity.LogID, seq uint64) int {
	keys, err := n.testimony.table.CarriedBy(n.ctx, id, seq, n.cfg.Clock.Now())
	if err != nil {
		n.log.Warn("who carries an entry cannot be read", "log", id, "err", err)
		return 0
	}
	count := 0
	for _, k := range keys {
		if c := n.people.byWitness(k); c != nil && c.SigningKey != id.Author {
			count++
		}
	}
	return count
}

// countCarriers fills in by how many devices our own messages are carried, as
// long as nothing better is known of them.
func (n *Node) countCarriers(items []inbox.Item) {
	for i := range items {
		it := &items[i]
		if !it.Own || it.State != inbox.StateSaved {
			continue
		}
		if log, err := identity.ParseLogID(it.From.Log); err == nil { // the node wrote it
			it.Carried = n.carriers(log, it.Seq)
		}
	}
}

// Prove makes the proof of one entry, in the form that [ledger.VerifyProof] and
// tools without Tocsin read (docs/verify-without-tocsin.md). id is the entry's
// id, or the beginning of a message's that no other has. Errors: [ErrNotFound],
// [ErrLocked] (a sealed message is shown with its proof), [ErrUnwitnessed].
func (n *Node) Prove(ctx context.Context, id string) ([]byte, error) {
	log, seq, rec, err := n.provable(id)
	if err != nil {
		return nil, err
	}
	author := n.people.credential(log.Author)
	if author == nil {
		return nil, fmt.Errorf("%w: the credential of the author of %s", ErrNotFound, id)
	}
	p, err := ledger.Prove(ctx, ledger.ProveRequest{
		Logs: n.logs, Trees: n.testimony.trees, Table: n.testimony.table, Trust: n.trust,
		Log: log, Seq: seq, Opening: rec.opening[:], Payload: rec.payload, Credential: []byte(author.Raw),
		Of: func(k identity.Key) ([]byte, bool) {
			if c := n.people.byWitness(k); c != nil {
				return []byte(c.Raw), true
			}
			return nil, false
		},
	})
	if errors.Is(err, ledger.ErrUnwitnessed) {
		return nil, fmt.Errorf("%w: wait until this device has met two others since the message was sent, then ask again: %w", ErrUnwitnessed, err)
	}
	if err != nil {
		return nil, fmt.Errorf("node: proving: %w", err)
	}
	return p.Marshal()
}

// ErrUnwitnessed: too few other devices have signed for an entry yet.
var ErrUnwitnessed = errors.New("node: too few other devices have signed for this message yet")

// provable finds an opened message by its id.
func (n *Node) provable(id string) (identity.LogID, uint64, *openedRecord, error) {
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != 32 {
		return identity.LogID{}, 0, nil, invalid("an entry id is 64 hexadecimal characters")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return identity.LogID{}, 0, nil, ErrLocked
	}
	it, ok := n.open.inbox.Message(inbox.EntryID(raw))
	if !ok {
		return identity.LogID{}, 0, nil, fmt.Errorf("%w: no message %s is here", ErrNotFound, id)
	}
	if !it.Provable {
		return identity.LogID{}, 0, nil, invalid("the sender did not commit to what this message says: it cannot be proved")
	}
	log, err := identity.ParseLogID(it.From.Log)
	if err != nil {
		return log, 0, nil, err
	}
	value, ok, err := n.cfg.Vault.Get(messageKey(log, it.Seq))
	if err != nil {
		return log, 0, nil, err
	}
	if !ok && n.mine(log) { // not drained yet
		value, ok, err = n.cfg.Vault.Get(outKey(log, it.Seq))
	}
	if err != nil {
		return log, 0, nil, err
	}
	if !ok {
		return log, 0, nil, fmt.Errorf("%w: the message's record", ErrNotFound)
	}
	rec, err := parseOpenedRecord(value)
	return log, it.Seq, rec, err
}

// PayloadWords says in one line what a proved payload is, for `tocsin verify`.
func PayloadWords(payload []byte) string {
	m, err := message.Decode(payload)
	if err != nil {
		return "a payload that this version cannot read"
	}
	return m.Summary()
}
