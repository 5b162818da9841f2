package mesh

import "time"

// window bounds what is under way to one neighbour: written, and not yet
// acknowledged. What has gone into the buffers of a muxer, a kernel or a router
// cannot be overtaken any more, so there should be about as much in them as the link
// carries in a moment, and no more. Urgent and routine frames each have a window of
// the same size, so that the one is open when the other is full.
//
// The size follows how long an acknowledgement takes: it doubles while that is
// hardly longer than with the smallest window, and is halved once the queue ahead
// takes windowDelay. Only where frames waited for it is that looked at, and now and
// then it is small for a moment to learn what an empty way takes.
//
// It is pure: no clock, no goroutine, no lock.
type window struct {
	size  int
	under [2]int // bytes under way, by lane
	spans []span // the same, in the order in which they were written

	sent, acked int64 // bytes, since the stream began
	mark        int64 // the place whose acknowledgement is awaited; 0 = none
	markAt      time.Time

	rest    time.Time     // since when nothing was under way; zero while something is
	heard   time.Time     // the last acknowledgement, or when the first thing was put under way after a rest
	last    int           // bytes of the newest parcel
	base    time.Duration // how long an acknowledgement takes with the smallest window
	samples int           // since base was learnt
	resume  int           // while base is being learnt: the size to go back to; else 0
}

// span is a run of bytes of one lane.
type span struct{ lane, n int }

func newWindow() window { return window{size: windowMin} }

// laneOf returns which of the two windows a class is in.
func laneOf(class uint8) int {
	if class <= ClassUrgent {
		return 0
	}
	return 1
}

// open reports whether a parcel of the class may be written now. One that is open
// takes a whole parcel, however long. While nothing is acknowledged for long the way may be
// shut, and what goes into it would come before all that is more urgent: then it is the smallest.
func (w *window) open(class uint8, now time.Time) bool {
	size := w.size
	if w.underWay() > 0 && now.Sub(w.heard).Abs() > windowSilence+2*w.base {
		size = windowMin
	}
	return w.under[laneOf(class)] < size
}

// wrote notes n bytes of a class.
func (w *window) wrote(class uint8, n int, now time.Time) {
	if !w.rest.IsZero() && now.Sub(w.rest).Abs() > windowIdle {
		w.size, w.resume, w.mark = windowMin, 0, 0
	}
	if w.underWay() == 0 {
		w.heard = now
	}
	w.rest = time.Time{}
	lane := laneOf(class)
	w.under[lane] += n
	w.sent, w.last = w.sent+int64(n), n
	if last := len(w.spans) - 1; last >= 0 && w.spans[last].lane == lane {
		w.spans[last].n += n
	} else {
		w.spans = append(w.spans, span{lane, n})
	}
}

// refused notes that frames wait because it is full: how long it takes until it is
// open again says how fast the link is.
func (w *window) refused(now time.Time) {
	// What a wider window left on the way says nothing about this one.
	if w.mark == 0 && max(w.under[0], w.under[1])-w.last < w.size {
		// The neighbour may keep an acknowledgement of less than ackEvery bytes back.
		w.mark, w.markAt = max(w.sent-ackEvery+1, w.acked+1), now
	}
}

// ack takes an acknowledgement of n further bytes; false where so many are not
// under way.
func (w *window) ack(n int, now time.Time) bool {
	if n <= 0 || n > w.under[0]+w.under[1] {
		return false
	}
	w.acked, w.heard = w.acked+int64(n), now
	for n > 0 {
		s := &w.spans[0]
		k := min(n, s.n)
		s.n, n = s.n-k, n-k
		w.under[s.lane] -= k
		if s.n == 0 {
			w.spans = w.spans[1:]
		}
	}
	if len(w.spans) == 0 {
		w.spans, w.rest = nil, now // the array goes
	}
	if w.mark > 0 && w.acked >= w.mark {
		w.mark = 0
		w.sample(now.Sub(w.markAt))
	}
	return true
}

// sample takes how long an acknowledgement took. One in which the clock was
// stepped says nothing.
func (w *window) sample(d time.Duration) {
	if d < 0 || d > ackTimeout {
		return
	}
	if d > windowStall {
		w.size, w.resume = windowMin, 0
		return
	}
	if w.size == windowMin {
		w.base, w.samples = d, 0
		w.size, w.resume = max(w.resume, 2*windowMin), 0
		return
	}
	switch queue := d - w.base; {
	case queue > windowDelay:
		w.size = max(w.size/2, windowMin)
	case queue < windowDelay/2:
		w.size = min(w.size*2, windowMax)
	}
	if w.samples++; w.samples >= windowSamples {
		w.size, w.resume = windowMin, w.size
	}
}

// underWay returns how many bytes are not acknowledged.
func (w *window) underWay() int { return w.under[0] + w.under[1] }
