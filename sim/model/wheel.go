package model

// event is one thing that happens at a time. It is small, for there are many.
type event struct {
	at   int64  // ns since the story began
	node uint32 // where
	from uint32 // who sent it
	what uint32 // the kind, and of a packet which message
	wire uint32 // of a packet: how long it takes its receiver's line, in wireUnit
}

const (
	kindShift = 28
	wireUnit  = 16 // ns
)

func (e *event) kind() uint32 { return e.what >> kindShift }
func (e *event) msg() int     { return int(e.what & (1<<kindShift - 1)) }

// The wheel has two rings of slots. The inner one covers about a second in steps that
// are short against every latency; the outer one covers turns of the inner. What is farther
// away waits in a list that is looked through once in a turn of the outer ring.
const (
	slotBits = 16 // a slot is 2^16 ns = 66 µs
	ringBits = 14
	ringSize = 1 << ringBits
	ringMask = ringSize - 1
)

// chunk is some events of one slot. Chunks are used again, so that the memory is that of
// the most events that were ever due at once.
type chunk struct {
	n      int32
	next   int32 // of the same slot, or of the free ones; -1 is none
	events [62]event
}

// wheel holds the events that are due, by time to one slot. Within a slot the order is the
// same in every run but not that of time: nobody's latency is as short as a slot.
type wheel struct {
	now    int64 // the slot that is worked on
	count  int
	near   int // of them in the inner ring
	inner  [ringSize]int32
	outer  [ringSize]int32
	beyond []event
	chunks []chunk
	free   int32
	batch  [62]event // that is being handed on: adding may move the chunks
}

func newWheel() *wheel {
	w := &wheel{free: -1}
	for i := range ringSize {
		w.inner[i], w.outer[i] = -1, -1
	}
	return w
}

// add puts an event in; one of the past is due at once.
func (w *wheel) add(e event) {
	w.count++
	w.put(e)
}

func (w *wheel) put(e event) {
	slot := max(e.at>>slotBits, w.now)
	switch {
	case slot>>ringBits == w.now>>ringBits:
		w.near++
		w.push(&w.inner[slot&ringMask], e)
	case slot>>(2*ringBits) == w.now>>(2*ringBits):
		w.push(&w.outer[slot>>ringBits&ringMask], e)
	default:
		w.beyond = append(w.beyond, e)
	}
}

func (w *wheel) push(head *int32, e event) {
	c := *head
	if c < 0 || w.chunks[c].n == int32(len(w.chunks[c].events)) {
		c = w.fresh(*head)
		*head = c
	}
	k := &w.chunks[c]
	k.events[k.n] = e
	k.n++
}

func (w *wheel) fresh(next int32) int32 {
	c := w.free
	if c < 0 {
		c = int32(len(w.chunks))
		w.chunks = append(w.chunks, chunk{})
	} else {
		w.free = w.chunks[c].next
	}
	w.chunks[c].n, w.chunks[c].next = 0, next
	return c
}

// take moves on to the next slot before until that has events and hands them to do, some
// at a time; do may add others, also to the same slot. It returns false when there is none.
func (w *wheel) take(until int64, do func([]event)) bool {
	end := until >> slotBits
	for w.count > 0 && w.now <= end {
		head := &w.inner[w.now&ringMask]
		if *head >= 0 {
			w.empty(head, do)
			return true
		}
		w.step(end)
	}
	return false
}

// empty hands on all events of a slot.
func (w *wheel) empty(head *int32, do func([]event)) {
	for *head >= 0 {
		c := *head
		*head = w.chunks[c].next
		n := copy(w.batch[:], w.chunks[c].events[:w.chunks[c].n])
		w.chunks[c].next, w.free = w.free, c
		w.count -= n
		w.near -= n
		do(w.batch[:n])
	}
}

// step goes to the next slot, and brings in what an outer one held.
func (w *wheel) step(end int64) {
	if w.near == 0 {
		w.now = max(w.now, min(w.now|ringMask, end)) // nothing more in this turn
	}
	w.now++
	if w.now&ringMask != 0 {
		return
	}
	if w.now>>ringBits&ringMask == 0 {
		far := w.beyond
		w.beyond = nil
		for _, e := range far {
			w.put(e)
		}
	}
	head := &w.outer[w.now>>ringBits&ringMask]
	moved := *head
	*head = -1
	for moved >= 0 {
		c := moved
		moved = w.chunks[c].next
		for i := range w.chunks[c].n {
			w.put(w.chunks[c].events[i])
		}
		w.chunks[c].next, w.free = w.free, c
	}
}
