package ledger

import "tocsin/crypto/identity"

// ProofChecker checks many proofs in one run, such as those of a package for the
// medical record. They repeat each other: one checkpoint with its cosignatures
// proves every entry below it, and an incident has few authors. What was found
// good is therefore remembered by its exact bytes; what was refused is not. Every
// entry's own signature, commitment and path are checked.
//
// It is for one run: what it remembers of credentials held against the
// authorities as they were. Where those may have changed, make another. It is
// not safe for concurrent use.
type ProofChecker struct {
	trust  Trust
	parts  *knownParts                     // nil: nothing is remembered
	people map[string]*identity.Credential // likewise
}

// NewProofChecker returns a checker against the authorities of one mesh.
func NewProofChecker(trust Trust) *ProofChecker {
	return &ProofChecker{
		trust:  trust,
		parts:  &knownParts{notes: make(map[string]*knownNote), lines: make(map[string][]byte)},
		people: make(map[string]*identity.Credential),
	}
}

// Check reads one exported proof and checks everything in it, as [VerifyProof]
// does and by the same rules. What it returns may share memory with what is
// remembered: it is not to be changed. Errors match [ErrProof].
func (c *ProofChecker) Check(file []byte) (*Proof, *ProofReport, error) {
	p, err := parseProof(file, c.parts)
	if err != nil {
		return nil, nil, err
	}
	r, err := p.verifyRest(c)
	if err != nil {
		return nil, nil, err
	}
	if len(r.Witnesses) < DefaultWitnesses {
		return nil, nil, proofError("%d witness has signed; %d are needed", len(r.Witnesses), DefaultWitnesses)
	}
	return p, r, nil
}

// MeshID implements [Trust].
func (c *ProofChecker) MeshID() identity.MeshID { return c.trust.MeshID() }

// ReadCredential implements [Trust].
func (c *ProofChecker) ReadCredential(raw []byte) (*identity.Credential, error) {
	if c.people == nil {
		return c.trust.ReadCredential(raw)
	}
	if who, ok := c.people[string(raw)]; ok {
		return who, nil
	}
	who, err := c.trust.ReadCredential(raw)
	if err != nil {
		return nil, err
	}
	if len(c.people) >= MaxKnownCredentials {
		clear(c.people)
	}
	c.people[string(raw)] = who
	return who, nil
}

// knownNote is a note of which every signature was found good.
type knownNote struct {
	mesh       identity.MeshID
	checkpoint Checkpoint
	cosigned   []Cosigned
	policy     string // the one that asks for exactly these witnesses
}

// knownParts are parts of proofs that were read before.
type knownParts struct {
	notes map[string]*knownNote // by their text, signatures included
	lines map[string][]byte     // what base64 says, which is canonical
}

// line returns what a line of a proof says that was read before.
func (k *knownParts) line(text []byte) ([]byte, bool) {
	if k == nil {
		return nil, false
	}
	value, ok := k.lines[string(text)]
	return value, ok
}

// keepLine remembers what a line says.
func (k *knownParts) keepLine(text, value []byte) {
	if k == nil || len(text) > maxKnownLine {
		return
	}
	if len(k.lines) >= maxKnownLines {
		clear(k.lines)
	}
	k.lines[string(text)] = value
}

// note returns what a note says once every signature in it was checked, now or
// before. What it returns is not to be changed. Errors match [ErrProof].
func (k *knownParts) note(text string) (*knownNote, error) {
	if k == nil {
		return readNote(text)
	}
	if n, ok := k.notes[text]; ok {
		return n, nil
	}
	n, err := readNote(text)
	if err != nil {
		return nil, err
	}
	if len(k.notes) >= MaxKnownNotes {
		clear(k.notes)
	}
	k.notes[text] = n
	return n, nil
}
