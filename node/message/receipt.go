package message

import (
	"fmt"
	"time"
)

// State is what a receipt says about the entries it names.
type State string

// The states a receipt can report. Each includes the one before it.
const (
	// Delivered: the recipient's device has opened the message and keeps it durably.
	Delivered State = "delivered"
	// Read: the message was on the recipient's unlocked screen.
	Read State = "read"
	// Acknowledged: the recipient has said, by a press of their own, that they have taken note.
	Acknowledged State = "acknowledged"
)

// Receipt reports what became of entries, batched. It names 1 to MaxReceiptEntries entries.
type Receipt struct {
	private
	State State
	// Entries are entry ids. Encode sorts them and drops repeats; Decode refuses any other order.
	Entries []EntryID
}

// NewReceipt returns a receipt for the entries.
func NewReceipt(state State, entries []EntryID, sent time.Time) Message {
	return Message{Sent: sent, Content: &Receipt{State: state, Entries: entries}}
}

func (r *Receipt) Kind() Kind { return KindReceipt }
func (r *Receipt) Summary() string {
	return fmt.Sprintf("%s: %d %s", r.State, len(r.Entries), plural(len(r.Entries), "message", "messages"))
}
func (r *Receipt) Fields() []Field {
	return []Field{
		{Number: 0, Name: "state", Label: "State", Required: true, value: choice(&r.State,
			Choice{string(Delivered), "Delivered"}, Choice{string(Read), "Read"}, Choice{string(Acknowledged), "Acknowledged"})},
		{Number: 1, Name: "entries", Label: "Messages", Required: true, value: entries(&r.Entries, MaxReceiptEntries)},
	}
}
