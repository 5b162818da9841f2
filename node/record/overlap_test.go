package record

import (
	"slices"
	"testing"
	"time"
)

// Two devices hand over the same messages, which came to each at another time, and of which one knows more: the record keeps what it had, and nobody is refused.
func TestUploadOverlaps(t *testing.T) {
	m, items := newMemory(), scene(t)
	endpoint := serve(t, m)
	device(t, endpoint, amal(), 0, Left{}, items[3:]...)
	late := slices.Clone(items)
	for i := range late {
		late[i].Received = late[i].Received.Add(time.Minute)
	}
	device(t, endpoint, bryn(), time.Hour, Left{}, late...)
	device(t, endpoint, amal(), 2*time.Hour, Left{}, items[:len(items)-4]...)
	if n := len(m.all["Composition"]); n != 3 {
		t.Errorf("%d pages after three transfers of different messages", n)
	}
}
