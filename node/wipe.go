package node

// An order to wipe this device, top to bottom (protocol §9). Each step is on disk
// before the next begins, so that a crash goes on where it ended:
//
//	ordered     the mark is written; nothing is read any more
//	destroyed   the vault is wiped, and the witness key has signed that it is
//	delivered   the receipt stands in another device's log; relay keys are destroyed
//
// A wipe at the owner's wish takes the same steps without a receipt. One whose
// mark was lost goes on because the vault says that it was wiped.
//
// A wiped device can sign no entry, so it spreads its receipt by gossip, as a
// frame of its own, until it sees it in the log of another device.

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
	"tocsin/mesh"
)

// wipeFile is the mark of a wipe:
//
//	struct { uint8 version = 1; uint8 stage; uint8 self; opaque key[32]; opaque nonce[16]; uint64 not_after;
//	         opaque id[32]; uint64 at; opaque receipt<0..2^16-1>; } WipeMark;
//
// self is 1 where there is no order; there is no receipt then, and elsewhere there
// is one from the stage destroyed on.
const wipeFile = "wipe.bin"

type wipeStage uint8

const (
	wipeOrdered   wipeStage = 1
	wipeDestroyed wipeStage = 2
	wipeDelivered wipeStage = 3
)

// wipeMark is how far the wipe of this device is.
type wipeMark struct {
	stage   wipeStage
	self    bool // at the owner's wish: order is zero
	order   identity.WipeOrder
	at      int64 // when it began, seconds since the Unix epoch
	receipt []byte
}

var errWipeMark = errors.New("node: the mark of a wipe is damaged")

// WipeMark reports whether the device in dir has begun to wipe itself. Its vault
// may be gone; [Open] takes a Config without one then.
func WipeMark(dir string) (bool, error) {
	m, err := readWipeMark(dir)
	return m != nil, err
}

func readWipeMark(dir string) (*wipeMark, error) {
	raw, err := os.ReadFile(filepath.Join(dir, wipeFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("node: %s: %w", wipeFile, err)
	}
	return parseWipeMark(raw)
}

func (m *wipeMark) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(1)
	b.AddUint8(uint8(m.stage))
	if m.self {
		b.AddUint8(1)
	} else {
		b.AddUint8(0)
	}
	b.AddBytes(m.order.Key[:])
	b.AddBytes(m.order.Nonce[:])
	b.AddUint64(uint64(m.order.NotAfter.Unix()))
	b.AddBytes(m.order.ID[:])
	b.AddUint64(uint64(m.at))
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(m.receipt) })
	return b.Bytes()
}

func parseWipeMark(raw []byte) (*wipeMark, error) {
	var m wipeMark
	var version, stage, self uint8
	var notAfter, at uint64
	var receipt cryptobyte.String
	s := cryptobyte.String(raw)
	if !s.ReadUint8(&version) || !s.ReadUint8(&stage) || !s.ReadUint8(&self) || !s.CopyBytes(m.order.Key[:]) || !s.CopyBytes(m.order.Nonce[:]) ||
		!s.ReadUint64(&notAfter) || !s.CopyBytes(m.order.ID[:]) || !s.ReadUint64(&at) ||
		!s.ReadUint16LengthPrefixed(&receipt) || !s.Empty() || version != 1 {
		return nil, errWipeMark
	}
	m.stage, m.self = wipeStage(stage), self == 1
	if m.stage < wipeOrdered || m.stage > wipeDelivered || self > 1 || (m.self || m.stage == wipeOrdered) != (len(receipt) == 0) {
		return nil, errWipeMark
	}
	m.order.NotAfter, m.at, m.receipt = time.Unix(int64(notAfter), 0), int64(at), receipt
	return &m, nil
}

// loadWipe goes on with a wipe that a restart has interrupted.
func (n *Node) loadWipe() error {
	m, err := readWipeMark(n.cfg.Dir)
	if err != nil || m == nil {
		return err
	}
	n.wipe = m
	if m.stage == wipeDelivered {
		close(n.wiped)
		return nil
	}
	n.keeper.ring()
	return nil
}

// resumeWipe goes on with a wipe that left no mark but the state of the vault: by
// the order for this device if there is one, else as its owner's wish. Nobody
// else has the node yet.
func (n *Node) resumeWipe() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.wipe != nil || n.cfg.Vault != nil {
		return
	}
	n.log.Warn("the vault of this device was wiped: its other keys are being destroyed")
	now := n.cfg.Clock.Now()
	n.wipe = &wipeMark{stage: wipeOrdered, self: true, at: now.Unix()}
	if o, ok := n.trust.WipeFor(n.cred, now); ok {
		n.wipe.self, n.wipe.order = false, *o
	}
	n.keeper.ring()
}

