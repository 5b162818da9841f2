package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/node/inbox"
)

// session is what a node holds only while it is unlocked. All of it is guarded
// by Node.mu.
type session struct {
	keys    *identity.VaultKeys
	keyring *group.Keyring
	inbox   *inbox.Inbox
	cursors map[identity.LogID]uint64
	eager   map[group.ID]bool // groups whose members we changed: announce at once
	waiting int               // entries sealed under epochs that we do not hold

	handed    *handedSet                                // handed over before their entries came
	split     map[ledger.ID]ledger.ID                   // messages of several entries, to the one that brought them here
	tails     map[identity.LogID]tail                   // where logs were drained to
	places    *places                                   // of messages that are shown
	owed      *owed                                     // receipts that are owed
	gathered  gathered                                  // receipts that wait for the end of a turn of the drain
	rest      bool                                      // a message may not have left for all parts of its group
	restErr   error                                     // why it has not
	tokens    map[[32]byte]time.Time                    // by SHA-256: until when a token of Reauth can be used
	meeting   *meeting                                  // nil while nobody is met
	newcomers map[identity.Key]*identity.SponsorRequest // whose requests were looked at
	trialEnd  time.Time                                 // when the next sponsored credential ends; zero for none

	queue   *queue   // what is known of the way of messages into the record
	keeping *keeping // how long messages are here

	forksDrained bool // the evidence of forks was looked at since the unlock

	// restored: this vault is older than the log beside it, which is therefore not
	// written to any more (succession.go).
	restored bool
}

// Unlock opens the vault, rebuilds what reading needs, catches up with what
// arrived while locked and renews the ticket. Errors: vault.ErrPassphrase and
// whatever keeps the journal from being read.
func (n *Node) Unlock(ctx context.Context, passphrase []byte) error {
	return n.unlock(ctx, func() error { return n.cfg.Vault.Unlock(passphrase) })
}

// unlock opens the vault with a secret and starts the session.
func (n *Node) unlock(ctx context.Context, open func() error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open != nil {
		return nil
	}
	if n.wipe != nil {
		return ErrWiped
	}
	if n.cfg.Vault.Locked() {
		if err := open(); err != nil {
			return err
		}
	}
	n.Touch()
	if err := n.startSession(ctx); err != nil {
		n.closeSession()
		return err
	}
	n.events.publish(Event{Type: EventUnlock})
	n.receiptsSoon()
	n.asksSoon()
	return nil
}

// startSession builds the session from the vault, which is unlocked.
func (n *Node) startSession(ctx context.Context) error {
	raw, ok, err := n.cfg.Vault.Get(keyVaultKeys)
	if err != nil {
		return err
	}
	if !ok {
		return errors.New("node: the vault holds no keys: enrol this device again with `tocsin init` in an empty directory")
	}
	keys, err := identity.ParseVaultKeys(raw)
	if err != nil {
		return fmt.Errorf("node: the vault's keys: %w", err)
	}
	if identity.KeyOf(keys.Signing) != n.cred.SigningKey {
		return errors.New("node: the credential belongs to another device's key: import the answer to this device's own request with `tocsin enrol`")
	}
	n.knocks.end()
	n.open = &session{keys: keys, owed: newOwed(), newcomers: make(map[identity.Key]*identity.SponsorRequest)}
	if err := n.reload(); err != nil {
		return err
	}
	// From here on what fails must not keep the owner from reading.
	n.renewLease()
	if err := n.renewTicket(); err != nil {
		n.log.Error("neighbours will refuse this device when its ticket runs out", "err", err)
	}
	n.retryLater()
	if n.cred.Claims.Relay {
		return nil
	}
	if err := n.followSuccessions(); err != nil {
		n.log.Error("groups do not know yet of devices that go on in other logs; it is tried again within the hour", "err", err)
	}
	if err := n.upkeep(ctx, 0); err != nil {
		n.log.Error("some of what an unlock does was not done; it is tried again within the hour", "err", err)
	}
	n.heedMine(ctx)
	n.due.addEverything()
	err = n.drainAll(ctx)
	if n.open == nil {
		return err // the journal cannot be read any more
	}
	if err = errors.Join(err, n.eraseBodies(ctx)); err != nil {
		n.log.Error("some messages could not be opened; it is tried again in a moment", "err", err)
		return nil
	}
	n.attached.sweep()
	n.resumeTransfers()
	n.transfers.retainSoon()
	return nil
}

