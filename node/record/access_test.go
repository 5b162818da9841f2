package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/message"
)

// plantedMessage is a message about a patient and messages that must not be taken for theirs.
type plantedMessage struct {
	content message.Content
	theirs  bool // of John Fisher, 943 476 5919, tag A-017, "Mr F"
	patient *Attribution
}

func plantedMessages() []plantedMessage {
	text := func(s string) message.Content { return &message.Text{Body: s} }
	john := &Attribution{NHSNumber: "9434765919", Family: "Fisher"}
	other := &Attribution{NHSNumber: "9990000018", Family: "Fisher"}
	return []plantedMessage{
		{text("Potassium is 6.1"), true, john},
		{text("Potassium is 3.9"), false, other},
		{text("NHS 943 476 5919 goes to theatre"), true, nil},
		{text("NHS 943-476-5919 is back; daughter Joan Whitfield 07700 900123 was told"), true, nil},
		{text("Bed 3 943 476 5919 goes to theatre"), true, nil},
		{text("bed 7 9434765919"), true, nil},
		{text("born 1951-02-03 9434765919"), true, nil},
		{text("943.476.5919 is back"), true, nil},
		{text("943\u00a0476\u00a05919 is back"), true, nil},
		{text("943  476  5919 is back"), true, nil},
		{text("NHS9434765919, 12 stitches"), true, nil},
		{text("９４３ ４７６ ５９１９ is back"), true, nil},
		{text("bed ٧ ٩٤٣٤٧٦٥٩١٩"), true, nil},
		{text("９４３４７６５９１９１ is too long"), false, nil},
		{text("mr\u00a0f again"), true, nil},
		{text("NHS 943 476 59191 is too long"), false, nil},
		{text("NHS 9434765918 is a slip of the pen"), false, nil},
		{text("Reference 19434765919 is an invoice"), false, nil},
		{text("mr f in bed 7 is pale"), true, nil},
		{text("Mr Foster in bed 7 is pale"), false, nil},
		{text("fisher by name, see SMR FISHERMAN"), false, nil},
		{&message.Casualty{Tag: "A-017", Triage: message.P1}, true, nil},
		{&message.Casualty{Tag: "A-0171", Triage: message.P1}, false, nil},
		{text("A-017 needs blood"), true, nil},
		{text("BA-0175 is a van"), false, nil},
		{&message.SBAR{Situation: "x", Background: "As Mr F.", Assessment: "y", Recommendation: "z"}, true, nil},
	}
}

func johnFisher() Subject {
	return Subject{NHSNumbers: []string{"9434765919"}, Tags: []string{"A-017"}, Words: []string{"Mr F"}}
}

func asked(s Subject) AccessRequest {
	return AccessRequest{Reference: "SAR-2026-041", Subject: s, By: amal(), Written: noon.Add(72 * time.Hour)}
}

// planting is the incident with the planted messages, and which entries are the subject's.
func planting(t *testing.T) (Incident, []ledger.ID) {
	t.Helper()
	w := newWriter(t, bryn())
	var items []Item
	var theirs []ledger.ID
	for _, p := range plantedMessages() {
		in := w.say(p.content, ledger.Routine)
		in.Patient = p.patient
		items = append(items, in)
		if p.theirs {
			theirs = append(theirs, id(t, in))
		}
	}
	// A retraction and an answer of theirs, and an answer to somebody else's.
	retract := w.say(&message.Retract{Entry: id(t, items[2]), Reason: "wrong list"}, ledger.Routine)
	answer := w.say(&message.Text{Body: "Thank you", ReplyTo: id(t, items[0])}, ledger.Routine)
	elsewhere := w.say(&message.Text{Body: "Thank you", ReplyTo: id(t, items[1])}, ledger.Routine)
	return incident(append(items, retract, answer, elsewhere)...), append(theirs, id(t, retract))
}

// All and only the subject's messages are found.
func TestAccessFinds(t *testing.T) {
	in, theirs := planting(t)
	a, err := NewAccess(asked(johnFisher()), []Incident{in})
	must(t, err)
	got := a.Entries()
	for _, want := range theirs {
		if !slices.Contains(got, want) {
			t.Errorf("message %s of the subject is missing", want)
		}
	}
	if len(got) != len(theirs) {
		for i, p := range plantedMessages() {
			if !p.theirs && slices.Contains(got, id(t, in.Items[i])) {
				t.Errorf("planted message %d is not the subject's", i)
			}
		}
		t.Errorf("%d messages were found, want %d", len(got), len(theirs))
	}
	answer := in.Items[len(in.Items)-2]
	if r := a.Related(); len(r) != 1 || r[0].Entry != id(t, answer) {
		t.Errorf("for a reviewer to decide on: %v", r)
	}
	req := asked(johnFisher())
	req.Include, req.Exclude = []ledger.ID{id(t, answer)}, theirs[:1]
	a, err = NewAccess(req, []Incident{in})
	must(t, err)
	if got := a.Entries(); !slices.Contains(got, id(t, answer)) || slices.Contains(got, theirs[0]) {
		t.Error("what the reviewer decided does not hold")
	}
}

