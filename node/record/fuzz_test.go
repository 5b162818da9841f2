package record

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzCheck: our own check and the proof reader take whatever they are given without a panic, and a Bundle without fault stays so however
// often it is read.
func FuzzCheck(f *testing.F) {
	x, err := New(incident(scene(f)[:3]...), files())
	must(f, err)
	var doc bytes.Buffer
	_, err = x.Document(&doc)
	must(f, err)
	f.Add(doc.Bytes())
	f.Add([]byte(`{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Patient"}}]}`))
	f.Add([]byte(`{"entry":[[]]}`))
	trust := newWorld(f).trust
	f.Fuzz(func(t *testing.T, raw []byte) {
		first, err := Check(bytes.NewReader(raw))
		must(t, err)
		again, err := Check(bytes.NewReader(raw))
		must(t, err)
		if len(first) != len(again) {
			t.Errorf("%d faults, then %d", len(first), len(again))
		}
		if rep, err := VerifyPackage(bytes.NewReader(raw), trust); err == nil && rep.Proved > 0 {
			t.Error("something made up is proved")
		}
	})
}

// FuzzResponses: an endpoint may answer anything.
func FuzzResponses(f *testing.F) {
	f.Add(`{"resourceType":"Bundle","type":"transaction-response","entry":[{"response":{"status":"201 Created","location":"Patient/1/_history/2","etag":"W/\"2\""}}]}`, 1)
	f.Add(`{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"invalid","expression":["a"],"details":{"text":"x"}}]}`, 3)
	f.Fuzz(func(t *testing.T, body string, want int) {
		got, err := responses(strings.NewReader(body), want)
		if err == nil && len(got) != want {
			t.Errorf("%d answers to %d entries", len(got), want)
		}
		for _, s := range got {
			if strings.ContainsAny(s.location, "?# \n:") {
				t.Errorf("a location that leads elsewhere: %q", s.location)
			}
		}
		if words := outcomeOf(strings.NewReader(body)); strings.ContainsAny(words, "\n\r\x1b") {
			t.Errorf("words that act on a terminal: %q", words)
		}
	})
}
