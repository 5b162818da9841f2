package message

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Any message that stands for itself can say whom it is for; what it names is an address and never a name.
func TestMessageIsFor(t *testing.T) {
	registrar, amal := RoleAddress("medical-registrar"), PersonAddress("nhs.example/gmc/7654321")
	m := Message{Sent: sent, Content: &Text{Body: "x"}, For: []string{registrar, amal}}
	b, err := Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(b)
	if err != nil || !slices.Equal(got.For, m.For) {
		t.Errorf("for %v, %v", got.For, err)
	}
	if to := Redirect(got, func(EntryID) EntryID { return id(1) }); len(to.For) != 2 {
		t.Error("a message that is pointed elsewhere is for nobody")
	}
	var nine []string
	for i := range MaxFor + 1 {
		nine = append(nine, RoleAddress(fmt.Sprintf("role-%d", i)))
	}
	for name, to := range map[string][]string{
		"a name":      {"Dr Amal"},
		"Cyrillic":    {"role:medical-registr\u0430r"},
		"hidden":      {"role:medical\u202e-registrar"},
		"twice":       {registrar, registrar},
		"too many":    nine,
		"too long":    {"person:" + strings.Repeat("a", MaxAddress) + "/b/c"},
		"nobody":      {""},
		"other forms": {"group:all"},
	} {
		if _, err := Encode(Message{Sent: sent, Content: &Text{Body: "x"}, For: to}); !errors.Is(err, ErrInvalid) {
			t.Errorf("for %s: %v", name, err)
		}
	}
	for _, c := range samples() {
		_, err := Encode(Message{Sent: sent, Content: c, For: []string{registrar}})
		if c.Kind().Addressable() != (err == nil) {
			t.Errorf("%s: addressable %v: %v", c.Kind(), c.Kind().Addressable(), err)
		}
	}
}
