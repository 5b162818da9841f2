package record

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"tocsin/node/message"
)

// Whom a message is for is in the record, whatever it becomes there, and with everybody that it points at.
func TestAddressees(t *testing.T) {
	w := newWriter(t, bryn())
	clerk := person("clinic.nhs.example", "nmc", "18A1234B") // says nothing here
	to := []string{message.RoleAddress("medical-registrar"), message.PersonAddress(amal().Person.String()), message.PersonAddress(clerk.String())}
	var items []Item
	for _, c := range []message.Content{&message.Text{Body: "Please come"}, &message.CallOut{Question: "Can you come in?", Place: "Control room", Needed: num(1)}, &message.Casualty{Tag: "A-017", Triage: message.P1}, attachment()} {
		in := w.addressed(message.Message{Sent: noon, Content: c, For: to})
		items = append(items, in)
	}
	x, err := New(incident(items...), files())
	must(t, err)
	written(t, x)
	for _, it := range x.items {
		unit, err := x.unit(it)
		must(t, err)
		golden(t, fmt.Sprintf("for-%s.json", it.Message.Kind()), indented(t, unit))
		var got []Reference
		switch r := unit[0].Resource.(type) {
		case *Communication:
			got = r.Recipient
		case *CommunicationRequest:
			got = r.Recipient
		case *Observation:
			if e := extensions(r.Domain, extFor); !slices.Equal(e, to) {
				t.Errorf("%s: it is for %q", it.Message.Kind(), e)
			}
			continue
		case *DocumentReference:
			if e := extensions(r.Domain, extFor); !slices.Equal(e, to) {
				t.Errorf("%s: it is for %q", it.Message.Kind(), e)
			}
			continue
		}
		if len(got) != 3 || got[0].Identifier == nil || !strings.HasSuffix(got[0].Identifier.Value, "/medical-registrar") ||
			got[1].Reference != urn("PractitionerRole", staffKey(amal().Person)) || got[2].Reference != urn("PractitionerRole", staffKey(clerk)) {
			t.Errorf("%s: it is for %+v", it.Message.Kind(), got)
		}
	}
}

func extensions(d Domain, url string) (out []string) {
	for _, e := range d.Extension {
		if e.URL == url {
			out = append(out, e.ValueString)
		}
	}
	return out
}
