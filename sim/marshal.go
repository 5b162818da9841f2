package sim

import (
	"bytes"
	"fmt"
	"time"

	"github.com/goccy/go-yaml"
)

// Marshal writes a scenario as a file that [ReadScenario] reads as the same scenario; comments of
// the file that it came from are lost.
func (s *Scenario) Marshal() ([]byte, error) {
	text, err := yaml.MarshalWithOptions(s, yaml.OmitEmpty(), yaml.UseLiteralStyleIfMultiline(true),
		yaml.CustomMarshaler[time.Duration](func(d time.Duration) ([]byte, error) { return []byte(d.String()), nil }))
	if err != nil {
		return nil, fmt.Errorf("sim: writing the scenario %s: %w", s.Name, err)
	}
	back, err := ReadScenario("scenario", bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("sim: the scenario %s cannot be written as a file: %w", s.Name, err)
	}
	again, err := yaml.MarshalWithOptions(back, yaml.OmitEmpty())
	first, err2 := yaml.MarshalWithOptions(s, yaml.OmitEmpty())
	if err != nil || err2 != nil || !bytes.Equal(again, first) {
		return nil, fmt.Errorf("sim: the scenario %s is another one when it is read again", s.Name)
	}
	return text, nil
}
