package message

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func num(n int) *int { return &n }

// samples are one message of every kind that clinicians send, with every field filled in, and every word of a person's the canary.
func samples() []Content {
	const w = canary
	at := time.Date(2026, 3, 4, 4, 55, 0, 0, time.UTC)
	registrar, amal := RoleAddress("medical-registrar"), PersonAddress("nhs.example/gmc/7654321")
	return []Content{
		&METHANE{Major: DeclaredYes, Location: w, Type: w, Hazards: w, Access: w, Casualties: w, Emergency: w, Supersedes: id(9)},
		&SBAR{Situation: w, Background: w, Assessment: w, Recommendation: w},
		&ATMIST{Age: w, Sex: SexFemale, Time: w, Mechanism: w, Injuries: w, Signs: w, Treatment: w, ETA: num(0), Requirements: w, CallSign: w, Tag: "A-017"},
		&Casualty{Tag: "A-017", Triage: P1, Age: w, Sex: SexUnknown, Location: w, Injuries: w, Going: w, Note: w},
		&CallOut{Question: w, Place: w, Skills: []string{w, "b"}, When: at, Needed: num(12)},
		&CallOutAnswer{CallOut: id(5), Answer: AnswerComing, ETA: num(25), Skill: w},
		&CallOutClose{CallOut: id(5), Note: w},
		&Task{What: w, To: registrar, Due: at, Note: w},
		&TaskUpdate{Task: id(6), State: TaskDeclined, Note: w},
		&Alert{What: w, Where: w, To: []string{registrar, amal}, After: num(3)},
		&AlertCancel{Alert: id(8), Reason: w},
		&Escalation{Alert: id(8), Step: num(1)},
		&Decision{Decision: w, Rationale: w, Decider: amal, Loggist: amal, Options: []string{w, "do nothing"}, At: at, Corrects: id(3), After: id(4)},
		&Briefing{Information: w, Intent: w, Method: w, Administration: w, Risk: w, Communications: w, Humanitarian: w},
		&Incident{Name: w, Mode: Exercise, State: IncidentCancelled, Reason: w, Overrules: []EntryID{id(1), id(2)}},
		&Role{Role: "medical-registrar", Action: RoleHandOver, To: amal},
		&Retract{Entry: id(2), Reason: w},
		&Transferred{Entries: []EntryID{id(1), id(2)}, Record: w, Receipt: w},
		&Hold{Basis: HoldLegal, Reason: w},
		&HoldEnd{Hold: id(2), Reason: w},
		&Erase{Entries: []EntryID{id(1), id(2)}, Reason: w},
		&Disclosed{Basis: DisclosedSubjectAccess, Reference: w, Entries: []EntryID{id(1), id(2)}, Sums: []string{strings.Repeat("0a", 32)}},
	}
}

func encodes(c Content) error {
	_, err := Encode(Message{Sent: sent, Content: c})
	return err
}

func TestEveryKindHasASample(t *testing.T) {
	var sampled []Kind
	for _, c := range samples() {
		sampled = append(sampled, c.Kind())
	}
	for _, k := range Kinds() {
		if k != KindText && k != KindReceipt && k != KindAttachment && !slices.Contains(sampled, k) {
			t.Errorf("no sample of kind %s", k)
		}
		if c := New(k); c == nil || c.Kind() != k {
			t.Errorf("kind %s makes a content of another kind", k)
		}
		if k.Name() == NewerKind {
			t.Errorf("kind %s has no name for people", k)
		}
	}
	if len(sampled)+3 != len(Kinds()) {
		t.Errorf("%d samples for %d kinds", len(sampled), len(Kinds()))
	}
}

// Numbers and names of fields are what an encoding and a form rest on.
func TestFieldsAreDistinct(t *testing.T) {
	for _, k := range Kinds() {
		numbers, names := map[uint64]bool{}, map[string]bool{}
		for _, f := range New(k).Fields() {
			if numbers[f.Number] || names[f.Name] || f.Label == "" || f.Name != strings.ToLower(f.Name) {
				t.Errorf("%s: field %d %q is not one of its own", k, f.Number, f.Name)
			}
			numbers[f.Number], names[f.Name] = true, true
			if !f.Zero() {
				t.Errorf("%s: field %s of an empty content is filled in", k, f.Name)
			}
		}
	}
}

