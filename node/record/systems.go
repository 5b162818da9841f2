package record

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// Systems of identifiers and codes. Those of the NHS and HL7 UK are theirs; ours begin with [Base], whose host is reserved
// (RFC 2606), so that it can never be somebody else's.
const (
	Base = "https://tocsin.example/fhir/"

	SystemNHS          = "https://fhir.nhs.uk/Id/nhs-number"
	SystemODS          = "https://fhir.nhs.uk/Id/ods-organization-code"
	SystemGMC          = "https://fhir.nhs.uk/Id/gmc-reference-number"
	SystemNMC          = "https://fhir.hl7.org.uk/Id/nmc-number"
	SystemHCPC         = "https://fhir.hl7.org.uk/Id/hcpc-number"
	SystemGPhC         = "https://fhir.hl7.org.uk/Id/gphc-number"
	SystemURI          = "urn:ietf:rfc:3986"
	SystemEntry        = Base + "entry"        // the id of a log entry, 64 hexadecimal characters: SHA-256(0x00 ‖ header)
	SystemPart         = Base + "part"         // entry id, hyphen, part: what arises from an entry beside its first resource
	SystemIncident     = Base + "incident"     // the id of a group, 64 hexadecimal characters
	SystemPage         = Base + "page"         // what a page of an upload lists, 64 hexadecimal characters (Export.pageName)
	SystemPerson       = Base + "person"       // organisation/regulator/number
	SystemOrganisation = Base + "organisation" // host name of an organisation
	SystemRegulator    = Base + "regulator/"   // + regulator: numbers of regulators without a national system
	SystemTag          = Base + "casualty-tag" // first 16 characters of the incident, slash, the number on the tag
	SystemDuty         = Base + "on-duty-role" // first 16 characters of the incident, slash, the role
	SystemDevice       = Base + "device"       // id of a device

	// CodesKind are the kinds of message, CodesField their fields (node/message), CodesTriage the triage categories.
	CodesKind   = Base + "message-kind"
	CodesField  = Base + "message-field"
	CodesTriage = Base + "triage"
	CodesRole   = Base + "role"
	CodesAbout  = Base + "export-part"

	extVerification = "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NHSNumberVerificationStatus"
	codesVerify     = "https://fhir.hl7.org.uk/CodeSystem/UKCore-NHSNumberVerificationStatusEngland"
	extField        = Base + "field"        // which field of the form a payload is
	extSHA256       = Base + "sha-256"      // of an attachment's bytes, 64 hexadecimal characters
	extHeader       = Base + "entry-header" // what the signature is over, after "tocsin/entry/v1\0"
	extMissing      = Base + "missing"      // what is not in this export, and why
	extFor          = Base + "addressee"    // whom it is for, where FHIR has no recipient: an address as messages have it (node/message)
	extReason       = Base + "break-glass"  // why a message went to everybody

	codesActReason   = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
	codesLifecycle   = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle"
	codesParticipant = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
	codesSignature   = "urn:iso-astm:E1762-95:2013"
	codesObservation = "http://terminology.hl7.org/CodeSystem/observation-category"
	codesLOINC       = "http://loinc.org"
)

// regulators are the systems of the numbers that regulators give out: GMC and GPhC numbers look alike, so that a number never stands
// without its system.
var regulators = map[string]string{"gmc": SystemGMC, "nmc": SystemNMC, "hcpc": SystemHCPC, "gphc": SystemGPhC}

func regulatorSystem(regulator string) string {
	if s, ok := regulators[regulator]; ok {
		return s
	}
	return SystemRegulator + regulator
}

// exerciseLabel marks what must never be taken for the real thing (HL7 v3 ActReason).
func exerciseLabel() Coding {
	return Coding{System: codesActReason, Code: "HTEST", Display: "test health data"}
}

// urn names a resource in a Bundle: a UUID of version 8 (RFC 9562) from what the resource is about, so that the same message always
// becomes a resource of the same name.
func urn(kind, key string) string {
	return "urn:uuid:" + uuid(kind, key)
}

func uuid(kind, key string) string {
	sum := sha256.Sum256([]byte("tocsin/fhir/v1\x00" + kind + "\x00" + key))
	b := sum[:16]
	b[6] = b[6]&0x0f | 0x80
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b)
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

func entryIdentifier(id ledger.ID) Identifier {
	return Identifier{System: SystemEntry, Value: id.String()}
}

func partIdentifier(id ledger.ID, part string) Identifier {
	return Identifier{System: SystemPart, Value: id.String() + "-" + part}
}

func personIdentifier(p identity.Person) Identifier {
	return Identifier{System: SystemPerson, Value: p.String()}
}

// search is the query that finds a resource by an identifier, escaped for a URL.
func (i Identifier) search() string { return "identifier=" + token(i.System, i.Value) }

func tagSearch(c Coding) string { return "_tag=" + token(c.System, c.Code) }

// token escapes system|value for a query: what FHIR's search gives a meaning to is escaped with a backslash, then everything but
// letters, digits, hyphen, dot and underscore with a per cent sign.
func token(system, value string) string {
	esc := strings.NewReplacer(`\`, `\\`, `|`, `\|`, `,`, `\,`, `$`, `\$`)
	s := esc.Replace(system) + "|" + esc.Replace(value)
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func text(s string) *Concept { return &Concept{Text: s} }

func coded(system, code, display string) Concept {
	return Concept{Coding: []Coding{{System: system, Code: code, Display: display}}, Text: display}
}

func ptr[T any](v T) *T { return &v }