// A clinician is a subject as well: what they wrote and what names them, in a span of time.
func TestAccessOfClinician(t *testing.T) {
	items := scene(t)
	who := Subject{People: []identity.Person{bryn().Person}}
	a, err := NewAccess(asked(who), []Incident{incident(items...)})
	must(t, err)
	want := 0
	for _, in := range items {
		named := false
		for _, p := range peopleIn(in.Message.Content) {
			named = named || p == bryn().Person
		}
		if in.Author.Person == bryn().Person || named {
			want++
		}
	}
	if a.Found() != want || want < 8 {
		t.Errorf("%d messages were found, want %d", a.Found(), want)
	}
	req := asked(Subject{})
	req.From, req.To = items[5].Message.Sent, items[9].Message.Sent
	a, err = NewAccess(req, []Incident{incident(items...)})
	must(t, err)
	for _, m := range a.found {
		if m.because == "within the scope" && (m.said.Before(req.From) || !m.said.Before(req.To)) {
			t.Errorf("a message of %s is outside the scope", m.said)
		}
	}
	if a.Found() == 0 || a.Found() >= len(items) {
		t.Errorf("%d of %d messages are in the scope", a.Found(), len(items))
	}
}

// What is blacked out is nowhere in the bytes, in no encoding, and no proof leads back to it.
func TestAccessRedactions(t *testing.T) {
	in, _ := planting(t)
	req := asked(johnFisher())
	const third, phone = "Joan Whitfield", "07700 900123"
	req.Redactions = []Redaction{{Words: "joan  whitfield", Why: "third party"}, {Words: phone, Why: "third party"},
		{Words: bryn().Name, Why: "staff"}, {Words: bryn().Person.Number, Why: "staff"}}
	a, err := NewAccess(req, []Incident{in})
	must(t, err)
	var page, machine bytes.Buffer
	shown, err := a.HTML(&page)
	must(t, err)
	_, err = a.JSON(&machine)
	must(t, err)
	if shown.Redacted == 0 || shown.Messages != a.Found() {
		t.Errorf("%+v", shown)
	}
	for _, secret := range []string{third, phone, "Whitfield", "900123", bryn().Name, bryn().Person.Number} {
		for name, out := range map[string][]byte{"page": page.Bytes(), "machine form": machine.Bytes()} {
			for _, spelt := range spellings(secret) {
				if bytes.Contains(bytes.ToLower(out), bytes.ToLower([]byte(spelt))) {
					t.Errorf("%q is still in the %s, as %q", secret, name, spelt)
				}
			}
		}
	}
	if !bytes.Contains(page.Bytes(), []byte("[redacted: third party]")) || !bytes.Contains(page.Bytes(), []byte("943-476-5919")) {
		t.Error("the page lacks what it should show")
	}
	req.Redactions = append(req.Redactions, Redaction{Words: "Jane Whitfield", Why: "third party"})
	if _, err := NewAccess(req, []Incident{in}); err == nil {
		t.Error("a redaction that is misspelt passed in silence")
	}
}

