package sim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"tocsin/mesh"
)

// Scenario is a rehearsal as it is written down; SCENARIO.md is its reference.
//
// Evolution: a file of version 1 keeps its meaning; what cannot be said in it takes a
// new version. Unknown keys are errors.
type Scenario struct {
	Version int    `yaml:"version"`
	Name    string `yaml:"name"`
	Title   string `yaml:"title"`
	About   string `yaml:"about"`
	// Seed fixes every choice that the scenario leaves open; 0 counts as 1.
	Seed uint64 `yaml:"seed"`
	// Start is the wall-clock time at which the story begins; zero is a set day.
	Start time.Time `yaml:"start"`
	// Duration is how long the story takes, Heal how long the mesh then gets, with all
	// faults over, until it must agree.
	Duration time.Duration `yaml:"duration"`
	Heal     time.Duration `yaml:"heal"`
	Mesh     MeshSpec      `yaml:"mesh"`
	Groups   []GroupSpec   `yaml:"groups"`
	Workload []Work        `yaml:"workload"`
	Timeline []Event       `yaml:"timeline"`
	// Adversaries are hostile devices, beside those of Mesh.
	Adversaries []Adversary `yaml:"adversaries"`
	// Expect are the objectives; all must be met.
	Expect []Expect `yaml:"expect"`
	// Sometimes must hold too, or the run says nothing: that a fault had an effect.
	Sometimes []Expect `yaml:"sometimes"`
	// Control names the defence without which the scenario must fail; empty if there is
	// no such run.
	Control []Defence `yaml:"control"`
}

// MeshSpec is who takes part, and over what.
type MeshSpec struct {
	Sites []Site `yaml:"sites"`
	// Near is the network within a site, Far between two.
	Near Link `yaml:"near"`
	Far  Link `yaml:"far"`
	// CPU is what one packet takes of its receiver's processor; 0 is the measured
	// default.
	CPU time.Duration `yaml:"cpu"`
	// Validation is what judging one entry that came by gossip takes of it, wrong ones
	// too; 0 is the measured default.
	Validation time.Duration `yaml:"validation"`
	// Testimony is how seldom devices witness each other's logs; 0 is 2 minutes among up to 40
	// devices, and 15 minutes among more. The program's own is 5 seconds: it tells no message
	// sooner or later, and is most of what a run costs, by the cube of the devices.
	Testimony time.Duration `yaml:"testimony"`
	// Neighbours is how many neighbours a device looks for; 0 is the program's 32 among up to
	// 40 devices, and 8 among more, who then have about 16 each. A run costs mostly what neighbours cost; fewer are
	// harder for the mesh, not easier.
	Neighbours int `yaml:"neighbours"`
	// Directory is whether devices look others up in the directory: auto, as the program does once
	// it knows 100, on, or off; if left out auto among up to 40 devices and off among more. A directory
	// connects everybody with everybody, however few neighbours are looked for.
	Directory string `yaml:"directory"`
	// Knows is how many others a device knows by address when it starts; 0 is 3.
	Knows int `yaml:"knows"`
}

// Site is a place whose devices share a network.
type Site struct {
	Name    string `yaml:"name"`
	Devices int    `yaml:"devices"`
}

// GroupSpec is a conversation.
type GroupSpec struct {
	Name    string   `yaml:"name"`
	Members []string `yaml:"members"`
}

// Work is messages that devices send, at random times.
type Work struct {
	Group    string        `yaml:"group"`
	From     time.Duration `yaml:"from"`
	To       time.Duration `yaml:"to"`   // 0 is the end of the story
	PerHour  float64       `yaml:"rate"` // messages an hour of one device
	Priority string        `yaml:"priority"`
	Bytes    int           `yaml:"bytes"` // of text
	By       []string      `yaml:"by"`    // who sends; empty is every member
}

