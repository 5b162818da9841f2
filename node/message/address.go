package message

import (
	"fmt"
	"strings"
)

// An address is whom a call-out, a task, an alert or a role names: "role:medical-registrar", whoever holds that role at the
// time, or "person:nhs.example/gmc/7654321", a person by organisation, regulator and registration number as their credential
// has them. It never is a name: names come from credentials.

// MaxAddress is the most bytes in an address.
const MaxAddress = 160

// RoleAddress and PersonAddress write addresses.
func RoleAddress(role string) string { return "role:" + role }

// PersonAddress writes the address of a person as credentials name one, "org/regulator/number".
func PersonAddress(person string) string { return "person:" + person }

// RoleOf returns the role that an address names, PersonOf the person.
func RoleOf(address string) (string, bool) { return strings.CutPrefix(address, "role:") }

// PersonOf returns the person that an address names, "org/regulator/number".
func PersonOf(address string) (string, bool) { return strings.CutPrefix(address, "person:") }

// checkAddress refuses everything but the two forms. Letters are ASCII: no other letter can be taken for one of them.
func checkAddress(s string) error {
	if role, ok := RoleOf(s); ok {
		return checkRole(role)
	}
	if person, ok := PersonOf(s); ok {
		parts := strings.Split(person, "/")
		if len(parts) == 3 && !strings.ContainsFunc(person, notAddress) && parts[0] != "" && parts[1] != "" && parts[2] != "" {
			return nil
		}
	}
	return fmt.Errorf("is no address; write role:medical-registrar or person:nhs.example/gmc/7654321")
}

func notAddress(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-./", r)
}

// MaxRole is the most bytes in the name of an on-duty role.
const MaxRole = 48

// checkRole holds the form of the name of an on-duty role: "medical-registrar".
func checkRole(s string) error {
	ok := len(s) > 0 && len(s) <= MaxRole && s[0] != '-' && s[len(s)-1] != '-'
	for _, c := range []byte(s) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
	}
	if !ok {
		return fmt.Errorf("is no role; write it in small letters, digits and hyphens, such as medical-registrar")
	}
	return nil
}

// shapedValue is one line with a form of its own.
type shapedValue struct {
	textValue
	shape func(string) error
}

func role(p *string) shapedValue    { return shapedValue{line(p, MaxRole), checkRole} }
func address(p *string) shapedValue { return shapedValue{line(p, MaxAddress), checkAddress} }

func addresses(p *[]string, most int) listValue {
	return listValue{p: p, max: most, each: MaxAddress, shape: checkAddress, human: addressWords}
}

func (v shapedValue) set(values []string) error {
	if err := v.textValue.set(values); err != nil || v.Zero() {
		return err
	}
	return v.shape(*v.p)
}

func (v shapedValue) check() error {
	if err := v.textValue.check(); err != nil {
		return err
	}
	return v.shape(*v.p)
}

func (v shapedValue) Human() string { return addressWords(*v.p) }

// addressWords is an address as people read it; what is none stays as it is.
func addressWords(s string) string {
	if r, ok := RoleOf(s); ok {
		return strings.ReplaceAll(r, "-", " ")
	}
	return strings.TrimPrefix(s, "person:")
}
