package message

import (
	"fmt"
	"time"
)

// Decision is an entry of the decision log. It is never changed: a correction is a new entry that points at it.
type Decision struct {
	private
	Decision  string
	Rationale string
	Decider   string    // address of who decided
	Loggist   string    // address of who wrote it down; empty where the decider did
	Options   []string  // that were considered
	At        time.Time // when it was decided, apart from when it was entered
	Corrects  EntryID   // the entry that this one corrects; zero for none
	// After is the entry of the log before this one, as its device had it; zero for the first. What one entry names and another device
	// does not have is a gap that shows: nothing leaves the log unseen.
	After EntryID
}

func (d *Decision) Kind() Kind { return KindDecision }
func (d *Decision) Summary() string {
	head := "Decision: "
	if d.Corrects != (EntryID{}) {
		head = "Correction of a decision: "
	}
	return head + d.Decision
}
func (d *Decision) Fields() []Field {
	return []Field{
		{Number: 0, Name: "decision", Label: "Decision", Required: true, value: prose(&d.Decision, MaxProse)},
		{Number: 1, Name: "rationale", Label: "Rationale", Required: true, Help: "Why this, on what was known at the time.", value: prose(&d.Rationale, MaxProse)},
		{Number: 2, Name: "decider", Label: "Decided by", Required: true, value: address(&d.Decider)},
		{Number: 3, Name: "loggist", Label: "Loggist", value: address(&d.Loggist)},
		{Number: 4, Name: "options", Label: "Options considered", Required: true, Help: "One on each line, “do nothing” among them.", value: list(&d.Options, 16, MaxLine)},
		{Number: 5, Name: "at", Label: "Time of the decision", Required: true, value: moment(&d.At)},
		{Number: 6, Name: "corrects", Label: "Corrects", value: entry(&d.Corrects)},
		{Number: 7, Name: "after", Label: "Follows", value: madeEntry{entry(&d.After)}},
	}
}

// WrittenBy reports whether a person may write the entry: who decided, where no loggist is named, or the loggist.
func (d *Decision) WrittenBy(person string) bool {
	by, _ := PersonOf(d.Decider)
	if d.Loggist != "" {
		by, _ = PersonOf(d.Loggist)
	}
	return person != "" && by == person
}

func (d *Decision) rules() error {
	if _, ok := PersonOf(d.Decider); !ok {
		return fmt.Errorf("%w: the field %q (decider) must name a person, not a role: a decision is somebody's", ErrInvalid, "Decided by")
	}
	return nil
}

// Retract marks one of the sender's own messages as withdrawn. It rewrites nothing: the message stays, and says so.
type Retract struct {
	private
	Entry  EntryID
	Reason string
}

func (r *Retract) Kind() Kind      { return KindRetract }
func (r *Retract) Summary() string { return "Retracted a message: " + r.Reason }
func (r *Retract) Fields() []Field {
	return []Field{
		{Number: 0, Name: "entry", Label: "Message", Required: true, value: entry(&r.Entry)},
		{Number: 1, Name: "reason", Label: "Reason", Required: true, value: line(&r.Reason, MaxLine)},
	}
}

// Transferred says that entries stand in the medical record, with the record's own receipt.
type Transferred struct {
	private
	Entries []EntryID
	Record  string // the system that took them
	Receipt string // what it calls them
}

// MaxTransferred is the most entries that one message says were transferred.
const MaxTransferred = 512

func (t *Transferred) Kind() Kind { return KindTransferred }
func (t *Transferred) Summary() string {
	return fmt.Sprintf("Transferred to the record: %d %s", len(t.Entries), plural(len(t.Entries), "message", "messages"))
}
func (t *Transferred) Fields() []Field {
	return []Field{
		{Number: 0, Name: "entries", Label: "Messages", Required: true, value: entries(&t.Entries, MaxTransferred)},
		{Number: 1, Name: "record", Label: "Record", Required: true, value: line(&t.Record, MaxLine)},
		{Number: 2, Name: "receipt", Label: "Receipt", Required: true, value: line(&t.Receipt, MaxProse)},
	}
}
