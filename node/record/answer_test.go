package record

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tocsin/ledger"
	"tocsin/node/message"
)

// answeringOtherwise is an endpoint that stores what it is sent and returns some of it as something else.
func answeringOtherwise(t *testing.T, spoil func(object)) string {
	t.Helper()
	m := newMemory()
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		m.ServeHTTP(answer, r)
		var b object
		if err := json.Unmarshal(answer.Body.Bytes(), &b); err != nil {
			t.Error(err)
		}
		for _, e := range list(b, "entry") {
			if one := sub(e, "resource"); one != nil {
				spoil(one)
			}
		}
		w.Header().Set("Content-Type", "application/fhir+json")
		w.WriteHeader(answer.Code)
		if err := json.NewEncoder(w).Encode(b); err != nil {
			t.Error(err)
		}
	}))
}

// What an endpoint returns of a message, and without the tags that find it again, is no receipt if it is something else: a role that was taken
// is a message, though the record may have had the people before.
func TestUploadReadBackWhole(t *testing.T) {
	a := newWriter(t, amal())
	role := a.say(&message.Role{Role: "medical-registrar", Action: message.RoleTake, Until: noon.Add(8 * time.Hour)}, ledger.Routine)
	text := a.say(&message.Text{Body: "Bay 4 is clear"}, ledger.Routine)
	x, err := New(incident(role, text), files())
	must(t, err)
	duty, words := id(t, role), id(t, text)
	period := func(r object) {
		if str(r, "resourceType") == "PractitionerRole" && isMessage(r) {
			r["period"] = object{"start": "2000-01-01"}
		}
	}
	tagless := func(kind string) func(object) {
		return func(r object) {
			if str(r, "resourceType") == kind {
				delete(r, "meta")
			}
		}
	}
	for name, c := range map[string]struct {
		spoil func(object)
		twice bool
		want  []ledger.ID
	}{
		"as it was sent":                     {func(object) {}, true, []ledger.ID{duty, words}},
		"a role at another time":             {period, false, []ledger.ID{words}},
		"a role at another time, once more":  {period, true, []ledger.ID{words}},
		"a Provenance without its tags":      {tagless("Provenance"), false, nil},
		"a Communication without its tags":   {tagless("Communication"), true, []ledger.ID{duty}},
		"with more tags, and in other order": {func(r object) { addTag(r) }, true, []ledger.ID{duty, words}},
		"people with other roles": {func(r object) {
			if str(r, "resourceType") == "PractitionerRole" && !isMessage(r) {
				r["code"] = []any{object{"text": "porter"}}
			}
		}, true, []ledger.ID{duty, words}},
	} {
		spoil := c.spoil
		var on atomic.Bool
		on.Store(!c.twice)
		endpoint := answeringOtherwise(t, func(r object) {
			if on.Load() {
				spoil(r)
			}
		})
		if c.twice { // all of it is there already, and is answered with 200
			must(t, sender(t, endpoint, &wire{}).Run(t.Context(), upload(t, x, nil)))
			on.Store(true)
		}
		u := upload(t, x, nil)
		if err := sender(t, endpoint, &wire{}).Run(t.Context(), u); err != nil && !strings.Contains(err.Error(), "record:") {
			t.Errorf("%s: %v", name, err)
		}
		for _, one := range []ledger.ID{duty, words} {
			if _, got := u.receipts[one]; got != slices.Contains(c.want, one) {
				t.Errorf("%s: a receipt for %s: %v", name, one, got)
			}
		}
	}
}

// addTag gives a resource one more tag, before the others.
func addTag(r object) {
	if meta := sub(r, "meta"); meta != nil {
		tags, _ := meta["tag"].([]any)
		meta["tag"] = append([]any{object{"system": "https://record.example/tags", "code": "new"}}, tags...)
	}
}
