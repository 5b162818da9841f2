package node

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tocsin/ledger"
	"tocsin/node/message"
)

// copyOf clones a machine from its data directory, as a backup that is started
// elsewhere does.
func (m *machine) copyOf(t testing.TB) *machine {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	check(t, os.CopyFS(dir, os.DirFS(m.dir)))
	return &machine{name: m.name, dir: dir}
}

// during has a machine be on its own disk for as long as do takes.
func (m *machine) during(t *testing.T, do func(n *Node), options ...func(*Config)) {
	t.Helper()
	cfg, err := m.config()
	check(t, err)
	m.onDisk(t)(&cfg)
	for _, o := range options {
		o(&cfg)
	}
	n, err := Open(t.Context(), cfg)
	check(t, err)
	defer func() { check(t, n.Close()) }()
	check(t, n.Unlock(t.Context(), []byte(passphrase)))
	do(n)
}

// slowly leaves all that is told to nudges: nobody asks by the clock.
func slowly(cfg *Config) { cfg.SyncInterval = time.Hour }

// fork is what a node knows of the one fork there is; nil if it knows of none.
func forkAt(t testing.TB, n *Node) *Fork {
	t.Helper()
	forks, err := n.Forks(t.Context())
	check(t, err)
	if len(forks) == 0 {
		return nil
	}
	return &forks[0]
}

// summaries are the messages on both branches that could be opened, sorted, and how many
// could not.
func summaries(f *Fork) (said []string, sealed int) {
	for _, b := range f.Branches {
		for _, e := range b.Entries {
			switch {
			case e.Summary != "" && !strings.HasPrefix(e.Summary, "delivered") && !strings.HasPrefix(e.Summary, "read"):
				said = append(said, e.Summary)
			case e.Why != "":
				sealed++
			}
		}
	}
	slices.Sort(said)
	return said, sealed
}

// cloned is a device that was copied after it had met a third and a fourth, and of
// which both copies have spoken where nobody heard them.
type cloned struct {
	third, fourth *Node
	one, two      *machine
	group         string
	words         []string // of both copies
}

func newCloned(t *testing.T) *cloned {
	t.Helper()
	w := newWorld(t)
	c := &cloned{one: w.enrol("Dee", orgAmbulance)}
	c.third = w.enrol("Tala", orgHospital).start(t, slowly)
	c.fourth = w.enrol("Femi", orgAmbulance).start(t, slowly, knows(c.third))
	c.one.during(t, func(n *Node) {
		ready(t, 2, n, c.third, c.fourth)
		c.group = makeGroup(t, c.third, c.fourth, n)
		inGroup(t, c.group, n, c.fourth)
		say(t, n, c.group, "together")
		shows(t, c.third, c.group, "together")
		shows(t, c.fourth, c.group, "together")
	}, knows(c.third, c.fourth))
	c.two = c.one.copyOf(t)
	c.one.during(t, func(n *Node) { say(t, n, c.group, "one of one") }, alone)
	c.two.during(t, func(n *Node) {
		say(t, n, c.group, "one of two")
		say(t, n, c.group, "two of two")
	}, alone)
	c.words = []string{"one of one", "two of two"}
	return c
}

// bothShown waits until a node shows both branches: what the first copy said, and
// what the second said when the first had used up no key for it.
func (c *cloned) bothShown(t *testing.T, nodes ...*Node) {
	t.Helper()
	for _, n := range nodes {
		eventually(t, n.cred.Claims.Name+" shows both branches", func() bool {
			f := forkAt(t, n)
			return f != nil && len(f.Branches[0].Entries) > 0 && len(f.Branches[1].Entries) > 0 && c.told(f)
		})
	}
}

// told reports whether all that was said apart is either shown or accounted for.
func (c *cloned) told(f *Fork) bool {
	said, sealed := summaries(f)
	return len(said) >= 2 && len(said)+sealed >= 3
}

