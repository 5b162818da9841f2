package docs

import (
	"fmt"
	"go/ast"
	"slices"
	"strconv"
)

// clockFile is the one file beside cmd that reads the machine's clock:
// everything else is handed a clock or a time, so that each simulated node has
// its own.
const clockFile = "node/clock.go"

// readsClock are the functions of package time that look at the clock or
// wait for it.
var readsClock = []string{"Now", "After", "AfterFunc", "Sleep", "NewTimer", "NewTicker", "Tick", "Since", "Until"}

func checkClock(h *house) (faults []string) {
	for _, s := range h.code {
		if s.test() || s.under("cmd") || s.path == clockFile {
			continue
		}
		for _, use := range uses(s, "time", readsClock) {
			faults = append(faults, use+" reads the machine's clock; take the time or a clock as an argument")
		}
	}
	return faults
}

func checkSleeps(h *house) (faults []string) {
	for _, s := range h.code {
		if !s.test() {
			continue
		}
		for _, use := range uses(s, "time", []string{"Sleep"}) {
			faults = append(faults, use+" makes a test slow on one machine and wrong on the next; wait for what is to happen")
		}
	}
	return faults
}

// pure are the protocol cores: no socket, no file, no goroutine.
var pure = []string{"crypto/group", "ledger", "node/message", "node/inbox"}

// impure are the packages that a core must not import itself.
var impure = []string{"net", "net/http", "os", "os/exec", "os/signal", "syscall"}

func checkPure(h *house) (faults []string) {
	for _, s := range h.code {
		if s.test() || !slices.Contains(pure, s.dir()) {
			continue
		}
		for _, spec := range s.ast.Imports {
			if name, err := strconv.Unquote(spec.Path.Value); err != nil || slices.Contains(impure, name) {
				faults = append(faults, fmt.Sprintf("%s: a protocol core imports %s; hand in what it needs", s.at(spec.Pos()), spec.Path.Value))
			}
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok {
				faults = append(faults, fmt.Sprintf("%s: a protocol core starts a goroutine; its caller owns those", s.at(g.Pos())))
			}
			return true
		})
	}
	return faults
}

// uses lists where a file uses functions of the package imported from a path,
// under whatever name, called or not.
func uses(s *source, from string, functions []string) (found []string) {
	for _, spec := range s.ast.Imports {
		if name, err := strconv.Unquote(spec.Path.Value); err != nil || name != from {
			continue
		}
		alias := from
		if spec.Name != nil {
			alias = spec.Name.Name
		}
		if alias == "." {
			found = append(found, fmt.Sprintf("%s: a dot import of %s hides what", s.at(spec.Pos()), from))
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || !slices.Contains(functions, sel.Sel.Name) {
				return true
			}
			// A name that resolves within the file is a variable that hides the package.
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == alias && x.Obj == nil {
				found = append(found, fmt.Sprintf("%s: %s.%s", s.at(sel.Pos()), from, sel.Sel.Name))
			}
			return true
		})
	}
	return found
}
