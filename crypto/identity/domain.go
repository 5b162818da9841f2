package identity

// The domains of this package's signatures and hashes. crypto/doc.go lists
// them beside those of the other packages.
const (
	domainRequest          Domain = "tocsin/enrolment-request/v1\x00"
	domainTicket           Domain = "tocsin/ticket/v1\x00"
	domainTicketKey        Domain = "tocsin/ticket-key/v1\x00"
	domainDevice           Domain = "tocsin/device/v1\x00"
	domainIssuerKey        Domain = "tocsin/issuer-key/v1\x00"
	domainSponsor          Domain = "tocsin/sponsor/v1\x00"
	domainSponsorAdmission Domain = "tocsin/sponsor-admission/v1\x00"
	domainStatement        Domain = "tocsin/statement/v1\x00"
	domainBundle           Domain = "tocsin/trust-bundle/v1\x00"
	domainKeyRoll          Domain = "tocsin/key-roll/v1\x00"
	domainKeyRollBack      Domain = "tocsin/key-roll-back/v1\x00"
	domainMeeting          Domain = "tocsin/in-person/v1\x00"
	domainDigits           Domain = "tocsin/in-person-digits/v1\x00"
	domainMeshHint         Domain = "tocsin/mesh-key-hint/v1\x00"
	domainSnapshot         Domain = "tocsin/trust-snapshot/v1\x00"
)

// The labels of this package's derivations.
const (
	// labelMeshKey begins the HPKE info under which a mesh key is sealed at
	// enrolment.
	labelMeshKey = "tocsin/1 mesh key"
	// labelMeshPage begins the HPKE info of a wrap on a page of a new mesh key.
	labelMeshPage = "tocsin/1 mesh key page"
)
