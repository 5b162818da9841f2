package docs

import (
	"fmt"
	"go/ast"
	"regexp"
	"strings"
)

// testName is how guides name the test that holds a claim.
var testName = regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Za-z0-9_]*)(?:/[^`]*)?`")

// checkClaims finds tests that a guide names and that are not there, and rules
// in docs/security.md without a test: rows of its tables of rules end in the
// tests that hold them.
func checkClaims(h *house) (faults []string) {
	declared := make(map[string]bool)
	for _, s := range h.code {
		if !s.test() {
			continue
		}
		for _, d := range s.ast.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				declared[f.Name.Name] = true
			}
		}
	}
	for _, name := range sortedKeys(h.files) {
		if !strings.HasSuffix(name, ".md") {
			continue
		}
		for _, m := range testName.FindAllStringSubmatch(h.files[name], -1) {
			if !declared[m[1]] {
				faults = append(faults, fmt.Sprintf("%s: there is no test %s", name, m[1]))
			}
		}
	}
	return append(faults, unheldRules(h.files[securityGuide])...)
}

const securityGuide = "docs/security.md"

// unheldRules lists the rows of tables headed "rule" whose last cell names no
// test.
func unheldRules(text string) (faults []string) {
	inRules := false
	for _, line := range strings.Split(text, "\n") {
		cells := strings.Split(strings.Trim(line, "| "), "|")
		switch {
		case !strings.HasPrefix(line, "|"):
			inRules = false
		case strings.TrimSpace(cells[0]) == "rule":
			inRules = true
		case inRules && !strings.HasPrefix(line, "| ---") && !testName.MatchString(cells[len(cells)-1]):
			faults = append(faults, fmt.Sprintf("%s: no test holds: %s", securityGuide, strings.TrimSpace(cells[0])))
		}
	}
	return faults
}
