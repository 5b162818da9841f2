package node

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/node/message"
)

// copyMachine takes a copy of a machine's directory, as a backup does; the machine
// does not run.
func copyMachine(t testing.TB, m *machine) *machine {
	t.Helper()
	dir := t.TempDir()
	check(t, os.CopyFS(dir, os.DirFS(m.dir)))
	return &machine{name: m.name, dir: dir}
}

// run is start without closing the node with the test.
func (m *machine) run(t testing.TB, options ...func(*Config)) *Node {
	t.Helper()
	cfg, err := m.config()
	check(t, err)
	for _, o := range append(options, m.onDisk(t)) {
		o(&cfg)
	}
	n, err := Open(t.Context(), cfg)
	check(t, err)
	check(t, n.Unlock(t.Context(), []byte(passphrase)))
	return n
}

// beAhead shows n an entry of its own log that it does not hold.
func beAhead(t testing.TB, n *Node) {
	t.Helper()
	head, _ := n.logs.Head(n.selfLog())
	if o := fake(t, n, head.Next, head.ID); o != ledger.OwnAhead {
		t.Fatalf("outcome %v", o)
	}
}

// fake signs an entry for a place in n's own log, as a clone of it would, and brings
// it to n.
func fake(t testing.TB, n *Node, seq uint64, prev ledger.ID) ledger.Outcome {
	t.Helper()
	n.mu.Lock()
	v, err := ledger.Sign(n.open.keys.Signing, ledger.Header{
		Incarnation: n.self.Incarnation, Seq: seq, Prev: prev, HLC: uint64(time.Now().UnixMilli()) << 16, Kind: ledger.KindControl,
	}, []byte("a clone"))
	n.mu.Unlock()
	check(t, err)
	return n.accept(t.Context(), v.Entry().Frame())[0].outcome
}

// personIn is how n sees the device of another.
func personIn(t testing.TB, n *Node, name string) (found Person) {
	t.Helper()
	people, err := n.People()
	check(t, err)
	count := 0
	for _, p := range people {
		if p.Name == name {
			found, count = p, count+1
		}
	}
	if count > 1 {
		t.Fatalf("%s is listed %d times", name, count)
	}
	return found
}

// TestRestoredDeviceGoesOn: a device is put back from a copy that was taken before
// its last messages. When a neighbour shows that it is behind, it goes on in a new
// log by itself, gets back what it had said, stays in its groups for everybody, and
// no place in its old log is used twice.
func TestRestoredDeviceGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	c := w.enrol("Chi", orgHospital).start(t, knows(a))
	m := w.enrol("Ben", orgAmbulance)
	b := m.run(t, knows(a, c))
	ready(t, 2, a, b, c)
	g := makeGroup(t, a, b, c)
	inGroup(t, g, a, b, c)
	say(t, b, g, "before the copy")
	shows(t, a, g, "before the copy")
	check(t, b.Close())
	backup := copyMachine(t, m)

	b = m.run(t, knows(a, c))
	say(t, b, g, "after the copy")
	for _, n := range []*Node{a, c} {
		shows(t, n, g, "before the copy", "after the copy")
	}
	say(t, a, g, "an answer")
	shows(t, b, g, "before the copy", "after the copy", "an answer")
	old := b.self
	check(t, b.Close())
	lost, _ := a.logs.Head(old)

	b = backup.run(t, knows(a, c))
	defer func() { check(t, b.Close()) }()
	eventually(t, "the device goes on in a new log", func() bool { return b.selfLog() != old })
	shows(t, b, g, "before the copy", "after the copy", "an answer")
	items, err := b.Messages(g, 0, 0)
	check(t, err)
	for _, it := range items[:2] {
		// What came back before the log was closed lies before its end; what came later does not.
		if late := message.Words(it.Message.Content) == "after the copy"; !it.Own || it.AfterClosing && !late {
			t.Fatalf("%+v: not flagged as it should be, or %q is no message of its own to it", it, message.Words(it.Message.Content))
		}
	}
	// Everybody sees the one person in the new log, and why, and keeps it in the group.
	for _, n := range []*Node{a, c} {
		eventually(t, "others know the new log", func() bool { return personIn(t, n, "Ben").Log == b.selfLog().String() })
		p := personIn(t, n, "Ben")
		if p.Replaces != old.String() || p.ReplacedWhy != "restored from a backup" || p.ReplacedAt.IsZero() || p.Cloned {
			t.Fatalf("shown as %+v", p)
		}
		eventually(t, "the group follows", func() bool {
			roster, err := n.Roster(g)
			return err == nil && len(roster) == 3 && (roster[1].Log == p.Log || roster[2].Log == p.Log)
		})
	}
	say(t, b, g, "from the new log")
	for _, n := range []*Node{a, c} {
		shows(t, n, g, "before the copy", "after the copy", "an answer", "from the new log")
	}
	say(t, a, g, "to the new log")
	shows(t, b, g, "before the copy", "after the copy", "an answer", "from the new log", "to the new log")
	// Nothing was written to the old log, and nothing in it forked.
	for _, n := range []*Node{a, b, c} {
		if head, _ := n.logs.Head(old); head != lost {
			t.Fatalf("the old log ends at %+v, want %+v", head, lost)
		}
		if forks := n.logs.Forks(); len(forks) != 0 {
			t.Fatalf("forks: %v", forks)
		}
	}
	// What others said that they received of it counts for the one device.
	eventually(t, "the old message is delivered to two of two", func() bool {
		items, err := b.Messages(g, 0, 0)
		return err == nil && items[1].Recipients == 2 && len(items[1].Delivered) == 2
	})
}

