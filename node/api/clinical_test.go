package api

import (
	"context"
	"encoding/hex"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"tocsin/node"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// saidForm is what the fake node does with a message that is no text.
func (f *fakeNode) saidForm(m message.Message, priority string) node.Sent {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent++
	id := inbox.EntryID{30: byte(f.sent >> 8), 31: byte(f.sent)}
	at := born.Add(time.Duration(f.sent) * time.Minute)
	m.Sent = at
	f.inbox.Apply(inbox.Item{ID: id, Group: groupID(1), HLC: uint64(10 + f.sent), Seq: uint64(f.sent), From: amara, Message: m, Sent: at,
		Received: at, Priority: priority, Own: true, Provable: true})
	return node.Sent{ID: hex.EncodeToString(id[:]), Log: amara.Log, Seq: 1, Time: at, State: "saved"}
}

func (f *fakeNode) Acknowledge(_ context.Context, id string) (node.Sent, error) {
	return node.Sent{ID: id, Log: amara.Log, Time: born, State: "saved"}, f.failure()
}

func (f *fakeNode) Board(group string) (b node.Board, err error) {
	g := inbox.GroupID(groupID(1))
	if group != hexGroup(1) {
		return b, node.ErrNotFound
	}
	if i, ok := f.inbox.Incident(g); ok {
		b.Incident = &i
	}
	c, _ := f.inbox.Conversation(g)
	b.Exercise, b.Members, b.Reports, b.Reader = c.Exercise, c.Members, f.inbox.Reports(g), amara.Person
	b.Grace = &node.Declared{Org: amara.Org, Incident: "Flood", Since: born, Until: born}
	b.Cards, b.Carded = f.cards, []string{"loggist"}
	b.CallOuts, b.Alerts, b.Casualties = f.inbox.CallOuts(g), f.inbox.Alerts(g), f.inbox.Casualties(g)
	b.Tasks, b.Decisions, b.Duties = f.inbox.Tasks(g), f.inbox.Decisions(g), f.inbox.Duties(g, born.Add(time.Minute))
	return b, f.failure()
}

func (f *fakeNode) Search(q inbox.Query) ([]inbox.Item, error) { return f.inbox.Search(q), f.failure() }

func (f *fakeNode) Draft(text string) []message.Found { return message.Identifiers(text, born) }

// one of everything that stands on a board, as a client would send it.
func sendBoard(t *testing.T, c *Client) {
	t.Helper()
	g := hexGroup(1)
	send := func(kind string, fields url.Values) string {
		priority := "routine"
		if kind == "alert" {
			priority = "stat"
		}
		s, err := c.Send(t.Context(), g, SendText{Kind: kind, Fields: fields, Priority: priority})
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		return s.ID
	}
	me := "person:stmarys.nhs.example/gmc/7654321"
	send("incident", url.Values{"name": {"Flood"}, "mode": {"exercise"}, "state": {"declared"}})
	call := send("call-out", url.Values{"question": {"Can you come?"}, "place": {"ED"}, "skills": {"nurse", "surgeon"}})
	send("call-out-answer", url.Values{"call-out": {call}, "answer": {"coming"}, "eta": {"20"}, "skill": {"nurse"}})
	send("alert", url.Values{"what": {"Fire"}, "where": {"Ward 3"}, "to": {"role:registrar", me}})
	send("casualty", url.Values{"tag": {"A-017"}, "triage": {"p1"}})
	send("task", url.Values{"what": {"Open theatre 4"}, "to": {"role:theatre-lead"}})
	send("decision", url.Values{"decision": {"Divert"}, "rationale": {"Full"}, "decider": {me}, "options": {"Divert", "Stay open"}, "at": {"2026-03-04T05:00:00Z"}})
	send("role", url.Values{"role": {"registrar"}, "action": {"take"}, "until": {born.Add(8 * time.Hour).Format(time.RFC3339)}})
}

func TestFormsAndBoards(t *testing.T) {
	b := newBench(t)
	c := b.dial(t)
	sendBoard(t, c)
	board, err := c.Board(t.Context(), hexGroup(1))
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case board.Incident == nil || !board.Incident.Exercise || board.Incident.State != "declared":
		t.Errorf("incident %+v", board.Incident)
	case len(board.CallOuts) != 1 || len(board.CallOuts[0].Coming) != 1 || board.CallOuts[0].Coming[0].There == nil || board.CallOuts[0].Skills[0] != (Skill{"nurse", 1}):
		t.Errorf("call-outs %+v", board.CallOuts)
	case len(board.Alerts) != 1 || !board.Alerts[0].Sounds || board.Alerts[0].Escalates == nil:
		t.Errorf("alerts %+v", board.Alerts)
	case len(board.Casualties) != 1 || board.Casualties[0].TriageWords != "P1 immediate (red)":
		t.Errorf("casualties %+v", board.Casualties)
	case len(board.Tasks) != 1 || !board.Tasks[0].Open || len(board.Decisions) != 1 || board.Decisions[0].Number != 1:
		t.Errorf("tasks %+v, decisions %+v", board.Tasks, board.Decisions)
	case len(board.Duties) != 1 || board.Duties[0].Name != "registrar" || len(board.Duties[0].Holders) != 1:
		t.Errorf("duties %+v", board.Duties)
	}
	d := readDescription(t)
	var raw any
	if err := c.do(t.Context(), "GET", "/v1/groups/"+hexGroup(1)+"/board", nil, &raw); err != nil {
		t.Fatal(err)
	}
	d.fits(t, "board", raw, map[string]any{"$ref": "#/components/schemas/Board"})

	found, err := c.Search(t.Context(), url.Values{"tag": {"a-017"}})
	if err != nil || len(found.Messages) != 1 || found.Messages[0].Kind != "casualty" || !strings.Contains(found.Messages[0].Text, "P1 immediate (red)") {
		t.Errorf("search: %+v, %v", found, err)
	}
	kinds, err := c.Kinds(t.Context())
	if err != nil || len(kinds.Kinds) != len(message.Kinds()) {
		t.Errorf("%d kinds, %v", len(kinds.Kinds), err)
	}
}