// reload takes the session back to what the journal says.
func (n *Node) reload() error {
	s := n.open
	keyring, err := group.Load(n.groupConfig(), n.cfg.Vault.Scan)
	if err != nil {
		return fmt.Errorf("node: group state: %w", err)
	}
	s.keyring, s.inbox = keyring, n.newInbox()
	s.cursors, s.waiting = make(map[identity.LogID]uint64), 0
	s.handed, s.split = newHandedSet(), make(map[ledger.ID]ledger.ID)
	s.gathered.these, s.gathered.size = nil, 0            // they are kept, and so among the messages
	s.tails, s.rest = make(map[identity.LogID]tail), true // looked at before anything is said
	s.trialEnd = n.people.nextEnd(n.cfg.Clock.Now())
	if s.eager == nil {
		s.eager = make(map[group.ID]bool)
	}
	for _, v := range keyring.Groups() {
		n.showGroup(v.ID)
	}
	if s.restored, err = n.wasRestored(); err != nil {
		return err
	}
	if s.queue, err = n.loadQueue(); err != nil {
		return fmt.Errorf("node: what is known of the record: %w", err)
	}
	if s.keeping, err = n.loadKeeping(); err != nil {
		return fmt.Errorf("node: how long messages are here: %w", err)
	}
	return errors.Join(
		n.cfg.Vault.Scan(prefixCursor, n.loadCursor),
		n.cfg.Vault.Scan(prefixHanded, n.loadHanded),
		n.loadMessages(),
		n.cfg.Vault.Scan(prefixWait, func(string, []byte) error { s.waiting++; return nil }),
	)
}

func (n *Node) loadCursor(key string, value []byte) error {
	id, err := identity.ParseLogID(key[len(prefixCursor):])
	if err != nil {
		return fmt.Errorf("%w: %s", errRecord, key)
	}
	next, err := strconv.ParseUint(string(value), 16, 64)
	if err != nil {
		return fmt.Errorf("%w: %s", errRecord, key)
	}
	n.open.cursors[id] = next
	return nil
}

// scanOpened hands out what the vault keeps of opened entries under a prefix.
func (n *Node) scanOpened(prefix string, each func(o opened) error) error {
	return n.cfg.Vault.Scan(prefix, func(key string, value []byte) error {
		log, seq, err := parseMessageKey(key)
		if err != nil {
			return err
		}
		rec, err := parseOpenedRecord(value)
		if err != nil {
			return fmt.Errorf("%w: %s", err, key)
		}
		return each(opened{log: log, seq: seq, rec: rec})
	})
}

// loadMessages fills the inbox from the vault: first what was said, then the
// receipts that name it by its place, then what this device has read.
func (n *Node) loadMessages() error {
	n.open.places, n.open.owed = newPlaces(), newOwed()
	var receipts []opened
	err := n.scanOpened(prefixMessage, func(o opened) error {
		if o.rec.ofReceipts() {
			receipts = append(receipts, o)
			return nil
		}
		msg, _, err := o.rec.message()
		if err != nil {
			return nil // counted when it was opened; kept for the record
		}
		o.msg = msg
		n.applyToInbox(o)
		return nil
	})
	if err != nil {
		return err
	}
	for _, o := range receipts {
		n.applyReceipts(o)
	}
	return errors.Join(n.cfg.Vault.Scan(prefixReceipt, n.loadDebt), n.cfg.Vault.Scan(prefixRead, n.loadRead))
}

func (n *Node) groupConfig() group.Config {
	return group.Config{
		Self: n.self, Rand: n.rand, VerifyOp: verifyOp,
		Excluded: n.excluded, MayBeIn: n.mayBeIn, VerifyAppointment: n.appointment, Person: n.personName,
		Settled: n.people.settled, Devices: n.cfg.EpochDevices,
	}
}

// verifyOp lets the group package check an op's header without knowing the
// ledger.
func verifyOp(signedHeader []byte) (group.OpProof, error) {
	e, err := ledger.VerifyHeader(signedHeader)
	if err != nil {
		return group.OpProof{}, err
	}
	if e.Header.Kind != ledger.KindEpoch {
		return group.OpProof{}, fmt.Errorf("node: a group change in an entry of kind %s", e.Header.Kind)
	}
	return group.OpProof{
		ID: e.ID(), Place: group.Place{Log: e.Header.Log(), Seq: e.Header.Seq}, Commit: e.Header.Commit,
	}, nil
}

// upkeepInterval is how often secrets that have lived their time are destroyed
// and prekeys that are due are published (protocol §4).
const upkeepInterval = time.Hour

// compactAge is how long the vault's journal may keep, sealed, the chain keys
// that were replaced: then it is rewritten without them. When a secret has
// lived its time it is rewritten at once.
const compactAge = 24 * time.Hour

// upkeepLoop does so while the device is unlocked; an unlock does it too.
func (n *Node) upkeepLoop() {
	defer n.wg.Done()
	for n.wait(upkeepInterval) {
		n.retryLater()
		n.attached.tidy()
		n.mu.Lock()
		err := n.upkeep(n.ctx, upkeepInterval)
		if n.open != nil {
			n.resumeTransfers()
		}
		n.mu.Unlock()
		n.transfers.retainSoon()
		if err != nil && n.ctx.Err() == nil {
			n.log.Error("hourly upkeep failed; it is tried again in an hour", "err", err)
		}
	}
}

