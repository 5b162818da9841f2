package node

import (
	"encoding/json"
	"strings"
	"testing"

	"tocsin/node/message"
)

// pages are the pages that the endpoint holds of incidents, each as JSON.
func (e *endpoint) pages(t testing.TB) (out []string) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.all["Composition"] {
		raw, err := json.Marshal(r)
		check(t, err)
		out = append(out, string(raw))
	}
	return out
}

// TestTransferPages: a second device, which hands over what came later, leaves the page of the first as it was; its own lists what it handed over and says what it knows of the rest.
func TestTransferPages(t *testing.T) {
	t.Parallel()
	w, e := newWorld(t), newEndpoint(t)
	a := w.enrol("Amal", orgHospital).start(t, recordAt(e))
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a), recordAt(e))
	ready(t, 1, a, b)
	g := declared(t, message.Live, a, b)
	inGroup(t, g, b)
	text := say(t, a, g, "Potassium is 6.1")
	eventually(t, "it is here", func() bool { _, err := b.message(text.ID); return err == nil })
	eventually(t, "all is here", func() bool { return queueOf(t, b, g).Waiting == 2 })
	reviewAll(t, a, g)
	if p := send(t, a, g); p.State != UploadDone {
		t.Fatalf("the first upload: %+v", p)
	}
	first := e.pages(t)
	eventually(t, "the other device knows", func() bool { return queueOf(t, b, g).Transferred == 2 })
	late, open := say(t, b, g, "Bloods are back"), say(t, b, g, "not looked at")
	_, err := b.Attribute(g, Patient{}, late.ID)
	check(t, err)
	_, err = b.SignOff(token(t, b), g, late.ID)
	check(t, err)
	if p := send(t, b, g); p.State != UploadDone {
		t.Fatalf("the second upload: %+v", p)
	}
	pages := e.pages(t)
	if len(first) != 1 || len(pages) != 2 || pages[0] != first[0] {
		t.Fatalf("%d pages after the first upload, %d after the second", len(first), len(pages))
	}
	for i, want := range []string{"Potassium is 6.1", "Bloods are back"} {
		if !strings.Contains(pages[i], want) || strings.Contains(pages[1-i], want) {
			t.Errorf("%q is not on page %d alone", want, i)
		}
	}
	for _, want := range []string{"1 message not signed off there", "2 messages that colleagues say they handed over"} {
		if !strings.Contains(pages[1], want) {
			t.Errorf("the second page does not say %q", want)
		}
	}
	if got := e.entries(); got[text.ID] != 1 || got[late.ID] != 1 || got[open.ID] != 0 {
		t.Errorf("the record holds %v", got)
	}
}
