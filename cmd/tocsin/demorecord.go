package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
)

// standIn is the demo's own stand-in for the endpoint of a medical record: on loopback, in memory, in this process. It takes transactions
// with conditional creates and updates, batches of reads, and searches by identifier or tag, which is what the upload and 'record fetch' use; it
// validates nothing. 'tocsin demo --fhir URL' plays the same step with an endpoint that does.
type standIn struct {
	url    string
	server *http.Server
	ended  chan error // what Serve returned

	mu      sync.Mutex
	all     map[string][]fhirObject // by type; guarded by mu
	made    int                     // resources made; guarded by mu
	forgets bool                    // it says that it stored what it was sent, and keeps only its name; fixed before it serves
}

// fhirObject is a JSON object of FHIR.
type fhirObject = map[string]any

// standInLimit bounds a request.
const standInLimit = 192 << 20

// newStandIn starts an endpoint; forgets makes one that lies.
func newStandIn(forgets bool) (*standIn, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("no port for the stand-in of the record: %w", err)
	}
	s := &standIn{url: "http://" + l.Addr().String() + "/fhir", all: make(map[string][]fhirObject), forgets: forgets, ended: make(chan error, 1)}
	s.server = &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 5 * time.Second}
	go func() { s.ended <- s.server.Serve(l) }()
	return s, nil
}

func (s *standIn) close() error {
	err := s.server.Close()
	if served := <-s.ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// count is how many resources of a type it holds.
func (s *standIn) count(kind string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all[kind])
}

func (s *standIn) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/fhir+json")
	path := strings.Trim(strings.TrimPrefix(r.URL.Path, "/fhir"), "/")
	switch {
	case r.Method == http.MethodGet && path != "":
		status, body := s.get(path, r.URL.RawQuery)
		answerFHIR(w, status, body)
	case r.Method == http.MethodPost && path == "":
		var b fhirObject
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, standInLimit)).Decode(&b); err != nil {
			answerFHIR(w, http.StatusBadRequest, outcome("it is no JSON"))
			return
		}
		status, body := s.bundle(b)
		answerFHIR(w, status, body)
	default:
		answerFHIR(w, http.StatusMethodNotAllowed, outcome("transactions, batches, reads and searches only"))
	}
}

// answerFHIR writes an answer. An error of writing means that the client has gone.
func answerFHIR(w http.ResponseWriter, status int, body fhirObject) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func outcome(what string) fhirObject {
	return fhirObject{"resourceType": "OperationOutcome", "issue": []any{fhirObject{"severity": "error", "code": "processing", "diagnostics": what}}}
}

// get is a read (Type/id) or a search (Type?query).
func (s *standIn) get(path, query string) (int, fhirObject) {
	kind, id, read := strings.Cut(path, "/")
	if read {
		if i := s.byID(kind, id); i >= 0 {
			return http.StatusOK, s.all[kind][i]
		}
		return http.StatusNotFound, outcome("there is no " + path)
	}
	entries := []any{}
	for _, i := range s.search(kind, query) {
		r := s.all[kind][i]
		entries = append(entries, fhirObject{"fullUrl": s.url + "/" + kind + "/" + r["id"].(string), "resource": r})
	}
	return http.StatusOK, fhirObject{"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}
}

func (s *standIn) byID(kind, id string) int {
	for i, r := range s.all[kind] {
		if r["id"] == id {
			return i
		}
	}
	return -1
}

// search finds by identifier and by tag; of a query that asks for neither it finds nothing.
func (s *standIn) search(kind, query string) (found []int) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil
	}
	for i, r := range s.all[kind] {
		meta, _ := r["meta"].(fhirObject)
		if hasToken(r["identifier"], "value", values.Get("identifier")) || hasToken(meta["tag"], "code", values.Get("_tag")) {
			found = append(found, i)
		}
	}
	return found
}

// hasToken reports whether an identifier or coding, or one of a list, is the token system|value of a query.
func hasToken(v any, field, token string) bool {
	if token == "" {
		return false
	}
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			if hasToken(one, field, token) {
				return true
			}
		}
	case fhirObject:
		system, _ := v["system"].(string)
		value, _ := v[field].(string)
		return escapeToken(system)+"|"+escapeToken(value) == token
	}
	return false
}

