package ledger

import (
	"cmp"
	"slices"
	"time"

	"tocsin/crypto/identity"
)

// Quota bounds the bodies that a carrier keeps for others, in bytes. Headers
// are kept always, and so is what the carrier reads itself.
type Quota struct {
	Total  uint64 // of all
	Author uint64 // of one author
	Group  uint64 // under one group tag, over all authors
}

// Low returns the quota to come down to once one is exceeded: seven eighths, so
// that not every body that comes makes room for itself.
func (q Quota) Low() Quota {
	return Quota{q.Total - q.Total/8, q.Author - q.Author/8, q.Group - q.Group/8}
}

// DefaultQuota returns the quota of a phone: 2 GiB, of which one author or one
// group takes an eighth at most.
func DefaultQuota() Quota { return Quota{Total: 2 << 30, Author: 256 << 20, Group: 256 << 20} }

// OrDefault returns q with the values of [DefaultQuota] where it has none.
func (q Quota) OrDefault() Quota {
	d := DefaultQuota()
	fill(&q.Total, d.Total)
	fill(&q.Author, d.Author)
	fill(&q.Group, d.Group)
	return q
}

// Held is one body that a carrier keeps for others.
type Held struct {
	Log      LogID
	Seq      uint64
	Group    [16]byte // group tag; zeros for no group
	Bytes    uint64
	Priority Priority
	// Expires is when its lifetime ends, counted from when it was first received
	// here and not by its author's clock; zero for never.
	Expires time.Time
	// Promised is until when we have given custody of it; zero for not at all.
	Promised time.Time
	// Others are until when others have, one time each.
	Others []time.Time
	// Wanted says that we read it ourselves, or may: the device keeps it.
	Wanted bool
}

// Load is what is held under a quota.
type Load struct {
	total  uint64
	author map[identity.Key]uint64
	group  map[[16]byte]uint64
}

// NewLoad adds up what is held; what the device keeps for itself does not
// count.
func NewLoad(held []Held) *Load {
	l := &Load{author: make(map[identity.Key]uint64), group: make(map[[16]byte]uint64)}
	for i := range held {
		l.Add(&held[i])
	}
	return l
}

// Add counts a body.
func (l *Load) Add(h *Held) {
	if h.Wanted {
		return
	}
	l.total += h.Bytes
	l.author[h.Log.Author] += h.Bytes
	if h.Group != [16]byte{} {
		l.group[h.Group] += h.Bytes
	}
}

// Remove takes a body off again, at most as much as is there.
func (l *Load) Remove(h *Held) {
	if h.Wanted {
		return
	}
	l.total -= min(l.total, h.Bytes)
	less(l.author, h.Log.Author, h.Bytes)
	if h.Group != [16]byte{} {
		less(l.group, h.Group, h.Bytes)
	}
}

func less[K comparable](m map[K]uint64, k K, n uint64) {
	if m[k] -= min(m[k], n); m[k] == 0 {
		delete(m, k)
	}
}

// Total returns the bytes of all bodies.
func (l *Load) Total() uint64 { return l.total }

// Over reports whether any part of what is held is beyond q.
func (l *Load) Over(q Quota) bool {
	if l.total > q.Total {
		return true
	}
	for _, n := range l.author {
		if n > q.Author {
			return true
		}
	}
	for _, n := range l.group {
		if n > q.Group {
			return true
		}
	}
	return false
}

// Touches reports whether giving up the body would help to come within q.
func (l *Load) Touches(q Quota, h *Held) bool { return !h.Wanted && l.over(q, h) }

// over reports whether an author's or group's part, or the whole, is beyond q.
func (l *Load) over(q Quota, h *Held) bool {
	return l.total > q.Total || l.author[h.Log.Author] > q.Author ||
		h.Group != [16]byte{} && l.group[h.Group] > q.Group
}

// Admits reports whether the body fits as things are. A body that does not fit
// is not fetched: its header is held all the same, and others carry it. What is
// urgent may take a quarter more.
func (q Quota) Admits(l *Load, h *Held) bool {
	if h.Wanted {
		return true
	}
	if h.Priority >= Urgent {
		q = Quota{q.Total + q.Total/4, q.Author + q.Author/4, q.Group + q.Group/4}
	}
	return l.total+h.Bytes <= q.Total && l.author[h.Log.Author]+h.Bytes <= q.Author &&
		(h.Group == [16]byte{} || l.group[h.Group]+h.Bytes <= q.Group)
}

