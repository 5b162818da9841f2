package model

import (
	"errors"
	"fmt"
	"time"
)

// Link is the way of a packet from one device to another.
type Link struct {
	Latency time.Duration // one way
	Jitter  time.Duration // added, evenly from 0
	Loss    float64       // share of packets that have to be sent again
	Rate    int64         // bits a second that one device sends, and takes; 0 is without bound
}

// Range is the devices from First to before End.
type Range struct{ First, End int }

// Set is devices, as ranges that do not overlap.
type Set []Range

// Size returns how many devices there are in a set.
func (s Set) Size() (n int) {
	for _, r := range s {
		n += r.End - r.First
	}
	return n
}

// Message is something that one device sends to a group.
type Message struct {
	At    time.Duration
	From  int
	Group int // of Spec.Groups
	Bytes int // of the packet, with all that it is wrapped in
	Kind  int // the caller's own mark, for Result
}

// FaultKind is what a fault does.
type FaultKind int

// The faults that the model knows.
const (
	Cut        FaultKind = iota // nothing passes between Parts
	Degrade                     // the link between Parts[0] and Parts[1] has what is set in Change
	Crash                       // the devices of Parts[0] are off, one every Every, and come back so at To
	Ransomware                  // devices of Parts[0] go for good, one every Every, up to Share of them
)

// Fault is something that goes wrong for a time.
type Fault struct {
	Kind     FaultKind
	From, To time.Duration
	Parts    []Set
	Change   Link
	Every    time.Duration
	Share    float64
}

// Params are what was fitted to runs of real nodes: how the program behaves, apart from
// the network that a Spec tells of.
type Params struct {
	// Degree is how many neighbours a device hands a message on to in the mean.
	Degree float64
	// Work is how many packets a receiver works on for each packet with a message:
	// acknowledgements are packets too.
	Work float64
	// Show is from when a device has a message to when it shows it.
	Show time.Duration
	// Contact is how long it takes at most until two that were apart know of each other
	// again; Session how long fetching takes beyond the bytes; Nudge after how long
	// neighbours fetch in turn; Regraft how long somebody without a word stays a neighbour.
	Contact, Session, Nudge, Regraft time.Duration
}

// Spec is all that a run is made of.
type Spec struct {
	Seed     uint64
	Sites    []int // devices of each site; they are numbered in that order
	Near     Link  // within a site
	Far      Link  // between two
	CPU      time.Duration
	Duration time.Duration // of the story
	Heal     time.Duration // at most, afterwards
	Groups   []Set
	Messages []Message // by time
	Faults   []Fault
	Params   Params
	// Every is between two samples; 0 is 10 s.
	Every time.Duration
}

// What a run may be made of, so that it fits into two gigabytes.
const (
	MaxDevices  = 1_000_000
	MaxMessages = 50_000
	// MaxHeld bounds devices times messages: who holds what is a bit each.
	MaxHeld = 4_000_000_000
	// MaxTime bounds story and healing together.
	MaxTime = 49 * time.Hour
)

// ErrSpec: a Spec cannot be run.
var ErrSpec = errors.New("model: that cannot be run")

func (s *Spec) devices() (n int) {
	for _, d := range s.Sites {
		n += d
	}
	return n
}

func (s *Spec) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrSpec, fmt.Sprintf(format, args...))
	}
	n := s.devices()
	switch {
	case n < 2 || n > MaxDevices:
		return bad("%d devices; it takes 2 to %d", n, MaxDevices)
	case len(s.Sites) > 1<<16:
		return bad("%d sites; there may be %d", len(s.Sites), 1<<16)
	case len(s.Messages) > MaxMessages:
		return bad("%d messages; there may be %d: lower the workload or the time", len(s.Messages), MaxMessages)
	case int64(n)*int64(len(s.Messages)) > MaxHeld:
		return bad("%d messages to %d devices take too much memory: lower the workload or the time", len(s.Messages), n)
	case s.Duration <= 0 || s.Heal < 0 || s.Duration+s.Heal > MaxTime:
		return bad("a story of %s and %s", s.Duration, s.Heal)
	case s.Params.Degree < 2 || s.Params.Degree > maxDegree-2:
		return bad("a degree of %v", s.Params.Degree)
	}
	inside := func(set Set) bool {
		for _, r := range set {
			if r.First < 0 || r.End > n || r.First > r.End {
				return false
			}
		}
		return true
	}
	for i, m := range s.Messages {
		if m.From < 0 || m.From >= n || m.Group < 0 || m.Group >= len(s.Groups) || m.At < 0 || m.At > s.Duration ||
			i > 0 && m.At < s.Messages[i-1].At {
			return bad("message %d", i)
		}
	}
	for i, g := range s.Groups {
		if !inside(g) {
			return bad("group %d", i)
		}
	}
	for i, f := range s.Faults {
		for _, p := range f.Parts {
			if !inside(p) {
				return bad("the devices of fault %d", i)
			}
		}
		if f.From < 0 || f.To < f.From || len(f.Parts) < 1 || f.Kind <= Degrade && len(f.Parts) < 2 {
			return bad("fault %d", i)
		}
	}
	return nil
}
