package model

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

var params = Params{
	Degree: 4.5, Work: 2, Show: 500 * time.Microsecond, Contact: time.Second, Session: 50 * time.Millisecond,
	Nudge: time.Second, Regraft: 10 * time.Second,
}

// calm is a day without faults: so many devices at two sites, and messages at random times.
func calm(devices, messages int) *Spec {
	s := &Spec{
		Seed: 1, Sites: []int{devices / 2, devices - devices/2},
		Near: Link{Latency: 2 * time.Millisecond, Jitter: 3 * time.Millisecond, Rate: 50_000_000},
		Far:  Link{Latency: 15 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.002, Rate: 20_000_000},
		CPU:  234 * time.Microsecond, Duration: 2 * time.Minute, Heal: 2 * time.Minute,
		Groups: []Set{{{0, devices}}}, Params: params,
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range messages {
		s.Messages = append(s.Messages, Message{At: time.Duration(r.Int64N(int64(s.Duration))), From: r.IntN(devices), Bytes: 1100})
	}
	slices.SortFunc(s.Messages, func(a, b Message) int { return cmp.Compare(a.At, b.At) })
	return s
}

func result(t testing.TB, s *Spec) *Result {
	t.Helper()
	r, err := Run(t.Context(), s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestWheel: all events come, in the order of their slots, also those that are far ahead or
// added meanwhile.
func TestWheel(t *testing.T) {
	w, r := newWheel(), rand.New(rand.NewPCG(1, 2))
	const n = 20_000
	for i := range uint32(n) {
		at := r.Int64N(int64(time.Duration(1) << r.IntN(48))) // up to three days
		w.add(event{at: at, node: i})
	}
	seen, last := make(map[uint32]bool), int64(0)
	for w.take(1<<62, func(events []event) {
		for _, e := range events {
			if e.at>>slotBits < last {
				t.Fatalf("%d comes after %d", e.at>>slotBits, last)
			}
			if seen[e.node] {
				t.Fatalf("%d comes twice", e.node)
			}
			last = e.at >> slotBits
			seen[e.node] = true
			if e.node < n && e.node%3 == 0 {
				w.add(event{at: e.at + r.Int64N(1<<41), node: e.node + n})
			}
		}
	}) {
	}
	if want := n + (n+2)/3; len(seen) != want || w.count != 0 {
		t.Errorf("%d of %d events came, %d are left", len(seen), want, w.count)
	}
}

// TestWheelUntil: what is due later stays.
func TestWheelUntil(t *testing.T) {
	w := newWheel()
	w.add(event{at: int64(10 * time.Second)})
	if w.take(int64(time.Millisecond), func([]event) {}) || w.now > int64(time.Millisecond)>>slotBits+1 {
		t.Errorf("the wheel went on to slot %d, for an event that is not due", w.now)
	}
	w = newWheel()
	w.add(event{at: int64(time.Second)})
	if w.take(int64(time.Second)-1<<slotBits, func([]event) {}) {
		t.Error("an event came before its time")
	}
	if !w.take(int64(time.Second), func([]event) {}) {
		t.Error("an event did not come at its time")
	}
}

func TestHist(t *testing.T) {
	var h, half, other Hist
	r := rand.New(rand.NewPCG(1, 3))
	var all []time.Duration
	for i := range 10_000 {
		d := time.Duration(r.ExpFloat64() * float64(50*time.Millisecond))
		all = append(all, d)
		h.Add(d)
		if i%2 == 0 {
			half.Add(d)
		} else {
			other.Add(d)
		}
	}
	slices.Sort(all)
	half.Merge(&other)
	for _, q := range []float64{0, 0.1, 0.5, 0.99, 1} {
		want := all[min(len(all)-1, int(q*float64(len(all))))]
		got := h.Quantile(q)
		if d := float64(got-want) / float64(want); (d < -growth+1 || d > growth-1) && want > 2*time.Duration(classUnit) {
			t.Errorf("%v: %s in place of %s", q, got, want)
		}
		if half.Quantile(q) != got {
			t.Errorf("%v: %s of two halves, %s of the whole", q, half.Quantile(q), got)
		}
	}
	if n := h.Above(50 * time.Millisecond); n < 3400 || n > 3960 {
		t.Errorf("%d of 10000 are above the mean", n)
	}
	if (&Hist{}).Quantile(0.5) != 0 {
		t.Error("half of nothing takes a time")
	}
}

// TestCalm: on a calm day everything reaches everybody, over a few hops.
func TestCalm(t *testing.T) {
	s := calm(1000, 100)
	r := result(t, s)
	h := r.All()
	if want := 100 * 999; int(h.N) != want || r.Readers() != want || r.Healed == nil {
		t.Fatalf("%d arrived of %d, %d were to; healed %v", h.N, r.Readers(), want, r.Healed)
	}
	if p50 := h.Quantile(0.5); p50 < s.Far.Latency || p50 > 10*s.Far.Latency {
		t.Errorf("half arrived within %s", p50)
	}
	if r.Packets-uint64(h.N) < r.Duplicates || r.Duplicates == 0 {
		t.Errorf("%d packets, %d duplicates, %d new", r.Packets, r.Duplicates, h.N)
	}
}

// TestSame: one spec gives one result; another seed another one.
func TestSame(t *testing.T) {
	s := calm(500, 50)
	s.Faults = []Fault{{Kind: Cut, From: 30 * time.Second, To: time.Minute, Parts: []Set{{{0, 250}}, {{250, 500}}}},
		{Kind: Ransomware, From: time.Second, To: time.Minute, Parts: []Set{{{0, 100}}}, Every: time.Second, Share: 0.1}}
	a, b := result(t, s), result(t, s)
	if !reflect.DeepEqual(a, b) {
		t.Error("two runs of one spec differ")
	}
	s.Seed++
	if c := result(t, s); reflect.DeepEqual(a.All(), c.All()) {
		t.Error("two seeds give the same times")
	}
}

// TestCut: what is said across a cut arrives after it, and what is said within the parts at
// once.
func TestCut(t *testing.T) {
	s := calm(400, 200)
	cut := Fault{Kind: Cut, From: 10 * time.Second, To: 100 * time.Second, Parts: []Set{{{0, 200}}, {{200, 400}}}}
	s.Faults = []Fault{cut}
	r := result(t, s)
	if int(r.All().N) != r.Readers() || r.Healed == nil || *r.Healed > 30*time.Second || r.Bit[0] == 0 {
		t.Fatalf("%d of %d arrived, healed %v, the cut concerned %d", r.All().N, r.Readers(), r.Healed, r.Bit[0])
	}
	for _, m := range r.Messages {
		if m.At < cut.From || m.At > cut.To-time.Second {
			continue
		}
		if fastest := m.Away.Quantile(0); fastest < cut.To-m.At {
			t.Fatalf("a message of %s was across after %s", m.At, fastest)
		}
		if slowest := m.Near.Quantile(1); m.At > cut.From+40*time.Second && slowest > 5*time.Second {
			t.Fatalf("a message of %s took %s within its part", m.At, slowest)
		}
	}
}

// TestCrash: who was off gets it all when it is back.
func TestCrash(t *testing.T) {
	s := calm(200, 100)
	s.Faults = []Fault{{Kind: Crash, From: 10 * time.Second, To: 90 * time.Second, Every: 100 * time.Millisecond, Parts: []Set{{{0, 60}}}}}
	r := result(t, s)
	if int(r.All().N) != r.Readers() || r.Healed == nil || r.Lost != 0 || r.Bit[0] != 60 {
		t.Errorf("%d of %d arrived, healed %v, %d lost, %d fell", r.All().N, r.Readers(), r.Healed, r.Lost, r.Bit[0])
	}
	lowest := 200
	for _, p := range r.Samples {
		lowest = min(lowest, p.Running)
	}
	if late := r.All().Above(20 * time.Second); lowest != 140 || late == 0 {
		t.Errorf("%d ran at least, %d messages waited", lowest, late)
	}
}

// TestRansomware: what is lost counts for nobody; the others lose nothing.
func TestRansomware(t *testing.T) {
	s := calm(300, 200)
	s.Faults = []Fault{{Kind: Ransomware, From: 5 * time.Second, To: 2 * time.Minute, Every: time.Second, Share: 0.5, Parts: []Set{{{0, 150}}}}}
	r := result(t, s)
	if r.Lost != 75 || int(r.All().N) != r.Readers() || r.Healed == nil {
		t.Errorf("%d lost, %d of %d arrived, healed %v", r.Lost, r.All().N, r.Readers(), r.Healed)
	}
	if most := 200 * 224; r.Readers() >= most {
		t.Errorf("%d readers are counted; messages of lost devices should not be", r.Readers())
	}
}

// TestThin: a thin line makes messages wait for it.
func TestThin(t *testing.T) {
	s := calm(100, 100)
	before := result(t, s).All().Quantile(0.5)
	s.Faults = []Fault{{Kind: Degrade, To: s.Duration, Parts: []Set{{{0, 100}}, {{0, 100}}}, Change: Link{Rate: 64_000, Loss: 0.2}}}
	r := result(t, s)
	if after := r.All().Quantile(0.5); after < 3*before || int(r.All().N) != r.Readers() {
		t.Errorf("%s before, %s on a thin line; %d of %d arrived", before, after, r.All().N, r.Readers())
	}
}

// TestStop: a run that is ended early says so.
func TestStop(t *testing.T) {
	r, err := Run(t.Context(), calm(100, 100), Options{Progress: func(done, _ time.Duration, _ uint64) bool { return done < time.Minute }})
	if err != nil || !r.Stopped {
		t.Errorf("%v, %+v", err, r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := Run(ctx, calm(100, 100), Options{}); err != nil || !r.Stopped {
		t.Errorf("%v, %+v", err, r)
	}
}

func TestBadSpec(t *testing.T) {
	for name, spoil := range map[string]func(*Spec){
		"one device":         func(s *Spec) { s.Sites = []int{1} },
		"too many":           func(s *Spec) { s.Sites = []int{MaxDevices, 1} },
		"too much to hold":   func(s *Spec) { s.Sites = []int{MaxDevices}; s.Messages = make([]Message, 5000) },
		"too long":           func(s *Spec) { s.Duration = MaxTime + 1 },
		"degree":             func(s *Spec) { s.Params.Degree = 0 },
		"order":              func(s *Spec) { s.Messages[0].At = s.Duration },
		"sender":             func(s *Spec) { s.Messages[0].From = 100 },
		"group":              func(s *Spec) { s.Messages[0].Group = 1 },
		"members":            func(s *Spec) { s.Groups[0][0].End = 101 },
		"fault without part": func(s *Spec) { s.Faults = []Fault{{Kind: Cut}} },
		"fault of strangers": func(s *Spec) { s.Faults = []Fault{{Kind: Crash, Parts: []Set{{{0, 101}}}}} },
	} {
		s := calm(100, 10)
		spoil(s)
		if _, err := Run(t.Context(), s, Options{}); !errors.Is(err, ErrSpec) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// BenchmarkModel: events a second of one core, and what a run takes of memory is told by
// -benchmem as bytes that were asked for.
func BenchmarkModel(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, events := calm(n, 20), uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				events += result(b, s).Events
			}
			b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
