package node

import "testing"

// TestDeviceIsNoStrangerOnceItsLogIsHeld: the mesh pulls first from neighbours of whom nothing is held; after a restart
// those who were met before are none.
func TestDeviceIsNoStrangerOnceItsLogIsHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	m := w.enrol("Ben", orgAmbulance)
	t.Run("met", func(t *testing.T) {
		b := m.start(t, m.onDisk(t), alone)
		if b.people.knowsPeer(a.mesh.ID()) {
			t.Error("a device that was never met is known")
		}
		feed(t, a, b, a)
		if !b.people.knowsPeer(a.mesh.ID()) {
			t.Error("a device of which the log is held is a stranger")
		}
	})
	b := m.start(t, m.onDisk(t), alone)
	if !b.people.knowsPeer(a.mesh.ID()) {
		t.Error("after a restart it is a stranger")
	}
}
