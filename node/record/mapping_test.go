package record

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tocsin/ledger"
	"tocsin/node/message"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden holds what every kind of message becomes against a file, element by element.
func TestGolden(t *testing.T) {
	x, err := New(incident(scene(t)...), files())
	must(t, err)
	written(t, x)
	seen := map[string]int{}
	for _, it := range x.items {
		unit, err := x.unit(it)
		must(t, err)
		kind := string(it.Message.Kind())
		seen[kind]++
		golden(t, fmt.Sprintf("%s-%d.json", kind, seen[kind]), indented(t, unit))
	}
	golden(t, "directory.json", indented(t, x.directory()))
	golden(t, "composition.json", indented(t, x.composition()))
	page, err := x.part(func(it *item) bool { return it.Message.Kind() == message.KindBriefing })
	must(t, err)
	golden(t, "page.json", indented(t, []Entry{page}))
	for _, k := range message.Kinds() {
		if seen[string(k)] == 0 {
			t.Errorf("no golden file for messages of kind %s: add one to the scene, and to MAPPING.md", k)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(path, got, 0o644))
		return
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run go test ./node/record -run TestGolden -update and read the difference", name)
	}
}

// Every kind has a row in the page for integrators.
func TestMappingPage(t *testing.T) {
	page, err := os.ReadFile("MAPPING.md")
	must(t, err)
	for _, k := range message.Kinds() {
		if !strings.Contains(string(page), "| `"+string(k)+"` |") {
			t.Errorf("MAPPING.md has no row for messages of kind %s", k)
		}
	}
}

// What a human wrote stands in the resource and in its narrative, escaped.
func TestEveryWordSurvives(t *testing.T) {
	x, err := New(incident(scene(t)...), files())
	must(t, err)
	for _, it := range x.items {
		unit, err := x.unit(it)
		must(t, err)
		raw := string(indented(t, unit[0].Resource))
		for _, f := range it.Message.Content.Fields() {
			if f.Zero() || f.Input() == message.InputEntry || f.Input() == message.InputEntries || f.Input() == message.InputMade {
				continue
			}
			if words := lines(f.Human()); !strings.Contains(raw, quoted(t, words)) {
				t.Errorf("%s: the field %s is not in its narrative", it.Message.Kind(), f.Name)
			}
		}
	}
}

func quoted(t *testing.T, s string) string {
	raw, err := encode(s)
	must(t, err)
	return strings.Trim(string(raw), `"`)
}

// A message that fits no commitment is exported without a signature and says so.
func TestUnprovable(t *testing.T) {
	items := scene(t)
	items[3].Opening = nil
	x, err := New(incident(items...), files())
	must(t, err)
	doc := written(t, x)
	if !bytes.Contains(doc, []byte("cannot be proved")) {
		t.Error("nothing says that a message cannot be proved")
	}
	for _, e := range mustUnit(t, x, id(t, items[3])) {
		if p, ok := e.Resource.(*Provenance); ok && len(p.Signature) > 0 {
			t.Error("it carries a signature that does not fit what it says")
		}
	}
}

func mustUnit(t *testing.T, x *Export, id ledger.ID) []Entry {
	t.Helper()
	unit, err := x.unit(x.index.items[id])
	must(t, err)
	return unit
}

// Nothing is exported that is not what was signed, or that is attributed to a wrong patient.
func TestNewRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Incident){
		"a payload that was changed": func(in *Incident) { in.Items[3].Payload = in.Items[4].Payload },
		"another message than was signed": func(in *Incident) {
			in.Items[3].Payload, in.Items[3].Message = in.Items[4].Payload, in.Items[4].Message
		},
		"a message that was changed": func(in *Incident) { in.Items[3].Message = in.Items[4].Message },
		"a signature that was changed": func(in *Incident) {
			in.Items[3].Signed = slices.Clone(in.Items[3].Signed)
			in.Items[3].Signed[200] ^= 1
		},
		"the same message twice":           func(in *Incident) { in.Items = append(in.Items, in.Items[3]) },
		"an NHS number with a wrong digit": func(in *Incident) { in.Items[3].Patient = &Attribution{NHSNumber: "9434765918"} },
		"an NHS number in groups":          func(in *Incident) { in.Items[3].Patient = &Attribution{NHSNumber: "943 476 5919"} },
		"one number for two people": func(in *Incident) {
			in.Items[3].Patient = &Attribution{NHSNumber: "9434765919", Family: "Smith"}
		},
		"a birthday that is none": func(in *Incident) { in.Items[3].Patient = &Attribution{NHSNumber: "9434765919", Born: "3/2/1951"} },
		"no mode":                 func(in *Incident) { in.Mode = "" },
		"no messages":             func(in *Incident) { in.Items = nil },
		"an organisation by name": func(in *Incident) { in.Custodian = "St Mary's" },
		"no author":               func(in *Incident) { in.Items[3].Author = Author{} },
	} {
		in := incident(scene(t)...)
		spoil(&in)
		if _, err := New(in, files()); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}

