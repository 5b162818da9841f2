package record

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"tocsin/ledger"
	"tocsin/node/message"
)

// What each kind of message becomes (MAPPING.md). Every message becomes one *first* resource, which its entry id finds, and a
// Provenance with its author's signature; some become more.

// firstKind is the type of the first resource of a content.
func firstKind(c message.Content) string {
	switch c := c.(type) {
	case *message.Casualty:
		return "Observation"
	case *message.CallOut, *message.Alert:
		return "CommunicationRequest"
	case *message.Task:
		return "Task"
	case *message.Attachment:
		return "DocumentReference"
	case *message.Receipt, *message.Transferred, *message.Disclosed:
		return "AuditEvent"
	case *message.Role:
		if c.Action == message.RoleTake {
			return "PractitionerRole"
		}
	}
	return "Communication"
}

// unit makes all resources that arise from one message, the first one first. What they point at outside the unit was said before, or
// is in the directory.
func (x *Export) unit(it *item) ([]Entry, error) {
	var out []Entry
	switch c := it.Message.Content.(type) {
	case *message.Casualty:
		out = append(out, x.observation(it, c))
	case *message.CallOut:
		out = append(out, x.callOut(it, c))
	case *message.Alert:
		out = append(out, x.alert(it, c))
	case *message.Task:
		out = append(out, x.task(it, c))
	case *message.Attachment:
		entries, err := x.attachment(it, c)
		if err != nil {
			return nil, err
		}
		out = append(out, entries...)
	case *message.Receipt:
		return x.audits(it, "receipt", c.Entries, receiptCode(c.State), receiptWords(c.State)), nil
	case *message.Transferred:
		return x.audits(it, "transfer", c.Entries, lifecycle("transmit", "Transmit Record Lifecycle Event"),
			"stand in the medical record "+c.Record+", which calls them "+c.Receipt), nil
	case *message.Disclosed:
		return x.audits(it, "disclosure", c.Entries, lifecycle("disclose", "Disclose Record Lifecycle Event"), "were exported"), nil
	case *message.Role:
		if c.Action == message.RoleTake {
			out = append(out, x.duty(it, c))
		} else {
			out = append(out, x.communication(it))
		}
	default:
		out = append(out, x.communication(it))
	}
	proof, err := x.proof(it)
	if err != nil {
		return nil, err
	}
	out = append(out, x.provenance(it, out[0], len(proof) > 0))
	return append(out, proof...), nil
}

// begin fills what the first resource of a message has, and how a server is asked to keep it. What later messages can change is
// replaced, everything else is made once.
func (x *Export) begin(it *item, d *Domain, changes bool) *Request {
	x.common(&d.Common, Coding{System: SystemEntry, Code: it.id.String()})
	d.Text = x.narrative(it)
	if it.Reason != "" {
		d.Extension = append(d.Extension, Extension{URL: extReason, ValueString: it.Reason})
	}
	if d.Type == "Observation" || d.Type == "DocumentReference" {
		for _, to := range it.Message.For {
			d.Extension = append(d.Extension, Extension{URL: extFor, ValueString: to})
		}
	}
	id := entryIdentifier(it.id)
	if changes || x.retracted(it) {
		return &Request{Method: "PUT", URL: d.Type + "?" + id.search()}
	}
	return create(d.Type, id)
}

func (x *Export) retracted(it *item) bool { return !it.Standing.RetractedBy.IsZero() }

// entry joins a first resource with its name and its request.
func (it *item) entry(r Resource, q *Request) Entry {
	return Entry{FullURL: urn(r.Kind(), it.id.String()), Resource: r, Request: q}
}

// narrative is a message as people read it.
func (x *Export) narrative(it *item) *Narrative {
	p := x.page()
	c := it.Message.Content
	if x.retracted(it) {
		p.bold("RETRACTED by its author. It stays here because it was said and may have been acted on.")
		if by, ok := x.index.items[it.Standing.RetractedBy]; ok {
			p.line("Retracted on %s: %s", forPeople(by.said), retraction(by))
		}
	}
	if it.Reason != "" {
		p.bold("Sent to everyone, outside the usual groups. Reason: " + it.Reason)
	}
	p.line("%s", message.Words(c))
	var to []string
	for _, one := range it.Message.For {
		to = append(to, message.AddressWords(one))
	}
	p.terms("Author", x.nameOf(it.Author.Person)+", "+it.Author.Person.String(), "For", strings.Join(to, ", "), "Said at", forPeople(it.said)+" (author's clock)",
		"Received here", forPeople(it.Received), "Priority", it.header.Priority.String(), "Entry", it.id.String(), "Proof", x.proofWords(it), "Note", it.Author.Note)
	return p.done()
}

