package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"tocsin/node"
	"tocsin/node/api"
)

// The end of the story: what was said goes to the medical record, is proved there, and leaves the devices.

// breakTransfer is no protection of a node: the demo's stand-in of the record lies. It says that it stored what it was sent, and forgets it.
const breakTransfer = "transfer"

// Numbers that are never given to a patient: those that begin with 999.
const (
	patientOne   = "9990000018"
	patientTwo   = "9990000042"
	noPatient    = "9990000019" // its check digit does not fit
	handOverName = "Handover, theatre one"
)

// startRecord starts what stands in for the medical record, unless an endpoint was named.
func (d *demo) startRecord() error {
	if d.fhir != "" {
		return nil
	}
	var err error
	if d.standIn, err = newStandIn(d.broken == breakTransfer); err != nil {
		return err
	}
	d.fhir = d.standIn.url
	return nil
}

// recordName says what the record of this run is.
func (d *demo) recordName() string {
	if d.standIn != nil {
		return "a stand-in in this process, which takes anything"
	}
	return "the endpoint " + d.fhir
}

// mustRefuse runs a command that must fail, and looks for its reason.
func (d *demo) mustRefuse(ctx context.Context, c *clinician, reason string, args ...string) error {
	err := d.run(ctx, c.secret, nil, append(args, "--data", c.dir)...)
	if err == nil || !strings.Contains(err.Error(), reason) {
		return errors.Join(fmt.Errorf("'tocsin %s' was not refused as it should be (%q)", strings.Join(args, " "), reason), err)
	}
	return nil
}

// by runs a command in the name of one of the cast.
func (d *demo) by(ctx context.Context, c *clinician, out any, args ...string) error {
	return d.run(ctx, c.secret, out, append(args, "--data", c.dir)...)
}

// exported is the step in which the exercise is reviewed and written to a file, and does not go into the record.
func (d *demo) exported(ctx context.Context) error {
	amina := d.cast[0]
	d.said = append(d.said, patientOne, patientTwo)
	if err := d.mustRefuse(ctx, amina, "check digit", "record", "review", incidentName, "--tag", "A-001", "--nhs-number", noPatient); err != nil {
		return err
	}
	if err := d.by(ctx, amina, nil, "record", "review", incidentName, "--all", "--no-patient"); err != nil {
		return err
	}
	var about []string
	for _, p := range []struct {
		tag, number string
		said        int
	}{{"A-001", patientOne, 1}, {"A-003", patientTwo, 2}} {
		if err := d.by(ctx, amina, nil, "record", "review", incidentName, "--tag", p.tag, "--nhs-number", p.number); err != nil {
			return err
		}
		var found api.TransferMessages
		if err := d.by(ctx, amina, &found, "record", "queue", incidentName, "--nhs-number", p.number); err != nil {
			return err
		}
		if len(found.Messages) != p.said {
			return fmt.Errorf("%d messages are about the patient of tag %s, not %d", len(found.Messages), p.tag, p.said)
		}
		for _, m := range found.Messages {
			about = append(about, m.ID)
		}
	}
	d.checked("%s reviewed the incident: two casualties have an NHS number now, one of them in two messages; a number with a wrong check digit was refused", amina.first())
	for _, command := range [][]string{{"record", "sign-off", incidentName, about[0]}, {"record", "send", incidentName}} {
		if err := d.mustRefuse(ctx, amina, "exercise", command...); err != nil {
			return err
		}
	}
	d.checked("it is an exercise: signing it off and sending it to the record are both refused")
	if err := d.provable(ctx, amina, about); err != nil {
		return err
	}
	return d.exportFile(ctx, amina)
}

// exportFile writes the exercise to a file, which verifies as it is and in no other form.
func (d *demo) exportFile(ctx context.Context, amina *clinician) error {
	path := filepath.Join(d.dir, "incident.json")
	var made node.RecordExport
	if err := d.by(ctx, amina, &made, "record", "export", incidentName, "--out", path); err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !made.Exercise || bytes.Count(text, []byte(`"HTEST"`)) < made.Messages {
		return fmt.Errorf("the file of an exercise says %d times that it is one, of %d messages", bytes.Count(text, []byte(`"HTEST"`)), made.Messages)
	}
	var report packageReport
	if err := d.by(ctx, amina, &report, "verify", path); err != nil {
		return err
	}
	if report.Proved < 3 || report.Proved+report.Bare != report.Messages {
		return fmt.Errorf("of %d messages in the file %d are proved", report.Messages, report.Proved)
	}
	const before, after = "crush injury of the left leg", "crush injury of the right leg"
	if !bytes.Contains(text, []byte(before)) {
		return fmt.Errorf("the file does not say %q", before)
	}
	forged := filepath.Join(d.dir, "forged.json")
	if err := writeFile(forged, bytes.ReplaceAll(text, []byte(before), []byte(after)), 0o600); err != nil {
		return err
	}
	if err := d.mustRefuse(ctx, amina, "does not verify", "verify", forged); err != nil {
		return err
	}
	d.checked("it was written to a FHIR document of %s, marked HTEST throughout: %d of %s proved by two witnesses or more; with one word changed it does not verify",
		size(made.Bytes), report.Proved, plural(report.Messages, "message"))
	return nil
}

