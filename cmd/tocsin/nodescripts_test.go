package main

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestNodeScripts runs the commands that need a node, against two that run in
// processes of their own and know each other. Each script makes groups of its
// own, so that all of them share the two.
//
//	as amina|ben          the commands that follow are theirs
//	id NAME               the variable NAME is the id that the last command printed
//	until REGEXP COMMAND  runs the command until its output has the text
func TestNodeScripts(t *testing.T) {
	t.Parallel()
	d := enrolled(t, 2)
	for _, c := range d.cast {
		d.start(t, c)
	}
	must(t, d.reachEachOther(t.Context(), d.cast))
	must(t, d.until(t.Context(), func(ctx context.Context) (string, error) { return d.strangersAmong(ctx, d.cast) }))
	t.Run("with", func(t *testing.T) { // waits for the scripts, which run side by side
		testscript.Run(t, testscript.Params{
			Dir: "testdata/nodes", RequireExplicitExec: true, RequireUniqueNames: true,
			Setup: func(env *testscript.Env) error {
				d.be(env.Setenv, d.cast[0])
				env.Setenv("HOME", env.WorkDir)
				env.Setenv("AMINA", d.cast[0].person())
				env.Setenv("BEN", d.cast[1].person())
				return nil
			},
			Cmds: map[string]func(*testscript.TestScript, bool, []string){
				"exits": exits, "as": d.as1, "id": keepID, "until": untilSays,
			},
		})
	})
}

// be sets the variables by which commands are of one of the cast.
func (d *demo) be(set func(name, value string), c *clinician) {
	set(envConfig, d.dir+"/config.toml")
	set(envPrefix+"DATA_DIR", c.dir)
	set(envPrefix+"PASSPHRASE_FILE", c.secret)
}

func (d *demo) as1(ts *testscript.TestScript, neg bool, args []string) {
	for _, c := range d.cast {
		if !neg && len(args) == 1 && strings.EqualFold(c.first(), args[0]) {
			d.be(ts.Setenv, c)
			return
		}
	}
	ts.Fatalf("usage: as amina|ben")
}

func keepID(ts *testscript.TestScript, neg bool, args []string) {
	id := strings.TrimSpace(ts.ReadFile("stdout"))
	if neg || len(args) != 1 || !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(id) {
		ts.Fatalf("usage: id NAME, after a command that printed an id")
	}
	ts.Setenv(args[0], id)
}

func untilSays(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until REGEXP COMMAND...")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	deadline := time.After(patience)
	tick := time.NewTicker(4 * lookEvery)
	defer tick.Stop()
	for {
		err := ts.Exec(args[1], args[2:]...)
		if want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			ts.Fatalf("after %s still not %q: %v", patience, args[0], err)
		}
	}
}
