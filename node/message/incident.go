package message

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// Mode says whether an incident is real. It is fixed when the incident is made.
type Mode string

// The modes.
const (
	Live     Mode = "live"
	Exercise Mode = "exercise"
)

// IncidentState is where an incident stands.
type IncidentState string

// The states: standby → declared → stand-down, or cancelled.
const (
	IncidentStandby   IncidentState = "standby"
	IncidentDeclared  IncidentState = "declared"
	IncidentStoodDown IncidentState = "stand-down"
	IncidentCancelled IncidentState = "cancelled"
)

// May reports whether an incident in state s may go to next; from "" it begins.
func (s IncidentState) May(next IncidentState) bool {
	switch s {
	case "":
		return next == IncidentStandby || next == IncidentDeclared
	case IncidentStandby:
		return next == IncidentDeclared || next == IncidentCancelled
	case IncidentDeclared:
		return next == IncidentStoodDown || next == IncidentCancelled
	}
	return false
}

// Incident makes an incident or moves it on. It belongs to the incident of the group it is said in, and repeats the mode, so
// that no message of an exercise can be taken for a live one.
type Incident struct {
	private
	Name   string
	Mode   Mode
	State  IncidentState
	Reason string
	// Statement is the declaration that an authority or a registrar has signed, or its end (protocol §1): it switches the grace of
	// credentials that run out, on every device that takes it. Empty where the incident changes nothing of trust.
	Statement []byte
	// Overrules are the messages that say the other mode, where those who run the group say both, as two partitions can: this one settles which it is.
	// The sender's device names them. Empty but then.
	Overrules []EntryID
}

// MaxStatement is the most bytes of a declaration that an incident carries, MaxOverrules the most messages that one overrules.
const (
	MaxStatement = 16 << 10
	MaxOverrules = 64
)

func (i *Incident) Kind() Kind { return KindIncident }
func (i *Incident) Summary() string {
	head := ""
	if i.Mode == Exercise {
		head = "EXERCISE "
	}
	settles := ""
	if len(i.Overrules) > 0 {
		settles = "Settled: it is " + i.Mode.words()
	}
	return head + joined(" · ", i.Name+": "+label(incidentChoices(), string(i.State)), settles, i.Reason)
}

// words are the mode in a sentence.
func (m Mode) words() string {
	if m == Exercise {
		return "an exercise"
	}
	return string(m)
}

func incidentChoices() []Choice {
	return []Choice{{string(IncidentStandby), "Standby"}, {string(IncidentDeclared), "Declared"},
		{string(IncidentStoodDown), "Stand-down"}, {string(IncidentCancelled), "Cancelled"}}
}

func (i *Incident) Fields() []Field {
	return []Field{
		{Number: 0, Name: "name", Label: "Incident", Required: true, value: line(&i.Name, MaxLine)},
		{Number: 1, Name: "mode", Label: "Live or exercise", Required: true, Help: "Cannot be changed afterwards.", value: choice(&i.Mode,
			Choice{string(Live), "Live"}, Choice{string(Exercise), "EXERCISE"})},
		{Number: 2, Name: "state", Label: "State", Required: true, value: choice(&i.State, incidentChoices()...)},
		{Number: 3, Name: "reason", Label: "Reason", value: prose(&i.Reason, MaxProse)},
		{Number: 4, Name: "statement", Label: "Declaration of the authority", Help: "What “tocsin authority declare” or “stand-down” wrote; leave empty if nobody's credential is about to run out.", value: statementValue{&i.Statement}},
		{Number: 5, Name: "overrules", Label: "Settles what others say", value: madeEntries{entries(&i.Overrules, MaxOverrules)}},
	}
}

func (i *Incident) rules() error {
	switch {
	case len(i.Overrules) > 0 && i.Reason == "":
		return fmt.Errorf("%w: the field %q (reason) is missing; say why it is %s", ErrInvalid, "Reason", i.Mode.words())
	case len(i.Overrules) > 0 && len(i.Statement) > 0:
		return fmt.Errorf("%w: settling whether an incident is live changes nothing of trust; send the field %q (statement) in a message of its own", ErrInvalid, "Declaration of the authority")
	case i.State == IncidentCancelled && i.Reason == "":
		return fmt.Errorf("%w: the field %q (reason) is missing; say why the incident is cancelled", ErrInvalid, "Reason")
	case len(i.Statement) > 0 && i.Mode == Exercise:
		return fmt.Errorf("%w: an exercise changes nothing of trust; leave the field %q (statement) empty", ErrInvalid, "Declaration of the authority")
	case len(i.Statement) > 0 && i.State == IncidentStandby:
		return fmt.Errorf("%w: standby changes nothing of trust; send the field %q (statement) when the incident is declared", ErrInvalid, "Declaration of the authority")
	}
	return nil
}

