package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
	"tocsin/node/record"
)

// RefusedMessage is a message that the record does not take, and why, in the endpoint's words: they go to no log.
type RefusedMessage struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// The states of an upload.
const (
	UploadIdle    = "idle"    // none was begun since this device was started
	UploadRunning = "running" // requests are under way
	UploadStopped = "stopped" // it goes on by itself within the hour, at the next unlock, or when it is begun again
	UploadDone    = "done"    // everything that was signed off was taken or refused
)

// TransferProgress is how far the upload of one conversation is.
type TransferProgress struct {
	Group       string           `json:"group"`
	State       string           `json:"state"`
	Record      string           `json:"record,omitempty"` // URL
	Messages    int              `json:"messages"`
	Transferred int              `json:"transferred"`
	UnderWay    int              `json:"under_way"`
	Refused     []RefusedMessage `json:"refused,omitempty"`
	Stopped     string           `json:"stopped,omitempty"` // why, in words
	Started     time.Time        `json:"started,omitzero"`
	Ended       time.Time        `json:"ended,omitzero"`
}

// transfers are the uploads of this device: one at a time, by transferLoop.
type transfers struct {
	wake chan struct{} // one pending wake-up of transferLoop

	mu     sync.Mutex
	queue  []group.ID
	keep   bool // what has had its time is to be erased
	now    group.ID
	cancel context.CancelCauseFunc // of the upload that runs; nil for none
	last   map[group.ID]*TransferProgress
}

func newTransfers() *transfers {
	return &transfers{wake: make(chan struct{}, 1), last: make(map[group.ID]*TransferProgress)}
}

// running reports whether an upload of the conversation is under way or waits for its turn.
func (t *transfers) running(g group.ID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cancel != nil && t.now == g || slices.Contains(t.queue, g)
}

// progress is a copy of what is known of the last upload of a conversation; nil for none.
func (t *transfers) progress(g group.ID) *TransferProgress {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.last[g]
	if p == nil {
		return nil
	}
	out := *p
	out.Refused = slices.Clone(p.Refused)
	return &out
}

// begin puts a conversation in the queue, unless it is there.
func (t *transfers) begin(g group.ID, p *TransferProgress) {
	t.mu.Lock()
	if !(t.cancel != nil && t.now == g) && !slices.Contains(t.queue, g) {
		t.queue = append(t.queue, g)
		t.last[g] = p
	}
	t.mu.Unlock()
	ring(t.wake)
}

// retainSoon has transferLoop erase what has had its time.
func (t *transfers) retainSoon() {
	t.mu.Lock()
	t.keep = true
	t.mu.Unlock()
	ring(t.wake)
}

// next takes the next upload, with a context that [transfers.stop] ends.
func (t *transfers) next(ctx context.Context) (context.Context, group.ID, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		return nil, group.ID{}, false
	}
	t.now, t.queue = t.queue[0], t.queue[1:]
	ctx, t.cancel = context.WithCancelCause(ctx)
	return ctx, t.now, true
}

func (t *transfers) retain() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	keep := t.keep
	t.keep = false
	return keep
}

// update changes what is known of the upload of a conversation.
func (t *transfers) update(g group.ID, f func(p *TransferProgress)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last[g] == nil {
		t.last[g] = &TransferProgress{Group: g.String(), State: UploadIdle}
	}
	f(t.last[g])
}

// over notes that the upload that ran is over.
func (t *transfers) over() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cancel(nil)
	t.cancel = nil
}

var (
	errUploadStopped = errors.New("it was stopped by hand")
	errUploadLocked  = errors.New("this device was locked; it goes on once it is unlocked")
)

// stop ends the upload of one conversation and reports whether there was one.
func (t *transfers) stop(g group.ID, why error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.queue, g); i >= 0 {
		t.queue = slices.Delete(t.queue, i, i+1)
		t.last[g].State, t.last[g].Stopped = UploadStopped, why.Error()
		return true
	}
	if t.cancel == nil || t.now != g {
		return false
	}
	t.cancel(why)
	return true
}