func (n *Node) saveWipe() error {
	raw, err := n.wipe.marshal()
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(n.cfg.Dir, wipeFile), raw)
}

// beginWipe takes an order for this device: from here on it reads nothing. n.mu
// is held. The rest is wipeStep's, which tries again what fails.
func (n *Node) beginWipe(o *identity.WipeOrder) {
	now := n.cfg.Clock.Now()
	if n.wipe != nil || !o.Due(now) {
		return
	}
	n.log.Warn("an order to wipe this device has come: its keys are being destroyed")
	n.wipe = &wipeMark{stage: wipeOrdered, order: *o, at: now.Unix()}
	if err := n.saveWipe(); err != nil {
		n.log.Error("the mark of the wipe could not be written; the wipe goes on, and a restart finds the order and the vault", "err", err)
	}
	n.closeSession()
	n.events.publish(Event{Type: EventLock})
	n.destroyVault()
	n.keeper.ring()
}

// destroyVault takes the wipe from ordered to destroyed. n.mu is held.
func (n *Node) destroyVault() {
	if n.wipe == nil || n.wipe.stage != wipeOrdered {
		return
	}
	if n.cfg.Vault != nil {
		if err := n.cfg.Vault.Wipe(); err != nil {
			n.log.Error("the vault could not be wiped; it is tried again in a moment", "err", err)
			return
		}
	}
	n.cfg.Step("wipe:destroyed")
	if n.wipe.self {
		n.wipe.stage = wipeDestroyed
		if err := n.saveWipe(); err != nil {
			n.log.Error("how far the wipe is could not be noted; a restart begins it again", "err", err)
		}
		return
	}
	receipt, err := identity.NewWipeReceipt(n.cred, n.cfg.Relay.Witness, &n.wipe.order, n.trust.MeshID(), n.cfg.Clock.Now())
	if err != nil {
		n.log.Error("the receipt of the wipe could not be signed", "err", err)
		return
	}
	n.wipe.stage, n.wipe.receipt = wipeDestroyed, receipt
	if err := n.saveWipe(); err != nil {
		n.log.Error("the receipt of the wipe could not be written; it is signed anew after a restart", "err", err)
	}
	if _, err := n.take(receipt, false); err != nil {
		n.log.Error("this device's own receipt was refused", "err", err)
	}
	n.events.publish(Event{Type: EventTrust})
}

// wipeRetry is how often a wiped device offers its receipt to its neighbours.
const wipeRetry = 3 * time.Second

// wipeDue is when wipeStep is due again; never on a device that is not wiped.
func (n *Node) wipeDue() <-chan time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.wipe == nil || n.wipe.stage == wipeDelivered {
		return nil
	}
	return n.cfg.Clock.After(wipeRetry)
}

// wipeStep goes on with a wipe that has begun.
func (n *Node) wipeStep(ctx context.Context) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.obey() // an order may have been taken just before a crash
	n.goOnWiping(ctx)
}

// goOnWiping takes the steps that can be taken now. n.mu is held.
func (n *Node) goOnWiping(ctx context.Context) {
	if n.wipe == nil || n.wipe.stage == wipeDelivered {
		return
	}
	n.destroyVault()
	if n.wipe.stage != wipeDestroyed {
		return
	}
	if !n.wipe.self && !n.keeper.stands(n.wipe.receipt) && n.wipe.order.Due(n.cfg.Clock.Now()) {
		if err := n.mesh.Publish(ctx, receiptFrame(n.wipe.receipt, n.cfg.Clock.Now())); err != nil {
			n.log.Debug("nobody to hand the receipt to", "err", err)
		}
		return
	}
	// Without a mark a start that finds no relay keys could not say what happened.
	if err := n.saveWipe(); err != nil {
		n.log.Error("the mark of the wipe cannot be written; it is tried again in a moment", "err", err)
		return
	}
	if n.cfg.DestroyRelayKeys != nil {
		if err := n.cfg.DestroyRelayKeys(); err != nil {
			n.log.Error("the relay keys could not be destroyed; it is tried again in a moment", "err", err)
			return
		}
	}
	n.wipe.stage = wipeDelivered
	if err := n.saveWipe(); err != nil {
		n.log.Error("the end of the wipe could not be noted", "err", err)
	}
	n.log.Warn("this device is wiped", "receipt", !n.wipe.self)
	n.events.publish(Event{Type: EventWiped})
	close(n.wiped)
}

// Wiped is closed once this device has carried out an order to wipe itself, its
// receipt stands in another device's log and its relay keys are destroyed.
func (n *Node) Wiped() <-chan struct{} { return n.wiped }

