package record

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"tocsin/ledger"
	"tocsin/node/message"
)

// altering changes one entry of a package once.
func altering(t *testing.T, doc, entry, from, to string) string {
	t.Helper()
	altered := strings.Replace(doc, entry, strings.Replace(entry, from, to, 1), 1)
	if altered == doc {
		t.Fatalf("there was nothing to change: %s", from)
	}
	return altered
}

// referenceIn is the first reference of an element of an entry.
func referenceIn(t *testing.T, entry, element string) string {
	t.Helper()
	_, rest, ok := strings.Cut(entry, `"`+element+`":`)
	_, rest, found := strings.Cut(rest, `"reference":"`)
	ref, _, _ := strings.Cut(rest, `"`)
	if !ok || !found {
		t.Fatalf("it has no %s", element)
	}
	return ref
}

// returnedAs is a document as an endpoint returns it: no document any more, and with narratives of its own if it likes.
func returnedAs(doc string) string {
	return strings.Replace(doc, `"type":"document"`, `"type":"collection"`, 1)
}

// Who said it, what it answers, whom it is to and by when is compared, in a document and in what an endpoint returned; each change takes
// exactly the proof of its message away.
func TestPackageWhoAndWhat(t *testing.T) {
	w, doc := honest(t)
	control, err := VerifyPackage(strings.NewReader(doc), w.trust)
	must(t, err)
	if control.Proved != 28 || control.Audits != 4 || control.Rewritten != 0 || len(control.Faults) > 0 {
		t.Fatalf("the control: %+v", control)
	}
	find := func(words string) string { return entryWith(t, doc, words) }
	dose, task, alert, out := find(`"contentString":"Give 50 mg"`), find(`"description":"Clear the recovery area"`), find(`"contentString":"What: Cardiac arrest"`), find(`"contentString":"Question: Can you come in?`)
	answer, update, cancel, retract := find(`"contentString":"On our way"`), find(`"code":"task-update"`), find(`"code":"alert-cancel"`), find(`"code":"retract"`)
	decision, casualty, file, role := find(`"contentString":"Decision: Stop elective surgery"`), find(`"resourceType":"Observation"`), find(`"title":"ward list.pdf"`), find(`on-duty-role","value":"abababababababab/medical-registrar"}],"active"`)
	provenance := find(entryID(dose) + "-provenance")
	amal, bryn := referenceIn(t, dose, "sender"), referenceIn(t, answer, "sender")
	other := referenceIn(t, update, "basedOn")
	cases := []struct{ name, entry, from, to string }{
		{"the sender", dose, amal, bryn},
		{"the sender's name", dose, `"display":"Amal Haddad, stmarys`, `"display":"Bryn Morgan, stmarys`},
		{"who asks", alert, amal, bryn}, {"who triaged", casualty, bryn, amal}, {"whose file", file, amal, bryn},
		{"the answer's message", answer, referenceIn(t, answer, "inResponseTo"), other},
		{"the task that moved", update, other, referenceIn(t, cancel, "basedOn")},
		{"the alert that was cancelled", cancel, referenceIn(t, cancel, "basedOn"), other},
		{"what was withdrawn", retract, referenceIn(t, retract, "about"), other},
		{"whose task", task, "abababababababab/medical-registrar", "abababababababab/porter"},
		{"a task's note", task, `"note":[{"text":"Six beds"}]`, `"note":[{"text":"Nine beds"}]`},
		{"a task's time", task, `"end":"2026-03-04T14:00:00.000Z"`, `"end":"2026-03-05T14:00:00.000Z"`},
		{"a task's state", task, `"status":"completed"`, `"status":"whatever"`},
		{"a priority", dose, `"priority":"routine"`, `"priority":"stat"`},
		{"whom an alert calls", alert, "abababababababab/medical-registrar", "abababababababab/porter"},
		{"one whom an alert calls", alert, bryn, amal},
		{"when to come", out, `"occurrenceDateTime":"2026-03-04T13`, `"occurrenceDateTime":"2026-03-04T23`},
		{"when it was decided", decision, "Decided at 4 March", "Decided at 5 March"},
		{"whose tag", casualty, `"display":"Casualty A-017"`, `"display":"Casualty A-018"`},
		{"a patient for another", casualty, `"display":"Casualty A-017"`, `"display":"Patient 9434765919"`},
		{"since when on duty", role, `"start":"2026-03-04T12`, `"start":"2026-03-04T02`},
		{"until when on duty", role, `"end":"2026-03-04T15`, `"end":"2026-03-05T15`},
		{"an element that nobody signed", dose, `"payload":`, `"note":[{"text":"Give 500 mg"}],"payload":`},
		{"an extension that nobody signed", dose, `"status":"entered`, `"extension":[{"url":"https://a.example","valueString":"Give 500 mg"}],"status":"entered`},
		{"a second file", file, `"content":[`, `"content":[{"attachment":{"title":"orders.pdf","url":"https://a.example/orders.pdf"}},`},
		{"a file in a file", file, `"title":"ward list.pdf"`, `"title":"ward list.pdf","data":"aGk="`},
		{"the author in the Provenance", provenance, amal, bryn},
		{"the signature", provenance, `"data":"`, `"data":"AAAA`},
	}
	for _, c := range cases {
		for how, of := range map[string]func(string) string{"as exported": func(s string) string { return s }, "as returned": returnedAs} {
			rep, err := VerifyPackage(strings.NewReader(of(altering(t, doc, c.entry, c.from, c.to))), w.trust)
			must(t, err)
			if rep.Proved != control.Proved-1 || len(rep.Faults) != 1 || rep.Faults[0].Rule != RuleProof {
				t.Errorf("%s, %s: %d of %d are proved; %v", c.name, how, rep.Proved, control.Proved, rep.Faults)
			}
		}
	}
}

