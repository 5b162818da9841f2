package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tocsin/mesh"
)

// Bounds of a scenario that is run in full, with real devices.
const (
	// MaxFull is how many devices run as real nodes.
	MaxFull     = 500
	maxDuration = 24 * time.Hour
	// maxMessages bounds what the workload asks for, with surges.
	maxMessages = 200_000
)

// problem is one thing that is wrong, at a path of the file.
type problem struct{ path, words string }

// checker gathers problems.
type checker struct {
	s   *Scenario
	all []problem
}

func (c *checker) add(path, format string, args ...any) {
	c.all = append(c.all, problem{path, fmt.Sprintf(format, args...)})
}

// problems returns everything that is wrong with a scenario.
func (s *Scenario) problems() []problem {
	c := &checker{s: s}
	if s.Version != 1 {
		c.add("version", "this program reads version 1, not %d", s.Version)
	}
	if !scenarioName.MatchString(s.Name) {
		c.add("name", "%q is no name: lower-case letters, digits and hyphens", s.Name)
	}
	if s.Title == "" {
		c.add("title", "give it a title: one line that `list` shows")
	}
	if s.Duration <= 0 || s.Duration > maxDuration {
		c.add("duration", "a story takes more than 0 and at most %s, not %s", maxDuration, s.Duration)
	}
	if s.Heal < 0 || s.Heal > maxDuration {
		c.add("heal", "healing takes at most %s, not %s", maxDuration, s.Heal)
	}
	c.mesh()
	c.work()
	for i := range s.Timeline {
		c.event(fmt.Sprintf("timeline[%d]", i), &s.Timeline[i])
	}
	c.contradictions()
	for i, a := range s.Adversaries {
		c.adversary(fmt.Sprintf("adversaries[%d]", i), a)
	}
	if len(s.Expect) == 0 {
		c.add("expect", "say what is expected: a scenario without an objective cannot be passed")
	}
	for i, e := range s.Expect {
		c.expect(fmt.Sprintf("expect[%d]", i), e)
	}
	for i, e := range s.Sometimes {
		c.expect(fmt.Sprintf("sometimes[%d]", i), e)
	}
	for i, d := range s.Control {
		if defenceWords[d] == "" {
			c.add(fmt.Sprintf("control[%d]", i), "%q is no defence: %s", d, defenceNames())
		}
	}
	if s.Scaled() && len(c.all) == 0 {
		c.scaled()
	}
	return c.all
}

func (c *checker) mesh() {
	seen := make(map[string]bool)
	for i, site := range c.s.Mesh.Sites {
		path := fmt.Sprintf("mesh.sites[%d]", i)
		if !scenarioName.MatchString(site.Name) || site.Name == "all" {
			c.add(path+".name", "%q is no name of a site: lower-case letters, digits and hyphens, and not all", site.Name)
		}
		if seen[site.Name] {
			c.add(path+".name", "two sites are called %s", site.Name)
		}
		seen[site.Name] = true
		if site.Devices < 1 {
			c.add(path+".devices", "a site has at least one device, not %d", site.Devices)
		}
	}
	if n := c.s.Devices(); n < 2 {
		c.add("mesh.sites", "a mesh has at least two devices, not %d", n)
	} else if n > MaxModel {
		c.add("mesh.sites", "%d devices are more than the %d of the scale model", n, MaxModel)
	}
	c.link("mesh.near", c.s.Mesh.Near)
	c.link("mesh.far", c.s.Mesh.Far)
	if c.s.Mesh.Knows < 1 {
		c.add("mesh.knows", "a device that knows nobody meets nobody: 1 or more")
	}
	if d := c.s.Mesh.Directory; !slices.Contains([]string{mesh.DHTAuto, mesh.DHTOn, mesh.DHTOff}, d) {
		c.add("mesh.directory", "%q does not say when the directory is used; write %s, %s or %s", d, mesh.DHTAuto, mesh.DHTOn, mesh.DHTOff)
	}
	if n := c.s.Mesh.Neighbours; n < 0 || n > mesh.MaxNeighbours {
		c.add("mesh.neighbours", "a device looks for 1 to %d neighbours, not %d", mesh.MaxNeighbours, n)
	}
	if c.s.Mesh.Testimony < time.Second {
		c.add("mesh.testimony", "devices witness every second at most, not every %s", c.s.Mesh.Testimony)
	}
	if c.s.Mesh.Validation < 0 || c.s.Mesh.Validation > 100*time.Millisecond {
		c.add("mesh.validation", "judging an entry takes between 0 and 100ms of a processor, not %s", c.s.Mesh.Validation)
	}
	if c.s.Mesh.CPU < 0 || c.s.Mesh.CPU > 100*time.Millisecond {
		c.add("mesh.cpu", "a packet takes between 0 and 100ms of a processor, not %s", c.s.Mesh.CPU)
	}
}

