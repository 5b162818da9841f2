package node

import "time"

// Clock is where a node gets its time, so that each simulated node can have a
// clock of its own, skewed or stepped. [SystemClock] is the real one.
type Clock interface {
	// Now returns the wall-clock time.
	Now() time.Time
	// After delivers one value when d has elapsed.
	After(d time.Duration) <-chan time.Time
}

// SystemClock returns the machine's clock. This file is the only one outside
// cmd that reads it.
func SystemClock() Clock { return systemClock{} }

type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }
