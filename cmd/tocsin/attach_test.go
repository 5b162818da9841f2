package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tocsin/node"
	"tocsin/node/api"
)

// TestAttachmentBetweenProcesses: a file goes from one device to another, whose node is killed on the way; it is saved whole, and no word of
// it, nor its name, stands in any file of the device that carries it.
func TestAttachmentBetweenProcesses(t *testing.T) {
	t.Parallel()
	d := enrolled(t, 2)
	ctx := t.Context()
	amina, ben := d.cast[0], d.cast[1]
	for _, c := range d.cast {
		d.start(t, c)
	}
	must(t, d.reachEachOther(ctx, d.cast))
	must(t, d.until(ctx, func(ctx context.Context) (string, error) { return d.strangersAmong(ctx, d.cast) }))
	var g api.Group
	must(t, d.run(ctx, amina.secret, &g, "groups", "create", "--data", amina.dir, "--kind", "incident", "Bus crash A6", ben.name))

	const canary = "CANARY-in-the-file"
	data := []byte(strings.Repeat(canary+" ", 200_000)) // 3.8 MB
	dir := t.TempDir()
	plan := filepath.Join(dir, "secret floor plan.txt")
	must(t, os.WriteFile(plan, data, 0o600))
	var sent node.Sent
	must(t, d.run(ctx, amina.secret, &sent, "attach", plan, "--data", amina.dir, "--group", "bus crash a6", "--caption", "The north stair"))
	must(t, ben.node.kill()) // wherever it is with it by now
	ben.node = nil
	d.start(t, ben)

	out := filepath.Join(dir, "saved.txt")
	var list api.Attachments
	must(t, d.until(ctx, func(ctx context.Context) (string, error) {
		err := d.run(ctx, ben.secret, &list, "attachments", "list", "--data", ben.dir)
		if len(list.Attachments) == 1 {
			return "", err
		}
		return "the attachment", err
	}))
	var saved savedAttachment
	must(t, d.run(ctx, ben.secret, &saved, "attachments", "save", "--data", ben.dir, sent.ID[:8], out, "--wait", "2m"))
	got, err := os.ReadFile(out)
	must(t, err)
	if !bytes.Equal(got, data) || saved.Path != out || saved.Name != "secret floor plan.txt" || saved.Caption != "The north stair" ||
		saved.SHA256 != fmt.Sprintf("%x", sha256.Sum256(data)) || saved.State != "here" {
		t.Fatalf("%d of %d bytes were saved: %+v", len(got), len(data), saved)
	}
	for what, c := range map[string]struct {
		args []string
		want string
	}{
		"a file that is there": {[]string{"attachments", "save", "--data", ben.dir, sent.ID, out}, "is there already"},
		"an unknown id":        {[]string{"attachments", "save", "--data", ben.dir, "ffffffffffff"}, "no attachment's id begins"},
		"an empty file":        {[]string{"attach", "--data", ben.dir, "--group", "bus crash a6", os.DevNull}, "is no file"},
		"no file":              {[]string{"attach", "--data", ben.dir, "--group", "bus crash a6", filepath.Join(dir, "none")}, "cannot be opened"},
		"no group":             {[]string{"attach", "--data", ben.dir, plan}, "no group is named"},
	} {
		if err := d.run(ctx, ben.secret, nil, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, c := range d.cast {
		must(t, c.node.stop())
		c.node = nil
		must(t, filepath.WalkDir(c.dir, func(path string, e os.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			if bytes.Contains(b, []byte("CANARY")) || bytes.Contains(b, []byte("floor plan")) || bytes.Contains(b, []byte("north stair")) {
				t.Errorf("%s holds content", path)
			}
			return err
		}))
	}
}
