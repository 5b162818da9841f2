package sim

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestExerciseGuide: what the guide shows a reader to write is a scenario that can be run.
func TestExerciseGuide(t *testing.T) {
	raw, err := os.ReadFile("../docs/exercise-guide.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(raw), "## Making it yours")
	if !found {
		t.Fatal("the guide has lost its section")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	head := []string{"version: 1", "name: ours", "title: Ours", "duration: 10m"}
	var timeline []string
	rows := 0
	for _, m := range regexp.MustCompile("(?m)^\\| [^|]+ \\| `([^`]+)`").FindAllStringSubmatch(table, -1) {
		rows++
		switch text := m[1]; {
		case strings.HasPrefix(text, "sites:"):
			head = append(head, "mesh: {"+text+"}")
		case strings.HasPrefix(text, "{at:"):
			timeline = append(timeline, "  - "+text)
		default:
			head = append(head, text)
		}
	}
	text := strings.Join(append(append(head, "timeline:"), timeline...), "\n") + "\n"
	s, err := ReadScenario("ours.yaml", strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if rows < 10 || len(s.Timeline) < 5 || len(s.Expect) < 3 {
		t.Errorf("%d rows gave %d events and %d objectives", rows, len(s.Timeline), len(s.Expect))
	}
}