// stopAll ends all uploads: the device is being locked.
func (t *transfers) stopAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, g := range t.queue {
		t.last[g].State, t.last[g].Stopped = UploadStopped, errUploadLocked.Error()
	}
	t.queue = nil
	if t.cancel != nil {
		t.cancel(errUploadLocked)
	}
}

// SendRecord begins to send what is signed off of a conversation to the record, in the background; [Node.TransferProgress] and [EventTransfer] say how
// far it is. It needs a token of [Node.Reauth]. It goes on after a lock, a restart or a failure, until everything was taken or refused, or
// [Node.StopTransfer]. Errors: [ErrLocked], [ErrReauth], [ErrNotFound], [ErrInvalid] also for an exercise, [ErrReadOnly].
func (n *Node) SendRecord(token, groupID string) (TransferProgress, error) {
	g, err := parseGroupID(groupID)
	if err != nil {
		return TransferProgress{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.spend(token); err != nil {
		return TransferProgress{}, err
	}
	who, err := n.reviewer()
	if err != nil {
		return TransferProgress{}, err
	}
	if err := n.sendable(g); err != nil {
		return TransferProgress{}, err
	}
	mark := &sending{at: n.cfg.Clock.Now(), by: who.String()}
	raw, err := mark.marshal()
	if err != nil {
		return TransferProgress{}, fmt.Errorf("node: the upload: %w", err)
	}
	if err := n.cfg.Vault.Commit(vault.Change{Key: sendingKey(g), Value: raw}); err != nil {
		return TransferProgress{}, fmt.Errorf("%w: the vault's journal: %w", ErrReadOnly, err)
	}
	n.open.queue.sending[g] = mark
	n.beginTransfer(g, mark)
	return *n.transfers.progress(g), nil
}

func (n *Node) beginTransfer(g group.ID, s *sending) {
	n.transfers.begin(g, &TransferProgress{Group: g.String(), State: UploadRunning, Record: n.cfg.Record.URL, Started: s.at})
	n.events.publish(Event{Type: EventTransfer, Group: g.String()})
}

// sendable says why nothing of a conversation can be sent, if so. n.mu is held and the device is unlocked.
func (n *Node) sendable(g group.ID) error {
	if n.cfg.Record == nil {
		return invalid("no record is set: name its address in the settings, or export to a file")
	}
	if err := record.CheckURL(n.cfg.Record.URL); err != nil {
		return invalid("%v", err)
	}
	c, err := n.conversation(g)
	if err != nil {
		return err
	}
	t := n.track(&c)
	counts := t.counts()
	switch {
	case t.mode == string(message.Exercise):
		return errExercise
	case t.mode == modeUnknown:
		return errModeUnknown
	case t.running:
		return invalid("it is being sent already")
	case counts.SignedOff+counts.Refused == 0 && counts.Open() > 0:
		return invalid("nothing is signed off: review the messages and sign them off first")
	case counts.SignedOff+counts.Refused == 0:
		return invalid("everything here stands in the record")
	}
	return nil
}

// StopTransfer stops the upload of a conversation. What was sent and read back stays; nothing is sent twice when it is begun again. Errors:
// [ErrLocked], [ErrInvalid] where none runs, [ErrReadOnly].
func (n *Node) StopTransfer(groupID string) error {
	g, err := parseGroupID(groupID)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return n.lockedError()
	}
	marked := n.open.queue.sending[g] != nil
	if err := n.unmarkSending(g); err != nil {
		return err
	}
	if !n.transfers.stop(g, errUploadStopped) && !marked {
		return invalid("nothing of this conversation is being sent")
	}
	n.events.publish(Event{Type: EventTransfer, Group: groupID})
	return nil
}

// unmarkSending notes that an upload is over for good. n.mu is held and the device is unlocked.
func (n *Node) unmarkSending(g group.ID) error {
	if n.open.queue.sending[g] == nil {
		return nil
	}
	if err := n.cfg.Vault.Commit(vault.Change{Key: sendingKey(g)}); err != nil {
		return fmt.Errorf("%w: the vault's journal: %w", ErrReadOnly, err)
	}
	delete(n.open.queue.sending, g)
	return nil
}

// TransferProgress says how far the upload of a conversation is. Errors: [ErrLocked], [ErrInvalid].
func (n *Node) TransferProgress(groupID string) (TransferProgress, error) {
	g, err := parseGroupID(groupID)
	if err != nil {
		return TransferProgress{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return TransferProgress{}, n.lockedError()
	}
	if p := n.transfers.progress(g); p != nil {
		return *p, nil
	}
	return TransferProgress{Group: groupID, State: UploadIdle}, nil
}

// resumeTransfers goes on with the uploads that were begun and are not over. n.mu is held and the device is unlocked.
func (n *Node) resumeTransfers() {
	if n.cfg.Record == nil {
		return
	}
	for g, s := range n.open.queue.sending {
		if n.sendable(g) == nil {
			n.beginTransfer(g, s)
		}
	}
}

// transferLoop sends what is to be sent, one conversation at a time, and erases what has had its time when it is asked to.
func (n *Node) transferLoop() {
	defer n.wg.Done()
	for {
		if n.transfers.retain() {
			if _, err := n.Retain(n.ctx); err != nil && !errors.Is(err, ErrLocked) && n.ctx.Err() == nil {
				n.log.Warn("what has had its time could not be erased; it is tried again within the hour", "err", err)
			}
		}
		ctx, g, ok := n.transfers.next(n.ctx)
		if ok {
			n.transfer(ctx, g)
			n.transfers.over()
			n.events.publish(Event{Type: EventTransfer, Group: g.String()})
			continue
		}
		select {
		case <-n.ctx.Done():
			return
		case <-n.transfers.wake:
		}
	}
}

// transfer runs one upload to its end.
func (n *Node) transfer(ctx context.Context, g group.ID) {
	u, err := n.upload(ctx, g)
	if err == nil {
		client := record.Client{URL: n.cfg.Record.URL, HTTP: n.cfg.Record.HTTP, Token: n.cfg.Record.Token, Sleep: n.sleep,
			Saved: func(news []record.Receipt) error {
				err := n.keepReceipts(g, news)
				n.noteProgress(g, u)
				return err
			}}
		err = client.Run(ctx, u)
		n.noteProgress(g, u)
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause // why the context ended says more than that it did
	}
	if told := n.sayTransferred(n.ctx, g); told != nil && n.ctx.Err() == nil && !errors.Is(told, ErrLocked) {
		n.log.Warn("the group was not told yet of what stands in the record; it is tried again within the hour", "err", told)
	}
	n.endTransfer(g, u, err)
}

// sleep waits by the node's clock.
func (n *Node) sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-n.cfg.Clock.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// upload collects what is signed off, and what this device has sent before, so that the page that lists everything stays whole.
func (n *Node) upload(ctx context.Context, g group.ID) (*record.Upload, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return nil, n.lockedError()
	}
	if err := n.clockProblem(); err != nil {
		return nil, err
	}
	q := n.open.queue
	var done []record.Receipt
	in, err := n.recordIncident(ctx, g, func(id ledger.ID, m message.Message) bool {
		if r := q.recorded[id]; r != nil && r.record == n.cfg.Record.URL {
			done = append(done, record.Receipt{Entry: id, Location: r.location, Version: r.version})
			return true
		}
		return !queued(m.Kind()) || q.reviews[id].signedOff()
	})
	if err != nil {
		return nil, err
	}
	x, err := record.New(in, n.recordSources(ctx))
	if err != nil {
		return nil, recordError(err)
	}
	u, err := x.Upload(record.PlanOptions{Batch: n.cfg.Record.Batch}, done)
	if err != nil {
		return nil, recordError(err)
	}
	return u, nil
}

// keepReceipts makes receipts durable, before anything else is sent.
func (n *Node) keepReceipts(g group.ID, news []record.Receipt) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return n.lockedError()
	}
	now, by := n.cfg.Clock.Now().UTC().Truncate(time.Millisecond), n.cred.Person.String()
	made := make(map[ledger.ID]*recorded, len(news))
	var changes []vault.Change
	for _, r := range news {
		one := &recorded{group: g, at: now, record: n.cfg.Record.URL, location: cutWords(r.Location), version: cutWords(r.Version), by: by}
		raw, err := one.marshal()
		if err != nil {
			return fmt.Errorf("node: a receipt of the record: %w", err)
		}
		made[r.Entry] = one
		changes = append(changes, vault.Change{Key: recordedKey(r.Entry), Value: raw})
	}
	n.cfg.Step("transfer:answered")
	for part := range slices.Chunk(changes, vault.MaxChanges) {
		if err := n.cfg.Vault.Commit(part...); err != nil {
			return fmt.Errorf("%w: the vault's journal: %w", ErrReadOnly, err)
		}
	}
	n.cfg.Step("transfer:receipts")
	for id, r := range made {
		n.open.queue.recorded[id] = r
	}
	return nil
}

