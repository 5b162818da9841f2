package slots

// bitmap is a set of slots.
type bitmap []uint64

func (b bitmap) has(slot uint64) bool {
	return slot/64 < uint64(len(b)) && b[slot/64]&(1<<(slot%64)) != 0
}

func (b *bitmap) set(slot uint64) {
	for slot/64 >= uint64(len(*b)) {
		*b = append(*b, 0)
	}
	(*b)[slot/64] |= 1 << (slot % 64)
}

func (b bitmap) unset(slot uint64) {
	if b.has(slot) {
		b[slot/64] &^= 1 << (slot % 64)
	}
}
