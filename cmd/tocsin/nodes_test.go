package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tocsin/node"
	"tocsin/node/api"
)

// rehearse returns a demo without a story: its helpers run commands and nodes in
// processes of their own.
func rehearse(t *testing.T) *demo {
	t.Helper()
	d := &demo{
		app:  &app{out: &output{w: io.Discard}, err: io.Discard, env: newEnvironment(os.Environ()), now: time.Now},
		self: tocsinPath(t), dir: t.TempDir(),
	}
	if err := d.configure(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.clear(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// enrolled makes the first n of the cast, enrolled with real authorities.
func enrolled(t *testing.T, n int) *demo {
	t.Helper()
	d, _ := enrolledBy(t, n)
	return d
}

// enrolledBy does so and returns the authorities too.
func enrolledBy(t *testing.T, n int) (*demo, *meshFiles) {
	t.Helper()
	return enrolledCast(t, theCast()[:n])
}

func enrolledCast(t *testing.T, cast []*clinician) (*demo, *meshFiles) {
	t.Helper()
	d := rehearse(t)
	ctx := t.Context()
	m, err := d.foundMeshOf(ctx, "North West", theHospitals()...)
	must(t, err)
	d.cast = cast
	for _, c := range d.cast {
		must(t, d.initDevice(ctx, c))
		must(t, d.certify(ctx, m, c))
		must(t, d.enrolDevice(ctx, m, c))
	}
	return d, m
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start runs the node of c, with the addresses of the others that run.
func (d *demo) start(t *testing.T, c *clinician) {
	t.Helper()
	var running []*clinician
	for _, o := range d.cast {
		if o != c && o.node != nil {
			running = append(running, o)
		}
	}
	var err error
	c.node, err = d.up(t.Context(), c.dir, c.secret, "", d.addresses(running, 0))
	must(t, err)
}

// watching is a `tocsin watch --json` in a process of its own.
type watching struct {
	lines  *bufio.Reader
	stderr *bytes.Buffer
}

func (d *demo) watch(t *testing.T, c *clinician, args ...string) *watching {
	t.Helper()
	cmd := d.command(t.Context(), c.secret, append([]string{"watch", "--json", "--data", c.dir}, args...)...)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	w := &watching{lines: bufio.NewReader(stdout), stderr: &bytes.Buffer{}}
	cmd.Stderr = w.stderr
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill() // it may have ended with its node
		cmd.Wait()
	})
	return w
}

// next returns the next message that the watch prints.
func (w *watching) next(t *testing.T) watched {
	t.Helper()
	line, err := w.lines.ReadBytes('\n')
	if err != nil {
		t.Fatalf("watch ended: %v: %s", err, w.stderr)
	}
	var m watched
	must(t, json.Unmarshal(line, &m))
	return m
}

// TestTwoNodes is the promise of the program: a message goes from one person's
// node to another's, survives a kill of the receiver, and waits for one that is
// away.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	d := enrolled(t, 2)
	amina, ben := d.cast[0], d.cast[1]
	d.start(t, amina)
	d.start(t, ben)
	ctx := t.Context()
	must(t, d.reachEachOther(ctx, d.cast))
	must(t, d.until(ctx, func(ctx context.Context) (string, error) { return d.strangersAmong(ctx, d.cast) }))

	var g api.Group
	must(t, d.run(ctx, amina.secret, &g, "groups", "create", "--data", amina.dir, "--kind", "incident", "Bus crash A6", ben.name))
	send := func(text string, extra ...string) node.Sent {
		t.Helper()
		var sent node.Sent
		must(t, d.run(ctx, amina.secret, &sent, append([]string{"send", "--data", amina.dir, "bus crash a6", text}, extra...)...))
		return sent
	}
	w := d.watch(t, ben, "--since", "all")
	first := send("Two more ambulances on their way", "--priority", "urgent")
	got := w.next(t)
	if got.ID != first.ID || got.Text != "Two more ambulances on their way" || got.Priority != "urgent" ||
		got.From.Name != amina.name || !got.From.Verified || !got.Provable || got.GroupName != "Bus crash A6" || got.Group != g.ID {
		t.Fatalf("Ben was shown %+v", got)
	}

	// The receiver is killed, and still has it after the restart.
	must(t, ben.node.kill())
	ben.node = nil
	second := send("Message for somebody who is away")
	d.start(t, ben)
	w = d.watch(t, ben, "--since", "all", "--count", "2")
	if m := w.next(t); m.ID != first.ID || m.Text != "Two more ambulances on their way" {
		t.Fatalf("after the kill Ben was shown %+v", m)
	}
	// What was sent meanwhile arrives.
	if m := w.next(t); m.ID != second.ID || m.Text != "Message for somebody who is away" {
		t.Fatalf("after the restart Ben was shown %+v", m)
	}
	if _, err := w.lines.ReadByte(); err != io.EOF {
		t.Fatalf("watch --count 2 goes on: %v", err)
	}

	for _, c := range d.cast {
		var v verified
		must(t, d.run(ctx, c.secret, &v, "log", "verify", "--data", c.dir))
		if !v.Valid || v.Offline || v.Logs != 2 {
			t.Fatalf("%s: %+v", c.name, v)
		}
	}
	testCommands(t, d, amina, ben)
}

// testCommands looks at the other client commands while two nodes run.
func testCommands(t *testing.T, d *demo, amina, ben *clinician) {
	ctx := t.Context()
	groups, err := amina.node.client.Groups(ctx)
	must(t, err)
	messages, err := amina.node.client.Messages(ctx, groups[0].ID, 0, 1)
	must(t, err)
	erasable := messages.Messages[0].ID
	for _, c := range []struct {
		args []string
		code int
		want []string // in standard output and error together
	}{
		{[]string{"status"}, exitOK, []string{"Amina Khan (stmarys.nhs.example/gmc/7654321)", "in reach    1 device", "unlocked, on line", "by hand only; the passphrase opens it"}},
		{[]string{"peers"}, exitOK, []string{"northgate.nhs.example", "127.0.0.1"}},
		{[]string{"people"}, exitOK, []string{"Ben Okafor", "charge-nurse", "this device", "in reach"}},
		{[]string{"groups", "list"}, exitOK, []string{"Bus crash A6", "2 devices", "2 messages"}},
		{[]string{"groups", "add", "Bus crash A6", "Nobody Known"}, exitInput, []string{"nobody known is called"}},
		{[]string{"groups", "create", "Another", "Nobody Known"}, exitInput, []string{"nobody known is called"}},
		{[]string{"send", "Bus crsh A6", "hello"}, exitNotFound, []string{`no group "Bus crsh A6"`, "Did you mean 'Bus crash A6'?"}},
		{[]string{"send", "Bus crash A6", ""}, exitInput, []string{"the message is empty"}},
		{[]string{"send", "Bus crash A6", "x", "--priority", "loud"}, exitInput, []string{"routine, urgent or stat"}},
		{[]string{"log", "show"}, exitOK, []string{"Amina Khan (this device)", "Ben Okafor"}},
		{[]string{"log", "show", "own"}, exitOK, []string{"control", "epoch", "data"}},
		{[]string{"log", "show", "nowhere"}, exitNotFound, []string{`holds no log "nowhere"`}},
		{[]string{"log", "verify"}, exitOK, []string{"in 2 logs verify"}},
		{[]string{"open"}, exitOK, []string{"http://127.0.0.1:", "#code=", "works once"}},
		{[]string{"doctor"}, exitOK, []string{"ok       node", "ok       clock", "ok       lease", "ok       permissions", "warning  revocations"}},
		{[]string{"watch", "--since", "all", "--count", "1"}, exitOK, []string{"Bus crash A6", "you: [URGENT] Two more ambulances"}},
		{[]string{"up"}, exitInUse, []string{"in use by another Tocsin process"}},
		{[]string{"people"}, exitOK, []string{"valid", "No revocation data of stmarys.nhs.example"}},
		{[]string{"statement"}, exitOK, []string{"heard no statement"}},
		{[]string{"statement", "nowhere.pem"}, exitNotFound, []string{"does not exist"}},
		{[]string{"statement", amina.secret}, exitInput, []string{"no file of statements"}},
		{[]string{"groups", "members", "Bus crash A6"}, exitOK, []string{"Ben Okafor", "admin", "member"}},
		{[]string{"groups", "role", "Bus crash A6", ben.name, "king"}, exitInput, nil},
		{[]string{"groups", "role", "Bus crash A6", ben.name, "admin"}, exitOK, []string{"Ben Okafor"}},
		{[]string{"groups", "hand-over", "Bus crash A6", ben.name}, exitOK, []string{"Handed over"}},
		{[]string{"groups", "remove", "Bus crash A6", "Nobody Known"}, exitInput, []string{"nobody known is called"}},
		{[]string{"broadcast", "Leave by the north stair"}, exitUsage, []string{"needs --reason"}},
		{[]string{"broadcast", "--reason", "gas leak", "--priority", "stat", "Leave by the north stair"}, exitOK, []string{"Everybody admitted"}},
		{[]string{"verify-person"}, exitUsage, []string{"needs a person, --qr or --scan"}},
		{[]string{"verify-person", ben.name}, exitUsage, []string{"needs a yes"}},
		{[]string{"verify-person", "Nobody Known"}, exitInput, nil},
		{[]string{"verify-person", ben.name, "--yes"}, exitOK, []string{"Ben Okafor is verified in person"}},
		{[]string{"verify-person", "--qr"}, exitOK, []string{"scan"}},
		{[]string{"verify-person", "--scan", "NONSENSE"}, exitInput, nil},
		{[]string{"people"}, exitOK, []string{"verified in person"}},
		{[]string{"pin", "set", "--new-pin-file", d.pin("123456")}, exitInput, nil},
		{[]string{"pin", "set", "--new-pin-file", d.pin("274951"), "--passphrase-file", ben.secret}, exitLocked, []string{"passphrase"}},
		{[]string{"lock"}, exitOK, []string{"Locked"}},
		{[]string{"unlock", "--pin-file", d.pin("274951")}, exitLocked, []string{"no PIN"}},
		{[]string{"unlock"}, exitOK, []string{"Unlocked"}},
		{[]string{"pin", "set", "--new-pin-file", d.pin("274951")}, exitOK, []string{"The PIN is set"}},
		{[]string{"lock"}, exitOK, []string{"The PIN opens it too"}},
		{[]string{"unlock", "--pin-file", d.pin("274952")}, exitLocked, []string{"not the PIN", "9 tries are left"}},
		{[]string{"unlock", "--pin-file", d.pin("274951")}, exitOK, []string{"Unlocked"}},
		{[]string{"lock", "--hard"}, exitOK, []string{"Locked"}},
		{[]string{"unlock", "--pin-file", d.pin("274951")}, exitLocked, []string{"passphrase"}},
		{[]string{"unlock"}, exitOK, []string{"Unlocked"}},
		{[]string{"pin", "clear"}, exitOK, []string{"The PIN is gone"}},
		{[]string{"passphrase", "--new-passphrase-file", d.pin("short")}, exitInput, []string{"fewer than 12"}},
		{[]string{"passphrase", "--new-passphrase-file", amina.secret, "--passphrase-file", ben.secret}, exitLocked, []string{"passphrase"}},
		{[]string{"passphrase", "--new-passphrase-file", amina.secret}, exitOK, []string{"The passphrase is changed"}},
		{[]string{"erase", "Bus crash A6", "nonsense", "--yes"}, exitInput, []string{"64 hex digits"}},
		{[]string{"erase", "Bus crash A6", strings.Repeat("0", 64)}, exitUsage, []string{"needs a yes"}},
		{[]string{"erase", "Bus crash A6", erasable, "--yes"}, exitOK, []string{"rased"}},
		{[]string{"groups", "list"}, exitOK, []string{"1 message"}},
		{[]string{"log", "verify"}, exitOK, []string{"in 2 logs verify"}},
		{[]string{"sponsor", "revoke", "Nobody Known"}, exitNotFound, []string{"no sponsored device"}},
		{[]string{"lock"}, exitOK, []string{"Locked"}},
		{[]string{"send", "Bus crash A6", "hello"}, exitLocked, []string{"locked", "tocsin unlock"}},
		{[]string{"unlock", "--passphrase-file", ben.secret}, exitLocked, []string{"passphrase"}},
		{[]string{"status"}, exitOK, []string{"locked: it relays and reads nothing"}},
		{[]string{"unlock"}, exitOK, []string{"Unlocked"}},
	} {
		code, text := d.outcome(ctx, amina, c.args...)
		if code != c.code {
			t.Errorf("%q: exit code %d, not %d:\n%s", c.args, code, c.code, text)
		}
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%q does not say %q:\n%s", c.args, want, text)
			}
		}
	}
}

