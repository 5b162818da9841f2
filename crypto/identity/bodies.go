package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// The bodies of statements: what each kind says, its bytes, and how it is made.
// What a statement does when it is taken stands in take.go.

// Revoked is one device on a CRL.
type Revoked struct {
	Key        [32]byte  // [Credential.KeyHash] of the device
	Since      time.Time // from when it is not to be believed; not after the CRL's time
	Credential []byte    // its wire form: a registrar's evidence that it may; none from an authority
}

// CRL is the complete list of what an issuer revokes. The next one has a
// higher number and a later time. A device that has been revoked stays so for
// all who have heard of it, also if a later list leaves it out.
type CRL struct {
	Number     uint64
	Time       time.Time  // thisUpdate
	Revoked    []Revoked  // at most [MaxRevoked], [MaxRegistrarRevoked] of a registrar; sorted by the maker
	Registrars [][32]byte // [IssuerKeyHash] of revoked registrars; an authority's only
	Rand       io.Reader  // of ECDSA; nil means crypto/rand
}

// CRL signs a list of revoked devices and registrars:
//
//	struct { opaque key[32]; uint64 since; opaque evidence<0..2^16-1>; } Revoked;
//	struct { uint64 number; Revoked revoked<0..2^16-1>; opaque registrars<0..2^16-1>; } CRL;
//
// Both lists ascend. [TrustStore.NextCRL] gives the list to add to.
func (a *issuer) CRL(mesh MeshID, c CRL) ([]byte, error) {
	c.Revoked = slices.Clone(c.Revoked)
	for i := range c.Revoked {
		if !a.self.registrar {
			c.Revoked[i].Credential = nil
		}
	}
	slices.SortFunc(c.Revoked, func(x, y Revoked) int { return bytes.Compare(x.Key[:], y.Key[:]) })
	c.Registrars = slices.SortedFunc(slices.Values(c.Registrars), func(x, y [32]byte) int { return bytes.Compare(x[:], y[:]) })
	if a.self.registrar && len(c.Registrars) != 0 {
		return nil, errors.New("identity: a registrar revokes no registrars: ask the authority")
	}
	body, err := c.encode()
	if err != nil {
		return nil, err
	}
	if _, err := parseCRL(body, a.self.registrar); err != nil {
		return nil, err
	}
	return a.statement(KindCRL, mesh, c.Time, body, c.Rand)
}

func (c *CRL) encode() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint64(c.Number)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, r := range c.Revoked {
			b.AddBytes(r.Key[:])
			addTime(b, r.Since)
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(r.Credential) })
		}
	})
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, k := range c.Registrars {
			b.AddBytes(k[:])
		}
	})
	return bytesOf(&b)
}

// parseCRL holds the rules of a list's own form; whether the signer may is
// [TrustStore.takeCRL]'s to say.
func parseCRL(body []byte, registrar bool) (*CRL, error) {
	limit := MaxRevoked
	if registrar {
		limit = MaxRegistrarRevoked
	}
	s := cryptobyte.String(body)
	var list, registrars cryptobyte.String
	c := &CRL{}
	if !s.ReadUint64(&c.Number) || !s.ReadUint16LengthPrefixed(&list) || !s.ReadUint16LengthPrefixed(&registrars) || !s.Empty() {
		return nil, errBody
	}
	for !list.Empty() {
		var r Revoked
		var evidence cryptobyte.String
		if !list.CopyBytes(r.Key[:]) || !readTime(&list, &r.Since) || !list.ReadUint16LengthPrefixed(&evidence) {
			return nil, errBody
		}
		n := len(c.Revoked)
		if n == limit || n > 0 && bytes.Compare(c.Revoked[n-1].Key[:], r.Key[:]) >= 0 {
			return nil, refuse(checkCRLEntries, "the devices of a CRL are sorted, each stands once, and they are at most %d", limit)
		}
		if registrar == evidence.Empty() {
			return nil, refuse(checkEvidence, "a registrar brings the credential of each device that it revokes, an authority none")
		}
		r.Credential = evidence
		c.Revoked = append(c.Revoked, r)
	}
	for !registrars.Empty() {
		var k [32]byte
		if !registrars.CopyBytes(k[:]) {
			return nil, errBody
		}
		n := len(c.Registrars)
		if n == MaxRevokedRegistrars || n > 0 && bytes.Compare(c.Registrars[n-1][:], k[:]) >= 0 {
			return nil, refuse(checkCRLEntries, "the registrars of a CRL are sorted, each stands once, and they are at most %d", MaxRevokedRegistrars)
		}
		c.Registrars = append(c.Registrars, k)
	}
	if registrar && len(c.Registrars) != 0 {
		return nil, refuseAs(ErrBeyond, checkStatementPower, "a registrar revokes no registrars")
	}
	return c, nil
}

