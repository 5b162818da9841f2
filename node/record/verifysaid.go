package record

import (
	"fmt"
	"html"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/message"
)

// What a resource says is held against what was proved by mapping the proved message again: every element has to be the same but for those
// that no author signed (MAPPING.md, "What is compared").

// unsigned are the elements of which the exporter, a later message or an endpoint decides. What a status may be is in statuses; who
// a message is about is compared as far as its author said it.
var unsigned = map[string]bool{"id": true, "meta": true, "implicitRules": true, "language": true, "text": true, "status": true, "active": true,
	"received": true, "issued": true, "custodian": true, "identifier": true, "subject": true, "for": true, "inResponseTo": true, "about": true}

// statuses are those that the mapping can give a resource.
var statuses = map[string][]string{"Communication": {"completed", "entered-in-error"}, "Observation": {"final", "entered-in-error"},
	"CommunicationRequest": {"active", "completed", "revoked", "entered-in-error"}, "DocumentReference": {"current", "entered-in-error"},
	"Task": {"requested", "accepted", "in-progress", "completed", "rejected", "entered-in-error"}}

// comparer holds what was proved of a package, and what its resources are.
type comparer struct {
	k        *keep
	document bool // as it was exported: its narratives are the exporter's own
	index    *index
	loose    map[string]string     // name of a person in their post whose name no proof holds → how a reference to them has to end
	retracts map[ledger.ID][]*item // message → proved retractions of it
}

func newComparer(k *keep, items map[ledger.ID]*item) *comparer {
	c := &comparer{k: k, document: k.kind == "document", loose: make(map[string]string), retracts: make(map[ledger.ID][]*item),
		index: &index{group: strings.Repeat("0", 64), items: items, named: make(map[identity.Person]Author), known: make(map[string]*patient)}}
	for _, it := range items {
		if had, ok := c.index.named[it.Author.Person]; ok && had.Name != it.Author.Name {
			c.loosen(it.Author.Person) // two credentials of one person have two names
		}
		c.index.named[it.Author.Person] = it.Author
		if key := c.index.patientKey(it); key != "" {
			c.index.known[key] = &patient{tag: tagOf(it.Message.Content)}
		}
		if r, ok := it.Message.Content.(*message.Retract); ok {
			c.retracts[ledger.ID(r.Entry)] = append(c.retracts[ledger.ID(r.Entry)], it)
		}
	}
	for _, it := range items {
		for _, p := range peopleOf(it.Message) {
			if _, ok := c.index.named[p]; !ok {
				c.loosen(p)
			}
		}
	}
	return c
}

func (c *comparer) loosen(p identity.Person) {
	c.loose[urn("PractitionerRole", staffKey(p))] = ", " + p.Org
	c.loose[urn("Practitioner", practitionerKey(p))] = ""
}

// message holds all resources of one message against what was proved. rewritten: its narrative is not the exporter's.
func (c *comparer) message(it *item, file []byte) (rewritten bool, err error) {
	first := c.k.firsts[it.id.String()]
	said := *it
	in := *it.Item
	said.Item = &in
	got := str(sub(first, "text"), "div")
	in.Received, in.Author.Note = told(got)
	if end, err := time.Parse(time.RFC3339Nano, str(sub(first, "period"), "end")); err == nil {
		in.Standing.Until = end // a role is given up later
	}
	x := &Export{in: Incident{Mode: message.Live, Custodian: it.Author.Person.Org, Written: it.said}, index: c.index,
		sources: Sources{Proof: func(ledger.ID) ([]byte, error) { return file, nil }, Attachment: func(ledger.ID) (io.ReadCloser, error) {
			if slices.ContainsFunc(list(first, "extension"), func(e object) bool { return str(e, "url") == extMissing }) {
				return nil, ErrNoContent
			}
			return io.NopCloser(strings.NewReader("")), nil
		}}}
	if marked(sub(first, "meta")) {
		x.in.Mode = message.Exercise
	}
	unit, err := x.unit(&said)
	if err != nil {
		return false, err
	}
	for i, e := range unit {
		resource, what := first, "the resource"
		switch kind := e.Resource.Kind(); {
		case kind == "Provenance":
			resource, what = c.k.provenances[it.id.String()], "its Provenance"
		case kind == "Binary":
			continue // its bytes are held against its document
		case i > 0:
			resource, what = c.k.proofs[it.id.String()], "the document of its proof"
		}
		if resource == nil {
			continue // nothing says anything
		}
		other, err := c.resource(x, &said, e, resource, what)
		if err != nil {
			return false, err
		}
		rewritten = rewritten || other
	}
	return rewritten, nil
}

