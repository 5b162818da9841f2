package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tocsin/node"
)

// TestRestoredNode puts a node back from a copy of its data directory, in processes
// of their own: it goes on in a new log, everybody keeps it and sees why, and then
// it is given a new signing key.
func TestRestoredNode(t *testing.T) {
	t.Parallel()
	d, m := enrolledBy(t, 2)
	ctx := t.Context()
	amina, ben := d.cast[0], d.cast[1]
	d.start(t, amina)
	d.start(t, ben)
	must(t, d.until(ctx, func(ctx context.Context) (string, error) { return d.strangersAmong(ctx, d.cast) }))
	g, err := amina.node.client.CreateGroup(ctx, node.GroupSpec{Kind: "team", Name: "Ward 7", Members: []string{ben.person()}})
	must(t, err)
	d.group = g.ID
	d.exchange(t, "before the copy")
	first, err := ben.node.client.Status(ctx)
	must(t, err)
	d.stop(t, ben)
	backup := ben.dir + ".backup"
	must(t, os.CopyFS(backup, os.DirFS(ben.dir)))
	must(t, os.Remove(filepath.Join(backup, lockFile)))

	d.start(t, ben)
	lost := d.exchange(t, "after the copy")
	d.stop(t, ben)
	must(t, os.RemoveAll(ben.dir))
	must(t, os.Rename(backup, ben.dir))
	d.start(t, ben)
	must(t, d.until(ctx, func(ctx context.Context) (string, error) {
		st, err := ben.node.client.Status(ctx)
		if err != nil || st.Log != first.Log {
			return "", err
		}
		return "Ben's node is still in its old log", nil
	}))
	must(t, d.allRead(ctx, d.cast, lost)) // Ben's own, which he had lost
	d.exchange(t, "in the new log")
	if _, text := d.outcome(ctx, amina, "people"); !strings.Contains(text, "goes on in a new log since") || !strings.Contains(text, "restored from a backup") {
		t.Errorf("the people page of another does not say why:\n%s", text)
	}
	for _, c := range d.cast {
		var v verified
		must(t, d.run(ctx, c.secret, &v, "log", "verify", "--data", c.dir))
		if !v.Valid || v.Forks != 0 || v.Logs != 3 {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
	d.testKeyRoll(t, m, ben)
}

// testKeyRoll gives the restored node a new key as well.
func (d *demo) testKeyRoll(t *testing.T, m *meshFiles, ben *clinician) {
	ctx := t.Context()
	if code, text := d.outcome(ctx, ben, "keyroll", "request"); code != exitInUse {
		t.Errorf("keyroll while the node runs: %d %s", code, text)
	}
	before, err := ben.node.client.Status(ctx)
	must(t, err)
	d.stop(t, ben)
	if code, text := d.outcome(ctx, ben, "keyroll", "finish", ben.dir+".response.pem"); code != exitInput || !strings.Contains(text, "keyroll request") {
		t.Errorf("finish without a request: %d %s", code, text)
	}
	must(t, d.run(ctx, ben.secret, nil, "keyroll", "request", "--data", ben.dir))
	if code, text := d.outcome(ctx, ben, "keyroll", "finish", ben.dir+".response.pem"); code == exitOK {
		t.Errorf("the answer for the old key was taken: %s", text)
	}
	must(t, d.run(ctx, m.secret, nil, "authority", "issue", filepath.Join(ben.dir, keyRollFile), "--yes",
		"--dir", m.dirs[ben.org], "--days", "30", "--out", ben.dir+".rolled.pem"))
	must(t, d.run(ctx, ben.secret, nil, "keyroll", "finish", ben.dir+".rolled.pem", "--data", ben.dir))
	must(t, d.run(ctx, ben.secret, nil, "keyroll", "finish", ben.dir+".rolled.pem", "--data", ben.dir)) // after an interrupted run
	d.start(t, ben)
	d.exchange(t, "under the new key")
	amina := d.cast[0]
	if _, text := d.outcome(ctx, amina, "people"); !strings.Contains(text, "new signing key") || strings.Count(text, ben.name) != 1 {
		t.Errorf("the people page of another does not say so, or lists Ben twice:\n%s", text)
	}
	after, err := ben.node.client.Status(ctx)
	must(t, err)
	if after.Person != before.Person || after.Log == before.Log || after.Device == before.Device {
		t.Errorf("the status was %+v and is %+v", before, after)
	}
}

// exchange says something from each to each, and returns what the second said.
func (d *demo) exchange(t *testing.T, text string) (last saying) {
	t.Helper()
	ctx := t.Context()
	for _, c := range d.cast {
		s, err := d.speak(ctx, c, "routine", c.name+" "+text)
		must(t, err)
		must(t, d.allRead(ctx, d.cast, s))
		last = s
	}
	return last
}

// stop ends a node in good order.
func (d *demo) stop(t *testing.T, c *clinician) {
	t.Helper()
	must(t, c.node.stop())
	c.node = nil
}