// Wipe is an order to one device to erase itself.
type Wipe struct {
	Time       time.Time
	Key        [32]byte  // [Credential.KeyHash] of the device
	Credential []byte    // its wire form: a registrar must give it, an authority may
	NotAfter   time.Time // until when the device obeys, at most 90 days later; it stays revoked for ever
	Rand       io.Reader // of the nonce and of ECDSA; nil means crypto/rand
}

// WipeOrder is an order as it was taken.
type WipeOrder struct {
	ID       [32]byte // of the statement; the receipt names it
	Key      [32]byte // [Credential.KeyHash] of the device
	Org      string   // whose authority or registrar orders it: it holds for that organisation's devices
	Nonce    [16]byte
	Time     time.Time
	NotAfter time.Time

	// RevokesOnly says that the device is out and does not erase itself: the
	// order is a registrar's, and was taken more than 24 hours after its date,
	// or is not among the first five of its day. The authority may order it.
	RevokesOnly bool

	registrar [32]byte // zero from an authority
	late      bool     // taken more than RegistrarWipeDelay after its date
	evidence  []byte
}

// Due reports whether the order is still to be carried out at now.
func (w *WipeOrder) Due(now time.Time) bool { return !w.RevokesOnly && !now.After(w.NotAfter) }

// Wipe signs an order to erase one device:
//
//	struct { opaque key[32]; opaque nonce[16]; uint64 not_after; opaque evidence<0..2^16-1>; } Wipe;
func (a *issuer) Wipe(mesh MeshID, w Wipe) ([]byte, error) {
	if w.Rand == nil {
		w.Rand = rand.Reader
	}
	order := &WipeOrder{Key: w.Key, NotAfter: w.NotAfter, evidence: w.Credential}
	if _, err := io.ReadFull(w.Rand, order.Nonce[:]); err != nil {
		return nil, fmt.Errorf("identity: no randomness for a wipe order: %w", err)
	}
	if a.self.registrar && len(w.Credential) == 0 {
		return nil, errors.New("identity: a registrar orders a wipe with the credential of the device: it must show that it may")
	}
	if life := w.NotAfter.Sub(w.Time); life <= 0 || life > MaxWipeLife {
		return nil, fmt.Errorf("identity: a wipe order holds for above zero and at most %d days", MaxWipeLife/(24*time.Hour))
	}
	body, err := order.encode()
	if err != nil {
		return nil, err
	}
	return a.statement(KindWipe, mesh, w.Time, body, w.Rand)
}

func (w *WipeOrder) encode() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddBytes(w.Key[:])
	b.AddBytes(w.Nonce[:])
	addTime(&b, w.NotAfter)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(w.evidence) })
	return bytesOf(&b)
}

func parseWipe(st *statement) (*WipeOrder, error) {
	s := cryptobyte.String(st.body)
	var evidence cryptobyte.String
	w := &WipeOrder{Time: st.at()}
	if !s.CopyBytes(w.Key[:]) || !s.CopyBytes(w.Nonce[:]) || !readTime(&s, &w.NotAfter) || !s.ReadUint16LengthPrefixed(&evidence) || !s.Empty() {
		return nil, errBody
	}
	if st.by == byRegistrar && evidence.Empty() {
		return nil, refuse(checkEvidence, "a registrar brings the credential of the device that it wipes")
	}
	if life := w.NotAfter.Sub(w.Time); life <= 0 || life > MaxWipeLife {
		return nil, refuse(checkWipeLife, "a wipe order holds for at most %d days", MaxWipeLife/(24*time.Hour))
	}
	w.evidence = evidence
	return w, nil
}

// WipeReceipt says that a device has destroyed what it could read. It proves
// that our software ran, and no more.
type WipeReceipt struct {
	Order  [32]byte // [WipeOrder.ID]
	Key    [32]byte // of the device
	Time   time.Time
	Person Person
	Device string
}

// NewWipeReceipt signs, with the witness key, which outlives the wipe for this
// one purpose, that the device of c has carried out order:
//
//	struct { opaque order[32]; } Receipt;
func NewWipeReceipt(c *Credential, witness ed25519.PrivateKey, order *WipeOrder, mesh MeshID, now time.Time) ([]byte, error) {
	if KeyOf(witness) != c.Claims.Witness {
		return nil, errors.New("identity: a wipe receipt is signed by the witness key of the device")
	}
	if order.Key != c.KeyHash() {
		return nil, errors.New("identity: the wipe order is for another device")
	}
	return deviceStatement(KindReceipt, mesh, now, byWitness, c, witness, order.ID[:])
}

// Declaration says that an incident begins or ends.
type Declaration struct {
	Number   uint64 // rises with each of the signer's
	Time     time.Time
	Declared bool      // false: stood down
	Name     string    // of the incident, 1 to 128 bytes
	Until    time.Time // when it lapses unless renewed: at most 30 days, 7 by a registrar; zero when stood down
	Rand     io.Reader // of ECDSA; nil means crypto/rand
}