// resource holds one resource against the one that the proved message makes.
func (c *comparer) resource(x *Export, it *item, e Entry, got object, what string) (rewritten bool, err error) {
	want, err := asObject(e.Resource)
	if err != nil {
		return false, err
	}
	kind := e.Resource.Kind()
	if kind != str(got, "resourceType") {
		return false, fmt.Errorf("%s is a %s, and what was said makes a %s", what, str(got, "resourceType"), kind)
	}
	for _, name := range slices.Sorted(maps.Keys(union(want, got))) {
		if !unsigned[name] && !c.same(want[name], got[name]) {
			return false, fmt.Errorf("%s says something else than was signed: %s differs", what, name)
		}
	}
	switch {
	case statuses[kind] != nil && !slices.Contains(statuses[kind], str(got, "status")):
		return false, fmt.Errorf("%s has a status that nothing gives it", what)
	case !c.sameIdentifiers(want, got):
		return false, fmt.Errorf("%s has other identifiers than the message", what)
	case !c.samePatient(x, it, kind, got):
		return false, fmt.Errorf("%s is about another casualty than was signed", what)
	case !c.same(pointing(want), pointing(got)):
		return false, fmt.Errorf("%s says something else than was signed: it answers, or is about, another message", what)
	}
	if w, g := sub(want, "text"), sub(got, "text"); c.sameNarrative(it, str(w, "div"), str(g, "div")) && len(w) == len(g) && str(w, "status") == str(g, "status") {
		return false, nil
	}
	if c.document {
		return false, fmt.Errorf("%s is shown to people as something else than was signed: its narrative differs", what)
	}
	return true, nil
}

