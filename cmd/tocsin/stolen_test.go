package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/node"
	"tocsin/node/api"
)

const (
	stolenPIN    = "274951"
	stolenCanary = "Bed nine wants her glasses; daughter rings at six"
)

// TestStolenDevice is the story of a device that is stolen while it is unlocked
// and in reach: report, wipe order, receipt; what its disk still holds; what the
// others see and do.
func TestStolenDevice(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file has no second name there")
	}
	t.Parallel()
	d, m := enrolledBy(t, 3)
	amina, ben, chidi := d.cast[0], d.cast[1], d.cast[2]
	ctx := t.Context()
	for _, c := range d.cast {
		d.start(t, c)
	}
	must(t, d.reachEachOther(ctx, d.cast))
	must(t, d.until(ctx, func(ctx context.Context) (string, error) { return d.strangersAmong(ctx, d.cast) }))
	must(t, d.run(ctx, amina.secret, nil, "groups", "create", "--data", amina.dir, "Ward 7", ben.name, chidi.name))
	first := d.say7(t, amina, stolenCanary)
	d.hears(t, ben, first)
	d.hears(t, chidi, first)
	d.pinFor(t, chidi)

	// What a thief finds who reads the blocks of the disk later, deleted files and
	// all: every file keeps its contents under a second name.
	remains := secondNames(t, chidi.dir, filepath.Join(d.dir, "remains"))
	control := secondNames(t, ben.dir, filepath.Join(d.dir, "control"))
	epochs := d.epochs(t, amina) + d.epochs(t, ben)

	// The loss is reported. The authority makes the order; anybody hands it in.
	order := filepath.Join(d.dir, "wipe.pem")
	must(t, d.run(ctx, m.secret, nil, "authority", "wipe", chidi.name, "--dir", m.dirs[chidi.org], "--yes", "--out", order))
	var taken api.Statements
	must(t, d.run(ctx, ben.secret, &taken, "statement", order, "--data", ben.dir))
	if len(taken.Statements) != 2 || taken.Statements[0].Kind != "wipe" || !taken.Statements[0].New || taken.Statements[1].Kind != "crl" {
		t.Fatalf("Ben's node took %+v", taken)
	}

	// The device obeys, and ends.
	select {
	case <-chidi.node.ended:
	case <-time.After(patience):
		t.Fatalf("the stolen device goes on: %s", chidi.node.stderr)
	}
	if chidi.node.err != nil || !strings.Contains(chidi.node.stderr.String(), "this device was wiped") {
		t.Errorf("it ended with %v: %s", chidi.node.err, chidi.node.stderr)
	}
	must(t, chidi.node.release())
	chidi.node = nil

	// The others see the badge and the receipt.
	for _, c := range []*clinician{amina, ben} {
		must(t, d.until(ctx, func(ctx context.Context) (string, error) { return receiptAt(ctx, c, chidi) }))
		if code, text := d.outcome(ctx, c, "people"); code != exitOK || !strings.Contains(text, "wiped, and it says so itself") {
			t.Errorf("%s is shown:\n%s", c.name, text)
		}
	}
	d.rotated(t, amina, ben, chidi, epochs)
	nothingLeft(t, d, chidi, remains)
	controlOpens(t, ben, control)

	// A start says what happened, and the word of the order is known to all.
	if code, text := d.outcome(ctx, chidi, "up"); code != exitInput || !strings.Contains(text, "this device was wiped") {
		t.Errorf("exit code %d: %s", code, text)
	}
	if code, text := d.outcome(ctx, amina, "statement"); code != exitOK || !strings.Contains(text, "wipe") || !strings.Contains(text, "receipt") {
		t.Errorf("exit code %d: %s", code, text)
	}
}

// say7 sends to the group of the story.
func (d *demo) say7(t *testing.T, c *clinician, text string) node.Sent {
	t.Helper()
	var sent node.Sent
	must(t, d.run(t.Context(), c.secret, &sent, "send", "--data", c.dir, "Ward 7", text))
	return sent
}

// hears waits until a message is readable at a clinician's node.
func (d *demo) hears(t *testing.T, c *clinician, s node.Sent) (found api.Message) {
	t.Helper()
	must(t, d.until(t.Context(), func(ctx context.Context) (string, error) {
		groups, err := c.node.client.Groups(ctx)
		if err != nil {
			return "", err
		}
		for _, g := range groups {
			all, err := c.node.client.Messages(ctx, g.ID, -50, 50)
			if err != nil {
				return "", err
			}
			for _, m := range all.Messages {
				if m.ID == s.ID {
					found = m
					return "", nil
				}
			}
		}
		return c.name + " has not got the message", nil
	}))
	return found
}