func TestEachRequiredFieldIsAskedForByName(t *testing.T) {
	for i := range samples() {
		for j, f := range samples()[i].Fields() {
			c := samples()[i]
			if err := c.Fields()[j].Set(); err != nil {
				t.Fatalf("%s: clearing %s: %v", c.Kind(), f.Name, err)
			}
			err := encodes(c)
			switch {
			case f.Required && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "("+f.Name+")")):
				t.Errorf("%s without %s: %v", c.Kind(), f.Name, err)
			case !f.Required && errors.Is(err, ErrInvalid) && !strings.Contains(err.Error(), "("+f.Name+") is missing"):
				t.Errorf("%s without %s, which is not required: %v", c.Kind(), f.Name, err)
			}
		}
	}
}

// Every field refuses what is too long, hidden or not of its form, by name and without repeating it.
func TestEachFieldRefusesByName(t *testing.T) {
	bad := map[Input][]string{
		InputLine:    {strings.Repeat("x", MaxProse+1), canary + "\nb", canary + "\x1b[2J", canary + "\xff"},
		InputText:    {strings.Repeat("x", MaxText+1), canary + "\x00", canary + "\u0085b"},
		InputChoice:  {canary},
		InputNumber:  {canary, "-1", "100000000", "1.5"},
		InputTime:    {canary, "25:00", "0001-01-01T00:00:00Z", "99999-01-01T00:00:00Z"},
		InputEntry:   {canary, strings.Repeat("0", 62)},
		InputEntries: {canary},
		InputList:    {canary + "\x07", strings.Repeat("x", MaxText)},
	}
	picture := photo()
	all := append(samples(), &Text{Body: "x"}, &Receipt{State: Read, Entries: []EntryID{id(1)}}, &picture)
	for _, c := range all {
		for _, f := range c.Fields() {
			for _, value := range bad[f.Input()] {
				err := f.Set(value)
				if err == nil || !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "("+f.Name+")") {
					t.Errorf("%s: %s takes %q: %v", c.Kind(), f.Name, value, err)
				}
				if err != nil && strings.Contains(err.Error(), "CANARY") {
					t.Errorf("an error repeats what was written: %v", err)
				}
			}
		}
	}
}

func TestFormAndBack(t *testing.T) {
	for _, c := range samples() {
		form := Values(c)
		again := New(c.Kind())
		if err := Fill(again, form); err != nil {
			t.Errorf("%s: %v", c.Kind(), err)
			continue
		}
		if !reflect.DeepEqual(c, again) {
			t.Errorf("%s comes back from its own form as something else: %v", c.Kind(), Values(again))
		}
	}
	err := Fill(new(SBAR), map[string][]string{"situation": {"x"}, "mood": {"y"}})
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), `"mood"`) || !strings.Contains(err.Error(), "recommendation") {
		t.Errorf("an unknown field: %v", err)
	}
}

func TestRulesBetweenFields(t *testing.T) {
	amal := PersonAddress("nhs.example/gmc/7654321")
	decision := func(by string) *Decision {
		return &Decision{Decision: "x", Rationale: "x", Decider: by, Options: []string{"x"}, At: sent}
	}
	for _, c := range []struct {
		why string
		c   Content
		ok  bool
	}{
		{"coming without an ETA", &CallOutAnswer{CallOut: id(1), Answer: AnswerComing}, false},
		{"coming now", &CallOutAnswer{CallOut: id(1), Answer: AnswerComing, ETA: num(0)}, true},
		{"cannot, in ten minutes", &CallOutAnswer{CallOut: id(1), Answer: AnswerCannot, ETA: num(10)}, false},
		{"later", &CallOutAnswer{CallOut: id(1), Answer: AnswerLater}, true},
		{"declined without a reason", &TaskUpdate{Task: id(1), State: TaskDeclined}, false},
		{"done without a note", &TaskUpdate{Task: id(1), State: TaskDone}, true},
		{"assigned by an update", &TaskUpdate{Task: id(1), State: TaskAssigned}, false},
		{"an alert to one twice", &Alert{What: "x", Where: "x", To: []string{amal, amal}}, false},
		{"a decision by a role", decision(RoleAddress("medical-registrar")), false},
		{"a decision by a person", decision(amal), true},
		{"cancelled without a reason", &Incident{Name: "x", Mode: Live, State: IncidentCancelled}, false},
		{"a role taken for ever", &Role{Role: "loggist", Action: RoleTake}, false},
		{"a role taken", &Role{Role: "loggist", Action: RoleTake, Until: sent}, true},
		{"a role handed to nobody", &Role{Role: "loggist", Action: RoleHandOver}, false},
		{"a role handed to a role", &Role{Role: "loggist", Action: RoleHandOver, To: RoleAddress("loggist")}, false},
		{"a role given up until", &Role{Role: "loggist", Action: RoleRelease, Until: sent}, false},
		{"a role with a capital", &Role{Role: "Loggist", Action: RoleRelease}, false},
		{"a role in Cyrillic", &Role{Role: "l\u043eggist", Action: RoleRelease}, false},
		{"a tag in small letters", &Casualty{Tag: "a17", Triage: P1}, false},
		{"an address without a form", &Task{What: "x", To: "Amal"}, false},
		{"an address in Cyrillic", &Task{What: "x", To: "person:nhs.ex\u0430mple/gmc/1"}, false},
		{"a person of two parts", &Task{What: "x", To: "person:gmc/1"}, false},
	} {
		if err := encodes(c.c); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.why, err)
		}
	}
}

