package node

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tocsin/crypto/group"
	"tocsin/node/message"
)

// TestMain lets the test binary be started again as a node of its own, which a
// test can then kill without warning.
func TestMain(m *testing.M) {
	if dir := os.Getenv("TOCSIN_TEST_CHILD"); dir != "" {
		if err := childMain(dir); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// childMain runs the node in dir and obeys one command a line:
//
//	arm STEP      die without warning as soon as STEP is done
//	send G TEXT   answers {"id":…}
//	texts G       answers a list of what is shown
//	lock, unlock
func childMain(dir string) error {
	m := &machine{name: "child", dir: dir}
	cfg, err := m.config()
	if err != nil {
		return err
	}
	var armed atomic.Value
	armed.Store(os.Getenv("TOCSIN_TEST_ARM"))
	cfg.Step = func(step string) {
		if step == armed.Load() {
			die()
		}
	}
	cfg.Static = strings.Fields(os.Getenv("TOCSIN_TEST_STATIC"))
	if cfg.Store, err = m.openStore(&cfg); err != nil {
		return err
	}
	n, err := Open(context.Background(), cfg)
	if err != nil {
		return err
	}
	if err := n.Unlock(context.Background(), []byte(passphrase)); err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		answer, err := obey(n, &armed, lines.Text())
		if err != nil {
			return err
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
	return n.Close()
}

// die ends this process as a power cut would: no deferred call runs.
func die() {
	p, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		panic(err)
	}
	select {}
}

func obey(n *Node, armed *atomic.Value, line string) (any, error) {
	ctx := context.Background()
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "arm":
		armed.Store(rest)
		return "ok", nil
	case "lock":
		return "ok", n.Lock()
	case "unlock":
		return "ok", n.Unlock(ctx, []byte(passphrase))
	case "send":
		g, text, _ := strings.Cut(rest, " ")
		return n.Send(ctx, g, message.NewText(text, time.Time{}), "routine")
	case "texts":
		items, err := n.Messages(rest, 0, 0)
		if errors.Is(err, ErrNotFound) {
			return []string{}, nil
		}
		out := []string{}
		for _, it := range items {
			out = append(out, message.Words(it.Message.Content))
		}
		return out, err
	}
	return nil, fmt.Errorf("unknown command %q", line)
}

// child is a node in a process of its own.
type child struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startChild(t *testing.T, m *machine, static []string) *child {
	t.Helper()
	exe, err := os.Executable()
	check(t, err)
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), "TOCSIN_TEST_CHILD="+m.dir, "TOCSIN_TEST_STATIC="+strings.Join(static, " "))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	c := &child{t: t, cmd: cmd, in: in, out: bufio.NewScanner(out)}
	c.out.Buffer(nil, 1<<20)
	return c
}

// ask returns false when the child died instead of answering.
func (c *child) ask(answer any, format string, args ...any) bool {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.in, format+"\n", args...); err != nil {
		return false
	}
	if !c.out.Scan() {
		return false
	}
	if answer != nil {
		check(c.t, json.Unmarshal(c.out.Bytes(), answer))
	}
	return true
}

func (c *child) must(answer any, format string, args ...any) {
	c.t.Helper()
	if !c.ask(answer, format, args...) {
		c.t.Fatalf("the child died at %q", fmt.Sprintf(format, args...))
	}
}

// died waits for the end that the test armed.
func (c *child) died() {
	c.t.Helper()
	if err := c.cmd.Wait(); err == nil {
		c.t.Fatal("the child ended by itself; it should have been killed")
	}
}

func (c *child) stop() {
	c.t.Helper()
	check(c.t, c.in.Close())
	check(c.t, c.cmd.Wait())
}

// TestKilledBetweenAnyTwoSteps kills a node after every step of both flows.
// Each message must be shown exactly once on both sides afterwards, no sequence
// number may carry two entries, and no generation may be used twice.
func TestKilledBetweenAnyTwoSteps(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	m := w.enrol("Ben", orgAmbulance)
	b := startChild(t, m, a.mesh.Addrs())
	ready(t, 1, a)
	people, err := a.People()
	check(t, err)
	var members []string
	for _, p := range people {
		if !p.Self {
			members = append(members, p.Log)
		}
	}
	c, err := a.CreateGroup(t.Context(), GroupSpec{Kind: "incident", Name: "Bus crash", Members: members})
	check(t, err)
	g := group.ID(c.ID).String()
	say(t, a, g, "first")
	childShows(t, b, g, "first")

	for _, step := range []string{"outbound:reserved", "outbound:sealed", "outbound:state", "outbound:signed", "outbound:appended", "outbound:published"} {
		b.must(nil, "arm %s", step)
		if b.ask(nil, "send %s killed after %s", g, step) {
			t.Fatalf("step %s was never reached", step)
		}
		b.died()
		b = startChild(t, m, a.mesh.Addrs())
		b.must(nil, "send %s after %s", g, step)
		eventually(t, "the message after the crash", func() bool {
			return slices.Contains(texts(t, a, g), "after "+step)
		})
	}
	for _, step := range []string{"inbound:verified", "inbound:appended", "inbound:opened", "inbound:journalled", "inbound:shown"} {
		b.must(nil, "arm %s", step)
		say(t, a, g, "while "+step)
		b.died()
		b = startChild(t, m, a.mesh.Addrs())
		childShows(t, b, g, "while "+step)
	}
	var got []string
	eventually(t, "both sides show the same", func() bool {
		b.must(&got, "texts %s", g)
		return sameSet(got, texts(t, a, g))
	})
	assertOnce(t, got)
	if m := a.Metrics(); m.Forked+m.Unopened+m.Refused > 0 {
		t.Fatalf("the other side saw a place or a generation used twice: %+v", m)
	}
	b.stop()
}

func childShows(t *testing.T, c *child, g, text string) {
	t.Helper()
	var got []string
	eventually(t, "the child shows "+text, func() bool {
		c.must(&got, "texts %s", g)
		return slices.Contains(got, text)
	})
	assertOnce(t, got)
}

func assertOnce(t *testing.T, texts []string) {
	t.Helper()
	seen := make(map[string]bool)
	for _, s := range texts {
		if seen[s] {
			t.Fatalf("%q is shown twice", s)
		}
		seen[s] = true
	}
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}