// Event is one line of the timeline. Exactly one of the actions is given.
type Event struct {
	At    time.Duration `yaml:"at"`
	Until time.Duration `yaml:"until"` // of what lasts; 0 is the end of the story

	Partition  *Partition  `yaml:"partition"`
	Degrade    *Degrade    `yaml:"degrade"`
	Crash      *Crash      `yaml:"crash"`
	Ransomware *Ransomware `yaml:"ransomware"`
	Skew       *Skew       `yaml:"skew"`
	Replay     *Replay     `yaml:"replay"`
	Surge      *Surge      `yaml:"surge"`
	Revoke     *Revoke     `yaml:"revoke"`

	Clone    *Clone    `yaml:"clone"`
	Betray   *Betray   `yaml:"betray"`
	Steal    *Steal    `yaml:"steal"`
	Rollback *Rollback `yaml:"rollback"`
	Expel    *Expel    `yaml:"expel"`
	Churn    *Churn    `yaml:"churn"`
	Battery  *Battery  `yaml:"battery"`
	Contacts *Contacts `yaml:"contacts"`
	Carry    *Carry    `yaml:"carry"`
	Tamper   *Tamper   `yaml:"tamper"`
	Enlist   *Enlist   `yaml:"enlist"`
	Disk     *Disk     `yaml:"disk"`
}

// Partition cuts the network.
type Partition struct {
	// Shape is whole (nothing passes between Parts), one-way (nothing from the first of
	// Parts to the second) or ring (each device reaches two others only).
	Shape string `yaml:"shape"`
	// Parts are sets of devices; of who is named in none nothing changes.
	Parts [][]string `yaml:"parts"`
}

// Degrade makes the network worse between two sets of devices, both ways.
type Degrade struct {
	Between []string `yaml:"between"` // empty is everybody
	And     []string `yaml:"and"`     // empty is everybody
	Link    Link     `yaml:"link"`
}

// Crash ends devices without a word; at Until they start again with what they had on disk.
type Crash struct {
	Devices []string `yaml:"devices"`
	// Every spreads the crashes, and the restarts.
	Every time.Duration `yaml:"every"`
	// Forget: they start without what they remembered of others' addresses.
	Forget bool `yaml:"forget"`
}

// Ransomware spreads from one device to the next: what it reaches is off, and its disk
// is lost. At Until the spread ends; what was hit does not come back.
type Ransomware struct {
	Devices []string      `yaml:"devices"` // whom it may reach; empty is everybody
	Every   time.Duration `yaml:"every"`   // between two victims
	Share   float64       `yaml:"share"`   // of those devices at most
}

// Skew sets clocks wrong by so much, and right again at Until. With Strobe they jump
// between right and wrong as often as that.
type Skew struct {
	Devices []string      `yaml:"devices"`
	By      time.Duration `yaml:"by"`
	Strobe  time.Duration `yaml:"strobe"`
}

// Replay records packets that devices send and sends them once more at Until.
type Replay struct {
	Devices []string `yaml:"devices"`
	Packets int      `yaml:"packets"` // of each; 0 is 200
}

// Surge multiplies the workload.
type Surge struct {
	Times float64 `yaml:"times"`
}

// Revoke takes credentials back, by a statement that one device brings.
type Revoke struct {
	Devices []string `yaml:"devices"`
}

// Clone copies the disks of devices; each copy runs at Site (empty is the same) beside its
// original until Until, and both write.
type Clone struct {
	Devices []string `yaml:"devices"`
	Site    string   `yaml:"site"`
}

// Betray gives the keys of devices to a program of the enemy's, which continues their logs:
// with two entries at one place ("fork"; where Site is given, one branch here and one
// there), or with what others said, under its own name and in other groups ("cross").
type Betray struct {
	Devices []string `yaml:"devices"`
	Into    string   `yaml:"into"`
	Site    string   `yaml:"site"`
}

// Steal hands devices, unlocked, to a thief. Noticed later they are revoked.
type Steal struct {
	Devices []string      `yaml:"devices"`
	Noticed time.Duration `yaml:"noticed"`
}

