// Package bundle reads and writes bundles: files that carry entries across an
// air gap on removable media (protocol §8; every byte is in FORMAT.md).
//
// A bundle is sealed to the bundle keys of its recipients, is read and written
// as a stream, and is worth something however it ends: what matters most comes
// first, every block stands by itself, and a reader says which blocks a cut or
// a bad sector has cost. It opens nothing that is inside an entry, and trusts
// nobody: whoever imports hands each record to the checks that a record from
// the network passes too.
package bundle

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// Suffix ends the names of bundles.
const Suffix = ".tocsin"

// Domain is what the signature of a manifest is over: Domain ‖ manifest.
const Domain identity.Domain = "tocsin/bundle/v1\x00"

// Errors that callers branch on; the others are sentences for people.
var (
	// ErrFormat: this is no bundle, or one of a version that we do not know.
	ErrFormat = errors.New("bundle: not a bundle that this version can read")
	// ErrNotForUs: it is sealed to others.
	ErrNotForUs = errors.New("bundle: sealed to other devices or sites")
	// ErrCut: the file ends too soon. What came before the end was handed out.
	ErrCut = errors.New("bundle: the file was cut short")
	// ErrDamaged: blocks do not authenticate. All others were handed out.
	ErrDamaged = errors.New("bundle: the file is damaged")
	// ErrFull: one more record would exceed the size that was asked for.
	ErrFull = errors.New("bundle: full")
)

// Type says what a record holds. Types from 128 on may be passed over by a
// reader that does not know them; an unknown type below ends the reading.
type Type uint8

// The types of record, in the order in which they stand in a bundle.
const (
	typeManifest Type = 1
	typeFrontier Type = 2
	// Statement is a statement of an authority or registrar, as received.
	Statement Type = 3
	// Table is a value of a last-value table: a checkpoint, a cosignature or a
	// promise of custody, as received.
	Table Type = 4
	// Header is header ‖ signature of an entry, whose body may follow later.
	Header Type = 5
	// Body is the body of an entry whose header stood before: Place ‖ bytes.
	Body Type = 6
	// Entry is the frame of a whole entry. The first entry of a log, without
	// whose credential nothing else of it can be taken, is always carried so.
	Entry   Type = 7
	typeEnd Type = 8
	// Evidence is an entry of a branch of a forked log ([ledger.MarshalEvidence]).
	Evidence Type = 9
)

// optional is the first type that a reader may pass over.
const optional Type = 128

// Counts are numbers of what is carried, and the bytes of all records. A whole
// entry counts as a header and a body, an entry of a branch as a header.
type Counts struct {
	Statements, Tables, Headers, Bodies, Bytes uint64
}

// Sub returns what is in c and not in d, at least 0 each.
func (c Counts) Sub(d Counts) Counts {
	minus := func(a, b uint64) uint64 { return a - min(a, b) }
	return Counts{
		minus(c.Statements, d.Statements), minus(c.Tables, d.Tables),
		minus(c.Headers, d.Headers), minus(c.Bodies, d.Bodies), minus(c.Bytes, d.Bytes),
	}
}

func (c *Counts) add(t Type, n int) {
	switch t {
	case Statement:
		c.Statements++
	case Table:
		c.Tables++
	case Header, Evidence:
		c.Headers++
	case Body:
		c.Bodies++
	case Entry:
		c.Headers++
		c.Bodies++
	}
	c.Bytes += uint64(n)
}

// Manifest is what a bundle says of itself, signed by its creator's witness
// key, which works while the device is locked and on relays.
type Manifest struct {
	Mesh     identity.MeshID
	Creator  identity.LogID // of the device that wrote it
	Witness  identity.Key   // its witness key; that it belongs to Creator is for the importer to check
	Created  time.Time      // by the creator's clock, whole milliseconds, UTC
	Expires  time.Time      // a courier may throw it away then; zero means never
	Planned  Counts         // what it was to hold; less may have fitted
	Frontier ledger.Frontier

	clear      [32]byte // SHA-256 of the clear part
	commitment [32]byte // to the file key
}

// keyCommitment binds the signature to one file key, so that no two recipients
// are shown different contents of one file (AES-GCM does not commit).
func keyCommitment(key []byte) [32]byte {
	return sha256.Sum256(append([]byte("tocsin/1 bundle key\x00"), key...))
}

const manifestVersion = 1

