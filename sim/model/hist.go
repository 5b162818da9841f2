package model

import (
	"math"
	"time"
)

// Hist counts times in classes whose bounds grow by a fixed share, so that every
// quantile is right to that share. The zero value is empty.
type Hist struct {
	First  int      // class of Counts[0]
	Counts []uint32 // by class
	N      uint64
}

// growth is the share by which the classes grow; the first ends at classUnit.
const (
	growth    = 1.01
	classUnit = float64(100 * time.Microsecond)
)

var perClass = 1 / math.Log(growth)

// Add counts one time.
func (h *Hist) Add(d time.Duration) {
	c := 0
	if f := float64(d); f > classUnit {
		c = 1 + int(math.Log(f/classUnit)*perClass)
	}
	h.add(c, 1)
}

func (h *Hist) add(class int, n uint32) {
	switch {
	case len(h.Counts) == 0:
		h.First = class
		h.Counts = append(h.Counts, 0)
	case class < h.First:
		h.Counts = append(make([]uint32, h.First-class, h.First-class+len(h.Counts)), h.Counts...)
		h.First = class
	}
	if more := class - h.First + 1 - len(h.Counts); more > 0 {
		h.Counts = append(h.Counts, make([]uint32, more)...)
	}
	h.Counts[class-h.First] += n
	h.N += uint64(n)
}

// Merge counts all of o too.
func (h *Hist) Merge(o *Hist) {
	for i, n := range o.Counts {
		if n > 0 {
			h.add(o.First+i, n)
		}
	}
}

// Quantile returns the time that a share q of all did not exceed, by the nearest rank; the
// middle of its class. It is 0 where nothing was counted.
func (h *Hist) Quantile(q float64) time.Duration {
	if h.N == 0 {
		return 0
	}
	rank := min(uint64(q*float64(h.N)), h.N-1)
	for i, n := range h.Counts {
		if uint64(n) > rank {
			return middle(h.First + i)
		}
		rank -= uint64(n)
	}
	return middle(h.First + len(h.Counts) - 1)
}

// Above returns how many times were longer than d, to one class.
func (h *Hist) Above(d time.Duration) (n uint64) {
	for i, c := range h.Counts {
		if middle(h.First+i) > d {
			n += uint64(c)
		}
	}
	return n
}

// Each calls f with the middle of each class that counted something, from the shortest.
func (h *Hist) Each(f func(d time.Duration, n uint64)) {
	for i, n := range h.Counts {
		if n > 0 {
			f(middle(h.First+i), uint64(n))
		}
	}
}

func middle(class int) time.Duration {
	if class == 0 {
		return time.Duration(classUnit / 2)
	}
	return time.Duration(classUnit * math.Pow(growth, float64(class)-0.5))
}
