package main

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tocsin/node"
	"tocsin/node/api"
	"tocsin/node/message"
)

// golden is the form of one kind in the conversation of every kind. A value @name
// is the id of the message that was sent under that name.
type golden struct {
	kind     message.Kind
	name     string // under which others point at it; empty for none
	priority string
	form     map[string][]string
	finds    string // words that only this message has; empty where no field takes any
}

// goldenConversation is one message of every kind that has a form, those that
// only devices make among them.
func goldenConversation(writer, reader string) []golden {
	now := time.Now().UTC().Format(time.RFC3339)
	return []golden{
		{message.KindText, "text", "routine", map[string][]string{"body": {"Heron: two more ambulances"}}, "heron ambulances"},
		{message.KindMETHANE, "", "urgent", map[string][]string{"major": {"declared"}, "location": {"Kestrel bridge"}, "type": {"coach and lorry"},
			"hazards": {"diesel"}, "access": {"from the south"}, "casualties": {"about forty"}, "emergency-services": {"fire and police"}}, "kestrel"},
		{message.KindSBAR, "", "routine", map[string][]string{"situation": {"Plover, bed 4, BP 80/40"}, "background": {"fall from height"},
			"assessment": {"bleeding"}, "recommendation": {"theatre now"}}, "plover theatre"},
		{message.KindATMIST, "", "urgent", map[string][]string{"age": {"about 40"}, "sex": {"female"}, "time": {"14:05"}, "mechanism": {"Dunlin: ejected"},
			"injuries": {"pelvis"}, "signs": {"GCS 13"}, "treatment": {"binder"}, "eta": {"12"}, "tag": {"A-017"}}, "dunlin"},
		{message.KindCasualty, "", "urgent", map[string][]string{"tag": {"A-017"}, "triage": {"p1"}, "injuries": {"Avocet pelvis"}}, "avocet"},
		{message.KindCallOut, "call", "urgent", map[string][]string{"question": {"Can you come, Curlew?"}, "place": {"ED reception"}, "skills": {"nurse", "surgeon"}}, "curlew"},
		{message.KindCallOutAnswer, "", "urgent", map[string][]string{"call-out": {"@call"}, "answer": {"coming"}, "eta": {"25"}, "skill": {"nurse"}}, ""},
		{message.KindCallOutClose, "", "urgent", map[string][]string{"call-out": {"@call"}, "note": {"Sanderling: enough"}}, "sanderling"},
		{message.KindTask, "task", "urgent", map[string][]string{"what": {"Open theatre Whimbrel"}, "to": {"person:" + reader}}, "whimbrel"},
		{message.KindTaskUpdate, "", "urgent", map[string][]string{"task": {"@task"}, "state": {"declined"}, "note": {"Godwit is closed"}}, "godwit"},
		{message.KindAlert, "alert", "stat", map[string][]string{"what": {"Cardiac arrest Lapwing"}, "where": {"Bed 4"}, "to": {"person:" + reader, "role:consultant"}}, "lapwing"},
		{message.KindEscalation, "", "stat", map[string][]string{"alert": {"@alert"}, "step": {"1"}}, ""},
		{message.KindAlertCancel, "", "stat", map[string][]string{"alert": {"@alert"}, "reason": {"False alarm, Turnstone"}}, "turnstone"},
		{message.KindDecision, "", "routine", map[string][]string{"decision": {"Divert to Redshank"}, "rationale": {"ED is full"}, "decider": {"person:" + writer},
			"options": {"Divert", "Stay open"}, "at": {now}}, "redshank"},
		{message.KindBriefing, "", "routine", map[string][]string{"information": {"Oystercatcher at 15:00"}, "intent": {"clear ED"}, "method": {"by ward"},
			"administration": {"log kept"}, "risk": {"smoke"}, "communications": {"this group"}, "humanitarian": {"relatives in the chapel"}}, "oystercatcher"},
		{message.KindIncident, "", "urgent", map[string][]string{"name": {"Phalarope"}, "mode": {"live"}, "state": {"declared"}}, "phalarope"},
		{message.KindRole, "", "urgent", map[string][]string{"role": {"loggist"}, "action": {"take"}, "until": {time.Now().Add(8 * time.Hour).UTC().Format(time.RFC3339)}}, ""},
		{message.KindRetract, "", "routine", map[string][]string{"entry": {"@text"}, "reason": {"Wrong group, Dotterel"}}, "dotterel"},
		{message.KindTransferred, "", "routine", map[string][]string{"entries": {"@text"}, "record": {"Spoonbill EHR"}, "receipt": {"T-2026-17"}}, "spoonbill"},
		{message.KindHold, "", "routine", map[string][]string{"basis": {"legal"}, "reason": {"Claim of Mr Wigeon"}}, "wigeon"},
		{message.KindHoldEnd, "", "routine", map[string][]string{"hold": {"@hold"}, "reason": {"Pochard settled"}}, "pochard"},
		{message.KindErase, "", "routine", map[string][]string{"entries": {"@retract"}, "reason": {"Garganey was another"}}, "garganey"},
		{message.KindDisclosed, "", "routine", map[string][]string{"basis": {"court"}, "reference": {"Shoveler 17/26"}, "entries": {"@text"}}, "shoveler"},
	}
}