// Declare signs a declaration:
//
//	struct { uint64 number; uint8 declared; opaque name<1..2^8-1>; uint64 until; } Declaration;
func (a *issuer) Declare(mesh MeshID, d Declaration) ([]byte, error) {
	if !d.Declared {
		d.Until = time.Time{}
	}
	var b cryptobyte.Builder
	b.AddUint64(d.Number)
	b.AddUint8(map[bool]uint8{true: 1}[d.Declared])
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(d.Name)) })
	addTime(&b, d.Until)
	body, err := bytesOf(&b)
	if err != nil {
		return nil, err
	}
	if _, err := parseDeclaration(body, d.Time.Truncate(time.Second), a.self.registrar); err != nil {
		return nil, err
	}
	return a.statement(KindDeclaration, mesh, d.Time, body, d.Rand)
}

func parseDeclaration(body []byte, at time.Time, registrar bool) (*Incident, error) {
	s := cryptobyte.String(body)
	var declared uint8
	var name cryptobyte.String
	i := &Incident{Since: at}
	if !s.ReadUint64(&i.Number) || !s.ReadUint8(&declared) || declared > 1 || !s.ReadUint8LengthPrefixed(&name) || !readTime(&s, &i.Until) || !s.Empty() {
		return nil, errBody
	}
	i.Declared, i.Name = declared == 1, string(name)
	if i.Name == "" || !isDisplayText(i.Name, maxName) {
		return nil, refuse(checkStatementEncoding, "the name of an incident is 1 to %d bytes of plain text", maxName)
	}
	limit := MaxDeclaration
	if registrar {
		limit = MaxRegistrarDeclaration
	}
	life := i.Until.Sub(at)
	if i.Declared && (life <= 0 || life > limit) {
		return nil, refuse(checkDeclarationLife, "a declaration lapses within %d days, and is then renewed", limit/(24*time.Hour))
	}
	if !i.Declared && !i.Until.IsZero() {
		return nil, refuse(checkDeclarationLife, "standing down lapses never")
	}
	return i, nil
}

// Incident is a declaration as it was taken.
type Incident struct {
	Declared bool // false: stood down
	Name     string
	Org      string // whose authority or registrar says so, and whose credentials have grace
	By       string // the signer's common name
	Number   uint64
	Since    time.Time // date of the declaration
	Until    time.Time // when it lapses; zero when stood down
}

// NewSponsorRevoke takes back what a person has vouched for: it revokes the
// device of target. Any device of any one of its sponsors may sign:
//
//	struct { opaque credential<1..2^16-1>; } SponsorRevoke;         /* the target's */
func NewSponsorRevoke(sponsor *Credential, signing ed25519.PrivateKey, target *Credential, mesh MeshID, now time.Time) ([]byte, error) {
	if KeyOf(signing) != sponsor.SigningKey {
		return nil, errors.New("identity: the key is not that of the sponsor's credential")
	}
	if !isSponsor(sponsor, target) {
		return nil, errors.New("identity: only one of those who vouched takes it back; an authority revokes by its CRL")
	}
	return deviceStatement(KindSponsorRevoke, mesh, now, byDevice, sponsor, signing, []byte(target.Raw))
}

func isSponsor(c, target *Credential) bool {
	return slices.ContainsFunc(target.Sponsors, func(s Sponsor) bool { return s.Person == c.Person })
}

// BundleStatement wraps a later trust bundle with its signatures, so that any
// device's entry may carry it.
func BundleStatement(b *Bundle) ([]byte, error) {
	if b.number == 0 {
		return nil, errors.New("identity: the genesis bundle is no statement: it is what a mesh begins with")
	}
	st := &statement{kind: KindBundle, mesh: b.mesh, time: uint64(b.created.Unix()), by: byRoots, body: b.raw}
	return st.marshal()
}

var errBody = refuse(checkStatementEncoding, "the body of the statement is cut short or has bytes after its end")

// addTime writes seconds since 1970; the zero time is 0.
func addTime(b *cryptobyte.Builder, t time.Time) {
	if t.IsZero() {
		b.AddUint64(0)
		return
	}
	if t.Unix() < 0 {
		b.SetError(errors.New("a time before 1970"))
		return
	}
	b.AddUint64(uint64(t.Unix()))
}

// readTime is the inverse of addTime.
func readTime(s *cryptobyte.String, t *time.Time) bool {
	var n uint64
	if !s.ReadUint64(&n) || n > maxUnix {
		return false
	}
	*t = time.Time{}
	if n != 0 {
		*t = time.Unix(int64(n), 0).UTC()
	}
	return true
}

func bytesOf(b *cryptobyte.Builder) ([]byte, error) {
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("identity: the statement cannot be encoded: %w", err)
	}
	return out, nil
}

// statementID names a statement: SHA-256 of its signed part.
func (st *statement) id() ([32]byte, error) {
	signed, err := st.signed()
	return sha256.Sum256(signed), err
}
