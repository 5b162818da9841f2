package record

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/message"
)

// Subject access and freedom of information: what was said by or about somebody, in a scope, with third parties blacked out. What is written
// is made from the redacted words alone, so that nothing redacted is anywhere in its bytes.

// Subject is whom a request is about; all of it empty: a request for everything in a scope (freedom of information).
type Subject struct {
	// People are clinicians: what they wrote, what names them, their receipts.
	People []identity.Person
	// NHSNumbers are patients', ten digits each: what was attributed to them, and texts in which the number stands, in groups or not.
	NHSNumbers []string
	// Tags are casualties', as on the tag.
	Tags []string
	// Words are what else a patient is known by: names, initials and bed. Whole words, in any case.
	Words []string
}

func (s Subject) everything() bool {
	return len(s.People)+len(s.NHSNumbers)+len(s.Tags)+len(s.Words) == 0
}

// Redaction blacks words out.
type Redaction struct {
	// Entry is the message; zero for every message.
	Entry ledger.ID
	// Words are what to black out, wherever they stand, in any case.
	Words string
	// Why is what stands in their place: "third party".
	Why string
}

// AccessRequest is one request, as records staff enter it.
type AccessRequest struct {
	Reference string // the organisation's number for it
	Subject   Subject
	From, To  time.Time // of what was said; zero for open. To is not included
	// Include and Exclude are what a reviewer added to what was found, and took out of it.
	Include, Exclude []ledger.ID
	Redactions       []Redaction
	By               Author
	Written          time.Time
}

// Access is a request that was checked, with what it found.
type Access struct {
	req     AccessRequest
	by      string      // who exports, redacted
	found   []*accessed // by time
	related []Related
	held    int              // messages that were looked through
	blacks  []*regexp.Regexp // of each redaction
}

// accessed is one message that is disclosed.
type accessed struct {
	*item
	incident string
	mode     message.Mode // neither live nor exercise: not known
	because  string
	rows     []row // redacted
	blacked  int
	blacks   []string // why
	sealed   bool     // its payload stays here: it holds what is blacked out
}

// row is one line of a message as it is disclosed.
type row struct{ Name, Label, Text string }

// Related is a message that answers, or is answered by, one that was found: a reviewer decides whether it is about the subject as well.
type Related struct {
	Entry ledger.ID
	To    ledger.ID
}

// maxRedactions bounds the redactions of one request.
const maxRedactions = 10_000

// NewAccess looks through incidents for a subject. Errors match [ErrInvalid]; one is that a redaction blacks out nothing, since it was
// meant to.
func NewAccess(req AccessRequest, incidents []Incident) (*Access, error) {
	if req.Reference == "" || req.Written.IsZero() {
		return nil, invalid("a request needs a reference and the time of the export")
	}
	if err := req.By.Person.Validate(); err != nil {
		return nil, invalid("who exports: %w", err)
	}
	match, err := newMatcher(req.Subject)
	if err != nil {
		return nil, err
	}
	a := &Access{req: req}
	all := make(map[ledger.ID]*accessed)
	for _, in := range incidents {
		for i := range in.Items {
			it, err := in.Items[i].check()
			if err != nil {
				return nil, err
			}
			a.held++
			if all[it.id] == nil {
				all[it.id] = &accessed{item: it, incident: in.Name, mode: in.Mode}
			}
		}
	}
	a.choose(all, match)
	return a, a.redact()
}

