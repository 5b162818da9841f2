package identity

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// sponsorAnswer is what one sponsor gives back.
type sponsorAnswer struct {
	credential, admission  []byte
	bySigning, byTransport [ed25519.SignatureSize]byte
	sealed                 []byte
}

func (a *sponsorAnswer) encode() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(1)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(a.credential) })
	b.AddBytes(a.bySigning[:])
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(a.admission) })
	b.AddBytes(a.byTransport[:])
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(a.sealed) })
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("identity: the sponsorship cannot be encoded: %w", err)
	}
	return out, nil
}

func parseSponsorAnswer(raw []byte) (*sponsorAnswer, error) {
	if len(raw) > maxSponsorship {
		return nil, fmt.Errorf("identity: a sponsorship of %d bytes is over the limit of %d", len(raw), maxSponsorship)
	}
	s := cryptobyte.String(slices.Clone(raw))
	var version uint8
	var credential, admission, sealed cryptobyte.String
	a := &sponsorAnswer{}
	if !s.ReadUint8(&version) || !s.ReadUint16LengthPrefixed(&credential) || !s.CopyBytes(a.bySigning[:]) ||
		!s.ReadUint16LengthPrefixed(&admission) || !s.CopyBytes(a.byTransport[:]) || !s.ReadUint16LengthPrefixed(&sealed) || !s.Empty() {
		return nil, fmt.Errorf("identity: sponsorship: %w", errTruncated)
	}
	if version != 1 || len(sealed) > maxSealedKey {
		return nil, errors.New("identity: a sponsorship that is newer than this program, or broken")
	}
	a.credential, a.admission, a.sealed = credential, admission, sealed
	return a, nil
}

// AssembleSponsored joins a newcomer's request and the answers of one sponsor,
// for an own device, or of three to an enrolment, and checks it with every rule
// at the start of its validity. statements are those in force, which a sponsor
// hands over ([TrustStore.Statements]). [Enrolment.Accept] then is as with an
// authority's; break-glass gets no mesh key.
func AssembleSponsored(req *SponsorRequest, bundle *Bundle, sponsorships, statements [][]byte) (*Enrolment, error) {
	type vote struct {
		key                   [32]byte
		credential, admission sponsorship
	}
	var votes []vote
	var sealed []byte
	for _, raw := range sponsorships {
		a, err := parseSponsorAnswer(raw)
		if err != nil {
			return nil, err
		}
		key, err := leafKeyHash(a.credential)
		if err != nil {
			return nil, err
		}
		votes = append(votes, vote{key, sponsorship{a.credential, a.bySigning}, sponsorship{a.admission, a.byTransport}})
		sealed = a.sealed
	}
	slices.SortFunc(votes, func(x, y vote) int { return bytes.Compare(x.key[:], y.key[:]) })
	credential, admission := &sponsored{leaf: req.credential}, &sponsored{leaf: req.admission}
	for _, v := range votes {
		credential.votes, admission.votes = append(credential.votes, v.credential), append(admission.votes, v.admission)
	}
	e := &Enrolment{Bundle: bundle.Marshal(), Statements: statements}
	var err error
	if e.Credential, err = credential.encode(); err != nil {
		return nil, fmt.Errorf("identity: the sponsored credential cannot be encoded: %w", err)
	}
	if e.Admission, err = admission.encodeAdmission(); err != nil {
		return nil, fmt.Errorf("identity: the sponsored admission leaf cannot be encoded: %w", err)
	}
	c, err := e.checkFor(req.request)
	if err == nil && !c.BreakGlass {
		e.SealedMeshKey = sealed
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// leafKeyHash returns the ticket key that belongs to a credential chain, before
// anything of it is verified: it only sorts.
func leafKeyHash(chain []byte) ([32]byte, error) {
	ders, err := DecodeChain(chain)
	if err != nil {
		return [32]byte{}, err
	}
	cert, err := parseCertificate(ders[0])
	if err != nil {
		return [32]byte{}, err
	}
	key, ok := cert.PublicKey.(ed25519.PublicKey)
	if !ok {
		return [32]byte{}, refuse(checkLeafKey, "a leaf's key is Ed25519, not %v", cert.PublicKeyAlgorithm)
	}
	return TicketKey(Key(key)), nil
}