func (c *checker) link(path string, l Link) {
	for _, share := range []struct {
		name string
		v    float64
	}{{"loss", l.Loss}, {"duplicate", l.Duplicate}, {"corrupt", l.Corrupt}} {
		if !(share.v >= 0 && share.v <= 1) {
			c.add(path+"."+share.name, "a share is from 0 to 1, not %v", share.v)
		}
	}
	if l.Latency < 0 || l.Latency > 10*time.Second || l.Jitter < 0 || l.Jitter > 10*time.Second {
		c.add(path, "latency and jitter are from 0 to 10s")
	}
	if l.Rate < 0 || l.Rate > 0 && l.Rate < 1000 {
		c.add(path+".rate", "a rate is in bits a second, at least 1000, not %d", l.Rate)
	}
	if l.Burst < 0 {
		c.add(path+".burst", "the length of a burst is in packets, not %v", l.Burst)
	}
}

func (c *checker) work() {
	if len(c.s.Groups) == 0 {
		c.add("groups", "name at least one group, so that there is somebody to write to")
	}
	names := make(map[string]bool)
	for i, g := range c.s.Groups {
		path := fmt.Sprintf("groups[%d]", i)
		if g.Name == "" || names[g.Name] {
			c.add(path+".name", "every group has a name of its own")
		}
		names[g.Name] = true
		c.devices(path+".members", g.Members)
	}
	if len(c.s.Workload) == 0 {
		c.add("workload", "say who sends what: without messages nothing can be delivered")
	}
	total := 0.0
	for i, w := range c.s.Workload {
		path := fmt.Sprintf("workload[%d]", i)
		if !names[w.Group] {
			c.add(path+".group", "there is no group %q", w.Group)
		}
		if w.From < 0 || w.To <= w.From || w.To > c.s.Duration {
			c.add(path, "from %s to %s lies not within the story of %s", w.From, w.To, c.s.Duration)
		}
		if !(w.PerHour > 0 && w.PerHour <= 36000) {
			c.add(path+".rate", "a device sends more than 0 and at most 36000 messages an hour, not %v", w.PerHour)
		}
		if !oneOf(w.Priority, "routine", "urgent", "stat") {
			c.add(path+".priority", "%q is no priority: routine, urgent or stat", w.Priority)
		}
		if w.Bytes < 1 || w.Bytes > 4000 {
			c.add(path+".bytes", "a text has 1 to 4000 bytes, not %d", w.Bytes)
		}
		if len(w.By) > 0 {
			c.devices(path+".by", w.By)
		}
		total += w.PerHour * (w.To - w.From).Hours() * float64(c.s.Devices())
	}
	for _, e := range c.s.Timeline {
		if e.Surge != nil {
			total *= max(1, e.Surge.Times)
		}
	}
	if total > maxMessages {
		c.add("workload", "this is up to %.0f messages; at most %d can be followed", total, maxMessages)
	}
}

