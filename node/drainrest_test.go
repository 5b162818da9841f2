package node

import (
	"sync/atomic"
	"testing"
	"time"

	"tocsin/ledger"
)

// TestDrainRestsBetweenTurns: what comes in a burst shares records, whoever brings it one by one.
func TestDrainRestsBetweenTurns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var records atomic.Int64
	a := w.enrol("Amal", orgHospital).start(t, alone, func(cfg *Config) {
		cfg.Step = func(step string) {
			if step == "inbound:journalled" {
				records.Add(1)
			}
		}
	})
	d := w.enrol("Dee", orgAmbulance).start(t, alone)
	synced(t, a, d)
	a.drainNow(t)
	frames := newStranger(t, d).write(t, 200, ledger.Routine)
	before, start := records.Load(), time.Now()
	for _, f := range frames {
		a.accept(t.Context(), f)
	}
	a.drainNow(t)
	most := int64(time.Since(start)/drainPause) + 3
	if k := records.Load() - before; k == 0 || k > most {
		t.Errorf("%d entries took %d records in the time of %d", len(frames), k, most)
	}
}

func TestRestLeft(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		since time.Time
		want  time.Duration
	}{
		{now, drainPause},
		{now.Add(-drainPause / 4), drainPause - drainPause/4},
		{now.Add(-drainPause), 0},
		{now.Add(-time.Hour), drainPause - time.Hour},
		{now.Add(24 * time.Hour), drainPause}, // set back: what is urgent waits no longer for that
	} {
		if d := restLeft(drainPause, c.since, now); d != c.want {
			t.Errorf("since %v: %v, want %v", c.since.Sub(now), d, c.want)
		}
	}
	if d := restLeft(0, time.Time{}, now); d > 0 {
		t.Errorf("the first turn waits %v", d)
	}
}
