package record

import (
	"bytes"
	"strings"
	"testing"

	"tocsin/node/message"
)

// A package holds whom its messages are for, and an addressee that was changed is found.
func TestPackageAddressees(t *testing.T) {
	w := newWorld(t)
	to := []string{message.RoleAddress("medical-registrar"), message.PersonAddress(w.nodes[0].who.Person.String()), message.PersonAddress("clinic.nhs.example/nmc/18A1234B")}
	var items []Item
	for _, c := range []message.Content{&message.Text{Body: "Please come"}, &message.Casualty{Tag: "A-017", Triage: message.P1}, attachment()} {
		items = append(items, w.nodes[1].addressed(message.Message{Sent: noon, Content: c, For: to}))
	}
	x, err := New(incident(items...), w.witnessed())
	must(t, err)
	var doc bytes.Buffer
	_, err = x.Document(&doc)
	must(t, err)
	rep, err := VerifyPackage(strings.NewReader(doc.String()), w.trust)
	must(t, err)
	if rep.Proved != len(items) || len(rep.Faults) > 0 {
		t.Fatalf("%+v", rep)
	}
	for _, forged := range [][2]string{{`/medical-registrar"`, `/surgical-registrar"`}, {`"valueString":"person:clinic.nhs.example/`, `"valueString":"person:another.nhs.example/`}} {
		altered := strings.ReplaceAll(doc.String(), forged[0], forged[1])
		rep, err := VerifyPackage(strings.NewReader(altered), w.trust)
		must(t, err)
		if altered == doc.String() || len(rep.Faults) == 0 {
			t.Errorf("%s: %+v", forged[1], rep)
		}
	}
}