// Rollback has a device bring the first list of revoked devices once more.
type Rollback struct {
	By string `yaml:"by"`
}

// Expel takes an authority out of the mesh. The one that can be is "partner".
type Expel struct {
	Authority string `yaml:"authority"`
}

// Churn switches devices off and on, for times drawn at random with these means.
type Churn struct {
	Devices []string      `yaml:"devices"`
	Up      time.Duration `yaml:"up"`
	Down    time.Duration `yaml:"down"`
}

// Battery drains batteries: one lasts so long without a word, or for so many MB sent, and
// takes Charge to be full again, during which the device is off. Each begins with 30 to
// 100 per cent.
type Battery struct {
	Devices   []string      `yaml:"devices"`
	Lasts     time.Duration `yaml:"lasts"`
	Megabytes float64       `yaml:"megabytes"` // 0: traffic costs nothing
	Charge    time.Duration `yaml:"charge"`
}

// Contacts has devices reach others only while they meet them.
type Contacts struct {
	Devices []string      `yaml:"devices"`
	Plan    []Meeting     `yaml:"plan"`
	Repeat  time.Duration `yaml:"repeat"` // the plan begins anew as often; 0 is never
}

// Meeting is one contact, in time since the event began or the plan began anew.
type Meeting struct {
	With  []string      `yaml:"with"`
	At    time.Duration `yaml:"at"`
	Until time.Duration `yaml:"until"`
}

// Carry has somebody walk with a stick between two devices, from the one and then from the
// other, every so often; a walk takes Walk.
type Carry struct {
	From  string        `yaml:"from"`
	To    string        `yaml:"to"`
	Every time.Duration `yaml:"every"`
	Walk  time.Duration `yaml:"walk"`
}

// Tamper spoils entries on the disks of devices, which are off for that moment.
type Tamper struct {
	Devices []string `yaml:"devices"`
	Entries int      `yaml:"entries"` // of each at most
}

// Disk has disks fail, in one of three ways: "full" (nothing can be saved until Until),
// "failing" (a sync fails, and nothing can be saved before a restart at Until) and
// "forgetful" (at Until the power goes, and what was saved since the beginning is lost).
type Disk struct {
	Devices []string `yaml:"devices"`
	Fault   string   `yaml:"fault"`
}

// Enlist has newcomers come, admitted by the authority or, where it is out of reach, by the
// registrar, and makes them members of the first group.
type Enlist struct {
	By    string `yaml:"by"`
	Count int    `yaml:"count"`
	Site  string `yaml:"site"`
}

// Adversary is a kind of hostile device.
type Adversary struct {
	Kind  string        `yaml:"kind"` // see adversaryKinds
	Count int           `yaml:"count"`
	At    time.Duration `yaml:"at"`
	Until time.Duration `yaml:"until"` // 0 is the end of the story
	Site  string        `yaml:"site"`  // where they stand; empty is the first site
	// Rate is what one does in a second, of kinds that flood; Share what one lets
	// through, of the selective kind; Delay how long the delaying kind keeps things.
	Rate  float64       `yaml:"rate"`
	Share float64       `yaml:"share"`
	Delay time.Duration `yaml:"delay"`
	// Turn is when, in the story, the covert kind falls silent. Victims are whom the
	// kinds eclipse, spammer and replayer are after; empty is everybody.
	Turn    time.Duration `yaml:"turn"`
	Victims []string      `yaml:"victims"`
}

// Defence is a protection that a control run switches off.
type Defence string

// The defences.
const (
	DefenceSync      Defence = "sync"      // synchronisation: what gossip lost is never fetched
	DefenceAdmission Defence = "admission" // neighbours are not checked

	DefenceConduct    Defence = "conduct"    // nobody is cut off for what it sends
	DefenceRevocation Defence = "revocation" // nobody brings word of what was taken back
	DefencePriority   Defence = "priority"   // what is urgent is sent as routine
	DefenceSticks     Defence = "sticks"     // who walks carries nothing
	DefenceRelay      Defence = "relay"      // nobody hands on by gossip what others said
	DefenceHybrid     Defence = "hybrid"     // messages are placed by the clocks of their authors
	DefenceRegistrar  Defence = "registrar"  // newcomers are admitted by nobody whom the mesh trusts
)

