package identity

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Person names a clinician: an organisation, the body that registers them and
// their number there. It is the same on each of their devices.
type Person struct {
	Org       string // host name of the organisation, "stmarys.nhs.example"
	Regulator string // "gmc", "nmc", "hcpc", "gphc" …, lower case
	Number    string // registration number, upper case, "7654321"
}

// String returns "org/regulator/number", which [ParsePerson] reads.
func (p Person) String() string {
	return p.Org + "/" + p.Regulator + "/" + p.Number
}

// IsZero reports whether p names nobody.
func (p Person) IsZero() bool { return p == Person{} }

// ParsePerson reads the form that [Person.String] writes, and no other.
func ParsePerson(s string) (Person, error) {
	org, rest, ok := strings.Cut(s, "/")
	regulator, number, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return Person{}, errors.New("identity: a person is written <organisation>/<regulator>/<number>, such as stmarys.nhs.example/gmc/7654321")
	}
	p := Person{Org: org, Regulator: regulator, Number: number}
	if err := p.Validate(); err != nil {
		return Person{}, err
	}
	return p, nil
}

// Validate says what is wrong with p, if anything. There is one spelling of
// every person, because two spellings would be two people to a machine.
func (p Person) Validate() error {
	if err := CheckOrg(p.Org); err != nil {
		return err
	}
	if !isToken(p.Regulator, maxRegul) {
		return fmt.Errorf("identity: the regulator %q is not 1 to %d lower-case letters, digits or hyphens", p.Regulator, maxRegul)
	}
	if p.Regulator == "device" || p.Regulator == "peer" {
		return fmt.Errorf("identity: %q is not a regulator: the word is reserved in credentials", p.Regulator)
	}
	if !isCode(p.Number, maxNumber) {
		return fmt.Errorf("identity: the registration number %q is not 1 to %d capital letters or digits", p.Number, maxNumber)
	}
	return p.checkNumber()
}

// numberShapes are the registration numbers of the regulators that publish
// one shape: 9 stands for a digit and A for a capital letter. The numbers of
// other regulators are taken as they are.
var numberShapes = [...]struct{ regulator, shape string }{
	{"gmc", "9999999"}, {"gphc", "9999999"}, {"nmc", "99A9999A"}, {"hcpc", "AA999999"},
}

func (p Person) checkNumber() error {
	for _, s := range numberShapes {
		if s.regulator == p.Regulator && !hasShape(p.Number, s.shape) {
			return fmt.Errorf("identity: %q is not a number of the %s, which look like %s (9 a digit, A a letter)",
				p.Number, strings.ToUpper(p.Regulator), s.shape)
		}
	}
	return nil
}

func hasShape(s, shape string) bool {
	if len(s) != len(shape) {
		return false
	}
	for i := range len(s) {
		digit := s[i] >= '0' && s[i] <= '9'
		if digit != (shape[i] == '9') {
			return false
		}
	}
	return true
}

// CheckOrg says whether org can name an organisation: a host name of at least
// two labels in lower case, without a final dot (RFC 1123 §2.1). It need not
// resolve.
func CheckOrg(org string) error {
	labels := strings.Split(org, ".")
	if len(org) > maxHost || len(labels) < 2 {
		return fmt.Errorf("identity: the organisation %q is not a host name such as stmarys.nhs.example", org)
	}
	for _, l := range labels {
		if !isToken(l, maxLabel) || l[0] == '-' || l[len(l)-1] == '-' {
			return fmt.Errorf("identity: the organisation %q is not a host name in lower case such as stmarys.nhs.example", org)
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return fmt.Errorf("identity: the organisation %q looks like a network address, not a name", org)
	}
	return nil
}

// isToken reports whether s is 1 to limit characters of a–z, 0–9 and hyphen.
func isToken(s string, limit int) bool {
	return isMadeOf(s, limit, func(c byte) bool { return 'a' <= c && c <= 'z' || c == '-' })
}

// isCode reports whether s is 1 to limit characters of A–Z and 0–9.
func isCode(s string, limit int) bool {
	return isMadeOf(s, limit, func(c byte) bool { return 'A' <= c && c <= 'Z' })
}

func isMadeOf(s string, limit int, letter func(byte) bool) bool {
	if len(s) == 0 || len(s) > limit {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !letter(c) && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// isDisplayText reports whether s can be shown without deceiving: valid UTF-8
// of at most limit bytes, no control characters, none of the invisible
// characters that turn writing around, no space at the ends.
func isDisplayText(s string, limit int) bool {
	if len(s) > limit || !utf8.ValidString(s) || strings.TrimSpace(s) != s {
		return false
	}
	for _, r := range s {
		if unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) {
			return false
		}
	}
	return true
}

const scheme = "tocsin://"

// uri returns tocsin://host/kind/value.
func uri(host, kind, value string) string {
	return scheme + host + "/" + kind + "/" + value
}

// splitURI is the inverse of uri. It knows no ports, users, queries, escapes
// or empty parts: those would be second spellings.
func splitURI(s string) (host, kind, value string, ok bool) {
	rest, found := strings.CutPrefix(s, scheme)
	parts := strings.Split(rest, "/")
	if !found || len(parts) != 3 {
		return "", "", "", false
	}
	if CheckOrg(parts[0]) != nil || !isToken(parts[1], maxRegul) || parts[2] == "" {
		return "", "", "", false
	}
	return parts[0], parts[1], parts[2], true
}
