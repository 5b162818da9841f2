package record

import (
	"encoding/hex"
	"fmt"
	"slices"

	"tocsin/node/message"
)

// chapters are the sections of the document of an incident, in their order, and the kinds of message that each holds.
var chapters = []struct {
	code, title string
	kinds       []message.Kind
}{
	{"incident", "The incident", []message.Kind{message.KindIncident, message.KindMETHANE, message.KindBriefing}},
	{"decisions", "Decisions", []message.Kind{message.KindDecision}},
	{"casualties", "Casualties", []message.Kind{message.KindCasualty, message.KindATMIST}},
	{"alerts", "Alerts", []message.Kind{message.KindAlert, message.KindAlertCancel, message.KindEscalation}},
	{"staff", "Call-outs and roles", []message.Kind{message.KindCallOut, message.KindCallOutAnswer, message.KindCallOutClose, message.KindRole}},
	{"tasks", "Tasks", []message.Kind{message.KindTask, message.KindTaskUpdate}},
	{"messages", "Messages", nil}, // everything else
	{"evidence", "Delivery, reading and transfer", []message.Kind{message.KindReceipt, message.KindTransferred}},
	{"keeping", "Holds, erasure and exports", []message.Kind{message.KindHold, message.KindHoldEnd, message.KindErase, message.KindDisclosed}},
}

// chapterOf is the place in chapters of a kind.
func chapterOf(k message.Kind) int {
	rest := 0
	for i, c := range chapters {
		if slices.Contains(c.kinds, k) {
			return i
		}
		if c.kinds == nil {
			rest = i
		}
	}
	return rest
}

// composition is the page that the document begins with: everything in the order in which it was said, by subject. What an endpoint does not
// take is left out, and the page says so; without is nil for nothing.
func (x *Export) composition(without func(*item) bool) Entry {
	id := Identifier{System: SystemIncident, Value: x.index.group}
	first, last := x.items[0].said, x.items[len(x.items)-1].said
	r := &Composition{Domain: domain("Composition"), Identifier: &id, Status: "final",
		DocType: Concept{Coding: []Coding{{System: codesLOINC, Code: "34133-9", Display: "Summarization of episode note"}}, Text: "Log of an incident"},
		Date:    stamp(x.in.Written), Author: []Reference{x.staffRef(x.in.By.Person)}, Title: x.title(), Confidentiality: "R",
		Custodian: x.orgRef(x.in.Custodian), Event: []Event{{Period: &Period{Start: stamp(first), End: stamp(last)}}}}
	x.common(&r.Common)
	sections := make([]Section, len(chapters))
	told := make([][]string, len(chapters))
	missing := 0
	for _, it := range x.items {
		if without != nil && without(it) {
			missing++
			continue
		}
		at := chapterOf(it.Message.Kind())
		kind := firstKind(it.Message.Content)
		sections[at].Entry = append(sections[at].Entry, Reference{Reference: urn(kind, it.id.String()), Type: kind})
		told[at] = append(told[at], x.told(it))
	}
	for i, c := range chapters {
		if len(sections[i].Entry) == 0 {
			continue
		}
		sections[i].Title = c.title
		sections[i].Code = ptr(Concept{Coding: []Coding{{System: CodesAbout, Code: c.code, Display: c.title}}, Text: c.title})
		p := x.page()
		p.list(told[i])
		sections[i].Text = p.done()
		r.Section = append(r.Section, sections[i])
	}
	p := x.page()
	p.bold(x.title())
	p.line("%d messages of verified clinicians, from %s to %s. Exported by %s (%s) on %s.", len(x.items), forPeople(first), forPeople(last),
		x.nameOf(x.in.By.Person), x.in.By.Person, forPeople(x.in.Written))
	p.line("Each message stands with its author's signature; where a proof is attached, 'tocsin verify' or openssl checks it. Times are those of the authors' clocks; " +
		"the proofs hold the latest time at which witnesses saw an entry.")
	if missing > 0 {
		p.bold(fmt.Sprintf("%d of them are not here: the record did not take them.", missing))
	}
	r.Text = p.done()
	return Entry{FullURL: urn("Composition", x.index.group), Resource: r, Request: &Request{Method: "PUT", URL: "Composition?" + id.search()}}
}

func (x *Export) title() string {
	if x.Exercise() {
		return "EXERCISE " + x.in.Name
	}
	return x.in.Name
}

// told is a message in one line of the document.
func (x *Export) told(it *item) string {
	mark := ""
	if x.retracted(it) {
		mark = "RETRACTED: "
	}
	return fmt.Sprintf("%s · %s · %s%s", forPeople(it.said), x.nameOf(it.Author.Person), mark, it.Message.Summary())
}

// documentIdentifier names the document: the same messages make the same document.
func (x *Export) documentIdentifier() Identifier {
	sum := x.contentsSum()
	return Identifier{System: SystemURI, Value: "urn:uuid:" + uuid("Bundle", hex.EncodeToString(sum[:]))}
}