// choose finds what is disclosed: what matches, what retracts or corrects that, and what a reviewer added.
func (a *Access) choose(all map[ledger.ID]*accessed, match *matcher) {
	chosen := make(map[ledger.ID]bool)
	take := func(m *accessed, because string) {
		if !chosen[m.id] && !slices.Contains(a.req.Exclude, m.id) {
			chosen[m.id] = true
			m.because = because
			a.found = append(a.found, m)
		}
	}
	for id, m := range all {
		if slices.Contains(a.req.Include, id) {
			take(m, "added by a reviewer")
		} else if because := match.why(m.item); because != "" && a.within(m.said) {
			take(m, because)
		}
	}
	for more := true; more; {
		before := len(a.found)
		for _, m := range all {
			for _, to := range amends(m.Message.Content) {
				if chosen[to] {
					take(m, "retracts or corrects a message of the subject")
				}
			}
		}
		more = len(a.found) > before
	}
	for id, m := range all {
		for _, p := range pointers(m.Message.Content) {
			to := ledger.ID(p)
			if other := all[to]; other != nil && chosen[id] != chosen[to] {
				one, found := id, to
				if chosen[id] {
					one, found = to, id
				}
				a.related = append(a.related, Related{Entry: one, To: found})
			}
		}
	}
	slices.SortFunc(a.found, func(x, y *accessed) int {
		if c := x.said.Compare(y.said); c != 0 {
			return c
		}
		return bytes.Compare(x.id[:], y.id[:])
	})
	slices.SortFunc(a.related, func(x, y Related) int {
		if c := bytes.Compare(x.Entry[:], y.Entry[:]); c != 0 {
			return c
		}
		return bytes.Compare(x.To[:], y.To[:])
	})
	a.related = slices.Compact(a.related)
}

func (a *Access) within(t time.Time) bool {
	return (a.req.From.IsZero() || !t.Before(a.req.From)) && (a.req.To.IsZero() || t.Before(a.req.To))
}

// amends are the messages that a content takes back or corrects: who is shown one is shown the other.
func amends(c message.Content) []ledger.ID {
	switch c := c.(type) {
	case *message.Retract:
		return []ledger.ID{c.Entry}
	case *message.Decision:
		return []ledger.ID{c.Corrects}
	}
	return nil
}

// Found is how many messages are disclosed, Held how many were looked through.
func (a *Access) Found() int { return len(a.found) }

// Held is how many messages were looked through.
func (a *Access) Held() int { return a.held }

// Related are messages for a reviewer to decide on.
func (a *Access) Related() []Related { return slices.Clone(a.related) }

// Entries are the messages that are disclosed, by time: for the entry in the log that says so.
func (a *Access) Entries() []ledger.ID {
	out := make([]ledger.ID, len(a.found))
	for i, m := range a.found {
		out[i] = m.id
	}
	return out
}

// Because says of each message that is disclosed why it is.
func (a *Access) Because() map[ledger.ID]string {
	out := make(map[ledger.ID]string, len(a.found))
	for _, m := range a.found {
		out[m.id] = m.because
	}
	return out
}

// matcher tells what is about a subject.
type matcher struct {
	Subject
	words *regexp.Regexp // nil for none
}

func newMatcher(s Subject) (*matcher, error) {
	m := &matcher{Subject: s}
	for _, n := range s.NHSNumbers {
		if len(n) != 10 || !message.ValidNHSNumber(n) {
			return nil, invalid("the NHS number of the subject is wrong: its check digit does not fit")
		}
	}
	for _, tag := range s.Tags {
		if strings.TrimSpace(tag) == "" {
			return nil, invalid("a tag of the subject is blank: write it or leave it out")
		}
	}
	for _, p := range s.People {
		if err := p.Validate(); err != nil {
			return nil, invalid("the subject: %w", err)
		}
	}
	var parts []string
	for _, w := range s.Words {
		if len([]rune(strings.TrimSpace(w))) < 2 {
			return nil, invalid("a word of less than two letters finds everybody; write more of it")
		}
		parts = append(parts, asPattern(w))
	}
	if len(parts) > 0 {
		re, err := regexp.Compile(`(?i)(?:` + strings.Join(parts, "|") + `)`)
		if err != nil {
			return nil, invalid("the words cannot be looked for: %w", err)
		}
		m.words = re
	}
	return m, nil
}