// InputStatement is a signed statement: PEM, or the base64 of its bytes.
const InputStatement Input = "statement"

// statementValue is a statement that somebody has signed. What it says is for crypto/identity to judge.
type statementValue struct{ p *[]byte }

func (v statementValue) Input() Input      { return InputStatement }
func (v statementValue) Choices() []Choice { return nil }
func (v statementValue) Zero() bool        { return len(*v.p) == 0 }
func (v statementValue) Human() string     { return "signed, " + SizeWords(int64(len(*v.p))) }
func (v statementValue) Values() []string {
	if v.Zero() {
		return nil
	}
	return []string{base64.StdEncoding.EncodeToString(*v.p)}
}

func (v statementValue) set(values []string) error {
	*v.p = nil
	if len(values) == 0 {
		return nil
	}
	text := []byte(strings.TrimSpace(values[len(values)-1]))
	if block, rest := pem.Decode(text); block != nil {
		if len(bytes.TrimSpace(rest)) > 0 {
			return errors.New("holds more than one statement; send one")
		}
		*v.p = block.Bytes
		return v.check()
	}
	raw, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil || len(raw) == 0 {
		return errors.New("is no statement; give the text of the file that the authority wrote")
	}
	*v.p = raw
	return v.check()
}

func (v statementValue) check() error {
	if n := len(*v.p); n > MaxStatement {
		return fmt.Errorf("has %d bytes, at most %d fit", n, MaxStatement)
	}
	return nil
}
func (v statementValue) encode() any                               { return *v.p }
func (v statementValue) decode(c modes, raw cbor.RawMessage) error { return c.read(raw, v.p) }

// RoleAction is what happens to an on-duty role.
type RoleAction string

// The actions.
const (
	RoleTake     RoleAction = "take"
	RoleHandOver RoleAction = "hand-over"
	RoleRelease  RoleAction = "release"
)

// Role takes, hands over or gives up an on-duty role, such as "medical registrar on call". A role that was handed over is
// held by who takes it, and until then by who handed it over.
type Role struct {
	private
	Role   string
	Action RoleAction
	To     string    // person that it is handed over to
	Until  time.Time // when it ends by itself; required to take one
}

func (r *Role) Kind() Kind { return KindRole }
func (r *Role) Summary() string {
	to := ""
	if r.To != "" {
		to = "to " + addressWords(r.To)
	}
	return "Role " + joined(" ", label(roleChoices(), string(r.Action))+":", RoleName(r.Role), to)
}

// RoleName is a role as people read it.
func RoleName(role string) string { return addressWords(RoleAddress(role)) }

func roleChoices() []Choice {
	return []Choice{{string(RoleTake), "taken"}, {string(RoleHandOver), "handed over"}, {string(RoleRelease), "given up"}}
}

func (r *Role) Fields() []Field {
	return []Field{
		{Number: 0, Name: "role", Label: "Role", Required: true, value: role(&r.Role)},
		{Number: 1, Name: "action", Label: "Action", Required: true, value: choice(&r.Action, roleChoices()...)},
		{Number: 2, Name: "to", Label: "To", value: address(&r.To)},
		{Number: 3, Name: "until", Label: "Until", value: moment(&r.Until)},
	}
}

// MaxDuty is how long a role may be taken for: who forgets to give one up does not hold it for ever.
const MaxDuty = 48 * time.Hour

func (r *Role) rules() error {
	_, person := PersonOf(r.To)
	switch {
	case r.Action == RoleHandOver && !person:
		return fmt.Errorf("%w: the field %q (to) is missing; a role is handed over to a person", ErrInvalid, "To")
	case r.Action != RoleHandOver && r.To != "":
		return fmt.Errorf("%w: the field %q (to) is for handing over only; leave it empty", ErrInvalid, "To")
	case r.Action == RoleTake && r.Until.IsZero():
		return fmt.Errorf("%w: the field %q (until) is missing; say when your duty ends", ErrInvalid, "Until")
	case r.Action != RoleTake && !r.Until.IsZero():
		return fmt.Errorf("%w: the field %q (until) is for taking a role only; leave it empty", ErrInvalid, "Until")
	}
	return nil
}
