package identity

import (
	"errors"
	"fmt"
)

var (
	// ErrRefused is wrapped by every refusal of a certificate, chain, claim or
	// ticket that breaks a rule of the profile. [Reason] names the rule.
	ErrRefused = errors.New("identity: breaks the certificate profile")
	// ErrForeign says that no authority of this mesh's trust bundle vouches
	// for the chain.
	ErrForeign = errors.New("identity: not issued by an authority of this mesh")
	// ErrExpired says that a certificate or ticket is not valid at the time
	// asked about: it has ended, or it has not begun.
	ErrExpired = errors.New("identity: not valid at this time")
	// ErrSponsored says that a credential is of the sponsored form, which this
	// version reads but does not accept.
	ErrSponsored = errors.New("identity: sponsored credentials are not accepted by this version")
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
	checkSponsored       check = "sponsored"
	checkTicketEncoding  check = "ticket-encoding"
	checkTicketHolder    check = "ticket-holder"
	checkTicketPeer      check = "ticket-peer"
	checkTicketSignature check = "ticket-signature"
	checkTicketEnded     check = "ticket-ended"
	checkTicketLease     check = "ticket-lease"
)

// refusal is the one error of the verifier.
type refusal struct {
	check  check
	kind   error  // ErrRefused, ErrForeign, ErrExpired or ErrSponsored
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
