//go:build linux

package netns

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tocsin/node"
	"tocsin/node/api"
)

// The tests' patience: for a process to start, to end, and how often something is
// looked at.
const (
	startTime = time.Minute
	stopTime  = 15 * time.Second
	lookEvery = 100 * time.Millisecond
)

// The ports that devices listen on; each has a namespace of its own.
const (
	tcpPort  = 4747
	quicPort = 4748
)

// peer is a device that runs in a machine.
type peer struct {
	*device
	at     *machine
	client *api.Client
	peerID string

	cmd    *exec.Cmd
	tether io.Closer
	ended  chan struct{} // closed when the process has ended
	err    error         // read after ended is closed
	killed bool
	stderr *tail
}

// first returns what a device is called in logs of a test.
func (p *peer) first() string {
	return fmt.Sprintf("%s (site %d)", strings.Fields(p.name)[0], p.at.site.number)
}

// by returns an address of p, by "tcp" or "quic", IPv4 or IPv6.
func (p *peer) by(transport string, six bool) string {
	where := "/ip4/" + p.at.ip4()
	if six {
		where = "/ip6/" + p.at.ip6()
	}
	if transport == "quic" {
		return fmt.Sprintf("%s/udp/%d/quic-v1/p2p/%s", where, quicPort, p.peerID)
	}
	return fmt.Sprintf("%s/tcp/%d/p2p/%s", where, tcpPort, p.peerID)
}

// listenAll are the flags to listen on every address, by TCP and QUIC.
func listenAll() []string {
	var flags []string
	for _, host := range []string{"/ip4/0.0.0.0", "/ip6/::"} {
		flags = append(flags, "--listen", fmt.Sprintf("%s/tcp/%d", host, tcpPort), "--listen", fmt.Sprintf("%s/udp/%d/quic-v1", host, quicPort))
	}
	return flags
}

// up starts `tocsin up` for a device in a machine and waits until it is unlocked
// and says so.
func up(t *testing.T, d *device, at *machine, flags ...string) *peer {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	m, err := founded()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"up", "--json", "--tether", "--data", d.dir, "--log-file", filepath.Join(d.dir, "node.log"), "--log-level", logLevel()}, flags...)
	p := &peer{device: d, at: at, ended: make(chan struct{}), stderr: &tail{}, cmd: command(context.Background(), path, m.secret(), args...)}
	p.cmd.Stderr = p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.tether, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := at.inside(p.cmd.Start); err != nil {
		t.Fatalf("%s: the node cannot be started: %v", d.name, err)
	}
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
	first := make(chan []byte, 1)
	go func() { // ends with the process
		r := bufio.NewReader(stdout)
		line, _ := r.ReadBytes('\n') // an error shows as a line that is no report
		first <- line
		_, err := io.Copy(io.Discard, r)
		p.err = errors.Join(p.cmd.Wait(), err)
		close(p.ended)
	}()
	if err := p.started(first); err != nil {
		t.Fatalf("%s: %v: %s", d.name, err, p.stderr)
	}
	return p
}

// logLevel is what the nodes write into their logs.
func logLevel() string {
	if level := os.Getenv("TOCSIN_NETNS_LOG"); level != "" {
		return level
	}
	return "warn"
}

func (p *peer) started(first <-chan []byte) error {
	var report struct {
		Event, Socket string
		Status        node.Status
	}
	select {
	case line := <-first:
		if json.Unmarshal(line, &report) != nil || report.Event != "up" {
			return fmt.Errorf("the node did not start: %q", line)
		}
	case <-time.After(startTime):
		return fmt.Errorf("the node did not start within %v", startTime)
	}
	p.peerID = report.Status.PeerID
	var err error
	p.client, err = api.Dial(report.Socket)
	return err
}

// kill ends the process as a power cut would.
func (p *peer) kill(t *testing.T) {
	t.Helper()
	p.killed = true
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
}

// stop asks the process to end, and ends it if it does not. It may be called
// again.
func (p *peer) stop() error {
	if p.client != nil {
		if err := p.client.Close(); err != nil {
			return err
		}
	}
	if err := p.tether.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	select {
	case <-p.ended:
	case <-time.After(stopTime):
		err := p.cmd.Process.Kill()
		<-p.ended
		return errors.Join(fmt.Errorf("%s: the node did not end within %v", p.name, stopTime), err)
	}
	if p.err != nil && !p.killed {
		return fmt.Errorf("%s: the node did not end well: %w: %s", p.name, p.err, p.stderr)
	}
	return nil
}

// tail keeps the end of what a process says of its errors.
type tail struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

const tailSize = 4096

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-tailSize):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.text))
}

// until looks again and again until look says that nothing is missing, and
// returns how long that took.
func until(t *testing.T, limit time.Duration, look func() (missing string)) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		missing := look()
		took := time.Since(began)
		if missing == "" {
			return took
		}
		if took > limit {
			t.Fatalf("after %v still: %s", limit, missing)
		}
		<-tick.C
	}
}

// during waits for d, and fails as soon as look finds something wrong.
func during(t *testing.T, d time.Duration, look func() (wrong string)) {
	t.Helper()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		if wrong := look(); wrong != "" {
			t.Fatal(wrong)
		}
	}
}
