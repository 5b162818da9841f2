package mesh

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// wire is a queue of bytes ahead of a wire, with a delay there and back, on a
// clock of its own.
type wire struct {
	rate  float64 // bytes a second
	delay time.Duration
	now   time.Time

	busy   time.Time // until then the wire is taken
	flying []flight
	unsaid int // arrived and not acknowledged
}

// flight is n bytes on their way.
type flight struct {
	at time.Time
	n  int
}

// run sends n bytes of an endless backlog through w and returns how long it took and the
// longest queue in the second half.
func (l *wire) run(w *window, n int) (took time.Duration, queue int) {
	begun := l.now
	for acked := 0; acked < n; {
		for w.open(ClassRoutine, l.now) {
			w.wrote(ClassRoutine, 1200, l.now)
			if l.busy.Before(l.now) {
				l.busy = l.now
			}
			l.busy = l.busy.Add(time.Duration(1200 / l.rate * float64(time.Second)))
			l.flying = append(l.flying, flight{l.busy.Add(l.delay), 1200})
		}
		w.refused(l.now)
		if acked > n/2 {
			queue = max(queue, w.underWay())
		}
		f := l.flying[0]
		l.flying = l.flying[1:]
		l.now = f.at
		acked += f.n
		if l.unsaid += f.n; l.unsaid >= ackEvery {
			if !w.ack(l.unsaid, l.now) {
				panic("the window lost count")
			}
			l.unsaid = 0
		}
	}
	return l.now.Sub(begun), queue
}

// TestWindowFits: the window leaves little in the queue of a slow link, and costs a
// fast or a long one next to nothing.
func TestWindowFits(t *testing.T) {
	for _, c := range []struct {
		name  string
		rate  float64 // bytes a second
		delay time.Duration
		queue int     // the most that may be under way
		share float64 // of the link that must be used
	}{
		{"64 kb/s, 800 ms", 8e3, 800 * time.Millisecond, 18 << 10, 0.8},
		{"1 Mb/s, 20 ms", 125e3, 20 * time.Millisecond, 18 << 10, 0.9},
		{"1 Mb/s, 1 ms", 125e3, time.Millisecond, 18 << 10, 0.9},
		{"10 Mb/s, 10 ms", 1.25e6, 10 * time.Millisecond, 140 << 10, 0.9},
		{"100 Mb/s, 30 ms", 12.5e6, 30 * time.Millisecond, windowMax + 1200, 0.9},
		{"1 Gb/s, 0.3 ms", 125e6, 300 * time.Microsecond, windowMax + 1200, 0.9},
	} {
		w, l := newWindow(), wire{rate: c.rate, delay: c.delay, now: time.Unix(0, 0)}
		n := int(c.rate * 60)
		took, queue := l.run(&w, n)
		share := float64(n) / c.rate / took.Seconds()
		t.Logf("%s: at most %d bytes under way, %.0f %% of the link", c.name, queue, 100*share)
		if queue > c.queue || share < c.share {
			t.Errorf("%s: %d bytes are under way, want at most %d; %.2f of the link is used", c.name, queue, c.queue, share)
		}
	}
}

// TestWindowFollows: a link that becomes slow, or a clock that is stepped, does not
// leave a wide window behind.
func TestWindowFollows(t *testing.T) {
	w, l := newWindow(), wire{rate: 12.5e6, delay: time.Millisecond, now: time.Unix(0, 0)}
	l.run(&w, 50e6)
	if w.size != windowMax {
		t.Errorf("a fast link has a window of %d bytes", w.size)
	}
	l.rate = 125e3
	if _, queue := l.run(&w, 10e6); queue > 18<<10 {
		t.Errorf("%d bytes are under way after the link became slow", queue)
	}
	l.now = l.now.Add(-24 * time.Hour)
	if _, queue := l.run(&w, 10e6); queue > 18<<10 {
		t.Errorf("%d bytes are under way after the clock was stepped back", queue)
	}
}