// goldenTalk is the conversation between a node in this process, which can say
// also what only devices say, and one in a process of its own, which is asked
// by API and commands what it makes of it.
type goldenTalk struct {
	*demo
	writer *colleague
	reader *clinician
	ids    map[string]string
}

// TestGoldenConversation: a message of every kind encodes, crosses the mesh, is
// shown, searched and printed; and is refused by the name of each required field
// that it lacks.
func TestGoldenConversation(t *testing.T) {
	t.Parallel()
	d, m := enrolledBy(t, 1)
	d.mesh, d.staff = m, theStaff()[:1]
	g := &goldenTalk{demo: d, writer: d.staff[0], reader: d.cast[0], ids: make(map[string]string)}
	d.start(t, g.reader)
	ctx := t.Context()
	must(t, d.enrolStaff(ctx))
	must(t, d.until(ctx, func(ctx context.Context) (string, error) { return g.strangers(ctx) }))
	c, err := g.writer.node.CreateGroup(ctx, node.GroupSpec{Kind: "incident", Name: "Bus crash A6", Members: []string{g.reader.person()}})
	must(t, err)
	d.group = hexOf(c.ID)

	talk := goldenConversation(g.writer.person(), g.reader.person())
	said := map[message.Kind]bool{message.KindReceipt: true, message.KindAttachment: true} // see below
	for i, one := range talk {
		said[one.kind] = true
		one.form = g.resolved(one.form)
		talk[i].form = one.form
		g.missing(t, one)
		sent, err := g.say(ctx, one)
		if err != nil {
			t.Fatalf("%s: %v", one.kind, err)
		}
		g.ids[one.name], g.ids[string(one.kind)] = sent.ID, sent.ID
	}
	for _, k := range message.Kinds() {
		if !said[k] {
			t.Errorf("the conversation has no message of kind %s", k)
		}
	}
	file, err := g.writer.node.Attach(ctx, d.group, node.AttachSpec{Name: "plan.txt", Caption: "Where to park, Bittern", Priority: "routine"}, strings.NewReader("North gate.\n"))
	must(t, err)
	g.ids[string(message.KindAttachment)] = file.ID
	must(t, d.until(ctx, func(ctx context.Context) (string, error) { return g.arrived(ctx) }))
	g.shown(t, talk)
	g.searched(t, talk)
	g.printed(t, talk)
	g.receipts(t)
	g.made(t)
}

