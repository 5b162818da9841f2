package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// configFile reads one configuration file. Every error names line and column.
type configFile struct {
	path   string
	text   string
	md     toml.MetaData
	known  map[string]setting
	tables map[string]bool // the first halves of the keys that have a dot
	values map[string]value
}

// parseConfig reads the TOML text of the file at path into values.
func parseConfig(path, text string, values map[string]value) error {
	f := &configFile{path: path, text: text, known: make(map[string]setting), tables: make(map[string]bool), values: values}
	for _, s := range settings() {
		f.known[s.key] = s
		if table, _, ok := strings.Cut(s.key, "."); ok {
			f.tables[table] = true
		}
	}
	var tree map[string]toml.Primitive
	var err error
	if f.md, err = toml.Decode(text, &tree); err != nil {
		var syntax toml.ParseError
		if errors.As(err, &syntax) {
			return fail(exitInput, "Correct the file, or delete it to go back to the defaults.", "%s: %s",
				place(path, syntax.Position.Line, syntax.Position.Col), syntax.Message)
		}
		return fail(exitInput, "Correct the file, or delete it to go back to the defaults.", "%s: %w", path, err)
	}
	return f.table("", tree)
}

func (f *configFile) table(prefix string, tree map[string]toml.Primitive) error {
	for _, name := range slices.Sorted(keysOf(tree)) {
		key := prefix + name
		at := f.locate(tree[name], name)
		s, ok := f.known[key]
		switch {
		case prefix == "" && f.tables[key]:
			var inner map[string]toml.Primitive
			// The decoder leaves a map alone when the value is something else.
			if err := f.md.PrimitiveDecode(tree[name], &inner); err != nil || inner == nil {
				return fail(exitInput, "Write the line ["+key+"] and its settings below it.", "%s: %q is a table of settings", at, key)
			}
			if err := f.table(key+".", inner); err != nil {
				return err
			}
		case !ok:
			return fmt.Errorf("%s: %w", at, unknown("setting", key, slices.Collect(keysOf(f.known))))
		default:
			v := tomlValue{kind: s.kind}
			if err := f.md.PrimitiveDecode(tree[name], &v); err != nil {
				return fail(exitInput, "'tocsin config explain' shows how each setting is written.", "%s: %s must be %s", at, key, v.wanted())
			}
			f.values[key] = value{v.items, at}
		}
	}
	return nil
}

// place writes where something stands, as compilers do.
func place(path string, line, col int) string {
	return path + ", line " + strconv.Itoa(line) + ", column " + strconv.Itoa(col)
}

// locate says where the key of a value stands. The decoder gives positions only
// with errors, and of the value, so it is made to fail, and the key is looked
// for in front of the value.
func (f *configFile) locate(p toml.Primitive, name string) string {
	var at toml.ParseError
	if err := f.md.PrimitiveDecode(p, new(probe)); errors.As(err, &at) && at.Position.Line > 0 {
		lines := strings.SplitN(f.text, "\n", at.Position.Line+1)
		line := lines[at.Position.Line-1]
		col := min(max(at.Position.Col, 1), len(line)+1)
		if i := strings.LastIndex(line[:col-1], name); i >= 0 {
			col = i + 1
		}
		return place(f.path, at.Position.Line, col)
	}
	// The table of a dotted key has no position: it is named where it is first
	// used.
	for n, line := range strings.Split(f.text, "\n") {
		if i := strings.Index(line, name+"."); i >= 0 && strings.TrimSpace(line[:i]) == "" {
			return place(f.path, n+1, i+1)
		}
	}
	return f.path
}

// probe fails on purpose, for the position that comes with the error.
type probe struct{}

var errProbe = errors.New("position")

// UnmarshalTOML implements toml.Unmarshaler.
func (*probe) UnmarshalTOML(any) error { return errProbe }

// tomlValue decodes the value of one setting.
type tomlValue struct {
	kind  kind
	items []string
}

var errKind = errors.New("another type")

func (v *tomlValue) wanted() string {
	return [...]string{"text in quotes", "a list of texts in quotes", "true or false"}[v.kind]
}

// UnmarshalTOML implements toml.Unmarshaler.
func (v *tomlValue) UnmarshalTOML(data any) error {
	switch d := data.(type) {
	case string:
		v.items = []string{d}
		return v.is(textKind)
	case bool:
		v.items = []string{strconv.FormatBool(d)}
		return v.is(boolKind)
	case []any:
		v.items = make([]string, 0, len(d))
		for _, item := range d {
			s, ok := item.(string)
			if !ok {
				return errKind
			}
			v.items = append(v.items, s)
		}
		return v.is(listKind)
	}
	return errKind
}

func (v *tomlValue) is(k kind) error {
	if v.kind != k {
		return errKind
	}
	return nil
}