// A post that claims to be a person's and leads to somebody else is found, and so are two resources that share a name.
func TestPackagePosts(t *testing.T) {
	w, doc := honest(t)
	post := entryWith(t, doc, `"value":"stmarys.nhs.example/gmc/7654321"`)
	theirs := entryWith(t, doc, `"value":"ambulance.nhs.example/hcpc/PA123456"`)
	for name, altered := range map[string]string{
		"another's registration": altering(t, doc, post, referenceIn(t, post, "practitioner"), referenceIn(t, theirs, "practitioner")),
		"another organisation":   altering(t, doc, post, referenceIn(t, post, "organization"), referenceIn(t, theirs, "organization")),
		"another's identifier":   altering(t, doc, post, "stmarys.nhs.example/gmc/7654321", "ambulance.nhs.example/hcpc/PA123456"),
		"a name twice":           altering(t, doc, theirs, plainString(members([]byte(theirs))["fullUrl"]), plainString(members([]byte(post))["fullUrl"])),
	} {
		for _, one := range []string{altered, returnedAs(altered)} {
			rep, err := VerifyPackage(strings.NewReader(one), w.trust)
			must(t, err)
			if !slices.ContainsFunc(rep.Faults, func(f Fault) bool { return f.Rule == RuleIdentifier }) {
				t.Errorf("%s: %v", name, rep.Faults)
			}
		}
	}
}

// What people read is compared where it is the exporter's, and said to be another where an endpoint returns it.
func TestPackageNarrative(t *testing.T) {
	w, doc := honest(t)
	for name, words := range map[string][2]string{"the dose": {"<p>Give 50 mg</p>", "<p>Give 500 mg</p>"}, "the author": {"<td>Amal Haddad, stmarys", "<td>Bryn Morgan, stmarys"},
		"why it was withdrawn": {"Meant 5 mg</p>", "Meant nothing</p>"}} {
		entry := entryWith(t, doc, `"contentString":"Give 50 mg"`)
		altered := altering(t, doc, entry, words[0], words[1])
		rep, err := VerifyPackage(strings.NewReader(altered), w.trust)
		must(t, err)
		if rep.Proved != 27 || len(rep.Faults) != 1 || !strings.Contains(rep.Faults[0].What, "narrative") {
			t.Errorf("%s, as exported: %+v", name, rep)
		}
		if rep, err = VerifyPackage(strings.NewReader(returnedAs(altered)), w.trust); err != nil || rep.Proved != 28 || rep.Rewritten != 1 || len(rep.Faults) > 0 {
			t.Errorf("%s, as returned: %+v, %v", name, rep, err)
		}
	}
	if rep, err := VerifyPackage(strings.NewReader(returnedAs(doc)), w.trust); err != nil || rep.Rewritten != 0 || len(rep.Faults) > 0 {
		t.Errorf("the control: %+v, %v", rep, err)
	}
}

// Part of an incident, an exercise, and a message whose target has no proof verify as they were exported.
func TestPackagePart(t *testing.T) {
	w := newWorld(t)
	items := scenes(t, w.nodes[0].writer, w.nodes[1].writer)
	sources := w.witnessed()
	for i := range 4 {
		in := incident()
		for n, it := range items {
			if n%4 != i {
				in.Items = append(in.Items, it)
			}
		}
		in.Mode = map[bool]message.Mode{true: message.Exercise, false: message.Live}[i%2 == 0]
		some := sources
		unproved := 0
		some.Proof = func(id ledger.ID) ([]byte, error) {
			if unproved++; unproved%5 == i {
				return nil, ErrNoProof
			}
			return sources.Proof(id)
		}
		if i == 3 {
			some.Attachment = nil
		}
		x, err := New(in, some)
		must(t, err)
		rep, err := VerifyPackage(strings.NewReader(string(written(t, x))), w.trust)
		must(t, err)
		if rep.Proved == 0 || rep.Bare == 0 || len(rep.Faults) > 0 || rep.Exercise != x.Exercise() {
			t.Error(fmt.Sprint(i, ": "), fmt.Sprintf("%+v", rep))
		}
	}
}
