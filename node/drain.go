package node

// The drain works every log from its durable cursor:
//
//	drainLoop    woken by an append, an unlock or the start
//	drainLog     entries from the cursor on, those of several logs in one batch
//	drainEntry   control → keyring, epoch → keyring, data → opened message
//	finish       opened messages, ratchet state and cursors in ONE journal record
//
// Nothing is shown before that record is on disk, and whatever is in it is
// never done again: each message is shown exactly once.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/node/message"
)

// drainBatch is how many entries, of all logs together, share one journal
// record.
const drainBatch = 256

// batch collects what one journal record will hold.
type batch struct {
	entries  int
	bytes    int // of the values in changes
	changes  []vault.Change
	cursors  map[identity.LogID]uint64
	opened   []opened
	receipts []opened // entries of receipts
	groups   []group.ID
	learnt   []group.Tag // epochs that entries may have waited for
	people   bool        // a prekey was learnt: somebody can be reached who could not
	waiting  int         // change in the number of entries that wait for an epoch
	lost     []lost      // sealed to keys that are destroyed here: to be asked for again
	asked    []group.Asked

	// What the record will say and the vault does not yet: later entries of the
	// batch must see it.
	waits  map[string]*ledger.Entry // by wait key: begins to wait; nil: waits no more
	handed map[string]*openedRecord // by handed key: begins to wait for its entry
	taken  map[ledger.ID]struct{}   // has a message in the record
}

func newBatch() *batch {
	return &batch{
		cursors: make(map[identity.LogID]uint64), waits: make(map[string]*ledger.Entry),
		handed: make(map[string]*openedRecord), taken: make(map[ledger.ID]struct{}),
	}
}

// full says when a batch must be written. One entry adds at most 60 KiB and,
// where it skips generations, some thousand changes, so that half of what one
// record may hold leaves room for it.
func (b *batch) full() bool {
	return b.entries >= drainBatch || len(b.changes) >= vault.MaxChanges/2 || b.bytes >= vault.MaxCommit/2
}

// opened is a message on its way to the inbox.
type opened struct {
	log identity.LogID
	seq uint64
	rec *openedRecord
	msg message.Message
}

func (b *batch) put(key string, value []byte) { b.change(vault.Change{Key: key, Value: value}) }

func (b *batch) drop(key string) { b.change(vault.Change{Key: key}) }

func (b *batch) change(c vault.Change) {
	b.changes = append(b.changes, c)
	b.bytes += len(c.Value)
}

// await has e wait for its epoch, under its tag.
func (b *batch) await(e *ledger.Entry) {
	key := waitKey(e.Header.GroupTag, e.Header.Log(), e.Header.Seq)
	b.put(key, []byte{1})
	b.waits[key] = e
	b.waiting++
}

// unwait ends the waiting of an entry.
func (b *batch) unwait(key string) {
	b.drop(key)
	b.waits[key] = nil
	b.waiting--
}

// drainPause is how long the drain rests after each turn, so that what arrives
// in a burst shares one record and one sync. The first message after a quiet
// moment is shown at once, and no timer runs while nothing comes.
const drainPause = 20 * time.Millisecond

// drainRetry is the rest after a turn that failed: a full disk does not get
// better by being asked often.
const drainRetry = 5 * time.Second

// drainLoop is the one goroutine that drains while the node runs.
func (n *Node) drainLoop() {
	defer n.wg.Done()
	var rested time.Time // since then
	var pause time.Duration
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.due.wake:
		}
		if d := restLeft(pause, rested, n.cfg.Clock.Now()); d > 0 && !n.wait(d) {
			return
		}
		n.mu.Lock()
		err := n.drainAll(n.ctx)
		n.goOn(n.ctx)
		n.drainForks(n.ctx)
		n.mu.Unlock()
		pause = drainPause
		if err != nil && n.ctx.Err() == nil {
			n.log.Error("opening messages stopped; it is tried again in a moment", "err", err)
			pause = drainRetry
		}
		rested = n.cfg.Clock.Now()
	}
}

