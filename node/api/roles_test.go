package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tocsin/node"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

func (f *fakeNode) Timeline(group string, all bool) ([]inbox.TimelineEvent, error) {
	if group != hexGroup(1) {
		return nil, node.ErrNotFound
	}
	return f.inbox.Timeline(inbox.GroupID(groupID(1)), all), f.failure()
}

func (f *fakeNode) Cards() ([]message.Card, error) { return f.cards, f.failure() }

func (f *fakeNode) SetCards(text []byte) error {
	cards, err := message.ParseCards(text)
	if err != nil {
		return fmt.Errorf("%w: %w", node.ErrInvalid, err)
	}
	f.cards = cards
	return f.failure()
}

// TestExerciseIsSaidEverywhere: every answer that shows anything of an exercise says that it is one.
func TestExerciseIsSaidEverywhere(t *testing.T) {
	b := newBench(t)
	c := b.dial(t)
	ctx := t.Context()
	g := hexGroup(1)
	say := func(kind string, fields url.Values) string {
		s, err := c.Send(ctx, g, SendText{Kind: kind, Fields: fields, Priority: "routine"})
		must(t, err)
		return s.ID
	}
	say("incident", url.Values{"name": {"Flood"}, "mode": {"exercise"}, "state": {"declared"}})
	say("casualty", url.Values{"tag": {"A-1"}, "triage": {"p1"}})
	say("decision", url.Values{"decision": {"Divert"}, "rationale": {"Full"}, "options": {"Divert", "Nothing"}, "decider": {"person:" + amara.Person}, "at": {born.Format(time.RFC3339)}})
	groups, err := c.Groups(ctx)
	must(t, err)
	if !groups[0].Exercise || !groups[0].Last.Exercise {
		t.Error("the list of conversations does not say it")
	}
	page, err := c.Messages(ctx, g, 0, 100)
	must(t, err)
	found, err := c.Search(ctx, url.Values{"words": {"divert"}})
	must(t, err)
	board, err := c.Board(ctx, g)
	must(t, err)
	line, err := c.Timeline(ctx, g, true)
	must(t, err)
	if !board.Exercise || !board.Incident.Exercise || !line.Exercise {
		t.Error("a board or the timeline does not say it")
	}
	shown := slices.Concat(page.Messages, found.Messages, []Message{board.Decisions[0].Message, board.Casualties[0].Message})
	for _, e := range line.Events {
		shown = append(shown, e.Message)
	}
	if len(shown) < 10 {
		t.Fatalf("only %d messages are shown", len(shown))
	}
	for _, m := range shown {
		if !m.Exercise {
			t.Errorf("a message of kind %s does not say it", m.Kind)
		}
	}
	doc := b.printed(t, g)
	if n := strings.Count(doc, "EXERCISE"); n < 5 || !strings.Contains(doc, "<title>EXERCISE ") {
		t.Errorf("the print says it %d times", n)
	}
}

// printed is the decision log of a conversation as a document.
func (b *bench) printed(t *testing.T, group string) string {
	t.Helper()
	req := b.request(t, "GET", "/v1/groups/"+group+"/decisions/print", "")
	b.bearer(req)
	resp := b.do(t, req)
	doc, err := io.ReadAll(resp.Body)
	must(t, err)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "sandbox") {
		t.Fatalf("%s, %s: %s", resp.Status, resp.Header, doc)
	}
	return string(doc)
}

// TestDecisionLogIsPrinted: numbers, links of corrections, who decided and who wrote, both times and the id stand in the document, and nothing
// that somebody wrote becomes markup.
func TestDecisionLogIsPrinted(t *testing.T) {
	b := newBench(t)
	c := b.dial(t)
	g := hexGroup(1)
	decide := func(what string, more url.Values) string {
		fields := url.Values{"decision": {what}, "rationale": {"ED is full"}, "options": {"Divert", "Stay open"}, "decider": {"person:" + amara.Person}, "at": {born.Format(time.RFC3339)}}
		for name, values := range more {
			fields[name] = values
		}
		s, err := c.Send(t.Context(), g, SendText{Kind: "decision", Fields: fields, Priority: "routine"})
		must(t, err)
		return s.ID
	}
	first := decide("<script>alert(1)</script> & divert", nil)
	decide("Divert all but stroke", url.Values{"corrects": {first}, "loggist": {"person:" + ben.Person}, "after": {first}})
	decide("Open the hall", url.Values{"after": {strings.Repeat("7", 64)}})
	doc := b.printed(t, g)
	for _, want := range []string{
		"&lt;script&gt;alert(1)&lt;/script&gt; &amp; divert", "Entry 1 of 3", "Entry 3 of 3", `corrects <a href="#no-1">entry 1</a>`, `corrected by <a href="#no-2">entry 2</a>`,
		`<section id="no-2">`, "ED is full", "<li>Stay open</li>", amara.Name, ben.Name, "Time of the decision", born.UTC().Format("2 January 2006 15:04:05 UTC"),
		first, "tocsin log prove", "an entry that is not here", "counter(page) \" of \" counter(pages)", "neither the decider nor the loggist",
	} {
		if !strings.Contains(doc, want) {
			t.Errorf("the document lacks %q", want)
		}
	}
	if strings.Contains(doc, "EXERCISE") || strings.Contains(doc, "<script") || regexp.MustCompile(`(?i)(src|href)="[^#]`).MatchString(doc) {
		t.Error("the document holds a script, loads something, or calls itself an exercise")
	}
}

