package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tocsin/node"
	"tocsin/node/api"
	"tocsin/node/message"
)

// The clinical part of the story: what is declared, asked, tagged, called and
// decided, with the commands that clinicians would use.

const (
	incidentName = "Coach crash, A6 northbound"
	onCallName   = "On call, both hospitals"
)

// say sends what a command says in the name of one of the cast. prose is what
// no file may hold afterwards.
func (d *demo) sayBy(ctx context.Context, c *clinician, prose []string, args ...string) (node.Sent, error) {
	d.said = append(d.said, prose...)
	var sent node.Sent
	err := d.run(ctx, c.secret, &sent, append(args, "--data", c.dir)...)
	return sent, err
}

// boards waits until what stands in a group satisfies look on each of some
// devices; look returns what is still missing.
func (d *demo) boards(ctx context.Context, who []*clinician, group string, look func(api.Board) string) error {
	return d.until(ctx, func(ctx context.Context) (string, error) {
		for _, c := range who {
			b, err := c.node.client.Board(ctx, group)
			if errors.Is(err, api.ErrNotFound) {
				return c.first() + " does not have the group", nil
			}
			if err != nil {
				return "", err
			}
			if missing := look(b); missing != "" {
				return fmt.Sprintf("on %s's board: %s", c.first(), missing), nil
			}
		}
		return "", nil
	})
}

// report is the M/ETHANE report that begins the incident, and its declaration.
func (d *demo) report(ctx context.Context) error {
	amina, chidi := d.cast[0], d.cast[2]
	prose := []string{"A6 northbound, 400 m before junction 9", "coach on its side, one lorry", "diesel on the carriageway",
		"from the south only, hard shoulder kept free", "about forty aboard, twelve of them trapped", "two ambulances here, fire crew and eight more needed"}
	args := []string{"send", incidentName, "--kind", "methane", "--priority", "urgent", "-f", "major=declared"}
	for i, name := range []string{"location", "type", "hazards", "access", "casualties", "emergency-services"} {
		args = append(args, "-f", name+"="+prose[i])
	}
	if err := d.until(ctx, func(ctx context.Context) (string, error) {
		_, err := chidi.node.client.Group(ctx, d.group)
		if errors.Is(err, api.ErrNotFound) {
			return chidi.first() + " does not have the group", nil
		}
		return "", err
	}); err != nil {
		return err
	}
	sent, err := d.sayBy(ctx, chidi, prose, args...)
	if err != nil {
		return err
	}
	if _, err := d.sayBy(ctx, amina, nil, "incident", "declare", incidentName, incidentName, "exercise"); err != nil {
		return err
	}
	if err := d.boards(ctx, d.cast, d.group, func(b api.Board) string {
		if b.Incident == nil || b.Incident.State != string(message.IncidentDeclared) || !b.Incident.Exercise {
			return "no exercise is declared"
		}
		return ""
	}); err != nil {
		return err
	}
	for _, c := range d.cast {
		if err := d.until(ctx, func(ctx context.Context) (string, error) {
			m, missing, err := d.one(ctx, c, sent.ID)
			if missing != "" || err != nil {
				return missing, err
			}
			for _, text := range prose {
				if !strings.Contains(m.Text, text) {
					return "", fmt.Errorf("%s reads a report without %q", c.first(), text)
				}
			}
			return "", nil
		}); err != nil {
			return err
		}
	}
	d.checked("%s sent a M/ETHANE report from the scene; %s declared the incident, as an exercise: all five show both", chidi.first(), amina.first())
	return d.call(ctx)
}

// one returns the message that is shown to c under an id.
func (d *demo) one(ctx context.Context, c *clinician, id string) (api.Message, string, error) {
	found, err := d.find(ctx, c, saying{Sent: node.Sent{ID: id}})
	if err != nil {
		return api.Message{}, "", err
	}
	switch len(found) {
	case 0:
		return api.Message{}, c.first() + " does not have the message", nil
	case 1:
		return found[0], "", nil
	}
	return api.Message{}, "", fmt.Errorf("%s was shown a message %d times", c.first(), len(found))
}

// escalatesAfter is how long the alert waits for an acknowledgement: the least
// that an alert may say.
const escalatesAfter = time.Minute

// called are whom the alert calls, one after the other.
var called = []string{"role:medical-registrar", "role:consultant"}

