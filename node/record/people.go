package record

import (
	"strings"

	"tocsin/crypto/identity"
	"tocsin/node/message"
)

// Who and where: the resources that all others point at. They go first.

// keys of the names of resources.
func orgKey(org string) string                 { return SystemOrganisation + "|" + org }
func practitionerKey(p identity.Person) string { return regulatorSystem(p.Regulator) + "|" + p.Number }
func staffKey(p identity.Person) string        { return SystemPerson + "|" + p.String() }

func (x *Export) orgRef(org string) *Reference {
	return &Reference{Reference: urn("Organization", orgKey(org)), Type: "Organization", Display: org}
}

// nameOf is the name of a person as a credential has it, or how they are registered.
func (x *Export) nameOf(p identity.Person) string {
	if a := x.index.named[p]; a.Name != "" {
		return a.Name
	}
	return strings.ToUpper(p.Regulator) + " " + p.Number
}

// staffRef points at somebody in their post.
func (x *Export) staffRef(p identity.Person) Reference {
	return Reference{Reference: urn("PractitionerRole", staffKey(p)), Type: "PractitionerRole", Display: x.nameOf(p) + ", " + p.Org}
}

// addressRef points at whom an address means: a person, or an on-duty role by its name, whoever held it then.
func (x *Export) addressRef(address string) Reference {
	if s, ok := message.PersonOf(address); ok {
		if p, err := identity.ParsePerson(s); err == nil {
			return x.staffRef(p)
		}
	}
	role, _ := message.RoleOf(address)
	return Reference{Type: "PractitionerRole", Display: message.RoleName(role),
		Identifier: &Identifier{System: SystemDuty, Value: x.index.group[:16] + "/" + role}}
}

// directory makes the resources of everyone and every place that the messages point at.
func (x *Export) directory() []Entry {
	var out []Entry
	for _, org := range x.index.orgs {
		out = append(out, x.organization(org))
	}
	made := make(map[string]bool)
	for _, p := range x.index.people {
		if key := practitionerKey(p); !made[key] {
			made[key] = true
			out = append(out, x.practitioner(p))
		}
		out = append(out, x.staff(p))
	}
	for _, key := range x.index.patients {
		out = append(out, x.patient(key))
	}
	return out
}

// common fills what every resource of this export has.
func (x *Export) common(c *Common, tags ...Coding) {
	c.Meta = &Meta{Tag: append(tags, Coding{System: SystemIncident, Code: x.index.group})}
	if x.Exercise() {
		c.Meta.Security = []Coding{exerciseLabel()}
	}
}

// anonymous is common for what is not of one incident: people, places and patients outlive it.
func (x *Export) lasting(c *Common) {
	if x.Exercise() {
		c.Meta = &Meta{Security: []Coding{exerciseLabel()}}
	}
}

func (x *Export) page() *page { return newPage(x.Exercise()) }

// create is the request that makes a resource once: found by the identifier, it is left alone.
func create(kind string, id Identifier) *Request {
	return &Request{Method: "POST", URL: kind, IfNoneExist: id.search()}
}

func (x *Export) organization(org string) Entry {
	r := &Organization{Domain: domain("Organization"), Name: org}
	x.lasting(&r.Common)
	id := Identifier{System: SystemOrganisation, Value: org}
	ods := x.index.ods[org]
	if ods != "" {
		id = Identifier{System: SystemODS, Value: ods}
		r.Identifier = append(r.Identifier, id)
	}
	r.Identifier = append(r.Identifier, Identifier{System: SystemOrganisation, Value: org})
	p := x.page()
	p.terms("Organisation", org, "ODS code", ods)
	r.Text = p.done()
	return Entry{FullURL: urn("Organization", orgKey(org)), Resource: r, Request: create("Organization", id)}
}

