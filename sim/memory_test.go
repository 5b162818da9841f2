package sim

import (
	"runtime"
	"testing"
)

// The memory of devices is what they hold, whenever garbage was collected last.
func TestHeapBytes(t *testing.T) {
	const much = 256 << 20 // far more than what else this process does meanwhile
	runtime.GC()
	before := heapBytes()
	if before == 0 {
		t.Fatal("nothing is measured")
	}
	held := make([]byte, much)
	runtime.GC()
	if with := heapBytes(); with < before+much/2 {
		t.Errorf("%d bytes before, %d with %d more held", before, with, much)
	}
	runtime.KeepAlive(held)
	held = nil
	runtime.GC()
	if after := heapBytes(); after > before+much/2 {
		t.Errorf("%d bytes before, %d after what was held was given up", before, after)
	}
	// Garbage does not count, though it is not collected.
	garbage(much)
	if after := heapBytes(); after > before+much/2 {
		t.Errorf("%d bytes before, %d with garbage", before, after)
	}
}

// sink keeps what is allocated from being optimised away.
var sink []byte

func garbage(n int) {
	for range 64 {
		sink = make([]byte, n/64)
	}
	sink = nil
}
