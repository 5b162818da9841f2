package mesh

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// stillClock never moves and hands out a timer that the test fires.
type stillClock struct {
	now   time.Time
	timer chan time.Time
	asked []time.Duration
}

func (c *stillClock) Now() time.Time { return c.now }
func (c *stillClock) After(d time.Duration) <-chan time.Time {
	c.asked = append(c.asked, d)
	return c.timer
}

func TestAgenda(t *testing.T) {
	a := newAgenda[string]()
	if _, ok := a.next(); ok {
		t.Error("an empty agenda waits for something")
	}
	a.set("late", time.Hour)
	a.set("soon", time.Second)
	a.sooner("late", time.Minute)
	a.sooner("soon", time.Hour)
	if d, _ := a.next(); d != time.Second {
		t.Errorf("next in %v", d)
	}
	if due := a.advance(time.Second); !slices.Equal(due, []string{"soon"}) {
		t.Errorf("due: %v", due)
	}
	if d, _ := a.next(); d != 59*time.Second {
		t.Errorf("next in %v", d)
	}
	a.drop("late")
	if due := a.advance(time.Hour); due != nil {
		t.Errorf("due: %v", due)
	}
}

// A clock that jumps while we wait moves the agenda by no more than the wait.
func TestAgendaSurvivesSteps(t *testing.T) {
	done := make(chan struct{})
	for _, step := range []time.Duration{-48 * time.Hour, 0, 48 * time.Hour} {
		a := newAgenda[int]()
		a.set(1, time.Minute)
		wake := make(chan struct{}, 1)
		wake <- struct{}{}
		start := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
		c := &steppingClock{times: []time.Time{start, start.Add(step)}}
		passed := a.wait(c, wake, done)
		if want := min(max(step, 0), time.Minute); passed != want {
			t.Errorf("a step of %v counted as %v, want %v", step, passed, want)
		}
	}
	// The timer says that the whole wait has passed, whatever the clock says.
	a := newAgenda[int]()
	a.set(1, time.Minute)
	c := &stillClock{timer: make(chan time.Time, 1)}
	c.timer <- time.Time{}
	if passed := a.wait(c, nil, done); passed != time.Minute {
		t.Errorf("after the timer: %v", passed)
	}
}

type steppingClock struct{ times []time.Time }

func (c *steppingClock) Now() time.Time {
	t := c.times[0]
	c.times = c.times[1:]
	return t
}

func (c *steppingClock) After(time.Duration) <-chan time.Time { return nil }

func TestJitterAndBackoff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "d"))
		if j := jitter(d); j < d*3/4 || j > d*5/4 {
			t.Fatalf("jitter(%v) = %v", d, j)
		}
		n := rapid.IntRange(0, 1000).Draw(t, "fails")
		if b := backoff(n); b < redialMin || b > redialMax || (n > 0 && b < backoff(n-1)) {
			t.Fatalf("backoff(%d) = %v", n, b)
		}
	})
}
