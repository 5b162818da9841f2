package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// What an endpoint answers. It is read strictly where we rely on it and not at all elsewhere; nothing in it is believed until what it
// says it stored was read back.

// Answer is an endpoint's answer to one request.
type Answer struct {
	// Status is the HTTP status; 0 if there was no answer at all, Err says why.
	Status int
	Err    error
	// RetryAfter is how long the endpoint asked to be left alone; zero for not said.
	RetryAfter time.Duration
	// Body is read to its end or to the limit.
	Body io.Reader
}

// stored is what an endpoint says of one entry, or returns for it.
type stored struct {
	status   int
	location string   // Type/id
	version  string   // of the resource; empty if it is not said
	resource object   // of a search or a read, but for a Binary's data
	data     [32]byte // SHA-256 of that
	outcome  string   // what it says is wrong, in short
}

// errNonsense: an answer that fits no request.
var errNonsense = errors.New("record: the endpoint's answer makes no sense")

// responses reads a transaction-response, batch-response or searchset.
func responses(body io.Reader, want int) ([]stored, error) {
	var out []stored
	kind := ""
	err := readBundle(io.LimitReader(body, maxResponse), func(name string, v any) {
		if s, ok := v.(string); ok && name == "type" {
			kind = s
		}
	}, func(raw json.RawMessage) error {
		if len(out) >= want {
			return errNonsense
		}
		s, err := readStored(members(raw))
		out = append(out, s)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNonsense, err)
	}
	if kind != "transaction-response" && kind != "batch-response" {
		return nil, fmt.Errorf("%w: it is a Bundle of type %q", errNonsense, kind)
	}
	if len(out) != want {
		return nil, fmt.Errorf("%w: %d answers to %d entries", errNonsense, len(out), want)
	}
	return out, nil
}

// places finds Type/id and the version at the end of a location, which may be a whole URL.
var places = regexp.MustCompile(`(?:^|/)([A-Z][A-Za-z]+/[A-Za-z0-9.\-]{1,64})(?:/_history/([A-Za-z0-9.\-]{1,64}))?$`)

func readStored(e map[string]json.RawMessage) (stored, error) {
	o := make(object)
	if err := decodeInto(o, e, "response"); err != nil {
		return stored{}, err
	}
	r := sub(o, "response")
	s := stored{outcome: outcomeWords(sub(r, "outcome"))}
	if _, err := fmt.Sscanf(str(r, "status"), "%3d", &s.status); err != nil {
		s.status = 0
	}
	if m := places.FindStringSubmatch(str(r, "location")); m != nil {
		s.location, s.version = m[1], m[2]
	}
	if s.version == "" {
		s.version = strings.Trim(strings.TrimPrefix(str(r, "etag"), "W/"), `"`)
	}
	return s, s.read(e["resource"])
}

// read takes the resource of an answer. Of a Binary the data, which may be large, is taken as it stands, and only its hash is kept.
func (s *stored) read(raw json.RawMessage) error {
	all := members(raw)
	if len(all) == 0 {
		return nil
	}
	s.resource = make(object, len(all))
	for name := range all {
		if name == "data" && plainString(all["resourceType"]) == "Binary" {
			s.data = sumOf(all[name])
			continue
		}
		if err := decodeInto(s.resource, all, name); err != nil {
			return err
		}
	}
	return nil
}

// sumOf is the SHA-256 of what a string of base64 says; zero, which is of nothing, where it is no base64.
func sumOf(data json.RawMessage) (out [32]byte) {
	sum := sha256.New()
	if _, err := io.Copy(sum, base64.NewDecoder(base64.StdEncoding, bytes.NewReader(base64In(data)))); err == nil {
		sum.Sum(out[:0])
	}
	return out
}

// base64In is what stands in a string of base64, without a copy where it is spelt as usual.
func base64In(value json.RawMessage) []byte {
	text := bytes.Trim(value, `"`)
	if bytes.IndexByte(text, '\\') >= 0 {
		return []byte(plainString(value)) // nobody writes base64 so, but it says the same
	}
	return text
}

// outcomeWords is an OperationOutcome in short: codes and places, and at most one text of the endpoint's own. It may repeat what was sent,
// so it is shown to who sends and goes to no log.
func outcomeWords(o object) string {
	var words []string
	for _, issue := range list(o, "issue") {
		if s := str(issue, "severity"); s != "error" && s != "fatal" {
			continue
		}
		w := str(issue, "code")
		if text := str(sub(issue, "details"), "text"); text != "" {
			w += ": " + text
		} else if d := str(issue, "diagnostics"); d != "" {
			w += ": " + d
		}
		if at, _ := issue["expression"].([]any); len(at) > 0 {
			w += fmt.Sprintf(" (at %v)", at[0])
		}
		if words = append(words, cut(w, 200)); len(words) == 3 {
			break
		}
	}
	return strings.Join(words, "; ")
}