// handOver is the step in which messages of a live group go to the record.
func (d *demo) handOver(ctx context.Context) error {
	amina, members := d.cast[0], d.cast[:4]
	g, ids, err := d.sayLive(ctx, members)
	if err != nil {
		return err
	}
	if err := d.by(ctx, amina, nil, "record", "review", g, ids[0], ids[1], "--nhs-number", patientOne); err != nil {
		return err
	}
	if err := d.by(ctx, amina, nil, "record", "review", g, "--all", "--no-patient"); err != nil {
		return err
	}
	if err := d.by(ctx, amina, nil, "record", "sign-off", g); err != nil {
		return err
	}
	var sent node.TransferProgress
	if err := d.by(ctx, amina, &sent, "record", "send", g); err != nil {
		return err
	}
	if sent.Transferred < len(ids) || sent.Transferred != sent.Messages {
		return fmt.Errorf("%d of %d messages stand in the record, and %d were said", sent.Transferred, sent.Messages, len(ids))
	}
	d.checked("%s reviewed and signed off a live group of %s, and sent it to %s: each was read back from there before it counted", amina.first(), plural(len(ids), "message"), d.recordName())
	if err := d.told(ctx, members, g, ids); err != nil {
		return err
	}
	if err := d.returned(ctx, amina, g, len(ids)); err != nil {
		return err
	}
	return d.released(ctx, members, g, ids)
}

// sayLive says a few things in a live group, and waits until each can be proved. It returns the group and the messages.
func (d *demo) sayLive(ctx context.Context, members []*clinician) (group string, ids []string, err error) {
	amina, ben := members[0], members[1]
	spec := node.GroupSpec{Kind: "team", Name: handOverName}
	for _, c := range members[1:] {
		spec.Members = append(spec.Members, c.person())
	}
	g, err := amina.node.client.CreateGroup(ctx, spec)
	if err != nil {
		return "", nil, err
	}
	prose := []string{"crush injury left leg, tourniquet since 13:50", "thirty-four, no allergies known", "pulse absent below the knee", "theatre one now, vascular to attend"}
	args := []string{"send", g.ID, "--kind", "sbar"}
	for i, name := range []string{"situation", "background", "assessment", "recommendation"} {
		args = append(args, "-f", name+"="+prose[i])
	}
	first, err := d.sayBy(ctx, amina, prose, args...)
	if err != nil {
		return "", nil, err
	}
	if err := d.until(ctx, func(ctx context.Context) (string, error) {
		_, err := ben.node.client.Group(ctx, g.ID)
		if errors.Is(err, api.ErrNotFound) {
			return ben.first() + " does not have the group", nil
		}
		return "", err
	}); err != nil {
		return "", nil, err
	}
	ids = []string{first.ID}
	for c, text := range map[*clinician]string{ben: "Two units of O negative are in theatre one", amina: "Relatives are in the chapel with the chaplain"} {
		s, err := d.sayBy(ctx, c, []string{text}, "send", g.ID, text)
		if err != nil {
			return "", nil, err
		}
		ids = append(ids, s.ID)
	}
	return g.ID, ids, d.provable(ctx, amina, ids)
}

// provable waits until two others have signed for each of some messages.
func (d *demo) provable(ctx context.Context, c *clinician, ids []string) error {
	return d.until(ctx, func(ctx context.Context) (string, error) {
		for _, id := range ids {
			_, err := c.node.client.Prove(ctx, id)
			if errors.Is(err, api.ErrUnwitnessed) || errors.Is(err, api.ErrNotFound) {
				return "a message cannot be proved yet", nil
			}
			if err != nil {
				return "", err
			}
		}
		return "", nil
	})
}

