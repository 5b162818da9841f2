package record

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"tocsin/ledger"
	"tocsin/node/message"
)

// entryWith is the entry of a package whose text holds some words.
func entryWith(t testing.TB, doc, words string) string {
	t.Helper()
	found := ""
	must(t, readBundle(strings.NewReader(doc), func(string, any) {}, func(raw json.RawMessage) error {
		if found == "" && strings.Contains(string(raw), words) {
			found = string(raw)
		}
		return nil
	}))
	if found == "" {
		t.Fatalf("nothing in the package holds %s", words)
	}
	return found
}

// entryID is the id of the message that an entry of a package is.
func entryID(entry string) string {
	rest := entry[strings.Index(entry, SystemEntry+`","value":"`)+len(SystemEntry)+11:]
	return rest[:64]
}

// reproved changes the proof of one message in a package, and the SHA-256 that its document says with it.
func reproved(t testing.TB, doc, id string, change func(*ledger.Proof)) string {
	t.Helper()
	var old, made []byte
	must(t, readBundle(strings.NewReader(doc), func(string, any) {}, func(raw json.RawMessage) error {
		file, err := base64.StdEncoding.DecodeString(plainString(members(members(raw)["resource"])["data"]))
		if err != nil || !strings.HasPrefix(string(file), "tocsin-proof/") {
			return nil
		}
		p, err := ledger.ParseProof(file)
		must(t, err)
		if hex.EncodeToString(leaf(p.Header)) != id {
			return nil
		}
		change(p)
		old = file
		made, err = p.Marshal()
		must(t, err)
		return nil
	}))
	if old == nil {
		t.Fatal("the message has no proof")
	}
	sum := func(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }
	return strings.NewReplacer(base64.StdEncoding.EncodeToString(old), base64.StdEncoding.EncodeToString(made), sum(old), sum(made)).Replace(doc)
}

// A proof that does not show what was said proves no words, forged or not.
func TestPackageStripped(t *testing.T) {
	w, doc := honest(t)
	control, err := VerifyPackage(strings.NewReader(doc), w.trust)
	must(t, err)
	dose := entryWith(t, doc, `"contentString":"Give 50 mg"`)
	bare := reproved(t, doc, entryID(dose), func(p *ledger.Proof) { p.Opening, p.Payload = nil, nil })
	for name, altered := range map[string]string{"stripped": bare, "stripped and forged": strings.ReplaceAll(bare, "Give 50 mg", "Give 5000 mg")} {
		rep, err := VerifyPackage(strings.NewReader(altered), w.trust)
		must(t, err)
		if rep.Proved != control.Proved-1 || !slices.ContainsFunc(rep.Faults, func(f Fault) bool { return f.Rule == RuleProof && strings.Contains(f.What, "nothing to compare") }) {
			t.Errorf("%s: %d of %d are proved; %v", name, rep.Proved, control.Proved, rep.Faults)
		}
	}
}

// Of a message to everybody the words and the reason are compared; what its proof holds and nobody can read is no proof of them.
func TestPackageBroadcast(t *testing.T) {
	w := newWorld(t)
	author := w.nodes[0].writer
	items := []Item{author.say(&message.Text{Body: "Bay 4 is clear"}, ledger.Routine), author.broadcast(&message.Text{Body: "Anaesthetist to resus"}, "Switchboard is down"),
		author.broadcast(&message.CallOut{Question: "Who can come?", Place: "Resus"}, "No other way")}
	garbled := []byte{1, 0, 4, 'F', 'i', 'r', 'e', 0, 1, 0xff}
	items = append(items, author.sealed(garbled, message.Message{}, ""))
	x, err := New(incident(items[:3]...), w.witnessed())
	must(t, err)
	doc := string(written(t, x))
	rep, err := VerifyPackage(strings.NewReader(doc), w.trust)
	must(t, err)
	if rep.Proved != 3 || rep.Reasons != 2 || len(rep.Faults) > 0 {
		t.Fatalf("the control: %+v", rep)
	}
	for name, change := range map[string][2]string{
		"its words":              {`"contentString":"Anaesthetist to resus"`, `"contentString":"Surgeon to resus"`},
		"the reason":             {`"reasonCode":[{"text":"Switchboard is down"}]`, `"reasonCode":[{"text":"I wanted to"}]`},
		"the extension":          {`"valueString":"Switchboard is down"`, `"valueString":"I wanted to"`},
		"a call-out's":           {`"valueString":"No other way"`, `"valueString":"Any reason"`},
		"a reason for a group's": {`"payload":[{"contentString":"Bay 4 is clear"}]`, `"reasonCode":[{"text":"Any"}],"payload":[{"contentString":"Bay 4 is clear"}]`},
	} {
		altered := strings.Replace(doc, change[0], change[1], 1)
		if altered == doc {
			t.Errorf("%s: there was nothing to change", name)
			continue
		}
		rep, err := VerifyPackage(strings.NewReader(altered), w.trust)
		must(t, err)
		if rep.Proved != 2 || len(rep.Faults) == 0 {
			t.Errorf("%s was changed: %+v", name, rep)
		}
	}
	// An author whose program was altered can sign what no program reads. The honest document is made to be of that entry.
	file, err := x.sources.Proof(id(t, items[3]))
	must(t, err)
	_, r, err := ledger.NewProofChecker(w.trust).Check(file)
	must(t, err)
	if _, err := proved(r.ID.String(), file, ledger.NewProofChecker(w.trust)); err == nil || !strings.Contains(err.Error(), "nothing to compare") {
		t.Errorf("a payload that is no message: %v", err)
	}
}
