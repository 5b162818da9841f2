package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tocsin/crypto/identity"
)

// ErrProof: a file is no proof, or what it holds does not prove what it says.
var ErrProof = errors.New("ledger: the proof does not hold")

func proofError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProof, fmt.Sprintf(format, args...))
}

// commitPrefix begins what a commitment is the hash of.
const commitPrefix = "tocsin/commit/v1\x00"

// Proof is one entry with all that a stranger needs to check it without Tocsin:
// what was said, who signed it, and who witnessed that it stood in the log. The
// file that [Proof.Marshal] writes is described in FORMAT.md, "Proof", and for
// sceptics in docs/verify-without-tocsin.md.
type Proof struct {
	Mesh      identity.MeshID
	Header    []byte // as signed
	Signature [SignatureSize]byte
	// Opening and Payload are what Header's commit is over, of an entry that was
	// sealed; both nil if the proof shows only that the entry exists.
	Opening, Payload []byte
	Body             []byte // instead, of an entry that was not sealed; may be nil
	Credential       []byte // of the author, in wire form
	Witnesses        [][]byte
	// Path leads from the entry to the root of Checkpoint; Cosigned are the
	// cosignatures of the witnesses that the policy asks for, by rising key.
	Path       []Hash
	Checkpoint Checkpoint
	Cosigned   []Cosigned
}

// tlogProofHeader is the first line of C2SP's tlog-proof.
const tlogProofHeader = "c2sp.org/tlog-proof@v1"

// TlogProof returns the inclusion proof in the format of C2SP, which
// filippo.io/torchwood's VerifyProof reads.
func (p *Proof) TlogProof() ([]byte, error) {
	h, err := ParseHeader(p.Header)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nindex %d\n", tlogProofHeader, h.Seq)
	for _, node := range p.Path {
		fmt.Fprintf(&b, "%s\n", node)
	}
	b.WriteString("\n")
	b.Write(p.Checkpoint.Note(p.Mesh, p.Cosigned...))
	return b.Bytes(), nil
}

// Policy returns whose signatures the proof needs, as torchwood's ParsePolicy
// reads it: the author's and every witness's.
func (p *Proof) Policy() string { return p.policy().text() }

func (p *Proof) policy() *policy {
	q := &policy{Mesh: p.Mesh, Log: p.Checkpoint.Log}
	for _, c := range p.Cosigned {
		q.Witnesses = append(q.Witnesses, c.Witness)
	}
	slices.SortFunc(q.Witnesses, compareKey)
	return q
}

// The file.

const proofFirstLine = "tocsin-proof/v1"

// The names of the lines, in their order.
const (
	lineHeader     = "header"
	lineSignature  = "signature"
	lineOpening    = "opening"
	linePayload    = "payload"
	lineBody       = "body"
	lineCredential = "credential"
	lineWitness    = "witness"
	linePolicy     = "policy"
	lineProof      = "proof"
)

// Marshal returns the file: a first line, then lines of a name, a space and
// base64. There is one such file for a proof.
func (p *Proof) Marshal() ([]byte, error) {
	proof, err := p.TlogProof()
	if err != nil {
		return nil, err
	}
	return p.file([]byte(p.Policy()), proof)
}

func (p *Proof) file(policy, proof []byte) ([]byte, error) {
	b := make([]byte, 0, p.fileSize(policy, proof))
	b = append(b, proofFirstLine+"\n"...)
	line := func(name string, value []byte) {
		b = append(append(b, name...), ' ')
		b = append(base64.StdEncoding.AppendEncode(b, value), '\n')
	}
	line(lineHeader, p.Header)
	line(lineSignature, p.Signature[:])
	if p.Opening != nil {
		line(lineOpening, p.Opening)
		line(linePayload, p.Payload)
	}
	if p.Body != nil {
		line(lineBody, p.Body)
	}
	line(lineCredential, p.Credential)
	for _, w := range p.Witnesses {
		line(lineWitness, w)
	}
	line(linePolicy, policy)
	line(lineProof, proof)
	if len(b) > MaxProofFile {
		return nil, fmt.Errorf("ledger: a proof of %d bytes is longer than %d", len(b), MaxProofFile)
	}
	return b, nil
}

