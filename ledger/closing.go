package ledger

import (
	"crypto/ed25519"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
)

// ClosingDomain is what a closing's signature is over: ClosingDomain ‖ fields
// (FORMAT.md).
const ClosingDomain identity.Domain = "tocsin/closing/v1\x00"

// ClosingSize is the encoded size of a [Closing].
const ClosingSize = 1 + 1 + CheckpointSize + identity.LogIDSize + SignatureSize

// ErrClosing: the bytes are no closing, or it does not fit the entry that
// carries it.
var ErrClosing = errors.New("ledger: invalid closing of a log")

// ClosingReason says why a log ends.
type ClosingReason uint8

// The reasons.
const (
	ClosedRestored    ClosingReason = 1 // the device was restored from a backup
	ClosedForked      ClosingReason = 2 // two entries at one place
	ClosedReinstalled ClosingReason = 3 // the device was set up again with its keys
	ClosedKeyRoll     ClosingReason = 4 // the author has a new signing key
	ClosedReissued    ClosingReason = 5 // the device has a new credential for its key
)

// String returns words that follow "closed: ".
func (r ClosingReason) String() string {
	switch r {
	case ClosedRestored:
		return "restored from a backup"
	case ClosedForked:
		return "forked"
	case ClosedReinstalled:
		return "set up again"
	case ClosedKeyRoll:
		return "the device has a new signing key"
	}
	if r == ClosedReissued {
		return "the device has a new credential"
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Closing ends a log at a named checkpoint and says which log goes on. The key
// of the old log signs it; the key of the new one signs back by carrying it in
// its entry at seq 0. For the same author, a higher incarnation goes on. At a
// KeyRoll another author does, and that the two are one person and one device is
// for the credentials to show.
//
// Entries of the old log at or beyond Checkpoint.Size are kept like all entries;
// they were written after the closing, or lost in the restore, and are shown so.
type Closing struct {
	Checkpoint Checkpoint // of the old log
	Reason     ClosingReason
	Next       LogID               // the log that goes on
	Signature  [SignatureSize]byte // by the old log's author
}

// SignClosing ends a log with the key of its author.
func SignClosing(oldKey ed25519.PrivateKey, mesh identity.MeshID, old LogID, size uint64, root Hash, reason ClosingReason, next LogID) (Closing, error) {
	cp, err := SignCheckpoint(oldKey, mesh, old, size, root)
	if err != nil {
		return Closing{}, err
	}
	c := Closing{Checkpoint: cp, Reason: reason, Next: next}
	if err := c.check(); err != nil {
		return Closing{}, err
	}
	c.Signature = [SignatureSize]byte(identity.Sign(oldKey, ClosingDomain, c.signed()))
	return c, nil
}

// check holds the rules that need no key.
func (c *Closing) check() error {
	old, next := c.Checkpoint.Log, c.Next
	switch {
	case c.Reason < ClosedRestored || c.Reason > ClosedReissued:
		return fmt.Errorf("%w: reason %d does not exist", ErrClosing, c.Reason)
	case c.Reason == ClosedKeyRoll && old.Author == next.Author:
		return fmt.Errorf("%w: a new signing key is another key", ErrClosing)
	case c.Reason != ClosedKeyRoll && old.Author != next.Author:
		return fmt.Errorf("%w: only a new signing key makes another author", ErrClosing)
	case c.Reason != ClosedKeyRoll && next.Incarnation <= old.Incarnation:
		return fmt.Errorf("%w: incarnation %d does not follow %d", ErrClosing, next.Incarnation, old.Incarnation)
	}
	return nil
}

func (c *Closing) fields(b *cryptobyte.Builder) {
	b.AddUint8(1) // version
	b.AddUint8(uint8(c.Reason))
	c.Checkpoint.add(b)
	next := c.Next.Bytes()
	b.AddBytes(next[:])
}

func (c *Closing) signed() []byte {
	var b cryptobyte.Builder
	c.fields(&b)
	return b.BytesOrPanic() // fixed-size fields only: it cannot fail
}

// Marshal returns the encoding of c, of [ClosingSize] bytes (FORMAT.md).
func (c Closing) Marshal() []byte {
	return append(c.signed(), c.Signature[:]...)
}

// ParseClosing reads the form that [Closing.Marshal] writes and checks its
// rules, not its signatures. Errors match [ErrClosing].
func ParseClosing(raw []byte) (Closing, error) {
	s := cryptobyte.String(raw)
	var c Closing
	var version, reason uint8
	ok := s.ReadUint8(&version) && s.ReadUint8(&reason) && c.Checkpoint.read(&s) &&
		s.CopyBytes(c.Next.Author[:]) && s.ReadUint32(&c.Next.Incarnation) && s.CopyBytes(c.Signature[:])
	if !ok || !s.Empty() || version != 1 {
		return Closing{}, fmt.Errorf("%w: its %d bytes cannot be read", ErrClosing, len(raw))
	}
	c.Reason = ClosingReason(reason)
	return c, c.check()
}

// Verify checks both signatures of the old log's author, and that first, an
// entry whose own signature was checked, begins the log that goes on.
func (c Closing) Verify(mesh identity.MeshID, first *Entry) error {
	if err := c.check(); err != nil {
		return err
	}
	if first.Header.Seq != 0 || first.Header.Log() != c.Next {
		return fmt.Errorf("%w: it names log %s, and entry %d of log %s carries it", ErrClosing, c.Next, first.Header.Seq, first.Header.Log())
	}
	if err := c.Checkpoint.Verify(mesh); err != nil {
		return fmt.Errorf("%w: %w", ErrClosing, err)
	}
	if err := identity.VerifySignature(c.Checkpoint.Log.Author, ClosingDomain, c.signed(), c.Signature[:]); err != nil {
		return fmt.Errorf("%w: %w", ErrClosing, err)
	}
	return nil
}
