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

	"golang.org/x/mod/sumdb/tlog"

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
	var b bytes.Buffer
	b.WriteString(proofFirstLine + "\n")
	line := func(name string, value []byte) {
		fmt.Fprintf(&b, "%s %s\n", name, base64.StdEncoding.EncodeToString(value))
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
	if b.Len() > MaxProofFile {
		return nil, fmt.Errorf("ledger: a proof of %d bytes is longer than %d", b.Len(), MaxProofFile)
	}
	return b.Bytes(), nil
}

// ParseProof reads a file as [Proof.Marshal] writes it and refuses every other
// spelling. It checks the signatures of checkpoint and witnesses, which have to
// be read; [VerifyProof] checks all the rest. Errors match [ErrProof].
func ParseProof(file []byte) (*Proof, error) {
	p := &Proof{}
	policyText, proofText, err := p.readFile(file)
	if err != nil {
		return nil, err
	}
	if err := p.readTlogProof(proofText); err != nil {
		return nil, err
	}
	q, err := parsePolicy(p.Mesh, p.Checkpoint.Log, policyText)
	if err != nil {
		return nil, err
	}
	if err := q.check(p.Cosigned); err != nil {
		return nil, err
	}
	again, err := p.Marshal()
	if err != nil {
		return nil, proofError("%v", err)
	}
	if !bytes.Equal(again, file) {
		return nil, proofError("the file is not in the one form that is allowed: a line is changed, repeated or out of order, or holds more than is needed")
	}
	return p, nil
}

// readFile fills the fields that have a line of their own. Order and repetition
// are checked by writing the file again.
func (p *Proof) readFile(file []byte) (policyText, proofText string, err error) {
	if len(file) > MaxProofFile {
		return "", "", proofError("a file of %d bytes is longer than %d", len(file), MaxProofFile)
	}
	rest, ok := strings.CutPrefix(string(file), proofFirstLine+"\n")
	if !ok {
		return "", "", proofError("the first line is not %q: this is no proof of Tocsin, or one of a newer version", proofFirstLine)
	}
	for line := range strings.Lines(rest) {
		name, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		value, err := base64.StdEncoding.Strict().DecodeString(text)
		if !ok || err != nil {
			return "", "", proofError("a line is not a name, a space and base64")
		}
		switch name {
		case lineHeader:
			p.Header = value
		case lineSignature:
			if len(value) != SignatureSize {
				return "", "", proofError("a signature of %d bytes", len(value))
			}
			p.Signature = [SignatureSize]byte(value)
		case lineOpening:
			p.Opening = value
		case linePayload:
			p.Payload = value
		case lineBody:
			p.Body = value
		case lineCredential:
			p.Credential = value
		case lineWitness:
			if len(p.Witnesses) >= MaxProofWitnesses {
				return "", "", proofError("more than %d witnesses", MaxProofWitnesses)
			}
			p.Witnesses = append(p.Witnesses, value)
		case linePolicy:
			policyText = string(value)
		case lineProof:
			proofText = string(value)
		default:
			return "", "", proofError("a line is named %q, which this version does not know", name)
		}
	}
	return policyText, proofText, p.checkContent()
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

// readTlogProof reads the C2SP proof: mesh, path, checkpoint, cosignatures.
func (p *Proof) readTlogProof(text string) error {
	head, checkpoint, ok := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || len(lines) < 2 || lines[0] != tlogProofHeader {
		return proofError("its proof line does not hold a C2SP tlog-proof")
	}
	h, err := ParseHeader(p.Header)
	if err != nil {
		return proofError("%v", err)
	}
	if index, ok := strings.CutPrefix(lines[1], "index "); !ok || index != strconv.FormatUint(h.Seq, 10) {
		return proofError("the inclusion proof is not of entry %d", h.Seq)
	}
	if len(lines)-2 > 64 {
		return proofError("a path of %d steps", len(lines)-2)
	}
	for _, line := range lines[2:] {
		node, err := tlog.ParseHash(line)
		if err != nil {
			return proofError("a step of the path cannot be read")
		}
		p.Path = append(p.Path, node)
	}
	origin, _, _ := strings.Cut(checkpoint, "\n")
	words := strings.Split(origin, "/")
	if len(words) < 2 {
		return proofError("the checkpoint has no origin")
	}
	mesh, err := hex.DecodeString(words[1])
	if err != nil || len(mesh) != len(p.Mesh) {
		return proofError("the checkpoint names no mesh")
	}
	p.Mesh = identity.MeshID(mesh)
	if p.Checkpoint, p.Cosigned, err = ParseCheckpoint(p.Mesh, []byte(checkpoint)); err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	return nil
}

// Commitment returns SHA-256("tocsin/commit/v1\0" ‖ opening ‖ payload), which
// stands in the header of a sealed entry.
func Commitment(opening, payload []byte) [32]byte {
	return sha256.Sum256(slices.Concat([]byte(commitPrefix), opening, payload))
}
