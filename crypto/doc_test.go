package crypto

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestEveryLabelIsOnTheMap finds the labels and domains in the sources below
// and demands that the package comment lists each, and that no two packages
// share one.
func TestEveryLabelIsOnTheMap(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	// "tocsin/1 vault journal, value, head" stands for three labels.
	text := strings.NewReplacer(
		"tocsin/1 vault journal, value, head", "tocsin/1 vault journal  tocsin/1 vault value  tocsin/1 vault head  ",
		"tocsin/1 seed, tocsin/1 next", "tocsin/1 seed  tocsin/1 next  ",
	).Replace(string(doc))
	owner := map[string]string{}
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			label, err := strconv.Unquote(lit.Value)
			isLabel := strings.HasPrefix(label, "tocsin/1 ") && len(label) > len("tocsin/1 ")
			isDomain := strings.HasPrefix(label, "tocsin/") && strings.HasSuffix(label, "\x00")
			if err != nil || !isLabel && !isDomain {
				return true
			}
			label = strings.TrimSuffix(label, "\x00")
			if !strings.Contains(text, "\t"+label+" ") && !strings.Contains(text, "  "+label+" ") {
				t.Errorf("%s uses the label %q, which crypto/doc.go does not list", path, label)
			}
			if o, ok := owner[label]; ok && o != filepath.Dir(path) {
				t.Errorf("%s and %s share the label %q", o, path, label)
			}
			owner[label] = filepath.Dir(path)
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(owner) < 10 {
		t.Errorf("found only %d labels: has their spelling changed?", len(owner))
	}
}