// TestVaultOlderThanLog: only the vault is put back. The device finds out alone,
// without a neighbour, and goes on at the same unlock or the first turn after it.
func TestVaultOlderThanLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.enrol("Ben", orgAmbulance)
	b := m.run(t)
	g := makeGroup(t, b)
	say(t, b, g, "one")
	check(t, b.Close())
	backup := copyMachine(t, m)
	b = m.run(t)
	say(t, b, g, "two")
	old := b.self
	check(t, b.Close())
	check(t, os.RemoveAll(filepath.Join(m.dir, "vault")))
	check(t, os.CopyFS(filepath.Join(m.dir, "vault"), os.DirFS(filepath.Join(backup.dir, "vault"))))

	b = m.run(t)
	s := say(t, b, g, "three")
	if b.selfLog() == old || s.Log != b.selfLog().String() {
		t.Fatalf("said in %s, the log that the vault does not know", s.Log)
	}
	shows(t, b, g, "one", "two", "three")
	if p := personIn(t, b, "Ben"); p.Replaces != old.String() || p.ReplacedWhy != "restored from a backup" {
		t.Fatalf("shown as %+v", p)
	}
	next := b.selfLog()
	check(t, b.Close())
	b = m.run(t) // once is enough
	defer func() { check(t, b.Close()) }()
	say(t, b, g, "four")
	shows(t, b, g, "one", "two", "three", "four")
	if b.selfLog() != next {
		t.Fatalf("it went on again, in %s after %s", b.selfLog(), next)
	}
}

// TestStoreLostKeysKept: the vault is there, the logs are gone. The device writes
// nothing until a neighbour has given it its own log back.
func TestStoreLostKeysKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	m := w.enrol("Ben", orgAmbulance)
	b := m.run(t, knows(a))
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	inGroup(t, g, a, b)
	say(t, b, g, "one")
	shows(t, a, g, "one")
	old := b.self
	check(t, b.Close())
	check(t, os.RemoveAll(filepath.Join(m.dir, "store")))
	check(t, os.RemoveAll(filepath.Join(m.dir, addrsFile)))

	b = m.run(t) // knows nobody
	_, err := b.Send(t.Context(), g, message.NewText("alone", time.Time{}), "routine")
	if !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), "connect it to the mesh") {
		t.Fatalf("a device without its log: %v", err)
	}
	// Locked and unlocked again it still waits.
	check(t, b.Lock())
	check(t, b.Unlock(t.Context(), []byte(passphrase)))
	if _, err := b.Send(t.Context(), g, message.NewText("alone", time.Time{}), "routine"); !errors.Is(err, ErrReadOnly) {
		t.Fatalf("a device without its log, unlocked again: %v", err)
	}
	check(t, b.Close())
	b = m.run(t, knows(a))
	defer func() { check(t, b.Close()) }()
	eventually(t, "the device goes on in a new log", func() bool {
		head, ok := b.logs.Head(b.selfLog())
		return b.selfLog() != old && ok && head.Next > 0
	})
	if p := personIn(t, b, "Ben"); p.ReplacedWhy != "set up again" {
		t.Fatalf("shown as %+v", p)
	}
	say(t, b, g, "two")
	shows(t, a, g, "one", "two")
	shows(t, b, g, "one", "two")
}

