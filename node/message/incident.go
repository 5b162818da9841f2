package message

import (
	"fmt"
	"time"
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
}

func (i *Incident) Kind() Kind { return KindIncident }
func (i *Incident) Summary() string {
	head := ""
	if i.Mode == Exercise {
		head = "EXERCISE "
	}
	return head + joined(" · ", i.Name+": "+label(incidentChoices(), string(i.State)), i.Reason)
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
	}
}

func (i *Incident) rules() error {
	if i.State == IncidentCancelled && i.Reason == "" {
		return fmt.Errorf("%w: the field %q (reason) is missing; say why the incident is cancelled", ErrInvalid, "Reason")
	}
	return nil
}

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