// cutWords bounds what an endpoint says.
func cutWords(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > maxWords {
		s = strings.ToValidUTF8(s[:maxWords], "")
	}
	return s
}

// noteProgress publishes how far an upload is.
func (n *Node) noteProgress(g group.ID, u *record.Upload) {
	s := u.Status()
	n.transfers.update(g, func(p *TransferProgress) {
		p.Messages, p.Transferred, p.UnderWay, p.Refused = s.Messages, s.Transferred, s.UnderWay, nil
		for _, r := range s.Refused {
			p.Refused = append(p.Refused, RefusedMessage{r.Entry.String(), cutWords(r.Reason)})
		}
	})
	n.events.publish(Event{Type: EventTransfer, Group: g.String()})
}

// endTransfer notes how an upload ended: over, with what was refused, or to be gone on with.
func (n *Node) endTransfer(g group.ID, u *record.Upload, err error) {
	now := n.cfg.Clock.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open != nil {
		if kept := n.keepRefusals(u); kept != nil {
			err = errors.Join(err, kept)
		}
	}
	// What is wrong with the messages themselves is for a person to mend.
	if n.open != nil && (err == nil || errors.Is(err, ErrInvalid) || errors.Is(err, errUploadStopped)) {
		if kept := n.unmarkSending(g); kept != nil {
			err = errors.Join(err, kept)
		}
	}
	n.transfers.update(g, func(p *TransferProgress) {
		p.State, p.Ended, p.UnderWay, p.Stopped = UploadDone, now, 0, ""
		if err != nil {
			p.State, p.Stopped = UploadStopped, strings.TrimPrefix(err.Error(), ErrInvalid.Error()+": ")
		}
	})
	n.log.Info("an upload to the record ended", "over", err == nil)
}