// TestForkIsCaught: two devices that were cloned from one data directory and speak
// apart are caught by any third that meets both, in whatever order; a fourth that
// is connected with the third knows at once, without anybody asking by the clock;
// both branches are shown by all, and the person has a badge.
func TestForkIsCaught(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"one first", "two first"} {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			c := newCloned(t)
			first, second, heard := c.one, c.two, "one of one"
			if order == "two first" {
				first, second, heard = c.two, c.one, "two of two"
			}
			first.during(t, func(n *Node) {
				eventually(t, "the third has heard the first copy", func() bool {
					return slices.Contains(texts(t, c.third, c.group), heard)
				})
			}, knows(c.third))
			if forkAt(t, c.third) != nil {
				t.Fatal("a fork without a second branch")
			}
			second.during(t, func(n *Node) {
				eventually(t, "the third knows", func() bool { return forkAt(t, c.third) != nil })
				eventually(t, "the fourth knows", func() bool { return forkAt(t, c.fourth) != nil })
				eventually(t, "the second copy knows", func() bool { return forkAt(t, n) != nil })
				c.bothShown(t, c.third, c.fourth)
				if !forkAt(t, n).Own {
					t.Error("the copy does not see that the fork is its own")
				}
			}, knows(c.third))
			c.isBadged(t)
		})
	}
}

// isBadged: the person, and what was said from the fork on, are marked; what was
// said before it is not; the evidence is not part of the conversation.
func (c *cloned) isBadged(t *testing.T) {
	t.Helper()
	for _, n := range []*Node{c.third, c.fourth} {
		people, err := n.People()
		check(t, err)
		for _, p := range people {
			if (p.Fork != nil) != (p.Name == "Dee") {
				t.Errorf("%s shows %s with the badge %+v", n.cred.Claims.Name, p.Name, p.Fork)
			}
		}
		if n.Status().Forks != 1 {
			t.Errorf("the status tells of %d forks", n.Status().Forks)
		}
		eventually(t, "what was said after the fork is marked", func() bool {
			items, err := n.Messages(c.group, 0, 0)
			check(t, err)
			for _, it := range items {
				if it.From.Name == "Dee" && it.Forked != (message.Words(it.Message.Content) != "together") {
					return false
				}
			}
			return len(items) > 0
		})
	}
}

// TestForkOverAStick: branches that come on sticks alone are caught and shown like
// others, by a device that never meets either copy.
func TestForkOverAStick(t *testing.T) {
	t.Parallel()
	c := newCloned(t)
	dir := t.TempDir()
	stick := func(i int) string { return filepath.Join(dir, fmt.Sprintf("%d.tocsin", i)) }
	for i, m := range []*machine{c.one, c.two} {
		m.during(t, func(n *Node) {
			_, err := n.ExportBundle(t.Context(), stick(i), BundleSpec{Everything: true}, nil)
			check(t, err)
		}, alone)
	}
	for i := range 2 {
		_, err := c.third.ImportBundle(t.Context(), stick(i), nil)
		check(t, err)
	}
	if forkAt(t, c.third) == nil {
		t.Fatal("the third has both branches and does not see it")
	}
	eventually(t, "the fourth knows", func() bool { return forkAt(t, c.fourth) != nil })
	c.bothShown(t, c.third, c.fourth)
	c.isBadged(t)
}

// TestForkSurvivesARestart: evidence that was opened stays readable, and locked
// devices show who and where but not what.
func TestForkSurvivesARestart(t *testing.T) {
	t.Parallel()
	c := newCloned(t)
	c.one.during(t, func(*Node) {
		eventually(t, "the third shows what the first copy said", func() bool {
			return slices.Contains(texts(t, c.third, c.group), "one of one")
		})
	}, knows(c.third))
	c.two.during(t, func(*Node) { c.bothShown(t, c.third) }, knows(c.third))
	before, _ := summaries(forkAt(t, c.third))
	check(t, c.third.Lock())
	f := forkAt(t, c.third)
	if said, sealed := summaries(f); len(said) != 0 || sealed < 3 {
		t.Errorf("a locked device shows %q, and %d that it does not", said, sealed)
	}
	check(t, c.third.Unlock(t.Context(), []byte(passphrase)))
	if after, _ := summaries(forkAt(t, c.third)); !slices.Equal(before, after) {
		t.Errorf("after an unlock it shows %q, before it %q", after, before)
	}
}

// TestForkTold: each thing is told once.
func TestForkTold(t *testing.T) {
	w := newForkWatch()
	m := ledger.Mark{Fork: [32]byte{1}}
	if changed, fresh := w.news(m); !changed || !fresh {
		t.Error("a new fork is no news")
	}
	if changed, _ := w.news(m); changed {
		t.Error("the same is told twice")
	}
	m.Fork[31] = 1
	if changed, fresh := w.news(m); !changed || fresh {
		t.Error("more of a branch is not told, or is told as another fork")
	}
	m.Fork[0] = 2
	if changed, fresh := w.news(m); !changed || !fresh {
		t.Error("another proof is no news")
	}
}