// call raises the alert that nobody answers. The story goes on meanwhile.
func (d *demo) call(ctx context.Context) error {
	amina, chidi, dana := d.cast[0], d.cast[2], d.cast[3]
	for c, role := range map[*clinician]string{dana: called[0], amina: called[1]} {
		if _, err := d.sayBy(ctx, c, nil, "role", "take", incidentName, strings.TrimPrefix(role, "role:"), "--hours", "8"); err != nil {
			return err
		}
	}
	if err := d.boards(ctx, d.cast, d.group, func(b api.Board) string {
		held := make(map[string]string)
		for _, duty := range b.Duties {
			if len(duty.Holders) == 1 {
				held["role:"+duty.Role] = duty.Holders[0].From.Name
			}
		}
		if held[called[0]] != dana.name || held[called[1]] != amina.name {
			return "who is on duty"
		}
		return ""
	}); err != nil {
		return err
	}
	prose := []string{"Trapped driver, crush injury, systolic 70", "cab of the lorry, hard shoulder"}
	args := append([]string{"alert", "raise", incidentName}, prose...)
	sent, err := d.sayBy(ctx, chidi, prose, append(args, called[0], "-f", "to="+called[1], "-f", "after=1")...)
	if err != nil {
		return err
	}
	d.alert = sent.ID
	if err := d.alertShows(ctx, patience, func(a api.Alert) string {
		// Where the machine is so slow that the minute is over already the next was called too; when that was is
		// looked at later.
		if !a.Sounds || len(a.Called) == 0 || a.Called[0] != called[0] {
			return "the alert does not sound for the registrar"
		}
		d.alertAt = a.Message.Sent
		return ""
	}); err != nil {
		return err
	}
	d.checked("%s raised a stat alert for the medical registrar on duty, %s, and after a minute for the consultant, %s; it sounds on all five. Nobody answers it", chidi.first(), dana.first(), amina.first())
	return nil
}

// alertShows waits until the alert is as look wants it on all five boards.
func (d *demo) alertShows(ctx context.Context, limit time.Duration, look func(api.Alert) string) error {
	return d.untilWithin(ctx, limit, func(ctx context.Context) (string, error) {
		for _, c := range d.cast {
			b, err := c.node.client.Board(ctx, d.group)
			if err != nil {
				return "", err
			}
			i := slices.IndexFunc(b.Alerts, func(a api.Alert) bool { return a.Message.ID == d.alert })
			if i < 0 {
				return c.first() + " does not have the alert", nil
			}
			if missing := look(b.Alerts[i]); missing != "" {
				return fmt.Sprintf("on %s's device: %s", c.first(), missing), nil
			}
		}
		return "", nil
	})
}

// escalated waits for the alert to call the next of its list by itself.
func (d *demo) escalated(ctx context.Context) error {
	amina := d.cast[0]
	left := max(0, d.alertAt.Add(escalatesAfter).Sub(d.now())) + d.patience()
	if err := d.alertShows(ctx, left, func(a api.Alert) string {
		if !a.Sounds {
			return "the alert fell silent by itself"
		}
		if !slices.Equal(a.Called, called) {
			return "the alert has not called the consultant"
		}
		return ""
	}); err != nil {
		return err
	}
	steps := 0
	page, err := amina.node.client.Messages(ctx, d.group, -100, 100)
	if err != nil {
		return err
	}
	for _, m := range page.Messages {
		if m.Kind == string(message.KindEscalation) {
			if m.Sent.Before(d.alertAt.Add(escalatesAfter - time.Second)) {
				return fmt.Errorf("the alert escalated after %s, not after a minute", m.Sent.Sub(d.alertAt).Round(time.Second))
			}
			steps++
		}
	}
	d.checked("after a minute without an answer it called the next, with no server: %s of it in the log, and one step on all five boards", plural(steps, "escalation"))
	var ack node.Sent
	if err := d.run(ctx, amina.secret, &ack, "ack", d.alert[:16], "--data", amina.dir); err != nil {
		return err
	}
	if err := d.alertShows(ctx, d.patience(), func(a api.Alert) string {
		if a.Sounds || a.Acknowledged != 1 {
			return "the alert sounds"
		}
		return ""
	}); err != nil {
		return err
	}
	d.checked("%s acknowledged it, and it fell silent on all five", amina.first())
	return nil
}

// casualties is tagging and tagging anew.
func (d *demo) casualties(ctx context.Context) error {
	ben, chidi := d.cast[1], d.cast[2]
	want := map[string]string{}
	for _, c := range [][3]string{
		{"A-001", "p1", "crush injury of the left leg"}, {"A-002", "p2", "fractured forearm, closed"},
		{"A-003", "p2", "abdominal pain, seat belt mark"}, {"A-004", "p3", "walking, cuts to the face"},
		{"A-005", "p3", "walking, sprained wrist"}, {"A-006", "deceased", "confirmed at the scene, 14:20"},
	} {
		if _, err := d.sayBy(ctx, chidi, c[2:], "send", incidentName, "--kind", "casualty", "--priority", "urgent",
			"-f", "tag="+c[0], "-f", "triage="+c[1], "-f", "injuries="+c[2]); err != nil {
			return err
		}
		want[c[0]] = c[1]
	}
	if err := d.tagged(ctx, want, "A-003", 1); err != nil {
		return err
	}
	const worse = "pressure falling, to theatre now"
	if _, err := d.sayBy(ctx, ben, []string{worse}, "send", incidentName, "--kind", "casualty", "--priority", "urgent",
		"-f", "tag=A-003", "-f", "triage=p1", "-f", "injuries="+worse); err != nil {
		return err
	}
	want["A-003"] = "p1"
	if err := d.tagged(ctx, want, "A-003", 2); err != nil {
		return err
	}
	d.checked("%s tagged six casualties at the scene, and %s one of them anew: all five boards show 2 P1, 1 P2, 2 P3 and 1 deceased, and what was said before", chidi.first(), ben.first())
	return nil
}

