package identity

import "encoding/asn1"

// The object identifiers of the profile stand under the enterprise number that
// IANA keeps for examples (RFC 5612), until the project has a number of its
// own; they are listed here and nowhere else. An identifier under 2.25 (a
// UUID) is not possible: its arc has 128 bits and crypto/x509 refuses
// certificates with extension arcs of more than 31.
const arc = "1.3.6.1.4.1.32473.1"

// The same identifiers in dotted form, for tools such as openssl.
const (
	// DottedAdmissionUsage is the extended key usage of the admission leaf.
	DottedAdmissionUsage = arc + ".1.1"
	// DottedCredentialUsage is the extended key usage of the credential leaf.
	DottedCredentialUsage = arc + ".1.2"
	// DottedClaims is the claims extension of the credential leaf.
	DottedClaims = arc + ".2.1"
	// DottedTicketKey is the ticket key extension of the admission leaf.
	DottedTicketKey = arc + ".2.2"
	// DottedGrant is the extension of a registrar's certificate that names the
	// roles it may grant.
	DottedGrant = arc + ".2.3"
	// DottedGroups is the extension of a break-glass credential that names the
	// groups it may join.
	DottedGroups = arc + ".2.4"
)

// oids are built by functions and not kept in variables: an ObjectIdentifier
// is a slice, and a package variable could be changed.
func oidTocsin(group, n int) asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1, group, n}
}

func oidAdmissionUsage() asn1.ObjectIdentifier  { return oidTocsin(1, 1) }
func oidCredentialUsage() asn1.ObjectIdentifier { return oidTocsin(1, 2) }
func oidClaims() asn1.ObjectIdentifier          { return oidTocsin(2, 1) }
func oidTicketKey() asn1.ObjectIdentifier       { return oidTocsin(2, 2) }
func oidGrant() asn1.ObjectIdentifier           { return oidTocsin(2, 3) }
func oidGroups() asn1.ObjectIdentifier          { return oidTocsin(2, 4) }

// RFC 5280 §4.2.1.
func oidKeyUsage() asn1.ObjectIdentifier         { return asn1.ObjectIdentifier{2, 5, 29, 15} }
func oidAltName() asn1.ObjectIdentifier          { return asn1.ObjectIdentifier{2, 5, 29, 17} }
func oidBasicConstraints() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 19} }
func oidNameConstraints() asn1.ObjectIdentifier  { return asn1.ObjectIdentifier{2, 5, 29, 30} }
func oidExtendedUsage() asn1.ObjectIdentifier    { return asn1.ObjectIdentifier{2, 5, 29, 37} }

// X.520.
func oidOrganisation() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 4, 10} }