func escapeToken(s string) string {
	return strings.NewReplacer(`\`, `\\`, `|`, `\|`, `,`, `\,`, `$`, `\$`).Replace(s)
}

// slot is where one entry of a transaction goes.
type slot struct {
	kind, id string
	at       int  // in all[kind]; -1 if it is to be made
	keep     bool // a conditional create that found what was asked for
}

func (p slot) String() string { return p.kind + "/" + p.id }

// bundle does a transaction, whole or not at all, or a batch of reads.
func (s *standIn) bundle(b fhirObject) (int, fhirObject) {
	entries, _ := b["entry"].([]any)
	answers := make([]any, len(entries))
	switch b["type"] {
	case "batch":
		for i, e := range entries {
			answers[i] = s.read(e)
		}
	case "transaction":
		slots := make([]slot, len(entries))
		names := make(map[string]string)
		for i, e := range entries {
			var status int
			if slots[i], status = s.slot(e); status != 0 {
				return status, outcome(fmt.Sprintf("entry %d", i))
			}
			if name, ok := e.(fhirObject)["fullUrl"].(string); ok {
				names[name] = slots[i].String()
			}
		}
		for i, e := range entries {
			answers[i] = s.store(slots[i], e.(fhirObject)["resource"].(fhirObject), names)
		}
	default:
		return http.StatusBadRequest, outcome("neither a transaction nor a batch")
	}
	return http.StatusOK, fhirObject{"resourceType": "Bundle", "type": b["type"].(string) + "-response", "entry": answers}
}

func (s *standIn) read(e any) fhirObject {
	entry, _ := e.(fhirObject)
	q, _ := entry["request"].(fhirObject)
	path, _ := q["url"].(string)
	if q["method"] != "GET" || path == "" {
		return fhirObject{"response": fhirObject{"status": "405", "outcome": outcome("reads only")}}
	}
	path, query, _ := strings.Cut(path, "?")
	status, r := s.get(path, query)
	if status != http.StatusOK {
		return fhirObject{"response": fhirObject{"status": fmt.Sprint(status), "outcome": r}}
	}
	return fhirObject{"response": fhirObject{"status": "200"}, "resource": r}
}

// slot finds where an entry goes; a status other than 0 refuses it.
func (s *standIn) slot(e any) (slot, int) {
	entry, _ := e.(fhirObject)
	q, _ := entry["request"].(fhirObject)
	resource, _ := entry["resource"].(fhirObject)
	method, _ := q["method"].(string)
	path, _ := q["url"].(string)
	once, _ := q["ifNoneExist"].(string)
	path, query, conditional := strings.Cut(path, "?")
	kind, id, named := strings.Cut(path, "/")
	p := slot{kind: kind, id: id, at: -1}
	switch {
	case resource["resourceType"] != kind || method != "PUT" && method != "POST":
		return p, http.StatusUnprocessableEntity
	case method == "PUT" && named:
		p.at = s.byID(kind, id)
		return p, 0
	case method == "POST":
		query, conditional = once, once != ""
	}
	if conditional {
		found := s.search(kind, query)
		switch {
		case len(found) > 1:
			return p, http.StatusPreconditionFailed
		case len(found) == 1:
			p.at, p.id, p.keep = found[0], s.all[kind][found[0]]["id"].(string), method == "POST"
			return p, 0
		}
	}
	s.made++
	p.id = fmt.Sprint("r", s.made)
	return p, 0
}

// store puts a resource where it goes.
func (s *standIn) store(p slot, r fhirObject, names map[string]string) fhirObject {
	status := "201 Created"
	switch {
	case p.keep:
		r, status = s.all[p.kind][p.at], "200 OK"
	default:
		r = resolved(r, names).(fhirObject)
		if s.forgets {
			r = fhirObject{"resourceType": p.kind}
		}
		r["id"] = p.id
		if p.at >= 0 {
			s.all[p.kind][p.at], status = r, "200 OK"
		} else {
			s.all[p.kind] = append(s.all[p.kind], r)
		}
	}
	return fhirObject{"response": fhirObject{"status": status, "location": p.String() + "/_history/1", "etag": `W/"1"`}, "resource": r}
}

var localName = regexp.MustCompile(`^urn:uuid:[0-9a-f-]{36}$`)

// resolved is a copy of v in which the local names of a transaction have become places.
func resolved(v any, names map[string]string) any {
	switch v := v.(type) {
	case fhirObject:
		out := make(fhirObject, len(v))
		for k, one := range v {
			out[k] = resolved(one, names)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, one := range v {
			out[i] = resolved(one, names)
		}
		return out
	case string:
		if place, ok := names[v]; ok && localName.MatchString(v) {
			return place
		}
	}
	return v
}
