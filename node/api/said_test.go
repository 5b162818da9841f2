package api

import (
	"slices"
	"testing"

	"tocsin/node/inbox"
	"tocsin/node/message"
)

// TestFieldsOfMessages: what a form says goes to the page field by field, in the order of the form, and nothing that was left empty.
func TestFieldsOfMessages(t *testing.T) {
	c := message.Message{Content: &message.Casualty{Tag: "A-17", Triage: message.P1, Location: "Bay 2"}}
	got := messageOf(inbox.Item{Group: groupID(1), Message: c})
	var labels []string
	for _, f := range got.Fields {
		labels = append(labels, f.Label+"="+f.Words)
	}
	if want := []string{"Tag number=A-17", "Triage category=P1 immediate (red)", "Where now=Bay 2"}; !slices.Equal(labels, want) {
		t.Errorf("%q, want %q", labels, want)
	}
	if got.KindName != "Casualty" || got.Group != hexGroup(1) || !slices.Equal(got.Fields[1].Values, []string{"p1"}) {
		t.Errorf("%+v", got)
	}
	for _, c := range []message.Content{&message.Text{Body: "x"}, &message.Attachment{Name: "x"}, &message.Unknown{Named: "new"}} {
		if got := messageOf(inbox.Item{Message: message.Message{Content: c}}); got.Fields != nil {
			t.Errorf("%s: %+v", c.Kind(), got.Fields)
		}
	}
}