// TestRestartsAreBounded: three new logs in 30 days, then none before the first is
// 30 days old or the issuer gives a new credential.
func TestRestartsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.enrol("Ben", orgAmbulance)
	b := m.start(t)
	g := makeGroup(t, b)
	logs := map[identity.LogID]bool{b.self: true}
	for range maxRestarts {
		beAhead(t, b)
		say(t, b, g, "on")
		if logs[b.self] {
			t.Fatalf("log %s was used again", b.self)
		}
		logs[b.self] = true
	}
	beAhead(t, b)
	_, err := b.Send(t.Context(), g, message.NewText("a fourth", time.Time{}), "routine")
	if !errors.Is(err, ErrReadOnly) || !errors.Is(err, errRestarts) || !strings.Contains(err.Error(), "tocsin enrol --request") {
		t.Fatalf("a fourth log in 30 days: %v", err)
	}
	if p := b.Status().Problem; !strings.Contains(p, "may begin no further log before") {
		t.Fatalf("the status says %q", p)
	}
}

// TestClonedDeviceGoesOn: a clone wrote to the log of this device. It goes on in a
// new one, is shown as cloned until its issuer gives it a new credential, and then
// publishes that.
func TestClonedDeviceGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	m := w.enrol("Ben", orgAmbulance)
	b := m.run(t, knows(a))
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	inGroup(t, g, a, b)
	say(t, b, g, "one")
	shows(t, a, g, "one")
	first, err := b.logs.Entry(t.Context(), b.self, 1)
	check(t, err)
	before, err := b.logs.Entry(t.Context(), b.self, 0)
	check(t, err)
	if o := fake(t, b, first.Header.Seq, before.ID()); o != ledger.Forked {
		t.Fatalf("outcome %v", o)
	}
	old := b.selfLog()
	say(t, b, g, "two")
	shows(t, a, g, "one", "two")
	eventually(t, "shown as cloned", func() bool {
		p := personIn(t, a, "Ben")
		return p.Cloned && p.Replaces == old.String() && p.ReplacedWhy == "forked"
	})
	forked := b.selfLog()
	check(t, b.Close())
	w.reissue(m)
	b = m.run(t, knows(a))
	defer func() { check(t, b.Close()) }()
	if b.selfLog() == forked {
		t.Fatal("a new credential was not published")
	}
	eventually(t, "shown as it should be", func() bool {
		p := personIn(t, a, "Ben")
		return !p.Cloned && p.Replaces == forked.String() && p.ReplacedWhy == "the device has a new credential"
	})
	say(t, b, g, "three")
	shows(t, a, g, "one", "two", "three")
}

// reissue gives a machine new leaves for the keys that it has.
func (w *world) reissue(m *machine) {
	w.t.Helper()
	cfg, err := m.config()
	check(w.t, err)
	check(w.t, cfg.Vault.Unlock([]byte(passphrase)))
	raw, _, err := cfg.Vault.Get(keyVaultKeys)
	check(w.t, err)
	keys, err := identity.ParseVaultKeys(raw)
	check(w.t, err)
	w.issue(m, cfg, keys)
	check(w.t, cfg.Vault.Close())
}

// issue has the authority answer a request for these keys, by the person whose
// credential the machine has, and puts the answer in its directory.
func (w *world) issue(m *machine, cfg Config, keys *identity.VaultKeys) {
	w.t.Helper()
	trust, err := identity.NewTrustStore(w.bundle)
	check(w.t, err)
	c, err := trust.ReadCredential(cfg.Credential)
	check(w.t, err)
	req, err := identity.NewRequest(identity.Wish{Person: c.Person, Claims: identity.Claims{Name: c.Claims.Name, Roles: c.Claims.Roles}}, cfg.Relay, keys)
	check(w.t, err)
	e, err := w.authorities[c.Person.Org].Issue(req, identity.Grant{
		Now: w.issued.Add(time.Minute), Validity: 30 * 24 * time.Hour, Roles: c.Claims.Roles, Bundle: w.bundle, MeshKey: w.meshKey,
	})
	check(w.t, err)
	keys.MeshKey, err = e.OpenMeshKey(keys)
	check(w.t, err)
	check(w.t, os.WriteFile(filepath.Join(m.dir, "admission"), e.Admission, 0o600))
	check(w.t, os.WriteFile(filepath.Join(m.dir, "credential"), e.Credential, 0o600))
}