func TestStatesOnlyGoForward(t *testing.T) {
	tasks := []TaskState{TaskAssigned, TaskAccepted, TaskInProgress, TaskDone, TaskDeclined}
	allowed := map[[2]TaskState]bool{
		{TaskAssigned, TaskAccepted}: true, {TaskAssigned, TaskInProgress}: true, {TaskAssigned, TaskDone}: true, {TaskAssigned, TaskDeclined}: true,
		{TaskAccepted, TaskInProgress}: true, {TaskAccepted, TaskDone}: true, {TaskAccepted, TaskDeclined}: true,
		{TaskInProgress, TaskDone}: true, {TaskInProgress, TaskDeclined}: true, {TaskDeclined, TaskAccepted}: true,
	}
	for _, from := range tasks {
		for _, to := range tasks {
			if from.May(to) != allowed[[2]TaskState{from, to}] {
				t.Errorf("a task from %s to %s: %v", from, to, from.May(to))
			}
		}
	}
	incidents := []IncidentState{"", IncidentStandby, IncidentDeclared, IncidentStoodDown, IncidentCancelled}
	steps := map[[2]IncidentState]bool{
		{"", IncidentStandby}: true, {"", IncidentDeclared}: true, {IncidentStandby, IncidentDeclared}: true, {IncidentStandby, IncidentCancelled}: true,
		{IncidentDeclared, IncidentStoodDown}: true, {IncidentDeclared, IncidentCancelled}: true,
	}
	for _, from := range incidents {
		for _, to := range incidents {
			if from.May(to) != steps[[2]IncidentState{from, to}] {
				t.Errorf("an incident from %q to %q: %v", from, to, from.May(to))
			}
		}
	}
}

