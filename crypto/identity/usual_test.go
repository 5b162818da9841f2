package identity

import (
	"math/rand/v2"
	"testing"

	"filippo.io/edwards25519"
)

// TestUsual: the quick check of keys and CheckKey agree on every key that can be
// decoded at all, in particular on the encodings that are not canonical and on
// the points of small order, which are found here by their definition.
func TestUsual(t *testing.T) {
	agree := func(k Key) (small bool) {
		p, err := new(edwards25519.Point).SetBytes(k[:])
		if err != nil {
			return false // ed25519.Verify refuses it too
		}
		if (CheckKey(k) == nil) != usual(k) {
			t.Errorf("key %s: CheckKey says %v, usual %v", k, CheckKey(k), usual(k))
		}
		return new(edwards25519.Point).MultByCofactor(p).Equal(edwards25519.NewIdentityPoint()) == 1
	}
	r := rand.New(rand.NewPCG(1, 1))
	small := make(map[Key]bool)
	random := func() (k Key) {
		for i := range k {
			k[i] = byte(r.Uint32())
		}
		return k
	}
	// ℓ·P is of small order, for any P: its eight values come up soon.
	order := [32]byte{0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 31: 0x10}
	for range 300 {
		k := random()
		agree(k)
		p, err := new(edwards25519.Point).SetBytes(k[:])
		if err != nil {
			continue
		}
		q := edwards25519.NewIdentityPoint()
		for i := 255; i >= 0; i-- {
			q.Add(q, q)
			if order[i/8]>>(i%8)&1 == 1 {
				q.Add(q, p)
			}
		}
		s := Key(q.Bytes())
		if !agree(s) {
			t.Fatalf("%s is not of small order", s)
		}
		small[s] = true
	}
	if len(small) != 8 {
		t.Fatalf("%d points of small order, want 8", len(small))
	}
	for low := range 256 { // y from p-19 on, with both signs: all that is not canonical, and what lies below
		for _, top := range []byte{0x7f, 0xff} {
			k := Key{}
			for i := range k {
				k[i] = 0xff
			}
			k[0], k[31] = byte(low), top
			agree(k)
		}
	}
}
