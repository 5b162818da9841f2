//go:build linux

package netns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// commandTime bounds one command that is to end by itself.
const commandTime = time.Minute

// device is an enrolled device with a data directory of its own.
type device struct {
	dir, name, person string
}

// theMesh is one mesh of two organisations, founded once. Each scenario works on
// copies of its devices, which have never been started.
type theMesh struct {
	mu      sync.Mutex
	dir     string
	devices []*device // guarded by mu
	relays  []*device // guarded by mu
}

// organisations are who founds the mesh.
var organisations = []string{"stmarys.example", "northgate.example"}

var founded = sync.OnceValues(func() (*theMesh, error) {
	m := &theMesh{dir: filepath.Join(scratch, "mesh")}
	if err := os.Mkdir(m.dir, 0o700); err != nil {
		return nil, err
	}
	return m, m.found()
})

// secret is the file with the passphrase of everybody here.
func (m *theMesh) secret() string { return filepath.Join(m.dir, "passphrase") }

func (m *theMesh) authority(org string) string { return filepath.Join(m.dir, "authority-"+org) }

// found makes the authorities and the mesh, with the commands that they would use.
func (m *theMesh) found() error {
	const config = "[api]\nlisten = \"127.0.0.1:0\"\n\n[lock]\nidle = \"never\"\n"
	err := errors.Join(
		os.WriteFile(filepath.Join(scratch, "config.toml"), []byte(config), 0o600),
		os.WriteFile(m.secret(), []byte("wooden anchors under the quiet bridge\n"), 0o600))
	trust, key := filepath.Join(m.dir, "trust.pem"), filepath.Join(m.dir, "mesh.key")
	bundle := []string{"authority", "bundle", "--name", "Four Sites", "--out", trust, "--mesh-key-out", key}
	for _, org := range organisations {
		err = errors.Join(err, m.run(nil, "authority", "init", "--dir", m.authority(org), "--org", org, "--name", org))
		bundle = append(bundle, filepath.Join(m.authority(org), "authority.pem"))
	}
	err = errors.Join(err, m.run(nil, bundle...))
	for _, org := range organisations {
		err = errors.Join(err, m.run(nil, "authority", "trust", trust, "--mesh-key", key, "--yes", "--dir", m.authority(org)))
	}
	return err
}

// run executes a command to its end and reads its JSON into out, which may be nil.
func (m *theMesh) run(out any, args ...string) error {
	path, err := program()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	cmd := command(ctx, path, m.secret(), append(args, "--json")...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("'tocsin %s': %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(stdout, out); err != nil {
		return fmt.Errorf("'tocsin %s' printed something else than JSON: %w", strings.Join(args, " "), err)
	}
	return nil
}

// command makes a command of the program, with the tests' configuration and
// nothing of the user's.
func command(ctx context.Context, path, secret string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "TOCSIN_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "TOCSIN_CONFIG="+filepath.Join(scratch, "config.toml"), "TOCSIN_PASSPHRASE_FILE="+secret)
	cmd.Dir = scratch
	return cmd
}

// enrol makes devices until there are n clinicians' and one relay's.
func (m *theMesh) enrol(n int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var fresh []*device
	for i := len(m.devices); i < n; i++ {
		d := m.newDevice(i)
		m.devices, fresh = append(m.devices, d), append(fresh, d)
	}
	if len(m.relays) == 0 {
		d := m.newDevice(900)
		d.name = "Relay"
		m.relays, fresh = append(m.relays, d), append(fresh, d)
	}
	var wg sync.WaitGroup
	errs := make([]error, len(organisations))
	for i, org := range organisations { // an authority's directory is locked while it works
		wg.Go(func() {
			for _, d := range fresh {
				if strings.HasPrefix(d.person, org) {
					errs[i] = errors.Join(errs[i], m.enrolOne(d, org))
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (m *theMesh) newDevice(i int) *device {
	first := []string{"Amina", "Ben", "Chidi", "Dana", "Elin", "Farid", "Grace"}[i%7]
	last := []string{"Khan", "Okafor", "Price", "Whitlock", "Eze"}[i/7%5]
	org := organisations[i%len(organisations)]
	return &device{dir: filepath.Join(m.dir, fmt.Sprint("device", i)), name: first + " " + last, person: fmt.Sprintf("%s/gmc/%d", org, 7000000+i)}
}

func (m *theMesh) enrolOne(d *device, org string) error {
	_, number, _ := strings.Cut(d.person, "/gmc/")
	answer := d.dir + ".response.pem"
	issue := []string{"authority", "issue", filepath.Join(d.dir, "request.pem"), "--yes", "--dir", m.authority(org), "--days", "30", "--out", answer}
	if d.name == "Relay" {
		issue = append(issue, "--relay")
	}
	if err := m.run(nil, "init", "--data", d.dir, "--org", org, "--regulator", "gmc", "--number", number, "--name", d.name, "--role", "consultant"); err != nil {
		return err
	}
	if err := m.run(nil, issue...); err != nil {
		return err
	}
	return m.run(nil, "enrol", answer, "--data", d.dir)
}

// cast returns n enrolled devices and a relay, in fresh copies of their
// directories.
func cast(t *testing.T, n int) (devices []*device, relay *device) {
	t.Helper()
	m, err := founded()
	if err == nil {
		err = m.enrol(n)
	}
	if err != nil {
		t.Fatal(err)
	}
	// Not the test's own directory: its path is too long for a socket.
	dir, err := os.MkdirTemp(scratch, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && keep {
			t.Logf("its devices: %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, d := range append(append([]*device(nil), m.devices[:n]...), m.relays[0]) {
		c := *d
		c.dir = filepath.Join(dir, fmt.Sprint(i))
		if out, err := exec.Command("cp", "-a", d.dir, c.dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		devices = append(devices, &c)
	}
	return devices[:n], devices[n]
}
