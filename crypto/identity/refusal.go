package identity

import (
	"errors"
	"fmt"
)

var (
	// ErrRefused is wrapped by every refusal of a certificate, chain, claim,
	// ticket or statement that breaks a rule of the profile. [Reason] names the rule.
	ErrRefused = errors.New("identity: breaks the certificate profile")
	// ErrForeign says that no authority of this mesh's trust bundle vouches
	// for the chain.
	ErrForeign = errors.New("identity: not issued by an authority of this mesh")
	// ErrExpired says that a certificate or ticket is not valid at the time
	// asked about: it has ended, or it has not begun.
	ErrExpired = errors.New("identity: not valid at this time")
	// ErrRevoked says that the device, its issuer or its authority has been
	// taken out of the mesh by a statement.
	ErrRevoked = errors.New("identity: revoked")
	// ErrRolledBack says that a statement is not newer than what is known.
	// Old entries bring old statements: this is no alarm.
	ErrRolledBack = errors.New("identity: a newer statement is known")
	// ErrPostDated says that a statement is dated more than a day ahead of the
	// clock of this device: one of the two clocks is wrong.
	ErrPostDated = errors.New("identity: dated more than a day ahead of this device's clock")
	// ErrBeyond says that the signer of a statement may not do what it says.
	ErrBeyond = errors.New("identity: beyond the powers of its signer")
	// ErrEarly says that a statement builds on another that has not come. The
	// trust store keeps it and applies it by itself when it can.
	ErrEarly = errors.New("identity: builds on a statement that has not come yet")
)

// check names one rule of the profile. The name is part of the error, so that
// the test of a rule proves that this rule refused and not another one, and it
// is content-free, so that it may be counted and logged.
type check string

// The rules, in the order in which a chain meets them. PROFILE.md explains
// each and names its test.
const (
	checkChainEncoding   check = "chain-encoding"
	checkChainSize       check = "chain-size"
	checkDepth           check = "depth"
	checkCertSize        check = "certificate-size"
	checkParse           check = "certificate-encoding"
	checkOuter           check = "signature-encoding"
	checkVersion         check = "version"
	checkSerial          check = "serial"
	checkCritical        check = "critical-extension"
	checkIssuer          check = "issuer"
	checkAlgorithm       check = "signature-algorithm"
	checkSignature       check = "signature"
	checkSelfSigned      check = "self-signed"
	checkValidity        check = "validity"
	checkNesting         check = "validity-nesting"
	checkCAKey           check = "issuer-key"
	checkPathLength      check = "path-length"
	checkKeyUsage        check = "key-usage"
	checkExtendedUsage   check = "extended-key-usage"
	checkConstraints     check = "name-constraints"
	checkHost            check = "host"
	checkSubject         check = "subject"
	checkGrant           check = "registrar-grant"
	checkRegistrarLife   check = "registrar-validity"
	checkLeafCA          check = "leaf-is-issuer"
	checkLeafKey         check = "leaf-key"
	checkLeafLife        check = "leaf-validity"
	checkRegistrarLeaf   check = "registrar-leaf-validity"
	checkAltNameMissing  check = "san-missing"
	checkAltNameKind     check = "san-kind"
	checkAltNameCount    check = "san-count"
	checkAltNameEncoding check = "san-encoding"
	checkURI             check = "san-uri"
	checkPerson          check = "person"
	checkDevice          check = "device-id"
	checkPeer            check = "peer-id"
	checkStolen          check = "peer-proof"
	checkTicketKey       check = "ticket-key"
	checkLeak            check = "admission-claims"
	checkClaims          check = "claims"
	checkClaimsValue     check = "claims-value"
	checkRoles           check = "roles"
	checkWitness         check = "witness-key"
	checkBundleKey       check = "bundle-key"
	checkDistinct        check = "distinct-keys"
	checkTime            check = "time"
	checkForm            check = "form"
	checkTicketEncoding  check = "ticket-encoding"
	checkTicketHolder    check = "ticket-holder"
	checkTicketPeer      check = "ticket-peer"
	checkTicketSignature check = "ticket-signature"
	checkTicketEnded     check = "ticket-ended"
	checkTicketLease     check = "ticket-lease"
	checkTicketSponsored check = "ticket-sponsored"
)

