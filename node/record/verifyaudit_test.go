package record

import (
	"encoding/base64"
	"strings"
	"testing"
)

// Who said that messages were transferred or exported, and when, is compared with the signed header of its entry; and in a document no evidence may show
// to people something else than it says to programs.
func TestPackageEvidence(t *testing.T) {
	w, doc := honest(t)
	control, err := VerifyPackage(strings.NewReader(doc), w.trust)
	must(t, err)
	if control.Audits != 4 || control.Signed == 0 || len(control.Faults) > 0 {
		t.Fatalf("the control: %+v", control)
	}
	transfer := entryWith(t, doc, `"code":"transmit"`)
	receipt := entryWith(t, doc, `"code":"access"`)
	agent := referenceIn(t, transfer, "agent")
	other := referenceIn(t, entryWith(t, doc, `"contentString":"On our way"`), "sender")
	if other == agent {
		other = referenceIn(t, entryWith(t, doc, `"contentString":"Give 50 mg"`), "sender")
	}
	header := transfer[strings.Index(transfer, `"valueBase64Binary":"`)+21:]
	header = header[:strings.Index(header, `"`)]
	for _, c := range []struct {
		name, entry, from, to string
		returned              bool // found in what an endpoint returned, too
	}{
		{"who said it", transfer, agent, other, true},
		{"who observed it", transfer, `"observer":{"reference":"` + agent, `"observer":{"reference":"` + other, true},
		{"where", transfer, `"site":"`, `"site":"x`, true},
		{"when", transfer, `"recorded":"2026-`, `"recorded":"2025-`, true},
		{"of which entry", transfer, `"valueBase64Binary":"` + header, `"valueBase64Binary":"` + headerOf(t, doc, `"contentString":"Give 50 mg"`), true},
		{"a header that nobody signed", transfer, header[len(header)-20:], "AAAAAAAAAAAAAAAAAAA=", true},
		{"a header that is none", transfer, header, "!", true},
		{"one message fewer, to programs", transfer, `"entity":[`, `"entity":[],"x":[`, false},
		{"read for delivered, to programs", receipt, `"code":"access"`, `"code":"receive"`, false},
		{"another time, to people", receipt, ` by the device&#39;s own clock`, `0 by the device&#39;s own clock`, false},
	} {
		for how, of := range map[string]func(string) string{"as exported": func(s string) string { return s }, "as returned": returnedAs} {
			if how == "as returned" && !c.returned {
				continue
			}
			rep, err := VerifyPackage(strings.NewReader(of(altering(t, doc, c.entry, c.from, c.to))), w.trust)
			must(t, err)
			found := false
			for _, f := range rep.Faults {
				found = found || f.Rule == RuleProof && strings.HasPrefix(f.Where, "evidence ")
			}
			if !found || rep.Proved != control.Proved {
				t.Errorf("%s, %s: %d of %d proved; %v", c.name, how, rep.Proved, control.Proved, rep.Faults)
			}
		}
	}
	// The header of something else that the same person signed, with its time: only the id tells.
	words := `"contentString":"Give 50 mg"`
	if referenceIn(t, entryWith(t, doc, words), "sender") != agent {
		words = `"contentString":"On our way"`
	}
	between := func(s, after string) string {
		_, rest, _ := strings.Cut(s, after)
		return rest[:strings.Index(rest, `"`)]
	}
	swapped := strings.Replace(transfer, header, headerOf(t, doc, words), 1)
	swapped = strings.Replace(swapped, between(transfer, `"recorded":"`), between(entryWith(t, doc, words), `"sent":"`), 1)
	rep, err := VerifyPackage(strings.NewReader(returnedAs(strings.Replace(doc, transfer, swapped, 1))), w.trust)
	must(t, err)
	if len(rep.Faults) != 1 || !strings.Contains(rep.Faults[0].What, "its header is of entry") {
		t.Errorf("the header of another entry: %v", rep.Faults)
	}
	twice := strings.Replace(doc, transfer, transfer+","+strings.Replace(transfer, `"fullUrl":"urn:uuid:`, `"fullUrl":"urn:uuid:0`, 1), 1)
	rep, err = VerifyPackage(strings.NewReader(twice), w.trust)
	must(t, err)
	if len(rep.Faults) == 0 {
		t.Error("two pieces of evidence of one entry pass")
	}
}

// headerOf is the signed header of a message, as evidence would carry it.
func headerOf(t *testing.T, doc, words string) string {
	t.Helper()
	provenance := entryWith(t, doc, entryID(entryWith(t, doc, words))+"-provenance")
	var signed []byte
	for _, part := range []string{`"valueBase64Binary":"`, `"data":"`} {
		_, rest, ok := strings.Cut(provenance, part)
		if !ok {
			t.Fatal("its Provenance has no signed header")
		}
		b, err := base64.StdEncoding.DecodeString(rest[:strings.Index(rest, `"`)])
		must(t, err)
		signed = append(signed, b...)
	}
	return base64.StdEncoding.EncodeToString(signed)
}
