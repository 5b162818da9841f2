package ledger

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/mod/sumdb/note"

	"tocsin/crypto/identity"
)

// noteDomain is the domain of signatures in notes: none of ours, so that other
// tools can check them. The first words of what is signed keep it apart from
// everything else that the same keys sign: "tocsin/<64 hex digits>/" from the
// author's key, "cosignature/v1" and a line feed from a witness key.
const noteDomain identity.Domain = ""

// The signature types of C2SP's signed-note.
const (
	noteEd25519     = 1
	noteCosignature = 4
)

// errNote is the text of every refusal of a checkpoint's form.
var errNote = errors.New("ledger: not a checkpoint")

// CheckpointSize is the encoded size of a [Checkpoint].
const CheckpointSize = identity.LogIDSize + 8 + 32 + SignatureSize

// Checkpoint says how many entries a log has and what the root over them is,
// signed by the log's author (C2SP tlog-checkpoint). Mesh and log are its
// origin, see [Origin].
type Checkpoint struct {
	Log       LogID
	Size      uint64 // number of entries, at least 1
	Root      Hash
	Signature [SignatureSize]byte // Ed25519 over [Checkpoint.Text]
}

// Origin is the name of a log in the notes of C2SP, and the name of its
// author's key: tocsin/<mesh id>/<author hex>/<incarnation>.
func Origin(mesh identity.MeshID, log LogID) string {
	return "tocsin/" + hex.EncodeToString(mesh[:]) + "/" + log.String()
}

// parseOrigin reads what [Origin] writes, and no other.
func parseOrigin(mesh identity.MeshID, s string) (LogID, error) {
	rest, ok := strings.CutPrefix(s, "tocsin/"+hex.EncodeToString(mesh[:])+"/")
	if !ok {
		return LogID{}, fmt.Errorf("%w: %q is no log of this mesh", errNote, s)
	}
	return identity.ParseLogID(rest)
}

// SignCheckpoint signs the size and root of a log as its author. The caller
// makes none where nothing was added since the last (protocol §3).
func SignCheckpoint(key ed25519.PrivateKey, mesh identity.MeshID, log LogID, size uint64, root Hash) (Checkpoint, error) {
	if len(key) != ed25519.PrivateKeySize || identity.KeyOf(key) != log.Author {
		return Checkpoint{}, errors.New("ledger: a checkpoint is signed with the key of the log's author")
	}
	c := Checkpoint{Log: log, Size: size, Root: root}
	if err := c.check(); err != nil {
		return Checkpoint{}, err
	}
	c.Signature = [SignatureSize]byte(identity.Sign(key, noteDomain, []byte(c.Text(mesh))))
	return c, nil
}

func (c *Checkpoint) check() error {
	if c.Size == 0 || c.Size > MaxSeq+1 {
		return fmt.Errorf("%w: a log of %d entries", errNote, c.Size)
	}
	return nil
}

// Text is what is signed: origin, size in decimal and root in base64, each with
// a line feed.
func (c Checkpoint) Text(mesh identity.MeshID) string {
	return fmt.Sprintf("%s\n%d\n%s\n", Origin(mesh, c.Log), c.Size, c.Root)
}

// Verify checks the author's signature. The error matches
// [identity.ErrSignature].
func (c Checkpoint) Verify(mesh identity.MeshID) error {
	if err := c.check(); err != nil {
		return err
	}
	if err := identity.VerifySignature(c.Log.Author, noteDomain, []byte(c.Text(mesh)), c.Signature[:]); err != nil {
		return fmt.Errorf("ledger: checkpoint of log %s: %w", c.Log, err)
	}
	return nil
}

// Same reports whether c and o say the same: their signatures may differ.
func (c Checkpoint) Same(o Checkpoint) bool {
	return c.Log == o.Log && c.Size == o.Size && c.Root == o.Root
}

