package node

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// endpoint is a FHIR server in memory: transactions with conditional create and update, and batches of reads. node/record runs the same
// uploads against Medplum's.
type endpoint struct {
	url string

	mu       sync.Mutex
	all      map[string][]map[string]any // by type
	count    int
	requests int
	// at, if set, is asked before a request is carried out, and again after; what it returns, if not 0, is answered in place of the answer.
	at   func(number int, after bool) int
	fail func(r map[string]any) int // a status to refuse a resource with
	gate chan struct{}              // if set, every request waits for it
}

func newEndpoint(t testing.TB) *endpoint {
	t.Helper()
	e := &endpoint{all: make(map[string][]map[string]any)}
	s := httptest.NewServer(e)
	t.Cleanup(s.Close)
	e.url = s.URL
	return e
}

// recordAt has a node hand over to an endpoint.
func recordAt(e *endpoint) func(*Config) {
	return func(c *Config) {
		c.Record = &RecordEndpoint{URL: e.url, HTTP: &http.Client{Timeout: patience}, Batch: 12, AllowLoopback: true}
	}
}

func (e *endpoint) asked(number int, after bool) int {
	if e.at == nil {
		return 0
	}
	return e.at(number, after)
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// First of all: a server sees that who asked has gone only once it has read the request.
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	e.mu.Lock()
	gate := e.gate
	e.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-r.Context().Done():
			return
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.requests++
	number := e.requests
	if code := e.asked(number, false); code != 0 {
		w.WriteHeader(code)
		return
	}
	var b map[string]any
	if err := json.Unmarshal(body, &b); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	entries := listOf(b["entry"])
	names := []string{}
	for _, one := range entries {
		if res, ok := one["resource"].(map[string]any); ok && e.fail != nil {
			if code := e.fail(res); code != 0 {
				w.WriteHeader(code)
				fmt.Fprint(w, `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"invalid","diagnostics":"planted"}]}`)
				return
			}
		}
		kind, id, _ := e.place(one)
		names = append(names, textOf(one["fullUrl"]), kind+"/"+id)
	}
	resolve := strings.NewReplacer(names...)
	var answers []any
	for i, one := range entries {
		_, id, _ := strings.Cut(names[2*i+1], "/")
		answers = append(answers, e.do(one, id, resolve))
	}
	if code := e.asked(number, true); code != 0 {
		w.WriteHeader(code)
		return
	}
	w.Header().Set("Content-Type", "application/fhir+json")
	_ = json.NewEncoder(w).Encode(map[string]any{"resourceType": "Bundle", "type": textOf(b["type"]) + "-response", "entry": answers})
}

// place is what one entry of a request is about: its type, its id, and where it stands; -1 if it is new.
func (e *endpoint) place(one map[string]any) (kind, id string, at int) {
	q, _ := one["request"].(map[string]any)
	path, query, _ := strings.Cut(textOf(q["url"]), "?")
	kind, id, named := strings.Cut(path, "/")
	if once := textOf(q["ifNoneExist"]); once != "" {
		query = once
	}
	values, _ := url.ParseQuery(query)
	for i, r := range e.all[kind] {
		switch {
		case named && r["id"] == id:
			return kind, id, i
		case !named && (holds(r["identifier"], "value", values.Get("identifier")) || holds(sub(r, "meta")["tag"], "code", values.Get("_tag"))):
			return kind, textOf(r["id"]), i
		}
	}
	if !named {
		e.count++
		id = fmt.Sprint("m", e.count)
	}
	return kind, id, -1
}

func (e *endpoint) do(one map[string]any, id string, resolve *strings.Replacer) map[string]any {
	kind, _, at := e.place(one)
	answer := func(status string, r map[string]any) map[string]any {
		return map[string]any{"response": map[string]any{"status": status, "location": kind + "/" + textOf(r["id"]) + "/_history/1"}, "resource": r}
	}
	method := textOf(sub(one, "request")["method"])
	switch {
	case method == http.MethodGet && at < 0:
		return map[string]any{"response": map[string]any{"status": "404"}}
	case method == http.MethodGet, at >= 0 && method == http.MethodPost:
		return answer("200", e.all[kind][at])
	}
	raw, err := json.Marshal(one["resource"])
	if err != nil {
		return map[string]any{"response": map[string]any{"status": "500"}}
	}
	var r map[string]any
	if err := json.Unmarshal([]byte(resolve.Replace(string(raw))), &r); err != nil {
		return map[string]any{"response": map[string]any{"status": "500"}}
	}
	r["id"] = id
	if at >= 0 {
		e.all[kind][at] = r
		return answer("200", r)
	}
	e.all[kind] = append(e.all[kind], r)
	return answer("201", r)
}

func listOf(v any) (out []map[string]any) {
	list, _ := v.([]any)
	for _, one := range list {
		if m, ok := one.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func textOf(v any) string { s, _ := v.(string); return s }

func sub(m map[string]any, name string) map[string]any { v, _ := m[name].(map[string]any); return v }

func holds(v any, field, want string) bool {
	all := listOf(v)
	if one, ok := v.(map[string]any); ok {
		all = append(all, one)
	}
	for _, t := range all {
		if want != "" && textOf(t["system"])+"|"+textOf(t[field]) == want {
			return true
		}
	}
	return false
}

// entries are the messages that the endpoint holds, by entry id, with how often.
func (e *endpoint) entries() map[string]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make(map[string]int)
	for kind, all := range e.all {
		for _, r := range all {
			for _, id := range listOf(r["identifier"]) {
				if strings.HasSuffix(textOf(id["system"]), "/fhir/entry") && kind != "Binary" {
					out[textOf(id["value"])]++
				}
			}
		}
	}
	return out
}

// twice names what the endpoint holds more than once under one identifier.
func (e *endpoint) twice() (out []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for kind, all := range e.all {
		seen := make(map[string]bool)
		for _, r := range all {
			for _, id := range listOf(r["identifier"]) {
				name := kind + " " + textOf(id["system"]) + "|" + textOf(id["value"])
				if seen[name] {
					out = append(out, name)
				}
				seen[name] = true
			}
		}
	}
	return out
}

func (e *endpoint) asks() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.requests
}

// set changes what the endpoint does.
func (e *endpoint) set(f func(e *endpoint)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f(e)
}

// uploaded waits until the upload of a conversation has come to an end, and returns how.
func uploaded(t testing.TB, n *Node, g string) TransferProgress {
	t.Helper()
	var p TransferProgress
	eventually(t, "the upload ends", func() bool {
		var err error
		p, err = n.TransferProgress(g)
		check(t, err)
		return p.State != UploadRunning && p.State != UploadIdle
	})
	return p
}

var longCredential = 300 * 24 * time.Hour
