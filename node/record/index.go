package record

import (
	"encoding/hex"
	"slices"
	"strings"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/message"
)

// index is what one pass over all messages finds: who has a part in them, which patients they are about, and where each stands.
type index struct {
	group    string // hexadecimal
	items    map[ledger.ID]*item
	people   []identity.Person // in the order of their spelling
	named    map[identity.Person]Author
	orgs     []string // host names, sorted
	ods      map[string]string
	patients []string // keys, sorted
	known    map[string]*patient
}

// patient is one Patient resource: a person with an NHS number, or a casualty with a tag.
type patient struct {
	Attribution
	tag string
	sex message.Sex
}

func newIndex(x *Export) (*index, error) {
	n := &index{
		group: hex.EncodeToString(x.in.Group[:]), items: make(map[ledger.ID]*item, len(x.items)),
		named: make(map[identity.Person]Author), ods: make(map[string]string), known: make(map[string]*patient),
	}
	n.addAuthor(x.in.By)
	n.addOrg(x.in.Custodian, x.in.CustodianODS)
	for _, it := range x.items {
		n.items[it.id] = it
		n.addAuthor(it.Author)
		for _, p := range peopleOf(it.Message) {
			n.addPerson(p)
		}
		if err := n.addPatient(it); err != nil {
			return nil, err
		}
	}
	for p := range n.named {
		n.people = append(n.people, p)
	}
	slices.SortFunc(n.people, func(a, b identity.Person) int { return strings.Compare(a.String(), b.String()) })
	slices.Sort(n.orgs)
	for key := range n.known {
		n.patients = append(n.patients, key)
	}
	slices.Sort(n.patients)
	return n, nil
}

func (n *index) addAuthor(a Author) {
	n.addPerson(a.Person)
	if n.named[a.Person].Name == "" {
		n.named[a.Person] = a
	}
	if a.ODS != "" {
		n.ods[a.Person.Org] = a.ODS
	}
}

func (n *index) addPerson(p identity.Person) {
	if _, ok := n.named[p]; !ok {
		n.named[p] = Author{Person: p}
	}
	n.addOrg(p.Org, "")
}

func (n *index) addOrg(org, ods string) {
	if !slices.Contains(n.orgs, org) {
		n.orgs = append(n.orgs, org)
	}
	if ods != "" {
		n.ods[org] = ods
	}
}

// peopleIn are those whom a message names by their person, beside its author.
func peopleIn(c message.Content) []identity.Person {
	var out []identity.Person
	for _, f := range c.Fields() {
		if f.Zero() || !slices.Contains([]string{"to", "decider", "loggist"}, f.Name) {
			continue // what somebody wrote elsewhere names nobody, whatever it looks like
		}
		for _, v := range f.Values() {
			if s, ok := message.PersonOf(v); ok {
				if p, err := identity.ParsePerson(s); err == nil {
					out = append(out, p)
				}
			}
		}
	}
	return out
}

// peopleOf are those whom a message names: in its fields, and as whom it is for.
func peopleOf(m message.Message) []identity.Person {
	out := peopleIn(m.Content)
	for _, to := range m.For {
		if s, ok := message.PersonOf(to); ok {
			if p, err := identity.ParsePerson(s); err == nil && !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// patientKey names the patient that a message is about, empty for none.
func (n *index) patientKey(it *item) string {
	if it.Patient != nil {
		return SystemNHS + "|" + it.Patient.NHSNumber
	}
	if tag := tagOf(it.Message.Content); tag != "" {
		return SystemTag + "|" + n.group[:16] + "/" + tag
	}
	return ""
}

func tagOf(c message.Content) string {
	switch c := c.(type) {
	case *message.Casualty:
		return c.Tag
	case *message.ATMIST:
		return c.Tag
	}
	return ""
}

func sexOf(c message.Content) message.Sex {
	switch c := c.(type) {
	case *message.Casualty:
		return c.Sex
	case *message.ATMIST:
		return c.Sex
	}
	return ""
}

// addPatient notes the patient of a message. Two messages that give one NHS number to people of different names or birthdays are refused:
// one of them is about somebody else.
func (n *index) addPatient(it *item) error {
	key := n.patientKey(it)
	if key == "" {
		return nil
	}
	p := n.known[key]
	if p == nil {
		p = &patient{}
		n.known[key] = p
	}
	if sex := sexOf(it.Message.Content); sex != "" && sex != message.SexUnknown {
		p.sex = sex
	}
	if it.Patient == nil {
		p.tag = tagOf(it.Message.Content)
		return nil
	}
	q := it.Patient
	if p.NHSNumber == "" {
		p.Attribution = *q
		return nil
	}
	if differs(p.Family, q.Family) || differs(p.Given, q.Given) || differs(p.Born, q.Born) {
		return invalid("message %s is attributed to a patient whose name or date of birth differs from what another message has for the same NHS number; check both", it.id)
	}
	if p.Family == "" {
		p.Family = q.Family
	}
	if p.Given == "" {
		p.Given = q.Given
	}
	if p.Born == "" {
		p.Born = q.Born
	}
	p.Traced = p.Traced && q.Traced
	return nil
}

func differs(a, b string) bool { return a != "" && b != "" && !strings.EqualFold(a, b) }

// reference points at the resource of a message in this export, or names it where it is not in it: erased before the transfer, not arrived, or
// of another conversation.
func (n *index) reference(id message.EntryID, as string) *Reference {
	if id == (message.EntryID{}) {
		return nil
	}
	to := ledger.ID(id)
	if it, ok := n.items[to]; ok {
		kind := firstKind(it.Message.Content)
		return &Reference{Reference: urn(kind, to.String()), Type: kind, Display: as + " of " + forPeople(it.said)}
	}
	return &Reference{Identifier: ptr(entryIdentifier(to)), Display: as + ", not in this export"}
}

// refs makes a list of none or one.
func refs(r *Reference) []Reference {
	if r == nil {
		return nil
	}
	return []Reference{*r}
}