// why says why a message is the subject's, empty if it is not.
func (m *matcher) why(it *item) string {
	c := it.Message.Content
	switch {
	case m.everything():
		return "within the scope"
	case slices.Contains(m.People, it.Author.Person):
		return "written by the subject"
	case it.Patient != nil && slices.Contains(m.NHSNumbers, it.Patient.NHSNumber):
		return "attributed to the subject"
	case tagOf(c) != "" && slices.Contains(m.Tags, tagOf(c)):
		return "about the subject's tag"
	}
	for _, p := range peopleOf(it.Message) {
		if slices.Contains(m.People, p) {
			return "names the subject"
		}
	}
	for _, r := range rowsOf(it) {
		if why := m.text(r.Text); why != "" {
			return why
		}
	}
	return ""
}

// text looks through what was written.
func (m *matcher) text(s string) string {
	s = normal(s)
	for _, found := range nhsNumbersIn(s) {
		if slices.Contains(m.NHSNumbers, found.number) {
			return "holds the subject's NHS number"
		}
	}
	folded := message.FoldDigits(s)
	for _, p := range m.People {
		if strings.Contains(folded, p.String()) {
			return "names the subject"
		}
	}
	for _, tag := range m.Tags {
		if holdsWord(folded, tag) {
			return "holds the subject's tag"
		}
	}
	if m.words != nil {
		for _, at := range m.words.FindAllStringIndex(s, -1) {
			if alone(s, at[0], at[1]) {
				return "holds a word that the subject is known by"
			}
		}
	}
	return ""
}

// holdsWord reports whether a word stands in a text by itself. No word stands nowhere.
func holdsWord(s, word string) bool {
	if word == "" {
		return false
	}
	for from := 0; ; {
		i := strings.Index(s[from:], word)
		if i < 0 {
			return false
		}
		if alone(s, from+i, from+i+len(word)) {
			return true
		}
		from += i + len(word)
	}
}

// alone reports whether no letter or digit touches the bytes from a to b.
func alone(s string, a, b int) bool {
	word := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
	before, _ := utf8.DecodeLastRuneInString(s[:a])
	after, _ := utf8.DecodeRuneInString(s[b:])
	return (a == 0 || !word(before)) && (b == len(s) || !word(after))
}

// rowsOf is a message as lines of words.
func rowsOf(it *item) []row {
	var out []row
	if it.Reason != "" {
		out = append(out, row{"reason", "Sent to everyone because", it.Reason})
	}
	if len(it.Message.For) > 0 {
		var to []string
		for _, one := range it.Message.For {
			to = append(to, message.AddressWords(one))
		}
		out = append(out, row{"for", "For", strings.Join(to, ", ")})
	}
	if u, ok := it.Message.Content.(*message.Unknown); ok {
		return append(out, row{"kind", "Kind", string(u.Named)}, row{"body", "Message", message.NewerKind + ", whose content cannot be shown here"})
	}
	for _, f := range it.Message.Content.Fields() {
		if !f.Zero() && f.Input() != message.InputMade {
			out = append(out, row{f.Name, f.Label, f.Human()})
		}
	}
	return out
}

// errBlacksNothing: a redaction that was meant to hide something hides nothing.
var errBlacksNothing = errors.New("a redaction blacks out nothing: check its spelling, or take it out")

// redact makes the rows that are written. Names and numbers of the authors are rows of their own, so that they can be blacked out as well.
func (a *Access) redact() error {
	if len(a.req.Redactions) > maxRedactions {
		return invalid("more than %d redactions", maxRedactions)
	}
	used := make([]bool, len(a.req.Redactions))
	a.by = normal(a.req.By.Name) + ", " + a.req.By.Person.String()
	for _, r := range a.req.Redactions {
		re, err := r.pattern()
		if err != nil {
			return err
		}
		a.blacks = append(a.blacks, re)
		if r.Entry.IsZero() {
			a.by = r.black(re, a.by)
		}
	}
	for _, m := range a.found {
		m.incident, m.rows = normal(m.incident), disclosedRows(m.item)
		for i, r := range a.req.Redactions {
			if !r.Entry.IsZero() && r.Entry != m.id {
				continue
			}
			used[i] = m.blacken(r, a.blacks[i]) || used[i]
			m.sealed = m.sealed || a.blacks[i].MatchString(normal(string(m.Payload)))
			if r.Entry.IsZero() {
				m.incident = r.black(a.blacks[i], m.incident)
			}
		}
	}
	if i := slices.Index(used, false); i >= 0 {
		return invalid("redaction %d: %w", i+1, errBlacksNothing)
	}
	return nil
}

