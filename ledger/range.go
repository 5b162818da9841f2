package ledger

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"golang.org/x/mod/sumdb/tlog"

	"tocsin/crypto/identity"
)

// Edge is the compact range over the first Size entries of a log: the roots of
// the perfect subtrees that make up its tree, left to right, and the id of the
// last entry. It is all that is needed to compute the root of a longer log.
type Edge struct {
	Log    LogID
	Size   uint64
	Hashes []Hash
	Head   ID // of entry Size-1; zeros for an empty log
}

var compactRanges = compact.RangeFactory{Hash: func(left, right []byte) []byte {
	h := tlog.NodeHash(Hash(left), Hash(right))
	return h[:]
}}

// Proved is signed headers that [VerifyRange] proved to be part of a log, each
// without its body and without its own signature checked. Only VerifyRange makes
// one that is not empty.
type Proved struct{ entries []*Entry }

// Len returns the number of entries.
func (p Proved) Len() int { return len(p.entries) }

// Entries returns the entries, rising. They have not had their signatures
// checked: [Entry.CheckSignature] comes before one is handed to anybody.
func (p Proved) Entries() []*Entry { return p.entries }

// ErrRange: the headers are not what the checkpoint is over. The author is not
// to blame: whoever brought them changed, left out or exchanged something.
var ErrRange = errors.New("ledger: the entries are not those of the checkpoint")

// VerifyRange checks that the signed headers continue the log of base up to
// exactly cp.Size entries: by their hash links, by the tree's root and by the
// one signature of cp. That is a great deal faster than every signature. What it
// proves is that the author signed the log as a whole, not that each header's own
// signature is right: [Logs.AppendProved] stores them as unchecked, and one whose
// signature then turns out wrong was spoilt on the way: the author is not to blame.
//
// Errors match [ErrInvalid] or [ErrRange].
func VerifyRange(mesh identity.MeshID, base Edge, signedHeaders [][]byte, cp Checkpoint) (Proved, error) {
	if err := cp.Verify(mesh); err != nil {
		return Proved{}, fmt.Errorf("%w: %w", ErrRange, err)
	}
	entries, err := verifyRange(base, signedHeaders, cp)
	return Proved{entries}, err
}

func verifyRange(base Edge, signedHeaders [][]byte, cp Checkpoint) ([]*Entry, error) {
	n := uint64(len(signedHeaders))
	if n > MaxProvedRange {
		return nil, fmt.Errorf("%w: a range of %d is longer than %d", ErrRange, n, MaxProvedRange)
	}
	if cp.Log != base.Log || base.Size+n != cp.Size {
		return nil, fmt.Errorf("%w: %d entries after %d do not make %d", ErrRange, n, base.Size, cp.Size)
	}
	hashes := make([][]byte, len(base.Hashes))
	for i := range base.Hashes {
		hashes[i] = base.Hashes[i][:]
	}
	tree, err := compactRanges.NewRange(0, base.Size, hashes)
	if err != nil {
		return nil, fmt.Errorf("ledger: the edge at %d of log %s is wrong: %w", base.Size, base.Log, err)
	}
	entries := make([]Entry, n)
	out := make([]*Entry, n)
	prev := base.Head
	for i, signed := range signedHeaders {
		if err := continueRange(&entries[i], base.Log, base.Size+uint64(i), prev, signed); err != nil {
			return nil, err
		}
		out[i], prev = &entries[i], entries[i].id
		if err := tree.Append(out[i].id[:], nil); err != nil {
			return nil, fmt.Errorf("ledger: %w", err)
		}
	}
	root, err := tree.GetRootHash(nil)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	if !bytes.Equal(root, cp.Root[:]) {
		return nil, fmt.Errorf("%w: the tree over %d entries has another root", ErrRange, cp.Size)
	}
	return out, nil
}

// continueRange reads one signed header that must stand at a place.
func continueRange(e *Entry, log LogID, seq uint64, prev ID, signed []byte) error {
	if len(signed) > MaxSignedHeader {
		return invalid("signed header of %d bytes is longer than %d", len(signed), MaxSignedHeader)
	}
	read, err := parseSigned(bytes.Clone(signed))
	if err != nil {
		return err
	}
	*e = *read
	e.Absent = true
	switch {
	case e.Header.Log() != log || e.Header.Seq != seq:
		return fmt.Errorf("%w: entry %d of log %s is in the place of %d", ErrRange, e.Header.Seq, e.Header.Log(), seq)
	case e.Header.Prev != prev:
		return fmt.Errorf("%w: the hash link of entry %d does not lead to the one before", ErrRange, seq)
	}
	return nil
}

// CheckSignature checks the header's signature, of an entry that [VerifyRange]
// returned. Errors match [ErrInvalid].
func (e *Entry) CheckSignature() error { return e.verifySignature() }
