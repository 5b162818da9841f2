package node

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"testing"
	"time"

	"tocsin/node/inbox"
)

// fileOf is a file of so many bytes that does not compress.
func fileOf(size int) []byte {
	out := make([]byte, 0, size+32)
	for i := 0; len(out) < size; i++ {
		sum := sha256.Sum256(fmt.Append(nil, i))
		out = append(out, sum[:]...)
	}
	return out[:size]
}

func attach(t testing.TB, n *Node, groupID, name string, data []byte) Sent {
	t.Helper()
	s, err := n.Attach(t.Context(), groupID, AttachSpec{Name: name, Priority: "routine"}, bytes.NewReader(data))
	check(t, err)
	return s
}

// attachment returns what a node says of one; false while it does not know it.
func attachment(t testing.TB, n *Node, id string) (AttachmentInfo, bool) {
	t.Helper()
	all, err := n.Attachments("")
	check(t, err)
	for _, a := range all {
		if a.ID == id {
			return a, true
		}
	}
	return AttachmentInfo{}, false
}

// arrives waits until an attachment is here whole, and compares it.
func arrives(t testing.TB, n *Node, id string, want []byte) AttachmentInfo {
	t.Helper()
	eventually(t, n.cred.Claims.Name+" has the attachment", func() bool {
		a, ok := attachment(t, n, id)
		return ok && a.State == inbox.HeldHere
	})
	info, r, err := n.OpenAttachment(t.Context(), id)
	check(t, err)
	got, err := io.ReadAll(r)
	check(t, err)
	check(t, r.Close())
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes came, %d were sent, and they differ", len(got), len(want))
	}
	return info
}

func TestAttachmentArrives(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("Amara Okafor", orgHospital).start(t)
	b := w.enrol("Ben Carter", orgAmbulance).start(t, knows(a))
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	inGroup(t, g, a, b)
	data := fileOf(300_000)
	s := attach(t, a, g, "../plan of ward 5.pdf", data)
	info := arrives(t, b, s.ID, data)
	if info.Name != "plan of ward 5.pdf" || info.Size != 300_000 || info.From != "Amara Okafor" || info.Chunks != 5 || info.Own {
		t.Errorf("%+v", info)
	}
	arrives(t, a, s.ID, data)
	items, err := b.Messages(g, 0, 0)
	check(t, err)
	if len(items) != 1 || items[0].Held == nil || items[0].Held.State != inbox.HeldHere {
		t.Errorf("the conversation shows %+v", items)
	}
	eventually(t, "delivered", func() bool {
		items, err := a.Messages(g, 0, 0)
		return err == nil && len(items) == 1 && items[0].State == inbox.StateDelivered
	})
	_ = time.Second
}
