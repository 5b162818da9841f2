package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
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
	// restored: this vault is older than the log beside it. What is in it can be
	// read, and nothing can be sent.
	restored bool
}

// Unlock opens the vault, rebuilds what reading needs, catches up with what
// arrived while locked and renews the ticket. Errors: vault.ErrPassphrase and
// whatever keeps the journal from being read.
func (n *Node) Unlock(ctx context.Context, passphrase []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open != nil {
		return nil
	}
	if n.cfg.Vault.Locked() {
		if err := n.cfg.Vault.Unlock(passphrase); err != nil {
			return err
		}
	}
	if err := n.startSession(ctx); err != nil {
		n.closeSession()
		return err
	}
	n.events.publish(Event{Type: EventUnlock})
	n.receiptsSoon()
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
	n.open = &session{keys: keys}
	if err := n.reload(); err != nil {
		return err
	}
	// From here on what fails must not keep the owner from reading.
	if err := n.renewTicket(); err != nil {
		n.log.Error("neighbours will refuse this device when its ticket runs out", "err", err)
	}
	if n.cred.Claims.Relay {
		return nil
	}
	if err := n.upkeep(ctx, 0); err != nil {
		n.log.Error("some of what an unlock does was not done; it is tried again within the hour", "err", err)
	}
	n.due.addAll()
	err = n.drainAll(ctx)
	if n.open == nil {
		return err // the journal cannot be read any more
	}
	if err == nil {
		err = n.openWaiting(ctx, nil)
	}
	if err != nil {
		n.log.Error("some messages could not be opened; it is tried again in a moment", "err", err)
	}
	return nil
}

// reload takes the session back to what the journal says.
func (n *Node) reload() error {
	s := n.open
	keyring, err := group.Load(n.groupConfig(), n.cfg.Vault.Scan)
	if err != nil {
		return fmt.Errorf("node: group state: %w", err)
	}
	s.keyring, s.inbox = keyring, inbox.New()
	s.cursors, s.waiting = make(map[identity.LogID]uint64), 0
	if s.eager == nil {
		s.eager = make(map[group.ID]bool)
	}
	for _, v := range keyring.Groups() {
		n.showGroup(v.ID)
	}
	if _, s.restored, err = n.cfg.Vault.Get(keyRestored); err != nil {
		return err
	}
	return errors.Join(
		n.cfg.Vault.Scan(prefixCursor, n.loadCursor),
		n.cfg.Vault.Scan(prefixMessage, n.loadMessage),
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

func (n *Node) loadMessage(key string, value []byte) error {
	log, seq, err := parseMessageKey(key)
	if err != nil {
		return err
	}
	rec, err := parseOpenedRecord(value)
	if err != nil {
		return fmt.Errorf("%w: %s", err, key)
	}
	msg, err := message.Decode(rec.payload)
	if err != nil {
		return nil // counted when it was opened; kept for the record
	}
	n.applyToInbox(opened{log, seq, rec, msg})
	return nil
}

func (n *Node) groupConfig() group.Config {
	return group.Config{Self: n.self, Rand: n.rand, VerifyOp: verifyOp}
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
		n.mu.Lock()
		err := n.upkeep(n.ctx, upkeepInterval)
		n.mu.Unlock()
		if err != nil && n.ctx.Err() == nil {
			n.log.Error("hourly upkeep failed; it is tried again in an hour", "err", err)
		}
	}
}

// upkeep begins this device's log with its credential where it is new, destroys
// what has lived its time and publishes prekeys that are due. running is the
// time since the last call. n.mu is held.
func (n *Node) upkeep(ctx context.Context, running time.Duration) error {
	if err := n.writable(); err != nil {
		n.log.Warn("nothing can be sent", "err", err)
		return nil
	}
	n.receiptsSoon() // those that could not be sent when they fell due
	if n.ticketNotAfter().Sub(n.cfg.Clock.Now()) < ticketLife-ticketAge {
		if err := n.renewTicket(); err != nil {
			return err
		}
	}
	if err := n.destroyExpired(running); err != nil {
		return err
	}
	if head, ok := n.logs.Head(n.self); !ok || head.Next == 0 {
		if err := n.commitControl(ctx, controlCredential, n.cfg.Credential); err != nil {
			return err
		}
		n.events.publish(Event{Type: EventPeople})
	}
	return n.publishPreKeys(ctx)
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

func (n *Node) closeSession() {
	if n.open != nil && n.open.keys != nil {
		clear(n.open.keys.Signing)
		clear(n.open.keys.MeshKey[:])
	}
	n.open = nil
	n.cfg.Vault.Lock()
}

// The ticket is the lease of protocol §1: each unlock renews it, and so does a
// device that stays unlocked once it is a day old; neighbours refuse a device
// whose ticket has run out.
const (
	ticketLife = 7 * 24 * time.Hour
	ticketAge  = 24 * time.Hour
	ticketFile = "ticket.bin"
)

func (n *Node) renewTicket() error {
	now := n.cfg.Clock.Now()
	notAfter := now.Add(ticketLife)
	t, err := identity.NewTicket(n.open.keys.Signing, n.cfg.Relay.PeerID(), now, notAfter)
	if err != nil {
		return fmt.Errorf("node: ticket: %w", err)
	}
	if err := writeFile(filepath.Join(n.cfg.Dir, ticketFile), t); err != nil {
		return fmt.Errorf("node: saving the ticket: %w", err)
	}
	n.ticket.Store(&t)
	return nil
}

// loadTicket reads the ticket of an earlier unlock, so that a device that was
// restarted and is still locked can relay.
func (n *Node) loadTicket() error {
	t, err := os.ReadFile(filepath.Join(n.cfg.Dir, ticketFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("node: reading the ticket: %w", err)
	}
	n.ticket.Store(&t)
	return nil
}

// writeFile replaces a small file so that a crash leaves the old or the new.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once renamed, which is what we want
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