func (m *Manifest) marshal() ([]byte, error) {
	raw, err := m.Frontier.Marshal()
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	hash := sha256.Sum256(raw)
	b := cryptobyte.NewBuilder(nil)
	b.AddUint8(manifestVersion)
	b.AddBytes(m.Mesh[:])
	id := m.Creator.Bytes()
	b.AddBytes(id[:])
	b.AddBytes(m.Witness[:])
	b.AddUint64(uint64(m.Created.UnixMilli()))
	expires := uint64(0)
	if !m.Expires.IsZero() {
		expires = uint64(m.Expires.UnixMilli())
	}
	b.AddUint64(expires)
	b.AddUint32(uint32(len(m.Frontier)))
	b.AddBytes(hash[:])
	for _, n := range m.Planned.list() {
		b.AddUint64(*n)
	}
	b.AddBytes(m.clear[:])
	b.AddBytes(m.commitment[:])
	return b.Bytes()
}

func (c *Counts) list() []*uint64 {
	return []*uint64{&c.Statements, &c.Tables, &c.Headers, &c.Bodies, &c.Bytes}
}

// maxTime is the last millisecond of the year 9999: no later time can be
// written in RFC 3339.
const maxTime = 253402300799999

// readManifest reads manifest ‖ signature and checks the signature. frontier
// says how the parts that follow must hash.
func readManifest(raw []byte) (m *Manifest, logs uint32, frontier [32]byte, err error) {
	if len(raw) < ed25519Size {
		return nil, 0, frontier, fmt.Errorf("%w: the manifest is cut short", ErrDamaged)
	}
	body, sig := raw[:len(raw)-ed25519Size], raw[len(raw)-ed25519Size:]
	m = &Manifest{}
	s := cryptobyte.String(body)
	var version uint8
	var id [identity.LogIDSize]byte
	var created, expires uint64
	ok := s.ReadUint8(&version) && s.CopyBytes(m.Mesh[:]) && s.CopyBytes(id[:]) && s.CopyBytes(m.Witness[:]) &&
		s.ReadUint64(&created) && s.ReadUint64(&expires) && s.ReadUint32(&logs) && s.CopyBytes(frontier[:])
	for _, n := range m.Planned.list() {
		ok = ok && s.ReadUint64(n)
	}
	ok = ok && s.CopyBytes(m.clear[:]) && s.CopyBytes(m.commitment[:]) && s.Empty()
	switch {
	case !ok:
		return nil, 0, frontier, fmt.Errorf("%w: the manifest has the wrong length", ErrDamaged)
	case version != manifestVersion:
		return nil, 0, frontier, fmt.Errorf("%w: its manifest is of version %d", ErrFormat, version)
	case created > maxTime || expires > maxTime || logs > ledger.MaxFrontierLogs:
		return nil, 0, frontier, fmt.Errorf("%w: the manifest holds impossible figures", ErrDamaged)
	}
	if err := identity.VerifySignature(m.Witness, Domain, body, sig); err != nil {
		return nil, 0, frontier, fmt.Errorf("%w: the manifest: %w", ErrDamaged, err)
	}
	copy(m.Creator.Author[:], id[:32])
	m.Creator.Incarnation = uint32(id[32])<<24 | uint32(id[33])<<16 | uint32(id[34])<<8 | uint32(id[35])
	m.Created = time.UnixMilli(int64(created)).UTC()
	if expires != 0 {
		m.Expires = time.UnixMilli(int64(expires)).UTC()
	}
	return m, logs, frontier, nil
}

// Record is one thing that a bundle carries.
type Record struct {
	Type Type
	// Data is the record's content: for a Body the bytes of the body.
	Data []byte
	// Log and Seq are the place of a Body.
	Log ledger.LogID
	Seq uint64
}

func encodeBody(id ledger.LogID, seq uint64, body []byte) []byte {
	place := id.Bytes()
	out := make([]byte, 0, placeSize+len(body))
	out = append(out, place[:]...)
	for shift := 56; shift >= 0; shift -= 8 {
		out = append(out, byte(seq>>shift))
	}
	return append(out, body...)
}

func decodeBody(raw []byte) (Record, error) {
	s := cryptobyte.String(raw)
	r := Record{Type: Body}
	if !s.CopyBytes(r.Log.Author[:]) || !s.ReadUint32(&r.Log.Incarnation) || !s.ReadUint64(&r.Seq) || r.Seq > ledger.MaxSeq {
		return r, fmt.Errorf("%w: a body without its place", ErrDamaged)
	}
	r.Data = s
	return r, nil
}
