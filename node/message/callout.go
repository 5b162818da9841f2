package message

import (
	"fmt"
	"time"
)

// CallOut asks staff to come: one question, answered with one tap. The coordinator sees a tally and no chat.
type CallOut struct {
	private
	Question string   // "Can you come in for a major incident?"
	Place    string   // where to report
	Skills   []string // who is needed; empty for everybody
	When     time.Time
	Needed   *int // how many; nil is not said
}

func (c *CallOut) Kind() Kind { return KindCallOut }
func (c *CallOut) Summary() string {
	needed := ""
	if c.Needed != nil {
		needed = fmt.Sprintf("%d needed", *c.Needed)
	}
	return "Call-out: " + joined(" · ", c.Question, c.Place, needed)
}
func (c *CallOut) Fields() []Field {
	return []Field{
		{Number: 0, Name: "question", Label: "Question", Required: true, value: line(&c.Question, MaxLine)},
		{Number: 1, Name: "place", Label: "Report to", Required: true, value: line(&c.Place, MaxLine)},
		{Number: 2, Name: "skills", Label: "Skills", Help: "One on each line; leave empty to ask everybody.", value: list(&c.Skills, 16, 64)},
		{Number: 3, Name: "when", Label: "From when", Help: "Leave empty for now.", value: moment(&c.When)},
		{Number: 4, Name: "needed", Label: "How many are needed", value: number(&c.Needed, 1, 100_000, "")},
	}
}

// Answer is one of the three answers to a call-out.
type Answer string

// The answers.
const (
	AnswerComing Answer = "coming"
	AnswerLater  Answer = "later"
	AnswerCannot Answer = "cannot"
)

// CallOutAnswer answers a call-out. The newest of a person counts.
type CallOutAnswer struct {
	private
	CallOut EntryID
	Answer  Answer
	ETA     *int   // minutes from when it was sent; required with coming
	Skill   string // which of the skills asked for; empty for none of them
}

func (a *CallOutAnswer) Kind() Kind { return KindCallOutAnswer }
func (a *CallOutAnswer) Summary() string {
	eta := ""
	if a.ETA != nil {
		eta = "in " + number(&a.ETA, 0, MaxETA, "min").Human()
	}
	return joined(" · ", joined(" ", label(answerChoices(), string(a.Answer)), eta), a.Skill)
}

func answerChoices() []Choice {
	return []Choice{{string(AnswerComing), "Coming"}, {string(AnswerLater), "Later"}, {string(AnswerCannot), "Cannot come"}}
}

func (a *CallOutAnswer) Fields() []Field {
	return []Field{
		{Number: 0, Name: "call-out", Label: "Call-out", Required: true, value: entry(&a.CallOut)},
		{Number: 1, Name: "answer", Label: "Answer", Required: true, value: choice(&a.Answer, answerChoices()...)},
		{Number: 2, Name: "eta", Label: "ETA in minutes", value: number(&a.ETA, 0, MaxETA, "min")},
		{Number: 3, Name: "skill", Label: "As", value: line(&a.Skill, 64)},
	}
}

func (a *CallOutAnswer) rules() error {
	switch {
	case a.Answer == AnswerComing && a.ETA == nil:
		return fmt.Errorf("%w: the field %q (eta) is missing; who is coming says in how many minutes", ErrInvalid, "ETA in minutes")
	case a.Answer == AnswerCannot && a.ETA != nil:
		return fmt.Errorf("%w: who cannot come has no ETA; leave the field %q (eta) empty", ErrInvalid, "ETA in minutes")
	}
	return nil
}

// CallOutClose says that enough have answered: the rest stand by.
type CallOutClose struct {
	private
	CallOut EntryID
	Note    string
}

func (c *CallOutClose) Kind() Kind { return KindCallOutClose }
func (c *CallOutClose) Summary() string {
	return "Call-out closed: " + joined(" · ", "enough are coming, all others stand by", c.Note)
}
func (c *CallOutClose) Fields() []Field {
	return []Field{
		{Number: 0, Name: "call-out", Label: "Call-out", Required: true, value: entry(&c.CallOut)},
		{Number: 1, Name: "note", Label: "Note", value: prose(&c.Note, MaxProse)},
	}
}
