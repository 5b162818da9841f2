package main

import (
	"math"
	"runtime/debug"
	"testing"

	"tocsin/sim"
)

// calm is a quiet world of so many devices with so many neighbours each.
func calm(devices, neighbours int) *sim.Scenario {
	return &sim.Scenario{Mesh: sim.MeshSpec{Neighbours: neighbours, Sites: []sim.Site{{Name: "ward", Devices: devices}}}}
}

// What a run may take is enough for what it holds, and 200 devices stay below 1.5 GB with
// what is not the heap's.
func TestBound(t *testing.T) {
	small, _ := bound(calm(3, 0))
	if ward, _ := bound(calm(40, 0)); small != roomy<<20 || ward != small {
		t.Errorf("%d bytes for 3 devices, %d for 40", small, ward)
	}
	if limit, ok := bound(calm(200, 8)); !ok || limit+mibPerRun<<20 > 1_500_000_000 {
		t.Errorf("200 devices may take %d bytes", limit)
	}
	for _, s := range []*sim.Scenario{calm(3, 0), calm(200, 8), calm(200, 32), calm(sim.MaxFull, 8), calm(sim.MaxFull, 32)} {
		limit, ok := bound(s)
		held := int64(holds(s) * (1 << 20))
		if _, memory := cost(s); !ok || limit < held+held/3 || memory > limit+mibPerRun<<20 {
			t.Errorf("%d devices: %d bytes held, %d allowed, %d foretold", s.Devices(), held, limit, memory)
		}
	}
	if _, ok := bound(calm(sim.MaxFull+1, 8)); ok {
		t.Error("the scale model is bounded")
	}
}

// The bound is kept to unless the user has said something else.
func TestBoundMemory(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	s := calm(200, 8)
	want, _ := bound(s)
	for _, c := range []struct {
		gogc, limit string
		want        int64
	}{{"", "", want}, {"50", "", math.MaxInt64}, {"off", "", math.MaxInt64}, {"", "3GiB", math.MaxInt64}} {
		t.Setenv("GOGC", c.gogc)
		t.Setenv("GOMEMLIMIT", c.limit)
		debug.SetMemoryLimit(math.MaxInt64)
		boundMemory(s)
		if got := debug.SetMemoryLimit(-1); got != c.want {
			t.Errorf("GOGC=%q GOMEMLIMIT=%q: a limit of %d, want %d", c.gogc, c.limit, got, c.want)
		}
	}
}
