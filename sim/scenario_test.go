package sim

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tocsin/mesh"
)

// small is a scenario of four devices at two sites that every test may change.
const small = `version: 1
name: small
title: Four devices
duration: 1m
heal: 2m
mesh:
  sites:
    - {name: a, devices: 2}
    - {name: b, devices: 2}
groups:
  - {name: incident, members: [all]}
workload:
  - {group: incident, rate: 120}
expect:
  - {measure: delivery, at_least: 1}
`

func TestReadScenario(t *testing.T) {
	s := read(t, small)
	if s.Devices() != 4 || s.Workload[0].To != time.Minute || s.Workload[0].Priority != "routine" || s.Mesh.Near.Latency == 0 || s.Seed != 1 {
		t.Errorf("%+v", s)
	}
	if got := s.pick([]string{"b/2", "a", "b/1-2"}); len(got) != 4 {
		t.Errorf("picked %v", got)
	}
}

// TestNeighbours: a device looks for as many neighbours as the scenario says, the program's own
// number in a small mesh and fewer in a large one, and the report says which.
func TestNeighbours(t *testing.T) {
	for _, c := range []struct {
		devices, said string
		want          int
	}{{"2", "", 0}, {"38", "", 0}, {"39", "", someNeighbours}, {"39", "  neighbours: 20\n", 20}, {"2", "  neighbours: 3\n", 3}} {
		s := read(t, strings.Replace(strings.Replace(small, "mesh:\n", "mesh:\n"+c.said, 1), "devices: 2}\n    - {name: b", "devices: "+c.devices+"}\n    - {name: b", 1))
		if s.Mesh.Neighbours != c.want {
			t.Errorf("%d devices, %q: %d neighbours, not %d", s.Devices(), c.said, s.Mesh.Neighbours, c.want)
		}
		if want := map[bool]time.Duration{false: 2 * time.Minute, true: 15 * time.Minute}[s.Devices() > allNeighbours]; s.Mesh.Testimony != want {
			t.Errorf("%d devices witness every %s, not %s", s.Devices(), s.Mesh.Testimony, want)
		}
		directory := strings.Contains(strings.Join(limitsOfModel(s, nil), " "), "use no directory")
		if want := s.Devices() > allNeighbours; directory != want || (s.Mesh.Directory == mesh.DHTOff) != want {
			t.Errorf("%d devices use the directory %s; the report says so: %v", s.Devices(), s.Mesh.Directory, directory)
		}
		said := strings.Contains(strings.Join(limitsOfModel(s, nil), " "), fmt.Sprintf("look for %d neighbours", c.want))
		if said != (c.want > 0) {
			t.Errorf("%d devices, %q: the report says so: %v", s.Devices(), c.said, said)
		}
	}
}

// TestDirectory: what a scenario says of the directory stands, and another word is refused.
func TestDirectory(t *testing.T) {
	for _, mode := range []string{mesh.DHTAuto, mesh.DHTOn, mesh.DHTOff} {
		if s := read(t, strings.Replace(small, "mesh:\n", "mesh:\n  directory: "+mode+"\n", 1)); s.Mesh.Directory != mode {
			t.Errorf("%q became %q", mode, s.Mesh.Directory)
		}
	}
	if _, err := ReadScenario("small.yaml", strings.NewReader(strings.Replace(small, "mesh:\n", "mesh:\n  directory: never\n", 1))); err == nil || !strings.Contains(err.Error(), "write auto, on or off") {
		t.Errorf("%v", err)
	}
}

