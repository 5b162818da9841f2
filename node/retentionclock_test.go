package node

import (
	"bytes"
	"testing"
	"time"

	"tocsin/node/message"
)

// TestRetentionClock: what agrees with the time that the process measured counts, a leap does not, and leap upon leap counts a day each.
func TestRetentionClock(t *testing.T) {
	t.Parallel()
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	type reading struct{ gap, running time.Duration }
	for name, c := range map[string]struct {
		readings []reading
		want     time.Duration
	}{
		"it runs":                             {[]reading{{time.Hour, time.Hour}, {time.Hour, time.Hour}}, 2 * time.Hour},
		"it was off at night":                 {[]reading{{16 * time.Hour, 0}, {8 * time.Hour, 8 * time.Hour}}, day},
		"it ran for a week, locked":           {[]reading{{7 * day, 7 * day}}, 7 * day},
		"it was set forward":                  {[]reading{{31 * day, time.Hour}, {time.Hour, time.Hour}}, 2 * time.Hour},
		"by ten years":                        {[]reading{{10 * year, 0}, {time.Hour, time.Hour}}, time.Hour},
		"and back":                            {[]reading{{31 * day, 0}, {-31 * day, 0}, {31 * day, 0}}, 0},
		"back alone":                          {[]reading{{-31 * day, time.Hour}, {time.Hour, time.Hour}}, 2 * time.Hour},
		"off for a weekend, once":             {[]reading{{3 * day, 0}, {day, day}}, day},
		"on once a week":                      {[]reading{{7 * day, 0}, {time.Hour, time.Hour}, {7 * day, 0}, {7 * day, 0}}, 2*day + time.Hour},
		"a correction of a second":            {[]reading{{7 * day, 0}, {-time.Second, 0}, {7 * day, 0}}, day},
		"a process that measures nonsense":    {[]reading{{time.Hour, -time.Hour}}, time.Hour},
		"slower than the process, by an hour": {[]reading{{time.Hour, 2 * time.Hour}}, time.Hour},
	} {
		at := time.Unix(1_700_000_000, 0)
		k := retentionClock{}.advance(at, 0)
		for _, r := range c.readings {
			at = at.Add(r.gap)
			raw, err := k.advance(at, r.running).marshal()
			check(t, err)
			k, err = parseRetentionClock(raw) // as after a restart
			check(t, err)
		}
		if k.elapsed != c.want {
			t.Errorf("%s: %v, want %v", name, k.elapsed, c.want)
		}
	}
}

// FuzzKeeping: what the journal keeps of retention is read strictly, and written as it was read.
func FuzzKeeping(f *testing.F) {
	seed := func(raw []byte, err error) {
		check(f, err)
		f.Add(raw)
		f.Add(append(raw, 0))
	}
	seed(retentionClock{wall: time.Unix(1_700_000_000, 0), elapsed: time.Hour, away: true}.marshal())
	seed((&settled{mode: message.Exercise, state: message.IncidentCancelled, at: time.Unix(1_700_000_000, 0), elapsed: time.Hour}).marshal())
	seed(marshalKept(time.Hour))
	f.Add(bytes.Repeat([]byte{0xff}, 18))
	f.Fuzz(func(t *testing.T, raw []byte) {
		again := func(out []byte, err error) {
			if err != nil || !bytes.Equal(out, raw) {
				t.Errorf("read %x, written as %x: %v", raw, out, err)
			}
		}
		if c, err := parseRetentionClock(raw); err == nil {
			again(c.marshal())
		}
		if s, err := parseSettled(raw); err == nil {
			again(s.marshal())
		}
		if k, err := parseKept(raw); err == nil {
			again(marshalKept(*k))
		}
	})
}