// restLeft is how much of a rest since then is left at now, at most all of it: the clock may
// have been set back by any time.
func restLeft(pause time.Duration, since, now time.Time) time.Duration {
	return min(pause-now.Sub(since), pause)
}

// drainAll brings the cursor of every log that has grown to its head. It does
// nothing while locked, because an unlock starts with all logs again. What it
// cannot do, because something fails or ctx ends, stays due. n.mu is held; it is
// let go between batches so that a long backlog does not hold up a sender.
func (n *Node) drainAll(ctx context.Context) error {
	w := n.due.take()
	if n.open != nil {
		n.open.gathered.on = true
	}
	err := n.drainWork(ctx, &w)
	if n.open == nil {
		return err
	}
	n.open.gathered.on = false
	n.applyGathered()
	n.due.putBack(w)
	n.due.passed(n.open.cursors)
	return err
}

// drainWork does what w says, and leaves in w what it did not do.
func (n *Node) drainWork(ctx context.Context, w *work) error {
	if w.all {
		for _, head := range n.logs.Frontier() {
			w.logs[head.Log] = struct{}{}
		}
		w.all = false
	}
	var skipped []error
	logs := slices.SortedFunc(maps.Keys(w.logs), identity.LogID.Compare)
	for len(logs) > 0 {
		if n.open == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		b, left := newBatch(), logs
		for len(left) > 0 && !b.full() {
			done, err := n.drainLog(ctx, b, left[0])
			if errors.Is(err, errUnreadable) && ctx.Err() == nil {
				skipped, err, done = append(skipped, err), nil, true
			}
			if err != nil {
				return n.fallBack(err)
			}
			if done {
				left = left[1:]
			}
		}
		if err := n.finish(b); err != nil {
			return err
		}
		for ; len(logs) > len(left); logs = logs[1:] {
			delete(w.logs, logs[0])
		}
		if err := n.conclude(ctx, b); err != nil {
			return err
		}
		n.mu.Unlock()
		n.mu.Lock()
	}
	return errors.Join(append(skipped, n.drainLeft(ctx, w))...)
}

// conclude does what follows from a batch that is on disk.
func (n *Node) conclude(ctx context.Context, b *batch) error {
	if len(b.learnt) > 0 {
		if n.carry.leftOut() {
			n.due.putBack(work{allFilled: true}) // some of it may be what was learnt to be read
		}
		if err := n.openWaiting(ctx, b.learnt); err != nil {
			return err
		}
	}
	if err := n.answer(ctx, b); err != nil {
		n.log.Warn("what others asked for, or we must ask for, could not be sent", "err", err)
	}
	return nil
}

// drainLeft opens what does not stand at the head of a log: entries whose bodies
// came late, and those that waited for what was learnt outside of a log.
func (n *Node) drainLeft(ctx context.Context, w *work) error {
	if n.open == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	var errs []error
	if w.allWaiting || len(w.learnt) > 0 {
		var tags []group.Tag
		if !w.allWaiting {
			tags = slices.Collect(maps.Keys(w.learnt))
		}
		w.allWaiting, w.learnt = false, nil // openWaiting puts back what it fails to do
		errs = append(errs, n.openWaiting(ctx, tags))
	}
	if w.allFilled && n.open != nil {
		w.allFilled = false
		errs = append(errs, n.drainAbsent(ctx))
	}
	return errors.Join(append(errs, n.drainBodies(ctx, w))...)
}

// drainBodies opens entries whose bodies came late: what is urgent first, and among equals in
// the order of their logs, because the pages of an announce stand together there. It leaves
// the rest of what is routine where something urgent has come meanwhile.
func (n *Node) drainBodies(ctx context.Context, w *work) error {
	due := slices.SortedFunc(maps.Keys(w.filled), func(a, b dueKey) int {
		return cmp.Or(cmp.Compare(w.filled[a], w.filled[b]), a.compare(b))
	})
	var errs []error
	for len(due) > 0 {
		if n.open == nil || ctx.Err() != nil {
			return errors.Join(append(errs, ctx.Err())...)
		}
		var keys []string
		first := w.filled[due[0]]
		for len(keys) < min(filledBatch, len(due)) && w.filled[due[len(keys)]] == first {
			keys = append(keys, absentKey(due[len(keys)].log, due[len(keys)].seq))
		}
		done, err := n.drainFilled(ctx, keys)
		count := len(done)
		if err != nil {
			errs, count = append(errs, err), len(keys)
		}
		for _, key := range due[:count] {
			if slices.Contains(done, absentKey(key.log, key.seq)) {
				delete(w.filled, key)
			}
		}
		if due = due[count:]; len(errs) == 0 && first == whenever && n.due.pressing() {
			break
		}
	}
	return errors.Join(errs...)
}