func cut(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// outcomeOf reads an OperationOutcome from the body of a refusal; empty if there is none.
func outcomeOf(body io.Reader) string {
	if body == nil {
		return ""
	}
	raw, err := io.ReadAll(io.LimitReader(body, 1<<20))
	if err != nil {
		return ""
	}
	var o object
	if json.Unmarshal(raw, &o) != nil || str(o, "resourceType") != "OperationOutcome" {
		return ""
	}
	return outcomeWords(o)
}

// shared are the types of resources that the record may have had before, with other content: only their names are compared. A message is
// never one of them, whatever its type: a role that was taken is a PractitionerRole.
var shared = map[string]bool{"Organization": true, "Practitioner": true, "PractitionerRole": true, "Patient": true}

// sameStored reports why what was read back is not what was sent, nil if it is. An endpoint may add to a resource, give it an id and
// resolve references; everything that was sent must be there.
func sameStored(sent, got object, location string, match bool) error {
	kind := str(sent, "resourceType")
	if str(got, "resourceType") != kind || kind+"/"+str(got, "id") != location {
		return fmt.Errorf("it returns another resource")
	}
	if match && shared[kind] && !isMessage(sent) {
		return samePerson(kind, sent, got)
	}
	if kind != "Binary" && !sameTags(sent, got) { // which is found under its id
		return errors.New("it does not have the tags that were sent, by which it is found again")
	}
	for name, want := range sent {
		if name == "id" || name == "text" || name == "meta" {
			continue
		}
		if !within(want, got[name]) {
			return fmt.Errorf("%s is not what was sent", name)
		}
	}
	return nil
}

// isMessage reports whether a resource is the first of a message.
func isMessage(r object) bool {
	return slices.ContainsFunc(list(r, "identifier"), func(id object) bool { return str(id, "system") == SystemEntry })
}

// sameMessage is what a message that the record had already must have in common with one that is sent. Another device may have put it there: when
// it came differs between devices, and so does what was known of the messages it points at.
func sameMessage(sent object) object {
	out := maps.Clone(sent)
	for _, name := range []string{"received", "issued", "basedOn", "inResponseTo", "about", "entity"} {
		delete(out, name)
	}
	return out
}

// sameTags reports whether every tag that was sent is there: what has no identifier in R4 would be made a second time without. An endpoint may
// add tags, and reorder them.
func sameTags(sent, got object) bool {
	for _, want := range list(sub(sent, "meta"), "tag") {
		if !slices.ContainsFunc(list(sub(got, "meta"), "tag"), func(tag object) bool {
			return str(tag, "system") == str(want, "system") && str(tag, "code") == str(want, "code")
		}) {
			return false
		}
	}
	return true
}

// samePerson compares whoever the record had already. A patient of another name or birthday is somebody else, or the number is wrong.
func samePerson(kind string, sent, got object) error {
	known := false
	for _, id := range list(sent, "identifier") {
		for _, other := range list(got, "identifier") {
			known = known || str(id, "system") == str(other, "system") && str(id, "value") == str(other, "value")
		}
	}
	if !known {
		return fmt.Errorf("it returns a %s without the identifier that was asked for", kind)
	}
	if kind != "Patient" {
		return nil
	}
	if a, b := str(sent, "birthDate"), str(got, "birthDate"); differs(a, b) {
		return errOtherPatient
	}
	families := []string{}
	for _, n := range list(got, "name") {
		families = append(families, str(n, "family"))
	}
	for _, n := range list(sent, "name") {
		family, agrees := str(n, "family"), len(families) == 0
		for _, f := range families {
			agrees = agrees || !differs(family, f)
		}
		if !agrees {
			return errOtherPatient
		}
	}
	return nil
}

// errOtherPatient: the record knows the number as somebody else's.
var errOtherPatient = errors.New("the record knows this NHS number as a patient of another name or date of birth: check the number, then attribute the messages again")

// within reports whether everything in want is in got. References may have been resolved: one that was local may be anything.
func within(want, got any) bool {
	switch w := want.(type) {
	case object:
		g, ok := got.(object)
		if !ok {
			return false
		}
		for k, v := range w {
			if s, isText := v.(string); isText && strings.HasPrefix(s, "urn:uuid:") && (k == "reference" || k == "url") {
				if r, ok := g[k].(string); !ok || r == "" {
					return false
				}
				continue
			}
			if !within(v, g[k]) {
				return false
			}
		}
		return true
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) < len(w) {
			return false
		}
		for i := range w {
			if !within(w[i], g[i]) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(want, got)
}

// retryable reports whether a status is worth another try as it is.
func retryable(status int) bool {
	return status == 0 || status == http.StatusConflict || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 500
}
