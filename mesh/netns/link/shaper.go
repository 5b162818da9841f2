package link

import (
	"errors"
	"time"
)

// DefaultQueue is how many bytes may wait for the line where a [Shape] names no
// bound: a small router's buffer.
const DefaultQueue = 64 << 10

// Shape says what one direction of a link does to packets.
type Shape struct {
	// Rate is what the line carries, in bits a second; 0 means no bound.
	Rate int64
	// Delay is how long a packet travels once the line has taken it, so that a
	// round trip takes the delays of both directions.
	Delay time.Duration
	// Loss is the share of packets that the line takes and does not deliver, from
	// 0 to 1.
	Loss float64
	// Queue is how many bytes may wait for the line; what comes beyond is dropped.
	// 0 means DefaultQueue. It has no meaning without a Rate.
	Queue int
}

// Validate says what is wrong with a shape.
func (s Shape) Validate() error {
	switch {
	case s.Rate < 0:
		return errors.New("link: a rate is a number of bits a second, or 0 for no bound")
	case s.Delay < 0:
		return errors.New("link: a delay cannot be negative")
	case !(s.Loss >= 0 && s.Loss <= 1): // NaN too
		return errors.New("link: a loss is a share from 0 to 1")
	case s.Queue < 0:
		return errors.New("link: a queue is a number of bytes, or 0 for the usual one")
	}
	return nil
}

// Fate is what becomes of a packet.
type Fate uint8

// The fates.
const (
	Delivered Fate = iota
	Lost           // taken by the line and not delivered
	Overflown      // the queue before the line was full
)

// Shaper decides over the packets of one direction. It is pure: time and chance
// are handed in. It is not safe for use by several goroutines.
type Shaper struct {
	shape Shape
	// free is when the line has sent everything that it has taken.
	free time.Duration
}

// NewShaper returns a shaper whose line is free.
func NewShaper(s Shape) (*Shaper, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if s.Queue == 0 {
		s.Queue = DefaultQueue
	}
	return &Shaper{shape: s}, nil
}

// Offer decides over a packet of size bytes that comes at now, measured from any
// fixed point; calls must be in the order of now. dice is a number from 0
// (included) to 1 (excluded), drawn anew for each packet. Of a packet that is
// delivered leave says when it comes out at the other end; leaves are in the order
// of offers.
func (s *Shaper) Offer(now time.Duration, size int, dice float64) (leave time.Duration, fate Fate) {
	s.free = max(s.free, now)
	if s.shape.Rate > 0 {
		if s.sending(s.free-now)+size > s.shape.Queue {
			return 0, Overflown
		}
		s.free += time.Duration(int64(size) * 8 * int64(time.Second) / s.shape.Rate)
	}
	if dice < s.shape.Loss {
		return 0, Lost // on the way: it took its time on the line
	}
	return s.free + s.shape.Delay, Delivered
}

// sending returns how many bytes the line sends in d.
func (s *Shaper) sending(d time.Duration) int {
	return int(d.Seconds() * float64(s.shape.Rate) / 8)
}