// pin writes a secret into a file of its own.
func (d *demo) pin(secret string) string {
	path := filepath.Join(d.dir, "secret-"+secret)
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		return err.Error() // which is no file, and fails the command
	}
	return path
}

// outcome runs a command on the data directory of c, as a person would.
func (d *demo) outcome(ctx context.Context, c *clinician, args ...string) (int, string) {
	cmd := d.command(ctx, c.secret, append(args, "--data", c.dir)...)
	text, err := cmd.CombinedOutput()
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.ExitCode(), string(text)
	}
	if err != nil {
		return -1, err.Error()
	}
	return exitOK, string(text)
}

// TestBadStarts are the ways in which `up` refuses to start: each with a
// sentence that says what to do.
func TestBadStarts(t *testing.T) {
	t.Parallel()
	d := enrolled(t, 2)
	amina, ben := d.cast[0], d.cast[1]
	d.start(t, ben)
	addr := strings.TrimSuffix(strings.TrimPrefix(ben.node.report.URL, "http://"), "/")
	tcp, _, _ := strings.Cut(ben.node.address("tcp"), "/p2p/")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"up", "--api", addr}, exitInUse, "Choose another address with --api"},
		{[]string{"up", "--listen", tcp}, exitInUse, "Choose other addresses with --listen"},
		{[]string{"up", "--passphrase-file", ben.secret}, exitLocked, "the passphrase is wrong"},
		{[]string{"up", "--log-file", d.dir}, exitInput, "the log cannot be written"},
	} {
		code, text := d.outcome(t.Context(), amina, c.args...)
		if code != c.code || !strings.Contains(text, c.want) {
			t.Errorf("%q: exit code %d, not %d, and should say %q:\n%s", c.args, code, c.code, c.want, text)
		}
	}
	// Nothing of it keeps the node from starting well afterwards.
	d.start(t, amina)
	must(t, d.reachEachOther(t.Context(), d.cast))
}