// WipeSelf destroys this device's keys and messages at its owner's wish. It needs
// a token of [Node.Reauth]. There is no order and no receipt: the device stays a
// member until its credential ends or is revoked. An error that comes before the
// wish is on disk changes nothing; after it the wipe goes on by itself, also after
// a restart. Errors: [ErrLocked], [ErrWiped], [ErrReauth], [ErrReadOnly].
func (n *Node) WipeSelf(ctx context.Context, token string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.spend(token); err != nil {
		return err
	}
	n.wipe = &wipeMark{stage: wipeOrdered, self: true, at: n.cfg.Clock.Now().Unix()}
	if err := n.saveWipe(); err != nil {
		n.wipe = nil
		if gone := os.Remove(filepath.Join(n.cfg.Dir, wipeFile)); !errors.Is(gone, os.ErrNotExist) {
			err = errors.Join(err, gone)
		}
		return fmt.Errorf("%w: the wipe cannot be noted and has not begun: make room on the disk and try again: %w", ErrReadOnly, err)
	}
	n.closeSession()
	n.events.publish(Event{Type: EventLock})
	n.goOnWiping(ctx)
	if n.wipe.stage != wipeDelivered {
		n.keeper.ring()
		return fmt.Errorf("%w: this device reads nothing any more, but some of its keys are not destroyed yet: leave it running, it tries again every few seconds", ErrReadOnly)
	}
	return nil
}

// frameReceipt begins a receipt's frame in gossip. No entry's frame begins so:
// that begins with the length of a header.
var frameReceipt = []byte("\xff\xfftocsin/receipt/1\x00")

// Offers of receipts in gossip. A device that carries none hands each receipt on
// once for each minute of the stamps it is offered under, and only under stamps
// of about now: an old offer is no new one, however often it is replayed.
const (
	offerLead = 5 * time.Minute // how far a stamp that is handed on may be from our clock
	maxOffers = 1024            // receipts remembered as handed on
)

// receiptFrame is magic ‖ uint64 stamp ‖ receipt. The stamp, in seconds since the
// Unix epoch, makes a frame that is offered again another one to gossip, which
// carries each only once and loses what is published while streams open.
func receiptFrame(receipt []byte, now time.Time) []byte {
	b := cryptobyte.NewBuilder(bytes.Clone(frameReceipt))
	b.AddUint64(uint64(now.Unix()))
	b.AddBytes(receipt)
	return b.BytesOrPanic() // a receipt has a few hundred bytes
}

// offers is which receipts were handed on: by their SHA-256, the minute of the
// newest offer.
type offers struct {
	mu   sync.Mutex
	last map[[32]byte]int64
}

// handOn says whether an offer is to be handed on, and notes that it was.
func (o *offers) handOn(receipt []byte, stamp, now time.Time) bool {
	if stamp.Sub(now).Abs() > offerLead {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	hash, minute := sha256.Sum256(receipt), stamp.Unix()/60
	if last, known := o.last[hash]; known && minute <= last {
		return false
	}
	if o.last == nil {
		o.last = make(map[[32]byte]int64)
	}
	if len(o.last) >= maxOffers {
		// Those whose stamps are too old by now are refused without being known.
		maps.DeleteFunc(o.last, func(_ [32]byte, last int64) bool { return now.Sub(time.Unix(last*60, 0)).Abs() > offerLead+time.Minute })
		if len(o.last) >= maxOffers {
			return false
		}
	}
	o.last[hash] = minute
	return true
}

// receiveReceipt takes the receipt of a wiped device from gossip. A device that
// is locked hands it on, because it cannot carry it in its log, until it stands in
// another's.
func (n *Node) receiveReceipt(frame []byte) mesh.Verdict {
	s := cryptobyte.String(frame[len(frameReceipt):])
	var stamp uint64
	if !s.ReadUint64(&stamp) || len(s) == 0 || len(s) > identity.MaxStatement {
		return mesh.Reject
	}
	kind, err := identity.StatementKind(s)
	if err != nil || kind != identity.KindReceipt {
		return mesh.Reject
	}
	if _, err := n.take(s, false); err != nil {
		n.log.Debug("a receipt was not taken", "err", err)
		return mesh.Ignore
	}
	if n.keeper.stands(s) {
		return mesh.Ignore // who lacks it has it from that log
	}
	n.mu.Lock()
	unlocked := n.open != nil
	n.mu.Unlock()
	if unlocked {
		n.keeper.ring()
		return mesh.Ignore
	}
	if !n.offers.handOn(s, time.Unix(int64(stamp), 0), n.cfg.Clock.Now()) {
		return mesh.Ignore
	}
	return mesh.Accept
}
