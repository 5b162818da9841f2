package mesh

import "slices"

// outbox orders what waits to be written to one neighbour: better classes
// first, by weight (start-time fair queueing), within a class those that are
// First, then in the order of arrival. It is bounded in bytes; beyond that the
// newest of the worst class is dropped, for synchronisation brings it later.
// It is pure: no clock, no goroutine, no lock.
type outbox struct {
	queues [classes][2][]*parcel // by class; [0] those that are First
	start  [classes]int          // virtual time at which the class may send next
	now    int                   // virtual time
	bytes  int
	count  int
}

// parcel is one RPC of gossipsub, in the form in which it is written.
type parcel struct {
	Label
	data []byte
	// control: it carries something besides frames (subscriptions, grafts). Such
	// parcels are never dropped for others and never suppressed.
	control bool
	// asked: the neighbour asked for it, or there is more in it than one frame.
	asked bool
	// ids names the frames within; where there is one, it lies in one.
	ids []frameID
	one [1]frameID
	// held: it may wait a moment in which its neighbour may turn out to have it.
	held bool
}

// frameID is SHA-256 of a frame.
type frameID [32]byte

func (o *outbox) len() int { return o.count }

// put queues p and returns what had to go to keep within limit bytes, p itself
// perhaps. Parcels that carry control are not dropped: ok is false when nothing
// but these is left over the limit.
func (o *outbox) put(p *parcel, limit int) (dropped []*parcel, ok bool) {
	if o.backlog(p.Class) == 0 {
		o.start[p.Class] = max(o.start[p.Class], o.now)
	}
	o.push(p)
	for o.bytes > limit {
		d := o.worst()
		if d == nil {
			return dropped, false
		}
		dropped = append(dropped, d)
	}
	return dropped, true
}

func (o *outbox) push(p *parcel) {
	lane := 1
	if p.First {
		lane = 0
	}
	o.queues[p.Class][lane] = append(o.queues[p.Class][lane], p)
	o.bytes += len(p.data)
	o.count++
}

func (o *outbox) backlog(class uint8) int {
	return len(o.queues[class][0]) + len(o.queues[class][1])
}

// waits reports whether anything of a class or a worse one waits.
func (o *outbox) waits(class uint8) bool {
	for ; class < classes; class++ {
		if o.backlog(class) > 0 {
			return true
		}
	}
	return false
}

// worst takes out the newest parcel of the worst class that may be dropped.
func (o *outbox) worst() *parcel {
	for class := classes - 1; class >= 0; class-- {
		for lane := 1; lane >= 0; lane-- {
			q := o.queues[class][lane]
			for i := len(q) - 1; i >= 0; i-- {
				if p := q[i]; !p.control {
					copy(q[i:], q[i+1:])
					q[len(q)-1] = nil
					o.queues[class][lane] = q[:len(q)-1]
					o.forget(p)
					return p
				}
			}
		}
	}
	return nil
}

// yield takes out what waits of an author in classes worse than urgent, where that
// is more than limit bytes. An urgent frame of the author has come: it goes first, and
// cannot be read before what came ahead of it, which synchronisation brings in a
// better order (headers, then urgent bodies, then the rest) unless gossip takes the
// line. Parcels of several authors and of nobody stay, and what the neighbour asked for:
// that was promised, and gossipsub holds a broken promise against us.
func (o *outbox) yield(author [32]byte, limit int) (out []*parcel) {
	mine := func(p *parcel) bool { return p.Author == author && !p.control && !p.asked }
	bytes := 0
	for class := ClassUrgent + 1; class < classes; class++ {
		for _, q := range o.queues[class] {
			for _, p := range q {
				if mine(p) {
					bytes += len(p.data)
				}
			}
		}
	}
	if author == ([32]byte{}) || bytes <= limit {
		return nil
	}
	for class := ClassUrgent + 1; class < classes; class++ {
		for lane, q := range o.queues[class] {
			o.queues[class][lane] = slices.DeleteFunc(q, func(p *parcel) bool {
				if mine(p) {
					out = append(out, p)
					o.forget(p)
				}
				return mine(p)
			})
		}
	}
	return out
}

func (o *outbox) forget(p *parcel) {
	o.bytes -= len(p.data)
	o.count--
}

// next takes out the parcel whose turn it is, of the classes that are open; nil
// when none waits.
func (o *outbox) next(open func(class uint8) bool) *parcel {
	best := -1
	for class := range classes {
		if o.backlog(uint8(class)) > 0 && open(uint8(class)) && (best < 0 || o.start[class] < o.start[best]) {
			best = class
		}
	}
	if best < 0 {
		return nil
	}
	lane := 0
	if len(o.queues[best][0]) == 0 {
		lane = 1
	}
	q := o.queues[best][lane]
	p := q[0]
	q[0] = nil
	if q = q[1:]; len(q) == 0 {
		q = nil // the array goes
	}
	o.queues[best][lane] = q
	o.forget(p)
	o.now = o.start[best]
	o.start[best] += max(len(p.data)*classWeights[0]/classWeights[best], 1)
	return p
}
