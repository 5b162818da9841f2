package badgerstore

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// medium is a small ext4 on a loop device, all of whose disk can be searched.
type medium struct{ image, dir string }

func newMedium(t *testing.T) medium {
	t.Helper()
	if testing.Short() {
		t.Skip("the search of a whole disk is left out of the short form")
	}
	if os.Geteuid() != 0 {
		t.Skip("mounting a file system needs root")
	}
	m := medium{filepath.Join(t.TempDir(), "image"), t.TempDir()}
	err := os.WriteFile(m.image, nil, 0o600)
	if err = errors.Join(err, os.Truncate(m.image, 64<<20)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"mkfs.ext4", "-q", "-F", "-b", "4096", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0", m.image},
		{"mount", "-o", "loop", m.image, m.dir},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%s does not work here: %v: %s", args[0], err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", m.dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return m
}

// raw returns every byte of the disk, with nothing left in caches.
func (m medium) raw(t *testing.T) []byte {
	t.Helper()
	d, err := os.Open(m.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Syncfs(int(d.Fd())), d.Close()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(m.image)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestErasedOnTheRawDisk searches all of a disk, files and free blocks, for the
// key of an erased body: it is nowhere, while that of a body that stays is. The
// control writes the slot file anew under another name and renames it, and
// leaves the key behind.
func TestErasedOnTheRawDisk(t *testing.T) {
	for _, rewritten := range []bool{false, true} {
		m := newMedium(t)
		opt := Options{Key: walKey, Ballast: -1, MinFree: 1 << 20}
		dir := filepath.Join(m.dir, "store")
		s := mustOpen(t, dir, opt)
		_, commit := journalOf(s, false)
		_, id := keyOf("a")
		keep, _ := withBody(id, 1, "a body that stays")
		r, gone := withBody(id, 2, "a body that nobody is to read again")
		if err := commit(keep, r); err != nil {
			t.Fatal(err)
		}
		_, kept := slotOf(t, s, keep)
		_, dead := slotOf(t, s, r)
		mustClose(t, s)
		if rewritten {
			name := filepath.Join(dir, "in.slots")
			b, err := os.ReadFile(name)
			if err == nil {
				err = os.WriteFile(name+".copy", b, 0o600)
			}
			m.raw(t)
			if err = errors.Join(err, os.Rename(name+".copy", name)); err != nil {
				t.Fatal(err)
			}
		}
		s = mustOpen(t, dir, opt)
		_, commit = journalOf(s, false)
		if err := commit(gone); err != nil {
			t.Fatal(err)
		}
		image := m.raw(t)
		if !bytes.Contains(image, kept[:]) {
			t.Fatal("the key of a body that stays is not found: the test sees nothing")
		}
		if found := bytes.Contains(image, dead[:]); found != rewritten {
			t.Errorf("slot file rewritten: %v; the key of an erased body is on the disk: %v", rewritten, found)
		}
		if bytes.Contains(image, r.Body) {
			t.Error("an erased body is on the disk in the clear")
		}
		mustClose(t, s)
	}
}