// Expect is one objective: a measure and its bound.
type Expect struct {
	Measure  string        `yaml:"measure"` // see measures
	AtLeast  *float64      `yaml:"at_least"`
	AtMost   *float64      `yaml:"at_most"`
	Within   time.Duration `yaml:"within"`   // of delivery: not later than that after sending
	Priority string        `yaml:"priority"` // of messages; empty is all
	Scope    string        `yaml:"scope"`    // "site": sender and reader at one site; empty is everywhere
	From     time.Duration `yaml:"from"`     // messages sent from then on
	To       time.Duration `yaml:"to"`       // and before then; 0 is the end
}

// InputError is what is wrong with a scenario, with its position.
type InputError struct{ text string }

func (e *InputError) Error() string { return e.text }

func badInput(format string, args ...any) error {
	return &InputError{fmt.Sprintf(format, args...)}
}

// maxScenario bounds a scenario file, in bytes.
const maxScenario = 1 << 20

// ReadScenario reads and checks a scenario file; name is for errors, which match
// [InputError] and say where.
func ReadScenario(name string, r io.Reader) (*Scenario, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxScenario+1))
	if err != nil {
		return nil, fmt.Errorf("sim: reading %s: %w", name, err)
	}
	if len(raw) > maxScenario {
		return nil, badInput("%s: a scenario has at most %d bytes", name, maxScenario)
	}
	var s Scenario
	d := yaml.NewDecoder(bytes.NewReader(raw), yaml.Strict(), yaml.CustomUnmarshaler(readDuration))
	if err := d.Decode(&s); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, badInput("%s: it is empty; `tocsin-sim list` names scenarios to start from", name)
		}
		return nil, badInput("%s: %s", name, strings.TrimSpace(yaml.FormatError(err, false, true)))
	}
	if err := d.Decode(new(Scenario)); !errors.Is(err, io.EOF) {
		return nil, badInput("%s: one file holds one scenario; something follows a line of ---", name)
	}
	s.fill()
	if problems := s.problems(); len(problems) > 0 {
		at := &places{raw: raw}
		var lines []string
		for _, p := range problems {
			lines = append(lines, fmt.Sprintf("%s:%s %s", name, at.of(p.path), p.words))
		}
		return nil, badInput("%s", strings.Join(lines, "\n"))
	}
	return &s, nil
}

// places finds where in a file a path of a scenario stands.
type places struct{ raw []byte }

// of returns "line:column:" of a path, or what is nearest above it.
func (p *places) of(path string) string {
	for path != "" {
		if at, err := yaml.PathString("$." + path); err == nil {
			if node, err := at.ReadNode(bytes.NewReader(p.raw)); err == nil && node != nil && node.GetToken() != nil {
				pos := node.GetToken().Position
				return fmt.Sprintf("%d:%d:", pos.Line, pos.Column)
			}
		}
		i := strings.LastIndexAny(path, ".[")
		path = path[:max(i, 0)]
	}
	return "1:1:"
}

// readDuration reads times as Go writes them, "90s" or "1h30m".
func readDuration(d *time.Duration, raw []byte) error {
	text := strings.Trim(strings.TrimSpace(string(raw)), `"'`)
	v, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is no length of time; write for example 90s, 10m or 1h30m", text)
	}
	*d = v
	return nil
}

// What a scenario need not say.
var (
	defaultNear  = Link{Latency: 2 * time.Millisecond, Jitter: 3 * time.Millisecond, Rate: 50_000_000}
	defaultFar   = Link{Latency: 15 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.002, Burst: 3, Rate: 20_000_000}
	defaultStart = time.Date(2026, 5, 12, 12, 0, 0, 0, time.UTC)
)