// fileSize is about the length of the file.
func (p *Proof) fileSize(policy, proof []byte) int {
	n := len(p.Header) + SignatureSize + len(p.Opening) + len(p.Payload) + len(p.Body) + len(p.Credential) + len(policy) + len(proof)
	for _, w := range p.Witnesses {
		n += len(w)
	}
	return n/3*4 + 32*(len(p.Witnesses)+10)
}

// ParseProof reads a file as [Proof.Marshal] writes it and refuses every other
// spelling. It checks the signatures of checkpoint and witnesses, which have to
// be read; [VerifyProof] checks all the rest. Errors match [ErrProof].
func ParseProof(file []byte) (*Proof, error) { return parseProof(file, nil) }

// parseProof is ParseProof with what is known from earlier proofs, which may be nil.
func parseProof(file []byte, known *knownParts) (*Proof, error) {
	p := &Proof{}
	policyText, proofText, err := p.readFile(file, known)
	if err != nil {
		return nil, err
	}
	policy, err := p.readTlogProof(proofText, known)
	if err != nil {
		return nil, err
	}
	if policyText != policy {
		return nil, p.refusePolicy(policyText)
	}
	return p, nil
}

// refusePolicy says what is wrong with a policy that is not the one of p.
func (p *Proof) refusePolicy(text string) error {
	q, err := parsePolicy(p.Mesh, p.Checkpoint.Log, text)
	if err != nil {
		return err
	}
	if err := q.check(p.Cosigned); err != nil {
		return err
	}
	return proofError("the policy does not name every witness who signed")
}

// readFile fills the fields that have a line of their own. It accepts the one
// form only: every line in its place, in canonical base64.
func (p *Proof) readFile(file []byte, known *knownParts) (policyText, proofText string, err error) {
	if len(file) > MaxProofFile {
		return "", "", proofError("a file of %d bytes is longer than %d", len(file), MaxProofFile)
	}
	rest, ok := bytes.CutPrefix(file, []byte(proofFirstLine+"\n"))
	if !ok {
		return "", "", proofError("the first line is not %q: this is no proof of Tocsin, or one of a newer version", proofFirstLine)
	}
	l := &proofLines{rest: rest, known: known}
	p.Header = l.must(lineHeader)
	signature := l.must(lineSignature)
	p.Opening, _ = l.next(lineOpening)
	p.Payload, _ = l.next(linePayload)
	p.Body, _ = l.next(lineBody)
	p.Credential = l.must(lineCredential)
	for value, ok := l.next(lineWitness); ok; value, ok = l.next(lineWitness) {
		if len(p.Witnesses) >= MaxProofWitnesses {
			return "", "", proofError("more than %d witnesses", MaxProofWitnesses)
		}
		p.Witnesses = append(p.Witnesses, value)
	}
	policy, proof := l.must(linePolicy), l.must(lineProof)
	if err := l.end(); err != nil {
		return "", "", err
	}
	if len(signature) != SignatureSize {
		return "", "", proofError("a signature of %d bytes", len(signature))
	}
	p.Signature = [SignatureSize]byte(signature)
	return string(policy), string(proof), p.checkContent()
}

// proofBase64 refuses the second spellings of a last character.
var proofBase64 = base64.StdEncoding.Strict()

// proofLines reads the lines of a proof one by one. The first fault stays.
type proofLines struct {
	rest  []byte
	known *knownParts
	err   error
}

// next returns the value of the next line, never nil, if it has that name.
func (l *proofLines) next(name string) ([]byte, bool) {
	text, ok := bytes.CutPrefix(l.rest, []byte(name))
	if !ok || l.err != nil || len(text) == 0 || text[0] != ' ' {
		return nil, false
	}
	text, rest, ok := bytes.Cut(text[1:], []byte("\n"))
	if value, known := l.known.line(text); ok && known {
		l.rest = rest
		return value, true
	}
	value := make([]byte, proofBase64.DecodedLen(len(text)))
	n, err := proofBase64.Decode(value, text)
	if !ok || err != nil || proofBase64.EncodedLen(n) != len(text) { // the decoder skips carriage returns
		l.err = proofError("its line %q is not a name, a space, base64 and a line feed", name)
		return nil, false
	}
	l.rest = rest
	if name == lineCredential || name == lineWitness || name == linePolicy { // the others differ from proof to proof
		l.known.keepLine(text, value[:n])
	}
	return value[:n], true
}

