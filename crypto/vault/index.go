package vault

import (
	"slices"
	"strings"
)

// ref says where a sealed value lies in the journal.
type ref struct {
	offset  int64
	size    uint32 // sealed
	version uint64
	slot    slot
}

// cost is how many bytes of the journal the value and its change take.
func (r ref) cost(key string) int64 {
	return int64(len(key)) + int64(r.size) + changeOverhead
}

// index maps keys to values in key order: a list of short sorted runs, so
// that adding a key moves a few hundred others at most.
type index struct {
	runs []run
	n    int
	live int64 // sum of the costs
}

type run struct {
	keys []string
	refs []ref
}

const maxRun = 512

// find returns the run that holds or would hold key, the place in it, and
// whether key is there.
func (x *index) find(key string) (int, int, bool) {
	r, ok := slices.BinarySearchFunc(x.runs, key, func(r run, k string) int {
		return strings.Compare(r.keys[0], k)
	})
	if ok {
		return r, 0, true
	}
	if r > 0 {
		r-- // the last run that begins before key
	}
	if len(x.runs) == 0 {
		return 0, 0, false
	}
	i, ok := slices.BinarySearch(x.runs[r].keys, key)
	return r, i, ok
}

func (x *index) get(key string) (ref, bool) {
	r, i, ok := x.find(key)
	if !ok {
		return ref{}, false
	}
	return x.runs[r].refs[i], true
}

// put enters a value and returns the one that it replaces.
func (x *index) put(key string, to ref) (old ref, was bool) {
	r, i, ok := x.find(key)
	x.live += to.cost(key)
	if ok {
		old = x.runs[r].refs[i]
		x.live -= old.cost(key)
		x.runs[r].refs[i] = to
		return old, true
	}
	x.n++
	if len(x.runs) == 0 {
		x.runs = []run{{}}
	}
	at := &x.runs[r]
	at.keys = slices.Insert(at.keys, i, key)
	at.refs = slices.Insert(at.refs, i, to)
	if len(at.keys) > maxRun {
		const half = maxRun / 2
		upper := run{slices.Clone(at.keys[half:]), slices.Clone(at.refs[half:])}
		clear(at.keys[half:])
		at.keys, at.refs = at.keys[:half], at.refs[:half]
		x.runs = slices.Insert(x.runs, r+1, upper)
	}
	return ref{}, false
}

// remove drops a value and returns it.
func (x *index) remove(key string) (old ref, was bool) {
	r, i, ok := x.find(key)
	if !ok {
		return ref{}, false
	}
	at := &x.runs[r]
	old = at.refs[i]
	x.n--
	x.live -= old.cost(key)
	at.keys = slices.Delete(at.keys, i, i+1)
	at.refs = slices.Delete(at.refs, i, i+1)
	if len(at.keys) == 0 {
		x.runs = slices.Delete(x.runs, r, r+1)
	}
	return old, true
}

// slots goes through the slots of all erasable values.
func (x *index) slots(yield func(uint64) bool) {
	for _, r := range x.runs {
		for _, at := range r.refs {
			if at.slot != noSlot && !yield(uint64(at.slot)) {
				return
			}
		}
	}
}

// prefixed returns all keys of callers that begin with prefix, in order.
func (x *index) prefixed(prefix string) []string {
	var keys []string
	r, i, _ := x.find(prefix)
	for ; r < len(x.runs); r, i = r+1, 0 {
		for _, key := range x.runs[r].keys[i:] {
			if !strings.HasPrefix(key, prefix) {
				return keys
			}
			if key != pinKey {
				keys = append(keys, key)
			}
		}
	}
	return keys
}