// The rules of credentials and admission leaves that people vouch for
// (sponsored.go).
const (
	checkSponsorCount     check = "sponsor-count"
	checkSponsorOrder     check = "sponsor-order"
	checkSponsorSignature check = "sponsor-signature"
	checkSponsorIssued    check = "sponsor-issued"
	checkSponsorFlag      check = "sponsor-provisional"
	checkSponsorPerson    check = "sponsor-person"
	checkSponsorSenior    check = "sponsor-senior"
	checkSponsorHost      check = "sponsor-host"
	checkSponsorRoles     check = "sponsor-roles"
	checkSponsorLife      check = "sponsor-validity"
	checkSponsorNesting   check = "sponsor-validity-nesting"
	checkSponsorGroups    check = "sponsor-groups"
	checkSponsorRelay     check = "sponsor-relay"
	checkSponsorLive      check = "sponsor-live"
	checkSponsorMet       check = "sponsor-met"
	checkSponsorRevoked   check = "sponsor-revoked"
)

// The rules of statements, and of what they do to credentials
// (statement.go, take.go, standing.go).
const (
	checkStatementSize      check = "statement-size"
	checkStatementEncoding  check = "statement-encoding"
	checkStatementMesh      check = "statement-mesh"
	checkStatementSigner    check = "statement-signer"
	checkStatementSignature check = "statement-signature"
	checkStatementPower     check = "statement-power"
	checkStatementDate      check = "statement-date"
	checkStatementTime      check = "statement-time"
	checkStatementFull      check = "statement-full"
	checkCRLEntries         check = "crl-entries"
	checkCRLNumber          check = "crl-number"
	checkCRLTime            check = "crl-time"
	checkEvidence           check = "evidence"
	checkEvidenceHost       check = "evidence-host"
	checkEvidenceRoles      check = "evidence-roles"
	checkWipeLife           check = "wipe-validity"
	checkReceiptOrder       check = "receipt-order"
	checkReceiptKey         check = "receipt-key"
	checkDeclarationNumber  check = "declaration-number"
	checkDeclarationLife    check = "declaration-validity"
	checkSponsorVoice       check = "sponsor-voice"
	checkBundleNumber       check = "bundle-number"
	checkBundleGap          check = "bundle-gap"
	checkBundlePrevious     check = "bundle-previous"
	checkBundleSignature    check = "bundle-signature"
	checkBundleMajority     check = "bundle-majority"
	checkMeshKeyNumber      check = "mesh-key-number"
	checkMeshKeyEarly       check = "mesh-key-early"
	checkAdminTime          check = "group-admin-time"
	checkRevoked            check = "revoked"
	checkWiped              check = "wiped"
	checkRegistrarRevoked   check = "registrar-revoked"
	checkWithdrawn          check = "root-withdrawn"
	checkRollEncoding       check = "key-roll-encoding"
	checkRollSignature      check = "key-roll-signature"
	checkRollPerson         check = "key-roll-person"
)

// refusal is the one error of the verifier.
type refusal struct {
	check  check
	kind   error  // ErrRefused or another of the errors above
	detail string // a sentence without names, numbers or roles
}

func (r *refusal) Error() string {
	return fmt.Sprintf("%v (%s): %s", r.kind, r.check, r.detail)
}

func (r *refusal) Unwrap() error { return r.kind }

func refuse(c check, format string, args ...any) error {
	return &refusal{check: c, kind: ErrRefused, detail: fmt.Sprintf(format, args...)}
}

func refuseAs(kind error, c check, format string, args ...any) error {
	return &refusal{check: c, kind: kind, detail: fmt.Sprintf(format, args...)}
}

// Reason returns the name of the rule that refused, for counters and logs: a
// fixed word without content, such as "host" or "time". It is "other" for an
// error that no rule made, and "" for nil.
func Reason(err error) string {
	if err == nil {
		return ""
	}
	var r *refusal
	if errors.As(err, &r) {
		return string(r.check)
	}
	return "other"
}
