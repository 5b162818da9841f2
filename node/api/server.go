package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"tocsin/node"
	"tocsin/node/web"
)

// Config is everything that a server is handed.
type Config struct {
	// Node is what it speaks for. The server never closes it.
	Node Node
	// Clock is the machine's clock (node.SystemClock): the deadlines of connections are set by it.
	Clock node.Clock
	// Logger gets one line for each request that fails. It never sees content.
	Logger *slog.Logger
	// Listen is a loopback address with a port, 0 for any free one; empty means 127.0.0.1:0.
	Listen string
	// Socket is the path of the Unix socket; empty for none. A socket that a crashed node left behind is replaced.
	Socket string
	// TokenFile is where a fresh bearer token is put; empty for none, and then no bearer token is let in.
	TokenFile string
	// Record is the address of the medical record that the node sends to, for people to read; empty where none is set.
	Record string
}

func (c *Config) validate() error {
	if c.Node == nil || c.Clock == nil || c.Logger == nil {
		return errors.New("api: Node, Clock and Logger are required")
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	addr, err := netip.ParseAddrPort(c.Listen)
	if err != nil || !addr.Addr().IsLoopback() {
		return fmt.Errorf("api: %q is not a loopback address with a port: the page is for this machine only, use 127.0.0.1:0", c.Listen)
	}
	return nil
}

// Server serves one node's API. It holds its listeners from New on; Serve runs it.
type Server struct {
	cfg    Config
	keys   *keeper
	events *feed
	stats  *stats
	tcp    net.Listener
	unix   net.Listener // nil for none
	hosts  map[string]bool
	cookie string
	assets []web.Asset

	unlocking sync.Mutex    // one secret at a time: each costs 64 MiB
	reading   sync.Mutex    // one picture at a time
	streams   chan struct{} // one place for each event stream
}

// New opens the listeners and writes the token file. Errors say what to do: a busy port, a socket in use, a directory
// that cannot be written.
func New(cfg Config) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, keys: newKeeper(cfg.Clock), stats: newStats(), streams: make(chan struct{}, maxStreams)}
	var err error
	if s.assets, err = web.Assets(); err != nil {
		return nil, err
	}
	if s.events, err = newFeed(s.keys); err != nil {
		return nil, err
	}
	if s.tcp, err = net.Listen("tcp", cfg.Listen); err != nil {
		return nil, fmt.Errorf("api: cannot listen on %s: choose another port (`listen` in the configuration), or 0 for any free one: %w", cfg.Listen, err)
	}
	p := strconv.Itoa(s.tcp.Addr().(*net.TCPAddr).Port)
	s.hosts = map[string]bool{s.tcp.Addr().String(): true, "127.0.0.1:" + p: true, "localhost:" + p: true, "[::1]:" + p: true}
	// Cookies know no ports. Several nodes on one machine each need a name of their own.
	s.cookie = "tocsin-" + p
	if cfg.Socket != "" {
		if s.unix, err = listenUnix(cfg.Socket); err != nil {
			return nil, errors.Join(err, s.tcp.Close())
		}
	}
	if cfg.TokenFile != "" {
		if err := s.keys.writeToken(cfg.TokenFile); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

// URL is where the page is, without a code: http://127.0.0.1:port/.
func (s *Server) URL() string { return "http://" + s.tcp.Addr().String() + "/" }

// OpenURL makes a one-time code and returns the address that lets one browser in with it. The code stands in the fragment, which
// browsers keep to themselves: it is in no request line, log or referrer.
func (s *Server) OpenURL() (string, error) {
	code, _, err := s.keys.newCode()
	if err != nil {
		return "", err
	}
	return s.codeURL(code), nil
}

func (s *Server) codeURL(code string) string { return s.URL() + "unlock#code=" + code }

// Serve answers requests until ctx ends, then lets those under way finish for a moment, closes everything and removes the socket and
// the token file. It is called once.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { s.events.follow(ctx, s.cfg.Node.Subscribe(ctx)) })
	servers := []*http.Server{s.httpServer(ctx, s.guardTCP(s.routes(false)))}
	listeners := []net.Listener{s.tcp}
	if s.unix != nil {
		servers = append(servers, s.httpServer(ctx, s.guardUnix(s.routes(true))))
		listeners = append(listeners, s.unix)
	}
	failed := make(chan error, len(servers))
	for i, server := range servers {
		wg.Go(func() { failed <- server.Serve(listeners[i]) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("api: the server stopped: %w", err)
	}
	cancel() // ends the event streams, which would hold the shutdown up
	for _, server := range servers {
		err = errors.Join(err, shutdown(server))
	}
	wg.Wait()
	return errors.Join(err, s.close())
}

func shutdown(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return server.Close() // cut off what did not finish in time
	}
	return err
}

func (s *Server) httpServer(ctx context.Context, h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
}

// Close gives up a server that was never served.
func (s *Server) Close() error { return s.close() }

// close gives back the listeners and removes the files. It may be called when the servers have closed the listeners already.
func (s *Server) close() error {
	errs := []error{closeListener(s.tcp)}
	if s.unix != nil {
		errs = append(errs, closeListener(s.unix), remove(s.cfg.Socket))
	}
	if s.cfg.TokenFile != "" {
		errs = append(errs, remove(s.cfg.TokenFile))
	}
	return errors.Join(errs...)
}

func closeListener(l net.Listener) error {
	if err := l.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// listenUnix opens a socket that only this user can reach from its first moment: it is made in a directory of mode
// 0700 and moved into place once its own mode is 0600.
func listenUnix(path string) (net.Listener, error) {
	if err := clearStale(path); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".s")
	if err != nil {
		return nil, fmt.Errorf("api: the socket cannot be made in %s: %w", filepath.Dir(path), err)
	}
	defer os.RemoveAll(dir) // empty by then, or nobody's
	hidden := filepath.Join(dir, "s")
	l, err := net.Listen("unix", hidden)
	if err != nil {
		return nil, fmt.Errorf("api: the socket %s cannot be made; if its path is longer than about 90 characters, choose a shorter data directory: %w", path, err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // its name changes below
	if err := errors.Join(os.Chmod(hidden, 0o600), os.Rename(hidden, path)); err != nil {
		return nil, errors.Join(fmt.Errorf("api: the socket %s cannot be made: %w", path, err), l.Close())
	}
	return l, nil
}

// clearStale removes a socket that nobody answers on, and refuses anything else that is in the way.
func clearStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("api: the socket %s: %w", path, err)
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("api: %s is in the way and is no socket: move it away", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		return errors.Join(fmt.Errorf("api: another node answers on %s: stop it first, or choose another data directory", path), conn.Close())
	}
	return remove(path)
}

// discard reads what is left of a small body, so that the connection can be used again.
func discard(r io.Reader) { _, _ = io.CopyN(io.Discard, r, maxBody) }
