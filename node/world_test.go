package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/ledger/badgerstore"
	"tocsin/ledger/memstore"
	"tocsin/node/message"
)

// patience is how long a test waits for something that must happen. It is a
// bound on a hang, not a measure of speed.
const patience = 4 * time.Minute

// world is a mesh of two organisations under one trust bundle, from which
// tests enrol machines. All parts are real.
type world struct {
	t           testing.TB
	bundle      *identity.Bundle
	authorities map[string]*identity.Authority
	meshKey     [32]byte
	issued      time.Time
}

const (
	orgHospital  = "stmarys.nhs.example"
	orgAmbulance = "ambulance.nhs.example"
	passphrase   = "abacus bishop candle drawer engine falcon"
)

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, authorities: make(map[string]*identity.Authority), issued: time.Now().Add(-time.Hour)}
	for _, org := range []string{orgHospital, orgAmbulance} {
		a, err := identity.NewAuthority(org, "Authority of "+org, w.issued, 365*24*time.Hour, rand.Reader)
		check(t, err)
		w.authorities[org] = a
	}
	var err error
	w.bundle, err = identity.NewBundle("Test mesh", w.issued,
		w.authorities[orgHospital].Certificate(), w.authorities[orgAmbulance].Certificate())
	check(t, err)
	_, err = rand.Read(w.meshKey[:])
	check(t, err)
	return w
}

// enrol makes a machine for a new person, in a directory of its own.
func (w *world) enrol(name, org string) *machine {
	w.t.Helper()
	return w.enrolWith(name, org, identity.Grant{Now: w.issued, Validity: 30 * 24 * time.Hour, Roles: []string{"doctor"}})
}

// grant is what a doctor is given for as long as validity.
func (w *world) grant(validity time.Duration) identity.Grant {
	return identity.Grant{Now: w.issued, Validity: validity, Roles: []string{"doctor"}}
}

func (w *world) enrolWith(name, org string, g identity.Grant) *machine {
	w.t.Helper()
	dir := w.t.TempDir()
	relay, err := identity.NewRelayKeys(rand.Reader)
	check(w.t, err)
	keys, err := identity.NewVaultKeys(rand.Reader)
	check(w.t, err)
	wish := identity.Wish{
		Person: identity.Person{Org: org, Regulator: "gmc", Number: fmt.Sprintf("%07d", len(name)*100+int(name[0]))},
		Claims: identity.Claims{Name: name, Roles: g.Roles},
	}
	req, err := identity.NewRequest(wish, relay, keys)
	check(w.t, err)
	g.Bundle, g.MeshKey = w.bundle, w.meshKey
	e, err := w.authorities[org].Issue(req, g)
	check(w.t, err)
	keys.MeshKey, err = e.OpenMeshKey(keys)
	check(w.t, err)

	v, err := vault.Create(filepath.Join(dir, "vault"), []byte(passphrase), vault.Options{Params: vault.Params{MemoryKiB: 64, Time: 1, Threads: 1}})
	check(w.t, err)
	raw, err := keys.Marshal()
	check(w.t, err)
	check(w.t, v.Commit(vault.Change{Key: keyVaultKeys, Value: raw}))
	check(w.t, v.Close())
	for file, data := range map[string][]byte{
		"relay.pem": relay.MarshalPEM(), "admission": e.Admission, "credential": e.Credential, "bundle": w.bundle.Marshal(),
	} {
		check(w.t, os.WriteFile(filepath.Join(dir, file), data, 0o600))
	}
	return &machine{name: name, dir: dir}
}

// machine is an enrolled device's directory.
type machine struct{ name, dir string }

// config reads the directory as a program would after a restart.
func (m *machine) config() (Config, error) {
	v, err := vault.Open(filepath.Join(m.dir, "vault"))
	if err != nil {
		return Config{}, err
	}
	cfg, err := m.publicConfig()
	cfg.Vault = v
	return cfg, err
}

// configWithout is config after the vault was wiped.
func (m *machine) configWithout(t testing.TB) Config {
	t.Helper()
	cfg, err := m.publicConfig()
	check(t, err)
	return cfg
}

