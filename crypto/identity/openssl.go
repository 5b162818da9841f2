package identity

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The profile in the words of openssl, for an organisation whose own CA or
// hardware module issues. What openssl 3 makes with it passes our verifier,
// and `openssl verify` accepts what we make; a test runs both.

// OpenSSLAuthorityConfig returns a configuration for `openssl req -x509` that
// makes the root certificate of an authority:
//
//	openssl req -x509 -config authority.cnf -newkey ed25519 -days 3650 \
//	    -noenc -keyout authority.key -out authority.pem
//
// For ECDSA say "-newkey ec -pkeyopt ec_paramgen_curve:P-384 -sha384" instead.
// A key made by openssl can be read with [ParseAuthorityPEM].
func OpenSSLAuthorityConfig(org, name string) ([]byte, error) {
	if err := CheckOrg(org); err != nil {
		return nil, err
	}
	if name == "" || !isDisplayText(name, maxCommonName) {
		return nil, errors.New("identity: the name of an authority is 1 to 64 bytes of plain text")
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `# Tocsin: the root certificate of an authority.
[ req ]
prompt = no
utf8 = yes
string_mask = utf8only
distinguished_name = subject
x509_extensions = authority

[ subject ]
O = %s
CN = %s

[ authority ]
basicConstraints = critical, CA:TRUE, pathlen:1
keyUsage = critical, keyCertSign, cRLSign
nameConstraints = critical, permitted;URI:%s
subjectKeyIdentifier = hash
`, org, escapeConfig(name), org)
	return b.Bytes(), nil
}

// escapeConfig quotes what means something in a configuration of openssl.
func escapeConfig(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune("\\$#\"'`;=,[]", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// OpenSSLConfig returns a configuration with the extensions of both leaves for
// r, as g would grant them (Roles, Relay and Provisional are used). The keys
// come from the request, as [KeyPEM] of Transport and of Signing:
//
//	openssl x509 -new -force_pubkey transport.pem -subj /O=<org> -days 365 \
//	    -CA authority.pem -CAkey authority.key \
//	    -extfile leaves.cnf -extensions admission -out admission.pem
//	openssl x509 -new -force_pubkey signing.pem -subj /O=<org> -days 365 \
//	    -CA authority.pem -CAkey authority.key \
//	    -extfile leaves.cnf -extensions credential -out credential.pem
//
// with "-sha384" for an ECDSA authority. [AssembleEnrolment] makes an
// enrolment of the two. openssl does not check the request's signatures:
// having parsed it, we did.
func (r *Request) OpenSSLConfig(g Grant) ([]byte, error) {
	claims, err := g.claims(r)
	if err != nil {
		return nil, err
	}
	encoded, err := claims.marshal()
	if err != nil {
		return nil, err
	}
	admission, credential := r.names()
	ticket := TicketKey(r.signing)
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Tocsin: both leaves of the request with the fingerprint\n# %s\n", r.Fingerprint())
	writeLeafSection(&b, "admission", DottedAdmissionUsage, DottedTicketKey, ticket[:], admission)
	writeLeafSection(&b, "credential", DottedCredentialUsage, DottedClaims, encoded, credential)
	return b.Bytes(), nil
}

// writeLeafSection writes the names in words, so that whoever signs can read
// for whom, and our own extension in DER, so that openssl has no say in it.
func writeLeafSection(b *bytes.Buffer, name, usage, oid string, value []byte, uris []string) {
	fmt.Fprintf(b, `
[ %s ]
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, %s
authorityKeyIdentifier = keyid
subjectAltName = URI:%s
%s = DER:%s
`, name, usage, strings.Join(uris, ", URI:"), oid, hex.EncodeToString(derOctets(value)))
}

// ParseChainPEM reads the certificates of a file, leaf first, as other tools
// write them: nothing but CERTIFICATE blocks. It returns their DER, for
// [AssembleEnrolment].
func ParseChainPEM(text []byte) ([][]byte, error) {
	const end = "-----END CERTIFICATE-----"
	var out [][]byte
	for rest := bytes.TrimSpace(text); len(rest) > 0; {
		i := bytes.Index(rest, []byte(end))
		if i < 0 || len(out) == MaxDepth {
			return nil, fmt.Errorf("identity: the file holds something else than 1 to %d certificates in PEM", MaxDepth)
		}
		block := rest[:i+len(end)]
		rest = bytes.TrimSpace(rest[len(block):])
		c, err := ParseCertificatePEM(slices.Clone(block))
		if err != nil {
			return nil, err
		}
		out = append(out, c.Raw)
	}
	if len(out) == 0 {
		return nil, errors.New("identity: the file holds no certificate")
	}
	return out, nil
}
