package record

import (
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
