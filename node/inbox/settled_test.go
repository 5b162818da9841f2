package inbox

import (
	"testing"

	"tocsin/node/message"
)

// What an incident was it stays when the messages that say so are erased: what comes later belongs to the exercise, and nobody makes it live.
func TestSettledIncidentStays(t *testing.T) {
	b := newBoard("amal", "ben")
	made := b.says("amal", &message.Incident{Name: "i", Mode: message.Exercise, State: message.IncidentDeclared})
	down := b.says("amal", &message.Incident{Name: "i", Mode: message.Exercise, State: message.IncidentStoodDown})
	b.in.Settle(b.group, message.Exercise, message.IncidentStoodDown)
	for _, erase := range []EntryID{{}, made.ID, down.ID} { // also between the two, where the power may be cut
		b.in.Erase(erase)
		i, ok := b.in.Incident(b.group)
		if !ok || i.Mode != message.Exercise || !i.Over() {
			t.Fatalf("after %x: %+v", erase[:2], i)
		}
	}
	late := b.says("ben", &message.Text{Body: "late"})
	for _, mode := range []message.Mode{message.Live, message.Exercise} {
		b.says("amal", &message.Incident{Name: "i", Mode: mode, State: message.IncidentDeclared})
		if i, _ := b.in.Incident(b.group); i.Mode != message.Exercise || !i.Over() || i.Steps[len(i.Steps)-1].Refused == "" {
			t.Errorf("declared %s anew: %+v", mode, i)
		}
	}
	if it, _ := b.in.Message(late.ID); !it.Exercise {
		t.Error("a message that came late is of no exercise")
	}
	if c, _ := b.in.Conversation(b.group); !c.Over || !c.Exercise {
		t.Error("the conversation does not say so")
	}
}
