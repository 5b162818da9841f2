package ledger

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"tocsin/crypto/identity"
)

// ProofReport says what a proof shows: who said what and when, and who saw it.
type ProofReport struct {
	Mesh   identity.MeshID
	Author *identity.Credential
	Header Header
	ID     ID
	// Payload is what was said, of a sealed entry; Body of an unsealed one. Both
	// are nil if the proof shows only that the entry exists.
	Payload []byte
	Body    []byte
	// Claimed is the author's own time. Latest is when the last of the witnesses
	// that the proof needs signed: the entry existed by then.
	Claimed   time.Time
	Latest    time.Time
	Witnesses []Witnessed // by time
	Size      uint64      // of the log at the checkpoint
	Notes     []string    // what a reader should know: nothing of it voids the proof
}

// Witnessed is one witness of a proof.
type Witnessed struct {
	Credential *identity.Credential
	Time       time.Time
	OtherSite  bool // than the author's
}

// VerifyProof reads an exported proof and checks everything in it against the
// authorities of a mesh: encoding, the author's signature, the step from the
// payload to the commitment, the path to the checkpoint, its signature, the
// cosignatures of at least [DefaultWitnesses] persons other than the author, and
// every credential. Errors match [ErrProof].
func VerifyProof(file []byte, trust Trust) (*ProofReport, error) {
	_, r, err := (&ProofChecker{trust: trust}).Check(file)
	return r, err
}

// Verify checks p as [VerifyProof] does, with as many witnesses as p names.
func (p *Proof) Verify(trust Trust) (*ProofReport, error) {
	if err := p.verifyNote(); err != nil {
		return nil, err
	}
	return p.verifyRest(trust)
}

// verifyNote checks the signatures that [ParseProof] has checked of a proof that
// was read: the author's on the checkpoint, and the witnesses'.
func (p *Proof) verifyNote() error {
	if err := p.Checkpoint.Verify(p.Mesh); err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	for _, c := range p.Cosigned {
		if err := c.verifyCosignature(p.Mesh); err != nil {
			return fmt.Errorf("%w: %w", ErrProof, err)
		}
	}
	return nil
}

// verifyRest checks everything but the signatures of the note.
func (p *Proof) verifyRest(trust Trust) (*ProofReport, error) {
	if p.Mesh != trust.MeshID() {
		return nil, proofError("it is of another mesh, %x: check it against that mesh's trust bundle", p.Mesh[:])
	}
	e, err := VerifyHeader(slices.Concat(p.Header, p.Signature[:]))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	r := &ProofReport{Mesh: p.Mesh, Header: e.Header, ID: e.id, Size: p.Checkpoint.Size, Claimed: claimedTime(e.Header.HLC)}
	if err := p.verifyContent(e, r); err != nil {
		return nil, err
	}
	if r.Author, err = trust.ReadCredential(p.Credential); err != nil {
		return nil, fmt.Errorf("%w: the author's credential: %w", ErrProof, err)
	}
	if r.Author.SigningKey != e.Header.Author {
		return nil, proofError("the credential is of another key than the one that signed the entry")
	}
	if err := p.verifyPlace(e); err != nil {
		return nil, err
	}
	if err := p.verifyWitnesses(trust, r); err != nil {
		return nil, err
	}
	r.note(p)
	return r, nil
}

// verifyContent checks the one SHA-256 from what was said to the header.
func (p *Proof) verifyContent(e *Entry, r *ProofReport) error {
	if err := p.checkContent(); err != nil {
		return err
	}
	sealed := e.Header.Commit != [32]byte{}
	switch {
	case p.Opening != nil && !sealed:
		return proofError("the entry was not sealed, and a payload is shown for it")
	case p.Opening != nil && Commitment(p.Opening, p.Payload) != e.Header.Commit:
		return proofError("the payload is not what the author committed to")
	case p.Body != nil && sealed:
		return proofError("the entry was sealed, and a body is shown for it instead of the payload")
	case p.Body != nil && (sha256.Sum256(p.Body) != e.Header.BodyHash || len(p.Body) != int(e.Header.BodyLen)):
		return proofError("the body is not what the author signed")
	}
	r.Payload, r.Body = p.Payload, p.Body
	return nil
}

// verifyPlace checks that the entry is in the tree of the checkpoint, which is
// of the same log. Whose signature that has, [Proof.verifyNote] checks.
func (p *Proof) verifyPlace(e *Entry) error {
	if p.Checkpoint.Log != e.Header.Log() {
		return proofError("the checkpoint is of another log")
	}
	err := tlog.CheckRecord(p.Path, int64(p.Checkpoint.Size), p.Checkpoint.Root, int64(e.Header.Seq), Hash(e.id))
	if err != nil {
		return proofError("the entry is not in the log that the checkpoint is of")
	}
	return nil
}

