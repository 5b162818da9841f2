package node

import (
	"testing"

	"tocsin/ledger"
	"tocsin/mesh"
)

// TestClassify: what is urgent travels in the urgent class, stat first, keys and
// epochs in the control class, and what cannot be read last.
func TestClassify(t *testing.T) {
	if uint8(ledger.ClassControl) != mesh.ClassControl || uint8(ledger.ClassBulk) != mesh.ClassBulk {
		t.Fatal("the classes of ledger and mesh differ")
	}
	w := newWorld(t)
	m := w.enrol("Amara Okafor", orgHospital)
	n := m.start(t, m.onDisk(t))
	for seq := range uint64(2) {
		e, err := n.logs.Entry(t.Context(), n.own.ID(), seq)
		if err != nil {
			t.Fatal(err)
		}
		l := classify(e.Frame())
		if l.Class != mesh.ClassControl || l.Author != [32]byte(n.own.ID().Author) || l.Seq != seq || l.Life != n.own.ID().Incarnation {
			t.Errorf("entry %d of kind %v: %+v", seq, e.Header.Kind, l)
		}
	}
	if l := classify(frameReceipt); l.Class != mesh.ClassControl || l.Author != [32]byte{} {
		t.Errorf("a receipt: %+v", l)
	}
	if l := classify([]byte("noise")); l.Class != mesh.ClassBulk {
		t.Errorf("noise: %+v", l)
	}
}
