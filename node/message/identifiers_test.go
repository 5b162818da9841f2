package message

import (
	"strings"
	"testing"
	"time"
)

func TestNHSNumber(t *testing.T) {
	for s, want := range map[string]bool{
		"9434765919": true, "9434765918": false, "943 476 5919": true, "943-476-5919": true, "9990000018": true, "9990000042": true,
		"943476591": false, "94347659190": false, "943476591x": false, "": false, "0000000000": true,
	} {
		if got := ValidNHSNumber(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func TestIdentifiersAreNoticed(t *testing.T) {
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		text string
		want map[Identifier]string
	}{
		{"Patient 9434765919 in bed 4", map[Identifier]string{NHSNumber: "9434765919"}},
		{"Patient 9434765918 in bed 4", nil},
		{"NHS 943 476 5919, SW1A 1AA", map[Identifier]string{NHSNumber: "943 476 5919", Postcode: "SW1A 1AA"}},
		{"lives at m1 1ae", map[Identifier]string{Postcode: "m1 1ae"}},
		{"DOB 3/11/2026, K+ 6.8", map[Identifier]string{DateOfBirth: "3/11/2026"}},
		{"born on 12th March 1956", map[Identifier]string{DateOfBirth: "12th March 1956"}},
		{"1956-03-12 female", map[Identifier]string{DateOfBirth: "1956-03-12"}},
		{"Seen 20/11/2026, review 23.11.2026", nil}, // dates of the case
		{"31/02/1956", nil},
		{"ring 07700 900123", map[Identifier]string{Telephone: "07700 900123"}},
		{"ring +44 (0)20 7946 0123 now", map[Identifier]string{Telephone: "+44 (0)20 7946 0123"}},
		{"Give 5ml of E1 5ml stock, BP 120/80, 10 mg at 14:05", nil},
		{"Casualty A-017, P1, call sign M1", nil},
		{"ref 1943476591900", nil}, // a longer number
		{"", nil},
	} {
		got := Identifiers(c.text, now)
		if len(got) != len(c.want) {
			t.Errorf("%q: found %v", c.text, got)
			continue
		}
		for _, f := range got {
			if c.want[f.Kind] != c.text[f.From:f.To] {
				t.Errorf("%q: found %s %q", c.text, f.Kind, c.text[f.From:f.To])
			}
			if f.Kind.Words() == "" {
				t.Errorf("%s has no words", f.Kind)
			}
		}
	}
}

func TestReplaceIdentifiers(t *testing.T) {
	text := "J.S. 9434765919, DOB 12/03/1956."
	got := Replace(text, Identifiers(text, sent), "bed 4")
	if got != "J.S. bed 4, DOB bed 4." || len(Identifiers(got, sent)) != 0 {
		t.Errorf("%q", got)
	}
}

func FuzzIdentifiers(f *testing.F) {
	for _, s := range []string{"9434765919", "DOB 12/03/1956 SW1A 1AA", "+44 20 7946 0123", "é9434765919"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		found := Identifiers(s, sent)
		end := 0
		for _, one := range found {
			if one.From < end || one.To <= one.From || one.To > len(s) {
				t.Fatalf("%q: %v", s, found)
			}
			end = one.To
		}
		if left := Replace(s, found, "*"); strings.Count(left, "*") < len(found) {
			t.Fatalf("%q becomes %q", s, left)
		}
	})
}