// strangers says who does not know the other well enough to seal to it.
func (g *goldenTalk) strangers(ctx context.Context) (string, error) {
	people, err := g.reader.node.client.People(ctx)
	if err != nil {
		return "", err
	}
	here, err := g.writer.node.People()
	if err != nil {
		return "", err
	}
	ready := 0
	for _, p := range slices.Concat(people, here) {
		if p.Ready && !p.Self {
			ready++
		}
	}
	if ready < 2 {
		return "the two nodes do not know each other", nil
	}
	return "", nil
}

func (g *goldenTalk) resolved(form map[string][]string) map[string][]string {
	out := make(map[string][]string)
	for name, values := range form {
		for _, v := range values {
			if at, ok := strings.CutPrefix(v, "@"); ok {
				v = g.ids[at]
			}
			out[name] = append(out[name], v)
		}
	}
	return out
}

func (g *goldenTalk) say(ctx context.Context, one golden) (node.Sent, error) {
	content := message.New(one.kind)
	if err := message.Fill(content, one.form); err != nil {
		return node.Sent{}, err
	}
	return g.writer.node.Send(ctx, g.group, message.Message{Sent: time.Now(), Content: content}, one.priority)
}

// missing leaves each required field out in turn: nothing is sent, and the field
// is named.
func (g *goldenTalk) missing(t *testing.T, one golden) {
	t.Helper()
	for _, f := range message.New(one.kind).Fields() {
		if !f.Required || f.Input() == message.InputMade {
			continue
		}
		less := golden{kind: one.kind, priority: one.priority, form: make(map[string][]string)}
		for name, v := range one.form {
			if name != f.Name {
				less.form[name] = v
			}
		}
		_, err := g.say(t.Context(), less)
		if !errors.Is(err, node.ErrInvalid) || !strings.Contains(err.Error(), "("+f.Name+") is missing") {
			t.Errorf("%s without %s: %v", one.kind, f.Name, err)
		}
	}
}

// arrived says what the reader has not been shown yet.
func (g *goldenTalk) arrived(ctx context.Context) (string, error) {
	page, err := g.reader.node.client.Messages(ctx, g.group, 0, 500)
	if errors.Is(err, api.ErrNotFound) {
		return "the group has not arrived", nil
	}
	if err != nil {
		return "", err
	}
	for _, k := range message.Kinds() {
		if !k.Shown() {
			continue
		}
		if !slices.ContainsFunc(page.Messages, func(m api.Message) bool { return m.ID == g.ids[string(k)] }) {
			return "the message of kind " + string(k) + " has not arrived", nil
		}
	}
	return "", nil
}

// shown compares what the API shows with the form that was sent, field by field.
func (g *goldenTalk) shown(t *testing.T, talk []golden) {
	t.Helper()
	page, err := g.reader.node.client.Messages(t.Context(), g.group, 0, 500)
	must(t, err)
	for _, one := range talk {
		i := slices.IndexFunc(page.Messages, func(m api.Message) bool { return m.ID == g.ids[string(one.kind)] })
		if i < 0 {
			if one.kind.Shown() {
				t.Errorf("%s is not shown", one.kind)
			}
			continue
		}
		m := page.Messages[i]
		if m.Kind != string(one.kind) || m.Priority != one.priority || m.From.Name != g.writer.name || !m.From.Verified || !m.Provable {
			t.Errorf("%s is shown as %+v", one.kind, m)
		}
		got := make(map[string][]string)
		for _, f := range m.Fields {
			if f.Input != string(message.InputMade) {
				got[f.Name] = f.Values
			}
			if !strings.Contains(m.Text, f.Words) {
				t.Errorf("%s: the words %q are not in what is shown:\n%s", one.kind, f.Words, m.Text)
			}
		}
		if one.kind == message.KindText {
			got["body"] = []string{m.Text}
		}
		if !reflect.DeepEqual(got, one.form) {
			t.Errorf("%s was sent as %v and is shown as %v", one.kind, one.form, got)
		}
	}
	b, err := g.reader.node.client.Board(t.Context(), g.group)
	must(t, err)
	if len(b.CallOuts) != 1 || len(b.CallOuts[0].Coming) != 1 || !b.CallOuts[0].Closed {
		t.Errorf("the answer to the call-out is tallied as %+v", b.CallOuts)
	}
}

