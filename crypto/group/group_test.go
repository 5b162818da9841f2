package group

import "testing"

func TestConversation(t *testing.T) {
	ds, id := meet(t, 3, start)
	for i, d := range ds {
		m := d.seal(id, "theatre 2 is ready", start)
		for j, o := range ds {
			if i != j {
				o.mustOpen(m, start)
			}
			if _, err := o.open(m, start); err != ErrReplayed {
				t.Errorf("second opening by %s: %v", name(o), err)
			}
		}
	}
	for _, d := range ds {
		d.reload()
	}
	m := ds[2].seal(id, "after a restart", start)
	ds[0].mustOpen(m, start)
}
