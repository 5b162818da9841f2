package node

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"tocsin/node/message"
)

// planted is what is said of John Fisher, 943 476 5919, tag A-017, "Mr F", and of others.
var planted = []struct {
	content message.Content
	patient Patient
	theirs  bool
}{
	{&message.Text{Body: "Potassium is 6.1"}, Patient{NHSNumber: "9434765919"}, true},
	{&message.Text{Body: "Potassium is 3.9"}, Patient{NHSNumber: "9990000018"}, false},
	{&message.Text{Body: "NHS 943 476 5919 goes to theatre; his daughter Joan Whitfield 07700 900123 was told"}, Patient{}, true},
	{&message.Text{Body: "NHS 9434765918 is a slip of the pen"}, Patient{}, false},
	{&message.Text{Body: "Mr F in bed 7 is pale"}, Patient{}, true},
	{&message.Text{Body: "Mr Foster in bed 7 is pale"}, Patient{}, false},
	{&message.Casualty{Tag: "A-017", Triage: message.P1}, Patient{}, true},
	{&message.Casualty{Tag: "A-018", Triage: message.P1}, Patient{}, false},
}

func johnFisher() AccessSpec {
	return AccessSpec{Reference: "SAR-2026-041", Basis: "subject-access", NHSNumbers: []string{"943 476 5919"}, Tags: []string{"a-017"}, Words: []string{"Mr F"}}
}

// TestAccess: all and only the subject's messages, what is redacted is in no byte, every member sees that it was exported, and nothing is handed out
// where they cannot be told.
func TestAccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	ready(t, 1, a, b)
	g := declared(t, message.Live, a, b)
	inGroup(t, g, b)
	var theirs []string
	for i, p := range planted {
		s := speak(t, []*Node{a, b}[i%2], g, p.content)
		eventually(t, "it is here", func() bool { _, err := a.message(s.ID); return err == nil })
		if p.patient != (Patient{}) {
			_, err := a.Attribute(g, p.patient, s.ID)
			check(t, err)
		}
		if p.theirs {
			theirs = append(theirs, s.ID)
		}
	}
	spec := johnFisher()
	found, err := a.AccessFind(t.Context(), spec)
	check(t, err)
	var got []string
	for _, m := range found.Messages {
		got = append(got, m.ID)
		if m.Because == "" || m.Group != g {
			t.Errorf("found without a reason: %+v", m)
		}
	}
	slices.Sort(got)
	slices.Sort(theirs)
	if !slices.Equal(got, theirs) {
		t.Errorf("found %d messages, %d are the subject's", len(got), len(theirs))
	}
	if !slices.ContainsFunc(found.Suggestions, func(s AccessSuggestion) bool { return s.Words == "07700 900123" }) {
		t.Errorf("nobody is told of the telephone: %+v", found.Suggestions)
	}
	spec.Redactions = []AccessRedaction{{Words: "Joan Whitfield", Why: "third party"}, {Words: "07700 900123", Why: "third party"}}
	if _, err := a.AccessExport(t.Context(), "", spec); !errors.Is(err, ErrReauth) {
		t.Errorf("without the passphrase: %v", err)
	}
	out, err := a.AccessExport(t.Context(), token(t, a), spec)
	check(t, err)
	for name, file := range map[string][]byte{"page": out.Page, "machine form": out.Machine} {
		for _, secret := range []string{"Whitfield", "900123", hex.EncodeToString([]byte("Whitfield"))} {
			if bytes.Contains(bytes.ToLower(file), bytes.ToLower([]byte(secret))) {
				t.Errorf("%q is in the %s", secret, name)
			}
		}
		if !bytes.Contains(file, []byte("third party")) {
			t.Errorf("the %s does not say that something is blacked out", name)
		}
	}
	if sum := sha256.Sum256(out.Page); hex.EncodeToString(sum[:]) != out.PageSHA256 || out.Messages != len(theirs) || len(out.Entries) != 1 {
		t.Fatalf("the export: %d messages, log entries %v", out.Messages, out.Entries)
	}
	eventually(t, "the other member sees it", func() bool { _, err := b.message(out.Entries[0]); return err == nil })
	said, ok := itemFrom(t, b, out.Entries[0]).Message.Content.(*message.Disclosed)
	if !ok || said.Reference != spec.Reference || len(said.Entries) != len(theirs) || !slices.Equal(said.Sums, []string{out.PageSHA256, out.MachineSHA256}) {
		t.Errorf("the log says %+v", said)
	}
}

func TestAccessRefuses(t *testing.T) {
	t.Parallel()
	a := newWorld(t).enrol("Amal", orgHospital).start(t)
	g := declared(t, message.Live, a)
	for name, spoil := range map[string]func(*AccessSpec){
		"no reference":        func(s *AccessSpec) { s.Reference = "" },
		"no basis":            func(s *AccessSpec) { s.Basis = "curiosity" },
		"a wrong number":      func(s *AccessSpec) { s.NHSNumbers = []string{"9434765918"} },
		"a blank tag":         func(s *AccessSpec) { s.Tags = []string{"A-017", " "} },
		"a blank word":        func(s *AccessSpec) { s.Words = []string{""} },
		"an unknown group":    func(s *AccessSpec) { s.Groups = []string{"00"} },
		"an unknown message":  func(s *AccessSpec) { s.Include = []string{message32} },
		"a person of a name":  func(s *AccessSpec) { s.People = []string{"Amal"} },
		"redacting nothing":   func(s *AccessSpec) { s.Redactions = []AccessRedaction{{Words: "nowhere", Why: "x"}} },
		"a time that is over": func(s *AccessSpec) { s.From, s.To = a.start.Add(1), a.start },
	} {
		spec := johnFisher()
		spec.Groups = []string{g}
		spoil(&spec)
		if _, err := a.AccessFind(t.Context(), spec); !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	check(t, a.Lock())
	if _, err := a.AccessFind(t.Context(), johnFisher()); !errors.Is(err, ErrLocked) {
		t.Errorf("locked: %v", err)
	}
}

const message32 = "00000000000000000000000000000000000000000000000000000000000000ff"
