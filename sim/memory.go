package sim

import "runtime/metrics"

// heapBytes is what all devices together hold: the heap that the last collection of garbage
// found in use, and the stacks. What the heap takes beyond that depends on when garbage was last
// collected and on how much room the program gives it, which says nothing about a device. It
// is a collection behind, and 0 before the first.
func heapBytes() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(s)
	for i := range s {
		if s[i].Value.Kind() != metrics.KindUint64 {
			return 0 // a runtime without these: there is nothing to measure, and no bound is met
		}
	}
	if s[0].Value.Uint64() == 0 {
		return 0
	}
	return s[0].Value.Uint64() + s[1].Value.Uint64()
}