// told waits until every member's device knows that the messages stand in the record.
func (d *demo) told(ctx context.Context, members []*clinician, group string, ids []string) error {
	if err := d.until(ctx, func(ctx context.Context) (string, error) {
		for _, c := range members {
			items, err := c.node.client.TransferMessages(ctx, group, node.TransferFilter{State: node.TransferDone})
			if errors.Is(err, api.ErrNotFound) {
				return c.first() + " does not have the group", nil
			}
			if err != nil {
				return "", err
			}
			if len(items) < len(ids) {
				return fmt.Sprintf("%s's device knows of %d of %d that they stand in the record", c.first(), len(items), len(ids)), nil
			}
		}
		return "", nil
	}); err != nil {
		return err
	}
	d.checked("the receipts stand in the group: the devices of all %d members say of %s where it is in the record", len(members), plural(len(ids), "message"))
	return nil
}

// returned fetches what the record holds, from the outside, and verifies it; after a second upload it holds nothing twice.
func (d *demo) returned(ctx context.Context, c *clinician, group string, messages int) error {
	path := filepath.Join(d.dir, "returned.json")
	type fetchedReport struct {
		ByType map[string]int `json:"by_type"`
	}
	var once, twice fetchedReport
	if err := d.by(ctx, c, &once, "record", "fetch", group, "--out", path); err != nil {
		return err
	}
	var report packageReport
	if err := d.by(ctx, c, &report, "verify", path); err != nil {
		return err
	}
	if !report.Returned || report.Proved < messages {
		return fmt.Errorf("of what the record returns %d messages are proved, not %d", report.Proved, messages)
	}
	if err := d.mustRefuse(ctx, c, "stands in the record", "record", "send", group); err != nil {
		return err
	}
	if err := d.by(ctx, c, &twice, "record", "fetch", group, "--out", path); err != nil {
		return err
	}
	if !maps.Equal(once.ByType, twice.ByType) {
		return fmt.Errorf("the record holds %v, and held %v before", twice.ByType, once.ByType)
	}
	d.checked("what the record returns was fetched by search and verifies: %s proved without a node; a second upload sends nothing and makes nothing twice", plural(report.Proved, "message"))
	return nil
}

// released has the first message erased, which now may go: not while it is held, then here at once, and elsewhere after a day.
func (d *demo) released(ctx context.Context, members []*clinician, group string, ids []string) error {
	amina, inquiry := members[0], "Coroner's inquiry of this incident"
	hold, err := d.sayBy(ctx, amina, []string{inquiry}, "record", "hold", "place", group, "inquiry", inquiry)
	if err != nil {
		return err
	}
	if err := d.keeps(ctx, members, group, "the hold", func(v node.RetentionView) bool { return v.Held }); err != nil {
		return err
	}
	const stands = "It stands in the record, that will do"
	if _, err := d.sayBy(ctx, amina, []string{stands}, "record", "erase", group, stands, ids[0], "--yes"); err != nil {
		return err
	}
	if err := d.by(ctx, amina, nil, "record", "erase", "--due"); err != nil {
		return err
	}
	if there, err := d.shows(ctx, amina, group, ids[0]); err != nil || !there {
		return errors.Join(err, errors.New("a message that is held was erased"))
	}
	const over = "The inquiry needs nothing of it"
	if _, err := d.sayBy(ctx, amina, []string{over}, "record", "hold", "end", group, hold.ID, over); err != nil {
		return err
	}
	if err := d.by(ctx, amina, nil, "record", "erase", "--due"); err != nil {
		return err
	}
	if there, err := d.shows(ctx, amina, group, ids[0]); err != nil || there {
		return errors.Join(err, errors.New("a message that was ordered to be erased, and that nothing holds, is still shown"))
	}
	if err := d.keeps(ctx, members[1:], group, "the order", func(v node.RetentionView) bool { return v.Orders == 1 && !v.Held }); err != nil {
		return err
	}
	d.checked("%s ordered a message that stands in the record to be erased: while an inquiry held it nothing went; when the hold had ended it went from her device, and the other %d have the order and wait a day, since a hold may be on its way", amina.first(), len(members)-1)
	return nil
}

// keeps waits until the devices of some know something of how long a group is kept.
func (d *demo) keeps(ctx context.Context, who []*clinician, group, what string, ok func(node.RetentionView) bool) error {
	return d.until(ctx, func(ctx context.Context) (string, error) {
		for _, c := range who {
			if v, err := c.node.client.Retention(ctx, group); err != nil || !ok(v) {
				return c.first() + "'s device does not know of " + what, err
			}
		}
		return "", nil
	})
}

// shows reports whether a device shows a message of a group.
func (d *demo) shows(ctx context.Context, c *clinician, group, id string) (bool, error) {
	page, err := c.node.client.Messages(ctx, group, -100, 100)
	if err != nil {
		return false, err
	}
	for _, m := range page.Messages {
		if m.ID == id {
			return true, nil
		}
	}
	return false, nil
}