// searched finds each message with the command, by its kind and by its words.
func (g *goldenTalk) searched(t *testing.T, talk []golden) {
	t.Helper()
	for _, one := range append(talk, golden{kind: message.KindAttachment, finds: "bittern"}) {
		if !one.kind.Shown() {
			continue
		}
		queries := [][]string{{"--kind", string(one.kind)}}
		if one.finds != "" {
			queries = append(queries, strings.Fields(one.finds))
		}
		for _, q := range queries {
			var found api.Found
			must(t, g.run(t.Context(), g.reader.secret, &found, append([]string{"search", "--data", g.reader.dir}, q...)...))
			if len(found.Messages) != 1 || found.Messages[0].ID != g.ids[string(one.kind)] {
				t.Errorf("search %v finds %d messages", q, len(found.Messages))
			}
		}
	}
}

// printed looks for each message in the streams that people read: in one line,
// and with every field.
func (g *goldenTalk) printed(t *testing.T, talk []golden) {
	t.Helper()
	page, err := g.reader.node.client.Messages(t.Context(), g.group, 0, 500)
	must(t, err)
	count := []string{"--since", "all", "--count", strconv.Itoa(len(page.Messages))}
	_, brief := g.outcome(t.Context(), g.reader, append([]string{"watch"}, count...)...)
	_, full := g.outcome(t.Context(), g.reader, append([]string{"watch", "--full"}, count...)...)
	lines := strings.Count(strings.TrimSpace(brief), "\n") + 1
	if lines != len(page.Messages) {
		t.Errorf("%d messages are %d lines:\n%s", len(page.Messages), lines, brief)
	}
	for _, one := range talk {
		if !one.kind.Shown() {
			continue
		}
		content := message.New(one.kind)
		must(t, message.Fill(content, one.form))
		if !strings.Contains(brief, content.Summary()) {
			t.Errorf("%s: the line %q is not printed:\n%s", one.kind, content.Summary(), brief)
		}
		for _, f := range content.Fields() {
			line := f.Label + ": " + f.Human()
			if one.kind == message.KindText {
				line = f.Human()
			}
			if !f.Zero() && !strings.Contains(full, strings.ReplaceAll(line, "\n", "\n    ")) {
				t.Errorf("%s: %q is not printed:\n%s", one.kind, line, full)
			}
		}
	}
}

// receipts: what the reader says is acknowledged by the writer's device, which is
// a receipt.
func (g *goldenTalk) receipts(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	var sent node.Sent
	must(t, g.run(ctx, g.reader.secret, &sent, "send", "Bus crash A6", "Understood", "--priority", "urgent", "--data", g.reader.dir))
	must(t, g.until(ctx, func(ctx context.Context) (string, error) {
		_, err := g.writer.node.Acknowledge(ctx, sent.ID)
		if errors.Is(err, node.ErrNotFound) {
			return "the writer does not have the answer", nil
		}
		return "", err
	}))
	must(t, g.until(ctx, func(ctx context.Context) (string, error) {
		m, missing, err := g.one(ctx, g.reader, sent.ID)
		if missing == "" && m.State != "acknowledged" {
			missing = "the message is " + m.State
		}
		return missing, err
	}))
}

// made: what only devices make cannot be sent with a form.
func (g *goldenTalk) made(t *testing.T) {
	t.Helper()
	for _, k := range []string{"escalation", "transferred", "attachment", "hold-end", "erase", "disclosed"} {
		code, text := g.outcome(t.Context(), g.reader, "send", "Bus crash A6", "--kind", k)
		if code != exitInput {
			t.Errorf("send --kind %s: exit code %d: %s", k, code, text)
		}
	}
}
