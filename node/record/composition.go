package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"tocsin/ledger"
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

// composition is the page that the document begins with: everything in the order in which it was said, by subject.
func (x *Export) composition() Entry {
	r := x.log(x.items, x.title())
	r.Identifier = &Identifier{System: SystemIncident, Value: x.index.group}
	p := x.page()
	p.bold(x.title())
	p.line("%d messages of verified clinicians, from %s to %s. Exported by %s (%s) on %s.", len(x.items), forPeople(x.items[0].said),
		forPeople(x.items[len(x.items)-1].said), x.nameOf(x.in.By.Person), x.in.By.Person, forPeople(x.in.Written))
	p.line(onProofs)
	r.Text = p.done()
	return Entry{FullURL: urn("Composition", x.index.group), Resource: r}
}

const onProofs = "Each message stands with its author's signature; where a proof is attached, 'tocsin verify' or openssl checks it. Times are those of the authors' clocks; " +
	"the proofs hold the latest time at which witnesses saw an entry."

// part is the page that an upload ends with: a part of the log of the incident, which nobody replaces. Its name is made of what it lists, so that the
// same messages find it again, and whatever another device or a later transfer hands over gets a page of its own. What the endpoint did not take is
// left out, and the page says so; so it does of what its device knows to be left.
func (x *Export) part(without func(*item) bool) (Entry, error) {
	var listed []*item
	for _, it := range x.items {
		if !without(it) {
			listed = append(listed, it)
		}
	}
	if len(listed) == 0 {
		return Entry{}, errors.New("record: no message was taken, so that there is nothing for a page to list")
	}
	first, last := forPeople(listed[0].said), forPeople(listed[len(listed)-1].said)
	r := x.log(listed, fmt.Sprintf("%s: part of the log, %s from %s to %s", x.title(), counted(len(listed), "message"), first, last))
	id := Identifier{System: SystemPage, Value: x.pageName(listed)}
	r.Identifier, r.DocType.Text = &id, "Part of the log of an incident"
	p := x.page()
	p.bold(r.Title)
	p.line("Put into the record by %s (%s) on %s: all that their device handed over and holds. The page stays as it is. What other devices hand over, and what "+
		"comes later, stands on pages of its own, with the same tag of the incident: together they are the log.", x.nameOf(x.in.By.Person), x.in.By.Person, forPeople(x.in.Written))
	p.line(onProofs)
	if missing := len(x.items) - len(listed); missing > 0 {
		p.bold("Not here, because the record did not take them: " + counted(missing, "message") + ".")
	}
	if left := x.in.Left.words(); len(left) > 0 {
		p.line("As far as that device knew:")
		p.list(left)
	}
	r.Text = p.done()
	return Entry{FullURL: urn("Composition", id.Value), Resource: r, Request: create("Composition", id)}, nil
}

// pageName is the name of a page: SHA-256 of "tocsin/page/v1\0", the group, and the ids of what it lists, sorted; in hexadecimal.
func (x *Export) pageName(listed []*item) string {
	ids := make([]ledger.ID, 0, len(listed))
	for _, it := range listed {
		ids = append(ids, it.id)
	}
	slices.SortFunc(ids, func(a, b ledger.ID) int { return bytes.Compare(a[:], b[:]) })
	sum := sha256.New()
	sum.Write([]byte("tocsin/page/v1\x00"))
	sum.Write(x.in.Group[:])
	for _, id := range ids {
		sum.Write(id[:])
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// samePage is what a page that the record had already must have in common with one that is sent: its name, and what it lists. Who put it there, when, and what
// was left then is as it was.
func samePage(sent object) object {
	out := object{"resourceType": sent["resourceType"], "identifier": sent["identifier"]}
	var sections []any
	for _, s := range list(sent, "section") {
		sections = append(sections, object{"entry": s["entry"]})
	}
	out["section"] = sections
	return out
}

// words says what is not there, one line for each.
func (l *Left) words() (out []string) {
	say := func(n int, what, format string) {
		if n > 0 {
			out = append(out, fmt.Sprintf(format, counted(n, what)))
		}
	}
	say(l.Unsigned, "message", "%s not signed off there")
	say(l.Elsewhere, "message", "%s that colleagues say they handed over from their devices")
	say(l.Missing, "message", "%s that others name and that had not come")
	say(l.Unopened, "entry", "%s of its members that could not be opened, or had come in part, and may belong to it")
	say(l.Erased, "message", "%s erased there before they stood in the record")
	say(l.Unread, "message", "%s that could not be read there")
	return out
}

// counted is a number with what it counts: 1 message, 2 messages, 2 entries.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if stem, ok := strings.CutSuffix(what, "y"); ok {
		return fmt.Sprintf("%d %sies", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// log is a page of messages by subject, in their order, without its name and its narrative.
func (x *Export) log(items []*item, title string) *Composition {
	r := &Composition{Domain: domain("Composition"), Status: "final",
		DocType: Concept{Coding: []Coding{{System: codesLOINC, Code: "34133-9", Display: "Summarization of episode note"}}, Text: "Log of an incident"},
		Date:    stamp(x.in.Written), Author: []Reference{x.staffRef(x.in.By.Person)}, Title: title, Confidentiality: "R",
		Custodian: x.orgRef(x.in.Custodian), Event: []Event{{Period: &Period{Start: stamp(items[0].said), End: stamp(items[len(items)-1].said)}}}}
	x.common(&r.Common)
	sections := make([]Section, len(chapters))
	told := make([][]string, len(chapters))
	for _, it := range items {
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
	return r
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
