package sim

import (
	"bytes"
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
)

//go:embed scenarios/*.yaml
var scenarios embed.FS

// Library returns the scenarios that come with the program, by name.
func Library() ([]*Scenario, error) {
	files, err := scenarios.ReadDir("scenarios")
	if err != nil {
		return nil, fmt.Errorf("sim: the library: %w", err)
	}
	var out []*Scenario
	for _, f := range files {
		s, err := LibraryScenario(strings.TrimSuffix(f.Name(), ".yaml"))
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *Scenario) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// LibraryScenario returns one scenario of the library. The error matches [InputError]
// where there is none of that name.
func LibraryScenario(name string) (*Scenario, error) {
	file := path.Join("scenarios", name+".yaml")
	raw, err := scenarios.ReadFile(file)
	if err != nil {
		return nil, badInput("there is no scenario %q: `tocsin-sim list` names all, and a file is named by its path", name)
	}
	s, err := ReadScenario(file, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	if s.Name != name {
		return nil, badInput("%s calls itself %s", file, s.Name)
	}
	return s, nil
}
