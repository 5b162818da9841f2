package api

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestNobodyNamesThemselves: no request sets what a person is called: names come from credentials. A new property or parameter that
// sounds like a name has to be looked at, and written down here with what it names.
func TestNobodyNamesThemselves(t *testing.T) {
	named := map[string]string{
		"POST /v1/groups name":                  "the conversation",
		"POST /v1/groups/{id}/attachments name": "the file",
	}
	sounds := regexp.MustCompile(`(?i)name|nick|alias|title|display|label|signature|called`)
	d := readDescription(t)
	seen := 0
	for route, op := range d.operations(t) {
		var properties []string
		for _, schema := range bodySchemas(t, d, op) {
			seen++
			for name := range schema["properties"].(map[string]any) {
				properties = append(properties, name)
			}
		}
		for _, p := range asList(op["parameters"]) {
			if m, ok := p.(map[string]any); ok && m["in"] == "query" {
				properties = append(properties, m["name"].(string))
			}
		}
		for _, name := range properties {
			if sounds.MatchString(name) && named[route+" "+name] == "" {
				t.Errorf("%s takes %q: whom or what does it name?", route, name)
			}
		}
	}
	if seen < 15 {
		t.Errorf("only %d bodies were looked at", seen)
	}
	// The forms of all kinds: what a field calls people is an address, never a name.
	b := newBench(t)
	kinds, err := b.dial(t).Kinds(t.Context())
	must(t, err)
	allowed := []string{"incident name", "attachment name"} // the incident's, and the file's
	for _, k := range kinds.Kinds {
		for _, f := range k.Fields {
			if sounds.MatchString(f.Name) && !slices.Contains(allowed, k.Kind+" "+f.Name) {
				t.Errorf("kind %s has the field %q: whom or what does it name?", k.Kind, f.Name)
			}
		}
	}
}

func asList(v any) []any {
	list, _ := v.([]any)
	return list
}

// bodySchemas are the object schemas of an operation's JSON body, references resolved.
func bodySchemas(t *testing.T, d described, op map[string]any) (out []map[string]any) {
	t.Helper()
	body, ok := op["requestBody"].(map[string]any)
	if !ok {
		return nil
	}
	media, ok := body["content"].(map[string]any)["application/json"].(map[string]any)
	if !ok {
		return nil
	}
	schema := media["schema"].(map[string]any)
	if ref, ok := schema["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/components/schemas/")
		if schema, ok = d.schemas[name].(map[string]any); !ok {
			t.Fatalf("no schema %s", name)
		}
	}
	if _, ok := schema["properties"].(map[string]any); ok {
		out = append(out, schema)
	}
	return out
}
