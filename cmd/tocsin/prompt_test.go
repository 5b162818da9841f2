package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"tocsin/node/message"
)

// typed fills the form of a kind in from what is typed, and returns it with what
// was asked.
func typed(t *testing.T, kind message.Kind, given map[string][]string, lines ...string) (map[string][]string, string, error) {
	t.Helper()
	var asked bytes.Buffer
	a := &app{out: &output{w: io.Discard}, err: &asked, env: environment{}, now: func() time.Time { return time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC) }}
	p := &prompter{a: a, in: bufio.NewReader(strings.NewReader(strings.Join(lines, "\n") + "\n")), content: message.New(kind)}
	p.id = func(_ context.Context, beginning string) (string, error) {
		if beginning != "5f3a" {
			return "", fmt.Errorf("no message begins with %s", beginning)
		}
		return strings.Repeat("5f3a", 16), nil
	}
	values := make(map[string][]string)
	for name, v := range given {
		values[name] = v
	}
	err := p.fill(t.Context(), values)
	return values, asked.String(), err
}

func TestPromptAsksForWhatIsMissing(t *testing.T) {
	got, asked, err := typed(t, message.KindSBAR, map[string][]string{"background": {"Fell from a ladder"}},
		"JS bed 4, BP 80/40", "", "Bleeding, probably spleen", "Theatre now")
	want := map[string][]string{"background": {"Fell from a ladder"}, "situation": {"JS bed 4, BP 80/40"},
		"assessment": {"Bleeding, probably spleen"}, "recommendation": {"Theatre now"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if strings.Contains(asked, "Background:") || strings.Count(asked, "Assessment: ") != 2 ||
		!strings.Contains(asked, `The field "Assessment" (assessment) is missing; fill it in`) {
		t.Errorf("asked:\n%s", asked)
	}
}

func TestPromptShowsChoicesAndAsksAgain(t *testing.T) {
	got, asked, err := typed(t, message.KindCasualty, nil, "a 17", "A-017", "P9", "2")
	want := map[string][]string{"tag": {"A-017"}, "triage": {"p2"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, part := range []string{"  1  P1 immediate (red)", "  4  Deceased (black)", "may hold only A-Z, 0-9 and hyphens", "must be one of p1, p2, p3, deceased"} {
		if !strings.Contains(asked, part) {
			t.Errorf("not said: %q in\n%s", part, asked)
		}
	}
	if got, _, err := typed(t, message.KindCasualty, nil, "A-1", "p3 DELAYED (green)"); err != nil || got["triage"][0] != "p3" {
		t.Errorf("the words of a choice: %v, %v", got, err)
	}
}

// TestPromptHoldsRules: a field that only the other answers make necessary is
// asked for too.
func TestPromptHoldsRules(t *testing.T) {
	got, asked, err := typed(t, message.KindCallOutAnswer, nil, "ffff", "5f3a", "coming", "soon", "25")
	want := map[string][]string{"call-out": {strings.Repeat("5f3a", 16)}, "answer": {"coming"}, "eta": {"25"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, part := range []string{"No message begins with ffff", "who is coming says in how many minutes", "must be a whole number"} {
		if !strings.Contains(asked, part) {
			t.Errorf("not said: %q in\n%s", part, asked)
		}
	}
	if _, asked, err := typed(t, message.KindCallOutAnswer, map[string][]string{"call-out": {strings.Repeat("5f3a", 16)}, "answer": {"coming"}}); err != nil || asked != "" {
		t.Errorf("a form that came whole from the command line is for the node to judge: %v:\n%s", err, asked)
	}
}

func TestPromptReadsListsAndTimes(t *testing.T) {
	got, _, err := typed(t, message.KindDecision, nil, "Divert", "ED is full", "person:stmarys.nhs.example/gmc/7654321", "Divert", "Stay open", "", "09:05")
	if err != nil || !reflect.DeepEqual(got["options"], []string{"Divert", "Stay open"}) || !reflect.DeepEqual(got["at"], []string{"2026-11-22T09:05:00Z"}) {
		t.Errorf("%v, %v", got, err)
	}
	got, _, err = typed(t, message.KindDecision, map[string][]string{"decision": {"Divert"}, "rationale": {"Full"}, "options": {"Divert"},
		"decider": {"person:stmarys.nhs.example/gmc/7654321"}}, "yesterday", "now")
	if err != nil || !reflect.DeepEqual(got["at"], []string{"2026-11-22T09:30:00Z"}) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestPromptNoticesIdentifiers: 9434765919 is an NHS number by its check digit,
// 9434765918 is none.
func TestPromptNoticesIdentifiers(t *testing.T) {
	given := map[string][]string{"background": {"x"}, "assessment": {"x"}, "recommendation": {"x"}}
	got, asked, err := typed(t, message.KindSBAR, given, "9434765919 is in bed 4", "again", "JS is in bed 4")
	if err != nil || got["situation"][0] != "JS is in bed 4" || !strings.Contains(asked, "may identify a patient (an NHS number)") {
		t.Errorf("%v, %v:\n%s", got, err, asked)
	}
	if got, _, err = typed(t, message.KindSBAR, given, "9434765919 is in bed 4", ""); err != nil || got["situation"][0] != "9434765919 is in bed 4" {
		t.Errorf("a human decides: %v, %v", got, err)
	}
	if _, asked, err = typed(t, message.KindSBAR, given, "9434765918 is in bed 4"); err != nil || strings.Contains(asked, "identify") {
		t.Errorf("%v:\n%s", err, asked)
	}
}

func TestPromptEnds(t *testing.T) {
	_, _, err := typed(t, message.KindSBAR, nil, "JS bed 4", "Fell")
	if f := asFailure(err); f.code != exitInput || !strings.Contains(f.Error(), "nothing was sent") {
		t.Errorf("%v", err)
	}
	var asked bytes.Buffer
	a := &app{out: &output{w: io.Discard}, err: &asked, env: environment{}, now: time.Now}
	silent, w := io.Pipe() // nobody types
	defer w.Close()
	p := &prompter{a: a, in: bufio.NewReader(silent), content: message.New(message.KindSBAR)}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.fill(ctx, map[string][]string{}); err != context.Canceled {
		t.Errorf("Ctrl-C: %v", err)
	}
}
