package vault

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tocsin/crypto/slots"
)

// The tests of this file erase on a real file system and then look at all of
// its disk, as somebody does who holds the device and knows the passphrase.

// medium is a small ext4 on a loop device.
type medium struct{ image, dir string }

func newMedium(t *testing.T) medium {
	t.Helper()
	if testing.Short() {
		t.Skip("the search of a whole disk is left out of the short form")
	}
	if os.Geteuid() != 0 {
		t.Skip("mounting a file system needs root")
	}
	for _, tool := range []string{"mkfs.ext4", "mount", "umount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (package e2fsprogs or mount)", tool)
		}
	}
	m := medium{filepath.Join(t.TempDir(), "image"), t.TempDir()}
	if err := os.WriteFile(m.image, make([]byte, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
	}
	run("mkfs.ext4", "-q", "-F", "-b", "4096", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0", m.image)
	if out, err := exec.Command("mount", "-o", "loop", m.image, m.dir).CombinedOutput(); err != nil {
		t.Skipf("no loop device can be mounted here: %v: %s", err, out)
	}
	t.Cleanup(func() { run("umount", m.dir) })
	return m
}

// raw returns every byte of the disk, with nothing left in caches.
func (m medium) raw(t *testing.T) []byte {
	t.Helper()
	d, err := os.Open(m.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(m.image)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// attacker is who holds a disk and a passphrase.
type attacker struct {
	image   []byte
	keys    []*keys  // of every header that the passphrase opens
	sealed  []sealed // values found in records, not opened yet
	opened  map[string]bool
	records int
}

// sealed is a value as it lies in a record.
type sealed struct {
	keys   *keys
	change change
	bytes  []byte
}

// attack opens what can be opened, whatever file or free block it lies in.
func attack(t *testing.T, image, passphrase []byte) *attacker {
	t.Helper()
	a := &attacker{image: image, opened: map[string]bool{}}
	for at := range occurrences(image, []byte(headerMagic)) {
		h, err := parseHeader(image[at:min(at+headerSize, len(image))])
		if err != nil {
			continue
		}
		master, err := h.openMaster(passphrase)
		if err != nil {
			continue
		}
		k, err := deriveKeys(master)
		if err != nil {
			t.Fatal(err)
		}
		a.keys = append(a.keys, k)
	}
	markers := map[[markerSize]byte]bool{}
	for at := range occurrences(image, []byte(journalMagic)) {
		if p, err := parsePreamble(image[at:min(at+preambleSize, len(image))]); err == nil {
			markers[p.marker] = true
		}
	}
	for marker := range markers {
		for at := range occurrences(image, marker[:]) {
			a.record(marker, at)
		}
	}
	a.guess()
	return a
}

// occurrences goes through all places of what in b.
func occurrences(b, what []byte) func(func(int) bool) {
	return func(yield func(int) bool) {
		for at := 0; ; at++ {
			i := bytes.Index(b[at:], what)
			if i < 0 || !yield(at+i) {
				return
			}
			at += i
		}
	}
}

// record reads the record at an offset and opens the values that lie under the
// passphrase alone.
func (a *attacker) record(marker [markerSize]byte, at int) {
	f, ok := parseFrame(a.image[at:], marker)
	if !ok || f.size() > int64(len(a.image)-at) {
		return
	}
	b := a.image[at : at+int(f.size())]
	head := b[:frameSize+int(f.manifestLen)]
	for _, k := range a.keys {
		manifest, err := k.journal.Open(nil, nil, head[frameSize:], head[:frameSize])
		if err != nil {
			continue
		}
		_, changes, err := parseManifest(manifest, f.valuesLen)
		if err != nil {
			continue
		}
		a.records++
		values := b[len(head):]
		for _, c := range changes {
			value := sealed{k, c, values[:c.size]}
			values = values[c.size:]
			if c.deleted {
				continue
			}
			if plain, err := k.value.Open(nil, nil, value.bytes, valueAAD(c.key, c.version)); err == nil {
				a.opened[string(plain)] = true
				continue
			}
			a.sealed = append(a.sealed, value)
		}
	}
}

// guess tries every 32 bytes of the disk, at every offset, as the key of every
// value that is left.
func (a *attacker) guess() {
	a.sealed = slices.CompactFunc(a.sealed, func(x, y sealed) bool { return bytes.Equal(x.bytes, y.bytes) })
	var zero [slots.KeySize]byte
	for at := 0; at+slots.KeySize <= len(a.image) && len(a.sealed) > 0; at++ {
		key := [slots.KeySize]byte(a.image[at:])
		if key == zero {
			continue
		}
		for _, k := range a.keys {
			aead, err := k.own(&key)
			if err != nil {
				continue
			}
			a.sealed = slices.DeleteFunc(a.sealed, func(s sealed) bool {
				plain, err := aead.Open(nil, nil, s.bytes, valueAAD(s.change.key, s.change.version))
				if err == nil {
					a.opened[string(plain)] = true
				}
				return err == nil
			})
		}
	}
}

// renaming is the control: a folder that rewrites its key files under another
// name and renames that over them, as careful programs do with other files.
type renaming struct{ osDisk }

func (d renaming) open(name string) (file, error) {
	f, err := d.osDisk.open(name)
	if err != nil || name != slotsName && name != headerName {
		return f, err
	}
	return &renamingFile{f, d.osDisk, name}, nil
}

type renamingFile struct {
	file
	d    osDisk
	name string
}

func (f *renamingFile) WriteAt(b []byte, offset int64) (int, error) {
	size, err := f.size()
	if err != nil {
		return 0, err
	}
	whole := make([]byte, max(size, offset+int64(len(b))))
	if _, err := f.ReadAt(whole[:size], 0); err != nil && err != io.EOF {
		return 0, err
	}
	copy(whole[offset:], b)
	if err := writeFile(f.d, f.name+".copy", whole); err != nil {
		return 0, err
	}
	if err := f.Close(); err != nil {
		return 0, err
	}
	if err := f.d.rename(f.name+".copy", f.name); err != nil {
		return 0, err
	}
	if err := f.d.syncDir(); err != nil {
		return 0, err
	}
	f.file, err = f.d.open(f.name)
	return len(b), err
}

// canary is a message that is easy to find.
func canary(name string) string { return strings.Repeat("canary of "+name+". ", 12) }

// eraseOn runs a story with erasures on a disk and returns the disk from
// before and from after them.
func eraseOn(t *testing.T, m medium, d disk) (before, after []byte) {
	t.Helper()
	v := createOn(t, d)
	put := func(name string, erasable bool) Change {
		return Change{Key: name, Value: []byte(canary(name)), Erasable: erasable}
	}
	for _, name := range []string{"deleted", "replaced", "compacted", "kept"} {
		if err := v.Commit(put(name, true)); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Commit(put("plain", false)); err != nil {
		t.Fatal(err)
	}
	before = m.raw(t)
	if err := v.Commit(Change{Key: "deleted"}, Change{Key: "replaced", Value: []byte("something else"), Erasable: true}, Change{Key: "plain"}); err != nil {
		t.Fatal(err)
	}
	if err := v.Compact(); err != nil {
		t.Fatal(err)
	}
	if err := v.Commit(Change{Key: "compacted"}); err != nil {
		t.Fatal(err)
	}
	after = m.raw(t)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	return before, after
}

// TestErasedFromRawDisk: what was erased cannot be recovered from any byte of
// the disk with the passphrase known, and with a key file that is rewritten by
// rename it can.
func TestErasedFromRawDisk(t *testing.T) {
	erased := []string{"deleted", "replaced", "compacted"}
	for _, in := range []struct {
		name    string
		disk    func(dir string) disk
		recover bool
	}{
		{"in place", func(dir string) disk { return osDisk{dir} }, false},
		{"control: by rename", func(dir string) disk { return renaming{osDisk{dir}} }, true},
	} {
		t.Run(in.name, func(t *testing.T) {
			t.Parallel()
			m := newMedium(t)
			dir := filepath.Join(m.dir, "vault")
			if err := makeDir(dir); err != nil {
				t.Fatal(err)
			}
			before, after := eraseOn(t, m, in.disk(dir))
			a := attack(t, before, testPass)
			for _, name := range append([]string{"kept", "plain"}, erased...) {
				if !a.opened[canary(name)] {
					t.Errorf("before the erasure the attacker does not find %q: he is no measure", name)
				}
			}
			a = attack(t, after, testPass)
			for _, name := range []string{"kept", "plain"} {
				if !a.opened[canary(name)] {
					t.Errorf("after the erasure the attacker does not find %q, which was not erased: he is no measure", name)
				}
			}
			for _, name := range erased {
				if a.opened[canary(name)] != in.recover {
					t.Errorf("%q recovered: %v", name, !in.recover)
				}
			}
			lost := 0
			for _, s := range a.sealed {
				if slices.Contains(erased, s.change.key) {
					lost++
				}
			}
			t.Logf("%d records on the disk, %d of their values do not open", a.records, len(a.sealed))
			if !in.recover && lost < len(erased) {
				t.Errorf("the sealed bytes of %d erased values are on the disk, want %d: nothing was shown", lost, len(erased))
			}
		})
	}
}

// TestOldPassphraseOnRawDisk: after a change of passphrase the old one opens
// nothing that any byte of the disk holds; with a header that is rewritten by
// rename it does.
func TestOldPassphraseOnRawDisk(t *testing.T) {
	next := []byte("another six words for the same vault")
	for _, byRename := range []bool{false, true} {
		t.Run(fmt.Sprintf("by rename %v", byRename), func(t *testing.T) {
			m := newMedium(t)
			dir := filepath.Join(m.dir, "vault")
			if err := makeDir(dir); err != nil {
				t.Fatal(err)
			}
			var d disk = osDisk{dir}
			if byRename {
				d = renaming{osDisk{dir}}
			}
			v := createOn(t, d)
			commit(t, v, "k", canary("k"))
			if a := attack(t, m.raw(t), testPass); !a.opened[canary("k")] {
				t.Fatal("before the change the attacker finds nothing: he is no measure")
			}
			if err := v.ChangePassphrase(testPass, next); err != nil {
				t.Fatal(err)
			}
			image := m.raw(t)
			if a := attack(t, image, testPass); (len(a.keys) > 0) != byRename {
				t.Errorf("the old passphrase opens %d headers", len(a.keys))
			}
			if a := attack(t, image, next); !a.opened[canary("k")] {
				t.Error("the new passphrase opens nothing")
			}
			if err := v.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestWipedRawDisk: after a wipe no byte of the disk opens anything, with the
// passphrase known.
func TestWipedRawDisk(t *testing.T) {
	t.Parallel()
	m := newMedium(t)
	v, err := Create(filepath.Join(m.dir, "vault"), testPass, Options{Params: testParams})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Commit(Change{Key: "plain", Value: []byte(canary("plain"))}, Change{Key: "own", Value: []byte(canary("own")), Erasable: true}); err != nil {
		t.Fatal(err)
	}
	a := attack(t, m.raw(t), testPass)
	if !a.opened[canary("plain")] || !a.opened[canary("own")] {
		t.Fatal("before the wipe the attacker does not find everything: he is no measure")
	}
	stolen := a.keys[0] // even who has the master key from before has no slots
	if err := v.Wipe(); err != nil {
		t.Fatal(err)
	}
	image := m.raw(t)
	if a := attack(t, image, testPass); len(a.keys) > 0 {
		t.Errorf("the passphrase opens %d headers", len(a.keys))
	}
	b := &attacker{image: image, keys: []*keys{stolen}, opened: map[string]bool{}}
	b.sealed = []sealed{}
	for at := range occurrences(image, []byte(journalMagic)) {
		p, err := parsePreamble(image[at:min(at+preambleSize, len(image))])
		if err != nil {
			continue
		}
		for at := range occurrences(image, p.marker[:]) {
			b.record(p.marker, at)
		}
	}
	b.guess()
	if b.opened[canary("own")] {
		t.Error("a copied master key opens an erasable value of a wiped vault")
	}
	if b.records == 0 {
		t.Error("the journal's blocks are not on the disk: nothing was shown")
	}
}
