package vault

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"
)

// secrets returns what of a vault must not be on its disk after a wipe.
func secrets(t testing.TB, d *memDisk, v *Vault) [][]byte {
	t.Helper()
	h := v.headers.current
	all := [][]byte{h.salt[:], h.sealed[:]}
	for key := range ownKeys(t, v) {
		all = append(all, key[:])
	}
	if len(all) < 4 {
		t.Fatal("no erasable values")
	}
	for _, s := range all {
		if !bytes.Contains(d.names[headerName].data, s) && !bytes.Contains(d.names[slotsName].data, s) {
			t.Fatal("a secret is not where it is looked for")
		}
	}
	return all
}

func wipeable(t testing.TB) (*memDisk, *Vault) {
	t.Helper()
	d, v := pinned(t)
	if err := v.Commit(Change{Key: "own", Value: []byte("erasable"), Erasable: true}); err != nil {
		t.Fatal(err)
	}
	return d, v
}

// clean fails if a secret is on the disk.
func clean(t testing.TB, d *memDisk, all [][]byte, when string) {
	t.Helper()
	for name, n := range d.names {
		for _, s := range all {
			if bytes.Contains(n.data, s) || bytes.Contains(n.stable, s) {
				t.Fatalf("%s: %s holds a secret", when, name)
			}
		}
	}
}

func wiped(t testing.TB, v *Vault) {
	t.Helper()
	_, _, get := v.Get("k")
	_, stats := v.Stats()
	for what, err := range map[string]error{
		"Get":              get,
		"Stats":            stats,
		"Scan":             v.Scan("", nil),
		"Commit":           v.Commit(Change{Key: "k", Value: []byte("v")}),
		"Compact":          v.Compact(),
		"Unlock":           v.Unlock(testPass),
		"UnlockPIN":        v.UnlockPIN(testPIN, noon),
		"CheckPassphrase":  v.CheckPassphrase(testPass),
		"CheckPIN":         v.CheckPIN(testPIN, noon),
		"SetPIN":           v.SetPIN(testPIN),
		"ClearPIN":         v.ClearPIN(),
		"ChangePassphrase": v.ChangePassphrase(testPass, nextPass),
	} {
		if !errors.Is(err, ErrWiped) {
			t.Errorf("%s after a wipe: %v", what, err)
		}
	}
	if !v.Locked() || v.HasPIN() {
		t.Error("a wiped vault is unlocked or has a PIN")
	}
}