func (c *Checkpoint) add(b *cryptobyte.Builder) {
	log := c.Log.Bytes()
	b.AddBytes(log[:])
	b.AddUint64(c.Size)
	b.AddBytes(c.Root[:])
	b.AddBytes(c.Signature[:])
}

func (c *Checkpoint) read(s *cryptobyte.String) bool {
	return s.CopyBytes(c.Log.Author[:]) && s.ReadUint32(&c.Log.Incarnation) &&
		s.ReadUint64(&c.Size) && s.CopyBytes(c.Root[:]) && s.CopyBytes(c.Signature[:]) && c.check() == nil
}

// Marshal returns the binary form of c, of [CheckpointSize] bytes (FORMAT.md).
func (c Checkpoint) Marshal() []byte {
	b := cryptobyte.NewFixedBuilder(make([]byte, 0, CheckpointSize))
	c.add(b)
	return b.BytesOrPanic() // fixed-size fields that fit: it cannot fail
}

// ReadCheckpoint reads the form that [Checkpoint.Marshal] writes. It does not
// check the signature.
func ReadCheckpoint(b []byte) (Checkpoint, error) {
	s := cryptobyte.String(b)
	var c Checkpoint
	if !c.read(&s) || !s.Empty() {
		return Checkpoint{}, fmt.Errorf("%w: its %d bytes cannot be read", errNote, len(b))
	}
	return c, nil
}

// Notes.

// Note returns c as a signed note (C2SP signed-note), with the author's
// signature and then those cosignatures that are of c, by rising witness key.
func (c Checkpoint) Note(mesh identity.MeshID, cosigned ...Cosigned) []byte {
	text := c.Text(mesh)
	var b bytes.Buffer
	b.WriteString(text + "\n")
	noteLine(&b, Origin(mesh, c.Log), noteEd25519, c.Log.Author, c.Signature[:])
	cosigned = slices.Clone(cosigned)
	slices.SortFunc(cosigned, func(x, y Cosigned) int { return bytes.Compare(x.Witness[:], y.Witness[:]) })
	for _, w := range cosigned {
		if w.Checkpoint.Same(c) {
			sig := binary.BigEndian.AppendUint64(nil, w.Time)
			noteLine(&b, WitnessName(w.Witness), noteCosignature, w.Witness, append(sig, w.Cosignature[:]...))
		}
	}
	return b.Bytes()
}

func noteLine(b *bytes.Buffer, name string, alg byte, key identity.Key, sig []byte) {
	raw := binary.BigEndian.AppendUint32(nil, noteKeyHash(name, alg, key))
	fmt.Fprintf(b, "— %s %s\n", name, base64.StdEncoding.EncodeToString(append(raw, sig...)))
}

// noteKeyHash is SHA-256(name ‖ LF ‖ type ‖ key)[:4] (C2SP signed-note).
func noteKeyHash(name string, alg byte, key identity.Key) uint32 {
	h := sha256.New()
	h.Write([]byte(name + "\n"))
	h.Write([]byte{alg})
	h.Write(key[:])
	return binary.BigEndian.Uint32(h.Sum(nil))
}

// verifierKey returns the public key in the form that tools of C2SP take
// (vkey): of the author of a log with its origin as name, or of a witness with
// [WitnessName].
func verifierKey(name string, alg byte, key identity.Key) string {
	raw := append([]byte{alg}, key[:]...)
	return fmt.Sprintf("%s+%08x+%s", name, noteKeyHash(name, alg, key), base64.StdEncoding.EncodeToString(raw))
}

// WitnessName is the name of a witness key in notes: tocsin/witness/<key hex>.
func WitnessName(key identity.Key) string { return witnessPrefix + key.String() }

const witnessPrefix = "tocsin/witness/"

// noteVerifier checks one key's signatures in a note, and remembers them.
type noteVerifier struct {
	name  string
	alg   byte
	key   identity.Key
	taken func(sig []byte)
}

func (v *noteVerifier) Name() string    { return v.name }
func (v *noteVerifier) KeyHash() uint32 { return noteKeyHash(v.name, v.alg, v.key) }

