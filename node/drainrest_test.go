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
		until, now time.Time
		least, max time.Duration
	}{
		{time.Time{}, now, -1 << 63, 0},
		{now, now.Add(time.Second), -time.Second, 0},
		{now.Add(drainPause), now, drainPause, drainPause},
		{now.Add(drainPause), now.Add(-24 * time.Hour), drainRetry, drainRetry}, // set back
	} {
		if d := restLeft(c.until, c.now); d < c.least || d > c.max {
			t.Errorf("until %v at %v: %v", c.until, c.now, d)
		}
	}
}
