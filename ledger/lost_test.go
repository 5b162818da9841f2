package ledger

import (
	"math/rand/v2"
	"testing"
)

// TestSpans compares ranges with a plain set.
func TestSpans(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var s spans
		plain := make(map[uint64]bool)
		for range 40 {
			from := rng.Uint64N(30)
			if rng.IntN(3) == 0 {
				s.remove(from)
				delete(plain, from)
				continue
			}
			to, added := from+rng.Uint64N(6), uint64(0)
			for seq := from; seq < to; seq++ {
				if !plain[seq] {
					plain[seq] = true
					added++
				}
			}
			if got := s.add(from, to); got != added {
				t.Fatalf("add(%d, %d) to %v: %d are new, want %d", from, to, s.list, got, added)
			}
		}
		for seq := range uint64(40) {
			if s.has(seq) != plain[seq] {
				t.Fatalf("%d in %v: %v, want %v", seq, s.list, s.has(seq), plain[seq])
			}
		}
		if s.count() != uint64(len(plain)) {
			t.Fatalf("%v counts %d, want %d", s.list, s.count(), len(plain))
		}
		for i := 1; i < len(s.list); i++ {
			if s.list[i-1].to >= s.list[i].from || s.list[i].from >= s.list[i].to {
				t.Fatalf("%v is not apart and rising", s.list)
			}
		}
	}
}
