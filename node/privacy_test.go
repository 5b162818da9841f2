package node

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"tocsin/ledger"
	"tocsin/node/message"
)

// filledWith is a content of a kind with every field that takes text filled in with a word.
func filledWith(t *testing.T, k message.Kind, word string) message.Content {
	t.Helper()
	c := message.New(k)
	for _, f := range c.Fields() {
		var err error
		switch f.Input() {
		case message.InputLine, message.InputText:
			if f.Set(word) != nil { // of a form of its own: an address, a tag, a role
				err = f.Set()
			}
		case message.InputList:
			if f.Set(word) != nil {
				if err = f.Set("role:registrar", "role:consultant"); err != nil {
					err = f.Set(strings.Repeat("0a", 32)) // hashes
				}
			}
		case message.InputChoice:
			err = f.Set(f.Choices()[0].Value)
		case message.InputNumber:
			err = f.Set("1")
		case message.InputTime:
			err = f.Set("2026-03-04T05:06:07Z")
		}
		check(t, err)
	}
	return c
}

// TestNotificationsHoldNoContent: whatever is said, what listeners are told is where it stands, how urgent it is, whether it is an exercise and
// whether it is for the reader: no word of it, no name of a person, a group or a kind.
func TestNotificationsHoldNoContent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amara Okafor", orgHospital).start(t)
	b := w.enrol("Ben Carter", orgHospital).start(t, knows(a))
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	id, err := parseGroupID(g)
	check(t, err)
	events := a.Subscribe(t.Context())
	const word = "CANARY-patient-in-bed-4"
	var made []string
	for i, k := range append(message.Kinds(), "ward-round") {
		var c message.Content = &message.Unknown{Named: k, Raw: []byte(word)}
		if message.New(k) != nil {
			c = filledWith(t, k, word)
		}
		rec := &openedRecord{id: ledger.ID{byte(i + 1)}, as: ledger.ID{byte(i + 1)}, group: id, hlc: uint64(i + 1), received: time.Now().UnixMilli(), priority: ledger.Stat}
		msg := message.Message{Sent: time.Now(), Content: c}
		if k.Addressable() {
			msg.For = []string{message.PersonAddress(a.cred.Person.String())}
		}
		a.mu.Lock()
		a.present(opened{log: b.selfLog(), seq: uint64(1000 + i), rec: rec, msg: msg})
		a.mu.Unlock()
		made = append(made, rec.as.String())
	}
	told := 0
	for told < len(made) {
		select {
		case e := <-events:
			if slices.Contains(made, e.ID) {
				told++
			}
			raw, err := json.Marshal(e)
			check(t, err)
			for _, secret := range []string{"CANARY", "patient", "Okafor", "Carter", "Amara", "Ben", "Ward", "gmc", "registrar"} {
				if strings.Contains(string(raw), secret) {
					t.Errorf("the event %s says %q", raw, secret)
				}
			}
			var keys map[string]any
			check(t, json.Unmarshal(raw, &keys))
			for key := range keys {
				if !slices.Contains([]string{"type", "group", "id", "priority", "exercise", "for_me"}, key) {
					t.Errorf("an event says %q, which nobody has looked at", key)
				}
			}
		case <-time.After(patience):
			t.Fatalf("%d of %d messages were told of", told, len(made))
		}
	}
}
