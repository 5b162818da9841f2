package record

// The resources of FHIR R4 that are made, each with the elements that the mapping fills and no others.

// Resource is one of the types of this file.
type Resource interface {
	// Kind is the resourceType.
	Kind() string
	// about is what every resource has.
	about() *Common
}

// Common is what every resource has. Type is set by the constructors of this package.
type Common struct {
	Type string `json:"resourceType"`
	ID   string `json:"id,omitempty"`
	Meta *Meta  `json:"meta,omitempty"`
}

// Kind is the resourceType.
func (c *Common) Kind() string   { return c.Type }
func (c *Common) about() *Common { return c }

// Domain is a resource with a narrative.
type Domain struct {
	Common
	Text      *Narrative  `json:"text,omitempty"`
	Extension []Extension `json:"extension,omitempty"`
}

// narrated is a resource that people can read.
type narrated interface{ narrative() *Domain }

func (d *Domain) narrative() *Domain { return d }

func domain(kind string) Domain { return Domain{Common: Common{Type: kind}} }

// Organization is a trust or another employer.
type Organization struct {
	Domain
	Identifier []Identifier `json:"identifier,omitempty"`
	Name       string       `json:"name,omitempty"`
}

// Practitioner is a clinician.
type Practitioner struct {
	Domain
	Identifier []Identifier `json:"identifier,omitempty"`
	Name       []HumanName  `json:"name,omitempty"`
}

// PractitionerRole is a clinician at an organisation, or an on-duty role that they hold for a time.
type PractitionerRole struct {
	Domain
	Identifier   []Identifier `json:"identifier,omitempty"`
	Active       *bool        `json:"active,omitempty"`
	Period       *Period      `json:"period,omitempty"`
	Practitioner *Reference   `json:"practitioner,omitempty"`
	Organization *Reference   `json:"organization,omitempty"`
	Code         []Concept    `json:"code,omitempty"`
}

// Patient is a patient that a clinician attributed messages to, or a casualty who is known by a tag.
type Patient struct {
	Domain
	Identifier []Identifier `json:"identifier,omitempty"`
	Name       []HumanName  `json:"name,omitempty"`
	Gender     string       `json:"gender,omitempty"`
	BirthDate  string       `json:"birthDate,omitempty"`
}

// Communication is what was said.
type Communication struct {
	Domain
	Identifier   []Identifier `json:"identifier,omitempty"`
	BasedOn      []Reference  `json:"basedOn,omitempty"`
	InResponseTo []Reference  `json:"inResponseTo,omitempty"`
	Status       string       `json:"status"`
	Category     []Concept    `json:"category,omitempty"`
	Priority     string       `json:"priority,omitempty"`
	Subject      *Reference   `json:"subject,omitempty"`
	Topic        *Concept     `json:"topic,omitempty"`
	About        []Reference  `json:"about,omitempty"`
	Sent         string       `json:"sent,omitempty"`
	Received     string       `json:"received,omitempty"`
	Recipient    []Reference  `json:"recipient,omitempty"`
	Sender       *Reference   `json:"sender,omitempty"`
	ReasonCode   []Concept    `json:"reasonCode,omitempty"`
	Payload      []Payload    `json:"payload,omitempty"`
	Note         []Annotation `json:"note,omitempty"`
}

// Payload is one part of what was said: a field of the form with its name in the extension, or the whole of a text.
type Payload struct {
	Extension         []Extension `json:"extension,omitempty"`
	ContentString     string      `json:"contentString,omitempty"`
	ContentAttachment *Attachment `json:"contentAttachment,omitempty"`
}

// CommunicationRequest asks for an answer: a call-out, an alert.
type CommunicationRequest struct {
	Domain
	Identifier         []Identifier `json:"identifier,omitempty"`
	Status             string       `json:"status"`
	Category           []Concept    `json:"category,omitempty"`
	Priority           string       `json:"priority,omitempty"`
	Subject            *Reference   `json:"subject,omitempty"`
	Payload            []Payload    `json:"payload,omitempty"`
	OccurrenceDateTime string       `json:"occurrenceDateTime,omitempty"`
	AuthoredOn         string       `json:"authoredOn,omitempty"`
	Requester          *Reference   `json:"requester,omitempty"`
	Recipient          []Reference  `json:"recipient,omitempty"`
	Note               []Annotation `json:"note,omitempty"`
}

// Task is something that somebody was asked to do.
type Task struct {
	Domain
	Identifier   []Identifier `json:"identifier,omitempty"`
	Status       string       `json:"status"`
	StatusReason *Concept     `json:"statusReason,omitempty"`
	Intent       string       `json:"intent"`
	Priority     string       `json:"priority,omitempty"`
	Code         *Concept     `json:"code,omitempty"`
	Description  string       `json:"description,omitempty"`
	For          *Reference   `json:"for,omitempty"`
	AuthoredOn   string       `json:"authoredOn,omitempty"`
	LastModified string       `json:"lastModified,omitempty"`
	Requester    *Reference   `json:"requester,omitempty"`
	Owner        *Reference   `json:"owner,omitempty"`
	Note         []Annotation `json:"note,omitempty"`
	Restriction  *Restriction `json:"restriction,omitempty"`
}

// Restriction says by when a task is due.
type Restriction struct {
	Period *Period `json:"period,omitempty"`
}

// Observation is the triage category that a human gave a casualty.
type Observation struct {
	Domain
	Identifier           []Identifier `json:"identifier,omitempty"`
	Status               string       `json:"status"`
	Category             []Concept    `json:"category,omitempty"`
	Code                 Concept      `json:"code"`
	Subject              *Reference   `json:"subject,omitempty"`
	EffectiveDateTime    string       `json:"effectiveDateTime,omitempty"`
	Issued               string       `json:"issued,omitempty"`
	Performer            []Reference  `json:"performer,omitempty"`
	ValueCodeableConcept *Concept     `json:"valueCodeableConcept,omitempty"`
	Note                 []Annotation `json:"note,omitempty"`
	Component            []Component  `json:"component,omitempty"`
}

