package ledger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"time"

	"tocsin/crypto/identity"
)

// Witnesses tells whose a witness key is. It must not call back into
// [WitnessTable].
type Witnesses interface {
	// Witness returns the organisation of the device with witness key k, and
	// false if no credential with that key is known.
	Witness(k identity.Key) (org string, ok bool)
}

// WitnessConfig is what [NewWitnessTable] needs; all fields are required.
type WitnessConfig struct {
	Logs      *Logs
	Trees     *Trees
	Mesh      identity.MeshID
	Key       ed25519.PrivateKey // this device's witness key
	Witnesses Witnesses
}

// WitnessTable is the last-value table of testimony (protocol §3): of each log
// and witness the newest cosignature and custody. It is this device's memory as
// a witness too. What it returns is durable. It is safe for concurrent use.
type WitnessTable struct {
	logs    *Logs
	trees   *Trees
	mesh    identity.MeshID
	key     ed25519.PrivateKey
	witness *Witness
	who     Witnesses

	mu sync.Mutex // held from a read to the commit of what follows from it
}

// NewWitnessTable returns the table kept in the store of c.Logs.
func NewWitnessTable(c WitnessConfig) (*WitnessTable, error) {
	if c.Logs == nil || c.Trees == nil || c.Witnesses == nil {
		return nil, errors.New("ledger: WitnessConfig needs Logs, Trees and Witnesses")
	}
	w, err := NewWitness(c.Key, c.Mesh)
	if err != nil {
		return nil, err
	}
	return &WitnessTable{logs: c.Logs, trees: c.Trees, mesh: c.Mesh, key: c.Key, witness: w, who: c.Witnesses}, nil
}

// Of returns the testimony about one log, empty if there is none.
func (w *WitnessTable) Of(ctx context.Context, id LogID) (*LogTestimony, error) {
	value, err := w.logs.store.Get(ctx, TableWitness, id, 0)
	if errors.Is(err, ErrNotFound) {
		return &LogTestimony{Log: id}, nil
	}
	if err != nil {
		return nil, err
	}
	return parseLogTestimony(id, value)
}

// Each calls fn for the testimony about every log of which there is any, in the
// order of logs. An error of fn ends it and is returned as it is.
func (w *WitnessTable) Each(ctx context.Context, fn func(*LogTestimony) error) error {
	return w.logs.store.Each(ctx, TableWitness, func(id LogID, value []byte) error {
		l, err := parseLogTestimony(id, value)
		if err != nil {
			return err
		}
		return fn(l)
	})
}

// TakeResult says what became of one testimony.
type TakeResult struct {
	Log     LogID
	Changed bool  // it is kept and durable, and worth handing on
	Err     error // matches [ErrTestimony], [ErrUnknownWitness] or [ErrNotFound]
}

// Take checks testimony that came from elsewhere and keeps what is newer than
// what is held. Results are in the order of raws. Of a log of which nothing is
// held nothing is kept: [ErrNotFound]. The error is the store's; then nothing
// after it was kept.
func (w *WitnessTable) Take(ctx context.Context, raws [][]byte) ([]TakeResult, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	results := make([]TakeResult, len(raws))
	b := w.begin()
	for i, raw := range raws {
		r := &results[i]
		t, err := ParseTestimony(raw)
		if err == nil {
			r.Log = t.subject()
			r.Changed, err = w.take(ctx, b, t)
		}
		if err != nil && !refusal(err) {
			return results, err
		}
		r.Err = err
		if err := b.commitIf(ctx, testimonyABatch); err != nil {
			return results, err
		}
	}
	return results, b.commitIf(ctx, 1)
}

// refusal tells what is wrong with a testimony from what is wrong with a store.
func refusal(err error) bool {
	return errors.Is(err, ErrTestimony) || errors.Is(err, ErrUnknownWitness) || errors.Is(err, ErrNotFound)
}

// take merges one testimony into the batch.
func (w *WitnessTable) take(ctx context.Context, b *testimonyBatch, t Testimony) (bool, error) {
	id := t.subject()
	if _, ok := w.logs.Head(id); !ok {
		return false, fmt.Errorf("%w: testimony about log %s, of which nothing is held", ErrNotFound, id)
	}
	var org string
	if t.kind() != testimonyContradiction {
		var ok bool
		if org, ok = w.who.Witness(t.by()); !ok {
			return false, fmt.Errorf("%w: %s", ErrUnknownWitness, t.by())
		}
	}
	l, err := b.of(ctx, id)
	if err != nil || !l.newer(t) {
		return false, err
	}
	if err := l.verify(w.mesh, t); err != nil {
		return false, fmt.Errorf("%w: %w", ErrTestimony, err)
	}
	return b.add(l, t, org), nil
}

// verify checks t, but not again a checkpoint that is held with this signature.
func (l *LogTestimony) verify(mesh identity.MeshID, t Testimony) error {
	if c, ok := t.(Cosigned); ok {
		for _, o := range l.Cosigned() {
			if o.Checkpoint == c.Checkpoint {
				return c.verifyCosignature(mesh)
			}
		}
	}
	return t.Verify(mesh)
}

