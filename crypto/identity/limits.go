package identity

import "time"

// Every limit of the package. Received bytes are measured against these before
// anything is allocated or any key is used.
const (
	// MaxChain bounds the encoded chain of a credential (8 KiB).
	MaxChain = 8 << 10
	// MaxAdmission bounds the encoded admission chain (3 KiB): it travels
	// inside the first handshake, where more costs a round trip.
	MaxAdmission = 3 << 10
	// MaxCredential bounds the wire form of a credential, sponsored ones
	// included: a leaf and three sponsors' chains.
	MaxCredential = 32 << 10
	// MaxCertificate bounds one certificate.
	MaxCertificate = 4 << 10
	// MaxDepth is the longest chain: authority, registrar, leaf.
	MaxDepth = 3
	// MaxTicket bounds an encoded ticket. An ordinary one has about 150 bytes;
	// that of a sponsored device brings its credential along.
	MaxTicket = 16 << 10
	// MaxRequest bounds an encoded enrolment request.
	MaxRequest = 4 << 10
	// MaxBundle bounds an encoded trust bundle.
	MaxBundle = 256 << 10
	// MaxEnrolment bounds an encoded enrolment.
	MaxEnrolment = MaxBundle + MaxCredential + MaxAdmission + maxEnrolmentStatements + 4<<10
	// maxEnrolmentStatements bounds the statements that go along with an
	// enrolment: later bundles, CRLs, declarations.
	maxEnrolmentStatements = 4 << 20
	// MaxPEM bounds a PEM file of ours: base64 of the largest object.
	MaxPEM = MaxEnrolment*3/2 + 1<<10

	// MaxRoots bounds the authorities of one trust bundle.
	MaxRoots = 64
	// maxEverRoots bounds the authorities of all bundles that a mesh has had.
	// None is ever forgotten: what it signed stays readable. The bundle that
	// would exceed it is refused, by every device alike.
	maxEverRoots = 1 << 10
	// maxSponsors bounds the sponsorships of one credential: three for
	// break-glass.
	maxSponsors = 3
	// maxSealedKey bounds a sealed mesh key: 1,120 bytes of encapsulation,
	// 32 of key, 16 of tag.
	maxSealedKey = 2 << 10

	// MaxStatement bounds a statement: it fits the body of one entry (60 KiB).
	MaxStatement = 60 << 10
	// MaxRevoked bounds the devices on one CRL. What has expired may be left
	// out of the next: who has seen it does not forget.
	MaxRevoked = 1400
	// MaxRegistrarRevoked bounds the devices on a registrar's CRL, which
	// brings each one's credential as evidence that the registrar may.
	MaxRegistrarRevoked = 24
	// MaxRevokedRegistrars bounds the registrars on one CRL.
	MaxRevokedRegistrars = 64
	// MaxMeshWraps is how many devices one page of a new mesh key serves.
	MaxMeshWraps = 48
	// RegistrarWipesADay is how many wipe orders of one registrar, dated on one
	// day, are carried out; more need the authority, and revoke only.
	RegistrarWipesADay = 5
	// MaxSponsoring is how many live break-glass sponsorships one person has.
	MaxSponsoring = 5
	// maxGroups bounds the groups that a break-glass credential names.
	maxGroups = 16
	// What a trust store keeps is bounded for each signer, so that none can fill
	// the memory of everyone or shut out another: revoked devices of one
	// organisation, statements of one kind by one issuer, sponsorships that one
	// person takes back.
	maxKeptRevoked    = 1 << 16
	maxKeptStatements = 1 << 12
	maxKeptOfPerson   = 1 << 8
	// maxKeptOfRegistrar bounds one registrar's wipe orders: five for each day
	// of its life, and some more. What is over revokes and is not kept.
	maxKeptOfRegistrar = 1 << 8
	// maxWaiting bounds the statements that wait for one that they build on.
	maxWaiting = 64
	// maxSponsoredSeen bounds the sponsored credentials that are remembered
	// to count the sponsorships of each person.
	maxSponsoredSeen = 1 << 12
	// maxVouched bounds the sponsorships that this device has given and that
	// are remembered until they end.
	maxVouched = 64
	// maxSnapshot bounds a snapshot of a trust store that is read.
	maxSnapshot = 256 << 20
	// maxSponsorRequest bounds a sponsor request, maxSponsorship one answer.
	maxSponsorRequest = 16 << 10
	maxSponsorship    = 16 << 10

	maxHost   = 253 // RFC 1035 §2.3.4, in presentation form
	maxLabel  = 63
	maxName   = 128 // display name, bytes of UTF-8
	maxGrade  = 64
	maxODS    = 12
	maxRoles  = 16
	maxRole   = 32
	maxRegul  = 16
	maxNumber = 24
	maxSerial = 20 // RFC 5280 §4.1.2.2
	// maxCommonName is the upper bound of X.520 for a common name.
	maxCommonName = 64
)

const (
	// MaxLeafValidity bounds the life of both leaves when an authority issues
	// them. With no server to ask, expiry is the revocation that always works.
	MaxLeafValidity = 400 * 24 * time.Hour
	// MaxRegistrarValidity bounds a registrar's certificate.
	MaxRegistrarValidity = 30 * 24 * time.Hour
	// MaxRegistrarLeafValidity bounds the leaves that a registrar issues.
	MaxRegistrarLeafValidity = 7 * 24 * time.Hour
	// MaxTicketLife is the lease of a device: how far ahead a ticket may end.
	MaxTicketLife = 7 * 24 * time.Hour
	// MaxClockLead is how far a peer's clock may be ahead of ours before its
	// ticket is refused for ending too late.
	MaxClockLead = 24 * time.Hour
	// MaxBreakGlass bounds the life of a credential that three people vouch
	// for, [Backdate] included.
	MaxBreakGlass = 72 * time.Hour
	// MaxOwnDevice bounds the life of the credential that a person gives to a
	// further device of their own.
	MaxOwnDevice = 7 * 24 * time.Hour
	// GraceLife is how long an expired credential still admits while its
	// organisation has declared an incident.
	GraceLife = 14 * 24 * time.Hour
	// MaxWipeLife is how long after its date a wipe order can still be carried
	// out. It stays a revocation for ever.
	MaxWipeLife = 90 * 24 * time.Hour
	// RegistrarWipeDelay is how long after its date a registrar's wipe order may
	// reach a device and be carried out. What comes later revokes only.
	RegistrarWipeDelay = 24 * time.Hour
	// MaxDeclaration and MaxRegistrarDeclaration bound how long a declaration
	// of an incident holds before it must be renewed.
	MaxDeclaration          = 30 * 24 * time.Hour
	MaxRegistrarDeclaration = 7 * 24 * time.Hour
	// MaxMeetingAge is how old a meeting in person may be when a sponsor
	// vouches for the newcomer.
	MaxMeetingAge = time.Hour
	// FreshLife and AgeingLife are the ages of a CRL up to which it is called
	// fresh and ageing.
	FreshLife  = 24 * time.Hour
	AgeingLife = 7 * 24 * time.Hour
	// Backdate is how long before the moment of issue a certificate starts, so
	// that a device whose clock is slow can use it at once.
	Backdate = time.Hour
)
