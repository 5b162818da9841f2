package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSocketPlace(t *testing.T) {
	env := newEnvironment([]string{"XDG_RUNTIME_DIR=/run/user/1000"})
	near := env.socketPlace("/home/amina/.local/share/tocsin")
	if near.moved || near.path != "/home/amina/.local/share/tocsin/tocsin.sock" {
		t.Errorf("%+v", near)
	}
	long := "/home/amina/" + strings.Repeat("very-long/", 12)
	run := env.socketPlace(long)
	if !run.moved || filepath.Dir(run.path) != "/run/user/1000" || len(run.path) > maxSocketPath {
		t.Errorf("%+v", run)
	}
	if other := env.socketPlace(long + "x"); other.path == run.path {
		t.Error("two directories share a socket")
	}
	temp := newEnvironment(nil).socketPlace(long)
	if !temp.moved || temp.dir == "" || len(temp.path) > maxSocketPath {
		t.Errorf("%+v", temp)
	}
}

// TestSocketSquatted: in the temporary directory somebody else may have put a
// directory where the socket belongs, and would be asked for the passphrase.
func TestSocketSquatted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the temporary directory is per user there, and has no permission bits")
	}
	s := socketPlace{dir: filepath.Join(t.TempDir(), "place")}
	must(t, s.prepare())
	must(t, s.trusted())
	must(t, os.Chmod(s.dir, 0o755))
	if s.prepare() == nil {
		t.Error("a directory that others can enter was trusted")
	}
	must(t, os.Remove(s.dir))
	must(t, os.Symlink(t.TempDir(), s.dir))
	if s.prepare() == nil {
		t.Error("a link was trusted")
	}
}

// TestLongDataDir runs a node in a directory whose path is too long for a socket.
func TestLongDataDir(t *testing.T) {
	t.Parallel()
	d := enrolled(t, 1)
	c := d.cast[0]
	deep := filepath.Join(d.dir, strings.Repeat("d", 80), "amina")
	must(t, os.MkdirAll(filepath.Dir(deep), 0o700))
	must(t, os.Rename(c.dir, deep))
	c.dir = deep
	d.start(t, c)
	if code, text := d.outcome(t.Context(), c, "status"); code != exitOK || !strings.Contains(text, "Amina Khan") {
		t.Errorf("exit code %d: %s", code, text)
	}
	if said := c.node.stderr.String(); !strings.Contains(said, "too long for a socket; it is at ") {
		t.Errorf("it was not said where the socket is: %q", said)
	}
}