// verifyWitnesses checks what each cosignature is of and whose it is.
func (p *Proof) verifyWitnesses(trust Trust, r *ProofReport) error {
	if len(p.Witnesses) != len(p.Cosigned) || len(p.Cosigned) == 0 {
		return proofError("%d cosignatures and %d credentials of witnesses", len(p.Cosigned), len(p.Witnesses))
	}
	persons := make(map[identity.Person]bool)
	for i, c := range p.Cosigned {
		if !c.Checkpoint.Same(p.Checkpoint) {
			return proofError("a cosignature is of another checkpoint")
		}
		who, err := trust.ReadCredential(p.Witnesses[i])
		if err != nil {
			return fmt.Errorf("%w: the credential of witness %d: %w", ErrProof, i+1, err)
		}
		switch {
		case who.Claims.Witness != c.Witness:
			return proofError("the credential of witness %d is of another key", i+1)
		case !mayWitness(who, r.Author):
			return proofError("witness %d is the author", i+1)
		case persons[who.Person]:
			return proofError("two witnesses are the same person, %s", who.Person)
		}
		persons[who.Person] = true
		at := time.Unix(int64(min(c.Time, 1<<40)), 0).UTC()
		r.Witnesses = append(r.Witnesses, Witnessed{who, at, otherSite(who, r.Author)})
		if at.After(r.Latest) {
			r.Latest = at
		}
	}
	slices.SortStableFunc(r.Witnesses, func(a, b Witnessed) int { return a.Time.Compare(b.Time) })
	return nil
}

func claimedTime(hlc uint64) time.Time { return time.UnixMilli(int64(hlc >> 16)).UTC() }

// note adds what a reader should know.
func (r *ProofReport) note(p *Proof) {
	say := func(format string, args ...any) { r.Notes = append(r.Notes, fmt.Sprintf(format, args...)) }
	if p.Opening == nil && p.Body == nil {
		say("The proof shows that the entry exists, not what it says.")
	}
	switch {
	case r.Author.Form == identity.FormSponsored:
		say("Colleagues vouch for the author in an emergency; no authority has.")
	case r.Author.Claims.Provisional || r.Author.Registrar:
		say("The author's credential is provisional: a registrar issued it while the authority was out of reach.")
	}
	if err := r.Author.ValidAt(r.Claimed); err != nil {
		say("The author's credential was not valid at the time that the author gives.")
	}
	if err := r.Author.ValidAt(r.Latest); err != nil {
		say("The author's credential was not valid when the entry was witnessed.")
	}
	for _, w := range r.Witnesses {
		if w.Credential.ValidAt(w.Time) != nil {
			say("The credential of witness %s was not valid when they signed.", w.Credential.Claims.Name)
		}
	}
	if !slices.ContainsFunc(r.Witnesses, func(w Witnessed) bool { return w.OtherSite }) {
		say("All witnesses are of the author's own site.")
	}
	if r.Claimed.After(r.Latest.Add(time.Minute)) {
		say("The author's clock was ahead of the witnesses'.")
	}
	say("Whether a credential was revoked later is not in the proof.")
}

// String returns the report in words, a line for each fact.
func (r *ProofReport) String() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	stamp := func(t time.Time) string { return t.Format("2006-01-02 15:04:05 UTC") }
	line("who", "%s, %s", r.Author.Claims.Name, r.Author.Person)
	if len(r.Author.Claims.Roles) > 0 {
		line("roles", "%s", strings.Join(r.Author.Claims.Roles, ", "))
	}
	line("vouched by", "%s", r.Author.Issuer)
	line("device", "%s", r.Author.Device)
	line("said at", "%s by the author's clock", stamp(r.Claimed))
	line("existed by", "%s by the witnesses' clocks", stamp(r.Latest))
	line("what", "%s entry %d of %d, id %s", r.Header.Kind, r.Header.Seq, r.Size, r.ID)
	for _, w := range r.Witnesses {
		site := "same site"
		if w.OtherSite {
			site = "another site"
		}
		line("witness", "%s, %s, %s, %s", w.Credential.Claims.Name, w.Credential.Person, site, stamp(w.Time))
	}
	line("mesh", "%x", r.Mesh[:])
	for _, n := range r.Notes {
		line("note", "%s", n)
	}
	return b.String()
}