// CosignResult says what became of one checkpoint.
type CosignResult struct {
	Cosigned Cosigned // durable; zero with an error
	Err      error
}

// Cosign is asked by others to witness checkpoints: check the signature, what is
// remembered and what is held, make it durable, and only then reply. One commit
// serves many. Results are in the order of cps; their errors are those of
// [Witness.Cosign], [ErrNotFound] where fewer entries are held than the
// checkpoint covers (synchronise, then ask again) and [ErrForked]. The error is
// the store's; then no result counts.
func (w *WitnessTable) Cosign(ctx context.Context, now time.Time, cps ...Checkpoint) ([]CosignResult, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	results := make([]CosignResult, len(cps))
	b := w.begin()
	for i, cp := range cps {
		c, err := w.cosign(ctx, b, cp, now)
		if err != nil {
			results[i].Err = err
		} else {
			results[i].Cosigned = *c
		}
		if err := b.commitIf(ctx, testimonyABatch); err != nil {
			return nil, err
		}
	}
	if err := b.commitIf(ctx, 1); err != nil {
		return nil, err
	}
	return results, nil
}

func (w *WitnessTable) cosign(ctx context.Context, b *testimonyBatch, cp Checkpoint, now time.Time) (*Cosigned, error) {
	org, ok := w.who.Witness(w.witness.Key())
	if !ok {
		return nil, fmt.Errorf("%w: this device's own witness key", ErrUnknownWitness)
	}
	l, err := b.of(ctx, cp.Log)
	if err != nil {
		return nil, err
	}
	if err := w.logs.unforked(cp.Log, cp.Size); err != nil {
		return nil, err
	}
	if checked := w.logs.Checked(cp.Log); checked < cp.Size {
		return nil, fmt.Errorf("%w: a checkpoint over %d entries of log %s, of which %d were checked", ErrNotFound, cp.Size, cp.Log, checked)
	}
	state := l.of(w.witness.Key())
	var proof []Hash
	if state != nil && state.Size < cp.Size {
		if proof, err = w.trees.Consistency(ctx, cp.Log, state.Size, cp.Size); err != nil {
			return nil, err
		}
	}
	root, err := w.trees.Root(ctx, cp.Log, cp.Size)
	if err != nil {
		return nil, err
	}
	c, err := w.witness.Cosign(state, cp, root, proof, now)
	var two *Contradiction
	switch {
	case errors.As(err, &two):
		b.add(l, two, "")
		return nil, err
	case err != nil:
		return nil, err
	}
	b.add(l, *c, org)
	return c, nil
}

// Cut makes a checkpoint over all that is held of a log, with the key of its
// author, and cosigns it with this device's witness key: by that it stands in
// the table and reaches others, who count it as no witness of its author. Where
// nothing was added since the last it makes none and returns false.
func (w *WitnessTable) Cut(ctx context.Context, author ed25519.PrivateKey, id LogID, now time.Time) (Cosigned, bool, error) {
	h, ok := w.logs.Head(id)
	if !ok {
		return Cosigned{}, false, fmt.Errorf("%w: log %s", ErrNotFound, id)
	}
	l, err := w.Of(ctx, id)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return Cosigned{}, false, err
	}
	if l != nil {
		if last := l.of(w.witness.Key()); last != nil && last.Size >= h.Next {
			return *last, false, nil
		}
	}
	root, err := w.trees.Root(ctx, id, h.Next)
	if err != nil {
		return Cosigned{}, false, err
	}
	cp, err := SignCheckpoint(author, w.mesh, id, h.Next, root)
	if err != nil {
		return Cosigned{}, false, err
	}
	results, err := w.Cosign(ctx, now, cp)
	if err != nil {
		return Cosigned{}, false, err
	}
	return results[0].Cosigned, results[0].Err == nil, results[0].Err
}

// CosignHeld cosigns, of each log, the longest checkpoint in the table that this
// device holds the entries of and has not cosigned yet. It returns what it made;
// a log whose checkpoint it refuses is left out, as evidence in the table may
// say. Ask it about the logs that a [WitnessTable.Take] or new entries changed.
func (w *WitnessTable) CosignHeld(ctx context.Context, now time.Time, ids ...LogID) ([]Cosigned, error) {
	var cps []Checkpoint
	for _, id := range ids {
		l, err := w.Of(ctx, id)
		if errors.Is(err, ErrDamaged) {
			continue // replaced by the next Take
		}
		if err != nil {
			return nil, err
		}
		held := w.logs.Checked(id)
		var best Checkpoint
		if own := l.of(w.witness.Key()); own != nil {
			best.Size = own.Size
		}
		least := best.Size
		for _, c := range l.Cosigned() {
			if c.Size > best.Size && c.Size <= held {
				best = c.Checkpoint
			}
		}
		if best.Size > least {
			cps = append(cps, best)
		}
	}
	results, err := w.Cosign(ctx, now, cps...)
	if err != nil {
		return nil, err
	}
	var made []Cosigned
	for _, r := range results {
		if r.Err == nil {
			made = append(made, r.Cosigned)
		}
	}
	return made, nil
}

