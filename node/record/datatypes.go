package record

import "time"

// The data types of FHIR R4 (hl7.org/fhir/R4/datatypes.html), just those that are used. Every field is written exactly as the
// specification names it; what is empty is left out. There is no field here that the mapping does not fill.

// Meta is about a resource: what it is part of and how it may be used.
type Meta struct {
	Security []Coding `json:"security,omitempty"`
	Tag      []Coding `json:"tag,omitempty"`
}

// Narrative is a resource as people read it, in XHTML.
type Narrative struct {
	Status string `json:"status"` // generated
	Div    string `json:"div"`
}

// Coding is one code of a system.
type Coding struct {
	System  string `json:"system,omitempty"`
	Code    string `json:"code,omitempty"`
	Display string `json:"display,omitempty"`
}

// Concept is a CodeableConcept: codes, and words for people.
type Concept struct {
	Coding []Coding `json:"coding,omitempty"`
	Text   string   `json:"text,omitempty"`
}

// Extension holds one value beyond the base specification; exactly one Value field is set.
type Extension struct {
	URL                  string   `json:"url"`
	ValueBase64Binary    string   `json:"valueBase64Binary,omitempty"`
	ValueCode            string   `json:"valueCode,omitempty"`
	ValueCodeableConcept *Concept `json:"valueCodeableConcept,omitempty"`
	ValueDateTime        string   `json:"valueDateTime,omitempty"`
	ValueInteger         *int     `json:"valueInteger,omitempty"`
	ValueString          string   `json:"valueString,omitempty"`
}

// Identifier names a thing in a system.
type Identifier struct {
	Extension []Extension `json:"extension,omitempty"`
	Use       string      `json:"use,omitempty"`
	System    string      `json:"system,omitempty"`
	Value     string      `json:"value,omitempty"`
}

// Reference points at a resource: by Reference (a urn:uuid of the same Bundle, or Type/id on a server), or by Identifier where the
// resource is not at hand.
type Reference struct {
	Reference  string      `json:"reference,omitempty"`
	Type       string      `json:"type,omitempty"`
	Identifier *Identifier `json:"identifier,omitempty"`
	Display    string      `json:"display,omitempty"`
}

// Period is a time with ends.
type Period struct {
	Start string `json:"start,omitempty"`
	End   string `json:"end,omitempty"`
}

// HumanName is a name as its bearer's credential, or a clinician who attributed a message, has it.
type HumanName struct {
	Use    string   `json:"use,omitempty"`
	Text   string   `json:"text,omitempty"`
	Family string   `json:"family,omitempty"`
	Given  []string `json:"given,omitempty"`
}

// Annotation is a note with its author and time.
type Annotation struct {
	AuthorReference *Reference `json:"authorReference,omitempty"`
	Time            string     `json:"time,omitempty"`
	Text            string     `json:"text"`
}

// Attachment is content, or where it is. Its own hash is SHA-1 by the specification; SHA-256 stands in an extension.
type Attachment struct {
	Extension   []Extension `json:"extension,omitempty"`
	ContentType string      `json:"contentType,omitempty"`
	Data        string      `json:"data,omitempty"`
	URL         string      `json:"url,omitempty"`
	Size        *int64      `json:"size,omitempty"`
	Title       string      `json:"title,omitempty"`
	Creation    string      `json:"creation,omitempty"`
}

// Signature is a digital signature (hl7.org/fhir/R4/datatypes.html#Signature).
type Signature struct {
	Extension    []Extension `json:"extension,omitempty"`
	Type         []Coding    `json:"type"`
	When         string      `json:"when"`
	Who          Reference   `json:"who"`
	TargetFormat string      `json:"targetFormat,omitempty"`
	SigFormat    string      `json:"sigFormat,omitempty"`
	Data         string      `json:"data,omitempty"`
}

// stamp writes a time as FHIR's instant and dateTime, UTC, in milliseconds.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// forPeople writes a time as narratives show it.
func forPeople(t time.Time) string { return t.UTC().Format("2 January 2006 15:04:05 UTC") }
