package identity

import (
	"strings"
	"testing"
)

func TestPerson(t *testing.T) {
	for _, s := range []string{
		"stmarys.nhs.example/gmc/7654321",
		"a.b/gphc/1234567",
		"x-1.nhs.example/nmc/99A1234B",
		"stmarys.nhs.example/hcpc/PA123456",
		"stmarys.nhs.example/relay/WARD7",
		strings.Repeat("a", 63) + ".example/other-body/0",
	} {
		p, err := ParsePerson(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
		}
		if p.String() != s || p.IsZero() {
			t.Errorf("%s reads back as %s", s, p)
		}
	}
	for _, s := range []string{
		"", "a", "a/b", "a.b/gmc", "a.b/gmc/", "a.b//1", "/gmc/7654321",
		"a.b/gmc/765432", "a.b/gmc/76543210", "a.b/gmc/765432A", "a.b/nmc/99A12345", "a.b/hcpc/pa123456",
		"a.b/GMC/7654321", "a.b/device/1", "a.b/peer/1", "a.b/gmc/7654321/x", "a.b/x/1 ", "a.b/x/1?2",
		"a/gmc/7654321", "A.b/gmc/7654321", "a..b/gmc/7654321", "a.b./gmc/7654321", ".a.b/gmc/7654321",
		"-a.b/gmc/7654321", "a-.b/gmc/7654321", "a_b.c/gmc/7654321", "10.0.0.1/gmc/7654321", "a.b:1/gmc/7654321",
		strings.Repeat("a", 64) + ".b/gmc/7654321", strings.Repeat("a.", 127) + "b/gmc/7654321",
		"a.b/" + strings.Repeat("r", 17) + "/1", "a.b/x/" + strings.Repeat("1", 25), "a.é/gmc/7654321",
	} {
		if p, err := ParsePerson(s); err == nil {
			t.Errorf("%q is read as %+v", s, p)
		} else if !strings.HasPrefix(err.Error(), "identity: ") {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestDisplayText(t *testing.T) {
	for s, want := range map[string]bool{
		"": true, "Dr Amara Okafor": true, "Siân O’Neill-李": true, "a\tb": false, "a\u200fb": false, "a\u2066b": false,
		"a\u2028b": false, "\xff": false, " a": false, "a\u00a0": false, "a\u0000": false, "\ue000": false, "12345678901": true,
		"123456789012345678901": false,
	} {
		if isDisplayText(s, 20) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}

func FuzzParsePerson(f *testing.F) {
	f.Add("stmarys.nhs.example/gmc/7654321")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParsePerson(s); err == nil && p.String() != s {
			t.Errorf("%q reads back as %q", s, p)
		}
	})
}
