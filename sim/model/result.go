package model

import "time"

// Result is all that a run found.
type Result struct {
	Devices  int
	Lost     int // for good
	Messages []Told
	Samples  []Sample
	// HealBegan is when the last fault was over; Healed how long after it all that
	// ran held the same, nil for not at all.
	HealBegan time.Duration
	Healed    *time.Duration
	// Bit is how often each fault had an effect.
	Bit        []uint64
	Events     uint64 // that the wheel handed out
	Packets    uint64 // with messages
	Duplicates uint64 // of those that their receiver had already
	Bytes      uint64 // of those packets
	Stopped    bool   // before its end
}

// Told is what became of one message of Spec.Messages. One of a device that was off, or
// was lost later, counts no readers.
type Told struct {
	Message
	// Near is of readers at the sender's site, Away of all others: how many there
	// were, and how long it took to those that it reached.
	NearReaders, AwayReaders int
	Near, Away               Hist
}

// Sample is the mesh at one moment.
type Sample struct {
	At         time.Duration
	Running    int
	Neighbours int // of all of them together
	Packets    uint64
	Bytes      uint64
}

// All returns the times of all messages together.
func (r *Result) All() *Hist {
	var h Hist
	for i := range r.Messages {
		h.Merge(&r.Messages[i].Near)
		h.Merge(&r.Messages[i].Away)
	}
	return &h
}

// Readers returns to how many readers messages went, in all.
func (r *Result) Readers() (n int) {
	for _, m := range r.Messages {
		n += m.NearReaders + m.AwayReaders
	}
	return n
}
