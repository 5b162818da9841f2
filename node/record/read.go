package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// errNoBundle: what was read is no Bundle.
var errNoBundle = errors.New("record: not a Bundle in JSON")

// readBundle reads a Bundle entry by entry: one is in memory at a time. head is given every other field of the Bundle, in
// whatever order they come.
func readBundle(r io.Reader, head func(name string, value any), entry func(json.RawMessage) error) error {
	err := readWhole(r, head, entry)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF // it ended in the middle, wherever that was noticed
	}
	return err
}

func readWhole(r io.Reader, head func(name string, value any), entry func(json.RawMessage) error) error {
	dec := json.NewDecoder(r)
	if err := expect(dec, json.Delim('{')); err != nil {
		return err
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		if name != "entry" {
			var value any
			if err := dec.Decode(&value); err != nil {
				return err
			}
			if name == "resourceType" && value != "Bundle" {
				return errNoBundle
			}
			head(name, value)
			continue
		}
		if err := readEntries(dec, entry); err != nil {
			return err
		}
	}
	if err := expect(dec, json.Delim('}')); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows it", errNoBundle)
	}
	return nil
}

func readEntries(dec *json.Decoder, entry func(json.RawMessage) error) error {
	if err := expect(dec, json.Delim('[')); err != nil {
		return err
	}
	for dec.More() {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return err
		}
		if err := entry(raw); err != nil {
			return err
		}
	}
	return expect(dec, json.Delim(']'))
}

func expect(dec *json.Decoder, want json.Delim) error {
	t, err := dec.Token()
	if err != nil {
		return err
	}
	if t != want {
		return errNoBundle
	}
	return nil
}

// members are the members of an object on its first level, as they are spelt, without a copy. raw is valid JSON, as [readBundle] hands it
// out; of what is no object there are none, and of two members of one name the last counts, as with package json.
func members(raw []byte) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, 16)
	at := skipSpace(raw, 0)
	if at >= len(raw) || raw[at] != '{' {
		return out
	}
	for at = skipSpace(raw, at+1); at < len(raw) && raw[at] == '"'; at = skipSpace(raw, at) {
		end := valueEnd(raw, at)
		name := plainString(raw[at:end])
		at = skipSpace(raw, skipSpace(raw, end)+1) // behind the colon
		end = valueEnd(raw, at)
		out[name] = raw[at:end]
		if at = skipSpace(raw, end); at < len(raw) && raw[at] == ',' {
			at++
		}
	}
	return out
}

// skipSpace is where white space ends that begins at a place.
func skipSpace(raw []byte, at int) int {
	for at < len(raw) && (raw[at] == ' ' || raw[at] == '\n' || raw[at] == '\t' || raw[at] == '\r') {
		at++
	}
	return at
}

// valueEnd is where the value ends that begins at a place.
func valueEnd(raw []byte, at int) int {
	depth := 0
	for at < len(raw) {
		switch raw[at] {
		case '"':
			at = stringEnd(raw, at)
		case '{', '[':
			depth++
			at++
		case '}', ']':
			if depth == 0 {
				return at // a number or a word ended
			}
			depth--
			at++
		case ',', ' ', '\n', '\t', '\r':
			if depth == 0 {
				return at
			}
			at++
		default:
			at++
			continue // numbers and words end at what follows them
		}
		if depth == 0 {
			return at
		}
	}
	return at
}

// stringEnd is where the string ends that begins at a place.
func stringEnd(raw []byte, at int) int {
	for at++; at < len(raw); at++ {
		n := bytes.IndexByte(raw[at:], '"')
		if n < 0 {
			return len(raw)
		}
		at += n
		slashes := 0
		for raw[at-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return at + 1
		}
	}
	return len(raw)
}

// plainString is the string that a JSON value is, empty if it is none.
func plainString(raw []byte) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// decodeInto adds one member to an object, if it is there.
func decodeInto(o object, from map[string]json.RawMessage, name string) error {
	raw, ok := from[name]
	if !ok {
		return nil
	}
	var v any
	err := json.Unmarshal(raw, &v)
	o[name] = v
	return err
}
