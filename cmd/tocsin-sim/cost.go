package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"time"

	"tocsin/sim"
)

// What a run costs, for the sentence before it starts: measured with real nodes on two
// shared cores (docs/performance.md). Every device learns of every other, so it grows by the square.
const (
	secondsPerDevice = 0.6   // of processor time, to start it and bring it into its groups
	secondsPerPair   = 0.012 // and for each pair of devices
	secondsPerMinute = 0.35  // and for each device and minute of story
	mibPerRun        = 60
	mibPerDevice     = 26 // taken, of which about half is held
	// Where each has few neighbours (mesh.neighbours), who witness each other seldom.
	fewPerDevice = 0.1
	fewPerPair   = 0.005
	fewPerMinute = 0.4
	fewMiB       = 9
	fewHeld      = 2.5   // MiB held by a device
	fewHeldPair  = 0.010 // and for each pair of devices
	// Of the scale model: a device, and a message at a device.
	bytesPerDevice   = 200
	eventsPerMessage = 4
	eventsPerSecond  = 5_000_000
)

// cost is about what a run takes: time of one processor, and bytes of memory.
func cost(s *sim.Scenario) (processor time.Duration, memory int64) {
	n := float64(s.Devices())
	if s.Scaled() {
		events := n * s.Expected() * eventsPerMessage
		return time.Duration(events / eventsPerSecond * float64(time.Second)), int64(n*bytesPerDevice + n*s.Expected()/8)
	}
	device, pair, minute, mib := secondsPerDevice, secondsPerPair, secondsPerMinute, float64(mibPerDevice)
	if sparse(s) {
		device, pair, minute, mib = fewPerDevice, fewPerPair, fewPerMinute, fewMiB
	}
	seconds := n*device + n*n*pair + n*(s.Duration+s.Heal).Minutes()*minute
	memory = int64(n*mib) << 20
	if limit, ok := bound(s); ok {
		memory = min(memory, limit)
	}
	return time.Duration(seconds * float64(time.Second)), memory + mibPerRun<<20
}

// sparse reports whether each device has few neighbours.
func sparse(s *sim.Scenario) bool {
	return s.Mesh.Neighbours > 0 && 4*s.Mesh.Neighbours < s.Devices()
}

// holds is about how much the devices of a scenario hold, in MiB: what is left where
// garbage was collected.
func holds(s *sim.Scenario) float64 {
	n := float64(s.Devices())
	if sparse(s) {
		return n*fewHeld + n*n*fewHeldPair
	}
	return n * mibPerDevice / 2
}

// costWords says before a run what it is and what it will take.
func costWords(s *sim.Scenario) string {
	processor, memory := cost(s)
	if s.Scaled() {
		return fmt.Sprintf("%d devices are more than the %d that run as real nodes: this is the scale model, which cannot tell whether the promises hold.\n"+
			"%s of story, about %.0f messages: roughly %s on one core, %d MiB of memory.",
			s.Devices(), sim.MaxFull, s.Duration, s.Expected(), about(processor), memory>>20+1)
	}
	return fmt.Sprintf("%d real devices, %s of story: roughly %s on two cores, %d MiB of memory.", s.Devices(), s.Duration,
		about(processor/2), memory>>20)
}

func about(d time.Duration) time.Duration {
	if d < 10*time.Second {
		return max(d.Round(time.Second), time.Second)
	}
	return d.Round(10 * time.Second)
}

// affordable refuses a run for which there is not enough memory, unless it is wanted anyway.
func affordable(s *sim.Scenario, anyway bool) error {
	_, memory := cost(s)
	free, known := freeMemory()
	if !known || memory <= free || anyway {
		return nil
	}
	fewer := "run fewer devices"
	if !s.Scaled() {
		fewer = fmt.Sprintf("run fewer devices, or more than %d on the scale model", sim.MaxFull)
	}
	return &usageError{fmt.Errorf("%s needs about %d MiB of memory, and %d MiB are free: %s, or add --anyway",
		s.Name, memory>>20, free>>20, fewer)}
}

// freeMemory is what the system says it could give, and false where it does not say.
func freeMemory() (int64, bool) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	defer f.Close() // it was only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib int64
		if rest, ok := strings.CutPrefix(lines.Text(), "MemAvailable:"); ok {
			_, err := fmt.Sscan(rest, &kib)
			return kib << 10, err == nil
		}
	}
	return 0, false
}