// TestKeyRoll: a device is given another signing key. It goes on in a log of that
// key, which closes the one before; it is the same person and device to everybody,
// listed once, and its groups keep it with its rights.
func TestKeyRoll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	m := w.enrol("Ben", orgAmbulance)
	b := m.run(t, knows(a))
	ready(t, 1, a, b)
	g := makeGroup(t, b, a) // b is its admin
	inGroup(t, g, a, b)
	say(t, b, g, "one")
	shows(t, a, g, "one")
	before, old := b, b.self
	check(t, b.Close())
	w.roll(m)

	b = m.run(t, knows(a))
	defer func() { check(t, b.Close()) }()
	if b.self.Author == old.Author {
		t.Fatal("the key is the same")
	}
	shows(t, b, g, "one")
	if items, err := b.Messages(g, 0, 0); err != nil || !items[0].Own {
		t.Fatalf("its own message under the key before: %+v, %v", items, err)
	}
	eventually(t, "shown under its new key", func() bool {
		p := personIn(t, a, "Ben")
		return p.Log == b.selfLog().String() && p.Replaces == old.String() && p.ReplacedWhy == "the device has a new signing key"
	})
	say(t, b, g, "two")
	shows(t, a, g, "one", "two")
	say(t, a, g, "three")
	shows(t, b, g, "one", "two", "three")
	check(t, b.SetRole(t.Context(), g, a.self.String(), "admin")) // only an admin may
	b.mu.Lock()
	_, kept, err := b.cfg.Vault.Get(keyRolledFrom)
	b.mu.Unlock()
	if check(t, err); kept {
		t.Fatal("the key before is still in the vault")
	}
	// The old key is revoked, as it should be where it may have been copied: the new
	// one, which the authority certified, is not touched by that.
	publish(t, a, w.revoke(1, orgAmbulance, before))
	for _, n := range []*Node{a, b} {
		eventually(t, "the revocation is known", func() bool { _, out := n.trust.RevokedDevice(before.cred); return out })
	}
	say(t, b, g, "four")
	shows(t, a, g, "one", "two", "three", "four")
	if p := personIn(t, a, "Ben"); !p.Valid {
		t.Fatalf("the new key suffers: %+v", p)
	}
	late := w.enrol("Chi", orgHospital).start(t, knows(a)) // hears of it from a neighbour
	eventually(t, "a newcomer sees one device", func() bool { return personIn(t, late, "Ben").Log == b.selfLog().String() })
	// A member is named by any of its logs, though nobody is listed under that one.
	check(t, a.RemoveMember(t.Context(), g, old.String()))
	if roster, err := a.Roster(g); err != nil || len(roster) != 1 {
		t.Fatalf("the group has %d members, %v", len(roster), err)
	}
}

// roll gives a machine new vault keys, as `tocsin keyroll` does.
func (w *world) roll(m *machine) {
	w.t.Helper()
	cfg, err := m.config()
	check(w.t, err)
	check(w.t, cfg.Vault.Unlock([]byte(passphrase)))
	old, _, err := cfg.Vault.Get(keyVaultKeys)
	check(w.t, err)
	keys, err := identity.NewVaultKeys(rand.Reader)
	check(w.t, err)
	w.issue(m, cfg, keys)
	raw, err := keys.Marshal()
	check(w.t, err)
	check(w.t, cfg.Vault.Commit(vault.Change{Key: keyVaultKeys, Value: raw}, vault.Change{Key: keyRolledFrom, Value: old}))
	check(w.t, cfg.Vault.Close())
}

