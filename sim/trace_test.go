package sim

import (
	"bytes"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// TestMarshal: every scenario of the library is the same when it was written and read.
func TestMarshal(t *testing.T) {
	all, err := Library()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range append(all, read(t, trust), read(t, small)) {
		text, err := s.Marshal()
		if err != nil {
			t.Error(err)
			continue
		}
		back, err := ReadScenario(s.Name, bytes.NewReader(text))
		if err != nil || !reflect.DeepEqual(s, back) {
			t.Errorf("%s: %v\n%s", s.Name, err, text)
		}
	}
}

// TestTrace: a traced run tells what was said and shown, what stood in the timeline, and at
// which step a promise broke.
func TestTrace(t *testing.T) {
	s := read(t, strings.Replace(small, "expect:", cutInTwo, 1))
	var trace bytes.Buffer
	o := options(t)
	o.Trace, o.Without = &trace, s.Control
	res := rehearse(t, s, o)
	text := trace.String()
	for _, want := range []string{"s the story begins\n", "5.000000s begins partition: nothing passes", "50.000000s ends partition\n", "s packets "} {
		if !strings.Contains(text, want) {
			t.Errorf("the trace does not say %q", want)
		}
	}
	if n := strings.Count(text, "s begins partition"); n != 1 {
		t.Errorf("the partition begins %d times", n)
	}
	if n := strings.Count(text, "s says "); n != res.Messages {
		t.Errorf("%d messages in the trace, %d in the result", n, res.Messages)
	}
	arrived := 0
	for _, d := range res.Deliveries {
		if d.Arrived {
			arrived++
		}
	}
	if n := strings.Count(text, "s shows "); n < arrived {
		t.Errorf("%d arrivals in the trace, %d in the result", n, arrived)
	}
	broke := regexp.MustCompile(`(?m)^[0-9.]+s broke agree: .* after the last fault they still differed: .* holds \d+ logs otherwise`)
	if res.Verdict != Broken || !broke.MatchString(text) {
		t.Errorf("%s; the trace ends\n%s", res.Verdict, text[max(0, len(text)-500):])
	}
}
