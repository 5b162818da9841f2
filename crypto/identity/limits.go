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
	// MaxTicket bounds an encoded ticket.
	MaxTicket = 512
	// MaxRequest bounds an encoded enrolment request.
	MaxRequest = 4 << 10
	// MaxBundle bounds an encoded trust bundle.
	MaxBundle = 256 << 10
	// MaxEnrolment bounds an encoded enrolment.
	MaxEnrolment = MaxBundle + MaxCredential + MaxAdmission + 4<<10
	// MaxPEM bounds a PEM file of ours: base64 of the largest object.
	MaxPEM = MaxEnrolment*3/2 + 1<<10

	// MaxRoots bounds the authorities of one trust bundle.
	MaxRoots = 64
	// maxSponsors bounds the sponsorships of one credential: three for
	// break-glass.
	maxSponsors = 3
	// maxSealedKey bounds a sealed mesh key: 1,120 bytes of encapsulation,
	// 32 of key, 16 of tag.
	maxSealedKey = 2 << 10

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
	// Backdate is how long before the moment of issue a certificate starts, so
	// that a device whose clock is slow can use it at once.
	Backdate = time.Hour
)