// keepRefusals notes why the record refused messages, for the reviewer.
func (n *Node) keepRefusals(u *record.Upload) error {
	if u == nil {
		return nil
	}
	after := make(map[ledger.ID]*review)
	var changes []vault.Change
	for _, r := range u.Status().Refused {
		old := n.open.queue.reviews[r.Entry]
		if !old.signedOff() {
			continue
		}
		one := *old
		one.refused = cutWords(r.Reason)
		raw, err := one.marshal()
		if err != nil {
			return fmt.Errorf("node: why a message was refused: %w", err)
		}
		after[r.Entry] = &one
		changes = append(changes, secretChange(reviewKey(r.Entry), raw))
	}
	for part := range slices.Chunk(changes, maxReview) {
		if err := n.cfg.Vault.Commit(part...); err != nil {
			return fmt.Errorf("%w: the vault's journal: %w", ErrReadOnly, err)
		}
	}
	for id, r := range after {
		n.open.queue.reviews[id] = r
	}
	return nil
}

// untold are the receipts that no message to the group names yet, by what they are of. n.mu is held and the device is unlocked.
func (n *Node) untold() map[group.ID][]ledger.ID {
	out := make(map[group.ID][]ledger.ID)
	for id, r := range n.open.queue.recorded {
		if _, member := n.open.keyring.Group(r.group); !r.said && member {
			out[r.group] = append(out[r.group], id)
		}
	}
	return out
}