// must is next for a line that has to be there.
func (l *proofLines) must(name string) []byte {
	value, ok := l.next(name)
	if !ok && l.err == nil {
		l.err = proofError("there is no line %q where there has to be one: a line is changed, repeated or out of order", name)
	}
	return value
}

// end returns the first fault; something that follows the last line is one.
func (l *proofLines) end() error {
	if l.err == nil && len(l.rest) > 0 {
		l.err = proofError("something follows its last line: a line is repeated or out of order, or it holds more than this version knows")
	}
	return l.err
}

// checkContent refuses combinations of lines that mean nothing.
func (p *Proof) checkContent() error {
	switch {
	case (p.Opening == nil) != (p.Payload == nil):
		return proofError("a payload needs its opening")
	case p.Opening != nil && len(p.Opening) != OpeningSize:
		return proofError("an opening of %d bytes, not %d", len(p.Opening), OpeningSize)
	case p.Opening != nil && p.Body != nil:
		return proofError("an entry is sealed or it is not: payload and body exclude each other")
	case len(p.Payload) > MaxBody || len(p.Body) > MaxBody:
		return proofError("a payload or body longer than %d bytes", MaxBody)
	}
	return nil
}

// readTlogProof reads the C2SP proof, in its one spelling: path, and what
// [Proof.readNote] reads. It returns the policy of the checkpoint and its
// witnesses.
func (p *Proof) readTlogProof(text string, known *knownParts) (policy string, err error) {
	head, note, ok := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || len(lines) < 2 || lines[0] != tlogProofHeader {
		return "", proofError("its proof line does not hold a C2SP tlog-proof")
	}
	h, err := ParseHeader(p.Header)
	if err != nil {
		return "", proofError("%v", err)
	}
	if index, ok := strings.CutPrefix(lines[1], "index "); !ok || index != strconv.FormatUint(h.Seq, 10) {
		return "", proofError("the inclusion proof is not of entry %d", h.Seq)
	}
	if len(lines)-2 > 64 {
		return "", proofError("a path of %d steps", len(lines)-2)
	}
	for _, line := range lines[2:] {
		var node [33]byte // one more: the decoder asks for room for the padding
		n, err := proofBase64.Decode(node[:], []byte(line))
		if err != nil || n != len(Hash{}) || len(line) != proofBase64.EncodedLen(n) {
			return "", proofError("a step of the path cannot be read")
		}
		p.Path = append(p.Path, Hash(node[:n]))
	}
	return p.readNote(note, known)
}

// readNote reads the note of a proof: mesh, checkpoint and cosignatures.
func (p *Proof) readNote(note string, known *knownParts) (policy string, err error) {
	n, err := known.note(note)
	if err != nil {
		return "", err
	}
	p.Mesh, p.Checkpoint, p.Cosigned = n.mesh, n.checkpoint, slices.Clone(n.cosigned)
	return n.policy, nil
}

// readNote reads a note of any mesh and checks every signature in it. Errors
// match [ErrProof].
func readNote(text string) (*knownNote, error) {
	origin, _, _ := strings.Cut(text, "\n")
	words := strings.Split(origin, "/")
	if len(words) < 2 {
		return nil, proofError("the checkpoint has no origin")
	}
	mesh, err := hex.DecodeString(words[1])
	if err != nil || len(mesh) != len(identity.MeshID{}) {
		return nil, proofError("the checkpoint names no mesh")
	}
	n := &knownNote{mesh: identity.MeshID(mesh)}
	if n.checkpoint, n.cosigned, err = ParseCheckpoint(n.mesh, []byte(text)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	p := Proof{Mesh: n.mesh, Checkpoint: n.checkpoint, Cosigned: n.cosigned}
	n.policy = p.Policy()
	return n, nil
}

// Commitment returns SHA-256("tocsin/commit/v1\0" ‖ opening ‖ payload), which
// stands in the header of a sealed entry.
func Commitment(opening, payload []byte) [32]byte {
	return sha256.Sum256(slices.Concat([]byte(commitPrefix), opening, payload))
}