// TestStops: SIGTERM ends a node in good order, with nothing left behind that a
// running node has, and it starts again.
func TestStops(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("processes cannot be sent an interrupt there")
	}
	t.Parallel()
	d := enrolled(t, 1)
	c := d.cast[0]
	d.start(t, c)
	must(t, c.node.cmd.Process.Signal(os.Interrupt))
	<-c.node.ended
	if c.node.err != nil {
		t.Errorf("the node ended with %v: %s", c.node.err, c.node.stderr)
	}
	for _, name := range []string{socketFile, tokenFile} {
		if _, err := os.Lstat(filepath.Join(c.dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	must(t, c.node.release())
	d.start(t, c)
	if code, text := d.outcome(t.Context(), c, "log", "verify"); code != exitOK {
		t.Errorf("exit code %d: %s", code, text)
	}
}

// TestDemoStays: after the story each clinician's address is printed, and the
// demo waits.
func TestDemoStays(t *testing.T) {
	t.Parallel()
	d := enrolled(t, 2)
	for _, c := range d.cast {
		d.start(t, c)
	}
	ctx, cancel := context.WithCancel(t.Context())
	printed := &lineCounter{want: "#code=", enough: 2, done: cancel}
	d.out = &output{w: printed}
	must(t, d.stay(ctx))
	if text := printed.text.String(); !strings.Contains(text, "Amina Khan") || !strings.Contains(text, "Ben Okafor") {
		t.Errorf("printed %q", text)
	}
}

// lineCounter ends the wait once so many lines were printed.
type lineCounter struct {
	text   bytes.Buffer
	want   string
	enough int
	done   func()
}

func (l *lineCounter) Write(p []byte) (int, error) {
	l.text.Write(p)
	if strings.Count(l.text.String(), l.want) >= l.enough {
		l.done()
	}
	return len(p), nil
}

func TestNearest(t *testing.T) {
	names := []string{"mesh.mdns", "mesh.peers", "api.listen"}
	for word, want := range map[string]string{"mesh.mdsn": "mesh.mdns", "mesh.peer": "mesh.peers", "colour": "", "mesh.mdns": "mesh.mdns"} {
		if got := nearest(word, names); got != want {
			t.Errorf("%q: %q, not %q", word, got, want)
		}
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}} {
		if got := editDistance(c.a, c.b); got != c.want {
			t.Errorf("%q to %q: %d, not %d", c.a, c.b, got, c.want)
		}
	}
}

// TestPrintable: what others wrote cannot move the cursor, hide text or turn it
// round.
func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"Zoë, 日本\n\tnext":        "Zoë, 日本\n\tnext",
		"a\x1b[2Jb\rc\x07\u009b": "a\ufffd[2Jb\ufffdc\ufffd\ufffd",
		"abc\u202ecba\u2069":     "abc\ufffdcba\ufffd",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: %q, not %q", in, got, want)
		}
	}
}

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	a := &app{now: func() time.Time { return now }}
	for in, want := range map[string]time.Time{
		"": {}, "all": time.Unix(0, 0), "2h": now.Add(-2 * time.Hour), "2026-01-31T08:00:00Z": now.Add(-4 * time.Hour),
	} {
		if got, err := a.parseSince(in); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"-2h", "yesterday", "2h later"} {
		if _, err := a.parseSince(in); asFailure(err).code != exitUsage {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestPlainWords(t *testing.T) {
	err := errors.Join(errors.New("node: joining: mesh: no route"), errors.New("identity: damaged"))
	if got := plainWords(err); got != "joining: no route\ndamaged" {
		t.Errorf("%q", got)
	}
}

// TestOutputFails: a command whose output cannot be written has not succeeded.
func TestOutputFails(t *testing.T) {
	var errs bytes.Buffer
	a := newApp()
	a.args, a.out, a.err = []string{"version"}, &output{w: fullDisk{}}, &errs
	if code := run(a); code != exitFailed || !strings.Contains(errs.String(), "no space left") {
		t.Errorf("exit code %d: %s", code, &errs)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// FuzzConfig: a configuration file is taken or refused with an exit code for bad
// input, never more; and what `config explain` would print of it is taken again
// and says the same.
func FuzzConfig(f *testing.F) {
	for _, seed := range []string{
		"", "[mesh]\nmdns = false\npeers = []\n", "mesh.mdns = true", "mesh = { listen = [\"/ip4/127.0.0.1/tcp/0\"] }",
		"data_dir = \"/tmp/\\u0001\\\\\\\"\"\n", "[[mesh]]\n", "[mesh]\nmdns = 1\n", "\"\" = 1", "[log]\nlevel = \"\"\"\nwarn\"\"\"", "mesh.x.y = 1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		values := make(map[string]value)
		if err := parseConfig("f.toml", text, values); err != nil {
			if asFailure(err).code != exitInput {
				t.Fatalf("%v", err)
			}
			return
		}
		var again strings.Builder
		for _, s := range settings() {
			v, ok := values[s.key]
			if !ok {
				continue
			}
			c := config{values: values}
			e := explained{items: v.items, kind: s.kind, Value: s.kind == boolKind && c.yes(s.key)}
			again.WriteString(s.key + " = " + e.toml() + "\n")
		}
		second := make(map[string]value)
		if err := parseConfig("again.toml", again.String(), second); err != nil {
			t.Fatalf("%v in %q", err, again.String())
		}
		for key, v := range values {
			if !slices.Equal(second[key].items, v.items) {
				t.Fatalf("%s: %q became %q", key, v.items, second[key].items)
			}
		}
	})
}
