package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger/badgerstore"
	"tocsin/node"
)

// colleague is one of those on call: a person with a device and a node of their
// own. Identity, vault, logs on the disk, admission and mesh are as real as the
// cast's; only the process is shared, since thirty-six more would not fit on a
// small machine.
type colleague struct {
	hospital
	name, regulator, number, role string
	skill                         string // as which they answer a call-out; "" for none of those asked for

	dir  string
	node *node.Node
}

func (c *colleague) person() string { return c.org + "/" + c.regulator + "/" + c.number }

// onCall are those who are asked to come beside the cast.
const onCall = 36

// theStaff are those on call, of both hospitals in turn.
func theStaff() []*colleague {
	trades := []struct{ regulator, number, role, skill string }{
		{"nmc", "19B%04dE", "nurse", "nurse"},
		{"gmc", "71%05d", "surgeon", "surgeon"},
		{"nmc", "20C%04dE", "theatre-nurse", "nurse"},
		{"hcpc", "PA2%05d", "paramedic", ""},
		{"gmc", "72%05d", "anaesthetist", "anaesthetist"},
		{"gphc", "22%05d", "pharmacist", ""},
	}
	first := []string{"Farah", "George", "Hana", "Idris", "Joan", "Kofi", "Lena", "Marek", "Nadia"}
	last := []string{"Ahmed", "Bell", "Clarke", "Doyle"}
	all := make([]*colleague, onCall)
	for i := range all {
		t := trades[i%len(trades)]
		all[i] = &colleague{
			hospital: theHospitals()[i%2], name: first[i%len(first)] + " " + last[i/len(first)],
			regulator: t.regulator, number: fmt.Sprintf(t.number, i), role: t.role, skill: t.skill,
		}
	}
	return all
}

// as returns the program as if a person had started it in this process, with the
// demo's configuration and one passphrase.
func (d *demo) as(secret string) *app {
	return &app{
		in: strings.NewReader(""), out: &output{w: io.Discard}, err: io.Discard, now: d.now, flags: newSettingFlags(),
		env: environment{envConfig: filepath.Join(d.dir, "config.toml"), envPrefix + "PASSPHRASE_FILE": secret, "HOME": d.dir},
	}
}

