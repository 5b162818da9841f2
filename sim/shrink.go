package sim

import (
	"bytes"
	"fmt"
	"slices"
	"time"
)

// Shrink looks for a smaller scenario that still fails: it leaves out one thing after the other,
// halves what can be halved, keeps what fails all the same, and ends where nothing smaller does or after tries
// candidates. fails runs a candidate; its words say what was made smaller. The scenario
// that is returned is s itself where none was found.
func Shrink(s *Scenario, tries int, fails func(candidate *Scenario, words string) (bool, error)) (*Scenario, error) {
	best := s
	for again := true; again && tries > 0; {
		again = false
		for _, c := range smaller(best) {
			if tries == 0 {
				break
			}
			candidate, ok := c.of(best)
			if !ok {
				continue
			}
			tries--
			bad, err := fails(candidate, c.words)
			if err != nil {
				return best, err
			}
			if bad {
				// What is left is looked at afresh: the other candidates were of the larger one.
				best, again = candidate, true
				break
			}
		}
	}
	return best, nil
}

// reduction makes a scenario smaller in one way; it returns false where it cannot.
type reduction struct {
	words string
	do    func(s *Scenario) bool
}

// of returns a smaller copy of a scenario, if it is one that can be run.
func (r reduction) of(s *Scenario) (*Scenario, bool) {
	c, err := s.clone()
	if err != nil || !r.do(c) {
		return nil, false
	}
	c.fit()
	again, err := c.clone()
	return again, err == nil
}

// clone is a copy that shares nothing, as it is read from a file. It fails where the scenario
// cannot be run.
func (s *Scenario) clone() (*Scenario, error) {
	text, err := s.Marshal()
	if err != nil {
		return nil, err
	}
	return ReadScenario(s.Name, bytes.NewReader(text))
}

// smaller are all ways to make a scenario smaller, those that save most first.
func smaller(s *Scenario) (out []reduction) {
	add := func(do func(*Scenario) bool, format string, args ...any) {
		out = append(out, reduction{fmt.Sprintf(format, args...), do})
	}
	for i := range s.Timeline {
		name, _ := s.Timeline[i].action()
		add(func(c *Scenario) bool { c.Timeline = slices.Delete(c.Timeline, i, i+1); return true }, "without %s at %s", name, s.Timeline[i].At)
	}
	for i, a := range s.Adversaries {
		add(func(c *Scenario) bool { c.Adversaries = slices.Delete(c.Adversaries, i, i+1); return true }, "without %d %s", a.Count, a.Kind)
	}
	for i := range s.Mesh.Sites {
		add(func(c *Scenario) bool { return c.halveSite(i) }, "half of the devices of %s", s.Mesh.Sites[i].Name)
	}
	add(func(c *Scenario) bool {
		c.Duration = (c.Duration / 2).Round(time.Second)
		return c.Duration >= 10*time.Second
	}, "half of the story")
	for i, w := range s.Workload {
		add(func(c *Scenario) bool { c.Workload = slices.Delete(c.Workload, i, i+1); return len(c.Workload) > 0 }, "without the %s messages of %s", w.Priority, w.Group)
	}
	for i, g := range s.Groups {
		add(func(c *Scenario) bool { return c.dropGroup(i) }, "without the group %s", g.Name)
	}
	for i, a := range s.Adversaries {
		add(func(c *Scenario) bool { c.Adversaries[i].Count /= 2; return c.Adversaries[i].Count > 0 }, "half of %d %s", a.Count, a.Kind)
	}
	for i, w := range s.Workload {
		add(func(c *Scenario) bool { c.Workload[i].PerHour /= 2; return c.Workload[i].PerHour >= 10 }, "half of the messages of %s", w.Group)
	}
	if len(s.Sometimes) > 0 {
		add(func(c *Scenario) bool { c.Sometimes = nil; return true }, "without what makes it inconclusive")
	}
	for i := range s.Expect {
		add(func(c *Scenario) bool { c.Expect = slices.Delete(c.Expect, i, i+1); return len(c.Expect) > 0 }, "without the objective %s", s.Expect[i].Measure)
	}
	return out
}

// halveSite leaves half of a site's devices; a site of one is left out, if another remains.
func (s *Scenario) halveSite(i int) bool {
	if s.Mesh.Sites[i].Devices > 1 {
		s.Mesh.Sites[i].Devices /= 2
		return true
	}
	return false
}

// dropGroup leaves out a group and what is said in it.
func (s *Scenario) dropGroup(i int) bool {
	name := s.Groups[i].Name
	s.Groups = slices.Delete(s.Groups, i, i+1)
	s.Workload = slices.DeleteFunc(s.Workload, func(w Work) bool { return w.Group == name })
	return len(s.Groups) > 0 && len(s.Workload) > 0
}

// fit takes out what no longer lies within the story.
func (s *Scenario) fit() {
	within := func(from time.Duration, to *time.Duration) bool {
		*to = min(*to, s.Duration)
		return from < *to
	}
	s.Timeline = slices.DeleteFunc(s.Timeline, func(e Event) bool { return e.At >= s.Duration })
	for i := range s.Timeline {
		within(s.Timeline[i].At, &s.Timeline[i].Until)
	}
	s.Workload = slices.DeleteFunc(s.Workload, func(w Work) bool { return w.From >= s.Duration })
	for i := range s.Workload {
		within(s.Workload[i].From, &s.Workload[i].To)
	}
	s.Adversaries = slices.DeleteFunc(s.Adversaries, func(a Adversary) bool { return a.At >= s.Duration })
	for i := range s.Adversaries {
		within(s.Adversaries[i].At, &s.Adversaries[i].Until)
	}
}
