package record

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"tocsin/node/message"
)

// device is an upload of some messages by somebody, at some time, to an endpoint; it returns the ids of the messages.
func device(t *testing.T, endpoint string, by Author, written time.Duration, left Left, items ...Item) []string {
	t.Helper()
	in := incident(items...)
	in.By, in.Written, in.Left = by, in.Written.Add(written), left
	x, err := New(in, files())
	must(t, err)
	u := upload(t, x, nil)
	must(t, sender(t, endpoint, &wire{}).Run(t.Context(), u))
	whole(t, x, u)
	for _, one := range u.units {
		if one.state != unitDone {
			t.Errorf("%s: %s", one.key, one.reason)
		}
	}
	var ids []string
	for _, in := range items {
		ids = append(ids, id(t, in).String())
	}
	slices.Sort(ids)
	return ids
}

// listed are the messages that a page at an endpoint in memory leads to, sorted.
func (m *memory) listed(t *testing.T, page object) (ids []string) {
	t.Helper()
	for _, s := range list(page, "section") {
		for _, e := range list(s, "entry") {
			kind, at, _ := strings.Cut(str(e, "reference"), "/")
			for _, r := range m.all[kind] {
				if r["id"] != at {
					continue
				}
				names := list(r, "identifier")
				if kind == "AuditEvent" {
					names = list(sub(r, "meta"), "tag")
				}
				for _, n := range names {
					if str(n, "system") == SystemEntry {
						ids = append(ids, str(n, "value")+str(n, "code"))
					}
				}
			}
		}
	}
	slices.Sort(ids)
	return ids
}

// Two devices that hand over different parts of one incident, and one that comes late when the rest is erased there, leave a page each, which lists all that it handed
// over; the same messages again, by whomever and whenever, make no other page and change none.
func TestUploadPages(t *testing.T) {
	m, items := newMemory(), scene(t)
	endpoint := serve(t, m)
	parts := [][]Item{items[:20], items[20 : len(items)-3], items[len(items)-3:]}
	left := Left{Unsigned: 2, Elsewhere: 1, Unopened: 3}
	var want [][]string
	var before string
	for again := range 2 {
		late := time.Duration(again) * time.Hour
		by := []Author{amal(), bryn()}
		if again > 0 {
			slices.Reverse(by)
		}
		for i, part := range parts {
			ids := device(t, endpoint, by[i%2], late+time.Duration(i)*time.Minute, left, part...)
			if pages := m.all["Composition"]; again == 0 && len(pages) != i+1 {
				t.Fatalf("%d pages after %d transfers", len(pages), i+1)
			}
			if again == 0 {
				want = append(want, ids)
			}
		}
		raw, err := json.Marshal(m.all["Composition"])
		must(t, err)
		if again > 0 && string(raw) != before {
			t.Error("the same messages again changed the pages, or made others")
		}
		before = string(raw)
	}
	names := map[string]bool{}
	for i, page := range m.all["Composition"] {
		if got := m.listed(t, page); !slices.Equal(got, want[i]) {
			t.Errorf("page %d lists %d messages, want %d", i, len(got), len(want[i]))
		}
		names[str(sub(page, "identifier"), "value")] = true
		if !has(list(sub(page, "meta"), "tag"), "code", SystemIncident+"|"+strings.Repeat("ab", 32)) {
			t.Errorf("page %d is not found by the incident", i)
		}
		words := str(sub(page, "text"), "div")
		for _, w := range []string{"2 messages not signed off there", "1 message that colleagues say", "3 entries of its members"} {
			if !strings.Contains(words, w) {
				t.Errorf("page %d does not say %q", i, w)
			}
		}
		if title := str(page, "title"); !strings.Contains(title, "part of the log, "+counted(len(want[i]), "message")+" from ") {
			t.Errorf("page %d is called %q", i, title)
		}
	}
	if len(names) != len(parts) {
		t.Errorf("the names of the pages are %v", slices.Collect(maps.Keys(names)))
	}
}

// A page is named by its group and what it lists, in any order, and by nothing else; one that would list nothing is not made.
func TestPageName(t *testing.T) {
	items := scene(t)
	none := func(*item) bool { return false }
	name := func(change func(*Incident), without func(*item) bool) string {
		in := incident(slices.Clone(items)...)
		change(&in)
		x, err := New(in, files())
		must(t, err)
		e, err := x.part(without)
		must(t, err)
		c := e.Resource.(*Composition)
		if !strings.HasPrefix(e.Request.IfNoneExist, "identifier=") || e.Request.Method != "POST" {
			t.Errorf("a page could be replaced: %+v", e.Request)
		}
		return c.Identifier.Value
	}
	first := name(func(*Incident) {}, none)
	for what, change := range map[string]func(*Incident){
		"order": func(in *Incident) { slices.Reverse(in.Items) }, "time": func(in *Incident) { in.Written = in.Written.Add(time.Hour) },
		"sender": func(in *Incident) { in.By = bryn() }, "name": func(in *Incident) { in.Name = "Another" }, "left": func(in *Incident) { in.Left.Missing = 1 },
	} {
		if name(change, none) != first {
			t.Errorf("another %s makes another page", what)
		}
	}
	if name(func(in *Incident) { in.Group[0]++ }, none) == first || name(func(in *Incident) { in.Items = in.Items[1:] }, none) == first ||
		name(func(*Incident) {}, func(it *item) bool { return it.Message.Kind() == message.KindSBAR }) == first {
		t.Error("another group, or other messages, make the same page")
	}
	x := small(t)
	if _, err := x.part(func(*item) bool { return true }); err == nil {
		t.Error("a page of nothing")
	}
}