func (c *checker) event(path string, e *Event) {
	name, given := e.action()
	if given != 1 {
		c.add(path, "an event does exactly one thing, not %d: %s", given, strings.Join(actionNames(), ", "))
		return
	}
	if e.At < 0 || e.At >= c.s.Duration {
		c.add(path+".at", "%s lies not within the story of %s", e.At, c.s.Duration)
	}
	if e.Until <= e.At || e.Until > c.s.Duration {
		c.add(path+".until", "it must end after it began at %s, and within the story of %s, not at %s", e.At, c.s.Duration, e.Until)
	}
	path += "." + name
	switch {
	case e.Partition != nil:
		c.partition(path, e.Partition)
	case e.Degrade != nil:
		c.link(path+".link", e.Degrade.Link)
		if e.Degrade.Link == (Link{}) {
			c.add(path+".link", "say what gets worse")
		}
		c.maybeDevices(path+".between", e.Degrade.Between)
		c.maybeDevices(path+".and", e.Degrade.And)
	case e.Crash != nil:
		c.devices(path+".devices", e.Crash.Devices)
	case e.Ransomware != nil:
		c.maybeDevices(path+".devices", e.Ransomware.Devices)
		if e.Ransomware.Every <= 0 {
			c.add(path+".every", "say how long it takes from one victim to the next")
		}
		if !(e.Ransomware.Share > 0 && e.Ransomware.Share < 1) {
			c.add(path+".share", "it takes a share between 0 and 1, not %v: of nobody left nothing can be said", e.Ransomware.Share)
		}
	case e.Skew != nil:
		c.devices(path+".devices", e.Skew.Devices)
		if e.Skew.By == 0 {
			c.add(path+".by", "say by how much the clocks are wrong")
		}
		if e.Skew.Strobe < 0 {
			c.add(path+".strobe", "clocks jump every so often, not every %s", e.Skew.Strobe)
		}
	case e.Replay != nil:
		c.devices(path+".devices", e.Replay.Devices)
	case e.Surge != nil:
		if !(e.Surge.Times > 1 && e.Surge.Times <= 100) {
			c.add(path+".times", "a surge multiplies by more than 1 and at most 100, not %v", e.Surge.Times)
		}
	case e.Revoke != nil:
		c.devices(path+".devices", e.Revoke.Devices)
	default:
		c.attack(path, e)
	}
}

func (c *checker) partition(path string, p *Partition) {
	switch p.Shape {
	case "whole":
		if len(p.Parts) < 2 {
			c.add(path+".parts", "a whole partition has at least two parts, not %d", len(p.Parts))
		}
	case "one-way":
		if len(p.Parts) != 2 {
			c.add(path+".parts", "a one-way partition has two parts, from which and to which nothing passes, not %d", len(p.Parts))
		}
	case "ring":
		if len(p.Parts) != 1 {
			c.add(path+".parts", "a ring has one part, not %d", len(p.Parts))
		}
	default:
		c.add(path+".shape", "%q is no shape: whole, one-way or ring", p.Shape)
	}
	seen := make(map[int]bool)
	for i, part := range p.Parts {
		if !c.devices(fmt.Sprintf("%s.parts[%d]", path, i), part) {
			continue
		}
		for _, d := range c.s.pick(part) {
			if seen[d] {
				c.add(fmt.Sprintf("%s.parts[%d]", path, i), "a device stands in two parts")
				break
			}
			seen[d] = true
		}
	}
}

// contradictions finds events that cannot both be.
func (c *checker) contradictions() {
	crashed := make(map[int][]Event)
	for i, e := range c.s.Timeline {
		if e.Crash == nil || len(c.all) > 0 {
			continue
		}
		for _, d := range c.s.pick(e.Crash.Devices) {
			for _, o := range crashed[d] {
				if e.At < o.Until && o.At < e.Until {
					c.add(fmt.Sprintf("timeline[%d]", i), "a device crashes while it is down already, from %s to %s", o.At, o.Until)
					return
				}
			}
			crashed[d] = append(crashed[d], e)
		}
	}
}

func (c *checker) adversary(path string, a Adversary) {
	k, ok := adversaryKinds[a.Kind]
	if !ok {
		c.add(path+".kind", "%q is no kind of adversary: %s", a.Kind, strings.Join(adversaryNames(), ", "))
		return
	}
	if a.Count < 1 || a.Count > MaxFull {
		c.add(path+".count", "there are 1 to %d of a kind, not %d", MaxFull, a.Count)
	}
	if a.At < 0 || a.Until <= a.At || a.Until > c.s.Duration {
		c.add(path, "from %s until %s lies not within the story of %s", a.At, a.Until, c.s.Duration)
	}
	if a.Site != "" && !slices.ContainsFunc(c.s.Mesh.Sites, func(s Site) bool { return s.Name == a.Site }) {
		c.add(path+".site", "there is no site %q", a.Site)
	}
	if k.rate != (a.Rate > 0) || a.Rate > 10_000 {
		c.add(path+".rate", "%s needs a rate a second up to 10000 if, and only if, it floods", a.Kind)
	}
	if k.turn && (a.Turn <= a.At || a.Turn >= a.Until) || !k.turn && a.Turn != 0 {
		c.add(path+".turn", "%s needs the time at which it turns, between %s and %s, if, and only if, it is covert", a.Kind, a.At, a.Until)
	}
	if k.victims {
		c.maybeDevices(path+".victims", a.Victims)
	} else if len(a.Victims) > 0 {
		c.add(path+".victims", "%s is after nobody in particular", a.Kind)
	}
	if k.delay != (a.Delay > 0) || a.Delay > time.Hour {
		c.add(path+".delay", "%s needs a delay up to 1h if, and only if, it delays", a.Kind)
	}
	if !(a.Share >= 0 && a.Share < 1) || !k.share && a.Share != 0 {
		c.add(path+".share", "only a selective adversary lets a share through, from 0 to 1")
	}
}