func retraction(by *item) string {
	if c, ok := by.Message.Content.(*message.Retract); ok {
		return c.Reason
	}
	return ""
}

func (x *Export) proofWords(it *item) string {
	if _, ok := it.Message.Content.(*message.Receipt); ok && !it.provable {
		return "none of its own: the device signed it together with others, which name messages by their places"
	}
	if !it.provable {
		return "none: what was said does not match what was signed, so that its authorship cannot be proved"
	}
	return "signed by the author's device; see the Provenance of this resource"
}

// category is the kind of message as a code.
func category(k message.Kind) []Concept {
	return []Concept{{Coding: []Coding{{System: CodesKind, Code: string(k), Display: k.Name()}}, Text: k.Name()}}
}

// payload is what was said, field by field, each with its label and with its name in an extension. Fields that only point at other
// messages stand in elements of their own.
func payload(c message.Content) []Payload {
	switch c := c.(type) {
	case *message.Text:
		return []Payload{{ContentString: c.Body}}
	case *message.Unknown:
		return []Payload{{ContentString: message.NewerKind + ", kept as it came"},
			{ContentAttachment: &Attachment{ContentType: "application/cbor", Data: base64.StdEncoding.EncodeToString(c.Raw), Size: ptr(int64(len(c.Raw)))}}}
	}
	var out []Payload
	for _, f := range c.Fields() {
		if f.Zero() || f.Input() == message.InputEntry || f.Input() == message.InputEntries {
			continue
		}
		out = append(out, Payload{Extension: []Extension{{URL: extField, ValueCode: f.Name}}, ContentString: f.Label + ": " + f.Human()})
	}
	return out
}

// communication is what was said, of every kind without a resource of its own.
func (x *Export) communication(it *item) Entry {
	c := it.Message.Content
	r := &Communication{Domain: domain("Communication"), Identifier: []Identifier{entryIdentifier(it.id)}, Status: "completed",
		Category: category(c.Kind()), Priority: it.header.Priority.String(), Subject: x.patientRef(it), Sent: stamp(it.said),
		Received: stamp(it.Received), Sender: ptr(x.staffRef(it.Author.Person)), Payload: payload(c)}
	if len(r.Payload) == 0 {
		r.Payload = []Payload{{ContentString: it.Message.Summary()}}
	}
	x.pointers(r, c)
	r.Recipient = append(r.Recipient, x.addressees(it)...)
	if x.retracted(it) {
		r.Status = "entered-in-error"
	}
	if it.Reason != "" {
		r.ReasonCode = []Concept{{Text: it.Reason}}
	}
	return it.entry(r, x.begin(it, &r.Domain, false))
}

// pointers says what a communication answers, belongs to, corrects or is addressed to.
func (x *Export) pointers(r *Communication, c message.Content) {
	n := x.index
	switch c := c.(type) {
	case *message.Text:
		n.answer(r, c.ReplyTo, "Answer to a message")
	case *message.METHANE:
		n.answer(r, c.Supersedes, "Brings up to date the report")
	case *message.Decision:
		n.answer(r, c.Corrects, "Corrects the decision")
		r.Note = append(r.Note, Annotation{Time: stamp(c.At), Text: "Decided at " + forPeople(c.At)})
	case *message.CallOutAnswer:
		r.BasedOn = refs(n.reference(c.CallOut, "Answer to the call-out"))
	case *message.CallOutClose:
		r.BasedOn = refs(n.reference(c.CallOut, "Ends the call-out"))
	case *message.AlertCancel:
		r.BasedOn = refs(n.reference(c.Alert, "Cancels the alert"))
	case *message.Escalation:
		r.BasedOn = refs(n.reference(c.Alert, "Escalates the alert"))
	case *message.TaskUpdate:
		r.BasedOn = refs(n.reference(c.Task, "Moves the task on"))
	case *message.Retract:
		r.About = refs(n.reference(c.Entry, "Retracts the message"))
	case *message.HoldEnd:
		r.BasedOn = refs(n.reference(c.Hold, "Ends the hold"))
	case *message.Erase:
		for _, id := range c.Entries {
			r.About = append(r.About, *n.reference(id, "Orders to erase the message"))
		}
	case *message.Incident:
		for _, id := range c.Overrules {
			r.About = append(r.About, *n.reference(id, "Overrules what the message says: live or exercise"))
		}
	case *message.Role:
		if c.To != "" {
			r.Recipient = []Reference{x.addressRef(c.To)}
		}
	}
}

