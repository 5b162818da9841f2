package docs

import (
	"strings"
	"testing"
)

// planted is a house with something in it, and the fault that its rule must
// find; without a fault the rule must be content.
type planted struct {
	rule, name string
	files      map[string]string
	top        []string
	fault      string
}

func file(name, text string) map[string]string { return map[string]string{name: text} }

func code(imports ...string) string {
	text := "package x\n"
	for _, i := range imports {
		text += "import _ \"" + i + "\"\n"
	}
	return text
}

// pause is the call that tests may not make. It stands here in two parts, so
// that nobody who searches for it finds these plantings.
const pause = "Sle" + "ep"

var plantings = []planted{
	{"imports", "core imports network", file("ledger/x.go", code("tocsin/mesh")), nil, "may not import tocsin/mesh: a log is read"},
	{"imports", "on another platform", file("ledger/x_windows.go", "//go:build windows\n\n"+code("tocsin/mesh")), nil, "tocsin/mesh"},
	{"imports", "mesh imports ledger", file("mesh/x.go", code("tocsin/ledger")), nil, "opaque frames"},
	{"imports", "node imports a store", file("node/x.go", code("tocsin/ledger/badgerstore")), nil, "stores are handed in"},
	{"imports", "node imports its api", file("node/x.go", code("tocsin/node/api")), nil, "stand on top"},
	{"imports", "api imports a part", file("node/api/x.go", code("tocsin/crypto/group")), nil, "not its parts"},
	{"imports", "unknown package", file("util/x.go", code()), nil, "not in the import table"},
	{"imports", "testing in production", file("mesh/x.go", code("testing")), nil, "never imports testing"},
	{"imports", "synctest in production", file("sim/x.go", code("testing/synctest")), nil, "never imports testing"},
	{"imports", "storetest in production", file("cmd/tocsin/x.go", code("tocsin/ledger/storetest")), nil, "only tests import"},
	{"imports", "cmd imported", file("node/x.go", code("tocsin/cmd/tocsin")), nil, "nothing imports cmd"},
	{"imports", "cmd imported by a test", file("node/x_test.go", code("tocsin/cmd/tocsin")), nil, "nothing imports cmd"},
	{"imports", "sim imported", file("cmd/tocsin/x.go", code("tocsin/sim")), nil, "only cmd/tocsin-sim"},
	{"imports", "what is allowed", map[string]string{
		"ledger/x.go":           code("tocsin/crypto/identity", "net"),
		"ledger/storetest/x.go": code("testing", "tocsin/ledger"),
		"node/x_test.go":        code("testing", "tocsin/ledger/memstore"),
		"sim/x.go":              code("tocsin/crypto/group", "tocsin/node"),
		"cmd/tocsin-sim/x.go":   code("tocsin/sim"),
		"cmd/tocsin/x.go":       code("tocsin/node/api", "tocsin/ledger/badgerstore"),
		"cmd/deps.go":           "//go:build deps\n\n" + code("testing"),
	}, nil, ""},

	{"package docs", "none", file("mesh/x.go", "package mesh\n"), nil, "mesh: its package doc"},
	{"package docs", "another beginning", file("mesh/x.go", "// This is a package about meshes and all that is in them.\npackage mesh\n"), nil, "Package mesh"},
	{"package docs", "no sentence", file("mesh/x.go", "// Package mesh does it.\npackage mesh\n"), nil, "Package mesh"},
	{"package docs", "in a test only", map[string]string{"mesh/x.go": "package mesh\n",
		"mesh/x_test.go": "// Package mesh moves frames between devices that are admitted.\npackage mesh\n"}, nil, "Package mesh"},
	{"package docs", "command without", file("cmd/tocsin/main.go", "package main\n"), nil, "Command"},
	{"package docs", "good", map[string]string{"mesh/y.go": "package mesh\n",
		"mesh/x.go":       "// Package mesh moves frames between devices that are admitted.\npackage mesh\n",
		"cmd/tocsin/x.go": "// Tocsin is an emergency messenger for clinicians in an outage.\npackage main\n"}, nil, ""},

	{"clock", "called", file("mesh/x.go", "package x\nimport \"time\"\nvar t = time.Now()\n"), nil, "mesh/x.go:3: time.Now"},
	{"clock", "under another name", file("mesh/x.go", "package x\nimport clock \"time\"\nvar t = clock.Now()\n"), nil, "time.Now"},
	{"clock", "not called", file("mesh/x.go", "package x\nimport \"time\"\nvar now = time.Now\n"), nil, "time.Now"},
	{"clock", "dot import", file("mesh/x.go", "package x\nimport . \"time\"\nvar t = Now()\n"), nil, "hides what"},
	{"clock", "waited for", file("node/x.go", "package x\nimport \"time\"\nfunc f() { <-time.After(1); time."+pause+"(1) }\n"), nil, "time." + pause},
	{"clock", "since", file("node/x.go", "package x\nimport \"time\"\nvar d = time.Since(time.Time{})\n"), nil, "time.Since"},
	{"clock", "timers", file("node/x.go", "package x\nimport \"time\"\nvar d = time.NewTicker(1)\n"), nil, "time.NewTicker"},
	{"clock", "hidden behind a tag", file("node/x.go", "//go:build android\n\npackage x\nimport \"time\"\nvar d = time.AfterFunc\n"), nil, "time.AfterFunc"},
	{"clock", "allowed", map[string]string{
		"node/clock.go":    "package x\nimport \"time\"\nvar t = time.Now()\n",
		"cmd/tocsin/x.go":  "package x\nimport \"time\"\nvar t = time.Now()\n",
		"mesh/x_test.go":   "package x\nimport \"time\"\nvar t = time.Now()\n",
		"mesh/x.go":        "package x\nimport \"time\"\nvar d time.Duration = time.Second\nvar t = time.Unix(0, 0)\n",
		"mesh/hidden.go":   "package x\nimport \"time\"\ntype c struct{}\nfunc (c) Now() time.Time { return time.Time{} }\nfunc f() { time := c{}; time.Now() }\n",
		"mesh/injected.go": "package x\nimport \"time\"\ntype clock interface { Now() time.Time }\nfunc g(c clock) { c.Now() }\n",
	}, nil, ""},

	{"pure cores", "socket", file("ledger/x.go", code("net")), nil, "imports \"net\""},
	{"pure cores", "file", file("crypto/group/x.go", code("os")), nil, "imports \"os\""},
	{"pure cores", "goroutine", file("ledger/x.go", "package x\nfunc f() { go f() }\n"), nil, "goroutine"},
	{"pure cores", "not a core", file("ledger/badgerstore/x.go", code("os")+"func f() { go f() }\n"), nil, ""},

	{"test sleeps", "sleep", file("mesh/x_test.go", "package x\nimport \"time\"\nfunc f() { time."+pause+"(1) }\n"), nil, "time." + pause},
	{"test sleeps", "under another name", file("mesh/x_test.go", "package x\nimport t \"time\"\nfunc f() { t."+pause+"(1) }\n"), nil, "time." + pause},
	{"test sleeps", "deadline", file("mesh/x_test.go", "package x\nimport \"time\"\nfunc f() { <-time.After(1) }\n"), nil, ""},

	{"top level", "folder", nil, []string{"node", "pkg"}, "pkg: the top level"},
	{"top level", "good", nil, []string{"node", "README.md", ".ci"}, ""},

	{"file length", "long", file("mesh/x.go", "package x\n"+strings.Repeat("\n", maxLines)), nil, "801 lines"},
	{"file length", "full", file("mesh/x.go", "package x\n"+strings.Repeat("\n", maxLines-1)), nil, ""},

	{"glossary", "renamed", map[string]string{"docs/glossary.md": "`ledger.Entry`", "ledger/x.go": "package x\ntype Record struct{}\nfunc (Record) Entry() {}\n"},
		nil, "no ledger.Entry"},
	{"glossary", "good", map[string]string{"docs/glossary.md": "`ledger.Entry`, `ledger.Err`, `ledger.Open`",
		"ledger/x.go": "package x\ntype Entry struct{}\nvar (\n\tErr error\n)\nfunc Open() {}\n"}, nil, ""},

	{"claims", "test is gone", map[string]string{"docs/security.md": "held by `TestGone`"}, nil, "no test TestGone"},
	{"claims", "fuzz target is gone", map[string]string{"mesh/PROTOCOL.md": "see `FuzzGone`"}, nil, "no test FuzzGone"},
	{"claims", "not a test", map[string]string{"docs/a.md": "`TestIt`", "mesh/x.go": "package x\nfunc TestIt() {}\n"}, nil, "no test TestIt"},
	{"claims", "rule without a test", file("docs/security.md", "| rule | held by |\n| --- | --- |\n| nobody reads | trust us |\n"), nil, "no test holds: nobody reads"},
	{"claims", "good", map[string]string{"docs/security.md": "| asset | kept by |\n| --- | --- |\n| a | b |\n\n| rule | held by |\n| --- | --- |\n| nobody reads | `TestRead/sub test` |\n",
		"mesh/x_test.go": "package x\nfunc TestRead() {}\n"}, nil, ""},

	{"links", "no file", file("README.md", "See [it](docs/gone.md)."), nil, "no docs/gone.md"},
	{"links", "by reference", file("docs/a.md", "See [it].\n\n[it]: gone.md\n"), nil, "no docs/gone.md"},
	{"links", "no heading", map[string]string{"README.md": "[it](docs/a.md#two)", "docs/a.md": "# One\n"}, nil, "no heading"},
	{"links", "good", map[string]string{"docs/a.md": "# One\n[x](../README.md) [y](#a-bs-two) [z](https://example.org/) [d](../mesh)\n## A, B's two!\n",
		"README.md": "`[no](link)`\n```\n[no](link)\n```\n", "mesh/x.go": "package x\n"}, nil, ""},
}

// TestHouseRules shows of every rule that it finds what it is there for.
func TestHouseRules(t *testing.T) {
	shown := make(map[string]bool)
	for _, p := range plantings {
		t.Run(p.rule+"/"+p.name, func(t *testing.T) {
			faults := strings.Join(rules[p.rule](newHouse(t, p.top, p.files)), "\n")
			if p.fault == "" && faults != "" {
				t.Errorf("found %s", faults)
			}
			if !strings.Contains(faults, p.fault) {
				t.Errorf("found %q, want %q", faults, p.fault)
			}
		})
		shown[p.rule] = shown[p.rule] || p.fault != ""
	}
	for rule := range rules {
		if !shown[rule] {
			t.Errorf("rule %q was shown no violation", rule)
		}
	}
}
