package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tocsin/node/message"
)

// plantedFault is a fault in a Bundle, the rule of ours that finds it (empty: none has to), and who finds it in all. The validators of
// others are asked by conformance/.
type plantedFault struct {
	name  string
	rule  string
	found string
	in    string // document or transaction
	plant func(b *bundleObject)
}

// bundleObject is a Bundle in parts that can be spoilt.
type bundleObject struct {
	t   testing.TB
	all object
}

// first is the first resource of a type that fits.
func (b *bundleObject) first(kind string, fits ...func(object) bool) object {
	b.t.Helper()
	for _, e := range list(b.all, "entry") {
		if r := sub(e, "resource"); str(r, "resourceType") == kind && (len(fits) == 0 || fits[0](r)) {
			return r
		}
	}
	b.t.Fatalf("there is no %s to spoil", kind)
	return nil
}

func (b *bundleObject) entryOf(kind string) object {
	for _, e := range list(b.all, "entry") {
		if str(sub(e, "resource"), "resourceType") == kind {
			return e
		}
	}
	b.t.Fatalf("there is no %s to spoil", kind)
	return nil
}

func withNHS(r object) bool { return has(list(r, "identifier"), "value", SystemNHS+"|9434765919") }

func withFile(r object) bool {
	for _, c := range list(r, "content") {
		return str(sub(c, "attachment"), "title") == "ward list.pdf"
	}
	return false
}

func plantedFaults() []plantedFault {
	at := func(v any, i int) object { l, _ := v.([]any); o, _ := l[i].(object); return o }
	return []plantedFault{
		{"a code that FHIR does not have", "", "google", "document", func(b *bundleObject) { b.first("Communication")["status"] = "finished" }},
		{"a priority that FHIR does not have", "", "google", "document", func(b *bundleObject) { b.first("Communication")["priority"] = "immediate" }},
		{"an element that FHIR does not have", "", "google,medplum", "document", func(b *bundleObject) { b.first("Observation")["triage"] = "P1" }},
		{"a required element that is missing", "", "google,medplum", "document", func(b *bundleObject) { delete(b.first("Task"), "status") }},
		{"two of content[x]", "", "google", "document", func(b *bundleObject) {
			p := at(b.first("Communication")["payload"], 0)
			p["contentReference"] = object{"display": "another"}
		}},
		{"a time that is none", "", "google,medplum", "document", func(b *bundleObject) { b.first("Communication")["sent"] = "4 March 2026" }},
		{"two entries of one fullUrl", RuleFullURL, "medplum,ours", "document", func(b *bundleObject) {
			l, _ := b.all["entry"].([]any)
			at(b.all["entry"], 3)["fullUrl"] = at(b.all["entry"], 2)["fullUrl"]
			b.all["entry"] = l
		}},
		{"a reference that leads nowhere", RuleReference, "ours", "document", func(b *bundleObject) {
			sub(b.first("Communication"), "sender")["reference"] = "urn:uuid:00000000-0000-8000-8000-000000000000"
		}},
		{"an NHS number with a wrong check digit", RuleNHSNumber, "ours", "document", func(b *bundleObject) { at(b.first("Patient", withNHS)["identifier"], 0)["value"] = "9434765918" }},
		{"an NHS number that does not say whether it was traced", RuleNHSNumber, "ours", "document", func(b *bundleObject) { delete(at(b.first("Patient", withNHS)["identifier"], 0), "extension") }},
		{"an attachment that was changed", RuleContent, "ours", "document", func(b *bundleObject) {
			for _, x := range list(sub(at(b.first("DocumentReference", withFile)["content"], 0), "attachment"), "extension") {
				x["valueString"] = strings.Repeat("0", 64)
			}
		}},
		{"a proof of another message", RuleProof, "ours", "document", func(b *bundleObject) {
			var proofs []object
			for _, e := range list(b.all, "entry") {
				if r := sub(e, "resource"); str(r, "resourceType") == "DocumentReference" && !withFile(r) {
					proofs = append(proofs, r)
				}
			}
			proofs[0]["content"], proofs[1]["content"] = proofs[1]["content"], proofs[0]["content"]
		}},
		{"a message without its Provenance", RuleProvenance, "ours", "document", func(b *bundleObject) {
			l, _ := b.all["entry"].([]any)
			b.all["entry"] = slices.DeleteFunc(l, func(v any) bool { o, _ := v.(object); return str(sub(o, "resource"), "resourceType") == "Provenance" })
		}},
		{"one message twice under two names", RuleIdentifier, "ours", "document", func(b *bundleObject) {
			raw, _ := json.Marshal(b.entryOf("Communication"))
			var again object
			_ = json.Unmarshal(raw, &again)
			again["fullUrl"] = "urn:uuid:00000000-0000-8000-8000-000000000001"
			l, _ := b.all["entry"].([]any)
			b.all["entry"] = append(l, again)
		}},
		{"a resource that no person can read", RuleNarrative, "ours", "document", func(b *bundleObject) { delete(b.first("Communication"), "text") }},
		{"a narrative that runs", RuleNarrative, "ours", "document", func(b *bundleObject) {
			sub(b.first("Communication"), "text")["div"] = divOpen + "<script>alert(1)</script></div>"
		}},
		{"a narrative that fetches", RuleNarrative, "ours", "document", func(b *bundleObject) {
			sub(b.first("Task"), "text")["div"] = divOpen + `<p style="background:url(https://x.example/)">x</p></div>`
		}},
		{"an exercise among the real", RuleExercise, "ours", "document", func(b *bundleObject) {
			sub(b.first("Communication"), "meta")["security"] = []any{object{"system": codesActReason, "code": "HTEST"}}
		}},
		{"a document that begins with something else", RuleDocument, "medplum,ours", "document", func(b *bundleObject) {
			l, _ := b.all["entry"].([]any)
			b.all["entry"] = append(append([]any{}, l[1:]...), l[0])
		}},
		{"an entry that does not say what is to be done", RuleRequest, "medplum,ours", "transaction", func(b *bundleObject) { delete(b.entryOf("Communication"), "request") }},
		{"an entry that is made anew each time", RuleRequest, "ours", "transaction", func(b *bundleObject) { delete(sub(b.entryOf("Communication"), "request"), "ifNoneExist") }},
	}
}