// addressees are whom a message is for; none where it is for all.
func (x *Export) addressees(it *item) []Reference {
	var out []Reference
	for _, to := range it.Message.For {
		out = append(out, x.addressRef(to))
	}
	return out
}

// answer fills Communication.inResponseTo, which may point at a Communication only; of anything else it stands in About.
func (n *index) answer(r *Communication, to message.EntryID, as string) {
	ref := n.reference(to, as)
	if ref == nil {
		return
	}
	if ref.Type != "" && ref.Type != "Communication" {
		r.About = append(r.About, *ref)
		return
	}
	r.InResponseTo = []Reference{*ref}
}

// callOut asks staff to come. Its answers are Communications based on it.
func (x *Export) callOut(it *item, c *message.CallOut) Entry {
	r := x.request(it, c)
	r.Recipient = x.addressees(it)
	if it.Standing.Ended {
		r.Status = "completed"
	}
	if !c.When.IsZero() {
		r.OccurrenceDateTime = stamp(c.When)
	}
	return it.entry(r, x.begin(it, &r.Domain, true))
}

// alert calls until it is acknowledged.
func (x *Export) alert(it *item, c *message.Alert) Entry {
	r := x.request(it, c)
	r.Priority = "stat"
	for _, to := range c.To {
		r.Recipient = append(r.Recipient, x.addressRef(to))
	}
	switch {
	case it.Standing.Cancelled:
		r.Status = "revoked"
	case it.Standing.Ended:
		r.Status = "completed"
	}
	return it.entry(r, x.begin(it, &r.Domain, true))
}

func (x *Export) request(it *item, c message.Content) *CommunicationRequest {
	r := &CommunicationRequest{Domain: domain("CommunicationRequest"), Identifier: []Identifier{entryIdentifier(it.id)}, Status: "active",
		Category: category(c.Kind()), Priority: it.header.Priority.String(), Subject: x.patientRef(it), Payload: payload(c),
		AuthoredOn: stamp(it.said), Requester: ptr(x.staffRef(it.Author.Person))}
	if x.retracted(it) {
		r.Status = "entered-in-error"
	}
	return r
}

// taskStates are what FHIR calls the states of a task.
var taskStates = map[message.TaskState]string{
	"": "requested", message.TaskAssigned: "requested", message.TaskAccepted: "accepted", message.TaskInProgress: "in-progress",
	message.TaskDone: "completed", message.TaskDeclined: "rejected",
}

func (x *Export) task(it *item, c *message.Task) Entry {
	r := &Task{Domain: domain("Task"), Identifier: []Identifier{entryIdentifier(it.id)}, Status: taskStates[it.Standing.Task], Intent: "order",
		Priority: it.header.Priority.String(), Code: &category(c.Kind())[0], Description: c.What, For: x.patientRef(it), AuthoredOn: stamp(it.said),
		Requester: ptr(x.staffRef(it.Author.Person)), Owner: ptr(x.addressRef(c.To))}
	if c.Note != "" {
		r.Note = []Annotation{{Text: c.Note}}
	}
	if !c.Due.IsZero() {
		r.Restriction = &Restriction{Period: &Period{End: stamp(c.Due)}}
	}
	if x.retracted(it) {
		r.Status = "entered-in-error"
	}
	return it.entry(r, x.begin(it, &r.Domain, true))
}

// observation is the triage category that a human gave a casualty, with what else was noted.
func (x *Export) observation(it *item, c *message.Casualty) Entry {
	r := &Observation{Domain: domain("Observation"), Identifier: []Identifier{entryIdentifier(it.id)}, Status: "final",
		Category: []Concept{coded(codesObservation, "exam", "Exam")}, Code: coded(CodesTriage, "category", "Triage category"),
		Subject: x.patientRef(it), EffectiveDateTime: stamp(it.said), Issued: stamp(it.Received), Performer: []Reference{x.staffRef(it.Author.Person)},
		ValueCodeableConcept: ptr(coded(CodesTriage, string(c.Triage), c.Triage.Words()))}
	for _, f := range c.Fields() {
		if !f.Zero() && f.Name != "triage" {
			r.Component = append(r.Component, Component{Code: Concept{Coding: []Coding{{System: CodesField, Code: f.Name}}, Text: f.Label}, ValueString: f.Human()})
		}
	}
	if x.retracted(it) {
		r.Status = "entered-in-error"
	}
	return it.entry(r, x.begin(it, &r.Domain, false))
}

