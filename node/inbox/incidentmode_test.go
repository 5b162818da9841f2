package inbox

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"tocsin/node/message"
)

// contested is a board on which amal, who runs the group, has declared a live incident, and ben, who runs it as well, an exercise.
func contested(t *testing.T) (b *board, live, exercise Item) {
	t.Helper()
	b = newBoard("amal", "ben", "cara")
	run := Group{ID: b.group, Name: "Mill Lane", Kind: "incident", Members: []Author{person("amal"), person("ben"), person("cara")}}
	run.Members[0].Admin, run.Members[1].Admin = true, true
	b.in.SetGroup(run)
	live = b.verified("amal", claims(message.Live))
	exercise = b.verified("ben", claims(message.Exercise))
	if i, _ := b.in.Incident(b.group); !i.Contested || i.Settled != nil {
		t.Fatalf("not contested: %+v", i)
	}
	return b, live, exercise
}

func claims(mode message.Mode) *message.Incident {
	return &message.Incident{Name: "i", Mode: mode, State: message.IncidentDeclared}
}

func settles(mode message.Mode, over ...Item) *message.Incident {
	m := claims(mode)
	m.Reason = "x"
	for _, it := range over {
		m.Overrules = append(m.Overrules, id(it))
	}
	return m
}

// stands says what an incident is taken for.
func stands(b *board) string {
	i, _ := b.in.Incident(b.group)
	if i.Contested {
		return "contested"
	}
	return string(i.Mode)
}

func TestLiveIsSettledForGood(t *testing.T) {
	b, _, exercise := contested(t)
	by := b.verified("ben", settles(message.Live, exercise))
	if i, _ := b.in.Incident(b.group); i.Contested || i.Mode != message.Live || i.Settled == nil || i.Settled.ID != by.ID || i.State != message.IncidentDeclared || i.By.Name != "amal" {
		t.Fatalf("not settled: %+v", i)
	}
	late := b.verified("ben", claims(message.Exercise))
	b.verified("amal", settles(message.Exercise, by))
	if i, _ := b.in.Incident(b.group); stands(b) != "live" || i.Steps[3].Refused == "" {
		t.Errorf("what was settled as live is now %s, after %s", stands(b), late.Message.Summary())
	}
	b.verified("amal", &message.Incident{Name: "i", Mode: message.Live, State: message.IncidentStoodDown})
	if i, _ := b.in.Incident(b.group); !i.Over() {
		t.Error("it cannot be stood down")
	}
}

// An exercise is erased without being in any record: one person alone cannot make one of a live incident, and whoever says live later is heard.
func TestAnExerciseIsSettledByTwo(t *testing.T) {
	for name, c := range map[string]struct {
		who   string
		names func(live, exercise Item) []Item
		mark  func(*Item)
		want  string
	}{
		"who declared it live says that it was an exercise": {"amal", func(live, _ Item) []Item { return []Item{live} }, nil, "exercise"},
		"who alone says that it is an exercise":             {"ben", func(live, _ Item) []Item { return []Item{live} }, nil, "contested"},
		"somebody who does not run the group":               {"cara", func(live, _ Item) []Item { return []Item{live} }, nil, "contested"},
		"without naming what says live":                     {"amal", func(_, exercise Item) []Item { return []Item{exercise} }, nil, "contested"},
		"naming what is not here":                           {"amal", func(_, _ Item) []Item { return []Item{{ID: EntryID{9}}} }, nil, "contested"},
		"whose credential does not count":                   {"amal", func(live, _ Item) []Item { return []Item{live} }, func(it *Item) { it.From.Verified = false }, "contested"},
		"who was removed":                                   {"amal", func(live, _ Item) []Item { return []Item{live} }, removed, "contested"},
		"of a device that signed two things at one place":   {"amal", func(live, _ Item) []Item { return []Item{live} }, cloned, "contested"},
	} {
		t.Run(name, func(t *testing.T) {
			b, live, exercise := contested(t)
			var marks []func(*Item)
			if c.mark != nil {
				marks = append(marks, c.mark)
			}
			b.verified(c.who, settles(message.Exercise, c.names(live, exercise)...), marks...)
			if got := stands(b); got != c.want {
				t.Errorf("it is %s, want %s", got, c.want)
			}
		})
	}
	b, live, _ := contested(t)
	b.verified("amal", settles(message.Exercise, live))
	later := b.verified("ben", claims(message.Live))
	if stands(b) != "contested" {
		t.Error("a message that says live, of which who settled it knew nothing, is passed over")
	}
	b.verified("amal", settles(message.Exercise, live, later))
	if stands(b) != "exercise" {
		t.Error("it cannot be settled anew")
	}
}

