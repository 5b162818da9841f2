package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tocsin/crypto/vault"
)

// TestWipeIsFinishedAtTheNextStart: the process died when the vault was destroyed
// and no mark was written, and again when all keys were and files lay about still.
func TestWipeIsFinishedAtTheNextStart(t *testing.T) {
	t.Parallel()
	d := enrolled(t, 1)
	c := d.cast[0]
	v, err := vault.Open(filepath.Join(c.dir, vaultDir))
	must(t, err)
	must(t, v.Wipe())
	must(t, v.Close())
	scatter(t, c.dir)
	up := []string{"up", "--api", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--mdns=false"}
	if code, text := d.outcome(t.Context(), c, up...); code != exitOK || !strings.Contains(text, "this device was wiped") {
		t.Fatalf("exit code %d: %s", code, text)
	}
	bare(t, c.dir)
	scatter(t, c.dir)
	if code, text := d.outcome(t.Context(), c, up...); code != exitInput || !strings.Contains(text, "this device was wiped") {
		t.Errorf("exit code %d: %s", code, text)
	}
	bare(t, c.dir)
}

// scatter puts files that say who a device was and whom it has met.
func scatter(t *testing.T, dir string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(dir, "frontiers"), 0o700))
	for _, name := range []string{"frontiers/someone.bin", "trust.bin.123", "peers.json", credentialFile} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			continue // it is enrolled
		}
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600))
	}
}

// bare holds that a wiped device's directory says nothing but that it was wiped.
func bare(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range left {
		if !slices.Contains([]string{versionFile, lockFile, tokenFile, "wipe.bin"}, e.Name()) {
			t.Errorf("%s is still there", e.Name())
		}
	}
}