// bundlesToCheck are honest Bundles of every form: a document with real proofs, one of an exercise, and the transactions of an upload.
func bundlesToCheck(t testing.TB) (document, exercise []byte, transactions [][]byte) {
	t.Helper()
	w := newWorld(t)
	items := scenes(t, w.nodes[0].writer, w.nodes[1].writer)
	in := incident(items...)
	x, err := New(in, w.witnessed())
	must(t, err)
	document = written(t, x)
	units, err := x.plan()
	must(t, err)
	b := newTransaction()
	for _, u := range units {
		entries, err := u.make()
		must(t, err)
		must(t, b.add(entries))
	}
	request, err := b.body(nil)
	must(t, err)
	whole, err := io.ReadAll(request.open())
	must(t, err)
	if int64(len(whole)) != request.size() {
		t.Errorf("a request of %d bytes is said to have %d", len(whole), request.size())
	}
	in.Mode = message.Exercise
	x, err = New(in, files())
	must(t, err)
	return document, written(t, x), [][]byte{whole}
}

// TestPlantedFaults holds our own check against each fault, and honest Bundles against it.
func TestPlantedFaults(t *testing.T) {
	doc, exercise, transactions := bundlesToCheck(t)
	faultless(t, exercise)
	faultless(t, transactions[0])
	for _, f := range plantedFaults() {
		raw := spoilt(t, f, doc, transactions[0])
		found, err := Check(bytes.NewReader(raw))
		must(t, err)
		if rule := ruleOf(found); (f.rule != "") != slices.ContainsFunc(found, func(x Fault) bool { return x.Rule == f.rule }) || f.rule == "" && rule != "" {
			t.Errorf("%s: our own check found %v", f.name, found)
		}
	}
	for _, raw := range [][]byte{nil, []byte("{"), doc[:len(doc)/2], append(slices.Clone(doc), 'x'), []byte(`{"resourceType":"Patient"}`), []byte("[]")} {
		if found, err := Check(bytes.NewReader(raw)); err != nil || len(found) == 0 {
			t.Errorf("%.20q: it was taken for a Bundle (%v)", raw, err)
		}
	}
}

func ruleOf(found []Fault) string {
	if len(found) == 0 {
		return ""
	}
	return found[0].Rule
}

func spoilt(t testing.TB, f plantedFault, doc, transaction []byte) []byte {
	t.Helper()
	raw := map[string][]byte{"document": doc, "transaction": transaction}[f.in]
	b := &bundleObject{t: t}
	must(t, json.Unmarshal(raw, &b.all))
	f.plant(b)
	raw, err := json.Marshal(b.all)
	must(t, err)
	return raw
}

// TestWriteBundles writes what conformance/ looks at.
func TestWriteBundles(t *testing.T) {
	dir := os.Getenv("TOCSIN_RECORD_OUT")
	if dir == "" {
		t.Skip("it writes Bundles for node/record/conformance, which sets TOCSIN_RECORD_OUT")
	}
	doc, exercise, transactions := bundlesToCheck(t)
	must(t, os.MkdirAll(filepath.Join(dir, "planted"), 0o755))
	put := func(name string, raw []byte) { must(t, os.WriteFile(filepath.Join(dir, name), raw, 0o644)) }
	put("document.json", doc)
	put("exercise.json", exercise)
	put("transaction.json", transactions[0])
	var index strings.Builder
	for i, f := range plantedFaults() {
		raw := spoilt(t, f, doc, transactions[0])
		found, err := Check(bytes.NewReader(raw))
		must(t, err)
		name := fmt.Sprintf("%02d.json", i)
		put(filepath.Join("planted", name), raw)
		fmt.Fprintf(&index, "%s\t%s\t%s\t%s\n", f.name, ruleOf(found), f.found, name)
	}
	put("planted/index.txt", []byte(index.String()))
}
