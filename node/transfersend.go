package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/node/message"
	"tocsin/node/record"
)

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

// sendsTo says why no message of a conversation may go to the record, if so. n.mu is held and the device is unlocked.
func (n *Node) sendsTo(g group.ID) (*tracker, error) {
	if n.cfg.Record == nil {
		return nil, invalid("no record is set: name its address in the settings, or export to a file")
	}
	if err := record.CheckURL(n.cfg.Record.URL); err != nil {
		return nil, invalid("%v", err)
	}
	c, err := n.conversation(g)
	if err != nil {
		return nil, err
	}
	t := n.track(&c)
	switch t.mode {
	case string(message.Exercise):
		return nil, errExercise
	case modeUnknown:
		return nil, errModeUnknown
	}
	return t, nil
}

// sendable says why there is nothing to send of a conversation, if so. n.mu is held and the device is unlocked.
func (n *Node) sendable(g group.ID) error {
	t, err := n.sendsTo(g)
	if err != nil {
		return err
	}
	counts := t.counts()
	switch {
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
		// What was begun is not over, though every message may be there: the page that lists them goes last.
		if t, err := n.sendsTo(g); err == nil && !t.running {
			n.beginTransfer(g, s)
		}
	}
}

// transferLoop sends what is to be sent, one conversation at a time, and erases what has had its time when it is asked to.
func (n *Node) transferLoop() {
	defer n.wg.Done()
	for {
		if n.transfers.retain() {
			if err := n.tellTransferred(n.ctx); err != nil && !errors.Is(err, ErrLocked) && n.ctx.Err() == nil {
				n.log.Warn("a group was not told yet of what stands in the record; it is tried again within the hour", "err", err)
			}
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

// upload collects what is signed off, and what this device has sent before and still holds: that is pointed at where it stands in the record, replaced there if
// later messages changed it, and listed on the page that ends the upload, also where an earlier one ended before its page. No page replaces another, so
// that what others sent, and what was erased here since, stays on theirs.
func (n *Node) upload(ctx context.Context, g group.ID) (*record.Upload, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return nil, n.lockedError()
	}
	if err := n.clockProblem(); err != nil {
		return nil, err
	}
	if err := n.drainAll(ctx); err != nil { // what was said and signed off a moment ago, too
		return nil, err
	}
	if n.open == nil {
		return nil, n.lockedError()
	}
	q := n.open.queue
	var done []record.Receipt
	in, unread, err := n.recordIncident(ctx, g, func(id ledger.ID, m message.Message) bool {
		if r := q.recorded[id]; r != nil && r.record == n.cfg.Record.URL {
			done = append(done, record.Receipt{Entry: id, Location: r.location, Version: r.version})
			return true
		}
		return !queued(m.Kind()) || q.reviews[id].signedOff()
	}, nil)
	if err != nil {
		return nil, err
	}
	if in.Left, err = n.leftOut(g, unread); err != nil {
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
	n.mu.Lock()
	locked := n.open == nil
	n.mu.Unlock()
	if locked {
		s.Refused = nil
	}
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
