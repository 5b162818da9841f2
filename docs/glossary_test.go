package docs

import (
	"fmt"
	"go/ast"
	"path"
	"regexp"
)

// codeName is how guides name things of the code: `package.Name`.
var codeName = regexp.MustCompile("`([a-z]+)\\.([A-Z][A-Za-z]*)`")

// checkNames finds names of the code in the glossary that are not there: a
// word that was renamed in the code has to be renamed for readers too.
func checkNames(h *house) (faults []string) {
	const glossary = "docs/glossary.md"
	declared := make(map[string]bool)
	for _, s := range h.code {
		if s.test() {
			continue
		}
		for _, name := range declaredNames(s) {
			declared[path.Base(s.dir())+"."+name] = true
		}
	}
	for _, m := range codeName.FindAllStringSubmatch(h.files[glossary], -1) {
		if name := m[1] + "." + m[2]; !declared[name] {
			faults = append(faults, fmt.Sprintf("%s: there is no %s in the code", glossary, name))
		}
	}
	return faults
}

// declaredNames lists what a file declares at its top level.
func declaredNames(s *source) (names []string) {
	for _, d := range s.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				names = append(names, d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					names = append(names, spec.Name.Name)
				case *ast.ValueSpec:
					for _, n := range spec.Names {
						names = append(names, n.Name)
					}
				}
			}
		}
	}
	return names
}