// unforked returns [ErrForked] if a fork of the log is known below size.
func (l *Logs) unforked(id LogID, size uint64) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if st := l.logs[id]; st != nil && st.fork != nil && st.fork.Seq < size {
		return fmt.Errorf("%w: log %s at %d", ErrForked, id, st.fork.Seq)
	}
	return nil
}

// Promise makes and keeps this device's custody statement for the bodies of a
// log from entry from up to, not including, to. The caller holds them and does
// not evict them before until.
func (w *WitnessTable) Promise(ctx context.Context, id LogID, from, to uint64, until time.Time) (Custody, error) {
	if checked := w.logs.Checked(id); to > checked {
		return Custody{}, fmt.Errorf("%w: custody of log %s up to %d, of which %d entries are held and checked", ErrNotFound, id, to, checked)
	}
	c, err := SignCustody(w.key, id, from, to, until)
	if err != nil {
		return Custody{}, err
	}
	org, ok := w.who.Witness(w.witness.Key())
	if !ok {
		return Custody{}, fmt.Errorf("%w: this device's own witness key", ErrUnknownWitness)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.begin()
	l, err := b.of(ctx, id)
	if err != nil {
		return Custody{}, err
	}
	for _, o := range l.Custody() {
		if o.Holder == c.Holder && rank(o, c) > 0 {
			return Custody{}, fmt.Errorf("ledger: a longer custody of log %s is promised already, until %s: it cannot be shortened",
				id, time.Unix(int64(o.Until), 0).UTC().Format(time.RFC3339))
		}
	}
	// The one before may have promised more, and still holds.
	list, err := w.promises(ctx, id)
	if errors.Is(err, ErrDamaged) {
		// What it said is not known any more: all of the log, for as long as this.
		list, err = []Promise{{0, c.To, c.Until}}, nil
	}
	if err != nil {
		return Custody{}, err
	}
	b.more = append(b.more, Record{Table: TableCustody, Log: id, Value: marshalPromises(id, addPromise(list, Promise{c.From, c.To, c.Until}))})
	b.add(l, c, org)
	return c, b.commitIf(ctx, 1)
}

// CarriedBy returns the witness keys that promise the body of an entry at now,
// without this device: "carried by n devices".
func (w *WitnessTable) CarriedBy(ctx context.Context, id LogID, seq uint64, now time.Time) ([]identity.Key, error) {
	l, err := w.Of(ctx, id)
	if err != nil {
		return nil, err
	}
	var holders []identity.Key
	for _, c := range l.Custody() {
		if c.Holds(seq, now) && c.Holder != w.witness.Key() {
			holders = append(holders, c.Holder)
		}
	}
	return holders, nil
}

// testimonyBatch gathers changed sets for one commit.
type testimonyBatch struct {
	w       *WitnessTable
	sets    map[LogID]*LogTestimony
	changed map[LogID]bool
	more    []Record // to be written with them
}

func (w *WitnessTable) begin() *testimonyBatch {
	return &testimonyBatch{w: w, sets: make(map[LogID]*LogTestimony), changed: make(map[LogID]bool)}
}

// of returns the set of a log as this batch sees it. A damaged record starts
// anew: what is said of others can be had again, and what this device has
// cosigned is held as headers, which cosigning asks first.
func (b *testimonyBatch) of(ctx context.Context, id LogID) (*LogTestimony, error) {
	if l := b.sets[id]; l != nil {
		return l, nil
	}
	l, err := b.w.Of(ctx, id)
	if errors.Is(err, ErrDamaged) {
		l, err = &LogTestimony{Log: id}, nil
	}
	if err == nil {
		b.sets[id] = l
	}
	return l, err
}

func (b *testimonyBatch) add(l *LogTestimony, t Testimony, org string) bool {
	changed := l.add(t, org, b.w.witness.Key())
	b.changed[l.Log] = b.changed[l.Log] || changed
	return changed
}

// commitIf makes the batch durable if at least so many sets have changed.
func (b *testimonyBatch) commitIf(ctx context.Context, least int) error {
	var records []Record
	for id, changed := range b.changed {
		if !changed {
			continue
		}
		value, err := b.sets[id].marshal()
		if err != nil {
			return err
		}
		records = append(records, Record{Table: TableWitness, Log: id, Value: bytes.Clone(value)})
	}
	if len(records) < least {
		return nil
	}
	if err := b.w.logs.store.Commit(ctx, append(records, b.more...)); err != nil {
		return fmt.Errorf("ledger: cannot store testimony: %w", err)
	}
	b.more = nil
	clear(b.changed)
	clear(b.sets)
	return nil
}