// upkeep begins this device's log with its credential where it is new, destroys
// what has lived its time and publishes prekeys that are due. running is the
// time since the last call. n.mu is held.
func (n *Node) upkeep(ctx context.Context, running time.Duration) error {
	n.goOn(ctx)
	if err := n.writable(); err != nil {
		n.log.Warn("nothing can be sent", "err", err)
		return nil
	}
	n.receiptsSoon() // those that could not be sent when they fell due
	n.asksSoon()     // for what may be asked for again
	if n.ticketNotAfter().Sub(n.cfg.Clock.Now()) < ticketLife-ticketAge {
		n.renewLease()
		if err := n.renewTicket(); err != nil {
			return err
		}
	}
	if err := n.destroyExpired(running); err != nil {
		return err
	}
	n.reexamine()
	if head, ok := n.logs.Head(n.self); !ok || head.Next == 0 {
		if err := n.commitControl(ctx, controlCredential, n.cfg.Credential); err != nil {
			return err
		}
		if err := n.readOwn(ctx); err != nil {
			return err
		}
		n.events.publish(Event{Type: EventPeople})
	}
	if err := n.publishPreKeys(ctx); err != nil {
		return err
	}
	if err := n.publishPending(ctx); err != nil {
		return err
	}
	n.sendRest(ctx)
	if running == 0 {
		return nil // what an enrolment brought may stand in a log that is still to come
	}
	return n.publishUncarried(ctx)
}

// destroyExpired deletes secrets that have lived their time, and rewrites the
// journal so that it does not keep them.
func (n *Node) destroyExpired(running time.Duration) error {
	now := n.cfg.Clock.Now()
	expired := n.open.keyring.Expire(now, running)
	for part := range slices.Chunk(expired, vault.MaxChanges) {
		if err := n.saveGroup(part); err != nil {
			return err
		}
	}
	if err := n.retryGroups(); err != nil {
		return err
	}
	gone := slices.ContainsFunc(expired, func(c group.Change) bool { return c.Value == nil })
	raw, _, err := n.cfg.Vault.Get(keyCompacted)
	if err != nil {
		return err
	}
	last, err := strconv.ParseInt(string(raw), 10, 64)
	if err == nil && !gone && now.Sub(time.Unix(last, 0)).Abs() < compactAge {
		return nil
	}
	// The mark goes first, so that it is in what is kept; where rewriting fails it
	// is taken back.
	mark := vault.Change{Key: keyCompacted, Value: strconv.AppendInt(nil, now.Unix(), 10)}
	if err := n.cfg.Vault.Commit(mark); err != nil {
		return fmt.Errorf("%w: the vault's journal: %w", ErrReadOnly, err)
	}
	if err := n.cfg.Vault.Compact(); err != nil {
		return errors.Join(err, n.cfg.Vault.Commit(vault.Change{Key: keyCompacted}))
	}
	return nil
}

// retryGroups completes the announcements for which there was no room before.
func (n *Node) retryGroups() error {
	for {
		learned, changes, err := n.open.keyring.Retry(n.cfg.Clock.Now())
		if err != nil {
			return fmt.Errorf("node: announcements that waited for room: %w", err)
		}
		if err := n.saveGroup(changes); err != nil {
			return err
		}
		if len(learned) == 0 {
			return nil
		}
		for _, l := range learned {
			if !l.Complete {
				continue
			}
			n.showGroup(l.Group)
			n.events.publish(Event{Type: EventGroup, Group: l.Group.String()})
			n.due.learn([]group.Tag{l.Tag})
		}
	}
}

// publishPreKeys makes new prekeys durable before they are published: a key
// that others seal to and that we lost would lose their messages.
func (n *Node) publishPreKeys(ctx context.Context) error {
	payload, changes, err := n.open.keyring.PreKeyUpdate(n.cfg.Clock.Now())
	if err != nil {
		return fmt.Errorf("node: prekeys: %w", err)
	}
	if err := n.saveGroup(changes); err != nil {
		return err
	}
	if payload == nil {
		return nil
	}
	return n.commitControl(ctx, controlPreKeys, payload)
}

// Lock forgets everything but the relay keys: the signing key, group state and
// opened messages. The node goes on relaying.
func (n *Node) Lock() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closeSession()
	n.events.publish(Event{Type: EventLock})
	return nil
}

// lockedError is why nothing can be read at present. n.mu is held.
func (n *Node) lockedError() error {
	if n.wipe != nil {
		return ErrWiped
	}
	return ErrLocked
}

func (n *Node) closeSession() {
	if n.open != nil && n.open.keys != nil {
		clear(n.open.keys.Signing)
		clear(n.open.keys.MeshKey[:])
	}
	n.open = nil
	n.transfers.stopAll()
	n.knocks.begin()
	if n.cfg.Vault != nil {
		n.cfg.Vault.Lock()
	}
	n.lockSoon()
}