// TestBadScenarios: what is wrong is refused, in words, with the place.
func TestBadScenarios(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"", "", "it is empty"},
		{"version: 1", "version: 2", "test.yaml:1:10: this program reads version 1, not 2"},
		{"title: Four devices", "titel: Four devices", `3:1] unknown field "titel"`},
		{"duration: 1m", "duration: soon", "no length of time"},
		{"duration: 1m", "duration: -1m", "test.yaml:4:11: a story takes more than 0"},
		{"devices: 2}\n    - {name: b, devices: 2}", "devices: 1000001}", "more than the 1000000"},
		{"name: b,", "name: a,", "test.yaml:9:14: two sites are called a"},
		{"members: [all]", "members: [c]", `test.yaml:11:32: there is no site "c"`},
		{"members: [all]", "members: [a/3]", `"a/3" is no device of a`},
		{"mesh:", "mesh:\n  neighbours: -1", "a device looks for 1 to 128 neighbours, not -1"},
		{"mesh:", "mesh:\n  neighbours: 129", "a device looks for 1 to 128 neighbours, not 129"},
		{"rate: 120", "rate: .nan", "36000 messages an hour"},
		{"rate: 120", "rate: 120, priority: soon", `"soon" is no priority`},
		{"rate: 120", "rate: 120, from: 50s, to: 40s", "lies not within"},
		{"group: incident", "group: nobody", `no group "nobody"`},
		{"at_least: 1", "at_least: 1, at_most: 2", "exactly one bound"},
		{"measure: delivery", "measure: beauty", `"beauty" is no measure`},
		{"measure: delivery", "measure: heal, priority: stat", "heal is not of messages"},
		{"expect:\n  - {measure: delivery, at_least: 1}\n", "", "cannot be passed"},
		{"expect:", "timeline:\n  - {at: 10s, until: 5s, surge: {times: 2}}\nexpect:", "must end after it began"},
		{"expect:", "timeline:\n  - {at: 10s}\nexpect:", "exactly one thing, not 0"},
		{"expect:", "timeline:\n  - {at: 2m, surge: {times: 2}}\nexpect:", "lies not within the story"},
		{"expect:", "timeline:\n  - {at: 1s, surge: {times: 2}, revoke: {devices: [a]}}\nexpect:", "exactly one thing, not 2"},
		{"expect:", "timeline:\n  - {at: 1s, partition: {shape: whole, parts: [[a], [all]]}}\nexpect:", "stands in two parts"},
		{"expect:", "timeline:\n  - {at: 1s, partition: {shape: star, parts: [[a]]}}\nexpect:", `"star" is no shape`},
		{"expect:", "timeline:\n  - {at: 1s, degrade: {link: {loss: 2}}}\nexpect:", "a share is from 0 to 1"},
		{"expect:", "timeline:\n  - {at: 1s, crash: {devices: [a]}}\n  - {at: 2s, crash: {devices: [a/1]}}\nexpect:", "down already"},
		{"expect:", "adversaries:\n  - {kind: dragon, count: 1}\nexpect:", `"dragon" is no kind`},
		{"expect:", "adversaries:\n  - {kind: silent, count: 1, rate: 3}\nexpect:", "needs a rate"},
		{"expect:", "control: [luck]\nexpect:", `"luck" is no defence`},
		{"expect:\n", "expect:\n---\nexpect:\n", "one file holds one scenario"},
	} {
		text := strings.Replace(small, c.old, c.new, 1)
		if c.old == "" {
			text = ""
		}
		_, err := ReadScenario("test.yaml", strings.NewReader(text))
		var bad *InputError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q for %q: %v\nwant %q", c.new, c.old, err, c.want)
		}
	}
}

func FuzzReadScenario(f *testing.F) {
	f.Add(small)
	f.Add("version: 1\n")
	f.Add("timeline: [{at: 1s, crash: {devices: [a/0-99999999]}}]")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ReadScenario("fuzz.yaml", strings.NewReader(text))
		var bad *InputError
		if err != nil && !errors.As(err, &bad) {
			t.Fatalf("%v is no error of the input", err)
		}
		if err == nil && s.Explain() == "" {
			t.Fatal("what can be run cannot be explained")
		}
	})
}

func TestLibrary(t *testing.T) {
	all, err := Library()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if text := s.Explain(); !strings.Contains(text, s.Title) || strings.Contains(text, "%!") {
			t.Errorf("%s explains itself as %q", s.Name, text)
		}
	}
	var bad *InputError
	if _, err := LibraryScenario("no-such"); !errors.As(err, &bad) {
		t.Error(err)
	}
}