// Verify implements [note.Verifier].
func (v *noteVerifier) Verify(text, sig []byte) bool {
	switch v.alg {
	case noteEd25519:
		if identity.VerifySignature(v.key, noteDomain, text, sig) != nil {
			return false
		}
	default:
		if len(sig) != 8+SignatureSize {
			return false
		}
		signed := cosignatureText(binary.BigEndian.Uint64(sig), string(text))
		if identity.VerifySignature(v.key, noteDomain, []byte(signed), sig[8:]) != nil {
			return false
		}
	}
	v.taken(sig)
	return true
}

// noteReader is the [note.Verifiers] of one checkpoint: its author's key and
// every witness key, because the names hold the keys.
type noteReader struct {
	origin   string
	cp       Checkpoint
	cosigned []Cosigned
}

// Verifier implements [note.Verifiers].
func (r *noteReader) Verifier(name string, hash uint32) (note.Verifier, error) {
	v := &noteVerifier{name: name}
	if name == r.origin {
		v.alg, v.key = noteEd25519, r.cp.Log.Author
		v.taken = func(sig []byte) { copy(r.cp.Signature[:], sig) }
	} else if key, ok := parseWitnessName(name); ok {
		v.alg, v.key = noteCosignature, key
		v.taken = func(sig []byte) {
			c := Cosigned{Witness: key, Time: binary.BigEndian.Uint64(sig)}
			copy(c.Cosignature[:], sig[8:])
			r.cosigned = append(r.cosigned, c)
		}
	}
	if v.taken == nil || v.KeyHash() != hash {
		return nil, &note.UnknownVerifierError{Name: name, KeyHash: hash}
	}
	return v, nil
}

func parseWitnessName(name string) (identity.Key, bool) {
	digits, ok := strings.CutPrefix(name, witnessPrefix)
	raw, err := hex.DecodeString(digits)
	if !ok || err != nil || len(raw) != len(identity.Key{}) || WitnessName(identity.Key(raw)) != name {
		return identity.Key{}, false
	}
	return identity.Key(raw), true
}

// ParseCheckpoint reads a note as [Checkpoint.Note] writes it, of any log of the
// mesh, and checks every signature in it. It refuses every other spelling:
// unknown signers, extension lines, another order.
func ParseCheckpoint(mesh identity.MeshID, msg []byte) (Checkpoint, []Cosigned, error) {
	if len(msg) > MaxNote {
		return Checkpoint{}, nil, fmt.Errorf("%w: %d bytes are more than %d", errNote, len(msg), MaxNote)
	}
	lines := strings.SplitN(string(msg), "\n", 4)
	if len(lines) != 4 {
		return Checkpoint{}, nil, fmt.Errorf("%w: it has fewer than three lines", errNote)
	}
	r := &noteReader{origin: lines[0]}
	var err error
	if r.cp.Log, err = parseOrigin(mesh, lines[0]); err != nil {
		return Checkpoint{}, nil, err
	}
	if r.cp.Size, err = strconv.ParseUint(lines[1], 10, 64); err != nil {
		return Checkpoint{}, nil, fmt.Errorf("%w: its size cannot be read", errNote)
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != len(r.cp.Root) || r.cp.check() != nil {
		return Checkpoint{}, nil, fmt.Errorf("%w: its size or root cannot be read", errNote)
	}
	copy(r.cp.Root[:], root)
	if _, err := note.Open(msg, r); err != nil {
		return Checkpoint{}, nil, fmt.Errorf("ledger: checkpoint of log %s: %w", r.cp.Log, err)
	}
	for i := range r.cosigned {
		r.cosigned[i].Checkpoint = r.cp
	}
	// The one spelling, with every signature known: also the author's.
	if !bytes.Equal(r.cp.Note(mesh, r.cosigned...), msg) {
		return Checkpoint{}, nil, fmt.Errorf("%w: it is not in the one form that is allowed", errNote)
	}
	return r.cp, r.cosigned, nil
}
