package docs

import (
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The rules of the house (design, README "The house" and style) are functions
// from the files of the module to what is wrong with them. TestHouse holds
// them against this module, TestHouseRules against planted violations.

// house is the module as the rules see it.
type house struct {
	top   []string // names in its root
	files map[string]string
	code  []*source
}

// source is one Go file.
type source struct {
	path string // from the root, with slashes
	text string
	fset *token.FileSet
	ast  *ast.File
}

func (s *source) dir() string { return path.Dir(s.path) }
func (s *source) test() bool  { return strings.HasSuffix(s.path, "_test.go") }
func (s *source) lines() int  { return strings.Count(s.text, "\n") }
func (s *source) under(dir string) bool {
	return s.dir() == dir || strings.HasPrefix(s.dir(), dir+"/")
}

func (s *source) at(pos token.Pos) string {
	return fmt.Sprintf("%s:%d", s.path, s.fset.Position(pos).Line)
}

// newHouse parses files, a map from path to text.
func newHouse(t *testing.T, top []string, files map[string]string) *house {
	t.Helper()
	h := &house{top: top, files: files}
	for name, text := range files {
		if path.Ext(name) != ".go" {
			continue
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, name, text, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if !tool(parsed) {
			h.code = append(h.code, &source{name, text, fset, parsed})
		}
	}
	slices.SortFunc(h.code, func(a, b *source) int { return strings.Compare(a.path, b.path) })
	return h
}

// tool reports whether a file is kept from every build by a tag that only
// tools set.
func tool(f *ast.File) bool {
	for _, group := range f.Comments {
		for _, c := range group.List {
			if c.Pos() > f.Package || !constraint.IsGoBuild(c.Text) {
				continue
			}
			expr, err := constraint.Parse(c.Text)
			if err == nil && !expr.Eval(func(tag string) bool { return tag != "deps" && tag != "ignore" }) {
				return true
			}
		}
	}
	return false
}

// readHouse reads this module: its Go files and its Markdown, wherever they are
// but in folders with a dot, and what .gitignore leaves out.
func readHouse(t *testing.T) *house {
	t.Helper()
	const root = ".."
	ignored := ignoredNames(t, root)
	files := make(map[string]string)
	var top []string
	err := filepath.WalkDir(root, func(p string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(strings.TrimPrefix(p, root), string(filepath.Separator)))
		name := entry.Name()
		switch {
		case rel == "":
			return nil
		case name[0] == '.' || ignored(rel):
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.Contains(rel, "/") {
			top = append(top, rel)
		}
		if entry.IsDir() {
			return nil
		}
		var text []byte
		switch ext := path.Ext(rel); {
		case ext == ".go" && !strings.Contains(rel, "/testdata/"), ext == ".md":
			if text, err = os.ReadFile(p); err != nil {
				return err
			}
		}
		files[rel] = string(text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return newHouse(t, top, files)
}

// ignoredNames reads the patterns of .gitignore that stand at the root.
func ignoredNames(t *testing.T, root string) func(string) bool {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	patterns := strings.Fields(string(b))
	return func(rel string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool {
			ok, err := path.Match(strings.TrimPrefix(p, "/"), rel)
			return err == nil && ok
		})
	}
}

// rules are all the rules, by name.
var rules = map[string]func(*house) []string{
	"imports":      checkImports,
	"package docs": checkPackageDocs,
	"clock":        checkClock,
	"pure cores":   checkPure,
	"test sleeps":  checkSleeps,
	"top level":    checkTop,
	"file length":  checkLength,
	"links":        checkLinks,
	"glossary":     checkNames,
	"claims":       checkClaims,
}

func TestHouse(t *testing.T) {
	h := readHouse(t)
	if len(h.code) < 20 {
		t.Fatalf("only %d Go files were found", len(h.code))
	}
	for name, check := range rules {
		t.Run(name, func(t *testing.T) {
			for _, fault := range check(h) {
				t.Error(fault)
			}
		})
	}
}

// Top level.

var topNames = []string{"node", "mesh", "crypto", "ledger", "cmd", "sim", "docs",
	"go.mod", "go.sum", "README.md", "CHANGELOG.md", "LICENSE"}

func checkTop(h *house) (faults []string) {
	for _, name := range h.top {
		if !slices.Contains(topNames, name) && name[0] != '.' {
			faults = append(faults, fmt.Sprintf("%s: the top level holds %s, and dot-files; put it into the folder it belongs to",
				name, strings.Join(topNames, " ")))
		}
	}
	return faults
}

// File length.

const maxLines = 800

func checkLength(h *house) (faults []string) {
	for _, s := range h.code {
		if n := s.lines(); n > maxLines {
			faults = append(faults, fmt.Sprintf("%s: %d lines, %d are allowed; split it by what it holds", s.path, n, maxLines))
		}
	}
	return faults
}

// Package docs.

// minSentence is the least length of a package doc that can say something.
const minSentence = 40

func checkPackageDocs(h *house) (faults []string) {
	docs := make(map[string]string)
	names := make(map[string]string)
	for _, s := range h.code {
		if s.test() {
			continue
		}
		names[s.dir()] = s.ast.Name.Name
		if text := s.ast.Doc.Text(); len(text) > len(docs[s.dir()]) {
			docs[s.dir()] = text
		}
	}
	for _, dir := range sortedKeys(names) {
		text, begin := strings.TrimSpace(docs[dir]), []string{"Package " + names[dir] + " "}
		if names[dir] == "main" {
			begin = []string{"Command ", "Tocsin"}
		}
		starts := slices.ContainsFunc(begin, func(b string) bool { return strings.HasPrefix(text, b) })
		if !starts || len(text) < minSentence || !strings.Contains(text, ".") {
			faults = append(faults, fmt.Sprintf("%s: its package doc must be a sentence that begins with %q; readers start there", dir, begin))
		}
	}
	return faults
}

// Links.

var (
	inlineLink    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	referenceLink = regexp.MustCompile(`(?m)^\[[^\]]+\]:\s*(\S+)`)
	codeSpan      = regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")
)

// checkLinks follows the relative links of every Markdown file, headings too.
func checkLinks(h *house) (faults []string) {
	for _, name := range sortedKeys(h.files) {
		if path.Ext(name) != ".md" {
			continue
		}
		text := codeSpan.ReplaceAllString(h.files[name], "")
		for _, m := range slices.Concat(inlineLink.FindAllStringSubmatch(text, -1), referenceLink.FindAllStringSubmatch(text, -1)) {
			if fault := followLink(h, name, m[1]); fault != "" {
				faults = append(faults, fmt.Sprintf("%s: the link to %s leads nowhere: %s", name, m[1], fault))
			}
		}
	}
	return faults
}

func followLink(h *house, from, link string) string {
	if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
		return ""
	}
	target, heading, _ := strings.Cut(link, "#")
	to := from
	if target != "" {
		to = path.Join(path.Dir(from), target)
	}
	if _, ok := h.files[to]; !ok {
		inside := func(name string) bool { return strings.HasPrefix(name, to+"/") }
		if !slices.ContainsFunc(sortedKeys(h.files), inside) {
			return "there is no " + to
		}
	}
	if heading != "" && !slices.Contains(headings(h.files[to]), heading) {
		return "no heading of that name"
	}
	return ""
}

// headings returns the anchors of a Markdown text: its headings in lower case,
// spaces as hyphens, punctuation left out.
func headings(text string) (anchors []string) {
	for line := range strings.Lines(text) {
		title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if !ok || line[0] != '#' {
			continue
		}
		anchors = append(anchors, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r > 127:
				return r
			}
			return -1
		}, strings.ToLower(strings.TrimSpace(title))))
	}
	return anchors
}

// TestGuides: every guide has a title, so that `tocsin guide` can list them.
func TestGuides(t *testing.T) {
	names, err := fs.Glob(Files, "*.md")
	if err != nil || len(names) == 0 {
		t.Fatalf("%d guides, %v", len(names), err)
	}
	for _, name := range names {
		b, err := Files.ReadFile(name)
		if err != nil || !strings.HasPrefix(string(b), "# ") {
			t.Errorf("%s does not begin with a title (%v)", name, err)
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