// What is blacked out is blacked out in every spelling, and what holds it all the same is not handed out.
func TestRedactionSpellings(t *testing.T) {
	w := newWriter(t, bryn())
	said := "a 9434765919 b 943 476 5919 c 943.476.5919 d 943\u00a0476\u00a05919 e 943\u2011476\u20115919 f ９４３４７６５９１９ g ٩٤٣ ٤٧٦ ٥٩١٩ h bay ４, Jos\u00e9, JOSE\u0301, O\u2019Brien, Smith\u2010Jones"
	in := w.say(&message.Text{Body: said}, ledger.Routine)
	in.Patient = &Attribution{NHSNumber: "9434765919", Family: "O'Brien"}
	req := asked(Subject{})
	for _, words := range []string{"943 476 5919", "bay 4", "jose\u0301", "o'brien", "SMITH-JONES"} {
		req.Redactions = append(req.Redactions, Redaction{Words: words, Why: "third party"})
	}
	a, err := NewAccess(req, []Incident{incident(in)})
	must(t, err)
	var page, machine bytes.Buffer
	_, err = a.HTML(&page)
	must(t, err)
	_, err = a.JSON(&machine)
	must(t, err)
	for name, out := range map[string]string{"page": page.String(), "machine form": machine.String()} {
		for _, left := range []string{"5919", "476", "９１９", "٩١٩", "bay", "Jos", "JOS", "Brien", "Jones"} {
			if strings.Contains(out, left) {
				t.Errorf("%q is still in the %s", left, name)
			}
		}
	}
	for name, spoil := range map[string]func(*AccessRequest){
		"in the reference":               func(r *AccessRequest) { r.Reference = "SAR of NHS 9434765919" },
		"in the reason of another":       func(r *AccessRequest) { r.Redactions[2].Why = "son of O\u2019Brien" },
		"in a reason, decomposed":        func(r *AccessRequest) { r.Redactions[0].Why = "is JOSE\u0301's" },
		"of one message, in its reasons": func(r *AccessRequest) { r.Redactions[3].Entry, r.Redactions[0].Why = id(t, in), "O'Brien's" },
	} {
		spoilt := req
		spoilt.Redactions = slices.Clone(req.Redactions)
		spoil(&spoilt)
		a, err := NewAccess(spoilt, []Incident{incident(in)})
		must(t, err)
		for form, write := range map[string]func(io.Writer) (Disclosed, error){"page": a.HTML, "machine form": a.JSON} {
			var out bytes.Buffer
			if _, err := write(&out); !errors.Is(err, ErrInvalid) || out.Len() > 0 {
				// The reasons are blacked out as well by redactions that come later; then there is nothing to refuse.
				for _, left := range []string{"5919", "Jos", "JOS", "Brien"} {
					if strings.Contains(out.String(), left) {
						t.Errorf("%s: %q was handed out in the %s (%v)", name, left, form, err)
					}
				}
			}
		}
	}
}

// The last look finds what the writing let through, and takes nothing of our own for it.
func TestAccessLeaks(t *testing.T) {
	in, _ := planting(t)
	req := asked(johnFisher())
	req.Redactions = []Redaction{{Words: "Joan Whitfield", Why: "staff"}, {Words: "07700 900123", Why: "staff"}, {Words: "the", Why: "vow"}}
	for form, parts := range map[string]struct {
		make  func(*Access) ([]byte, error)
		parts func([]byte) ([]string, error)
	}{"page": {(*Access).page, pageParts}, "machine form": {(*Access).machine, machineParts}} {
		a, err := NewAccess(req, []Incident{in})
		must(t, err)
		raw, err := parts.make(a)
		must(t, err)
		if err := a.leaks(raw, parts.make, parts.parts); err != nil {
			t.Errorf("%s: our own words are taken for what was blacked out: %v", form, err)
		}
		for _, slip := range []string{"joan \u00a0Whitfield & son", "077 00.900-123"} {
			m := a.found[len(a.found)/2]
			kept := m.rows[0].Text
			m.rows[0].Text = slip
			raw, err := parts.make(a)
			must(t, err)
			if err := a.leaks(raw, parts.make, parts.parts); !errors.Is(err, errStillThere) {
				t.Errorf("%s: %q would be handed out: %v", form, slip, err)
			}
			m.rows[0].Text = kept
		}
	}
}

// spellings are a text as it is and in the encodings in which it could hide.
func spellings(s string) []string {
	out := []string{s, hex.EncodeToString([]byte(s))}
	for shift := range 3 {
		e := base64.StdEncoding.EncodeToString(append(make([]byte, shift), s...))
		if from, to := (shift*8+5)/6, len(e)-4; to > from+4 {
			out = append(out, e[from:to])
		}
	}
	return out
}