// TestKilledWhileGoingOn kills a restored device after each step of going on. It
// goes on in one log, whatever was done of it, and everybody reads it.
func TestKilledWhileGoingOn(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	m := w.enrol("Ben", orgAmbulance)
	b := m.run(t, knows(a))
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	inGroup(t, g, a, b)
	check(t, b.Close())
	for i, step := range []string{"outbound:signed", "outbound:appended", "succession:begun"} {
		vaultDir := filepath.Join(m.dir, "vault")
		backup := filepath.Join(t.TempDir(), "vault")
		check(t, os.CopyFS(backup, os.DirFS(vaultDir)))
		b = m.run(t, knows(a))
		say(t, b, g, "lost at "+step)
		eventually(t, "it is received", func() bool { return slices.Contains(texts(t, a, g), "lost at "+step) })
		old := b.self
		check(t, b.Close())
		check(t, os.RemoveAll(vaultDir))
		check(t, os.CopyFS(vaultDir, os.DirFS(backup)))

		t.Setenv("TOCSIN_TEST_ARM", step)
		c := startChild(t, m, nil)
		c.ask(nil, "send %s too late", g) // the drain or this finds out
		c.died()
		t.Setenv("TOCSIN_TEST_ARM", "")
		c = startChild(t, m, a.mesh.Addrs())
		c.must(nil, "send %s after %s", g, step)
		childShows(t, c, g, "lost at "+step)
		eventually(t, "the message after the crash", func() bool { return slices.Contains(texts(t, a, g), "after "+step) })
		c.stop()
		p := personIn(t, a, "Ben")
		if p.Replaces != old.String() {
			t.Fatalf("after %s: %s goes on for %s, want %s", step, p.Log, p.Replaces, old)
		}
		logs := 0
		a.logs.EachHead(identity.LogID{Author: old.Author}, func(h ledger.Head) bool {
			if h.Log.Author == old.Author {
				logs++
			}
			return true
		})
		if logs != i+2 {
			t.Fatalf("after %s: %d logs, want %d", step, logs, i+2)
		}
	}
	assertOnce(t, texts(t, a, g))
	if m := a.Metrics(); m.Forked+m.Unopened+m.Refused > 0 {
		t.Fatalf("the other side saw a place or a generation used twice: %+v", m)
	}
}

// TestRestoredVaultWritesNothingMore: once the drain has found the vault older than
// the log, nothing of any kind is signed for that log.
func TestRestoredVaultWritesNothingMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.enrol("Ben", orgAmbulance).start(t)
	g := makeGroup(t, b)
	say(t, b, g, "one")
	b.mu.Lock()
	old := b.self
	head, _ := b.logs.Head(old)
	b.open.restored = true // as drainOwn does in the middle of a turn
	err := b.commitControl(t.Context(), controlStatement, []byte("x"))
	b.mu.Unlock()
	if !errors.Is(err, ErrReadOnly) {
		t.Fatalf("an entry in the old log: %v", err)
	}
	check(t, b.cfg.Vault.Commit(vault.Change{Key: keyRestored, Value: restoredValue(old)}))
	b.mu.Lock()
	check(t, b.writable()) // it goes on by itself
	b.mu.Unlock()
	if now, _ := b.logs.Head(old); now != head || b.selfLog() == old {
		t.Fatalf("the old log ends at %+v, want %+v; this device writes %s", now, head, b.selfLog())
	}
}

// TestRolledKeyIsForgottenAfterACrash: the key of before a roll goes, though the
// device was killed between the first entry under the new key and that.
func TestRolledKeyIsForgottenAfterACrash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.enrol("Ben", orgAmbulance)
	before, _ := m.secrets(t)
	b := m.run(t)
	check(t, b.Close())
	w.roll(m)
	b = m.run(t)
	raw, err := before.Marshal()
	check(t, err)
	check(t, b.cfg.Vault.Commit(vault.Change{Key: keyRolledFrom, Value: raw}))
	self := b.selfLog()
	check(t, b.Close())
	b = m.run(t)
	defer func() { check(t, b.Close()) }()
	if _, kept, err := b.cfg.Vault.Get(keyRolledFrom); err != nil || kept || b.selfLog() != self {
		t.Fatalf("the key before is kept: %v, %v; this device writes %s, before %s", kept, err, b.selfLog(), self)
	}
}

// TestLogIsClosedWhereItsVaultLeftIt: a store that is older than the vault is first
// brought up to what the vault knows, and the log is closed there.
func TestLogIsClosedWhereItsVaultLeftIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.enrol("Ben", orgAmbulance).start(t)
	g := makeGroup(t, b)
	say(t, b, g, "one")
	b.mu.Lock()
	defer b.mu.Unlock()
	head, _ := b.logs.Head(b.self)
	b.open.cursors[b.self] = head.Next + 2
	old := b.self
	if err := b.writable(); !errors.Is(err, errCatchUp) {
		t.Fatalf("a device that is behind its vault: %v", err)
	}
	if now, ok := b.logs.Head(b.self); ok && now.Next > 0 {
		t.Fatalf("it went on in %s", b.self)
	}
	b.goes.since = b.goes.since.Add(-catchUp) // nobody has the rest
	if check(t, b.writable()); b.self == old || b.goes != nil {
		t.Fatal("it waits for ever")
	}
}