// TestWindowLanes: the one lane is open when the other is full, and every
// acknowledgement goes to the lane that was written.
func TestWindowLanes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWindow()
		var under [2]int
		var order []span
		for range rapid.IntRange(1, 100).Draw(rt, "steps") {
			class := rapid.Uint8Range(0, ClassBulk).Draw(rt, "class")
			lane := laneOf(class)
			if w.open(class, time.Unix(0, 0)) != (under[lane] < w.size) {
				rt.Fatalf("lane %d with %d under way: open is %v", lane, under[lane], w.open(class, time.Unix(0, 0)))
			}
			if w.open(class, time.Unix(0, 0)) && rapid.Bool().Draw(rt, "write") {
				n := rapid.IntRange(1, 5000).Draw(rt, "size")
				w.wrote(class, n, time.Unix(0, 0))
				under[lane] += n
				order = append(order, span{lane, n})
				continue
			}
			all := under[0] + under[1]
			if w.ack(all+1, time.Unix(0, 0)) || w.ack(0, time.Unix(0, 0)) || w.ack(-1, time.Unix(0, 0)) {
				rt.Fatal("what was not sent is acknowledged")
			}
			if all == 0 {
				continue
			}
			n := rapid.IntRange(1, all).Draw(rt, "acked")
			if !w.ack(n, time.Unix(0, 0)) {
				rt.Fatal("what was sent is not acknowledged")
			}
			for n > 0 {
				k := min(n, order[0].n)
				under[order[0].lane] -= k
				n -= k
				if order[0].n -= k; order[0].n == 0 {
					order = order[1:]
				}
			}
			if w.under != under {
				rt.Fatalf("%v are under way, want %v", w.under, under)
			}
		}
	})
}

// TestWindowShut: a way that was shut for a while is not taken for a long one, and
// after a pause the window is small again.
func TestWindowShut(t *testing.T) {
	w, now := newWindow(), time.Unix(0, 0)
	fill := func() {
		for w.open(ClassRoutine, now) {
			w.wrote(ClassRoutine, 1200, now)
		}
		w.refused(now)
	}
	for _, shut := range []time.Duration{windowStall + time.Second, 20 * time.Second} {
		fill()
		now = now.Add(shut)
		if !w.ack(w.underWay(), now) || w.size != windowMin {
			t.Fatalf("after %v a window of %d bytes", shut, w.size)
		}
	}
	for range 20 {
		fill()
		now = now.Add(time.Millisecond)
		w.ack(w.underWay(), now)
	}
	if w.size != windowMax {
		t.Fatalf("a fast link has a window of %d bytes", w.size)
	}
	now = now.Add(windowIdle + time.Second)
	fill()
	if w.underWay() > windowMin+1200 {
		t.Errorf("%d bytes are under way after a pause", w.underWay())
	}
}

// TestWindowSilence: a window that has grown is the smallest again while nothing is
// acknowledged: what goes into a way that is shut comes before all that is more urgent.
func TestWindowSilence(t *testing.T) {
	w, now := newWindow(), time.Unix(0, 0)
	fill := func() {
		for w.open(ClassRoutine, now) {
			w.wrote(ClassRoutine, 1200, now)
		}
		w.refused(now)
	}
	for range 20 {
		fill()
		now = now.Add(time.Millisecond)
		w.ack(w.underWay(), now)
	}
	if w.size != windowMax {
		t.Fatalf("a fast link has a window of %d bytes", w.size)
	}
	for range 1000 { // as somebody says one thing after the other
		now = now.Add(20 * time.Millisecond)
		if w.open(ClassRoutine, now) {
			w.wrote(ClassRoutine, 600, now)
		}
	}
	if most := windowMin + 600*int(windowSilence/(20*time.Millisecond)); w.underWay() > most {
		t.Errorf("%d bytes went into a way that was shut, at most %d should", w.underWay(), most)
	}
	if !w.ack(4096, now) || !w.open(ClassRoutine, now) {
		t.Error("the window stays the smallest after an acknowledgement")
	}
	if now = now.Add(-24 * time.Hour); !w.ack(4096, now) || !w.open(ClassRoutine, now) {
		t.Error("a clock that was stepped back shuts the window")
	}
}
