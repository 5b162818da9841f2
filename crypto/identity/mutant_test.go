package identity

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A mutant is a chain that differs from a good one in one respect. The rule
// that it breaks must refuse it, by name: without that rule the mutant passes,
// or trips over another rule, and the test fails.
type mutant struct {
	name   string
	base   options
	mutate func(c *chainSpec, k *keySet)
	want   check
	kind   error // ErrRefused unless set
}

var (
	admissionLeaf    = options{}
	credentialLeaf   = options{credential: true}
	registrarChain   = options{registrar: true}
	registrarCred    = options{registrar: true, credential: true}
	ecdsaChain       = options{ecdsa: true}
	ecdsaViaRegister = options{ecdsa: true, registrar: true, credential: true}
)

// TestGoodChains is the control of the experiment: what the mutants are made
// from passes.
func TestGoodChains(t *testing.T) {
	k := newKeySet(t)
	for _, o := range []options{admissionLeaf, credentialLeaf, registrarChain, registrarCred, ecdsaChain, ecdsaViaRegister, {ecdsa: true, registrar: true}, {ecdsa: true, credential: true}} {
		if err := goodChain(t, k, o).verify(); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func runMutants(t *testing.T, mutants []mutant) {
	k := newKeySet(t)
	for _, m := range mutants {
		t.Run(string(m.want)+"/"+m.name, func(t *testing.T) {
			c := goodChain(t, k, m.base)
			m.mutate(c, k)
			assertRefused(t, c.verify(), m.want, m.kind)
		})
	}
}

// assertRefused demands that exactly this rule refused.
func assertRefused(t *testing.T, err error, want check, kind error) {
	t.Helper()
	if kind == nil {
		kind = ErrRefused
	}
	var r *refusal
	switch {
	case err == nil:
		t.Errorf("accepted; the rule %q should refuse", want)
	case !errors.As(err, &r):
		t.Errorf("refused by no rule: %v", err)
	case r.check != want:
		t.Errorf("refused by %q, want %q: %v", r.check, want, err)
	case !errors.Is(err, kind):
		t.Errorf("%v does not wrap %v", err, kind)
	case Reason(err) != string(want):
		t.Errorf("Reason is %q", Reason(err))
	}
}

// TestEveryRuleHasAMutant reads the names of the rules from the source, and
// demands that each is refused by name in a test and explained, with that test,
// in PROFILE.md or STATEMENTS.md.
func TestEveryRuleHasAMutant(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "refusal.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	rules := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); ok && id.Name == "check" {
			rules[spec.Names[0].Name] = strings.Trim(spec.Values[0].(*ast.BasicLit).Value, `"`)
		}
		return true
	})
	if len(rules) < 40 {
		t.Fatalf("found only %d rules in refusal.go", len(rules))
	}
	tests, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, name := range tests {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	var profile []byte
	for _, page := range []string{"PROFILE.md", "STATEMENTS.md"} {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		profile = append(profile, b...)
	}
	for name, word := range rules {
		if !regexp.MustCompile(`\b` + name + `\b`).Match(all) {
			t.Errorf("no test names the rule %s", name)
		}
		row := regexp.MustCompile("(?m)^\\| `" + word + "` \\|.*\\| (Test[^|]*) \\|$").FindSubmatch(profile)
		if row == nil {
			t.Errorf("neither PROFILE.md nor STATEMENTS.md lists the rule %q and its tests", word)
			continue
		}
		for test := range strings.SplitSeq(string(row[1]), ", ") {
			if !strings.Contains(string(all), "func "+test+"(t *testing.T)") {
				t.Errorf("the rule %q has no test %s", word, test)
			}
		}
	}
	if listed := regexp.MustCompile("(?m)^\\| `[a-z-]+` \\| [^|]* \\| Test").FindAll(profile, -1); len(listed) != len(rules) {
		t.Errorf("the pages list %d rules, the code has %d", len(listed), len(rules))
	}
}
