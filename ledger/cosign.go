package ledger

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/mod/sumdb/tlog"

	"tocsin/crypto/identity"
)

// ErrBehind: a checkpoint is of a smaller log than this witness has cosigned.
// Its author went back, or the checkpoint is old; it is not cosigned.
var ErrBehind = errors.New("ledger: the checkpoint is behind what this device has cosigned")

// Cosigned is a checkpoint with one witness's cosignature (C2SP cosignature/v1):
// at Time the witness durably held the headers of that tree, and had never
// cosigned one that contradicts it.
type Cosigned struct {
	Checkpoint
	Witness     identity.Key
	Time        uint64              // seconds since 1970
	Cosignature [SignatureSize]byte // over cosignatureText
}

// cosignatureText is what a witness signs.
func cosignatureText(at uint64, checkpoint string) string {
	return fmt.Sprintf("cosignature/v1\ntime %d\n%s", at, checkpoint)
}

// Verify checks both signatures.
func (c Cosigned) Verify(mesh identity.MeshID) error {
	if err := c.Checkpoint.Verify(mesh); err != nil {
		return err
	}
	return c.verifyCosignature(mesh)
}

func (c Cosigned) verifyCosignature(mesh identity.MeshID) error {
	text := cosignatureText(c.Time, c.Text(mesh))
	if err := identity.VerifySignature(c.Witness, noteDomain, []byte(text), c.Cosignature[:]); err != nil {
		return fmt.Errorf("ledger: cosignature of log %s by %s: %w", c.Log, c.Witness, err)
	}
	return nil
}

func (c Cosigned) kind() testimonyKind { return testimonyCosigned }

func (c Cosigned) subject() LogID { return c.Log }

func (c Cosigned) by() identity.Key { return c.Witness }

func (c Cosigned) add(b *cryptobyte.Builder) {
	c.Checkpoint.add(b)
	b.AddBytes(c.Witness[:])
	b.AddUint64(c.Time)
	b.AddBytes(c.Cosignature[:])
}

func readCosigned(s *cryptobyte.String) (Cosigned, bool) {
	var c Cosigned
	ok := c.Checkpoint.read(s) && s.CopyBytes(c.Witness[:]) && s.ReadUint64(&c.Time) && s.CopyBytes(c.Cosignature[:])
	return c, ok
}

// Contradiction is two checkpoints of one log with the same size and different
// roots. If both are signed by the author, as those of this package are, they
// prove that its device showed different logs to different people.
type Contradiction struct{ A, B Checkpoint } // A has the lower root

// Error implements error.
func (c *Contradiction) Error() string {
	return fmt.Sprintf("ledger: the author of log %s signed two roots over its first %d entries", c.A.Log, c.A.Size)
}

// contradict returns the proof that a and b give, or nil.
func contradict(a, b Checkpoint) *Contradiction {
	if a.Log != b.Log || a.Size != b.Size || a.Root == b.Root {
		return nil
	}
	if compareHash(a.Root, b.Root) > 0 {
		a, b = b, a
	}
	return &Contradiction{a, b}
}

// Witness is the core of a witness: it decides whether to cosign and does it.
// It keeps nothing. Whoever calls it makes the result durable before anybody
// else sees it, and hands it back the next time; [WitnessTable] does.
type Witness struct {
	key  ed25519.PrivateKey
	mesh identity.MeshID
}

// NewWitness returns the witness with a device's witness key.
func NewWitness(key ed25519.PrivateKey, mesh identity.MeshID) (*Witness, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("ledger: a witness key has %d bytes, not %d", ed25519.PrivateKeySize, len(key))
	}
	return &Witness{key: key, mesh: mesh}, nil
}

// Key returns the public half of the witness key.
func (w *Witness) Key() identity.Key { return identity.KeyOf(w.key) }

// Cosign decides on a checkpoint. state is what this witness cosigned last of
// the log, nil if nothing. held is the root over the first cp.Size entries that
// this device durably holds; consistency the proof that the tree of cp begins
// with that of state (nil where state is). The result is to be made durable
// before it is shown. A checkpoint that was cosigned before gives state again.
//
// It refuses a signature that is wrong, a tree that it does not hold, a smaller
// one than it has cosigned ([ErrBehind]), and a tree that is not an extension of
// that one: as *[Contradiction] if the sizes are equal.
func (w *Witness) Cosign(state *Cosigned, cp Checkpoint, held Hash, consistency []Hash, now time.Time) (*Cosigned, error) {
	if err := cp.Verify(w.mesh); err != nil {
		return nil, err
	}
	if state != nil {
		if err := w.follows(state, cp, consistency); err != nil {
			return nil, err
		}
		if cp.Size == state.Size {
			return state, nil
		}
	}
	if held != cp.Root {
		return nil, fmt.Errorf("ledger: the first %d entries held of log %s have another root than the checkpoint says: it is of another branch", cp.Size, cp.Log)
	}
	c := &Cosigned{Checkpoint: cp, Witness: w.Key(), Time: uint64(max(now.Unix(), 0))}
	if state != nil && c.Time < state.Time {
		c.Time = state.Time // our clock went back; the order of what we signed did not
	}
	text := cosignatureText(c.Time, cp.Text(w.mesh))
	c.Cosignature = [SignatureSize]byte(identity.Sign(w.key, noteDomain, []byte(text)))
	return c, nil
}

// follows checks that cp extends what was cosigned.
func (w *Witness) follows(state *Cosigned, cp Checkpoint, consistency []Hash) error {
	switch {
	case state.Log != cp.Log || state.Witness != w.Key():
		return errors.New("ledger: the witness's memory is of another log or another witness")
	case cp.Size < state.Size:
		return fmt.Errorf("%w: %d entries of log %s, %d are cosigned", ErrBehind, cp.Size, cp.Log, state.Size)
	case cp.Size == state.Size:
		if c := contradict(state.Checkpoint, cp); c != nil {
			return c
		}
		return nil
	}
	if err := tlog.CheckTree(consistency, int64(cp.Size), cp.Root, int64(state.Size), state.Root); err != nil {
		return fmt.Errorf("ledger: the checkpoint over %d entries of log %s does not extend the one over %d that this device has cosigned: %w",
			cp.Size, cp.Log, state.Size, err)
	}
	return nil
}

func (c *Contradiction) kind() testimonyKind { return testimonyContradiction }

func (c *Contradiction) subject() LogID { return c.A.Log }

func (c *Contradiction) by() identity.Key { return c.A.Log.Author }

// Verify checks that c proves what it says.
func (c *Contradiction) Verify(mesh identity.MeshID) error {
	if ordered := contradict(c.A, c.B); ordered == nil || *ordered != *c {
		return errors.New("ledger: the two checkpoints do not contradict each other")
	}
	if err := c.A.Verify(mesh); err != nil {
		return err
	}
	return c.B.Verify(mesh)
}

func (c *Contradiction) add(b *cryptobyte.Builder) {
	c.A.add(b)
	c.B.add(b)
}

func readContradiction(s *cryptobyte.String) (*Contradiction, bool) {
	c := new(Contradiction)
	ok := c.A.read(s) && c.B.read(s)
	if ok {
		ordered := contradict(c.A, c.B)
		ok = ordered != nil && *ordered == *c
	}
	return c, ok
}
