package api

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger/memstore"
	"tocsin/node"
)

// machinePassphrase opens the vault of every machine of these tests.
const machinePassphrase = "abacus bishop candle drawer engine falcon"

// patience bounds how long a test waits for something that must happen; it is no measure of speed.
const patience = 4 * time.Minute

// machine is a real node with its API: real keys and credentials, a real mesh on loopback, logs in memory.
type machine struct {
	*node.Node
	api       *Server
	clock     *steppedClock
	authority *identity.Authority // of everybody in the mesh
}

// steppedClock is the machine's clock, put forward by a test.
type steppedClock struct{ ahead atomic.Int64 }

func (c *steppedClock) Now() time.Time                         { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *steppedClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// newMachines enrols two people of one organisation and starts a node with an API for each. The first is left locked.
func newMachines(t *testing.T) (amara, ben *machine) {
	t.Helper()
	issued := time.Now().Add(-time.Hour)
	const org = "stmarys.nhs.example"
	authority, err := identity.NewAuthority(org, "Authority of "+org, issued, 365*24*time.Hour, rand.Reader)
	must(t, err)
	bundle, err := identity.NewBundle("Test mesh", issued, authority.Certificate())
	must(t, err)
	var meshKey [32]byte
	_, err = rand.Read(meshKey[:])
	must(t, err)
	start := func(name, number, role string, locked bool, neighbours ...string) *machine {
		grant := identity.Grant{Now: issued, Validity: 30 * 24 * time.Hour, Roles: []string{role}, Bundle: bundle, MeshKey: meshKey}
		wish := identity.Wish{Person: identity.Person{Org: org, Regulator: "gmc", Number: number}, Claims: identity.Claims{Name: name, Roles: grant.Roles}}
		cfg := enrol(t, authority, wish, grant)
		cfg.Static = neighbours
		m := startMachine(t, cfg, locked)
		m.authority = authority
		return m
	}
	ben = start("Ben Carter", "7654321", "paramedic", false)
	amara = start("Amara Okafor", "1234567", "registrar", true, ben.Status().Addrs...)
	return amara, ben
}

// enrol makes a device's keys, has its credential issued, and returns what its node is started with.
func enrol(t *testing.T, authority *identity.Authority, wish identity.Wish, grant identity.Grant) node.Config {
	t.Helper()
	dir := t.TempDir()
	relay, err := identity.NewRelayKeys(rand.Reader)
	must(t, err)
	keys, err := identity.NewVaultKeys(rand.Reader)
	must(t, err)
	request, err := identity.NewRequest(wish, relay, keys)
	must(t, err)
	enrolment, err := authority.Issue(request, grant)
	must(t, err)
	keys.MeshKey, err = enrolment.OpenMeshKey(keys)
	must(t, err)
	v, err := vault.Create(filepath.Join(dir, "vault"), []byte(machinePassphrase), vault.Options{Params: vault.Params{MemoryKiB: 64, Time: 1, Threads: 1}})
	must(t, err)
	raw, err := keys.Marshal()
	must(t, err)
	must(t, v.Commit(vault.Change{Key: "identity/vault-keys", Value: raw}))
	must(t, v.Close())
	v, err = vault.Open(filepath.Join(dir, "vault"))
	must(t, err)
	return node.Config{
		Version: "test", Dir: dir, Clock: &steppedClock{}, Vault: v, Store: memstore.New(), Relay: relay, Bundle: grant.Bundle,
		Admission: enrolment.Admission, Credential: enrolment.Credential,
		Listen: []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"},
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), ReceiptDelay: 20 * time.Millisecond, ReceiptInterval: 20 * time.Millisecond, SyncInterval: 2 * time.Second,
	}
}

func startMachine(t *testing.T, cfg node.Config, locked bool) *machine {
	t.Helper()
	n, err := node.Open(t.Context(), cfg)
	must(t, err)
	t.Cleanup(func() { must(t, n.Close()) })
	if !locked {
		must(t, n.Unlock(t.Context(), []byte(machinePassphrase)))
	}
	server, err := New(Config{Node: n, Clock: cfg.Clock, Logger: cfg.Logger, Socket: filepath.Join(cfg.Dir, "s"), TokenFile: filepath.Join(cfg.Dir, "token")})
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- server.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		must(t, <-done)
	})
	return &machine{Node: n, api: server, clock: cfg.Clock.(*steppedClock)}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestClientAgainstNodes runs the client's way through two real nodes: unlock, meet, make a group, send, see it delivered and read.
func TestClientAgainstNodes(t *testing.T) {
	amara, ben := newMachines(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a, b := amara.dial(t), ben.dial(t)
	if _, err := a.Groups(ctx); !errors.Is(err, ErrLocked) {
		t.Errorf("locked: %v", err)
	}
	if _, err := a.Unlock(ctx, "wrong wrong wrong wrong wrong wrong"); !errors.Is(err, ErrPassphrase) {
		t.Errorf("a wrong passphrase: %v", err)
	}
	_, err := a.Unlock(ctx, machinePassphrase)
	must(t, err)

	eventually(t, say("Ben is known"), func() bool {
		people, err := a.People(ctx)
		must(t, err)
		return len(people) == 2 && people[0].Ready && people[1].Ready
	})
	g, err := a.CreateGroup(ctx, node.GroupSpec{Kind: "incident", Name: "Bus crash", Members: []string{"Ben Carter"}})
	must(t, err)
	sent, err := a.Send(ctx, g.ID, SendText{Text: "Two to resus.", Priority: "urgent"})
	must(t, err)
	eventually(t, say("Ben has the message"), func() bool {
		m, err := b.Messages(ctx, g.ID, -10, 10)
		if errors.Is(err, ErrNotFound) {
			return false
		}
		must(t, err)
		return len(m.Messages) == 1 && m.Messages[0].ID == sent.ID && m.Messages[0].Text == "Two to resus." && m.Messages[0].From.Verified
	})
	state := func(want string) func() bool {
		return func() bool {
			m, err := a.Messages(ctx, g.ID, -10, 10)
			must(t, err)
			return len(m.Messages) == 1 && m.Messages[0].StateWords == want
		}
	}
	eventually(t, say("delivered"), state("Delivered to 1 of 1"))
	must(t, b.MarkRead(ctx, g.ID))
	eventually(t, say("read"), state("Read"))
	v, err := b.VerifyLogs(ctx)
	must(t, err)
	if !v.Valid || v.Logs != 2 || len(v.Problems) != 0 {
		t.Errorf("%+v", v)
	}
	peers, err := b.Peers(ctx)
	if err != nil || len(peers) == 0 {
		t.Errorf("%+v, %v", peers, err)
	}
}

func (m *machine) dial(t *testing.T) *Client {
	t.Helper()
	c, err := Dial(m.api.cfg.Socket)
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

// eventually waits until cond holds. what is asked for when it does not.
func eventually(t *testing.T, what func() string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("did not happen: %s", what())
		}
	}
}

func say(what string) func() string { return func() string { return what } }
