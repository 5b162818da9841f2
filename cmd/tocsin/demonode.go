package main

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
	"time"

	"tocsin/node/api"
)

// The demo's patience: how long nothing may change of what is to come true, also where a
// protection is off and it never will; for a process to start or a command to end; for a
// node to end when it is asked to. These are bounds on a hang: a busy machine is slow.
const (
	patience       = 90 * time.Second
	crowdPatience  = 5 * time.Minute // where forty-one nodes share the machine
	brokenPatience = 12 * time.Second
	startPatience  = 3 * time.Minute
	stopPatience   = time.Minute
	lookEvery      = 40 * time.Millisecond // at first; then more and more seldom
	lookSeldom     = 320 * time.Millisecond
)

// demoNode is one running `tocsin up`.
type demoNode struct {
	client *api.Client
	report upReport

	cmd    *exec.Cmd
	tether io.Closer     // its standard input: it ends when this is closed
	ended  chan struct{} // closed when the process has ended
	err    error         // how it ended; read after ended is closed
	killed bool          // it was killed on purpose
	stderr *tail
}

// command makes a command of this program, with the demo's configuration and
// nothing of the user's.
func (d *demo) command(ctx context.Context, secret string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.self, args...)
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, envPrefix) {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, envConfig+"="+filepath.Join(d.dir, "config.toml"), envPrefix+"PASSPHRASE_FILE="+secret)
	cmd.Dir = d.dir
	return cmd
}

// run executes one command to its end and reads its JSON into out, which may be
// nil.
func (d *demo) run(ctx context.Context, secret string, out any, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	cmd := d.command(ctx, secret, append(args, "--json")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("'tocsin %s': %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(stdout, out); err != nil {
		return fmt.Errorf("'tocsin %s' printed something else than JSON: %w", strings.Join(args, " "), err)
	}
	return nil
}

// up starts a node and waits until it says that it is up. peers are addresses
// to connect to.
func (d *demo) up(ctx context.Context, dir, secret, unsafe string, peers []string) (*demoNode, error) {
	args := []string{"up", "--json", "--tether", "--data", dir,
		"--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--listen", "/ip4/127.0.0.1/tcp/0", "--log-file", filepath.Join(dir, "node.log")}
	if unsafe != "" {
		args = append(args, "--unsafe", unsafe)
	}
	for _, p := range peers {
		args = append(args, "--peer", p)
	}
	n := &demoNode{cmd: d.command(context.WithoutCancel(ctx), secret, args...), ended: make(chan struct{}), stderr: &tail{}}
	n.cmd.Stderr = n.stderr
	stdout, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if n.tether, err = n.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := n.cmd.Start(); err != nil {
		return nil, fmt.Errorf("a node cannot be started: %w", err)
	}
	first := make(chan []byte, 1)
	go func() { // ends with the process
		r := bufio.NewReader(stdout)
		line, _ := r.ReadBytes('\n') // an error shows as a line that is no report
		first <- line
		_, err := io.Copy(io.Discard, r)
		n.err = errors.Join(n.cmd.Wait(), err)
		close(n.ended)
	}()
	if err := n.started(ctx, first); err != nil {
		return nil, errors.Join(err, n.stop())
	}
	return n, nil
}

func (n *demoNode) started(ctx context.Context, first <-chan []byte) error {
	select {
	case line := <-first:
		if json.Unmarshal(line, &n.report) != nil || n.report.Event != "up" {
			return fmt.Errorf("a node did not start: %s", n.stderr)
		}
	case <-time.After(startPatience):
		return fmt.Errorf("a node did not start within %s: %s", startPatience, n.stderr)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	client, err := api.Dial(n.report.Socket)
	if err != nil {
		return fmt.Errorf("a node does not answer: %w: %s", err, n.stderr)
	}
	n.client = client
	return nil
}

// kill ends the process as a power cut would: it gets no chance to do anything.
func (n *demoNode) kill() error {
	n.killed = true
	if err := n.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("the node cannot be killed: %w", err)
	}
	<-n.ended
	return n.release()
}

// stop asks the process to end, and ends it if it does not.
func (n *demoNode) stop() error {
	if err := n.tether.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	select {
	case <-n.ended:
		if n.err != nil && !n.killed {
			return errors.Join(fmt.Errorf("a node did not end well: %w: %s", n.err, n.stderr), n.release())
		}
		return n.release()
	case <-time.After(stopPatience):
	}
	err := n.cmd.Process.Kill()
	<-n.ended
	return errors.Join(fmt.Errorf("a node did not end within %s and was killed", stopPatience), err, n.release())
}

func (n *demoNode) release() error {
	if n.client == nil {
		return nil
	}
	return n.client.Close()
}

// address returns an address of the node, by QUIC or TCP.
func (n *demoNode) address(transport string) string {
	for _, addr := range n.report.Status.Addrs {
		if strings.Contains(addr, "/"+transport) {
			return addr
		}
	}
	return ""
}

// tail keeps the end of what a process says of its errors. It is written by one
// goroutine and read by others.
type tail struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

const tailSize = 4096

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - tailSize; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.text))
}

// until looks again and again whether something has come true. look returns ""
// when it has, and otherwise what is still missing; an error ends the wait.
func (d *demo) until(ctx context.Context, look func(context.Context) (missing string, err error)) error {
	return d.untilWithin(ctx, d.patience(), look)
}

// patience is for one thing to come true.
func (d *demo) patience() time.Duration {
	if d.broken != "" {
		return brokenPatience
	}
	return patience
}

// untilWithin is until with a bound of its own: as long as what is missing becomes another
// thing the wait goes on, for things happen, and the story as a whole is bounded.
func (d *demo) untilWithin(ctx context.Context, limit time.Duration, look func(context.Context) (missing string, err error)) error {
	last, since := "", d.now()
	for pause := lookEvery; ; pause = min(2*pause, lookSeldom) {
		missing, err := look(ctx)
		if err != nil {
			return err
		}
		switch now := d.now(); {
		case missing == "":
			return nil
		case missing != last:
			last, since = missing, now
		case now.Sub(since) >= limit:
			return fmt.Errorf("after %s without a change still: %s", limit.Round(time.Second), missing)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w; still: %s", context.Cause(ctx), missing)
		}
	}
}

// together runs do for 0 … n-1, two at a time: each costs a good deal of memory
// and a core for its passphrase.
func together(n int, do func(i int) error) error {
	var wg sync.WaitGroup
	places := make(chan struct{}, 2)
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() {
			places <- struct{}{}
			errs[i] = do(i)
			<-places
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
