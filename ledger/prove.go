package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"tocsin/crypto/identity"
)

// ErrUnwitnessed: too few witnesses have cosigned a checkpoint over the entry.
// Synchronising with other devices helps.
var ErrUnwitnessed = errors.New("ledger: too few witnesses have signed for the entry yet")

// Trust is what a proof is checked against; *[identity.TrustStore] is one.
type Trust interface {
	// MeshID names the mesh.
	MeshID() identity.MeshID
	// ReadCredential checks a credential in every respect but the time.
	ReadCredential(raw []byte) (*identity.Credential, error)
}

// ProveRequest says what to prove, and with what.
type ProveRequest struct {
	Logs  *Logs
	Trees *Trees
	Table *WitnessTable
	Trust Trust

	Log LogID
	Seq uint64
	// Opening and Payload of a sealed entry, from whoever opened it; nil to prove
	// only that the entry exists. An unsealed entry shows its body.
	Opening, Payload []byte
	// Credential is the author's, in wire form.
	Credential []byte
	// Of returns the credential with a witness key, in wire form.
	Of func(witness identity.Key) (raw []byte, ok bool)
	// Witnesses is how many must have cosigned; 0 means [DefaultWitnesses].
	Witnesses int
}

// Prove makes the proof of one entry: the earliest checkpoint over it that
// enough witnesses have cosigned, one of another site among them if there is
// one. Devices of the author's own person do not count as witnesses, nor does a
// person count twice. It matches [ErrUnwitnessed] if there is none yet. The
// result holds against r.Trust: it was checked with [VerifyProof].
func Prove(ctx context.Context, r ProveRequest) (*Proof, error) {
	if r.Logs == nil || r.Trees == nil || r.Table == nil || r.Trust == nil || r.Of == nil {
		return nil, errors.New("ledger: ProveRequest needs Logs, Trees, Table, Trust and Of")
	}
	e, err := r.Logs.Entry(ctx, r.Log, r.Seq)
	if err != nil {
		return nil, err
	}
	author, err := r.Trust.ReadCredential(r.Credential)
	if err != nil {
		return nil, fmt.Errorf("ledger: the author's credential: %w", err)
	}
	p := &Proof{Mesh: r.Trust.MeshID(), Header: e.headerBytes(), Signature: e.Signature, Credential: r.Credential}
	if e.Header.Commit != ([32]byte{}) {
		p.Opening, p.Payload = r.Opening, r.Payload
	} else if r.Opening != nil {
		return nil, fmt.Errorf("ledger: entry %d of log %s was not sealed: it has no opening", r.Seq, r.Log)
	} else if e.Header.Kind == KindControl {
		p.Body = e.Body
	}
	if p.Opening != nil && p.Payload == nil {
		p.Payload = []byte{}
	}
	c, err := r.choose(ctx, author)
	if err != nil {
		return nil, err
	}
	p.Checkpoint, p.Cosigned, p.Witnesses = c.cosigned[0].Checkpoint, c.cosigned, c.credentials
	if p.Path, err = r.Trees.Inclusion(ctx, r.Log, r.Seq, p.Checkpoint.Size); err != nil {
		return nil, err
	}
	if _, err := p.Verify(r.Trust); err != nil {
		return nil, err
	}
	return p, nil
}

// choice is a checkpoint with the witnesses that were chosen for it.
type choice struct {
	cosigned    []Cosigned
	credentials [][]byte
	other       bool   // one is of another site
	time        uint64 // of the last to sign
}

// choose picks the best checkpoint that enough witnesses have cosigned.
func (r *ProveRequest) choose(ctx context.Context, author *identity.Credential) (*choice, error) {
	t, err := r.Table.Of(ctx, r.Log)
	if err != nil {
		return nil, err
	}
	need := cmp.Or(r.Witnesses, DefaultWitnesses)
	if need < 1 || need > MaxProofWitnesses {
		return nil, fmt.Errorf("ledger: a proof with %d witnesses: ask for 1 to %d", need, MaxProofWitnesses)
	}
	groups := make(map[Checkpoint][]Cosigned)
	for _, c := range t.Cosigned() {
		if c.Size > r.Seq && r.Logs.unforked(r.Log, c.Size) == nil && r.holds(ctx, c.Checkpoint) {
			// Two signatures of one checkpoint would make two groups; the author's
			// signature is deterministic, and one that is not costs the author.
			groups[c.Checkpoint] = append(groups[c.Checkpoint], c)
		}
	}
	var best *choice
	most := 0
	for _, g := range groups {
		c, n := r.pick(g, author, need)
		most = max(most, n)
		if c != nil && (best == nil || c.better(best)) {
			best = c
		}
	}
	if best == nil {
		return nil, fmt.Errorf("%w: %d of %d have cosigned one checkpoint over entry %d of log %s; synchronise with other devices and try again",
			ErrUnwitnessed, most, need, r.Seq, r.Log)
	}
	return best, nil
}

// better: with another site before without, then the earlier.
func (c *choice) better(o *choice) bool {
	if c.other != o.other {
		return c.other
	}
	return cmp.Or(cmp.Compare(c.time, o.time), cmp.Compare(c.cosigned[0].Size, o.cosigned[0].Size)) < 0
}

// holds reports whether this device holds the tree of a checkpoint.
func (r *ProveRequest) holds(ctx context.Context, cp Checkpoint) bool {
	root, err := r.Trees.Root(ctx, r.Log, cp.Size)
	return err == nil && root == cp.Root
}

// pick chooses need witnesses of one checkpoint, and says how many there are.
func (r *ProveRequest) pick(group []Cosigned, author *identity.Credential, need int) (*choice, int) {
	type candidate struct {
		Cosigned
		raw   []byte
		who   *identity.Credential
		other bool
	}
	var all []candidate
	for _, c := range group {
		raw, ok := r.Of(c.Witness)
		if !ok {
			continue
		}
		who, err := r.Trust.ReadCredential(raw)
		if err != nil || who.Claims.Witness != c.Witness || !mayWitness(who, author) {
			continue
		}
		all = append(all, candidate{c, raw, who, otherSite(who, author)})
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), compareKey(a.Witness, b.Witness))
	})
	// The earliest of another site first, then the earliest.
	if i := slices.IndexFunc(all, func(c candidate) bool { return c.other }); i > 0 {
		first := all[i]
		all = slices.Insert(slices.Delete(all, i, i+1), 0, first)
	}
	c := &choice{}
	persons := make(map[identity.Person]bool)
	var chosen []candidate
	for _, w := range all {
		if !persons[w.who.Person] {
			persons[w.who.Person] = true
			chosen = append(chosen, w)
		}
	}
	if len(chosen) < need {
		return nil, len(chosen)
	}
	chosen = chosen[:need]
	slices.SortFunc(chosen, func(a, b candidate) int { return compareKey(a.Witness, b.Witness) })
	for _, w := range chosen {
		c.cosigned = append(c.cosigned, w.Cosigned)
		c.credentials = append(c.credentials, w.raw)
		c.other = c.other || w.other
		c.time = max(c.time, w.Time)
	}
	return c, need
}

// mayWitness: nobody witnesses for themselves.
func mayWitness(witness, author *identity.Credential) bool {
	return witness.Person != author.Person && witness.SigningKey != author.SigningKey
}

// otherSite reports whether two devices are of different organisations or, where
// both say so, of different sites.
func otherSite(a, b *identity.Credential) bool {
	return a.Person.Org != b.Person.Org || a.Claims.ODS != "" && b.Claims.ODS != "" && a.Claims.ODS != b.Claims.ODS
}