// enrolStaff has each hospital certify those of the staff that are its own, and
// starts their nodes.
func (d *demo) enrolStaff(ctx context.Context) error {
	secret, err := d.newSecret("staff")
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(d.dir, "staff.log"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	d.staffLog = log
	for _, h := range theHospitals() {
		if err := d.enrolAt(ctx, h, secret, slog.New(slog.NewTextHandler(log, nil))); err != nil {
			return fmt.Errorf("the staff of %s: %w", h.name, err)
		}
	}
	return nil
}

// enrolAt opens the authority of a hospital once for all of its staff.
func (d *demo) enrolAt(ctx context.Context, h hospital, secret string, log *slog.Logger) (err error) {
	o, err := d.as(d.mesh.secret).openAuthority(ctx, d.mesh.dirs[h.org])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	words, err := os.ReadFile(secret)
	if err != nil {
		return err
	}
	var mine []*colleague
	for _, c := range d.staff {
		if c.org == h.org {
			mine = append(mine, c)
		}
	}
	devices := make([]*newDevice, len(mine))
	for i, c := range mine { // one after the other: the register is one file
		if devices[i], err = d.certifyStaff(o, c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return together(len(mine), func(i int) error {
		if err := d.startStaff(ctx, mine[i], devices[i], []byte(strings.TrimSpace(string(words))), log); err != nil {
			return fmt.Errorf("%s: %w", mine[i].name, err)
		}
		return nil
	})
}

// newDevice is a device that was certified and has not run yet.
type newDevice struct {
	relay  *identity.RelayKeys
	keys   *identity.VaultKeys
	answer *identity.Enrolment
	trust  *identity.TrustStore
}

// certifyStaff makes the keys of a device and its request, has it granted and
// registered, and makes every check that 'tocsin enrol' makes.
func (d *demo) certifyStaff(o *openAuthority, c *colleague) (*newDevice, error) {
	relay, err := identity.NewRelayKeys(rand.Reader)
	if err != nil {
		return nil, err
	}
	keys, err := identity.NewVaultKeys(rand.Reader)
	if err != nil {
		return nil, err
	}
	req, err := identity.NewRequest(identity.Wish{
		Person: identity.Person{Org: c.org, Regulator: c.regulator, Number: c.number},
		Claims: identity.Claims{Name: c.name, Roles: []string{c.role}},
	}, relay, keys)
	if err != nil {
		return nil, err
	}
	meshKey, err := o.meshKey()
	if err != nil {
		return nil, err
	}
	defer clear(meshKey[:])
	line := d.certified(req, issueFlags{days: 30})
	answer, err := o.Issue(req, identity.Grant{
		Now: line.Time, Validity: line.NotAfter.Sub(line.Time), Roles: line.Roles,
		Bundle: o.trust.Genesis(), Statements: o.trust.Statements(), MeshKey: meshKey,
	})
	if err != nil {
		return nil, err
	}
	line.Credential = answer.Credential
	if err := o.register(line); err != nil {
		return nil, err
	}
	trust, cred, err := answer.Accept(relay, keys, d.now())
	if err != nil {
		return nil, err
	}
	if cred.Person.String() != c.person() {
		return nil, fmt.Errorf("was enrolled as %s", cred.Person)
	}
	return &newDevice{relay, keys, answer, trust}, nil
}

// startStaff makes vault and store of a colleague on the disk and opens the node.
func (d *demo) startStaff(ctx context.Context, c *colleague, dev *newDevice, secret []byte, log *slog.Logger) (err error) {
	c.dir = filepath.Join(d.dir, "staff", c.number)
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	raw, err := dev.keys.Marshal()
	if err != nil {
		return err
	}
	if err := node.SaveTrust(c.dir, dev.trust.Snapshot()); err != nil {
		return err
	}
	cfg := node.Config{
		Version: readBuild().Version, Dir: c.dir, Clock: node.SystemClock(), Logger: log, Relay: dev.relay,
		Bundle: dev.trust.Genesis(), Admission: dev.answer.Admission, Credential: dev.answer.Credential,
		Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Static: d.addresses(d.cast, len(c.name)), IdleLock: -1, Unsafe: unsafeNode(d.unsafe()),
		// Thirty-six nodes share the cores of one small machine, each a neighbour of
		// all others: they look through each other's logs and witness them less often.
		SyncInterval: time.Minute, WitnessPause: time.Minute, TestimonyPause: time.Minute,
	}
	// Stretching thirty-six passphrases that nobody will ever guess at would take
	// longer than the step in which these devices play.
	cheap := vault.Options{Params: vault.Params{MemoryKiB: 8 << 10, Time: 1, Threads: 1}}
	if cfg.Vault, err = vault.Create(filepath.Join(c.dir, vaultDir), secret, cheap); err != nil {
		return err
	}
	if err := cfg.Vault.Commit(vault.Change{Key: vaultKeysKey, Value: raw}); err != nil {
		return errors.Join(err, cfg.Vault.Close())
	}
	// Without the ballast: thirty-six of them would take a good deal of the disk.
	cfg.Store, err = badgerstore.Open(filepath.Join(c.dir, storeDir), badgerstore.Options{
		Key: dev.relay.Store, Logger: log, Ballast: -1, Unsafe: unsafeStore(d.unsafe()),
	})
	if err != nil {
		return errors.Join(err, cfg.Vault.Close())
	}
	c.node, err = node.Open(ctx, cfg)
	return err
}

// endStaff ends the nodes of those on call.
func (d *demo) endStaff() error {
	errs := make([]error, len(d.staff))
	var wg sync.WaitGroup
	for i, c := range d.staff {
		if c.node != nil {
			wg.Go(func() { errs[i] = c.node.Close() })
		}
	}
	wg.Wait()
	for _, c := range d.staff {
		c.node = nil
	}
	if d.staffLog != nil {
		errs = append(errs, d.staffLog.Close())
		d.staffLog = nil
	}
	return errors.Join(errs...)
}