// errUnreadable: a log cannot be read, which must not keep the others from
// being drained.
var errUnreadable = errors.New("node: stored entries cannot be read")

// drainLog adds entries of one log to b, and says whether its head is reached.
func (n *Node) drainLog(ctx context.Context, b *batch, id identity.LogID) (bool, error) {
	head, _ := n.logs.Head(id)
	seq := n.open.cursors[id]
	if next, ok := b.cursors[id]; ok {
		seq = next
	}
	for ; seq < head.Next && !b.full(); seq++ {
		e := n.due.entry(id, seq)
		if e == nil {
			var err error
			if e, err = n.logs.Entry(ctx, id, seq); err != nil {
				return false, fmt.Errorf("%w: entry %d of log %s: %w", errUnreadable, seq, id, err)
			}
		}
		as, first, err := n.messageOf(ctx, e)
		if err != nil {
			return false, err
		}
		if err := n.drainEntry(b, e); err != nil {
			return false, fmt.Errorf("node: draining %s: %w", id, err)
		}
		n.passed(e, as, first)
		b.entries++
		b.cursors[id] = seq + 1
	}
	return seq >= head.Next, nil
}

// finish writes the batch's one record, moves the cursors and shows what was
// opened.
func (n *Node) finish(b *batch) error {
	if b.entries == 0 {
		return nil
	}
	n.cfg.Step("inbound:opened")
	for id, next := range b.cursors {
		b.put(cursorKey(id), cursorValue(next))
	}
	if err := n.commitBatch(b); err != nil {
		return err
	}
	maps.Copy(n.open.cursors, b.cursors)
	n.cfg.Step("inbound:journalled")
	n.show(b)
	n.cfg.Step("inbound:shown")
	return nil
}

// drainEntry adds what e means to b. The keyring is moved along at once, so
// that later entries of the batch see it; if the record is then not written,
// reload takes the keyring back to what the journal says.
func (n *Node) drainEntry(b *batch, e *ledger.Entry) error {
	if e.Erased {
		return nil
	}
	if e.Absent {
		b.put(absentKey(e.Header.Log(), e.Header.Seq), []byte{1})
		n.misses(e, false)
		return nil
	}
	switch e.Header.Kind {
	case ledger.KindControl:
		return n.drainControl(b, e)
	case ledger.KindEpoch:
		return n.drainEpoch(b, e)
	case ledger.KindData:
		if n.mine(e.Header.Log()) {
			return n.drainOwn(b, e)
		}
		return n.drainData(b, e)
	case ledger.KindBroadcast:
		if n.mine(e.Header.Log()) {
			return n.drainOwn(b, e)
		}
		return n.drainBroadcast(b, e)
	}
	return nil // a kind of a later version: kept, served and forwarded
}

func (n *Node) drainControl(b *batch, e *ledger.Entry) error {
	t, content, err := parseControl(e.Body)
	if err == nil && t == controlUnreadable {
		return n.drainAsked(b, e, content)
	}
	if err == nil && (t == controlRestart || t == controlRoll) || t == controlCredential {
		b.people = true // somebody may go on in another log, or what waited for a credential can be judged
	}
	if err != nil || t != controlPreKeys {
		return nil // the others were read when the entry was appended
	}
	changes, err := n.open.keyring.LearnPreKeys(e.Header.Log(), content, n.cfg.Clock.Now())
	if err != nil {
		n.log.Warn("a device published prekeys that cannot be used", "log", e.Header.Log(), "err", err)
		return nil
	}
	b.people = true
	return n.fold(b, changes)
}