// In whatever order the same messages come, every device takes the incident for the same.
func TestSettlingInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := newBoard("amal", "ben")
		run := Group{ID: src.group, Kind: "incident", Members: []Author{person("amal"), person("ben")}}
		run.Members[0].Admin, run.Members[1].Admin = true, true
		src.in.SetGroup(run)
		var said []Item
		for range rapid.IntRange(2, 8).Draw(t, "said") {
			mode := rapid.SampledFrom([]message.Mode{message.Live, message.Exercise}).Draw(t, "mode")
			m := claims(mode)
			if len(said) > 0 && rapid.Bool().Draw(t, "settles") {
				m = settles(mode, rapid.SliceOfN(rapid.SampledFrom(said), 1, 3).Draw(t, "over")...)
			}
			said = append(said, src.verified(rapid.SampledFrom([]string{"amal", "ben"}).Draw(t, "who"), m))
		}
		want, _ := src.in.Incident(src.group)
		other := newBoard("amal", "ben")
		other.in.SetGroup(run)
		for _, it := range rapid.Permutation(said).Draw(t, "order") {
			other.in.Apply(it)
		}
		got, _ := other.in.Incident(src.group)
		if got.Mode != want.Mode || got.Contested != want.Contested || got.State != want.State || (got.Settled == nil) != (want.Settled == nil) {
			t.Fatalf("one order: %+v\nanother: %+v", want, got)
		}
	})
}

func TestSettlingIsChecked(t *testing.T) {
	b, live, exercise := contested(t)
	says := func(who string, m *message.Incident) error {
		return b.in.Check(Saying{Group: b.group, From: person(who), Admin: who != "cara", Content: m, Priority: "routine", Now: epoch})
	}
	made := func(mode message.Mode) *message.Incident {
		m, ok := b.in.Settling(b.group, mode)
		if !ok {
			t.Fatal("there is nothing to settle")
		}
		m.Reason = "x"
		return m
	}
	if m := made(message.Live); !slices.Equal(m.Overrules, []message.EntryID{id(exercise)}) || m.State != message.IncidentDeclared || m.Name != "i" {
		t.Errorf("what settles it as live: %+v", m)
	}
	if m := made(message.Exercise); !slices.Equal(m.Overrules, []message.EntryID{id(live)}) {
		t.Errorf("what settles it as an exercise: %+v", m)
	}
	for _, c := range []struct {
		why string
		err error
		ok  bool
	}{
		{"as live, by one", says("ben", made(message.Live)), true},
		{"as an exercise, by a second", says("amal", made(message.Exercise)), true},
		{"as an exercise, by who alone says so", says("ben", made(message.Exercise)), false},
		{"by who does not run the group", says("cara", made(message.Live)), false},
		{"naming nothing of the other mode", says("amal", settles(message.Live, live)), false},
		{"going somewhere else", says("amal", func() *message.Incident { m := made(message.Live); m.State = message.IncidentStandby; return m }()), false},
	} {
		if c.err == nil != c.ok || c.err != nil && !errors.Is(c.err, ErrRefused) {
			t.Errorf("%s: %v", c.why, c.err)
		}
	}
	b.verified("ben", made(message.Live))
	if err := says("amal", settles(message.Live, exercise)); !errors.Is(err, ErrRefused) {
		t.Errorf("settled twice: %v", err)
	}
	if _, ok := b.in.Settling(b.group, message.Live); ok {
		t.Error("what is settled can be settled")
	}
}

// What an incident was is kept when its own messages are erased; what comes late contests it, and is settled as everything else.
func TestSettlingAfterErasure(t *testing.T) {
	b := newBoard("amal", "ben")
	b.in.Settle(b.group, message.Live, message.IncidentStoodDown)
	late := b.verified("amal", claims(message.Exercise))
	if stands(b) != "contested" {
		t.Fatalf("a straggler leaves it %s", stands(b))
	}
	m, ok := b.in.Settling(b.group, message.Live)
	if !ok || m.State != message.IncidentStoodDown {
		t.Fatalf("%+v, %v", m, ok)
	}
	m.Name, m.Reason = "i", "x"
	b.verified("amal", m)
	if i, _ := b.in.Incident(b.group); i.Contested || i.Mode != message.Live || !i.Over() || late.ID == i.Settled.ID {
		t.Errorf("%+v", i)
	}
}
