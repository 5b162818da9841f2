package record

import (
	"encoding/base64"
	"errors"

	"tocsin/node/message"
)

// signatureFormat is what a signature's data is: raw Ed25519, 64 bytes (RFC 8032).
const signatureFormat = "application/octet-stream"

// mediaProof is the media type of a proof file.
const mediaProof = "text/plain"

// provenance says who said it and when, from what, and carries the author's signature. It has no identifier in R4, so a tag finds it
// again.
func (x *Export) provenance(it *item, first Entry, proved bool) Entry {
	author := x.staffRef(it.Author.Person)
	r := &Provenance{Domain: domain("Provenance"), Target: []Reference{{Reference: first.FullURL, Type: first.Resource.Kind()}},
		Recorded: stamp(it.said), Activity: text(it.Message.Kind().Name()),
		Agent: []ProvAgent{{AgentType: ptr(coded(codesParticipant, "author", "Author")), Who: author, OnBehalfOf: x.orgRef(it.Author.Person.Org)}}}
	tag := Coding{System: SystemPart, Code: it.id.String() + "-provenance"}
	x.common(&r.Common, tag, Coding{System: SystemEntry, Code: it.id.String()})
	if it.Reason != "" {
		r.Reason = []Concept{{Text: it.Reason}}
	}
	if at := eventTime(it.Message.Content); !at.IsZero() {
		r.OccurredDateTime = stamp(at)
	}
	x.roles(r, it.Message.Content)
	x.origins(r, it.Message.Content)
	if proved {
		r.Entity = append(r.Entity, ProvEntity{Role: "source", What: Reference{Reference: urn("DocumentReference", it.id.String()+"-proof"), Type: "DocumentReference",
			Display: "Proof of the entry"}})
	}
	if it.provable {
		r.Signature = []Signature{{Type: []Coding{{System: codesSignature, Code: "1.2.840.10065.1.12.1.1", Display: "Author's Signature"}},
			When: stamp(it.said), Who: author, TargetFormat: signatureFormat, SigFormat: signatureFormat, Data: base64.StdEncoding.EncodeToString(it.sig),
			Extension: []Extension{{URL: extHeader, ValueBase64Binary: base64.StdEncoding.EncodeToString(it.bytes)}}}}
	}
	p := x.page()
	p.line("%s (%s) said this on %s by their own clock, as entry %d of the log of their device. It reached the exporting device on %s.",
		x.nameOf(it.Author.Person), it.Author.Person, forPeople(it.said), it.header.Seq, forPeople(it.Received))
	p.terms("Entry", it.id.String(), "Proof", x.provedWords(it, proved), "Note", it.Author.Note)
	r.Text = p.done()
	q := &Request{Method: "POST", URL: "Provenance", IfNoneExist: tagSearch(tag)}
	return it.entry(r, q)
}

func (x *Export) provedWords(it *item, proved bool) string {
	switch {
	case !it.provable:
		return x.proofWords(it)
	case proved:
		return "the signature is here; the proof with its witnesses is the document that this Provenance names as its source"
	}
	return "the signature is here; too few witnesses had signed for the entry when this was written, so that when it was said is the author's word alone"
}

// roles are the agents beside the author: who decided, and who wrote it down.
func (x *Export) roles(r *Provenance, c message.Content) {
	d, ok := c.(*message.Decision)
	if !ok {
		return
	}
	add := func(address, code, display string) {
		if address != "" {
			r.Agent = append(r.Agent, ProvAgent{AgentType: ptr(coded(codesParticipant, code, display)), Who: x.addressRef(address)})
		}
	}
	add(d.Decider, "attester", "Attester")
	add(d.Loggist, "enterer", "Enterer")
}

// origins are earlier messages that this one corrects, brings up to date or withdraws.
func (x *Export) origins(r *Provenance, c message.Content) {
	add := func(id message.EntryID, role, as string) {
		if ref := x.index.reference(id, as); ref != nil {
			r.Entity = append(r.Entity, ProvEntity{Role: role, What: *ref})
		}
	}
	switch c := c.(type) {
	case *message.Decision:
		add(c.Corrects, "revision", "Corrects the decision")
	case *message.METHANE:
		add(c.Supersedes, "revision", "Brings up to date the report")
	case *message.Retract:
		add(c.Entry, "removal", "Withdraws the message")
	}
}

// proof makes the document with the proof of an entry, and its bytes; none where there is no proof.
func (x *Export) proof(it *item) ([]Entry, error) {
	if !it.provable || x.sources.Proof == nil {
		return nil, nil
	}
	file, err := x.sources.Proof(it.id)
	switch {
	case errors.Is(err, ErrNoProof):
		return nil, nil
	case err != nil:
		return nil, invalid("the proof of message %s: %w", it.id, err)
	case len(file) > MaxProof:
		return nil, invalid("the proof of message %s has %d bytes, more than %d", it.id, len(file), MaxProof)
	}
	c := bytesContent(file)
	id := partIdentifier(it.id, "proof")
	r := &DocumentReference{Domain: domain("DocumentReference"), Identifier: []Identifier{id}, Status: "current",
		DocType: &Concept{Coding: []Coding{{System: CodesAbout, Code: "proof", Display: "Proof of an entry"}}, Text: "Proof of an entry"},
		Date:    stamp(it.said), Author: []Reference{x.staffRef(it.Author.Person)}, Custodian: x.orgRef(x.in.Custodian),
		Description: "Proof of entry " + it.id.String() + ", for 'tocsin verify' and for openssl"}
	x.common(&r.Common, Coding{System: SystemEntry, Code: it.id.String()})
	b := x.binary(it, "proof", mediaProof, c)
	r.Content = []DocumentContent{{Attachment: c.attachment(mediaProof, shortID(it.id)+".tocsin-proof", b.FullURL)}}
	p := x.page()
	p.line("This file proves who signed entry %s, in which place of their log, and who witnessed it by when. 'tocsin verify' checks it; "+
		"'tocsin guide verify-without-tocsin' says how to do so with openssl and torchwood. It holds the message itself.", it.id)
	r.Text = p.done()
	return []Entry{{FullURL: urn("DocumentReference", id.Value), Resource: r, Request: create("DocumentReference", id)}, b}, nil
}
