package ledger

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
)

// CustodyDomain is what a custody statement's signature is over:
// CustodyDomain ‖ fields (FORMAT.md).
const CustodyDomain identity.Domain = "tocsin/custody/v1\x00"

// Custody is a device's promise: it holds the bodies of the entries from From up
// to, not including, To, and does not evict them before Until. It is signed by
// the witness key, so that a locked device gives it too, and it never means
// "delivered".
type Custody struct {
	Holder    identity.Key // witness key
	Log       LogID
	From, To  uint64 // sequence numbers, From < To
	Until     uint64 // seconds since 1970
	Signature [SignatureSize]byte
}

// SignCustody makes a statement with a witness key, once the bodies are durable.
func SignCustody(key ed25519.PrivateKey, log LogID, from, to uint64, until time.Time) (Custody, error) {
	if len(key) != ed25519.PrivateKeySize {
		return Custody{}, fmt.Errorf("ledger: a witness key has %d bytes, not %d", ed25519.PrivateKeySize, len(key))
	}
	c := Custody{Holder: identity.KeyOf(key), Log: log, From: from, To: to, Until: uint64(max(until.Unix(), 0))}
	if err := c.check(); err != nil {
		return Custody{}, err
	}
	c.Signature = [SignatureSize]byte(identity.Sign(key, CustodyDomain, c.signed()))
	return c, nil
}

func (c *Custody) check() error {
	if c.From >= c.To || c.To > MaxSeq+1 || c.Until == 0 {
		return errors.New("ledger: custody of no entries, or until no time")
	}
	return nil
}

func (c *Custody) fields(b *cryptobyte.Builder) {
	log := c.Log.Bytes()
	b.AddBytes(c.Holder[:])
	b.AddBytes(log[:])
	b.AddUint64(c.From)
	b.AddUint64(c.To)
	b.AddUint64(c.Until)
}

func (c *Custody) signed() []byte {
	var b cryptobyte.Builder
	c.fields(&b)
	return b.BytesOrPanic() // fixed-size fields only: it cannot fail
}

// Verify checks the signature.
func (c Custody) Verify(identity.MeshID) error {
	if err := c.check(); err != nil {
		return err
	}
	if err := identity.VerifySignature(c.Holder, CustodyDomain, c.signed(), c.Signature[:]); err != nil {
		return fmt.Errorf("ledger: custody of log %s by %s: %w", c.Log, c.Holder, err)
	}
	return nil
}

// Holds reports whether the statement promises the body of entry seq at now.
func (c Custody) Holds(seq uint64, now time.Time) bool {
	until := time.Unix(int64(min(c.Until, 1<<40)), 0)
	return c.From <= seq && seq < c.To && now.Before(until) && until.Before(now.Add(MaxCustodyAhead))
}

func (c Custody) kind() testimonyKind { return testimonyCustody }

func (c Custody) subject() LogID { return c.Log }

func (c Custody) by() identity.Key { return c.Holder }

func (c Custody) add(b *cryptobyte.Builder) {
	c.fields(b)
	b.AddBytes(c.Signature[:])
}

func readCustody(s *cryptobyte.String) (Custody, bool) {
	var c Custody
	ok := s.CopyBytes(c.Holder[:]) && s.CopyBytes(c.Log.Author[:]) && s.ReadUint32(&c.Log.Incarnation) &&
		s.ReadUint64(&c.From) && s.ReadUint64(&c.To) && s.ReadUint64(&c.Until) && s.CopyBytes(c.Signature[:])
	return c, ok && c.check() == nil
}
