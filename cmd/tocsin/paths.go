package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// environment is the process environment as it was at start. NO_COLOR= counts
// as unset, as its convention says.
type environment map[string]string

func newEnvironment(list []string) environment {
	e := make(environment, len(list))
	for _, kv := range list {
		if k, v, ok := strings.Cut(kv, "="); ok {
			e[k] = v
		}
	}
	return e
}

func (e environment) get(key string) string { return e[key] }

// base returns the directory for one kind of file: the XDG variable where it
// is set (and absolute, as the specification asks), else the system's custom.
func (e environment) base(xdg, windows, darwin, unix string) (string, error) {
	if dir := e.get(xdg); filepath.IsAbs(dir) {
		return dir, nil
	}
	home := e.get("HOME")
	switch runtime.GOOS {
	case "windows":
		if dir := e.get(windows); filepath.IsAbs(dir) {
			return dir, nil
		}
		home = e.get("USERPROFILE")
		unix = filepath.Join("AppData", "Local")
	case "darwin":
		unix = darwin
	}
	if !filepath.IsAbs(home) {
		return "", fail(exitInput, "Set HOME or "+xdg+", or name the directory with --data and --config.",
			"cannot tell where your files belong: neither %s nor a home directory is set", xdg)
	}
	return filepath.Join(home, unix), nil
}

const darwinSupport = "Library/Application Support"

func (e environment) dataDir(name string) (string, error) {
	base, err := e.base("XDG_DATA_HOME", "LocalAppData", darwinSupport, ".local/share")
	if err != nil {
		return "", err
	}
	return filepath.Join(base, name), nil
}

func (e environment) configFile() (string, error) {
	base, err := e.base("XDG_CONFIG_HOME", "AppData", darwinSupport, ".config")
	if err != nil {
		return "", err
	}
	return filepath.Join(base, "tocsin", "config.toml"), nil
}

// maxSocketPath is the longest path of a Unix socket that is used: sun_path has
// 104 bytes on the BSDs and macOS, 108 elsewhere, with a final zero, and the
// socket is made under a temporary name that is longer than its last one.
const maxSocketPath = 88

// socketPlace says where the socket of a data directory is. It is a function of
// the directory and the environment alone, so that the node and the commands
// find the same place.
type socketPlace struct {
	path  string
	dir   string // a directory of our own to make private first; empty for the data directory
	moved bool   // not in the data directory, whose path is too long for a socket
}

func (e environment) socketPlace(dataDir string) socketPlace {
	if p := filepath.Join(dataDir, socketFile); len(p) <= maxSocketPath {
		return socketPlace{path: p}
	}
	sum := sha256.Sum256([]byte(dataDir))
	name := "tocsin-" + hex.EncodeToString(sum[:8])
	if run := e.get("XDG_RUNTIME_DIR"); filepath.IsAbs(run) {
		if p := filepath.Join(run, name+".sock"); len(p) <= maxSocketPath {
			return socketPlace{path: p, moved: true}
		}
	}
	// The temporary directory is everybody's: the socket gets a directory of
	// its own there, which trusted checks to be ours. macOS has long ones.
	dir := filepath.Join(os.TempDir(), name)
	if runtime.GOOS != "windows" && len(dir) > maxSocketPath-2 {
		dir = filepath.Join("/tmp", name)
	}
	return socketPlace{path: filepath.Join(dir, "s"), dir: dir, moved: true}
}

// prepare makes the place ready for a socket.
func (s socketPlace) prepare() error {
	if s.dir == "" {
		return nil
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil && !os.IsExist(err) {
		return fail(exitFailed, "Set XDG_RUNTIME_DIR, or use a data directory with a shorter path.",
			"no place for the socket: %w", err)
	}
	return s.trusted()
}

// trusted refuses a directory that somebody else may have put there: whoever
// owns it could answer in the node's place and ask for the passphrase.
func (s socketPlace) trusted() error {
	if s.dir == "" {
		return nil
	}
	info, err := os.Lstat(s.dir)
	if err != nil {
		return err
	}
	if !info.IsDir() || !ownedByUs(info) || !privateMode(info) {
		return fail(exitFailed, "Remove it if it is yours, set XDG_RUNTIME_DIR, or use a data directory with a shorter path.",
			"%s is not a private directory of yours, so the socket cannot be trusted there", s.dir)
	}
	return nil
}