// sayTransferred tells the group of what stands in the record, and notes that it did.
func (n *Node) sayTransferred(ctx context.Context, g group.ID) error {
	for {
		n.mu.Lock()
		if n.open == nil {
			n.mu.Unlock()
			return n.lockedError()
		}
		m, ids := n.transferredMessage(g)
		n.mu.Unlock()
		if len(ids) == 0 {
			return nil
		}
		if len(m.Content.(*message.Transferred).Entries) > 0 {
			if _, err := n.Send(ctx, g.String(), m, ledger.Routine.String()); err != nil {
				return err
			}
		}
		n.cfg.Step("transfer:told")
		if err := n.noteTold(ids); err != nil {
			return err
		}
	}
}

// transferredMessage is the next message that says what stands in the record, with the receipts that it settles. Receipts of what devices make are
// settled without being named. n.mu is held and the device is unlocked.
func (n *Node) transferredMessage(g group.ID) (message.Message, []ledger.ID) {
	ids := n.untold()[g]
	slices.SortFunc(ids, func(a, b ledger.ID) int { return slices.Compare(a[:], b[:]) })
	ids = ids[:min(len(ids), message.MaxTransferred)]
	said := &message.Transferred{}
	sum := sha256.New()
	first := ""
	var settled []ledger.ID
	going := n.queuedIn(inbox.GroupID(g))
	for _, id := range ids {
		r := n.open.queue.recorded[id]
		if said.Record != "" && r.record != said.Record {
			continue // of another record: it has a message of its own
		}
		settled = append(settled, id)
		if going[id] == nil && n.open.queue.gone[id] == nil {
			continue
		}
		said.Entries, said.Record = append(said.Entries, message.EntryID(id)), r.record
		fmt.Fprintf(sum, "%s %s %s\n", id, r.location, r.version)
		if first == "" {
			first = printable(r.location)
		}
	}
	said.Record = cutLine(said.Record)
	said.Receipt = fmt.Sprintf("%s and %d more; SHA-256 of all, one to a line as entry, location, version: %x", first, len(said.Entries)-1, sum.Sum(nil))
	if len(said.Entries) == 1 {
		said.Receipt = first
	}
	return message.Message{Content: said}, settled
}

// printable is what an endpoint calls a resource, in a line of a message.
func printable(s string) string {
	return cutLine(strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return '?'
		}
		return r
	}, s))
}

// noteTold notes that the group was told.
func (n *Node) noteTold(ids []ledger.ID) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return n.lockedError()
	}
	var changes []vault.Change
	after := make(map[ledger.ID]*recorded)
	for _, id := range ids {
		r := *n.open.queue.recorded[id]
		r.said = true
		raw, err := r.marshal()
		if err != nil {
			return fmt.Errorf("node: a receipt of the record: %w", err)
		}
		after[id] = &r
		changes = append(changes, vault.Change{Key: recordedKey(id), Value: raw})
	}
	if err := n.cfg.Vault.Commit(changes...); err != nil {
		return fmt.Errorf("%w: the vault's journal: %w", ErrReadOnly, err)
	}
	for id, r := range after {
		n.open.queue.recorded[id] = r
	}
	return nil
}

// tellTransferred makes up for messages to groups that could not be said when their receipts came.
func (n *Node) tellTransferred(ctx context.Context) error {
	n.mu.Lock()
	var groups []group.ID
	if n.open != nil {
		for g := range n.untold() {
			if !n.transfers.running(g) {
				groups = append(groups, g)
			}
		}
	}
	n.mu.Unlock()
	var errs []error
	for _, g := range groups {
		errs = append(errs, n.sayTransferred(ctx, g))
	}
	return errors.Join(errs...)
}