// Component is one more thing that was noted about a casualty.
type Component struct {
	Code        Concept `json:"code"`
	ValueString string  `json:"valueString,omitempty"`
}

// DocumentReference is a file: an attachment, or a proof.
type DocumentReference struct {
	Domain
	MasterIdentifier *Identifier       `json:"masterIdentifier,omitempty"`
	Identifier       []Identifier      `json:"identifier,omitempty"`
	Status           string            `json:"status"`
	DocStatus        string            `json:"docStatus,omitempty"`
	DocType          *Concept          `json:"type,omitempty"`
	Category         []Concept         `json:"category,omitempty"`
	Subject          *Reference        `json:"subject,omitempty"`
	Date             string            `json:"date,omitempty"`
	Author           []Reference       `json:"author,omitempty"`
	Custodian        *Reference        `json:"custodian,omitempty"`
	RelatesTo        []RelatesTo       `json:"relatesTo,omitempty"`
	Description      string            `json:"description,omitempty"`
	SecurityLabel    []Concept         `json:"securityLabel,omitempty"`
	Content          []DocumentContent `json:"content"`
}

// RelatesTo says how one document stands to another.
type RelatesTo struct {
	Code   string    `json:"code"`
	Target Reference `json:"target"`
}

// DocumentContent holds the attachment of a DocumentReference.
type DocumentContent struct {
	Attachment Attachment `json:"attachment"`
}

// Binary is the bytes of a file. It is not a Domain: it has no narrative. Data is base64.
type Binary struct {
	Common
	ContentType string `json:"contentType"`
	Data        string `json:"data,omitempty"`
}

// Composition is the page that a document Bundle begins with.
type Composition struct {
	Domain
	Identifier      *Identifier `json:"identifier,omitempty"`
	Status          string      `json:"status"`
	DocType         Concept     `json:"type"`
	Date            string      `json:"date"`
	Author          []Reference `json:"author"`
	Title           string      `json:"title"`
	Confidentiality string      `json:"confidentiality,omitempty"`
	Custodian       *Reference  `json:"custodian,omitempty"`
	Event           []Event     `json:"event,omitempty"`
	Section         []Section   `json:"section,omitempty"`
}

// Event is the time that a Composition is about.
type Event struct {
	Period *Period `json:"period,omitempty"`
}

// Section is a part of a Composition.
type Section struct {
	Title string      `json:"title,omitempty"`
	Code  *Concept    `json:"code,omitempty"`
	Text  *Narrative  `json:"text,omitempty"`
	Entry []Reference `json:"entry,omitempty"`
}

// Provenance says who made a resource, when, from what, and carries their signature.
type Provenance struct {
	Domain
	Target           []Reference  `json:"target"`
	OccurredDateTime string       `json:"occurredDateTime,omitempty"`
	Recorded         string       `json:"recorded"`
	Reason           []Concept    `json:"reason,omitempty"`
	Activity         *Concept     `json:"activity,omitempty"`
	Agent            []ProvAgent  `json:"agent"`
	Entity           []ProvEntity `json:"entity,omitempty"`
	Signature        []Signature  `json:"signature,omitempty"`
}

// ProvAgent is who had a part in it.
type ProvAgent struct {
	AgentType  *Concept   `json:"type,omitempty"`
	Who        Reference  `json:"who"`
	OnBehalfOf *Reference `json:"onBehalfOf,omitempty"`
}

// ProvEntity is what it was made from.
type ProvEntity struct {
	Role string    `json:"role"`
	What Reference `json:"what"`
}

// AuditEvent is evidence of delivery, of reading, of acknowledgement or of a transfer.
type AuditEvent struct {
	Domain
	EventType   Coding        `json:"type"`
	Subtype     []Coding      `json:"subtype,omitempty"`
	Action      string        `json:"action,omitempty"`
	Recorded    string        `json:"recorded"`
	Outcome     string        `json:"outcome,omitempty"`
	OutcomeDesc string        `json:"outcomeDesc,omitempty"`
	Agent       []AuditAgent  `json:"agent"`
	Source      AuditSource   `json:"source"`
	Entity      []AuditEntity `json:"entity,omitempty"`
}

// AuditAgent is who did it.
type AuditAgent struct {
	Who       *Reference `json:"who,omitempty"`
	Requestor bool       `json:"requestor"`
}

// AuditSource is the device that says so.
type AuditSource struct {
	Site     string    `json:"site,omitempty"`
	Observer Reference `json:"observer"`
}

// AuditEntity is the message that it is about.
type AuditEntity struct {
	What *Reference `json:"what,omitempty"`
}

// Bundle is a set of resources. Large ones are written entry by entry (bundle.go) and never held as this type.
type Bundle struct {
	Common
	Identifier *Identifier `json:"identifier,omitempty"`
	BundleType string      `json:"type"`
	Timestamp  string      `json:"timestamp,omitempty"`
	Entry      []Entry     `json:"entry,omitempty"`
}

// Entry is one resource in a Bundle, in a transaction with what is to be done with it.
type Entry struct {
	FullURL  string   `json:"fullUrl,omitempty"`
	Resource Resource `json:"resource,omitempty"`
	Request  *Request `json:"request,omitempty"`

	// content, of a Binary, is read into its data while the entry is written; sum and size are what it must be.
	content content
}

// Request is what a server is to do with an entry.
type Request struct {
	Method      string `json:"method"`
	URL         string `json:"url"`
	IfNoneExist string `json:"ifNoneExist,omitempty"`
}
