//go:build linux

package netns

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// space is a network namespace without a name. It is held open by a process that
// waits for the end of its standard input, and so ends with the test's process.
type space struct {
	name   string // in errors
	holder *exec.Cmd
	stdin  io.Closer
	ns     *os.File // /proc/PID/ns/net of the holder
}

func newSpace(t *testing.T, name string) *space {
	t.Helper()
	s, err := makeSpace(name)
	if err != nil {
		t.Fatal(err)
	}
	s.removeAtEnd(t)
	return s
}

func makeSpace(name string) (s *space, err error) {
	s = &space{name: name, holder: exec.Command("cat")}
	s.holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if s.stdin, err = s.holder.StdinPipe(); err != nil {
		return nil, err
	}
	if err := s.holder.Start(); err != nil {
		return nil, fmt.Errorf("a network namespace cannot be made: %w", err)
	}
	if s.ns, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", s.pid())); err != nil {
		return nil, errors.Join(err, s.stdin.Close(), s.holder.Wait())
	}
	if err := s.run("", "ip", "link", "set", "lo", "up"); err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

func (s *space) removeAtEnd(t *testing.T) {
	t.Cleanup(func() {
		if err := s.remove(); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
	})
}

func (s *space) pid() int { return s.holder.Process.Pid }

// remove gives the namespace up: the kernel removes it, with all its devices and
// the other ends of its cables, once no process is in it.
func (s *space) remove() error {
	if s.ns == nil {
		return nil
	}
	err := errors.Join(s.ns.Close(), s.stdin.Close(), s.holder.Wait())
	s.ns = nil
	return err
}

// inside runs f in the namespace: sockets and processes that f makes belong to it.
func (s *space) inside(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		outside, err := os.Open("/proc/thread-self/ns/net")
		if err == nil {
			if err = unix.Setns(int(s.ns.Fd()), unix.CLONE_NEWNET); err == nil {
				err = f()
			}
			// A thread that did not come out again stays locked, and ends with this
			// goroutine: no other one is to find itself in the namespace.
			if out := unix.Setns(int(outside.Fd()), unix.CLONE_NEWNET); out == nil {
				runtime.UnlockOSThread()
			} else {
				err = errors.Join(err, fmt.Errorf("leaving the namespace of %s: %w", s.name, out))
			}
			err = errors.Join(err, outside.Close())
		}
		done <- err
	}()
	return <-done
}

// run runs a tool in the namespace with the given standard input.
func (s *space) run(input string, args ...string) error {
	_, err := s.output(input, args...)
	return err
}

func (s *space) output(input string, args ...string) (string, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(input)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := s.inside(cmd.Run); err != nil {
		return "", fmt.Errorf("%s: %s: %w: %s\n%s", s.name, strings.Join(args, " "), err, bytes.TrimSpace(out.Bytes()), input)
	}
	return out.String(), nil
}

// ip runs commands of iproute2, one a line.
func (s *space) ip(t *testing.T, lines ...string) {
	t.Helper()
	if err := s.run(strings.Join(lines, "\n")+"\n", "ip", "-batch", "-"); err != nil {
		t.Fatal(err)
	}
}

// rules replaces the one table of nft of the namespace; none means no rules.
func (s *space) rules(chains string) error {
	script := "add table inet bed\ndelete table inet bed\n"
	if chains != "" {
		script += "table inet bed {\n" + chains + "\n}\n"
	}
	return s.run(script, "nft", "-f", "-")
}

func (s *space) nft(t *testing.T, chains string) {
	t.Helper()
	if err := s.rules(chains); err != nil {
		t.Fatal(err)
	}
}

// sysctl sets a value under /proc/sys/net, which shows the namespace of the thread
// that opens it.
func (s *space) sysctl(t *testing.T, name, value string) {
	t.Helper()
	if err := s.inside(func() error {
		return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0)
	}); err != nil {
		t.Fatal(err)
	}
}

// cable joins two namespaces by a pair of devices.
func cable(t *testing.T, a *space, nameA string, b *space, nameB string) {
	t.Helper()
	a.ip(t, fmt.Sprintf("link add %s type veth peer name %s netns %d", nameA, nameB, b.pid()))
}

// dialFrom tries a TCP connection from a machine to where another listens.
func dialFrom(m *machine, host string) (c net.Conn, err error) {
	err = m.inside(func() (err error) {
		c, err = net.DialTimeout("tcp", net.JoinHostPort(host, fmt.Sprint(tcpPort)), dialTime)
		return err
	})
	return c, err
}

// dialTime is how long a packet that a router drops is waited for.
const dialTime = 2 * time.Second