// TestLockedRelays: a node that is locked carries what it cannot read, for
// others who are never in reach of each other, and reads it once unlocked.
func TestLockedRelays(t *testing.T) {
	t.Parallel()
	d := enrolled(t, 2)
	amina, ben := d.cast[0], d.cast[1]
	d.start(t, amina)
	d.start(t, ben)
	ctx := t.Context()
	must(t, d.until(ctx, func(ctx context.Context) (string, error) { return d.strangersAmong(ctx, d.cast) }))
	if _, err := ben.node.client.Lock(ctx); err != nil {
		t.Fatal(err)
	}
	g, err := amina.node.client.CreateGroup(ctx, node.GroupSpec{Kind: "team", Name: "Ward 7", Members: []string{ben.person()}})
	must(t, err)
	d.group = g.ID
	s, err := d.speak(ctx, amina, "routine", "Bed four is free again.")
	must(t, err)
	want, err := amina.node.client.Status(ctx)
	must(t, err)
	must(t, d.until(ctx, func(ctx context.Context) (string, error) {
		st, err := ben.node.client.Status(ctx)
		if err != nil || st.Entries >= want.Entries {
			return "", err
		}
		return "Ben's locked node does not have the entries", nil
	}))
	if _, err := ben.node.client.Messages(ctx, d.group, 0, 1); asFailure(apiError(err)).code != exitLocked {
		t.Fatalf("a locked node answers %v", err)
	}
	must(t, d.run(ctx, ben.secret, nil, "unlock", "--data", ben.dir))
	must(t, d.allRead(ctx, d.cast, s))
}
