package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tocsin/node/record"
)

const fetchedGroup = "aa00000000000000000000000000000000000000000000000000000000000001"

// stood starts a stand-in that ends with the test.
func stood(t *testing.T, forgets bool) *standIn {
	t.Helper()
	s, err := newStandIn(forgets)
	must(t, err)
	t.Cleanup(func() { must(t, s.close()) })
	return s
}

// sent is a transaction with a patient, a message about them, and a file that it names.
const sent = `{"resourceType":"Bundle","type":"transaction","entry":[
 {"fullUrl":"urn:uuid:00000000-0000-8000-8000-000000000001","resource":{"resourceType":"Patient","identifier":[{"system":"s","value":"1"}]},"request":{"method":"POST","url":"Patient","ifNoneExist":"identifier=s%7C1"}},
 {"fullUrl":"urn:uuid:00000000-0000-8000-8000-000000000002","resource":{"resourceType":"Communication","identifier":[{"system":"e","value":"2"}],
  "meta":{"tag":[{"system":"` + record.SystemIncident + `","code":"` + fetchedGroup + `"}]},"subject":{"reference":"urn:uuid:00000000-0000-8000-8000-000000000001"},
  "payload":[{"contentAttachment":{"url":"urn:uuid:00000000-0000-8000-8000-000000000003"}}]},"request":{"method":"PUT","url":"Communication?identifier=e%7C2"}},
 {"fullUrl":"urn:uuid:00000000-0000-8000-8000-000000000003","resource":{"resourceType":"Binary","id":"b1","contentType":"text/plain","data":"aGk="},"request":{"method":"PUT","url":"Binary/b1"}}]}`

// post sends a Bundle and returns the status and the statuses of the entries.
func post(t *testing.T, s *standIn, body string) (int, []string) {
	t.Helper()
	resp, err := http.Post(s.url, "application/fhir+json", strings.NewReader(body))
	must(t, err)
	defer resp.Body.Close()
	var b struct {
		Entry []struct {
			Response struct{ Status, Location string }
		}
	}
	must(t, json.NewDecoder(resp.Body).Decode(&b))
	var out []string
	for _, e := range b.Entry {
		out = append(out, e.Response.Status)
	}
	return resp.StatusCode, out
}

// TestStandIn: sent twice, everything is there once, and points at what it named.
func TestStandIn(t *testing.T) {
	t.Parallel()
	s := stood(t, false)
	if code, got := post(t, s, sent); code != http.StatusOK || strings.Join(got, ",") != "201 Created,201 Created,201 Created" {
		t.Errorf("first: HTTP %d, %v", code, got)
	}
	if code, got := post(t, s, sent); code != http.StatusOK || strings.Join(got, ",") != "200 OK,200 OK,200 OK" {
		t.Errorf("again: HTTP %d, %v", code, got)
	}
	for kind, want := range map[string]int{"Patient": 1, "Communication": 1, "Binary": 1} {
		if got := s.count(kind); got != want {
			t.Errorf("%d of type %s, not %d", got, kind, want)
		}
	}
	resp, err := http.Get(s.url + "/Communication?identifier=e%7C2")
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	if !bytes.Contains(text, []byte(`"reference":"Patient/r1"`)) || !bytes.Contains(text, []byte(`"url":"Binary/b1"`)) {
		t.Errorf("found: %s", text)
	}
	twin := strings.NewReplacer("identifier=s%7C1", "identifier=s%7Cother").Replace(sent)
	post(t, s, twin) // a second patient of the same identifier
	if code, _ := post(t, s, sent); code != http.StatusPreconditionFailed {
		t.Errorf("two patients of one identifier: HTTP %d", code)
	}
	if code, _ := post(t, s, `{"type":"transaction","entry":[{"resource":{"resourceType":"Patient"},"request":{"method":"DELETE","url":"Patient/r1"}}]}`); code != http.StatusUnprocessableEntity {
		t.Errorf("deleting: HTTP %d", code)
	}
}

// fetchFrom runs 'record fetch' and returns the Bundle that it wrote, and the error.
func fetchFrom(t *testing.T, address string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	out := filepath.Join(dir, "returned.json")
	a := &app{in: strings.NewReader(""), out: &output{w: io.Discard}, err: io.Discard, flags: newSettingFlags(), env: environment{"HOME": dir},
		args: []string{"record", "fetch", fetchedGroup, "--record-url", address, "--out", out}}
	err := a.root().ExecuteContext(t.Context())
	left, readErr := os.ReadDir(dir)
	must(t, readErr)
	if want := map[bool]int{true: 1}[err == nil]; len(left) != want {
		t.Errorf("%d files are left: %v", len(left), left)
	}
	text, readErr := os.ReadFile(out)
	if err == nil {
		must(t, readErr)
	}
	return string(text), err
}

// TestRecordFetch: what carries the incident's tag, and what that points at, comes back; and who lies about it is told.
func TestRecordFetch(t *testing.T) {
	t.Parallel()
	s := stood(t, false)
	if _, err := fetchFrom(t, s.url); err == nil || !strings.Contains(err.Error(), "holds nothing") {
		t.Errorf("an empty record: %v", err)
	}
	post(t, s, sent)
	text, err := fetchFrom(t, s.url)
	must(t, err)
	for _, want := range []string{`"resourceType":"Communication"`, `"resourceType":"Patient"`, `"data":"aGk="`} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%d times %s in %s", strings.Count(text, want), want, text)
		}
	}
	page := `{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Communication","id":"x","about":[{"reference":"Patient/gone"}]}}]}`
	for name, answer := range map[string]func(*http.Request) string{
		"does not return": func(r *http.Request) string {
			if r.Method == http.MethodPost {
				return `{"resourceType":"Bundle","entry":[{"response":{"status":"404"}}]}`
			}
			return page
		},
		"sends us elsewhere": func(*http.Request) string {
			return strings.Replace(page, `"entry"`, `"link":[{"relation":"next","url":"https://elsewhere.example/fhir"}],"entry"`, 1)
		},
		"no Bundle":      func(*http.Request) string { return `{"resourceType":"OperationOutcome"}` },
		"is no resource": func(*http.Request) string { return `{"resourceType":"Bundle","entry":[{"resource":{"id":"x"}}]}` },
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, answer(r)) }))
		t.Cleanup(server.Close)
		if _, err := fetchFrom(t, server.URL); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := fetchFrom(t, "http://record.example/fhir"); err == nil || !strings.Contains(err.Error(), "HTTPS only") {
		t.Errorf("plain HTTP to another machine: %v", err)
	}
}
