package message

import (
	"fmt"
	"slices"
)

// Alert is a call that sounds until it is acknowledged. It is always sent stat.
type Alert struct {
	private
	What  string
	Where string
	// To are whom it calls, one after the other: who comes next is called when nobody has acknowledged for After minutes.
	To    []string // addresses
	After *int     // minutes; nil is [DefaultEscalation]
}

// DefaultEscalation is after how many minutes an alert that says nothing else escalates.
const DefaultEscalation = 5

// Minutes is after how many minutes without an acknowledgement the next is called.
func (a *Alert) Minutes() int {
	if a.After == nil {
		return DefaultEscalation
	}
	return *a.After
}

func (a *Alert) Kind() Kind      { return KindAlert }
func (a *Alert) Summary() string { return "ALERT: " + joined(" · ", a.What, a.Where) }
func (a *Alert) Fields() []Field {
	return []Field{
		{Number: 0, Name: "what", Label: "What", Required: true, value: line(&a.What, MaxLine)},
		{Number: 1, Name: "where", Label: "Where", Required: true, value: line(&a.Where, MaxLine)},
		{Number: 2, Name: "to", Label: "For", Required: true, Help: "Roles or people, one on each line, in the order in which they are called.", value: addresses(&a.To, 16)},
		{Number: 3, Name: "after", Label: "Escalate after (minutes)", value: number(&a.After, 1, 120, "min")},
	}
}

func (a *Alert) rules() error {
	for i, to := range a.To {
		if slices.Contains(a.To[:i], to) {
			return fmt.Errorf("%w: the field %q (to) names somebody twice; name each once", ErrInvalid, "For")
		}
	}
	return nil
}

// AlertCancel ends an alert that is not needed any more.
type AlertCancel struct {
	private
	Alert  EntryID
	Reason string
}

func (a *AlertCancel) Kind() Kind      { return KindAlertCancel }
func (a *AlertCancel) Summary() string { return "Alert cancelled: " + a.Reason }
func (a *AlertCancel) Fields() []Field {
	return []Field{
		{Number: 0, Name: "alert", Label: "Alert", Required: true, value: entry(&a.Alert)},
		{Number: 1, Name: "reason", Label: "Reason", Required: true, value: line(&a.Reason, MaxLine)},
	}
}

// Escalation calls the next of an alert's list. Any member's device may raise it when the time has come; those that say the
// same step of the same alert are one.
type Escalation struct {
	private
	Alert EntryID
	Step  *int // which of Alert.To is called now, from 1: 0 was called by the alert
}

func (e *Escalation) Kind() Kind { return KindEscalation }
func (e *Escalation) Summary() string {
	return "Alert not acknowledged: " + number(&e.Step, 1, 15, "").Human() + " more called"
}
func (e *Escalation) Fields() []Field {
	return []Field{
		{Number: 0, Name: "alert", Label: "Alert", Required: true, value: entry(&e.Alert)},
		{Number: 1, Name: "step", Label: "Step", Required: true, value: number(&e.Step, 1, 15, "")},
	}
}
