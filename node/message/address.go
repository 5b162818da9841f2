package message

import (
	"fmt"
	"slices"
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

// MaxFor is the most addresses of one message.
const MaxFor = 8

// Addressable reports whether messages of the kind can say whom they are for ([Message.For]). Alerts and tasks have a field for it, what
// belongs to an earlier message is for whom that was, and what devices make is for nobody in particular.
func (k Kind) Addressable() bool {
	switch k {
	case KindReceipt, KindCallOutAnswer, KindCallOutClose, KindTask, KindTaskUpdate, KindAlert, KindAlertCancel, KindEscalation, KindRole,
		KindRetract, KindTransferred, KindHold, KindHoldEnd, KindErase, KindDisclosed:
		return false
	}
	return true
}

// checkFor holds the rules of [Message.For].
func (m Message) checkFor() error {
	switch {
	case len(m.For) == 0:
		return nil
	case !m.Kind().Addressable():
		return fmt.Errorf("%w: a message of kind %s is not addressed with \"for\"; leave it out, or use the field of the form that says whom it is for", ErrInvalid, m.logKind())
	case len(m.For) > MaxFor:
		return fmt.Errorf("%w: it is for %d addresses, at most %d fit; leave them all out to address everybody", ErrInvalid, len(m.For), MaxFor)
	}
	for i, to := range m.For {
		if len(to) > MaxAddress {
			return fmt.Errorf("%w: an address has %d bytes, at most %d fit", ErrInvalid, len(to), MaxAddress)
		}
		if err := checkAddress(to); err != nil {
			return fmt.Errorf("%w: whom it is for, number %d, %w", ErrInvalid, i+1, err)
		}
		if slices.Contains(m.For[:i], to) {
			return fmt.Errorf("%w: it names whom it is for twice; name each once", ErrInvalid)
		}
	}
	return nil
}

// AddressWords is an address as people read it: a role with spaces, a person as "org/regulator/number".
func AddressWords(address string) string { return addressWords(address) }

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