// tagged waits until every board shows the casualties as they stand, and one of
// them said so often.
func (d *demo) tagged(ctx context.Context, want map[string]string, tag string, said int) error {
	return d.boards(ctx, d.cast, d.group, func(b api.Board) string {
		if len(b.Casualties) != len(want) {
			return fmt.Sprintf("%d casualties of %d", len(b.Casualties), len(want))
		}
		for _, c := range b.Casualties {
			if want[c.Tag] != c.Triage || c.Tag == tag && c.Said != said {
				return fmt.Sprintf("%s is %s, said %d times", c.Tag, c.Triage, c.Said)
			}
		}
		return ""
	})
}

// decide keeps the decision log: the loggist writes down what others decide, and
// corrects an entry with a new one.
func (d *demo) decide(ctx context.Context) error {
	amina, dana, elin := d.cast[0], d.cast[3], d.cast[4]
	if _, err := d.sayBy(ctx, elin, nil, "role", "take", incidentName, "loggist", "--hours", "8"); err != nil {
		return err
	}
	log := func(decider *clinician, extra []string, prose ...string) (node.Sent, error) {
		args := append([]string{"decision", "log", incidentName, prose[0], prose[1], "--decider", decider.person(),
			"-f", "loggist=person:" + elin.person(), "-f", "options=" + prose[0], "-f", "options=Wait for the next report"}, extra...)
		return d.sayBy(ctx, elin, prose, args...)
	}
	first, err := log(amina, nil, "Divert other ambulances to Southfield", "Both emergency departments are at their limit")
	if err != nil {
		return err
	}
	if _, err = log(dana, nil, "Theatres one to three for casualties only", "Two laparotomies are expected within the hour"); err != nil {
		return err
	}
	if _, err = log(amina, []string{"--corrects", first.ID[:16]}, "Divert other ambulances to Westbrook", "Southfield was written down by mistake"); err != nil {
		return err
	}
	if err := d.boards(ctx, d.cast, d.group, func(b api.Board) string {
		if len(b.Decisions) != 3 {
			return fmt.Sprintf("%d decisions of 3", len(b.Decisions))
		}
		for i, one := range b.Decisions {
			if want := map[int]int{2: 1}[i]; one.Number != i+1 || one.Corrects != want || one.Message.From.Name != elin.name {
				return fmt.Sprintf("decision %d, correcting %d, by %s", one.Number, one.Corrects, one.Message.From.Name)
			}
		}
		return ""
	}); err != nil {
		return err
	}
	d.checked("%s, as loggist, logged three decisions of %s and %s; the third corrects the first, which stays: numbered alike on all five", elin.first(), amina.first(), dana.first())
	return d.printed(ctx)
}

// printed is the decision log as a document, whose proofs are checked without a
// node, one of them with a byte changed.
func (d *demo) printed(ctx context.Context) error {
	amina := d.cast[0]
	page := filepath.Join(d.dir, "decisions.html")
	var out struct {
		Proofs   string `json:"proofs"`
		Entries  int    `json:"entries"`
		Proved   int    `json:"proved"`
		Exercise bool   `json:"exercise"`
	}
	if err := d.until(ctx, func(ctx context.Context) (string, error) {
		err := d.run(ctx, amina.secret, &out, "decision", "print", incidentName, "-o", page, "--data", amina.dir)
		if err != nil || out.Entries == 3 && out.Proved == 3 {
			return "", err
		}
		return fmt.Sprintf("%d of %d decisions have a proof", out.Proved, out.Entries), nil
	}); err != nil {
		return err
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	for _, want := range []string{"EXERCISE", "Divert other ambulances to Southfield", "Divert other ambulances to Westbrook"} {
		if !bytes.Contains(text, []byte(want)) {
			return fmt.Errorf("the printed decision log does not say %q", want)
		}
	}
	proofs, err := filepath.Glob(filepath.Join(out.Proofs, "*"+proofSuffix))
	if err != nil || len(proofs) != 3 || !out.Exercise {
		return errors.Join(err, fmt.Errorf("the printed decision log has %d proofs, not 3", len(proofs)))
	}
	for _, proof := range proofs {
		if err := d.run(ctx, amina.secret, nil, "verify", proof, "--data", amina.dir); err != nil {
			return err
		}
	}
	proof, err := os.ReadFile(proofs[0])
	if err != nil {
		return err
	}
	proof[len(proof)/2] ^= 1
	forged := filepath.Join(d.dir, "forged"+proofSuffix)
	if err := writeFile(forged, proof, 0o600); err != nil {
		return err
	}
	if err := d.run(ctx, amina.secret, nil, "verify", forged, "--data", amina.dir); err == nil {
		return errors.New("a proof with a changed bit verifies")
	}
	d.checked("the log was printed as a document of %s that says EXERCISE; each of its three proofs verifies without a node, and none with a changed bit", size(int64(len(text))))
	return nil
}
