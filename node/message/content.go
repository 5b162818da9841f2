package message

import (
	"fmt"
	"slices"
	"strings"
)

// Kind names what a message is. The fields of a kind never change: a new field makes a new kind, so that an older device
// knows that it does not understand the whole of what was said, and says so, rather than showing half of it.
type Kind string

// The kinds of this version.
const (
	KindText          Kind = "text"
	KindReceipt       Kind = "receipt"
	KindAttachment    Kind = "attachment"
	KindMETHANE       Kind = "methane"
	KindSBAR          Kind = "sbar"
	KindATMIST        Kind = "atmist"
	KindCasualty      Kind = "casualty"
	KindCallOut       Kind = "call-out"
	KindCallOutAnswer Kind = "call-out-answer"
	KindCallOutClose  Kind = "call-out-close"
	KindTask          Kind = "task"
	KindTaskUpdate    Kind = "task-update"
	KindAlert         Kind = "alert"
	KindAlertCancel   Kind = "alert-cancel"
	KindEscalation    Kind = "escalation"
	KindDecision      Kind = "decision"
	KindBriefing      Kind = "briefing"
	KindIncident      Kind = "incident"
	KindRole          Kind = "role"
	KindRetract       Kind = "retract"
	KindTransferred   Kind = "transferred"
	KindHold          Kind = "hold"
	KindHoldEnd       Kind = "hold-end"
	KindErase         Kind = "erase"
	KindDisclosed     Kind = "disclosed"
)

// Content is what a message says: a pointer to one of the types of this package.
type Content interface {
	// Kind names the type.
	Kind() Kind
	// Summary is the content in one line for a small screen, of any length: [Message.Summary] cuts it.
	Summary() string
	// Fields are the fields in the order of a form, bound to this content: reading one reads the content, setting one
	// sets it.
	Fields() []Field
}

// ruled is a content with rules that no single field can check.
type ruled interface{ rules() error }

// New returns an empty content of a kind, nil for one that this version does not know.
func New(k Kind) Content {
	switch k {
	case KindText:
		return new(Text)
	case KindReceipt:
		return new(Receipt)
	case KindAttachment:
		return new(Attachment)
	case KindMETHANE:
		return new(METHANE)
	case KindSBAR:
		return new(SBAR)
	case KindATMIST:
		return new(ATMIST)
	case KindCasualty:
		return new(Casualty)
	case KindCallOut:
		return new(CallOut)
	case KindCallOutAnswer:
		return new(CallOutAnswer)
	case KindCallOutClose:
		return new(CallOutClose)
	case KindTask:
		return new(Task)
	case KindTaskUpdate:
		return new(TaskUpdate)
	case KindAlert:
		return new(Alert)
	case KindAlertCancel:
		return new(AlertCancel)
	case KindEscalation:
		return new(Escalation)
	case KindDecision:
		return new(Decision)
	case KindBriefing:
		return new(Briefing)
	case KindIncident:
		return new(Incident)
	case KindRole:
		return new(Role)
	case KindRetract:
		return new(Retract)
	case KindTransferred:
		return new(Transferred)
	case KindHold:
		return new(Hold)
	case KindHoldEnd:
		return new(HoldEnd)
	case KindErase:
		return new(Erase)
	case KindDisclosed:
		return new(Disclosed)
	}
	return nil
}

// Kinds are the kinds that this version knows, in the order of the design (product.md, "What can be said").
func Kinds() []Kind {
	return []Kind{KindText, KindReceipt, KindAttachment, KindMETHANE, KindSBAR, KindATMIST, KindCasualty, KindCallOut, KindCallOutAnswer,
		KindCallOutClose, KindTask, KindTaskUpdate, KindAlert, KindAlertCancel, KindEscalation, KindDecision, KindBriefing,
		KindIncident, KindRole, KindRetract, KindTransferred, KindHold, KindHoldEnd, KindErase, KindDisclosed}
}

// words for people, by kind.
var names = map[Kind]string{
	KindText: "Text", KindReceipt: "Receipt", KindAttachment: "Attachment", KindMETHANE: "M/ETHANE report", KindSBAR: "SBAR handover", KindATMIST: "ATMIST handover",
	KindCasualty: "Casualty", KindCallOut: "Call-out", KindCallOutAnswer: "Answer to a call-out", KindCallOutClose: "End of a call-out",
	KindTask: "Task", KindTaskUpdate: "Task update", KindAlert: "Alert", KindAlertCancel: "Alert cancelled", KindEscalation: "Escalation",
	KindDecision: "Decision", KindBriefing: "IIMARCH briefing", KindIncident: "Incident", KindRole: "Role", KindRetract: "Retraction",
	KindTransferred: "Transferred to the record", KindHold: "Hold", KindHoldEnd: "End of a hold", KindErase: "Order to erase", KindDisclosed: "Export",
}

// Name is what people call the kind; of an unknown one "a message of a newer kind".
func (k Kind) Name() string {
	if name, ok := names[k]; ok {
		return name
	}
	return NewerKind
}

// Made reports whether messages of the kind are made by devices, or in one act with what they report: no form sends one.
func (k Kind) Made() bool {
	switch k {
	case KindReceipt, KindEscalation, KindTransferred, KindHoldEnd, KindErase, KindDisclosed:
		return true
	}
	return false
}

// Shown reports whether messages of the kind stand in a conversation. Receipts and answers to a call-out do not: they
// change what is shown of other messages.
func (k Kind) Shown() bool { return k != KindReceipt && k != KindCallOutAnswer }

// check reports the first rule that a content breaks.
func check(c Content) error {
	for _, f := range c.Fields() {
		if err := f.Check(); err != nil {
			return err
		}
	}
	if r, ok := c.(ruled); ok {
		return r.rules()
	}
	return nil
}

// Fill sets fields from a form, a command line or JSON: name → values. A field that takes one value takes the last. It
// stops at the first error, which names the field and never repeats what was written; then c is spoiled. [Message.Validate]
// says what is missing.
func Fill(c Content, form map[string][]string) error {
	fields := c.Fields()
	names := make([]string, 0, len(form))
	for name := range form {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == name })
		if i < 0 {
			return fmt.Errorf("%w: a message of kind %s has no field %q; it has %s", ErrInvalid, c.Kind(), name, fieldNames(fields))
		}
		if err := fields[i].Set(form[name]...); err != nil {
			return err
		}
	}
	return nil
}

// Values is the reverse of [Fill]: the fields that are set.
func Values(c Content) map[string][]string {
	form := make(map[string][]string)
	for _, f := range c.Fields() {
		if !f.Zero() {
			form[f.Name] = f.Values()
		}
	}
	return form
}

func fieldNames(fields []Field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	return strings.Join(names, ", ")
}

// Words is a content as people read it: a text as it is, an attachment in its own words, everything else as its name and a line
// for each field that is filled in.
func Words(c Content) string {
	switch c := c.(type) {
	case nil:
		return ""
	case *Text:
		return c.Body
	case *Attachment:
		return c.Words()
	case *Unknown:
		return NewerKind
	}
	var b strings.Builder
	b.WriteString(c.Kind().Name())
	for _, f := range c.Fields() {
		if !f.Zero() {
			fmt.Fprintf(&b, "\n%s: %s", f.Label, f.Human())
		}
	}
	return b.String()
}
