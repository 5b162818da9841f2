package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// spare is a configuration that works, in a directory of its own.
func spare(t *testing.T) Config {
	dir := t.TempDir()
	return Config{Node: newFakeNode(), Clock: newTestClock(), Logger: slog.New(slog.DiscardHandler),
		Socket: filepath.Join(dir, "s"), TokenFile: filepath.Join(dir, "token")}
}

func TestNewRefuses(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:0", "192.0.2.1:80", "[::]:0", "example.org:80", "127.0.0.1", "localhost:0"} {
		cfg := spare(t)
		cfg.Listen = listen
		if s, err := New(cfg); err == nil {
			s.Close()
			t.Errorf("listens on %s", listen)
		} else if !strings.Contains(err.Error(), "127.0.0.1:0") {
			t.Errorf("%s: the error does not say what to do: %v", listen, err)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("nothing is required")
	}
}

func TestBusyPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := spare(t)
	cfg.Listen = l.Addr().String()
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "choose another port") {
		t.Errorf("busy port: %v", err)
	}
	if _, err := os.Stat(cfg.TokenFile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a server that did not start left its token: %v", err)
	}
}

func TestSocketInTheWay(t *testing.T) {
	first := spare(t)
	s, err := New(first)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	second := spare(t)
	second.Socket = first.Socket
	if _, err := New(second); err == nil || !strings.Contains(err.Error(), "another node answers") {
		t.Errorf("a socket in use: %v", err)
	}
	file := spare(t)
	if err := os.WriteFile(file.Socket, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(file); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file in the way: %v", err)
	}
	if b, err := os.ReadFile(file.Socket); err != nil || string(b) != "precious" {
		t.Errorf("the file in the way was touched: %q, %v", b, err)
	}
	long := spare(t)
	long.Socket = filepath.Join(t.TempDir(), strings.Repeat("x", 120))
	if s, err := New(long); err == nil {
		s.Close()
	}
}

// TestStaleSocket: what a node that was killed left behind does not stop the next.
func TestStaleSocket(t *testing.T) {
	cfg := spare(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: cfg.Socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(cfg.Socket); !errors.Is(err, ErrNoNode) {
		t.Errorf("dialling a stale socket: %v", err)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestServeCleansUp: after the end no file, no goroutine and no listener is left.
func TestServeCleansUp(t *testing.T) {
	cfg := spare(t)
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error)
	go func() { done <- s.Serve(ctx) }()
	c, err := Dial(cfg.Socket)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range c.Events(ctx, "") { // a stream is open while the server stops
		if err != nil {
			break
		}
		stop()
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	c.Close()
	entries, err := os.ReadDir(filepath.Dir(cfg.Socket))
	if err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if _, err := Dial(cfg.Socket); !errors.Is(err, ErrNoNode) {
		t.Errorf("dialling a node that stopped: %v", err)
	}
	if conn, err := net.Dial("tcp", s.tcp.Addr().String()); err == nil {
		conn.Close()
		t.Error("still listens")
	}
}