func TestWipe(t *testing.T) {
	for _, locked := range []bool{false, true} {
		d, v := wipeable(t)
		all := secrets(t, d, v)
		if locked {
			v.Lock()
		}
		for range 2 { // as often as one likes
			if err := v.Wipe(); err != nil {
				t.Fatal(err)
			}
			clean(t, d, all, "after a wipe")
			wiped(t, v)
		}
		if v.warm != nil {
			t.Error("the warm slot is there")
		}
		c := d.cutPower(rand.New(rand.NewPCG(1, 1)))
		if _, err := open(c); !errors.Is(err, ErrWiped) || errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("Open after a wipe and a power cut: %v", err)
		}
		names := []string{}
		for name := range c.names {
			names = append(names, name)
		}
		if !slices.Equal(names, []string{wipedName}) {
			t.Errorf("left: %q", names)
		}
		w := createOn(t, c) // a new one can be begun
		commit(t, w, "new", "vault")
		if _, err := unlockOn(c); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWipeOrder: the mark is durable before a key is touched, the slots are
// gone before the header, and both before any file is removed.
func TestWipeOrder(t *testing.T) {
	d, v := wipeable(t)
	all := secrets(t, d, v)
	header, own := all[:2], all[2:]
	on := func(n *memNode, all [][]byte) (found int) {
		for _, s := range all {
			if n != nil && bytes.Contains(n.stable, s) {
				found++
			}
		}
		return found
	}
	slotsNode, headerNode := d.names[slotsName], d.names[headerName]
	stages := 0
	d.crash = func() {
		marked := d.stable[wipedName] != nil
		slotsLeft, headerLeft := on(slotsNode, own) == len(own), on(headerNode, header) > 0
		switch {
		case !slotsLeft && !marked:
			t.Error("slots were overwritten before the mark was durable")
		case !headerLeft && on(slotsNode, own) > 0:
			t.Error("the header was overwritten before the slots")
		case len(d.names) < 6 && marked && headerLeft:
			t.Error("files were removed before the header was overwritten")
		}
		stages++
	}
	if err := v.Wipe(); err != nil {
		t.Fatal(err)
	}
	d.crash = nil
	if stages < 20 {
		t.Fatalf("only %d stages", stages)
	}
}

// TestCrashOfWipe stops the machine everywhere in a wipe. What is found then
// is the whole vault, where the wipe had not begun, or is wiped to the end by
// opening it, also when that is stopped again.
func TestCrashOfWipe(t *testing.T) {
	sampled, v := wipeable(t)
	all := secrets(t, sampled, v)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(9, 10))
	whole, finished := 0, 0
	check := func(c *memDisk) {
		w, err := unlockOn(c)
		if err == nil {
			whole++
			equal(t, contents(t, w), map[string]string{"k": "v", "own": "erasable"})
			return
		}
		finished++
		if !errors.Is(err, ErrWiped) {
			t.Fatalf("after a crash: %v", err)
		}
		clean(t, c, all, "after a crash and Open")
		clean(t, c.cutPower(r), all, "after a crash, Open and a power cut")
	}
	d := sampled.clone()
	if v, err := open(d); err != nil {
		t.Fatal(err)
	} else {
		d.crash = func() {
			check(d.clone())
			for range some(10) {
				c := d.cutPower(r)
				c.crash = func() { check(c.cutPower(r)) } // and once more
				check(c)
			}
		}
		if err := v.Wipe(); err != nil {
			t.Fatal(err)
		}
	}
	if whole == 0 || finished < some(100) {
		t.Fatalf("%d whole, %d finished", whole, finished)
	}
}

// TestFaultOfWipe fails every call of a wipe: the other steps are done, the
// error says that it is not complete, and calling it again completes it.
func TestFaultOfWipe(t *testing.T) {
	for n := 0; ; n++ {
		d, v := wipeable(t)
		all := secrets(t, d, v)
		v.Lock()
		calls := failNth(d, n)
		err := v.Wipe()
		d.before = nil
		if *calls <= n {
			if err != nil || n < 12 {
				t.Fatalf("%d calls, %v", n, err)
			}
			return
		}
		if !errors.Is(err, syscall.EIO) {
			t.Fatalf("call %d failed: %v", n, err)
		}
		wiped(t, v)
		if opens := opensEverything(d.clone()); opens {
			t.Fatalf("call %d failed: everything is still there", n)
		}
		if err := v.Wipe(); err != nil {
			t.Fatal(err)
		}
		clean(t, d.cutPower(rand.New(rand.NewPCG(uint64(n), 1))), all, "after the second call")
		if _, err := open(d); !errors.Is(err, ErrWiped) {
			t.Fatal(err)
		}
	}
}

func opensEverything(d *memDisk) bool {
	v, err := unlockOn(d)
	if err != nil {
		return false
	}
	own, _, err := v.Get("own")
	return err == nil && string(own) == "erasable"
}

// TestWipeOnDisk is the wipe on the real file system.
func TestWipeOnDisk(t *testing.T) {
	v, dir := newVault(t)
	if err := v.Commit(Change{Key: "own", Value: []byte("erasable"), Erasable: true}); err != nil {
		t.Fatal(err)
	}
	if err := v.Wipe(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != wipedName {
		t.Fatalf("%v, %v", left, err)
	}
	if _, err := Open(dir); !errors.Is(err, ErrWiped) {
		t.Fatal(err)
	}
	w, err := Create(dir, testPass, Options{Params: testParams})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
