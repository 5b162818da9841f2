package main

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"tocsin/node"
	"tocsin/node/api"
)

// TestIncidentOverTwoNodes plays an incident with two real nodes and nothing but commands: forms go across, are tallied, refused in
// words, found and acknowledged.
func TestIncidentOverTwoNodes(t *testing.T) {
	t.Parallel()
	d := enrolled(t, 2)
	amina, ben := d.cast[0], d.cast[1]
	d.start(t, amina)
	d.start(t, ben)
	ctx := t.Context()
	must(t, d.reachEachOther(ctx, d.cast))
	must(t, d.until(ctx, func(ctx context.Context) (string, error) { return d.strangersAmong(ctx, d.cast) }))
	var g api.Group
	must(t, d.run(ctx, amina.secret, &g, "groups", "create", "--data", amina.dir, "--kind", "incident", "Bus crash A6", ben.name))

	as := func(c *clinician, args ...string) node.Sent {
		t.Helper()
		var sent node.Sent
		must(t, d.run(ctx, c.secret, &sent, append(args, "--data", c.dir)...))
		return sent
	}
	board := func(c *clinician) (b api.Board) {
		t.Helper()
		must(t, d.run(ctx, c.secret, &b, "board", "bus crash a6", "--data", c.dir))
		return b
	}
	until := func(c *clinician, what string, ok func(api.Board) bool) {
		t.Helper()
		must(t, d.until(ctx, func(context.Context) (string, error) {
			if ok(board(c)) {
				return "", nil
			}
			return what, nil
		}))
	}
	report := filepath.Join(t.TempDir(), "methane.json")
	must(t, os.WriteFile(report, []byte(`{"major":"declared","location":"A6 north of junction 9","type":"bus and lorry","hazards":"fuel",
		"access":"from the south","casualties":"about 30","emergency-services":["ambulance and fire present"]}`), 0o600))
	as(amina, "send", "bus crash a6", "--kind", "methane", "--file", report, "--priority", "urgent")
	as(amina, "incident", "declare", "bus crash a6", "Bus crash A6", "exercise")
	call := as(amina, "callout", "ask", "bus crash a6", "Can you come?", "ED reception", "-f", "skills=nurse", "-f", "skills=surgeon")
	until(ben, "Ben sees the call-out", func(b api.Board) bool { return len(b.CallOuts) == 1 && b.Incident != nil && b.Incident.Exercise })
	as(ben, "callout", "answer", "bus crash a6", call.ID[:12], "coming", "25", "-f", "skill=nurse")
	until(amina, "the answer is tallied", func(b api.Board) bool {
		return len(b.CallOuts[0].Coming) == 1 && b.CallOuts[0].Skills[0] == api.Skill{Skill: "nurse", Coming: 1}
	})
	task := as(amina, "task", "assign", "bus crash a6", "Open theatre 4", "role:theatre-lead")
	as(ben, "role", "take", "bus crash a6", "theatre-lead", "--hours", "8")
	until(ben, "Ben sees the task", func(b api.Board) bool { return len(b.Tasks) == 1 && len(b.Duties) == 1 })
	as(ben, "task", "done", "bus crash a6", task.ID[:12])
	alert := as(amina, "alert", "raise", "bus crash a6", "Cardiac arrest", "Bed 4", "role:theatre-lead")
	until(ben, "the alert sounds", func(b api.Board) bool { return len(b.Alerts) == 1 && b.Alerts[0].Sounds })
	as(ben, "ack", alert.ID[:12])
	as(amina, "decision", "log", "bus crash a6", "Divert ambulances", "ED is full", "--decider", "stmarys.nhs.example/gmc/7654321", "-f", "options=Divert", "-f", "options=Stay open")
	as(amina, "send", "bus crash a6", "--kind", "casualty", "-f", "tag=A-017", "-f", "triage=p1", "-f", "location=Bay 3")
	until(amina, "all is settled", func(b api.Board) bool { return !b.Alerts[0].Sounds && !b.Tasks[0].Open })
	until(ben, "the casualty is on Ben's board", func(b api.Board) bool {
		return len(b.Casualties) == 1 && b.Casualties[0].TriageWords == "P1 immediate (red)" && len(b.Decisions) == 1
	})
	var found api.Found
	must(t, d.run(ctx, ben.secret, &found, "search", "junction", "9", "--data", ben.dir))
	if len(found.Messages) != 1 || found.Messages[0].Kind != "methane" {
		t.Errorf("search found %+v", found.Messages)
	}

	for want, args := range map[string][]string{
		"(situation) is missing": {"send", "bus crash a6", "--kind", "sbar", "-f", "background=x"},
		"no kind of message":     {"send", "bus crash a6", "--kind", "rumour"},
		"do not hold":            {"role", "release", "bus crash a6", "loggist"},
		"done already":           {"task", "accept", "bus crash a6", task.ID[:12]},
		"no call-out begins":     {"callout", "close", "bus crash a6", "ffffffffffff"},
		"has no TEXT":            {"send", "bus crash a6", "words", "--kind", "sbar"},
	} {
		var none node.Sent
		if err := d.run(ctx, ben.secret, &none, append(args, "--data", ben.dir)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", args, err, want)
		}
	}
}

func TestParseForm(t *testing.T) {
	got, err := parseForm([]byte(`{"tag":"A-1","eta":20,"options":["a","b"],"none":[]}`))
	want := map[string][]string{"tag": {"A-1"}, "eta": {"20"}, "options": {"a", "b"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "[]", "x", `{"a":`} {
		if _, err := parseForm([]byte(bad)); err == nil {
			t.Errorf("%q is a form", bad)
		}
	}
}