// publicConfig is config but for the vault.
func (m *machine) publicConfig() (Config, error) {
	var cfg Config
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(m.dir, name))
		if err != nil {
			panic(err) // the test made the file
		}
		return b
	}
	relay, err := identity.ParseRelayKeysPEM(read("relay.pem"))
	if err != nil {
		return cfg, err
	}
	bundle, err := identity.ParseBundle(read("bundle"))
	if err != nil {
		return cfg, err
	}
	return Config{
		Version: "test", Dir: m.dir, Clock: SystemClock(), Relay: relay, Bundle: bundle,
		Admission: read("admission"), Credential: read("credential"),
		Listen: []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"},
		Logger: slog.New(slog.DiscardHandler), ReceiptDelay: 20 * time.Millisecond, ReceiptInterval: 20 * time.Millisecond, WitnessPause: 50 * time.Millisecond, SyncInterval: 2 * time.Second,
		IdleLock: -1, // tests let days pass
	}, nil
}

// start opens the machine's node in memory, unlocked, and closes it with the
// test.
func (m *machine) start(t testing.TB, options ...func(*Config)) *Node {
	t.Helper()
	cfg, err := m.config()
	check(t, err)
	cfg.Store = memstore.New()
	for _, o := range options {
		o(&cfg)
	}
	n, err := Open(t.Context(), cfg)
	check(t, err)
	t.Cleanup(func() { check(t, n.Close()) })
	check(t, n.Unlock(t.Context(), []byte(passphrase)))
	return n
}

// onDisk keeps the machine's logs in its directory.
func (m *machine) onDisk(t testing.TB) func(*Config) {
	return func(cfg *Config) {
		s, err := m.openStore(cfg)
		check(t, err)
		cfg.Store = s
	}
}

func (m *machine) openStore(cfg *Config) (ledger.Store, error) {
	return badgerstore.Open(filepath.Join(m.dir, "store"), badgerstore.Options{Key: cfg.Relay.Store, Logger: cfg.Logger})
}

func knows(others ...*Node) func(*Config) {
	return func(cfg *Config) {
		for _, o := range others {
			cfg.Static = append(cfg.Static, o.mesh.Addrs()...)
		}
	}
}

func logTo(w io.Writer) func(*Config) {
	return func(cfg *Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !cond() {
		select {
		case <-ctx.Done():
			t.Fatalf("did not happen: %s", what)
		case <-tick.C:
		}
	}
}

// ready waits until n holds prekeys of k other devices.
func ready(t testing.TB, k int, nodes ...*Node) {
	t.Helper()
	for _, n := range nodes {
		eventually(t, fmt.Sprintf("%s knows %d others", n.cred.Claims.Name, k), func() bool {
			people, err := n.People()
			check(t, err)
			count := 0
			for _, p := range people {
				if p.Ready && !p.Self {
					count++
				}
			}
			return count >= k
		})
	}
}

// makeGroup has the first node make an incident with all the others.
func makeGroup(t testing.TB, nodes ...*Node) string {
	t.Helper()
	var members []string
	for _, n := range nodes[1:] {
		members = append(members, n.self.String())
	}
	c, err := nodes[0].CreateGroup(t.Context(), GroupSpec{Kind: "incident", Name: "Bus crash", Members: members})
	check(t, err)
	return group.ID(c.ID).String()
}

// inGroup waits until every node knows the group with all of them as members.
func inGroup(t testing.TB, groupID string, nodes ...*Node) {
	t.Helper()
	for _, n := range nodes {
		eventually(t, n.cred.Claims.Name+" knows the group", func() bool {
			roster, err := n.Roster(groupID)
			return err == nil && len(roster) >= len(nodes)
		})
	}
}

func say(t testing.TB, n *Node, groupID, text string) Sent {
	t.Helper()
	s, err := n.Send(t.Context(), groupID, message.NewText(text, time.Time{}), "routine")
	check(t, err)
	return s
}

// texts returns what a node shows of a group, in order.
func texts(t testing.TB, n *Node, groupID string) []string {
	t.Helper()
	items, err := n.Messages(groupID, 0, 0)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	check(t, err)
	var out []string
	for _, it := range items {
		out = append(out, message.Words(it.Message.Content))
	}
	return out
}

func shows(t testing.TB, n *Node, groupID string, want ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s shows %d messages", n.cred.Claims.Name, len(want)), func() bool {
		return len(texts(t, n, groupID)) >= len(want)
	})
	if got := texts(t, n, groupID); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Fatalf("%s shows %q, want %q", n.cred.Claims.Name, got, want)
	}
}

// newRand is a source that repeats itself, so that what a test sees once it sees
// always.
func newRand(testing.TB) *mathrand.Rand { return mathrand.New(mathrand.NewPCG(1, 2)) }