func (n *Node) drainEpoch(b *batch, e *ledger.Entry) error {
	place := group.Place{Log: e.Header.Log(), Seq: e.Header.Seq}
	learned, changes, err := n.open.keyring.LearnEpoch(place, e.ID(), e.Body, n.cfg.Clock.Now())
	if err != nil {
		n.log.Warn("an epoch announcement cannot be used", "log", e.Header.Log(), "err", err)
		return nil
	}
	if err := n.fold(b, changes); err != nil {
		return err
	}
	sent := time.UnixMilli(int64(e.Header.HLC >> 16))
	if learned.NotOurs && n.open.keyring.MayBeDestroyed(e.Header.Log(), sent) {
		n.log.Info("an epoch is sealed to a key that this device has destroyed: asked for again", "log", e.Header.Log())
		b.lost = append(b.lost, lost{creator: e.Header.Log(), epoch: learned.Epoch, since: e.Header.HLC})
		return nil
	}
	if !learned.Complete {
		return nil
	}
	b.groups = append(b.groups, learned.Group)
	b.learnt = append(b.learnt, learned.Tag)
	return nil
}

// fold moves the keyring and adds the same changes to the record.
func (n *Node) fold(b *batch, changes []group.Change) error {
	for _, c := range changes {
		b.change(groupChange(c))
	}
	return n.open.keyring.Apply(changes...)
}

// fallBack takes the session back to what the journal says after err, or locks
// the device where that fails: a keyring that is ahead of the journal would
// lose messages.
func (n *Node) fallBack(err error) error {
	rerr := n.reload()
	if rerr == nil {
		return err
	}
	n.closeSession()
	n.events.publish(Event{Type: EventLock})
	return errors.Join(err, rerr)
}

// commitBatch writes the one record. If that fails nothing was shown and the
// keyring goes back to what the journal holds.
func (n *Node) commitBatch(b *batch) error {
	if err := n.commitOwed(b.changes); err != nil {
		return n.fallBack(fmt.Errorf("%w: the vault's journal: %w", ErrReadOnly, err))
	}
	n.open.waiting += b.waiting
	return nil
}

// show hands the batch to the inbox and tells subscribers.
func (n *Node) show(b *batch) {
	for _, g := range b.groups {
		n.showGroup(g)
		n.events.publish(Event{Type: EventGroup, Group: g.String()})
	}
	if b.people {
		if err := n.followSuccessions(); err != nil {
			n.log.Error("groups do not know yet of a device that goes on in another log; it is tried again at the next unlock", "err", err)
		}
		if err := n.retryGroups(); err != nil { // some wait for the credential of an admin
			n.log.Error("announcements that waited could not be taken; it is tried again within the hour", "err", err)
		}
		n.events.publish(Event{Type: EventPeople})
	}
	owed, now := false, false
	for _, o := range b.opened {
		n.count(func(m *Metrics) {
			m.Opened++
			if !o.rec.flags.has(flagProvable) {
				m.Unprovable++
			}
		})
		n.present(o)
		if !n.mine(o.log) && o.msg.Shown() {
			owed, now = true, now || o.rec.priority == ledger.Stat
		}
	}
	n.takeReceipts(b.receipts)
	if now {
		n.receiptsNow()
	}
	if owed && n.open.owed.tell() {
		n.receiptsSoon()
	}
}

// present puts one opened message into the inbox and tells subscribers, unless
// it stands there already.
func (n *Node) present(o opened) {
	change := n.applyToInbox(o)
	if !change.New {
		return
	}
	e := Event{Type: EventMessage, Group: o.rec.group.String(), ID: o.rec.as.String(), Exercise: change.Exercise, ForMe: change.ForMe}
	if !o.msg.Shown() {
		e.Type = EventDelivery
	} else if o.rec.priority != ledger.Routine {
		e.Priority = o.rec.priority.String()
	}
	n.events.publish(e)
	n.recall(o.rec.group, change)
	n.heedDeclaration(o)
	n.heedKeeping(o)
}

func cursorValue(next uint64) []byte { return fmt.Appendf(nil, "%016x", next) }