func TestTimelineOverTheAPI(t *testing.T) {
	b := newBench(t)
	c := b.dial(t)
	sendBoard(t, c)
	some, err := c.Timeline(t.Context(), hexGroup(1), false)
	must(t, err)
	all, err := c.Timeline(t.Context(), hexGroup(1), true)
	must(t, err)
	if len(some.Events) == 0 || len(all.Events) <= len(some.Events) {
		t.Fatalf("%d events, %d with texts", len(some.Events), len(all.Events))
	}
	for i, e := range some.Events {
		if e.Kind == "text" || e.KindName == "" || e.Summary == "" || i > 0 && e.At.Before(some.Events[i-1].At) {
			t.Errorf("event %d: %s at %v", i, e.Kind, e.At)
		}
	}
	if _, err := c.Timeline(t.Context(), hexGroup(9), false); !errors.Is(err, ErrNotFound) {
		t.Errorf("of no conversation: %v", err)
	}
}

func TestCardsOverTheAPI(t *testing.T) {
	b := newBench(t)
	c := b.dial(t)
	cards, err := c.SetCards(t.Context(), "role: all\ntitle: Everybody\n- Wear your badge\n")
	must(t, err)
	if len(cards.Cards) != 1 || cards.Cards[0].Name != "everybody" || cards.Cards[0].Steps[0] != "Wear your badge" {
		t.Errorf("%+v", cards)
	}
	if _, err := c.SetCards(t.Context(), "- a step of no card"); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("a broken card: %v", err)
	}
	board, err := c.Board(t.Context(), hexGroup(1))
	must(t, err)
	if len(board.Cards) != 1 || board.Cards[0].Title != "Everybody" {
		t.Errorf("%+v", board.Cards)
	}
}

// TestMessageIsForARole: the API takes addresses and nothing else, and shows who is called.
func TestMessageIsForARole(t *testing.T) {
	b := newBench(t)
	c := b.dial(t)
	g := hexGroup(1)
	s, err := c.Send(t.Context(), g, SendText{Kind: "sbar", For: []string{"role:medical-registrar", "person:" + ben.Person}, Priority: "urgent",
		Fields: url.Values{"situation": {"s"}, "background": {"b"}, "assessment": {"a"}, "recommendation": {"r"}}})
	must(t, err)
	page, err := c.Messages(t.Context(), g, -1, 1)
	must(t, err)
	m := page.Messages[0]
	if m.ID != s.ID || len(m.For) != 2 || m.For[0].Words != "medical registrar" || !m.For[0].Nobody || m.For[1].Words != ben.Name || m.For[1].Nobody || len(m.For[1].Holders) != 1 {
		t.Errorf("%+v", m.For)
	}
	for what, body := range map[string]SendText{
		"a name":           {Text: "x", For: []string{"Ben Carter"}},
		"a role in a task": {Kind: "task", Fields: url.Values{"what": {"w"}, "to": {"role:porter"}}, For: []string{"role:porter"}},
	} {
		if _, err := c.Send(t.Context(), g, body); !errors.Is(err, ErrInvalid) {
			t.Errorf("for %s: %v", what, err)
		}
	}
	kinds, err := c.Kinds(t.Context())
	must(t, err)
	for _, k := range kinds.Kinds {
		if want := k.Kind == "text" || k.Kind == "sbar"; want && !k.For || k.Kind == "task" && k.For || k.Kind == "escalation" && !k.Made {
			t.Errorf("kind %s: for %v, made %v", k.Kind, k.For, k.Made)
		}
	}
}

// TestClinicalPhotoOverTheAPI: what was said of the consent reaches the node as it was said, and regions that are none are refused.
func TestClinicalPhotoOverTheAPI(t *testing.T) {
	b := newBench(t)
	path := "/v1/groups/" + hexGroup(1) + "/attachments?name=x.jpg&shows=patient&consent=guardian&purpose=advice&witness=" + url.QueryEscape("person:"+ben.Person) +
		"&asked_by=" + url.QueryEscape("person:"+amara.Person)
	send := func(query string) int {
		req := b.request(t, "POST", path+query, "a file")
		req.Header.Set("Content-Type", fileType)
		b.bearer(req)
		return b.do(t, req).StatusCode
	}
	if got := send("&blackout=1,2,30,40&blackout=0,0,5,5"); got != http.StatusCreated {
		t.Fatalf("%d", got)
	}
	spec := b.node.attached
	if spec.Shows != "patient" || spec.Consent != "guardian" || spec.Purpose != "advice" || spec.Witness != "person:"+ben.Person || spec.AskedBy != "person:"+amara.Person ||
		len(spec.Blackout) != 2 || spec.Blackout[0].Min.X != 1 || spec.Blackout[0].Max.Y != 42 {
		t.Errorf("the node was told %+v", spec)
	}
	for _, region := range []string{"", "1,2,3", "1,2,3,0", "-1,2,3,4", "a,2,3,4", "1,2,3,4,5", "1,2,3,99999999"} {
		if got := send("&blackout=" + region); got != http.StatusBadRequest {
			t.Errorf("the region %q: %d", region, got)
		}
	}
}

// A print of a log is also made where no server is.
func TestDecisionLogWithProofs(t *testing.T) {
	l := NewDecisionLog("Ward 5", "m", "Amara", Board{Decisions: []Decision{{Number: 1, Decision: "d"}}}, born)
	l.Entries[0].Proof = &PrintedProof{File: "proofs/001.tocsin-proof", SHA256: "ab12", Witnesses: []string{"Ben Carter, by noon"}}
	var out bytes.Buffer
	must(t, l.WriteHTML(&out))
	for _, want := range []string{"Check: tocsin verify proofs/001.tocsin-proof", "SHA-256 ab12", "Ben Carter, by noon", "1 entry."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the document lacks %q", want)
		}
	}
}