// Evict returns which bodies a carrier gives up to come within its quota, in
// that order: what has expired, the longest ago first; then what at least two
// others hold in custody beyond its lifetime, the largest first. Never what it
// wants itself, never what it has promised, and never what is urgent without
// the custody of two others, expired or not. What may not go stays, even beyond the quota:
// [Quota.Admits] then refuses more of it.
func (q Quota) Evict(held []Held, now time.Time) []Held {
	return q.Relieve(NewLoad(held), held, now)
}

// Relieve is [Quota.Evict] where load is all that is held and held a part of it,
// the first to go of it. What it returns is taken off load.
func (q Quota) Relieve(load *Load, held []Held, now time.Time) []Held {
	var out []Held
	for _, h := range FirstToGo(held, now, len(held)) {
		if load.over(q, &h) {
			load.Remove(&h)
			out = append(out, h)
		}
	}
	return out
}

// FirstToGo returns what of held may be given up, the first to go first, at most
// so many.
func FirstToGo(held []Held, now time.Time, most int) []Held {
	var may []Held
	for _, h := range held {
		if h.Evictable(now) {
			may = append(may, h)
		}
	}
	slices.SortStableFunc(may, func(a, b Held) int {
		ax, bx := a.expired(now), b.expired(now)
		switch {
		case ax && bx:
			return a.Expires.Compare(b.Expires)
		case ax != bx:
			if ax {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(b.Bytes, a.Bytes))
	})
	return may[:min(len(may), most)]
}

func (h *Held) expired(now time.Time) bool { return !h.Expires.IsZero() && !h.Expires.After(now) }

// Evictable reports whether a carrier may give the body up at now.
func (h *Held) Evictable(now time.Time) bool {
	switch {
	case h.Wanted || h.Promised.After(now):
		return false
	case h.Priority >= Urgent:
		return h.custody(now) >= 2
	case h.expired(now):
		return true
	}
	return h.custody(now) >= 2
}

// custody counts the others who hold h now and beyond its lifetime. What never
// expires has no such holder.
func (h *Held) custody(now time.Time) int {
	n := 0
	for _, until := range h.Others {
		if until.After(now) && !h.Expires.IsZero() && !until.Before(h.Expires) {
			n++
		}
	}
	return n
}

// Ration bounds what one neighbour is sent of what it was sent before. A
// neighbour that lost its store gets everything again; one that asks for
// everything again and again is refused until time has passed, and everybody
// else is served meanwhile. It is not safe for concurrent use.
type Ration struct {
	left int64
	at   time.Time
	sent map[rationKey]uint64 // how many of each were sent
}

type rationKey struct {
	log  LogID
	body bool
}

const (
	// rationBytes is what may be sent again at once, rationPerSecond what comes
	// back of it.
	rationBytes     = 64 << 20
	rationPerSecond = 64 << 10
	// rationLogs bounds the logs remembered; beyond it all are forgotten, which
	// costs at most one more turn.
	rationLogs = 16384
)

// NewRation returns a full ration.
func NewRation(at time.Time) *Ration {
	return &Ration{left: rationBytes, at: at, sent: make(map[rationKey]uint64)}
}

// Spend counts n bytes in one header, body or entry of a log of which held
// entries are held, and reports whether they may be sent.
func (r *Ration) Spend(id LogID, p Piece, held uint64, n int, at time.Time) bool {
	r.refill(at)
	key := rationKey{id, p&PieceBody != 0}
	if r.sent[key] < held {
		if len(r.sent) >= rationLogs {
			clear(r.sent)
		}
		r.sent[key]++
		return true
	}
	return r.Again(n, at)
}

// Again counts n bytes that are not needed twice, and reports whether they may
// be sent.
func (r *Ration) Again(n int, at time.Time) bool {
	r.refill(at)
	if r.left <= 0 {
		return false
	}
	r.left -= int64(n)
	return true
}

func (r *Ration) refill(at time.Time) {
	// A clock that was set back gives nothing and takes nothing.
	if passed := at.Sub(r.at); passed > 0 {
		gain := rationPerSecond * min(passed.Seconds(), rationBytes/rationPerSecond)
		r.left = min(r.left+int64(gain), rationBytes)
	}
	r.at = at
}
