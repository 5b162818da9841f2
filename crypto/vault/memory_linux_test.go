package vault

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The tests of this file look at a process from outside of Go. They run in a
// process of their own, because what Harden does is for good.

const childVar = "TOCSIN_VAULT_TEST_CHILD"

// inChild runs the calling test again in a process of its own and reports
// whether this is that process.
func inChild(t *testing.T) bool {
	t.Helper()
	if os.Getenv(childVar) == t.Name() {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), childVar+"="+t.Name())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	return false
}

// TestHarden: after Harden the process leaves no core dump, and secrets lie in
// locked memory or Harden has said that they do not.
func TestHarden(t *testing.T) {
	if !inChild(t) {
		return
	}
	could := Harden()
	t.Logf("could not: %q", could)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil || limit.Cur != 0 || limit.Max != 0 {
		t.Errorf("core dumps of %d bytes, %v", limit.Cur, err)
	}
	if n, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || n != 0 {
		t.Errorf("dumpable: %d, %v", n, err)
	}
	before := lockedKiB(t)
	p, err := newPage()
	if err != nil {
		t.Fatal(err)
	}
	said := strings.Contains(strings.Join(could, "\n"), "memory cannot be locked")
	if is := lockedKiB(t) > before; is == said {
		t.Errorf("a page of secrets is locked: %v; Harden said that it cannot be: %v", is, said)
	}
	p.destroy()
	if now := lockedKiB(t); now != before {
		t.Errorf("%d KiB are locked after it was given back, %d before", now, before)
	}
}

// TestHardenSaysWhatItCannot: without a right to lock memory vaults work, and
// Harden says it.
func TestHardenSaysWhatItCannot(t *testing.T) {
	if !inChild(t) {
		return
	}
	if os.Geteuid() == 0 { // root may lock whatever the limit says
		runtime.LockOSThread()
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_IPC_LOCK, 0, 0, 0); err != nil {
			t.Skipf("cannot drop the right: %v", err)
		}
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&head, &data[0]); err != nil {
			t.Fatal(err)
		}
		data[0].Effective &^= 1 << unix.CAP_IPC_LOCK
		data[0].Permitted &^= 1 << unix.CAP_IPC_LOCK
		data[0].Inheritable &^= 1 << unix.CAP_IPC_LOCK
		if err := unix.Capset(&head, &data[0]); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{}); err != nil {
		t.Fatal(err)
	}
	if could := strings.Join(Harden(), "\n"); !strings.Contains(could, "memory cannot be locked") {
		t.Errorf("Harden says only %q", could)
	}
	v, err := create(newMemDisk(), testPass, Options{Params: testParams})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, v, "k", "v")
}

func lockedKiB(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmLck:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no VmLck")
	return 0
}

// TestMasterKeyLeavesMemory looks through all of the process's memory for the
// master key and for the secret of the erasable values' keys: they are found
// while the vault is unlocked, and nowhere after it was locked.
func TestMasterKeyLeavesMemory(t *testing.T) {
	if !inChild(t) {
		return
	}
	dir := filepath.Join(t.TempDir(), "vault")
	v, err := Create(dir, testPass, Options{Params: testParams})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.SetPIN(testPIN); err != nil {
		t.Fatal(err)
	}
	v.LockHard()
	if err := v.Unlock(testPass); err != nil {
		t.Fatal(err)
	}
	// Only their complements are kept for the search.
	secrets := [][]byte{mask(v.session.keys.master()), mask(v.session.keys.erasable())}
	for i, masked := range secrets {
		if n := inMemory(t, masked); n == 0 {
			t.Fatalf("secret %d of an unlocked vault is not found: the search is no measure", i)
		}
	}
	v.Lock()
	gone := func(when string) {
		for i, masked := range secrets {
			if n := inMemory(t, masked); n != 0 {
				t.Errorf("after %s secret %d is in memory %d times", when, i, n)
			}
		}
	}
	gone("Lock")
	if err := v.UnlockPIN(testPIN, noon); err != nil {
		t.Fatal(err)
	}
	if err := v.CheckPassphrase(testPass); err != nil {
		t.Fatal(err)
	}
	v.LockHard()
	gone("LockHard")
}

func mask(b []byte) []byte {
	out := make([]byte, len(b))
	for i := range b {
		out[i] = ^b[i]
	}
	return out
}

// inMemory counts the places of a key, given by its complement, in the
// writable memory of this process.
func inMemory(t *testing.T, masked []byte) (found int) {
	t.Helper()
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	// One buffer outside of the heap, left out of the search.
	buf, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(buf)
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		var from, to uint64
		var mode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &mode); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(mode, "rw") || strings.Contains(lines.Text(), "[v") {
			continue
		}
		found += searchRange(mem, buf, int64(from), int64(to), masked)
	}
	return found
}

// searchRange looks for a key in part of the memory, a buffer at a time.
func searchRange(mem io.ReaderAt, buf []byte, from, to int64, masked []byte) (found int) {
	defer clear(buf)
	step := int64(len(buf) - len(masked))
	for at := from; at < to; at += step {
		n, err := mem.ReadAt(buf[:min(int64(len(buf)), to-at)], at)
		if n == 0 || err != nil && n < len(masked) {
			return found // a guard, or memory that went away
		}
		for i := range buf[:n] {
			if i+len(masked) <= n && buf[i] == ^masked[0] && isMasked(buf[i:i+len(masked)], masked) {
				found++
			}
		}
	}
	return found
}

// isMasked reports whether b is the complement of masked, without a copy of it.
func isMasked(b, masked []byte) bool {
	for i := range b {
		if b[i] != ^masked[i] {
			return false
		}
	}
	return true
}