// What is not blacked out carries its signature, and the machine form proves it; both forms hold the same messages.
func TestAccessForms(t *testing.T) {
	in, _ := planting(t)
	a, err := NewAccess(asked(johnFisher()), []Incident{in})
	must(t, err)
	var machine, page bytes.Buffer
	_, err = a.JSON(&machine)
	must(t, err)
	_, err = a.HTML(&page)
	must(t, err)
	var d disclosure
	dec := json.NewDecoder(&machine)
	dec.DisallowUnknownFields()
	must(t, dec.Decode(&d))
	if d.Format != accessFormat || d.Disclosed != len(d.Messages) || d.Searched != len(in.Items) {
		t.Errorf("the machine form counts %d of %d", d.Disclosed, len(d.Messages))
	}
	for _, m := range d.Messages {
		header, err := hex.DecodeString(m.Header + m.Signature)
		must(t, err)
		e, err := ledger.VerifyHeader(header)
		must(t, err)
		opening, err := hex.DecodeString(m.Opening)
		must(t, err)
		payload, err := hex.DecodeString(m.Payload)
		must(t, err)
		if e.ID().String() != m.Entry || ledger.Commitment(opening, payload) != e.Header.Commit {
			t.Errorf("message %s does not prove itself", m.Entry)
		}
		if !strings.Contains(page.String(), m.Entry) {
			t.Errorf("message %s is not on the page", m.Entry)
		}
	}
	for _, s := range []string{"<script", "http://", "https://", "src="} {
		if strings.Contains(page.String(), s) {
			t.Errorf("the page holds %s", s)
		}
	}
}

func TestAccessRefuses(t *testing.T) {
	in, _ := planting(t)
	for name, spoil := range map[string]func(*AccessRequest){
		"no reference":        func(r *AccessRequest) { r.Reference = "" },
		"a wrong number":      func(r *AccessRequest) { r.Subject.NHSNumbers = []string{"9434765918"} },
		"a blank tag":         func(r *AccessRequest) { r.Subject.Tags = []string{"A-017", " "} },
		"one letter":          func(r *AccessRequest) { r.Subject.Words = []string{"F"} },
		"nobody exports":      func(r *AccessRequest) { r.By = Author{} },
		"redacting nothing":   func(r *AccessRequest) { r.Redactions = []Redaction{{Words: " ", Why: "x"}} },
		"redacting silently":  func(r *AccessRequest) { r.Redactions = []Redaction{{Words: "pale"}} },
		"redacting elsewhere": func(r *AccessRequest) { r.Redactions = []Redaction{{Entry: ledger.ID{1}, Words: "pale", Why: "x"}} },
	} {
		req := asked(johnFisher())
		spoil(&req)
		if _, err := NewAccess(req, []Incident{in}); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}

// A word that is blank stands nowhere; looking for it ends.
func TestHoldsWord(t *testing.T) {
	for _, tt := range []struct {
		text, word string
		want       bool
	}{{"A-017 is here", "A-017", true}, {"A-0171, A-017", "A-017", true}, {"BA-0175", "A-017", false}, {"anything", "", false}, {"", "", false}} {
		if got := holdsWord(tt.text, tt.word); got != tt.want {
			t.Errorf("%q in %q: %v", tt.word, tt.text, got)
		}
	}
}

// addressed signs a message that is for somebody, and raw a payload that only newer versions know.
func (w *writer) addressed(m message.Message) Item {
	w.t.Helper()
	payload, err := message.Encode(m)
	must(w.t, err)
	return w.raw(payload)
}

func (w *writer) raw(payload []byte) Item {
	w.t.Helper()
	m, err := message.Decode(payload)
	must(w.t, err)
	w.after += 60_000
	opening := sha256.Sum256(payload)
	h := ledger.Header{Kind: ledger.KindData, GroupTag: [16]byte{1}, Commit: ledger.Commitment(opening[:], payload)}
	e := w.append(h, []byte("what only the group can read")).Entry()
	in := Item{Signed: e.SignedHeader(), Opening: opening[:], Payload: payload, Message: m, Author: w.who, Received: m.Sent}
	if w.said == nil {
		w.said = make(map[ledger.ID]Item)
	}
	w.said[e.ID()] = in
	return in
}

// What a message says and this version cannot show is in neither form, in no encoding.
func TestAccessOfNewerKind(t *testing.T) {
	payload, err := message.Encode(message.Message{Sent: noon, Content: &message.Text{Body: "about Joan Whitfield"}})
	must(t, err)
	in := newWriter(t, bryn()).raw(bytes.Replace(payload, []byte("text"), []byte("zext"), 1))
	req := asked(Subject{})
	a, err := NewAccess(req, []Incident{incident(in)})
	must(t, err)
	page, err := a.page()
	must(t, err)
	machine, err := a.machine()
	must(t, err)
	for name, out := range map[string][]byte{"page": page, "machine form": machine} {
		for _, spelt := range spellings("Whitfield") {
			if bytes.Contains(out, []byte(spelt)) {
				t.Errorf("the %s holds what nobody saw, as %q", name, spelt)
			}
		}
		if !bytes.Contains(out, []byte(message.NewerKind)) || !bytes.Contains(out, []byte("zext")) {
			t.Errorf("the %s does not say that it is of a newer kind", name)
		}
	}
	req.Redactions = []Redaction{{Words: "zext", Why: "third party"}}
	a, err = NewAccess(req, []Incident{incident(in)})
	must(t, err)
	_, err = a.JSON(io.Discard)
	must(t, err)
}

// Whom a message is for is found, shown, pointed out to the reviewer, and blacked out.
func TestAccessOfAddressees(t *testing.T) {
	in := newWriter(t, bryn()).addressed(message.Message{Sent: noon, Content: &message.Text{Body: "Please come"},
		For: []string{message.RoleAddress("medical-registrar"), message.PersonAddress(amal().Person.String())}})
	a, err := NewAccess(asked(Subject{People: []identity.Person{amal().Person}}), []Incident{incident(in)})
	must(t, err)
	if a.Found() != 1 || a.found[0].because != "names the subject" {
		t.Fatalf("%d messages for the subject were found", a.Found())
	}
	if s := a.Suggest(); slices.ContainsFunc(s, func(s Suggestion) bool { return s.Words == amal().Person.String() }) {
		t.Errorf("the subject is pointed out: %v", s)
	}
	a, err = NewAccess(asked(Subject{}), []Incident{incident(in)})
	must(t, err)
	if s := a.Suggest(); !slices.ContainsFunc(s, func(s Suggestion) bool { return s.Words == amal().Person.String() }) {
		t.Errorf("nobody is told of the addressee: %v", s)
	}
	page, err := a.page()
	must(t, err)
	for _, want := range []string{"medical registrar", amal().Person.String()} {
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("the page does not show %q", want)
		}
	}
	if a.message(a.found[0]).Payload == "" {
		t.Error("a message that is shown as a whole lacks its payload")
	}
	req := asked(Subject{})
	req.Redactions = []Redaction{{Words: amal().Person.Number, Why: "third party"}}
	req.By = bryn()
	a, err = NewAccess(req, []Incident{incident(in)})
	must(t, err)
	machine, err := a.machine()
	must(t, err)
	for _, spelt := range spellings(amal().Person.Number) {
		if bytes.Contains(machine, []byte(spelt)) {
			t.Errorf("the addressee is still in the machine form, as %q", spelt)
		}
	}
}