func (c *checker) expect(path string, e Expect) {
	m, ok := measures[e.Measure]
	if !ok {
		c.add(path+".measure", "%q is no measure: %s", e.Measure, strings.Join(measureNames(), ", "))
		return
	}
	if (e.AtLeast == nil) == (e.AtMost == nil) {
		c.add(path, "give exactly one bound: at_least or at_most")
	}
	if e.Priority != "" && !oneOf(e.Priority, "routine", "urgent", "stat") {
		c.add(path+".priority", "%q is no priority: routine, urgent or stat", e.Priority)
	}
	if e.Scope != "" && e.Scope != "site" {
		c.add(path+".scope", "%q is no scope: site, or nothing", e.Scope)
	}
	if !m.messages && (e.Priority != "" || e.Scope != "" || e.From != 0 || e.To != 0 || e.Within != 0) {
		c.add(path, "%s is not of messages: it has no priority, scope, times or within", e.Measure)
	}
	if e.Within != 0 && e.Measure != "delivery" {
		c.add(path+".within", "only delivery is within a time")
	}
	if e.From < 0 || e.To < 0 || e.To > 0 && e.To <= e.From || e.To > c.s.Duration {
		c.add(path, "from %s to %s lies not within the story of %s", e.From, e.To, c.s.Duration)
	}
}

func (c *checker) maybeDevices(path string, names []string) {
	if len(names) > 0 {
		c.devices(path, names)
	}
}

// devices checks names of devices and reports whether they are good.
func (c *checker) devices(path string, names []string) bool {
	if len(names) == 0 {
		c.add(path, "name devices: all, a site, or one device as site/number")
		return false
	}
	good := true
	for i, name := range names {
		if _, err := c.s.find(name); err != nil {
			c.add(fmt.Sprintf("%s[%d]", path, i), "%v", err)
			good = false
		}
	}
	return good
}

// find returns the indices of the devices that a name means.
func (s *Scenario) find(name string) ([]int, error) {
	site, number, one := strings.Cut(name, "/")
	first := 0
	for _, at := range s.Mesh.Sites {
		if name == "all" {
			break
		}
		if at.Name != site {
			first += at.Devices
			continue
		}
		from, to := 1, at.Devices
		if one {
			a, b, isRange := strings.Cut(number, "-")
			n, err1 := strconv.Atoi(a)
			m := n
			var err2 error
			if isRange {
				m, err2 = strconv.Atoi(b)
			}
			if err1 != nil || err2 != nil || n < 1 || m < n || m > at.Devices {
				return nil, fmt.Errorf("%q is no device of %s, which has 1 to %d", name, site, at.Devices)
			}
			from, to = n, m
		}
		out := make([]int, 0, to-from+1)
		for i := from; i <= to; i++ {
			out = append(out, first+i-1)
		}
		return out, nil
	}
	if name != "all" {
		return nil, fmt.Errorf("there is no site %q", site)
	}
	out := make([]int, s.Devices())
	for i := range out {
		out[i] = i
	}
	return out, nil
}

// pick returns the devices of checked names, each once, in order. No names are all
// devices.
func (s *Scenario) pick(names []string) []int {
	if len(names) == 0 {
		names = []string{"all"}
	}
	var out []int
	for _, n := range names {
		found, err := s.find(n)
		if err != nil {
			continue // it was checked
		}
		out = append(out, found...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