// disclosedRows is a message with its author and its patient.
func disclosedRows(it *item) []row {
	rows := append([]row{{"author", "Author", it.Author.Name + ", " + it.Author.Person.String()}}, rowsOf(it)...)
	if p := it.Patient; p != nil {
		rows = append(rows, row{"patient", "Patient", strings.TrimSpace(fmt.Sprintf("%s %s %s %s", p.NHSNumber, p.Given, p.Family, p.Born))})
	}
	for i := range rows {
		rows[i].Text = normal(rows[i].Text)
	}
	return rows
}

// pattern finds the words of a redaction in every spelling.
func (r Redaction) pattern() (*regexp.Regexp, error) {
	if strings.TrimSpace(r.Words) == "" || strings.TrimSpace(r.Why) == "" {
		return nil, invalid("a redaction needs the words to black out, and why")
	}
	re, err := regexp.Compile(`(?i)` + asPattern(r.Words))
	if err != nil {
		return nil, invalid("a redaction cannot be applied: %w", err)
	}
	return re, nil
}

// black puts the reason of a redaction in the place of its words.
func (r Redaction) black(re *regexp.Regexp, s string) string {
	return re.ReplaceAllLiteralString(s, "[redacted: "+normal(r.Why)+"]")
}

// blacken applies a redaction to a message, and reports whether it blacked anything out.
func (m *accessed) blacken(r Redaction, re *regexp.Regexp) bool {
	hit := false
	for i := range m.rows {
		if after := r.black(re, m.rows[i].Text); after != m.rows[i].Text {
			m.rows[i].Text, hit = after, true
			m.blacked++
		}
	}
	if hit && !slices.Contains(m.blacks, r.Why) {
		m.blacks = append(m.blacks, r.Why)
	}
	return hit
}

// Suggestion is what a reviewer may want to black out: a number, a date of birth, a postcode that stands in a disclosed message and is not known
// to be the subject's, or another clinician's name.
type Suggestion struct {
	Entry ledger.ID
	Words string
	Kind  string
}

// Suggest lists what may identify third parties. It decides nothing.
func (a *Access) Suggest() []Suggestion {
	var out []Suggestion
	for _, m := range a.found {
		for _, p := range peopleOf(m.Message) {
			shown := slices.ContainsFunc(m.rows, func(r row) bool { return r.Name != "author" && strings.Contains(r.Text, p.String()) })
			if shown && !slices.Contains(a.req.Subject.People, p) {
				out = append(out, Suggestion{m.id, p.String(), "the registration of a clinician"})
			}
		}
		for _, r := range m.rows {
			if r.Name == "author" {
				if !slices.Contains(a.req.Subject.People, m.Author.Person) && strings.Contains(r.Text, m.Author.Name) {
					out = append(out, Suggestion{m.id, m.Author.Name, "the name of a clinician"})
				}
				continue
			}
			for _, f := range message.Identifiers(r.Text, a.req.Written) {
				words := r.Text[f.From:f.To]
				if f.Kind != message.NHSNumber {
					out = append(out, Suggestion{m.id, words, f.Kind.Words()})
				}
			}
			for _, f := range nhsNumbersIn(r.Text) {
				if !slices.Contains(a.req.Subject.NHSNumbers, f.number) {
					out = append(out, Suggestion{m.id, r.Text[f.from:f.to], message.NHSNumber.Words()})
				}
			}
		}
	}
	return out
}
