package api

import (
	"encoding/hex"
	"slices"
	"time"

	"tocsin/node"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// The types of clinical messages and of the boards on which they stand, as they go over the API.
type (
	// Kinds answers GET /v1/kinds.
	Kinds struct {
		Kinds []Kind `json:"kinds"`
	}
	// Kind is a kind of message with its form.
	Kind struct {
		Kind   string  `json:"kind"`
		Name   string  `json:"name"`
		Fields []Field `json:"fields"`
		// For: a message of the kind can say whom it is for. Made: devices make it, and no form does.
		For  bool `json:"for"`
		Made bool `json:"made,omitempty"`
	}
	// Field is one field of a form.
	Field struct {
		Name     string   `json:"name"`
		Label    string   `json:"label"`
		Help     string   `json:"help,omitempty"`
		Required bool     `json:"required"`
		Input    string   `json:"input"`
		Choices  []Choice `json:"choices,omitempty"`
	}
	// Choice is one of the values that a field allows.
	Choice struct {
		Value string `json:"value"`
		Label string `json:"label"`
	}
	// Draft is the body of POST /v1/drafts.
	Draft struct {
		Text string `json:"text"`
		// With is what stands in the place of an identifier in Replaced, such as "JS, bed 4".
		With string `json:"with"`
	}
	// DraftView says what in a draft may identify a patient.
	DraftView struct {
		Found    []Identifier `json:"found"`
		Replaced string       `json:"replaced"`
	}
	// Identifier is one thing found: the bytes from From up to To.
	Identifier struct {
		Kind  string `json:"kind"`
		Words string `json:"words"`
		From  int    `json:"from"`
		To    int    `json:"to"`
	}
	// Found answers GET /v1/search.
	Found struct {
		Messages []Message `json:"messages"`
	}
	// Board answers GET /v1/groups/{id}/board.
	Board struct {
		Incident   *Incident  `json:"incident"`
		CallOuts   []CallOut  `json:"call_outs"`
		Alerts     []Alert    `json:"alerts"`
		Casualties []Casualty `json:"casualties"`
		Tasks      []Task     `json:"tasks"`
		Decisions  []Decision `json:"decisions"`
		Duties     []Duty     `json:"duties"`
		// METHANE are the reports, those that stand first; Cards what this reader has to do now; Exercise: all of it belongs to one.
		METHANE  []Message `json:"methane"`
		Cards    []Card    `json:"cards"`
		Exercise bool      `json:"exercise,omitempty"`
	}
	// Incident is the incident of a conversation.
	Incident struct {
		Name     string    `json:"name"`
		Mode     string    `json:"mode"`
		Exercise bool      `json:"exercise"`
		State    string    `json:"state"`
		By       Author    `json:"by"`
		Since    time.Time `json:"since"`
		Over     bool      `json:"over"`
		// Contested: those who run it say both that it is live and that it is an exercise. Settled is the message that settled which it is, null for none.
		Contested bool     `json:"contested"`
		Settled   *Message `json:"settled"`
		// Grace is the declaration in force that it carried, null for none: credentials that ran out count a little longer.
		Grace *node.Declared `json:"grace"`
		Steps []IncidentStep `json:"steps"`
	}
	// CallOut is a call-out with its tally, in people.
	CallOut struct {
		Message Message    `json:"message"`
		Closed  bool       `json:"closed"`
		Coming  []Answered `json:"coming"`
		Later   []Answered `json:"later"`
		Cannot  []Answered `json:"cannot"`
		Silent  int        `json:"silent"`
		After   int        `json:"after"`
		Skills  []Skill    `json:"skills"`
	}
	// Answered is one person's answer; There is null where no time was said.
	Answered struct {
		From  Author     `json:"from"`
		At    time.Time  `json:"at"`
		There *time.Time `json:"there"`
		Skill string     `json:"skill"`
	}
	// Skill is how many are coming with a skill, "" for none of those asked for.
	Skill struct {
		Skill  string `json:"skill"`
		Coming int    `json:"coming"`
	}
	// Alert is an alert and what has come of it; Escalates is null where nobody is left to call.
	Alert struct {
		Message      Message    `json:"message"`
		Sounds       bool       `json:"sounds"`
		Called       []string   `json:"called"`
		Acknowledged int        `json:"acknowledged"`
		Cancelled    bool       `json:"cancelled"`
		Escalates    *time.Time `json:"escalates"`
	}
	// Casualty is one tag and what was last said of it.
	Casualty struct {
		Tag         string  `json:"tag"`
		Triage      string  `json:"triage"`
		TriageWords string  `json:"triage_words"`
		Message     Message `json:"message"`
		Said        int     `json:"said"`
	}
	// Task is a task and where it stands.
	Task struct {
		Message    Message   `json:"message"`
		State      string    `json:"state"`
		StateWords string    `json:"state_words"`
		Open       bool      `json:"open"`
		By         Author    `json:"by"`
		Since      time.Time `json:"since"`
	}
	// Decision is an entry of the decision log. Corrects is the number of the entry that it corrects, CorrectedBy of the one that corrects it,
	// After of the one that its device had before it; 0 for none.
	Decision struct {
		Number      int       `json:"number"`
		Message     Message   `json:"message"`
		Corrects    int       `json:"corrects"`
		CorrectedBy int       `json:"corrected_by"`
		After       int       `json:"after"`
		Gap         bool      `json:"gap"` // the entry before it is not here
		Decision    string    `json:"decision"`
		Rationale   string    `json:"rationale"`
		Options     []string  `json:"options"`
		Decider     Named     `json:"decider"`
		Loggist     *Named    `json:"loggist"` // null where the decider wrote it
		At          time.Time `json:"at"`      // when it was decided
		Entered     time.Time `json:"entered"` // when it was written down
		Late        bool      `json:"late"`    // long after it was decided
		Problems    []string  `json:"problems"`
	}
	// Duty is an on-duty role and who holds it.
	Duty struct {
		Role      string   `json:"role"`
		Name      string   `json:"name"`
		Holders   []Holder `json:"holders"`
		Contested bool     `json:"contested"`
		Offered   string   `json:"offered"`
		Me        bool     `json:"me"`   // this reader holds it
		Card      bool     `json:"card"` // there is an action card of it
	}
	// Holder is who holds a role.
	Holder struct {
		From  Author    `json:"from"`
		Since time.Time `json:"since"`
		Until time.Time `json:"until"`
	}
)

func kindOf(k message.Kind) Kind {
	out := Kind{Kind: string(k), Name: k.Name(), Fields: []Field{}, For: k.Addressable(), Made: k.Made()}
	for _, f := range message.New(k).Fields() {
		field := Field{Name: f.Name, Label: f.Label, Help: f.Help, Required: f.Required, Input: string(f.Input())}
		for _, c := range f.Choices() {
			field.Choices = append(field.Choices, Choice{c.Value, c.Label})
		}
		out.Fields = append(out.Fields, field)
	}
	return out
}

// boardOf writes a board with lists that are never null.
func boardOf(b node.Board) Board {
	out := Board{
		CallOuts: each(b.CallOuts, callOutOf), Alerts: each(b.Alerts, alertOf), Casualties: each(b.Casualties.Casualties, casualtyOf),
		Tasks: each(b.Tasks, taskOf), Duties: each(b.Duties, func(d inbox.Duty) Duty { return dutyOf(d, b) }),
		Decisions: each(b.Decisions, func(d inbox.Decision) Decision { return decisionOf(d, b.Members) }),
		METHANE:   each(b.Reports, messageOf), Cards: each(b.Cards, cardOf), Exercise: b.Exercise,
	}
	if i := b.Incident; i != nil {
		out.Incident = &Incident{Name: i.Name, Mode: string(i.Mode), Exercise: i.Exercise(), State: string(i.State), By: authorOf(i.By), Since: i.Since.UTC(),
			Over: i.Over(), Contested: i.Contested, Grace: b.Grace, Steps: each(i.Steps, stepOf)}
		if i.Settled != nil {
			settled := messageOf(*i.Settled)
			out.Incident.Settled = &settled
		}
	}
	return out
}

// each is a list of f of every element, empty and not null for none.
func each[A, B any](in []A, f func(A) B) []B {
	out := make([]B, len(in))
	for i, a := range in {
		out[i] = f(a)
	}
	return out
}

func callOutOf(c inbox.CallOut) CallOut {
	return CallOut{
		Message: messageOf(c.Item), Closed: c.Closed != nil, Coming: each(c.Coming, answeredOf), Later: each(c.Later, answeredOf),
		Cannot: each(c.Cannot, answeredOf), Silent: c.Silent, After: c.After,
		Skills: each(c.Skills, func(s inbox.SkillCount) Skill { return Skill{s.Skill, s.Coming} }),
	}
}

func answeredOf(a inbox.Answered) Answered {
	return Answered{From: authorOf(a.From), At: a.At.UTC(), There: timeOrNull(a.There), Skill: a.Skill}
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func alertOf(a inbox.Alert) Alert {
	return Alert{
		Message: messageOf(a.Item), Sounds: a.Sounds(), Called: append([]string{}, a.Called...), Acknowledged: len(a.Acknowledged),
		Cancelled: a.Cancelled != nil, Escalates: timeOrNull(a.Escalates),
	}
}

func casualtyOf(c inbox.Casualty) Casualty {
	return Casualty{Tag: c.Tag, Triage: string(c.Content.Triage), TriageWords: c.Content.Triage.Words(), Message: messageOf(c.Now), Said: len(c.History)}
}

func taskOf(t inbox.Task) Task {
	return Task{Message: messageOf(t.Item), State: string(t.State), StateWords: t.State.Words(), Open: t.Open(), By: authorOf(t.By), Since: t.Since.UTC()}
}

func dutyOf(d inbox.Duty, b node.Board) Duty {
	return Duty{Role: d.Role, Name: message.RoleName(d.Role), Contested: d.Contested(), Offered: d.Offered, Card: slices.Contains(b.Carded, d.Role),
		Me:      slices.ContainsFunc(d.Holders, func(h inbox.Holder) bool { return h.From.Person == b.Reader }),
		Holders: each(d.Holders, func(h inbox.Holder) Holder { return Holder{authorOf(h.From), h.Since.UTC(), h.Until.UTC()} })}
}

// replacedBy is the id of the message that takes the place of one, "" for none.
func replacedBy(it inbox.Item) string {
	if it.ReplacedBy == (inbox.EntryID{}) {
		return ""
	}
	return hex.EncodeToString(it.ReplacedBy[:])
}