func union(a, b object) object {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// pointing are the messages that a Communication answers or is about: which of both depends on the type of what it points at.
func pointing(r object) []any {
	to, _ := r["inResponseTo"].([]any)
	about, _ := r["about"].([]any)
	return slices.Concat([]any{}, to, about)
}

// same reports whether two values say the same. References are compared by what they lead to, times as times.
func (c *comparer) same(want, got any) bool {
	switch w := want.(type) {
	case object:
		g, ok := got.(object)
		if !ok {
			return false
		}
		if isReference(w) {
			return c.sameReference(w, g)
		}
		for name := range union(w, g) {
			s, _ := w[name].(string)
			switch to, _ := g[name].(string); {
			case name == "url" && strings.HasPrefix(s, "urn:uuid:"):
				if to == "" {
					return false
				}
			case name == "value" && (w["system"] == SystemDuty || w["system"] == SystemTag):
				if behindSlash(s) != behindSlash(to) {
					return false
				}
			case !c.same(w[name], g[name]):
				return false
			}
		}
		return true
	case []any:
		g, ok := got.([]any)
		return ok && slices.EqualFunc(w, g, c.same)
	case string:
		g, ok := got.(string)
		if !ok || w == g {
			return ok
		}
		a, err := time.Parse(time.RFC3339Nano, w)
		b, err2 := time.Parse(time.RFC3339Nano, g)
		return err == nil && err2 == nil && a.Equal(b)
	}
	return reflect.DeepEqual(want, got)
}

// behindSlash is an on-duty role or a tag without its incident, of which no header says the id.
func behindSlash(s string) string {
	_, rest, _ := strings.Cut(s, "/")
	return rest
}

func isReference(o object) bool {
	_, named := o["reference"].(string)
	_, identified := o["identifier"].(object)
	return named || identified
}

// sameReference reports whether a reference leads to whom or what it should. One that leads out of the package has to say so in words.
func (c *comparer) sameReference(want, got object) bool {
	to, display, wanted := str(got, "reference"), str(got, "display"), str(want, "display")
	for name := range got {
		if !slices.Contains([]string{"reference", "type", "display", "identifier"}, name) {
			return false
		}
	}
	if t := str(got, "type"); t != "" && str(want, "type") != "" && t != str(want, "type") {
		return false
	}
	if entry := c.entryMeant(want); entry != "" {
		as, _, _ := strings.Cut(strings.TrimSuffix(wanted, ", not in this export"), " of ")
		if to == "" { // it was not in the export
			id := sub(got, "identifier")
			return str(id, "system") == SystemEntry && str(id, "value") == entry && display == as+", not in this export"
		}
		r := c.k.resolve(to)
		if r == nil || r.entry != entry || got["identifier"] != nil {
			return false
		}
		if str(want, "reference") == "" { // when it was said is not proved
			return display == "" || wanted == "" || strings.HasPrefix(display, as+" of ")
		}
		return display == "" || display == wanted
	}
	if id, ok := want["identifier"].(object); ok {
		return to == "" && c.same(map[string]any(id), got["identifier"]) && display == wanted
	}
	if got["identifier"] != nil || to == "" {
		return false
	}
	ending, loose := c.loose[str(want, "reference")]
	named := display == wanted || loose && strings.HasSuffix(display, ending)
	if r := c.k.resolve(to); r != nil {
		return slices.Contains(r.are, str(want, "reference")) && (named || display == "")
	}
	return named && display != ""
}

// entryMeant is the message that a reference of ours points at, empty for none.
func (c *comparer) entryMeant(want object) string {
	if id := sub(want, "identifier"); str(id, "system") == SystemEntry {
		return str(id, "value")
	}
	return c.k.urns[str(want, "reference")]
}

// sameIdentifiers reports whether a resource has every identifier that it should, and none of ours beside them.
func (c *comparer) sameIdentifiers(want, got object) bool {
	has := func(all []object, one object) bool {
		return slices.ContainsFunc(all, func(o object) bool {
			return c.same(map[string]any{"system": str(one, "system"), "value": str(one, "value")}, map[string]any{"system": str(o, "system"), "value": str(o, "value")})
		})
	}
	w, g := list(want, "identifier"), list(got, "identifier")
	return !slices.ContainsFunc(w, func(o object) bool { return !has(g, o) }) &&
		!slices.ContainsFunc(g, func(o object) bool { return strings.HasPrefix(str(o, "system"), Base) && !has(w, o) })
}

// samePatient reports whether a resource is about the casualty whose tag its author wrote, or a patient to whom a clinician attributed it, which is
// not signed with the message.
func (c *comparer) samePatient(x *Export, it *item, kind string, got object) bool {
	if kind == "Provenance" || kind == "DocumentReference" && it.Message.Kind() != message.KindAttachment {
		return got["subject"] == nil && got["for"] == nil // what arises beside a message is about nobody
	}
	name := map[string]string{"Communication": "subject", "CommunicationRequest": "subject", "Observation": "subject", "DocumentReference": "subject", "Task": "for"}[kind]
	if other := map[bool]string{true: "subject", false: "for"}[kind == "Task"]; got[other] != nil || name == "" && got["subject"] != nil {
		return false
	}
	ref, want := sub(got, name), x.patientRef(it)
	if got[name] == nil {
		return want == nil
	}
	if str(ref, "type") != "" && str(ref, "type") != "Patient" {
		return false
	}
	r := c.k.resolve(str(ref, "reference"))
	if want != nil && str(ref, "display") == want.Display {
		return r == nil || slices.Contains(r.are, want.Reference)
	}
	if !strings.HasPrefix(str(ref, "display"), "Patient ") {
		return false
	}
	number := strings.TrimPrefix(str(ref, "display"), "Patient ")
	return r == nil || slices.Contains(r.are, urn("Patient", SystemNHS+"|"+number))
}

// told reads from a narrative of ours what its message does not hold: when it reached the exporting device, and what the exporter notes about
// the author.
func told(div string) (received time.Time, note string) {
	received, err := time.Parse("2 January 2006 15:04:05 UTC", cell(div, "Received here"))
	if err != nil {
		received = time.Time{} // then it is no narrative of ours, and differs
	}
	return received, html.UnescapeString(strings.ReplaceAll(cell(div, "Note"), "<br/>", "\n"))
}

// cell is the value in the last row of that name, as it is spelt.
func cell(div, name string) string {
	at := strings.LastIndex(div, "<tr><th>"+name+"</th><td>")
	if at < 0 {
		return ""
	}
	value, _, _ := strings.Cut(div[at+len("<tr><th>"+name+"</th><td>"):], "</td>")
	return value
}

// retractedMark begins the narrative of what was withdrawn.
const retractedMark = "<p><b>RETRACTED by its author. It stays here because it was said and may have been acted on.</b></p>"

// sameNarrative compares what people read. That a message was withdrawn is said by a later one: where that is proved, it is compared with it.
func (c *comparer) sameNarrative(it *item, want, got string) bool {
	before, after, withdrawn := strings.Cut(got, retractedMark)
	if withdrawn {
		if rest, ok := strings.CutPrefix(after, "<p>Retracted on "); ok {
			line, rest, _ := strings.Cut(rest, "</p>")
			fits := func(by *item) bool {
				return by.Author.Person == it.Author.Person && line == lines(fmt.Sprintf("%s: %s", forPeople(by.said), retraction(by)))
			}
			if all := c.retracts[it.id]; len(all) > 0 && !slices.ContainsFunc(all, fits) {
				return false
			}
			after = rest
		}
		got = before + after
	}
	return want == got
}
