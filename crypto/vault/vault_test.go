package vault

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

var (
	testPass   = []byte("six words that nobody guesses")
	testParams = Params{MemoryKiB: 8, Time: 1, Threads: 1}
)

func newVault(t testing.TB) (*Vault, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "vault")
	v, err := Create(dir, testPass, Options{Params: testParams})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v, dir
}

func commit(t testing.TB, v *Vault, pairs ...string) {
	t.Helper()
	var changes []Change
	for i := 0; i < len(pairs); i += 2 {
		changes = append(changes, Change{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	if err := v.Commit(changes...); err != nil {
		t.Fatal(err)
	}
}

// contents returns everything a vault holds.
func contents(t testing.TB, v *Vault) map[string]string {
	t.Helper()
	m := make(map[string]string)
	err := v.Scan("", func(key string, value []byte) error {
		m[key] = string(value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestLifecycle(t *testing.T) {
	v, dir := newVault(t)
	commit(t, v, "a/1", "one", "a/2", "two", "b", "")
	if err := v.Commit(Change{Key: "a/1"}, Change{Key: "a/3", Value: []byte("three")}); err != nil {
		t.Fatal(err)
	}
	v.Lock()
	if !v.Locked() {
		t.Fatal("not locked after Lock")
	}
	if _, _, err := v.Get("b"); !errors.Is(err, ErrLocked) {
		t.Fatalf("Get while locked: %v", err)
	}
	if err := v.Commit(Change{Key: "x", Value: []byte("y")}); !errors.Is(err, ErrLocked) {
		t.Fatalf("Commit while locked: %v", err)
	}
	if err := v.Scan("", nil); !errors.Is(err, ErrLocked) {
		t.Fatalf("Scan while locked: %v", err)
	}
	if err := v.Unlock([]byte("six words that somebody guessed")); !errors.Is(err, ErrPassphrase) {
		t.Fatalf("wrong passphrase: %v", err)
	}
	if err := v.Unlock(testPass); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if err := v.Unlock(testPass); !errors.Is(err, fs.ErrClosed) {
		t.Fatalf("Unlock after Close: %v", err)
	}

	w, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Unlock(testPass); err != nil {
		t.Fatal(err)
	}
	if value, ok, err := w.Get("b"); err != nil || !ok || value == nil || len(value) != 0 {
		t.Fatalf("empty value: %v, %v, %v", value, ok, err)
	}
	if _, ok, err := w.Get("a/1"); err != nil || ok {
		t.Fatalf("deleted value: %v, %v", ok, err)
	}
	var keys []string
	err = w.Scan("a/", func(key string, value []byte) error {
		keys = append(keys, key+"="+string(value))
		return nil
	})
	if err != nil || len(keys) != 2 || keys[0] != "a/2=two" || keys[1] != "a/3=three" {
		t.Fatalf("Scan: %v, %v", keys, err)
	}
}

// TestTornTailOnDisk is the cut of a torn append on the real file system.
func TestTornTailOnDisk(t *testing.T) {
	v, dir := newVault(t)
	commit(t, v, "k", "v")
	v.Lock()
	journal := filepath.Join(dir, journalName)
	whole, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(journal, append(whole, "torn"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := v.Unlock(testPass); err != nil {
		t.Fatal(err)
	}
	if s, err := v.Stats(); err != nil || !s.TornTail || s.Bytes != int64(len(whole)) {
		t.Fatalf("%+v, %v", s, err)
	}
	equal(t, contents(t, v), map[string]string{"k": "v"})
	if now, err := os.ReadFile(journal); err != nil || !bytes.Equal(now, whole) {
		t.Fatalf("%d bytes, want %d (%v)", len(now), len(whole), err)
	}
	if v.Params() != testParams || !v.Params().Weak() || DefaultParams().Weak() {
		t.Fatalf("%+v", v.Params())
	}
}

func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows keeps access lists, not modes")
	}
	v, dir := newVault(t)
	commit(t, v, "k", "v")
	if err := v.Compact(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != dirMode {
		t.Fatalf("folder: %v, %v", info.Mode(), err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 5 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != fileMode {
			t.Errorf("%s: %v, %v", f.Name(), info.Mode(), err)
		}
	}
}

func TestCreateAndOpenRefuse(t *testing.T) {
	v, dir := newVault(t)
	if _, err := Create(dir, testPass, Options{Params: testParams}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create over an empty vault: %v", err)
	}
	commit(t, v, "k", "v")
	if _, err := Create(dir, testPass, Options{Params: testParams}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create over a vault: %v", err)
	}
	if _, err := Open(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of nothing: %v", err)
	}
	if err := os.Rename(filepath.Join(dir, headerName), filepath.Join(dir, "backup")); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(dir, testPass, Options{Params: testParams}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create over a journal without its header: %v", err)
	}
	for _, p := range [][]byte{nil, []byte("too short"), bytes.Repeat([]byte("x"), MaxPassphrase+1)} {
		if _, err := Create(t.TempDir(), p, Options{Params: testParams}); err == nil {
			t.Errorf("passphrase of %d bytes was taken", len(p))
		}
	}
	for _, p := range []Params{{8, 0, 1}, {8, 1, 0}, {7, 1, 1}, {1<<20 + 1, 1, 1}, {8, 65, 1}, {1024, 1, 65}} {
		if _, err := Create(t.TempDir(), testPass, Options{Params: p}); err == nil {
			t.Errorf("%+v was taken", p)
		}
	}
}

func TestCompactKeepsEverything(t *testing.T) {
	v, dir := newVault(t)
	for i := range 50 {
		commit(t, v, "same", string(rune('a'+i%26)), "k"+string(rune('a'+i%26)), "v")
	}
	want := contents(t, v)
	before, err := v.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Compact(); err != nil {
		t.Fatal(err)
	}
	after, err := v.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if after.Bytes >= before.Bytes || after.Records != 1 {
		t.Fatalf("before %+v, after %+v", before, after)
	}
	equal(t, contents(t, v), want)
	commit(t, v, "later", "x")
	want["later"] = "x"
	v.Lock()
	if err := v.Unlock(testPass); err != nil {
		t.Fatal(err)
	}
	equal(t, contents(t, v), want)
	if _, err := os.Stat(filepath.Join(dir, tempName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("temporary journal left: %v", err)
	}
}

func equal(t testing.TB, got, want map[string]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d values, want %d", len(got), len(want))
	}
	for k, w := range want {
		if g, ok := got[k]; !ok || g != w {
			t.Fatalf("%q is %q (%v), want %q", k, g, ok, w)
		}
	}
}