// pinFor sets a PIN, and shows that it unlocks.
func (d *demo) pinFor(t *testing.T, c *clinician) {
	t.Helper()
	file := filepath.Join(d.dir, "pin")
	must(t, os.WriteFile(file, []byte(stolenPIN+"\n"), 0o600))
	for _, args := range [][]string{{"pin", "set", "--new-pin-file", file}, {"lock"}, {"unlock", "--pin-file", file}} {
		if code, text := d.outcome(t.Context(), c, args...); code != exitOK {
			t.Fatalf("%q: exit code %d: %s", args, code, text)
		}
	}
}

// epochs counts the announces in a clinician's own log.
func (d *demo) epochs(t *testing.T, c *clinician) (n int) {
	t.Helper()
	st, err := c.node.client.Status(t.Context())
	must(t, err)
	entries, err := c.node.client.LogEntries(t.Context(), st.Log, 0, 1000)
	must(t, err)
	for _, e := range entries {
		if e.Kind == "epoch" {
			n++
		}
	}
	return n
}

// receiptAt says what a clinician's node has not heard yet of another's wipe.
func receiptAt(ctx context.Context, at, of *clinician) (string, error) {
	people, err := at.node.client.People(ctx)
	if err != nil {
		return "", err
	}
	for _, p := range people {
		if p.Name == of.name && p.Standing.State == "wiped" && p.Wipe != nil && !p.Wipe.Receipt.IsZero() {
			return "", nil
		}
	}
	return at.name + " has no receipt of the wipe", nil
}

// rotated: what is said next is sealed under a new epoch, for those who are left,
// and both earlier words and their author keep their place.
func (d *demo) rotated(t *testing.T, amina, ben, chidi *clinician, epochs int) {
	t.Helper()
	next := d.hears(t, ben, d.say7(t, amina, "The stolen tablet is out; go on here"))
	if next.Recipients != 1 {
		t.Errorf("the message is for %d devices", next.Recipients)
	}
	// Whoever comes first announces it, and the other one takes that.
	if now := d.epochs(t, amina) + d.epochs(t, ben); now <= epochs {
		t.Errorf("they have announced %d epochs, as before the theft", now)
	}
	var members api.Roster
	must(t, d.run(t.Context(), amina.secret, &members, "groups", "members", "Ward 7", "--data", amina.dir))
	for _, m := range members.Members {
		if m.Name == chidi.name && !m.Excluded {
			t.Errorf("%s still gets keys", chidi.name)
		}
	}
}

// secondNames gives every file of a directory a second name elsewhere, so that
// what was in it can still be read after it was removed, as from the raw disk.
func secondNames(t *testing.T, from, to string) string {
	t.Helper()
	must(t, filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case e.IsDir():
			return os.MkdirAll(target, 0o700)
		case e.Type().IsRegular():
			return os.Link(path, target)
		}
		return nil
	}))
	return to
}

// nothingLeft: neither passphrase nor PIN opens what is left on the disk, and no
// file holds a word.
func nothingLeft(t *testing.T, d *demo, c *clinician, remains string) {
	t.Helper()
	secret := secretOf(t, c)
	for _, dir := range []string{c.dir, remains} {
		holdsNoWord(t, dir, secret)
		if keys, err := (dataDir(dir)).relayKeys(); err == nil {
			t.Errorf("%s holds the relay keys of %s", dir, keys.PeerID())
		}
		v, err := vault.Open(filepath.Join(dir, vaultDir))
		if err != nil {
			continue // it is no vault any more
		}
		if err := v.Unlock(secret); err == nil {
			t.Errorf("the passphrase opens the vault in %s", dir)
		}
		if err := v.UnlockPIN([]byte(stolenPIN), time.Now()); err == nil {
			t.Errorf("the PIN opens the vault in %s", dir)
		}
		must(t, v.Close())
	}
	for _, name := range []string{vaultDir, storeDir, relayFile, credentialFile} {
		if _, err := os.Lstat(filepath.Join(c.dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
}

func secretOf(t *testing.T, c *clinician) []byte {
	t.Helper()
	text, err := os.ReadFile(c.secret)
	must(t, err)
	return bytes.TrimSpace(text)
}

func holdsNoWord(t *testing.T, dir string, secret []byte) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, word := range [][]byte{[]byte(stolenCanary), secret} {
			if bytes.Contains(b, word) {
				t.Errorf("%s holds a word that nobody should find", path)
			}
		}
		return nil
	}))
}

// controlOpens shows that the same look at a disk that was not wiped does open
// it: the passphrase is right, and the files are all there.
func controlOpens(t *testing.T, c *clinician, remains string) {
	t.Helper()
	must(t, c.node.stop())
	c.node = nil
	v, err := vault.Open(filepath.Join(remains, vaultDir))
	must(t, err)
	defer v.Close()
	must(t, v.Unlock(secretOf(t, c)))
	raw, ok, err := v.Get(vaultKeysKey)
	if err != nil || !ok {
		t.Fatalf("the control holds no keys: %v", err)
	}
	if _, err := identity.ParseVaultKeys(raw); err != nil {
		t.Error(err)
	}
	if _, err := (dataDir(remains)).relayKeys(); err != nil {
		t.Error(err)
	}
}