// Colour never stands alone, an exercise says so, and a summary fits.
func TestWordsForPeople(t *testing.T) {
	for _, c := range []struct {
		c    Content
		want string
	}{
		{&Casualty{Tag: "A-017", Triage: P2, Location: "Bay 3"}, "Casualty A-017 · P2 urgent (yellow) · Bay 3"},
		{&Incident{Name: "Fire at Mill Lane", Mode: Exercise, State: IncidentDeclared}, "EXERCISE Fire at Mill Lane: Declared"},
		{&Role{Role: "medical-registrar", Action: RoleHandOver, To: PersonAddress("nhs.example/gmc/1")}, "Role handed over: medical registrar to nhs.example/gmc/1"},
		{&CallOutAnswer{Answer: AnswerComing, ETA: num(20), Skill: "theatre nurse"}, "Coming in 20 min · theatre nurse"},
		{&METHANE{Major: DeclaredYes, Location: "Platform 2", Casualties: "about 30"}, "METHANE: MAJOR INCIDENT DECLARED · Platform 2 · about 30"},
		{&Task{What: "Open theatre 4", To: RoleAddress("theatre-lead")}, "Task: Open theatre 4 · theatre lead"},
	} {
		if got := (Message{Sent: sent, Content: c.c}).Summary(); got != c.want {
			t.Errorf("summary %q, want %q", got, c.want)
		}
	}
	for _, c := range samples() {
		if s := (Message{Sent: sent, Content: c}).Summary(); len([]rune(s)) > SummaryLength || s == "" {
			t.Errorf("%s: summary %q", c.Kind(), s)
		}
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		" a\r\nb\rc\u2028d ":              "a\nb\nc\nd",
		"\ufeffbed\u200b 4":               "bed 4",
		"give 5\u202e0 mg":                "give 50 mg",
		"\u2066x\u2069":                   "x",
		"🏴\U000e0067\U000e007f":           "🏴",
		"five\u00a0mg":                    "five mg",
		"\u0645\u06cc\u200c\u062e\u0648":  "\u0645\u06cc\u200c\u062e\u0648", // joins that letters need stay
		"bell\x07 stays, to be refused":   "bell\x07 stays, to be refused",
		"👩\u200d⚕\ufe0f is one character": "👩\u200d⚕\ufe0f is one character",
	} {
		if got := Clean(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

// Whatever stands in the fields of any kind comes back as it was, in one encoding.
func TestEveryKindRoundTrips(t *testing.T) {
	words := rapid.StringMatching(`[a-zA-Z0-9 é💉,.\-]{0,40}[a-z]`)
	rapid.Check(t, func(t *rapid.T) {
		c := rapid.SampledFrom(samples()).Draw(t, "kind")
		for _, f := range c.Fields() {
			if f.Input() == InputText && rapid.Bool().Draw(t, f.Name) {
				if err := f.Set(words.Draw(t, "words")); err != nil {
					t.Fatal(err)
				}
			}
			if !f.Required && rapid.Bool().Draw(t, "without "+f.Name) {
				if err := f.Set(); err != nil {
					t.Fatal(err)
				}
			}
		}
		m := Message{Sent: sent, Content: c}
		b, err := Encode(m)
		if err != nil {
			if errors.Is(err, ErrInvalid) && strings.Contains(fmt.Sprint(err), "missing") {
				t.Skip("a rule between fields")
			}
			t.Fatal(err)
		}
		got, err := Decode(b)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Fatalf("%s: got %v, %v", c.Kind(), Values(got.Content), err)
		}
	})
}

func FuzzFill(f *testing.F) {
	for _, c := range samples() {
		for name, values := range Values(c) {
			f.Add(string(c.Kind()), name, values[0])
		}
	}
	f.Fuzz(func(t *testing.T, kind, name, value string) {
		c := New(Kind(kind))
		if c == nil {
			return
		}
		for _, s := range samples() {
			if s.Kind() == c.Kind() {
				c = s
			}
		}
		if Fill(c, map[string][]string{name: {value}}) != nil {
			return
		}
		b, err := Encode(Message{Sent: sent, Content: c})
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if _, err := Decode(b); err != nil {
			t.Fatalf("%s with %s %q encodes and does not decode: %v", kind, name, value, err)
		}
	})
}

func TestWordsAreForPeople(t *testing.T) {
	got := Words(&Casualty{Tag: "A-017", Triage: P1, Location: "Bay 3"})
	if want := "Casualty\nTag number: A-017\nTriage category: P1 immediate (red)\nWhere now: Bay 3"; got != want {
		t.Errorf("words %q, want %q", got, want)
	}
	for c, want := range map[Content]string{&Text{Body: "a\nb"}: "a\nb", &Unknown{Named: "rota"}: NewerKind, nil: ""} {
		if got := Words(c); got != want {
			t.Errorf("words %q, want %q", got, want)
		}
	}
	secret := photo()
	if w := Words(&secret); strings.Contains(w, fmt.Sprintf("%x", secret.Key[:4])) || !strings.Contains(w, secret.Name) {
		t.Errorf("words of an attachment: %q", w)
	}
}

func TestRedirect(t *testing.T) {
	to := func(e EntryID) EntryID {
		if e == id(5) {
			return id(6)
		}
		return e
	}
	receipt := NewReceipt(Read, []EntryID{id(4), id(5)}, sent)
	got := Redirect(receipt, to).Content.(*Receipt)
	if !slices.Equal(got.Entries, []EntryID{id(4), id(6)}) || receipt.Content.(*Receipt).Entries[1] != id(5) {
		t.Errorf("redirected to %v, and the original says %v", got.Entries, receipt.Content.(*Receipt).Entries)
	}
	answer := Message{Sent: sent, Content: &CallOutAnswer{CallOut: id(5), Answer: AnswerComing, ETA: num(3)}}
	if got := Redirect(answer, to).Content.(*CallOutAnswer); got.CallOut != id(6) || *got.ETA != 3 {
		t.Errorf("an answer: %v", Values(got))
	}
	text := NewText("x", sent)
	if got := Redirect(text, to); got.Content != text.Content {
		t.Error("a text that points nowhere was copied")
	}
}

// The guide names every kind and every field that must be filled in, and no other.
func TestGuideSaysWhatMustBeFilledIn(t *testing.T) {
	guide, err := os.ReadFile("../../docs/messages.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(guide)) {
		if cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|"); len(cells) == 3 && strings.HasPrefix(line, "| `") {
			rows[strings.Trim(cells[0], " `")] = strings.TrimSpace(cells[2])
		}
	}
	for _, k := range Kinds() {
		var required []string
		for _, f := range New(k).Fields() {
			if f.Required {
				required = append(required, f.Name)
			}
		}
		if want := strings.Join(required, ", "); rows[string(k)] != want {
			t.Errorf("the guide asks for %q of kind %s, the form for %q", rows[string(k)], k, want)
		}
		delete(rows, string(k))
	}
	if len(rows) > 0 {
		t.Errorf("the guide lists kinds that do not exist: %v", rows)
	}
}
