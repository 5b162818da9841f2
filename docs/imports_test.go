package docs

import (
	"fmt"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "tocsin/"

// allowed is the import table of the design: the packages of this module that
// each may import in production code, and why no others. Patterns end in "/*".
var allowed = map[string]struct {
	may []string
	why string
}{
	"crypto":          {nil, "it is the map of the suite and holds no code"},
	"crypto/identity": {nil, "who someone is must not depend on what they do"},
	"crypto/slots":    {nil, "it keeps keys and knows nothing of what they seal"},
	"node/message":    {nil, "what clinicians say is apart from how it travels"},
	"docs":            {nil, "it holds guides"},

	"crypto/vault":       {[]string{"crypto/slots"}, "it keeps bytes and knows nothing of what they mean"},
	"ledger":             {[]string{"crypto/identity"}, "a log is read without knowing groups, messages or networks"},
	"crypto/group":       {[]string{"crypto/identity"}, "sealing knows no log, no store and no network"},
	"ledger/memstore":    {[]string{"ledger", "crypto/identity"}, "a store implements ledger.Store and nothing more"},
	"ledger/badgerstore": {[]string{"ledger", "crypto/identity", "crypto/slots"}, "a store implements ledger.Store and erases what it holds, nothing more"},
	"ledger/storetest":   {[]string{"ledger", "crypto/identity"}, "the conformance suite knows the interface only"},
	"ledger/blob":        {[]string{"ledger", "crypto/identity"}, "chunks are sealed before they come here"},
	"ledger/bundle":      {[]string{"ledger", "crypto/identity"}, "a bundle carries entries that it cannot read"},

	"mesh":            {[]string{"crypto/identity"}, "it moves opaque frames; the node implements its Receiver and Syncer"},
	"mesh/netns":      {nil, "it holds tests of whole networks, and no code"},
	"mesh/netns/link": {nil, "it moves packets and knows nothing of what uses it"},

	"node/inbox":              {[]string{"node/message"}, "the read model is rebuilt from messages alone"},
	"node/record":             {[]string{"node/message", "ledger", "crypto/identity"}, "the record is made from messages and their proofs"},
	"node/record/conformance": {nil, "a module of its own: it asks validators of others about what node/record writes"},
	"node": {[]string{"crypto/identity", "crypto/group", "crypto/vault", "ledger", "ledger/blob", "ledger/bundle", "mesh",
		"node/message", "node/inbox", "node/record"}, "it joins the parts; stores are handed in, pages and API stand on top"},
	"node/web": {nil, "pages are files; the API fills them"},
	"node/api": {[]string{"node", "node/web", "node/message", "node/inbox", "node/record"}, "the API sees the node, not its parts"},

	"sim/model":  {nil, "the scale model knows devices and packets; package sim fits it to the real ones"},
	"sim/replay": {nil, "a module of its own: a sandbox that knows nothing of what it runs"},
	"sim": {[]string{"sim/model", "node", "node/message", "node/inbox", "mesh", "ledger", "ledger/memstore", "ledger/badgerstore", "ledger/bundle",
		"crypto/*"}, "it runs the real node over a simulated network"},
	"cmd/tocsin":     {[]string{"*"}, "commands wire everything"},
	"cmd/tocsin-sim": {[]string{"*"}, "commands wire everything"},
}

// testingAllowed are the production files that may import testing.
var testingAllowed = []string{
	"ledger/storetest/", // a suite that only tests import
	"sim/bubble.go",     // starts the virtual clock
}

// checkImports holds every Go file of every platform against the table.
func checkImports(h *house) (faults []string) {
	for _, s := range h.code {
		if _, ok := allowed[s.dir()]; !ok {
			faults = append(faults, fmt.Sprintf("%s: package %s is not in the import table of the design; enter it with a reason", s.path, s.dir()))
			continue
		}
		for _, spec := range s.ast.Imports {
			to, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				faults = append(faults, fmt.Sprintf("%s: %v", s.at(spec.Pos()), err))
				continue
			}
			if why := refuseImport(s, to); why != "" {
				faults = append(faults, fmt.Sprintf("%s: may not import %s: %s", s.at(spec.Pos()), to, why))
			}
		}
	}
	return faults
}

// refuseImport says why a file may not import a package, or nothing.
func refuseImport(s *source, to string) string {
	ours, isOurs := strings.CutPrefix(to, module)
	switch {
	case to == "testing" || strings.HasPrefix(to, "testing/"):
		mayTest := func(name string) bool { return strings.HasPrefix(s.path, name) }
		if !s.test() && !slices.ContainsFunc(testingAllowed, mayTest) {
			return "production code never imports testing"
		}
		return ""
	case !isOurs:
		return ""
	case strings.HasPrefix(ours, "cmd/") || ours == "cmd":
		return "nothing imports cmd: what others need belongs into a package of its own"
	case ours == "sim" && s.dir() != "cmd/tocsin-sim" && s.dir() != "sim":
		return "only cmd/tocsin-sim imports sim"
	case ours == "ledger/storetest" && !s.test():
		return "only tests import the conformance suite"
	case s.test() || ours == s.dir():
		return "" // a test may wire what its package may not
	}
	rule := allowed[s.dir()]
	fits := func(pattern string) bool {
		ok, err := path.Match(pattern, ours)
		return pattern == "*" || pattern == ours || err == nil && ok
	}
	if slices.ContainsFunc(rule.may, fits) {
		return ""
	}
	return rule.why
}

// TestDependencies asks the go command, which sees packages as they are built:
// what stands in the table for a package is all that it depends on, however far
// down.
func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Deps ","}}`, module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	packages := 0
	for line := range strings.Lines(string(out)) {
		name, deps, _ := strings.Cut(strings.TrimSpace(line), " ")
		dir := strings.TrimPrefix(name, module)
		packages++
		for dep := range strings.SplitSeq(deps, ",") {
			ours, isOurs := strings.CutPrefix(dep, module)
			if isOurs && !slices.Contains(reach(dir), ours) {
				t.Errorf("%s depends on %s: %s", dir, ours, allowed[dir].why)
			}
		}
	}
	if packages < 5 {
		t.Fatalf("go list named only %d packages", packages)
	}
}

// reach returns what a package may depend on directly or through others.
func reach(dir string) []string {
	seen := []string{dir}
	for i := 0; i < len(seen); i++ {
		for _, pattern := range allowed[seen[i]].may {
			for name := range allowed {
				ok, err := path.Match(pattern, name)
				if (ok && err == nil || pattern == "*") && !slices.Contains(seen, name) {
					seen = append(seen, name)
				}
			}
		}
	}
	return seen
}