// An exercise is marked on every resource, in the narrative too.
func TestExercise(t *testing.T) {
	in := incident(scene(t)...)
	in.Mode = message.Exercise
	x, err := New(in, files())
	must(t, err)
	written(t, x)
	for e, err := range x.all() {
		must(t, err)
		c := e.Resource.about()
		if c.Meta == nil || len(c.Meta.Security) != 1 || c.Meta.Security[0] != exerciseLabel() {
			t.Errorf("a %s is not marked as test data", c.Type)
		}
		if n, ok := e.Resource.(narrated); ok && !strings.Contains(n.narrative().Text.Div, "EXERCISE") {
			t.Errorf("the narrative of a %s does not say EXERCISE", c.Type)
		}
	}
}

// The same messages make the same resources, in whatever order and whenever they are exported.
func TestNamesAreSteady(t *testing.T) {
	items := scene(t)
	names := func(in Incident) []string {
		x, err := New(in, files())
		must(t, err)
		var out []string
		for e, err := range x.all() {
			must(t, err)
			out = append(out, e.FullURL)
		}
		slices.Sort(out)
		return out
	}
	again := slices.Clone(items)
	slices.Reverse(again)
	other := incident(again...)
	other.Written = other.Written.AddDate(0, 1, 0)
	if !slices.Equal(names(incident(items...)), names(other)) {
		t.Error("the same messages were given other names")
	}
}

// What a message points at and is not there is named, not pointed at.
func TestGapsAreNamed(t *testing.T) {
	items := scene(t)
	kept := slices.DeleteFunc(slices.Clone(items), func(in Item) bool {
		k := in.Message.Kind()
		return k == message.KindAlert || k == message.KindCallOut || k == message.KindTask || k == message.KindText
	})
	x, err := New(incident(kept...), files())
	must(t, err)
	written(t, x)
}

// A file that is not on this device is said to be missing; one that was changed stops the export.
func TestAttachmentContent(t *testing.T) {
	x, err := New(incident(scene(t)...), Sources{})
	must(t, err)
	if doc := written(t, x); !bytes.Contains(doc, []byte("not in this export")) {
		t.Error("nothing says that the file is missing")
	}
	content := slices.Clone(file)
	content[7] ^= 1
	for name, content := range map[string][]byte{"changed": content, "shorter": file[1:], "longer": append(slices.Clone(file), 'x')} {
		x, err := New(incident(scene(t)...), Sources{Attachment: opener(content)})
		must(t, err)
		if _, err := x.Document(&bytes.Buffer{}); err == nil {
			t.Errorf("a file that is %s entered the record", name)
		}
	}
}

// A package carries the proof of each message, and each holds.
func TestProofs(t *testing.T) {
	w := newWorld(t)
	items := scenes(t, w.nodes[0].writer, w.nodes[1].writer)
	x, err := New(incident(items...), w.witnessed())
	must(t, err)
	doc := written(t, x)
	report, err := VerifyPackage(bytes.NewReader(doc), w.trust)
	must(t, err)
	want := 0
	for _, in := range items {
		if firstKind(in.Message.Content) != "AuditEvent" {
			want++
		}
	}
	if report.Proved != want || len(report.Faults) > 0 {
		t.Errorf("%d of %d messages are proved; %v", report.Proved, want, report.Faults)
	}
}

// A resource that says anything else than its author signed is found, and so is a package whose proofs are of others.
func TestPackageAltered(t *testing.T) {
	w := newWorld(t)
	items := scenes(t, w.nodes[0].writer, w.nodes[1].writer)
	x, err := New(incident(items...), w.witnessed())
	must(t, err)
	doc := string(written(t, x))
	for name, change := range map[string][2]string{
		"a dose":            {`"contentString":"Give 50 mg"`, `"contentString":"Give 5 mg"`},
		"a triage category": {`"code":"p1","display":"P1 immediate (red)"`, `"code":"p3","display":"P3 delayed (green)"`},
		"a task":            {`"description":"Clear the recovery area"`, `"description":"Clear ward 3"`},
		"a time":            {`"sent":"2026-03-04T12:04:00.000Z"`, `"sent":"2026-03-04T11:04:00.000Z"`},
		"a file's hash":     {fmt.Sprintf("%x", sha256.Sum256(file)), strings.Repeat("0", 64)},
		"a role":            {`"code":"medical-registrar"}],"text":"medical registrar"`, `"code":"consultant"}],"text":"consultant"`},
		"a proof":           {`"data":"dG9jc2luLXByb29mL3YxCmhlYWRlciBB`, `"data":"dG9jc2luLXByb29mL3YxCmhlYWRlciBC`},
	} {
		altered := strings.Replace(doc, change[0], change[1], 1)
		if altered == doc {
			t.Errorf("%s: there was nothing to change", name)
			continue
		}
		report, err := VerifyPackage(strings.NewReader(altered), w.trust)
		must(t, err)
		if len(report.Faults) == 0 {
			t.Errorf("%s was changed and nobody noticed", name)
		}
	}
	report, err := VerifyPackage(strings.NewReader(doc), newWorld(t).trust)
	must(t, err)
	if report.Proved != 0 {
		t.Errorf("%d messages are proved by authorities that never saw them", report.Proved)
	}
}
