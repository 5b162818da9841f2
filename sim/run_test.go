package sim

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tocsin/node/message"
)

// options are those of a test.
func options(t *testing.T) Options {
	o := Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}
	if os.Getenv("TOCSIN_SIM_PROGRESS") != "" {
		o.Progress = func(done, total time.Duration, doing string) {
			fmt.Fprintln(os.Stderr, done.Round(time.Second), total, doing)
		}
	}
	return o
}

// rehearse runs a scenario in a bubble of its own.
func rehearse(t *testing.T, s *Scenario, o Options) *Result {
	t.Helper()
	var res *Result
	synctest.Test(t, func(t *testing.T) {
		var err error
		if res, err = s.Run(t.Context(), o); err != nil && !errors.Is(err, ErrStopped) {
			t.Fatal(err)
		}
	})
	t.Logf("%s %v: %s: %s", s.Name, o.Without, res.Verdict, res.Why)
	return res
}

func read(t *testing.T, text string) *Scenario {
	t.Helper()
	s, err := ReadScenario("test.yaml", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// cutInTwo parts the two sites of the small scenario.
const cutInTwo = `timeline:
  - {at: 5s, until: 50s, partition: {shape: whole, parts: [[a], [b]]}}
sometimes:
  - {measure: late, at_least: 0.05}
control: [sync]
expect:`

// TestPartition: what was said across a cut arrives after it, and does not where
// synchronisation is off.
func TestPartition(t *testing.T) {
	s := read(t, strings.Replace(small, "expect:", cutInTwo, 1))
	res := rehearse(t, s, options(t))
	if res.Verdict != Passed || res.Faults[0].Bit == 0 || res.Healed == nil {
		t.Errorf("%s: %s", res.Verdict, res.Why)
	}
	for _, i := range res.Invariants {
		if !i.Held {
			t.Errorf("%s: %v", i.Words, i.Broke)
		}
	}
	o := options(t)
	o.Without = s.Control
	if res := rehearse(t, s, o); res.Objectives[0].Met || res.Verdict != Broken {
		t.Errorf("without synchronisation it is %s: %s", res.Verdict, res.Why)
	}
}

// TestOutsiders: who has no credential is nobody's neighbour, and is where admission is
// off.
func TestOutsiders(t *testing.T) {
	s := read(t, strings.Replace(small, "expect:", `adversaries:
  - {kind: sybil, count: 1}
control: [admission]
expect:
  - {measure: outsiders, at_most: 0}`, 1))
	if res := rehearse(t, s, options(t)); res.Verdict != Passed {
		t.Errorf("%s: %s", res.Verdict, res.Why)
	}
	o := options(t)
	o.Without = s.Control
	if res := rehearse(t, s, o); res.Objectives[0].Met {
		t.Error("without admission outsiders are kept out all the same")
	}
}

// TestVerdicts: what was missed, what had no effect, and what was stopped are told apart.
func TestVerdicts(t *testing.T) {
	t.Run("missed", func(t *testing.T) {
		s := read(t, strings.Replace(small, "at_least: 1", "within: 1us, at_least: 1", 1))
		if res := rehearse(t, s, options(t)); res.Verdict != Missed || res.Verdict.ExitCode() != 1 || len(res.weaknesses()) == 0 {
			t.Errorf("%s: %s", res.Verdict, res.Why)
		}
	})
	t.Run("inconclusive", func(t *testing.T) {
		s := read(t, strings.Replace(small, "expect:", "sometimes:\n  - {measure: messages, at_least: 100000}\nexpect:", 1))
		if res := rehearse(t, s, options(t)); res.Verdict != Inconclusive || res.Verdict.ExitCode() != 4 {
			t.Errorf("%s: %s", res.Verdict, res.Why)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		asked := 0
		o := options(t)
		o.Stopped = func() bool { asked++; return asked > 30 }
		if res := rehearse(t, read(t, small), o); res.Verdict != Inconclusive || !res.Partial {
			t.Errorf("%s: %s", res.Verdict, res.Why)
		}
	})
}

// TestInvariantsNotice: every promise that can be broken from outside is found to be.
func TestInvariantsNotice(t *testing.T) {
	o := options(t)
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		r, err := read(t, small).newRunner(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := r.close(); err != nil {
				t.Error(err)
			}
		}()
		if err := r.story(ctx); err != nil {
			t.Fatal(err)
		}
		broken := func() (out []string) {
			r.res.Invariants = nil
			r.checkInvariants()
			for _, i := range r.res.Invariants {
				if !i.Held {
					out = append(out, i.Name)
				}
			}
			return out
		}
		expect := func(name string) {
			t.Helper()
			if got := broken(); len(got) != 1 || got[0] != name {
				t.Errorf("broke %v, not %s", got, name)
			}
		}
		if got := broken(); len(got) != 0 {
			t.Fatalf("broken before anything was done: %v", got)
		}
		s := r.watch.order[0]
		delete(r.watch.said, s.id)
		expect("forged")
		r.watch.said[s.id] = s

		arrived := r.watch.arrived[s.id]
		delete(r.watch.arrived, s.id)
		reader := r.world.devices[(s.from+1)%len(r.world.devices)]
		shows := reader.node
		reader.node = nil // so that it cannot be asked: it was never seen to show it
		expect("receipts")
		reader.node = shows
		r.watch.arrived[s.id] = arrived

		r.res.Samples[0].Queued = maxQueue + 1
		expect("bounded")
		r.res.Samples[0].Queued = 0

		for log, l := range r.seen.heads[0] {
			l.Head = strings.Repeat("0", 64)
			r.seen.heads[0][log] = l
			break
		}
		if err := r.seen.look(r.world.devices[0]); err != nil {
			t.Fatal(err)
		}
		expect("rewritten")
		r.seen.broke = nil

		d := r.world.devices[0]
		for range 2 {
			sent, err := d.node.Send(ctx, r.groups[0].id, message.NewText("Said twice.", d.clock.Now()), "routine")
			if err != nil {
				t.Fatal(err)
			}
			r.watch.say(&saying{id: sent.ID, group: 0, text: "Said twice.", at: r.world.clock.Now()})
		}
		if err := r.heal(ctx); err != nil {
			t.Fatal(err)
		}
		expect("twice")
		r.watch.order, r.groups[0].members = nil, nil // what follows is of the logs alone

		end := r.world.net.begin(&netFault{cut: true, touches: func(_, _ *port) bool { return true }})
		defer end()
		if _, err := d.node.Send(ctx, r.groups[0].id, message.NewText("Nobody hears this.", d.clock.Now()), "routine"); err != nil {
			t.Fatal(err)
		}
		expect("agree")
	})
}

// TestWannacry runs the preset as users do, and looks at its report.
func TestWannacry(t *testing.T) {
	if os.Getenv("TOCSIN_SIM") == "" {
		t.Skip("set TOCSIN_SIM=1 to run whole scenarios")
	}
	s, err := LibraryScenario("wannacry-2017")
	if err != nil {
		t.Fatal(err)
	}
	if res := rehearse(t, s, options(t)); res.Verdict != Passed {
		t.Errorf("%s: %s", res.Verdict, res.Why)
	}
}