// defaultCPU is what a packet takes of its receiver: the 234 µs that one delivery
// of 1 KiB cost gossip and cryptography on two shared cores of 2026, a packet each.
const defaultCPU = 234 * time.Microsecond

// defaultValidation is what opening and checking a message of 1 KiB took, of which its
// signature is most.
const defaultValidation = 45 * time.Microsecond

// someNeighbours are looked for where there are more than allNeighbours devices.
const (
	allNeighbours  = 40
	someNeighbours = 8
)

func (s *Scenario) fill() {
	set(&s.Seed, max(s.Seed, 1))
	if s.Start.IsZero() {
		s.Start = defaultStart
	}
	s.Mesh.Near, s.Mesh.Far = defaultNear.over(s.Mesh.Near), defaultFar.over(s.Mesh.Far)
	if s.Mesh.CPU == 0 {
		s.Mesh.CPU = defaultCPU
	}
	if s.Mesh.Validation == 0 {
		s.Mesh.Validation = defaultValidation
	}
	if s.Mesh.Testimony == 0 {
		s.Mesh.Testimony = 2 * time.Minute
		if s.Devices() > allNeighbours {
			s.Mesh.Testimony = 15 * time.Minute
		}
	}
	if s.Mesh.Knows == 0 {
		s.Mesh.Knows = 3
	}
	if s.Mesh.Neighbours == 0 && s.Devices() > allNeighbours {
		s.Mesh.Neighbours = someNeighbours
	}
	if s.Mesh.Directory == "" {
		s.Mesh.Directory = mesh.DHTAuto
		if s.Devices() > allNeighbours {
			s.Mesh.Directory = mesh.DHTOff
		}
	}
	if s.Heal == 0 {
		s.Heal = 5 * time.Minute
	}
	for i := range s.Workload {
		w := &s.Workload[i]
		if w.To == 0 {
			w.To = s.Duration
		}
		if w.Priority == "" {
			w.Priority = "routine"
		}
		if w.Bytes == 0 {
			w.Bytes = 200
		}
	}
	for i := range s.Timeline {
		if s.Timeline[i].Until == 0 {
			s.Timeline[i].Until = s.Duration
		}
	}
	for i := range s.Adversaries {
		if s.Adversaries[i].Until == 0 {
			s.Adversaries[i].Until = s.Duration
		}
	}
}

// Devices is how many honest devices take part.
func (s *Scenario) Devices() (n int) {
	for _, site := range s.Mesh.Sites {
		n += site.Devices
	}
	return n
}

// actions are what an event may do, by name.
func (e *Event) actions() []struct {
	name string
	set  bool
} {
	return []struct {
		name string
		set  bool
	}{
		{"partition", e.Partition != nil}, {"degrade", e.Degrade != nil}, {"crash", e.Crash != nil},
		{"ransomware", e.Ransomware != nil}, {"skew", e.Skew != nil}, {"replay", e.Replay != nil},
		{"surge", e.Surge != nil}, {"revoke", e.Revoke != nil}, {"clone", e.Clone != nil}, {"betray", e.Betray != nil},
		{"steal", e.Steal != nil}, {"rollback", e.Rollback != nil}, {"expel", e.Expel != nil}, {"churn", e.Churn != nil},
		{"battery", e.Battery != nil}, {"contacts", e.Contacts != nil}, {"carry", e.Carry != nil}, {"tamper", e.Tamper != nil},
		{"enlist", e.Enlist != nil}, {"disk", e.Disk != nil},
	}
}

func actionNames() (out []string) {
	for _, a := range new(Event).actions() {
		out = append(out, a.name)
	}
	return out
}

// action names what an event does, and how many actions it gives.
func (e *Event) action() (name string, given int) {
	for _, a := range e.actions() {
		if a.set {
			name = a.name
			given++
		}
	}
	return name, given
}

var scenarioName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func oneOf(v string, all ...string) bool { return slices.Contains(all, v) }
