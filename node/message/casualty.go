package message

import "fmt"

// Triage is a priority for treatment. A human chooses it; nothing in Tocsin computes it.
type Triage string

// The triage categories of the UK's ten-second triage and NASMeD.
const (
	P1       Triage = "p1"
	P2       Triage = "p2"
	P3       Triage = "p3"
	Deceased Triage = "deceased"
)

// Words are what people read: the category, what it means and its colour, so that the colour never stands alone.
func (t Triage) Words() string { return label(triageChoices(), string(t)) }

func triageChoices() []Choice {
	return []Choice{{string(P1), "P1 immediate (red)"}, {string(P2), "P2 urgent (yellow)"},
		{string(P3), "P3 delayed (green)"}, {string(Deceased), "Deceased (black)"}}
}

// MaxTag is the most characters on a casualty's tag.
const MaxTag = 16

// Casualty says where a tagged casualty stands. A later one with the same tag brings it up to date; all are kept.
type Casualty struct {
	private
	Tag      string // the number on the tag, A-Z, 0-9 and hyphens
	Triage   Triage
	Age      string
	Sex      Sex
	Location string // where the casualty is now
	Injuries string
	Going    string // where to
	Note     string
}

func (c *Casualty) Kind() Kind { return KindCasualty }
func (c *Casualty) Summary() string {
	return "Casualty " + joined(" · ", c.Tag, c.Triage.Words(), joined(" ", c.Age, label(sexChoices(), string(c.Sex))), c.Location, c.Injuries)
}
func (c *Casualty) Fields() []Field {
	return []Field{
		{Number: 0, Name: "tag", Label: "Tag number", Required: true, Help: "As printed on the tag.", value: tag(&c.Tag)},
		{Number: 1, Name: "triage", Label: "Triage category", Required: true, Help: "Chosen by you, never computed.", value: choice(&c.Triage, triageChoices()...)},
		{Number: 2, Name: "age", Label: "Age", value: line(&c.Age, MaxLine)},
		{Number: 3, Name: "sex", Label: "Sex", value: choice(&c.Sex, sexChoices()...)},
		{Number: 4, Name: "location", Label: "Where now", value: line(&c.Location, MaxLine)},
		{Number: 5, Name: "injuries", Label: "Injuries", value: prose(&c.Injuries, MaxProse)},
		{Number: 6, Name: "going", Label: "Going to", value: line(&c.Going, MaxLine)},
		{Number: 7, Name: "note", Label: "Note", value: prose(&c.Note, MaxProse)},
	}
}

func tag(p *string) shapedValue {
	return shapedValue{line(p, MaxTag), func(s string) error {
		for _, c := range []byte(s) {
			if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
				return fmt.Errorf("may hold only A-Z, 0-9 and hyphens, as on the tag")
			}
		}
		return nil
	}}
}