// What is not known to be real is not called real.
func TestAccessOfUnknownMode(t *testing.T) {
	for mode, want := range map[message.Mode][2]string{message.Live: {"", `"mode":"live"`}, message.Exercise: {"EXERCISE", `"mode":"exercise"`},
		"unknown": {"not known here whether", `"mode":"unknown"`}, "": {"not known here whether", `"mode":"unknown"`}} {
		in, _ := planting(t)
		in.Mode = mode
		a, err := NewAccess(asked(johnFisher()), []Incident{in})
		must(t, err)
		page, err := a.page()
		must(t, err)
		machine, err := a.machine()
		must(t, err)
		if !bytes.Contains(page, []byte(want[0])) || !bytes.Contains(machine, []byte(want[1])) {
			t.Errorf("mode %q: the forms do not say %q", mode, want)
		}
		if mode == message.Live && (bytes.Contains(page, []byte("EXERCISE")) || bytes.Contains(page, []byte("not known here"))) {
			t.Error("a live incident is called something else")
		}
	}
}

// Numbers, telephones and names of others are pointed out to the reviewer; the subject's own are not.
func TestAccessSuggests(t *testing.T) {
	in, _ := planting(t)
	a, err := NewAccess(asked(johnFisher()), []Incident{in})
	must(t, err)
	var words []string
	for _, s := range a.Suggest() {
		words = append(words, s.Words)
	}
	if !slices.Contains(words, "07700 900123") || !slices.Contains(words, bryn().Name) || slices.Contains(words, "943 476 5919") {
		t.Errorf("suggested are %q", words)
	}
}

// What no form of ours would send is found all the same: digits of several scripts in one number, or beside letters of another.
func TestAccessFindsMixedDigits(t *testing.T) {
	m, err := newMatcher(johnFisher())
	must(t, err)
	for text, finds := range map[string]bool{"９4३476591٩": true, "A-０１７ is asleep": true, "A-０１７１ is another": false, "1９4३476591٩": false, "９4३476591٩٩": false} {
		if why := m.text(text); (why != "") != finds {
			t.Errorf("%q: found because %q", text, why)
		}
	}
}
