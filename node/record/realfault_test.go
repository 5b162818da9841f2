package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestRealEndpointInterrupted: an upload to Medplum's endpoint that ends at any request, before it arrives or after it was committed, and
// is begun again by a process that knows the receipts alone, leaves exactly one of each resource there.
func TestRealEndpointInterrupted(t *testing.T) {
	base := strings.TrimSuffix(medplum(t), "/fhir")
	x := few(t)
	w := &wire{}
	must(t, sender(t, base+"/whole/fhir", w).Run(t.Context(), upload(t, x, nil)))
	onceEach(t, base+"/whole/fhir", x)
	if w.n < 8 {
		t.Fatalf("the upload takes %d requests only: nothing to interrupt", w.n)
	}
	cut := 0
	for at := 1; at <= w.n; at++ {
		for i, f := range faults()[:2] {
			endpoint := fmt.Sprintf("%s/at-%d-%d/fhir", base, at, i)
			ctx, cancel := context.WithCancel(t.Context())
			var kept []Receipt
			c := sender(t, endpoint, &wire{at: at, fault: f, end: cancel})
			if i == 1 { // the answer is lost, and the process with it
				f.after = func(r *http.Response) (*http.Response, error) { r.Body.Close(); cancel(); return nil, errCut }
				c = sender(t, endpoint, &wire{at: at, fault: f})
			}
			c.Saved = func(news []Receipt) error { kept = append(kept, news...); return nil }
			err := c.Run(ctx, upload(t, x, nil))
			cancel()
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Fatalf("interrupted at request %d (%s): %v", at, f.name, err)
			}
			if err != nil { // else answers came in another order, and there were fewer requests
				cut++
			}
			u := upload(t, x, kept)
			must(t, sender(t, endpoint, &wire{}).Run(t.Context(), u))
			whole(t, x, u)
			onceEach(t, endpoint, x)
		}
	}
	if cut < w.n {
		t.Errorf("%d of %d uploads were interrupted: the test shows little", cut, 2*w.n)
	}
	t.Logf("%d requests, %d uploads interrupted and gone on with", w.n, cut)
}

// onceEach holds what an endpoint has, type by type, against what was to be sent.
func onceEach(t *testing.T, endpoint string, x *Export) {
	t.Helper()
	want := make(map[string]int)
	for e, err := range x.all() {
		must(t, err)
		want[e.Resource.Kind()]++
	}
	for kind, n := range want {
		resp, err := http.Get(endpoint + "/" + kind + "?_count=1000")
		must(t, err)
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		must(t, err)
		found, names := 0, make(map[string]bool)
		must(t, readBundle(strings.NewReader(string(body)), func(string, any) {}, func(raw json.RawMessage) error {
			found++
			names[nameOf(members(members(raw)["resource"]))] = true
			return nil
		}))
		if found != n || len(names) != n {
			t.Errorf("%s: %d of type %s with %d names, want %d", endpoint, found, kind, len(names), n)
		}
	}
}

// nameOf is what a resource is found by: its identifiers, or its tags, or its id.
func nameOf(r map[string]json.RawMessage) string {
	if id, ok := r["identifier"]; ok {
		return string(id)
	}
	if tags, ok := members(r["meta"])["tag"]; ok {
		return string(tags)
	}
	return string(r["id"])
}