// duty is an on-duty role that somebody took, for as long as they held it.
func (x *Export) duty(it *item, c *message.Role) Entry {
	p := it.Author.Person
	until := c.Until
	if !it.Standing.Until.IsZero() && it.Standing.Until.Before(until) {
		until = it.Standing.Until
	}
	if until.Before(it.said) {
		until = it.said
	}
	r := &PractitionerRole{Domain: domain("PractitionerRole"),
		Identifier: []Identifier{entryIdentifier(it.id), {System: SystemDuty, Value: x.index.group[:16] + "/" + c.Role}},
		Active:     ptr(!x.retracted(it)), Period: &Period{Start: stamp(it.said), End: stamp(until)},
		Practitioner: &Reference{Reference: urn("Practitioner", practitionerKey(p)), Type: "Practitioner", Display: x.nameOf(p)},
		Organization: x.orgRef(p.Org), Code: []Concept{{Coding: []Coding{{System: CodesRole, Code: c.Role}}, Text: message.RoleName(c.Role)}}}
	return it.entry(r, x.begin(it, &r.Domain, true))
}

// lifecycle is a code of ISO 21089, as AuditEvent.type takes them.
func lifecycle(code, display string) Coding {
	return Coding{System: codesLifecycle, Code: code, Display: display}
}

func receiptCode(s message.State) Coding {
	switch s {
	case message.Delivered:
		return lifecycle("receive", "Receive/Retain Record Lifecycle Event")
	case message.Read:
		return lifecycle("access", "Access/View Record Lifecycle Event")
	}
	return lifecycle("attest", "Attest Record Lifecycle Event")
}

func receiptWords(s message.State) string {
	switch s {
	case message.Delivered:
		return "were delivered: the device opened them and keeps them"
	case message.Read:
		return "were on the unlocked screen of the device"
	}
	return "were acknowledged by a press of the recipient's own"
}

// audits are evidence about other messages: a receipt or a transfer. They have no identifier, so a tag finds them again.
func (x *Export) audits(it *item, part string, entries []message.EntryID, code Coding, words string) []Entry {
	r := &AuditEvent{Domain: domain("AuditEvent"), EventType: code, Recorded: stamp(it.said), Outcome: "0",
		Agent:  []AuditAgent{{Who: ptr(x.staffRef(it.Author.Person)), Requestor: true}},
		Source: AuditSource{Site: it.Author.Person.Org, Observer: x.staffRef(it.Author.Person)}}
	r.Action = "R"
	if part == "transfer" {
		r.Action = "C"
	}
	tag := Coding{System: SystemPart, Code: it.id.String() + "-" + part}
	x.common(&r.Common, tag, Coding{System: SystemEntry, Code: it.id.String()})
	for _, id := range entries {
		r.Entity = append(r.Entity, AuditEntity{What: x.index.reference(id, "Message")})
	}
	p := x.page()
	p.line("%s (%s): %d messages %s, on %s by the device's own clock.", x.nameOf(it.Author.Person), it.Author.Person, len(entries), words, forPeople(it.said))
	p.terms(audited(it.Message.Content)...)
	p.terms("Entry", it.id.String(), "Proof", x.proofWords(it))
	r.Text = p.done()
	if it.provable {
		// The signature of a receipt is the device's: there is no Provenance for evidence about evidence.
		r.Extension = []Extension{{URL: extHeader, ValueBase64Binary: base64.StdEncoding.EncodeToString(it.Signed)}}
	}
	q := &Request{Method: "POST", URL: "AuditEvent", IfNoneExist: tagSearch(tag)}
	return []Entry{it.entry(r, q)}
}

// audited are the fields of a receipt or a transfer that do not only point at messages, as rows of a table.
func audited(c message.Content) []string {
	var rows []string
	for _, f := range c.Fields() {
		if !f.Zero() && f.Input() != message.InputEntries {
			rows = append(rows, f.Label, f.Human())
		}
	}
	return rows
}

// eventTime is when something happened, where that is told apart from when it was said; zero elsewhere.
func eventTime(c message.Content) time.Time {
	if d, ok := c.(*message.Decision); ok {
		return d.At
	}
	return time.Time{}
}

func shortID(id ledger.ID) string { return fmt.Sprintf("%x", id[:4]) }
