package record

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"html"
	"maps"
	"slices"
	"strings"
)

// The last look before anything is handed out: the finished bytes are read again and searched for what was to be blacked out, in every
// spelling. It does not rest on how they were made: a form with more places than rows would be found here.

var errStillThere = errors.New("its words still stand in what would be handed out, and nothing was: they may not be in the reference of the request, nor in the reasons of redactions")

// frame is the same export without anything that people wrote. What is found in it is ours: "party" in a heading.
func (a *Access) frame() *Access {
	f := *a
	f.req.Reference, f.by, f.found = "", "", nil
	for _, m := range a.found {
		bare := *m
		bare.incident, bare.blacks, bare.sealed, bare.rows = "", nil, true, slices.Clone(m.rows)
		for i := range bare.rows {
			bare.rows[i].Text = ""
		}
		f.found = append(f.found, &bare)
	}
	return &f
}

// leaks refuses finished bytes that hold what was to be blacked out. parts cuts them: first what is about all messages, then each message.
func (a *Access) leaks(raw []byte, form func(*Access) ([]byte, error), parts func([]byte) ([]string, error)) error {
	if len(a.req.Redactions) == 0 {
		return nil
	}
	got, err := parts(raw)
	if err != nil {
		return err
	}
	ours, err := form(a.frame())
	if err != nil {
		return err
	}
	blank, err := parts(ours)
	if err != nil {
		return err
	}
	if len(got) != len(a.found)+1 || len(blank) != len(got) {
		return errors.New("record: what was written of a request cannot be read again")
	}
	for i, r := range a.req.Redactions {
		for p := range got {
			if !r.Entry.IsZero() && (p == 0 || a.found[p-1].id != r.Entry) {
				continue
			}
			if n := len(a.blacks[i].FindAllStringIndex(got[p], -1)); n > 0 && n > len(a.blacks[i].FindAllStringIndex(blank[p], -1)) {
				return invalid("redaction %d: %w", i+1, errStillThere)
			}
		}
	}
	return nil
}

// pageParts reads the page.
func pageParts(raw []byte) ([]string, error) {
	parts := strings.Split(string(raw), "<article>") // what people wrote has no "<" there
	for i := range parts {
		parts[i] = normal(html.UnescapeString(parts[i]))
	}
	return parts, nil
}

// machineParts reads the machine form.
func machineParts(raw []byte) ([]string, error) {
	var head map[string]json.RawMessage
	var messages []map[string]json.RawMessage
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(head["messages"], &messages); err != nil {
		return nil, err
	}
	delete(head, "messages")
	parts := make([]string, 0, len(messages)+1)
	for _, m := range append([]map[string]json.RawMessage{head}, messages...) {
		for _, random := range []string{"header", "signature", "opening"} {
			delete(m, random) // keys, sums and random bytes: nobody's words
		}
		payload, err := hex.DecodeString(plainString(m["payload"]))
		if err != nil {
			return nil, err
		}
		delete(m, "payload")
		words := []string{string(payload)}
		for _, name := range slices.Sorted(maps.Keys(m)) {
			if words, err = stringsIn(m[name], words); err != nil {
				return nil, err
			}
		}
		parts = append(parts, normal(strings.Join(words, "\n|x|\n"))) // a letter: numbers of two places are two
	}
	return parts, nil
}

// stringsIn appends all strings of a value, names included.
func stringsIn(raw json.RawMessage, to []string) ([]string, error) {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, err
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			to = append(to, v)
		case []any:
			for _, one := range v {
				walk(one)
			}
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				to = append(to, name)
				walk(v[name])
			}
		}
	}
	walk(v)
	return to, nil
}