func TestFormsThatAreRefused(t *testing.T) {
	b := newBench(t)
	c := b.dial(t)
	for want, m := range map[string]SendText{
		"no kind of message":  {Kind: "rumour"},
		"leave text":          {Kind: "sbar", Text: "x"},
		"made by devices":     {Kind: "escalation"},
		"attachments":         {Kind: "attachment"},
		"(situation) is miss": {Kind: "sbar", Fields: map[string][]string{"background": {"x"}}},
		"no field":            {Kind: "sbar", Fields: map[string][]string{"display-name": {"Dr X"}}},
		"must be one of":      {Kind: "casualty", Fields: map[string][]string{"tag": {"A"}, "triage": {"p9"}}},
		"A-Z":                 {Kind: "casualty", Fields: map[string][]string{"tag": {"a\u202e"}, "triage": {"p1"}}},
	} {
		_, err := c.Send(t.Context(), hexGroup(1), m)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", m, err, want)
		}
	}
	for _, q := range []url.Values{{"group": {"x"}}, {"limit": {"0"}}, {"limit": {"9999"}}} {
		if _, err := c.Search(t.Context(), q); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: %v", q, err)
		}
	}
}

// A draft with an NHS number is warned of, one press replaces it, and one digit more or less is no NHS number.
func TestDrafts(t *testing.T) {
	c := newBench(t).dial(t)
	got, err := c.Draft(t.Context(), Draft{Text: "Patient 9434765919, please come", With: "JS, bed 4"})
	if err != nil || len(got.Found) != 1 || got.Found[0].Kind != "nhs-number" || got.Replaced != "Patient JS, bed 4, please come" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err = c.Draft(t.Context(), Draft{Text: "Patient 9434765918, please come"}); err != nil || len(got.Found) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}
