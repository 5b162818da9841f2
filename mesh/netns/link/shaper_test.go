package link

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func newShaper(t *testing.T, s Shape) *Shaper {
	t.Helper()
	sh, err := NewShaper(s)
	if err != nil {
		t.Fatal(err)
	}
	return sh
}

// TestRate: a line that is always busy sends exactly its rate, and each packet
// waits for those before it.
func TestRate(t *testing.T) {
	sh := newShaper(t, Shape{Rate: 64_000, Delay: 400 * time.Millisecond, Queue: 1 << 20})
	for i := range 80 {
		leave, fate := sh.Offer(0, 1000, 0.5)
		if want := time.Duration(i+1)*125*time.Millisecond + 400*time.Millisecond; fate != Delivered || leave != want {
			t.Fatalf("packet %d leaves at %v as %v, not at %v", i, leave, fate, want)
		}
	}
	// A line that was idle owes nothing and has saved nothing up.
	if leave, _ := sh.Offer(time.Minute, 1000, 0.5); leave != time.Minute+525*time.Millisecond {
		t.Fatalf("after a pause a packet leaves at %v", leave)
	}
}

// TestQueue: what exceeds the queue is dropped, costs the line nothing, and the
// queue drains at the line's rate.
func TestQueue(t *testing.T) {
	sh := newShaper(t, Shape{Rate: 8_000, Queue: 3000})
	fates := func(now time.Duration, n int) (delivered int) {
		for range n {
			if _, fate := sh.Offer(now, 1000, 0); fate == Delivered {
				delivered++
			} else if fate != Overflown {
				t.Fatalf("a packet is %v", fate)
			}
		}
		return delivered
	}
	if got := fates(0, 10); got != 3 {
		t.Fatalf("a queue of 3 packets took %d", got)
	}
	if got := fates(2*time.Second, 10); got != 2 {
		t.Fatalf("two seconds on, at a packet a second, it took %d", got)
	}
	if leave, _ := newShaper(t, Shape{}).Offer(time.Second, 1<<30, 0.5); leave != time.Second {
		t.Fatalf("without a rate, a delay or a loss a packet leaves at %v", leave)
	}
}

// TestLoss: the share that is lost is the share that was asked for, and what is
// lost has used the line.
func TestLoss(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, loss := range []float64{0, 0.1, 0.5, 1} {
		sh := newShaper(t, Shape{Rate: 8_000_000, Loss: loss, Queue: math.MaxInt})
		const packets = 20_000
		lost := 0
		for range packets {
			if _, fate := sh.Offer(0, 1000, random.Float64()); fate == Lost {
				lost++
			}
		}
		if share := float64(lost) / packets; math.Abs(share-loss) > 0.01 {
			t.Errorf("of a loss of %v became %v", loss, share)
		}
		if sh.free != packets*time.Millisecond {
			t.Errorf("with a loss of %v the line was busy for %v", loss, sh.free)
		}
	}
}

func TestShapeRefused(t *testing.T) {
	for want, s := range map[string]Shape{
		"rate":  {Rate: -1},
		"delay": {Delay: -1},
		"loss":  {Loss: math.NaN()},
		"queue": {Queue: -1},
		"share": {Loss: 1.1},
	} {
		if _, err := NewShaper(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

// FuzzShaper: whatever is offered, nothing leaves before it could have, or
// before what was offered earlier, and no more is delivered than the line sends.
func FuzzShaper(f *testing.F) {
	f.Add(int64(64_000), int64(400), 0.1, 0, uint64(7))
	f.Add(int64(0), int64(0), 0.0, 1500, uint64(1))
	f.Add(int64(1_000_000_000), int64(1), 0.9, 1<<20, uint64(3))
	f.Fuzz(func(t *testing.T, rate, delay int64, loss float64, queue int, seed uint64) {
		s := Shape{Rate: rate, Delay: time.Duration(delay % 1e10), Loss: loss, Queue: queue}
		sh, err := NewShaper(s)
		if err != nil {
			return
		}
		random := rand.New(rand.NewPCG(seed, 0))
		now, last, sent := time.Duration(0), time.Duration(0), 0
		for range 200 {
			now += time.Duration(random.IntN(int(10 * time.Millisecond)))
			size := 1 + random.IntN(1500)
			leave, fate := sh.Offer(now, size, random.Float64())
			if fate != Delivered {
				continue
			}
			sent += size
			if leave < now+s.Delay || leave < last {
				t.Fatalf("%+v: at %v a packet leaves at %v, after one at %v", s, now, leave, last)
			}
			last = leave
			if busy := float64(sent*8) / float64(max(rate, 1)); rate > 0 && (leave-s.Delay).Seconds() < busy-1e-3 {
				t.Fatalf("%+v: %d bytes by %v are more than the line sends", s, sent, leave)
			}
		}
	})
}
