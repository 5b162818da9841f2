//go:build linux

package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// all reports whether every scenario is to run in full.
var all = os.Getenv("TOCSIN_NETNS") == "all"

// alongside has a scenario run beside others in full runs: each has namespaces and
// devices of its own, and waits most of the time.
func alongside(t *testing.T) {
	t.Helper()
	if all {
		t.Parallel()
	}
}

// keep leaves the devices' directories of a run that fails, for somebody who looks
// for the fault; with TOCSIN_NETNS_LOG=debug their logs say more.
var keep = os.Getenv("TOCSIN_NETNS_KEEP") != ""

// program is the tocsin under test, built once.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "tocsin")
	if out, err := exec.Command("go", "build", "-o", path, "tocsin/cmd/tocsin").CombinedOutput(); err != nil {
		return "", fmt.Errorf("the program cannot be built: %w: %s", err, out)
	}
	return path, nil
})

// scratch holds the program and the enrolled devices that scenarios start from.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(func() (code int) {
		var err error
		if scratch, err = os.MkdirTemp("", "tocsin-netns-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() {
			if code != 0 && keep {
				fmt.Println("kept:", scratch)
				return
			}
			if err := os.RemoveAll(scratch); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}()
		code = m.Run()
		return code
	}())
}

// missing says what this machine lacks for these tests.
var missing = sync.OnceValue(func() error {
	if os.Geteuid() != 0 {
		return errors.New("making network namespaces needs root")
	}
	for tool, pack := range map[string]string{"ip": "iproute2", "tc": "iproute2", "nft": "nftables", "go": "golang", "cat": "coreutils", "cp": "coreutils"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is not installed (package %s)", tool, pack)
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return fmt.Errorf("the kernel makes no TUN devices: %w", err)
	}
	return nil
})

// needed skips a test that this machine cannot run, and fails it where changes are
// decided about.
func needed(t *testing.T) {
	t.Helper()
	if err := missing(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%v; a machine that decides about changes must have it", err)
		}
		t.Skipf("skipped: %v", err)
	}
}