func (x *Export) practitioner(p identity.Person) Entry {
	r := &Practitioner{Domain: domain("Practitioner")}
	x.lasting(&r.Common)
	id := Identifier{System: regulatorSystem(p.Regulator), Value: p.Number}
	r.Identifier = []Identifier{id}
	if a := x.index.named[p]; a.Name != "" {
		r.Name = []HumanName{{Text: a.Name}}
	}
	page := x.page()
	page.terms("Name", x.index.named[p].Name, "Registration", strings.ToUpper(p.Regulator)+" "+p.Number)
	r.Text = page.done()
	return Entry{FullURL: urn("Practitioner", practitionerKey(p)), Resource: r, Request: create("Practitioner", id)}
}

func (x *Export) staff(p identity.Person) Entry {
	r := &PractitionerRole{Domain: domain("PractitionerRole"), Identifier: []Identifier{personIdentifier(p)},
		Practitioner: &Reference{Reference: urn("Practitioner", practitionerKey(p)), Type: "Practitioner", Display: x.nameOf(p)},
		Organization: x.orgRef(p.Org)}
	x.lasting(&r.Common)
	a := x.index.named[p]
	for _, role := range a.Roles {
		r.Code = append(r.Code, Concept{Coding: []Coding{{System: CodesRole, Code: role}}, Text: message.RoleName(role)})
	}
	page := x.page()
	page.terms("Name", x.nameOf(p), "Organisation", p.Org, "Roles", strings.Join(a.Roles, ", "), "Grade", a.Grade, "Note", a.Note)
	r.Text = page.done()
	return Entry{FullURL: urn("PractitionerRole", staffKey(p)), Resource: r, Request: create("PractitionerRole", personIdentifier(p))}
}

// genders are what FHIR calls the values of message.Sex.
var genders = map[message.Sex]string{message.SexFemale: "female", message.SexMale: "male", message.SexOther: "other", message.SexUnknown: "unknown"}

func (x *Export) patient(key string) Entry {
	q := x.index.known[key]
	system, value, _ := strings.Cut(key, "|")
	id := Identifier{System: system, Value: value}
	r := &Patient{Domain: domain("Patient"), Gender: genders[q.sex], BirthDate: q.Born}
	x.lasting(&r.Common)
	page := x.page()
	if q.NHSNumber != "" {
		r.Identifier = []Identifier{nhsIdentifier(q.Attribution)}
		if q.Family != "" || q.Given != "" {
			name := HumanName{Use: "official", Family: q.Family}
			name.Given = strings.Fields(q.Given)
			r.Name = []HumanName{name}
		}
		page.terms("NHS number", value, "Status of the number", verification(q.Traced).Text,
			"Name", strings.TrimSpace(q.Given+" "+q.Family), "Born", q.Born)
	} else {
		r.Identifier = []Identifier{id}
		r.Name = []HumanName{{Use: "temp", Text: "Casualty " + q.tag}}
		page.terms("Casualty tag", q.tag, "Sex", r.Gender, "Identity", "not known: no clinician has attributed it to a patient")
	}
	r.Text = page.done()
	return Entry{FullURL: urn("Patient", key), Resource: r, Request: create("Patient", id)}
}

func nhsIdentifier(p Attribution) Identifier {
	return Identifier{System: SystemNHS, Value: p.NHSNumber,
		Extension: []Extension{{URL: extVerification, ValueCodeableConcept: ptr(verification(p.Traced))}}}
}

// verification is the status of an NHS number: one that was typed while the national service was out of reach was not traced.
func verification(traced bool) Concept {
	if traced {
		return coded(codesVerify, "01", "Number present and verified")
	}
	return coded(codesVerify, "02", "Number present but not traced")
}

// patientRef points at the patient of a message, nil for none.
func (x *Export) patientRef(it *item) *Reference {
	key := x.index.patientKey(it)
	if key == "" {
		return nil
	}
	q := x.index.known[key]
	display := "Casualty " + q.tag
	if q.NHSNumber != "" {
		display = "Patient " + q.NHSNumber
	}
	return &Reference{Reference: urn("Patient", key), Type: "Patient", Display: display}
}
