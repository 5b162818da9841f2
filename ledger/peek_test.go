package ledger

import "testing"

// TestPeek: a glance says of an honest frame what its header says, and nothing of
// what is cut short.
func TestPeek(t *testing.T) {
	for _, c := range []struct {
		kind     Kind
		priority Priority
		class    Class
	}{
		{KindControl, Routine, ClassControl}, {KindEpoch, Stat, ClassControl}, {KindData, Stat, ClassUrgent},
		{KindData, Urgent, ClassUrgent}, {KindBroadcast, Stat, ClassUrgent}, {KindData, Routine, ClassRoutine},
	} {
		h := Header{Incarnation: 7, Seq: 9, Prev: ID{1}, Kind: c.kind, Priority: c.priority}
		h.Author[0], h.Author[31] = 3, 4
		b, err := h.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		frame := append([]byte{byte(len(b) >> 8), byte(len(b))}, b...)
		g, ok := Peek(frame)
		if !ok || g.Log != h.Log() || g.Author != h.Author || g.Seq != 9 || g.Kind != c.kind || g.Priority != c.priority || g.Class() != c.class {
			t.Errorf("%v %v: %+v", c.kind, c.priority, g)
		}
		for n := range 2 + 88 {
			if _, ok := Peek(frame[:n]); ok {
				t.Errorf("%d bytes are enough", n)
			}
		}
	}
}
