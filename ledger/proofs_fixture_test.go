package ledger_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/ledger/memstore"
)

// mesh is a mesh of two organisations with real credentials. Nothing in it is a
// stand-in but the store, which is in memory.
type mesh struct {
	t           testing.TB
	bundle      *identity.Bundle
	trust       *identity.TrustStore
	authorities map[string]*identity.Authority
	number      int
	credentials map[identity.Key][]byte // by witness key
	orgs        map[identity.Key]string
}

const (
	hospital  = "stmarys.nhs.example"
	ambulance = "ambulance.nhs.example"
)

func newMesh(t testing.TB) *mesh {
	t.Helper()
	m := &mesh{
		t: t, authorities: make(map[string]*identity.Authority),
		credentials: make(map[identity.Key][]byte), orgs: make(map[identity.Key]string),
	}
	for _, org := range []string{hospital, ambulance} {
		a, err := identity.NewAuthority(org, "Authority of "+org, noon.Add(-time.Hour), 365*24*time.Hour, rand.Reader)
		must(t, err)
		m.authorities[org] = a
	}
	var err error
	m.bundle, err = identity.NewBundle("Test mesh", noon, m.authorities[hospital].Certificate(), m.authorities[ambulance].Certificate())
	must(t, err)
	m.trust, err = identity.NewTrustStore(m.bundle)
	must(t, err)
	return m
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Witness implements ledger.Witnesses.
func (m *mesh) Witness(k identity.Key) (string, bool) {
	org, ok := m.orgs[k]
	return org, ok
}

func (m *mesh) credentialOf(k identity.Key) ([]byte, bool) {
	raw, ok := m.credentials[k]
	return raw, ok
}

// node is an enrolled device with its own copy of the logs.
type node struct {
	*device
	m          *mesh
	witness    ed25519.PrivateKey
	credential []byte
	store      *memstore.Store
	logs       *ledger.Logs
	trees      *ledger.Trees
	table      *ledger.WitnessTable
}

// enrol makes the device of a new person.
func (m *mesh) enrol(name, org string) *node {
	m.t.Helper()
	m.number++
	return m.enrolAs(name, identity.Person{Org: org, Regulator: "gmc", Number: fmt.Sprintf("%07d", 7000000+m.number)})
}

// registrar makes a registrar of an organisation, who enrols in its place.
func (m *mesh) registrar(org string) *identity.Registrar {
	m.t.Helper()
	r, err := m.authorities[org].NewRegistrar(identity.RegistrarGrant{
		Name: "Ward desk", Roles: []string{"doctor"}, Now: noon.Add(-time.Minute), Validity: 20 * 24 * time.Hour, Rand: rand.Reader,
	})
	must(m.t, err)
	return r
}

// issuer is an authority or a registrar.
type issuer interface {
	Issue(*identity.Request, identity.Grant) (*identity.Enrolment, error)
}

func (m *mesh) enrolAs(name string, who identity.Person) *node {
	m.t.Helper()
	return m.enrolBy(m.authorities[who.Org], name, who, 30*24*time.Hour)
}

func (m *mesh) enrolBy(by issuer, name string, who identity.Person, validity time.Duration) *node {
	m.t.Helper()
	relay, err := identity.NewRelayKeys(rand.Reader)
	must(m.t, err)
	keys, err := identity.NewVaultKeys(rand.Reader)
	must(m.t, err)
	req, err := identity.NewRequest(identity.Wish{Person: who, Claims: identity.Claims{Name: name, Roles: []string{"doctor"}}}, relay, keys)
	must(m.t, err)
	e, err := by.Issue(req, identity.Grant{
		Now: noon, Validity: validity, Roles: []string{"doctor"}, Bundle: m.bundle, MeshKey: [32]byte{7},
	})
	must(m.t, err)
	n := &node{
		device: &device{key: keys.Signing, id: ledger.LogID{Author: identity.KeyOf(keys.Signing)}},
		m:      m, witness: relay.Witness, credential: e.Credential, store: memstore.New(),
	}
	m.credentials[n.witnessKey()], m.orgs[n.witnessKey()] = e.Credential, who.Org
	n.open()
	return n
}

func (n *node) witnessKey() identity.Key { return identity.KeyOf(n.witness) }

// open starts the device, again if need be.
func (n *node) open() {
	n.m.t.Helper()
	n.logs = open(n.m.t, n.store, everyone(), ledger.Limits{DayHeaders: 1 << 20, DayBytes: 1 << 40})
	n.trees = ledger.NewTrees(n.logs)
	var err error
	n.table, err = ledger.NewWitnessTable(ledger.WitnessConfig{
		Logs: n.logs, Trees: n.trees, Mesh: n.m.trust.MeshID(), Key: n.witness, Witnesses: n.m,
	})
	must(n.m.t, err)
}

// take appends entries of others.
func (n *node) take(chain []ledger.Verified) {
	n.m.t.Helper()
	out, err := n.logs.AppendBatch(context.Background(), chain, noon)
	must(n.m.t, err)
	for i, o := range out {
		if o != ledger.Appended && o != ledger.Known {
			n.m.t.Fatalf("entry %d: %s", i, o)
		}
	}
}

// checkpoint signs the log over its first size entries.
func (n *node) checkpoint(size uint64) ledger.Checkpoint {
	n.m.t.Helper()
	root, err := n.trees.Root(context.Background(), n.id, size)
	must(n.m.t, err)
	c, err := ledger.SignCheckpoint(n.key, n.m.trust.MeshID(), n.id, size, root)
	must(n.m.t, err)
	return c
}

// cosign has n witness a checkpoint and tells everyone in to.
func (n *node) cosign(cp ledger.Checkpoint, at time.Time, to ...*node) ledger.Cosigned {
	n.m.t.Helper()
	results, err := n.table.Cosign(context.Background(), at, cp)
	must(n.m.t, err)
	must(n.m.t, results[0].Err)
	for _, other := range to {
		taken, err := other.table.Take(context.Background(), [][]byte{ledger.MarshalTestimony(results[0].Cosigned)})
		must(n.m.t, err)
		must(n.m.t, taken[0].Err)
	}
	return results[0].Cosigned
}

// sealed signs an entry that commits to a payload, as a message does.
func (d *device) sealed(t testing.TB, chain []ledger.Verified, opening, payload []byte) []ledger.Verified {
	t.Helper()
	h := ledger.Header{Seq: uint64(len(chain)), Kind: ledger.KindData, GroupTag: [16]byte{1}, Commit: ledger.Commitment(opening, payload)}
	if len(chain) > 0 {
		h.Prev = chain[len(chain)-1].Entry().ID()
	}
	return append(chain, d.sign(t, h, "what only the group can read"))
}

func seeded(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}
