package main

import (
	"os"
	"runtime/debug"

	"tocsin/sim"
)

const (
	// roomy is how much a run of real devices may take before its garbage is collected
	// more often than every time the heap has doubled, in MiB. Two hundred devices, which hold
	// 0.8 GiB, stay below 1.5 GB by it; a small world never gets there.
	roomy = 1220
	// spare is what a larger world may take beyond what it holds, as a part of that. Where
	// it is much less, the processor does little but collect garbage.
	spare = 0.4
)

// bound is the most memory that a run takes by design, in bytes, and false for one on the
// scale model, which holds all that it takes.
func bound(s *sim.Scenario) (int64, bool) {
	if s.Scaled() {
		return 0, false
	}
	return int64(max(roomy, holds(s)*(1+spare))) << 20, true
}

// boundMemory makes the process keep to the bound of a scenario where it can: it is no
// reason to fail. GOGC and GOMEMLIMIT, by which whoever runs it says what he wants, come before it.
func boundMemory(s *sim.Scenario) {
	limit, ok := bound(s)
	if !ok || os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetMemoryLimit(limit)
}
