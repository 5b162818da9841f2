package main

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestUntilGoesOnWhileThingsChange: a wait ends where nothing changes any more, and not
// because a machine is slow: the demo failed once on a busy one with a single device left.
func TestUntilGoesOnWhileThingsChange(t *testing.T) {
	t.Parallel()
	d := &demo{app: &app{now: time.Now}}
	left := 6
	fewer := func(context.Context) (string, error) {
		if left--; left == 0 {
			return "", nil
		}
		return strconv.Itoa(left) + " are left", nil
	}
	if err := d.untilWithin(t.Context(), time.Nanosecond, fewer); err != nil {
		t.Errorf("one after the other came: %v", err)
	}
	stuck := func(context.Context) (string, error) { return "one is left", nil }
	if err := d.untilWithin(t.Context(), time.Nanosecond, stuck); err == nil || !strings.Contains(err.Error(), "one is left") {
		t.Errorf("nothing came: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.untilWithin(ctx, time.Hour, stuck); err == nil || !strings.Contains(err.Error(), "one is left") {
		t.Errorf("the story is over: %v", err)
	}
}
