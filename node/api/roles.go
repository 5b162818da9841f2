package api

import (
	"net/http"
	"time"

	"tocsin/node/inbox"
	"tocsin/node/message"
)

// Who is called, what there is to do, and what happened, as they go over the API.
type (
	// Addressee is one of whom a message is for.
	Addressee struct {
		Address string   `json:"address"`
		Words   string   `json:"words"`   // the role, or the person's name
		Holders []Author `json:"holders"` // who gets it: who held the role, and who took it before it was read
		Nobody  bool     `json:"nobody"`  // nobody holds the role now
		Me      bool     `json:"me"`
	}
	// Named is a person by address and, where a member has it, by name.
	Named struct {
		Address string `json:"address"`
		Words   string `json:"words"`
	}
	// IncidentStep is one message that would move an incident on.
	IncidentStep struct {
		Message Message `json:"message"`
		State   string  `json:"state"`
		Refused string  `json:"refused"` // why it changed nothing; empty if it counted
	}
	// Timeline answers GET /v1/groups/{id}/timeline.
	Timeline struct {
		Exercise bool            `json:"exercise"`
		Events   []TimelineEvent `json:"events"`
	}
	// TimelineEvent is one thing that happened: At, when; Entered, when it was written down.
	TimelineEvent struct {
		At       time.Time `json:"at"`
		Entered  time.Time `json:"entered"`
		Late     bool      `json:"late"`
		Kind     string    `json:"kind"`
		KindName string    `json:"kind_name"`
		Summary  string    `json:"summary"`
		Message  Message   `json:"message"`
		Refused  string    `json:"refused"` // why it changed nothing of what stands
	}
	// Cards answers GET and PUT /v1/cards.
	Cards struct {
		Cards []Card `json:"cards"`
	}
	// Card is the action card of a role, or of everybody ("all").
	Card struct {
		Role  string   `json:"role"`
		Name  string   `json:"name"`
		Title string   `json:"title"`
		When  string   `json:"when"`
		Steps []string `json:"steps"`
	}
	// SetCards is the body of PUT /v1/cards.
	SetCards struct {
		Text string `json:"text"`
	}
)

// addresseesOf is nil for a message that is for all.
func addresseesOf(in []inbox.Addressee) []Addressee {
	if len(in) == 0 {
		return nil
	}
	return each(in, func(a inbox.Addressee) Addressee {
		return Addressee{Address: a.Address, Words: a.Words, Nobody: a.Vacant, Holders: each(a.Holders, authorOf), Me: a.Me}
	})
}

func cardOf(c message.Card) Card {
	name := message.RoleName(c.Role)
	if c.Role == message.RoleAll {
		name = "everybody"
	}
	return Card{Role: c.Role, Name: name, Title: c.Title, When: c.When, Steps: append([]string{}, c.Steps...)}
}

func stepOf(s inbox.IncidentStep) IncidentStep {
	return IncidentStep{Message: messageOf(s.Item), State: string(s.Content.State), Refused: s.Refused}
}

// namedOf names the person of an address as one of members is called.
func namedOf(address string, members []inbox.Author) Named {
	person, _ := message.PersonOf(address)
	for _, m := range members {
		if m.Person == person && m.Name != "" {
			return Named{address, m.Name}
		}
	}
	return Named{address, message.AddressWords(address)}
}

func decisionOf(d inbox.Decision, members []inbox.Author) Decision {
	c := d.Content
	out := Decision{
		Number: d.Number, Message: messageOf(d.Item), Corrects: d.Corrects, CorrectedBy: d.CorrectedBy, After: d.After, Gap: d.Gap,
		Decision: c.Decision, Rationale: c.Rationale, Options: append([]string{}, c.Options...), Decider: namedOf(c.Decider, members),
		At: c.At.UTC(), Entered: d.Item.Sent.UTC(), Late: d.Late, Problems: append([]string{}, d.Problems...),
	}
	if c.Loggist != "" {
		loggist := namedOf(c.Loggist, members)
		out.Loggist = &loggist
	}
	return out
}

func timelineEventOf(e inbox.TimelineEvent) TimelineEvent {
	return TimelineEvent{
		At: e.At.UTC(), Entered: e.Entered.UTC(), Late: e.Late, Kind: string(e.Item.Message.Kind()), KindName: e.Item.Message.Kind().Name(),
		Summary: e.Item.Message.Summary(), Message: messageOf(e.Item), Refused: e.Refused,
	}
}

func (s *Server) getTimeline(w http.ResponseWriter, r *http.Request) error {
	all, err := flag(r.URL.Query().Get("all"))
	if err != nil {
		return err
	}
	events, err := s.cfg.Node.Timeline(r.PathValue("id"), all)
	if err != nil {
		return err
	}
	out := Timeline{Events: each(events, timelineEventOf)}
	for _, e := range events {
		out.Exercise = out.Exercise || e.Item.Exercise
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (s *Server) getCards(w http.ResponseWriter, _ *http.Request) error {
	cards, err := s.cfg.Node.Cards()
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, Cards{each(cards, cardOf)})
	return nil
}

func (s *Server) putCards(w http.ResponseWriter, r *http.Request) error {
	var body SetCards
	if err := readJSON(r, &body); err != nil {
		return err
	}
	if err := s.cfg.Node.SetCards([]byte(body.Text)); err != nil {
		return err
	}
	return s.getCards(w, r)
}
