package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tocsin/node"
	"tocsin/node/api"
)

// recordStates are the states of a message on its way into the record, as 'record queue --state' takes them.
const recordStates = "waiting, reviewed, signed-off, sending, refused, transferred or exercise"

func (a *app) recordQueue() *cobra.Command {
	var q node.TransferFilter
	cmd := a.clientCommand("queue [GROUP]", "Show what is not in the medical record yet, by group; with GROUP, its messages",
		"  tocsin record queue\n  tocsin record queue \"Bus crash A6\" --state waiting", args(0, 1),
		func(ctx context.Context, client *api.Client, given []string) error {
			if len(given) == 0 {
				queue, err := client.TransferQueue(ctx)
				if err != nil {
					return err
				}
				return a.emit(queue, func() { a.sayQueue(queue) })
			}
			g, err := a.findGroup(ctx, client, given[0])
			if err != nil {
				return err
			}
			items, err := transferItems(ctx, client, g.ID, q)
			if err != nil {
				return err
			}
			return a.emit(api.TransferMessages{Messages: items}, func() { a.sayTransferItems(items) })
		})
	cmd.Flags().StringVar(&q.State, "state", "", "only messages that are "+recordStates)
	cmd.Flags().StringVar(&q.NHSNumber, "nhs-number", "", "only messages about the patient of this `number`")
	return cmd
}

// transferItems are all that a filter finds.
func transferItems(ctx context.Context, client *api.Client, group string, q node.TransferFilter) ([]node.TransferItem, error) {
	all := []node.TransferItem{}
	q.Limit = 500
	for {
		page, err := client.TransferMessages(ctx, group, q)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(page) < q.Limit {
			return all, nil
		}
		q.After = page[len(page)-1].ID
	}
}

func (a *app) sayQueue(queue api.TransferQueue) {
	if queue.Record == "" {
		a.note("No endpoint is set, so messages can be reviewed and exported, and not sent: see --record-url of 'tocsin up'.")
	}
	if len(queue.Groups) == 0 {
		a.say("There is nothing to hand over.")
		return
	}
	a.table([]string{"GROUP", "WAITING", "REVIEWED", "SIGNED OFF", "SENDING", "REFUSED", "IN THE RECORD", ""}, rowsOf(queue.Groups, func(g node.TransferGroup) []string {
		return []string{exercise(g.Mode == "exercise") + printable(g.Name), strconv.Itoa(g.Waiting), strconv.Itoa(g.Reviewed), strconv.Itoa(g.SignedOff),
			strconv.Itoa(g.Sending), strconv.Itoa(g.Refused), strconv.Itoa(g.Transferred), printable(g.Words)}
	}))
}

func (a *app) sayTransferItems(items []node.TransferItem) {
	if len(items) == 0 {
		a.say("There is no such message.")
		return
	}
	a.table([]string{"ID", "STATE", "SAID", "BY", "PATIENT", "MESSAGE", ""}, rowsOf(items, func(it node.TransferItem) []string {
		patient, note := "", strings.Join(it.Notes, "; ")
		if it.Patient != nil {
			patient = it.Patient.Words
		}
		if it.Refused != "" {
			note = it.Refused
		}
		return []string{short(it.ID), it.State, clock(it.Sent), printable(it.From), printable(patient), clip(printable(it.Summary), 60), clip(printable(note), 100)}
	}))
}

// transferIDs finds messages of a group by the beginnings of their ids.
func transferIDs(items []node.TransferItem, given []string) ([]string, error) {
	var out []string
	for _, want := range given {
		var hits []string
		for _, it := range items {
			if len(want) >= minPrefix && strings.HasPrefix(it.ID, strings.ToLower(want)) {
				hits = append(hits, it.ID)
			}
		}
		switch len(hits) {
		case 0:
			return nil, fail(exitNotFound, "'tocsin record queue GROUP' shows the ids of its messages; give at least "+strconv.Itoa(minPrefix)+" characters.", "no message of this group begins with %s", want)
		case 1:
			out = append(out, hits[0])
		default:
			return nil, fail(exitInput, "Give more of its id.", "%s begin with %s", plural(len(hits), "message"), want)
		}
	}
	return out, nil
}

// reviewFlags are what review is told.
type reviewFlags struct {
	patient node.Patient
	none    bool
	all     bool
	tag     string
}

func (a *app) recordReview() *cobra.Command {
	var f reviewFlags
	cmd := a.clientCommand("review GROUP [MESSAGE...]", "Say which patient messages are about, or that they are about no single one",
		"  tocsin record review \"Bus crash A6\" --tag A-003 --nhs-number 9990000018\n  tocsin record review \"Bus crash A6\" 5f3a91c2 7b20aa19 --nhs-number -\n  tocsin record review \"Bus crash A6\" --all --no-patient", args(1, -1),
		func(ctx context.Context, client *api.Client, given []string) error {
			if (f.patient.NHSNumber == "") != f.none {
				return usage("Give --nhs-number, or --no-patient for what is about no single patient.", "whom the messages are about was not said")
			}
			if named := len(given) > 1; named == (f.tag != "" || f.all) || f.tag != "" && f.all {
				return usage("Name messages, or --tag, or --all: one of the three.", "which messages are meant was not said")
			}
			return a.review(ctx, client, given, f)
		})
	cmd.Long = `Say which patient messages are about, or that they are about no single one. That makes them
reviewed; a clinician signs them off after that. What was said can be put right until the
message is in the record.

The NHS number is checked by its last digit. It is handed over as one that was not traced
(status 02) unless --traced says that it was. --nhs-number - reads it from standard input, so
that it stands in no list of processes.`
	flags := cmd.Flags()
	flags.StringVar(&f.patient.NHSNumber, "nhs-number", "", "ten digits; - reads them from standard input")
	flags.BoolVar(&f.patient.Traced, "traced", false, "the number was traced in the national service")
	flags.StringVar(&f.patient.Family, "family", "", "family name of the patient, where it is known")
	flags.StringVar(&f.patient.Given, "given", "", "given name of the patient, where it is known")
	flags.StringVar(&f.patient.Born, "born", "", "date of birth of the patient, such as 1980-12-31, where it is known")
	flags.BoolVar(&f.none, "no-patient", false, "they are about no single patient")
	flags.BoolVar(&f.all, "all", false, "every message of the group that nobody has reviewed")
	flags.StringVar(&f.tag, "tag", "", "every message about the casualty with this `tag` that is not in the record")
	return cmd
}

func (a *app) review(ctx context.Context, client *api.Client, given []string, f reviewFlags) error {
	g, err := a.findGroup(ctx, client, given[0])
	if err != nil {
		return err
	}
	ids, err := f.messages(ctx, client, g.ID, given[1:])
	if err != nil {
		return err
	}
	var patient *node.Patient
	if !f.none {
		if f.patient.NHSNumber == "-" {
			text, err := a.readInput("-", "NHS number", 64)
			if err != nil {
				return err
			}
			f.patient.NHSNumber = strings.TrimSpace(string(text))
		}
		f.patient.NHSNumber = strings.NewReplacer(" ", "", "-", "").Replace(f.patient.NHSNumber)
		patient = &f.patient
	}
	var counts node.TransferCounts
	for len(ids) > 0 { // as many at a time as one request may hold
		n := min(len(ids), 500)
		if counts, err = client.Attribute(ctx, g.ID, patient, ids[:n]...); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return a.emit(counts, func() { a.sayCounts(counts) })
}

// messages are those that are meant.
func (f *reviewFlags) messages(ctx context.Context, client *api.Client, group string, given []string) ([]string, error) {
	items, err := transferItems(ctx, client, group, node.TransferFilter{Tag: f.tag})
	if err != nil || len(given) > 0 {
		ids, found := transferIDs(items, given)
		return ids, errors.Join(err, found)
	}
	var ids []string
	for _, it := range items {
		open := it.State == node.TransferWaiting || it.State == node.TransferExercise && it.ReviewedAt.IsZero()
		if open || f.tag != "" && it.State != node.TransferDone && it.State != node.TransferSending {
			ids = append(ids, it.ID)
		}
	}
	if len(ids) == 0 {
		return nil, fail(exitNotFound, "'tocsin record queue GROUP' shows its messages.", "there is no such message")
	}
	return ids, nil
}

func (a *app) sayCounts(c node.TransferCounts) {
	a.say("Waiting for review: %d. Reviewed: %d. Signed off: %d. Refused: %d. In the record: %d.", c.Waiting, c.Reviewed, c.SignedOff+c.Sending, c.Refused, c.Transferred)
}

func (a *app) recordSignOff() *cobra.Command {
	var withdraw bool
	cmd := a.guardedCommand("sign-off GROUP [MESSAGE...]", "Release reviewed messages for the record, as the clinician that you are",
		"  tocsin record sign-off \"Bus crash A6\"\n  tocsin record sign-off \"Bus crash A6\" 5f3a91c2 --withdraw", args(1, -1),
		func(ctx context.Context, client *api.Client, again func() (string, error), given []string) error {
			g, err := a.findGroup(ctx, client, given[0])
			if err != nil {
				return err
			}
			ids := []string(nil)
			if len(given) > 1 {
				items, err := transferItems(ctx, client, g.ID, node.TransferFilter{})
				if err != nil {
					return err
				}
				if ids, err = transferIDs(items, given[1:]); err != nil {
					return err
				}
			}
			if withdraw {
				if len(ids) == 0 {
					return usage("Name the messages whose sign-off is withdrawn.", "no message is named")
				}
				counts, err := client.WithdrawSignOff(ctx, g.ID, ids...)
				return errors.Join(err, a.emitCounts(counts, err))
			}
			token, err := again()
			if err != nil {
				return err
			}
			counts, err := client.SignOff(ctx, token, g.ID, ids...)
			return errors.Join(err, a.emitCounts(counts, err))
		})
	cmd.Long = `Release reviewed messages for the record: those that are named, or all that were reviewed.
Your name and the time stand beside each. With --withdraw it is taken back, as long as the
message was not sent.`
	cmd.Flags().BoolVar(&withdraw, "withdraw", false, "take the sign-off of the named messages back")
	return cmd
}

func (a *app) emitCounts(c node.TransferCounts, err error) error {
	if err != nil {
		return nil
	}
	return a.emit(c, func() { a.sayCounts(c) })
}

func (a *app) recordExport() *cobra.Command {
	var out string
	cmd := a.guardedCommand("export GROUP", "Write a whole group into one file, in FHIR's JSON, with proofs",
		"  tocsin record export \"Bus crash A6\" --out incident.json\n  tocsin verify incident.json", args(1, 1),
		func(ctx context.Context, client *api.Client, again func() (string, error), given []string) error {
			if out == "" {
				return usage("Name the file with --out incident.json.", "no file is named")
			}
			group, token, err := a.guardedGroup(ctx, client, given[0], again)
			if err != nil {
				return err
			}
			var made node.RecordExport
			var answer error
			if err := writeWhole(out, func(w io.Writer) (err error) {
				made, answer = client.ExportRecord(ctx, token, group, w)
				return answer
			}); err != nil {
				if answer != nil {
					return answer
				}
				return fail(exitFailed, "Check the path, its permissions and the space on its disk.", "%s was not written: %w", out, err)
			}
			return a.emit(struct {
				Path string `json:"path"`
				node.RecordExport
			}{out, made}, func() { a.sayExport(out, made) })
		})
	cmd.Long = `Write a whole group into one file: a FHIR document with every message, who said it, whom it
reached, the files, and the proofs. That it was written stands in the group, for all to see.
An exercise says so in every resource. 'tocsin verify FILE' checks it.`
	cmd.Flags().StringVarP(&out, "out", "o", "", "write into this `file`")
	return cmd
}

func (a *app) sayExport(path string, e node.RecordExport) {
	if e.Exercise {
		a.say("EXERCISE")
	}
	a.say("%s: %s, %d of them with proofs, %s.", path, plural(e.Messages, "message"), e.Proofs, size(e.Bytes))
	a.say("SHA-256 %s", e.SHA256)
	if e.Words != "" {
		a.say("%s", printable(e.Words))
	}
	a.note("Whoever has this file reads the messages. 'tocsin verify %s' checks it.", path)
}

// followEvery is how often a transfer is looked at.
const followEvery = 500 * time.Millisecond

func (a *app) recordSend() *cobra.Command {
	var background, stop bool
	cmd := a.guardedCommand("send GROUP", "Send to the medical record what was signed off, and say how far it is",
		"  tocsin record send \"Bus crash A6\"\n  tocsin record send \"Bus crash A6\" --stop", args(1, 1),
		func(ctx context.Context, client *api.Client, again func() (string, error), given []string) error {
			g, err := a.findGroup(ctx, client, given[0])
			if err != nil {
				return err
			}
			if stop {
				p, err := client.StopTransfer(ctx, g.ID)
				if err != nil {
					return err
				}
				return a.emit(p, func() { a.sayProgress(p) })
			}
			token, err := again()
			if err != nil {
				return err
			}
			p, err := client.SendRecord(ctx, token, g.ID)
			if err != nil {
				return err
			}
			if !background {
				if p, err = a.followTransfer(ctx, client, p); err != nil {
					return err
				}
			}
			if err := a.emit(p, func() { a.sayProgress(p) }); err != nil {
				return err
			}
			return sendOutcome(p)
		})
	cmd.Long = `Send to the medical record what was signed off. The node goes on with it when this command
ends, and after a restart; --background does not wait for it. A message counts as handed
over once the endpoint has returned it as it was sent. Sending twice makes nothing twice.`
	cmd.Flags().BoolVar(&background, "background", false, "do not wait until it is over")
	cmd.Flags().BoolVar(&stop, "stop", false, "stop sending; what was taken stays taken")
	return cmd
}

// followTransfer waits until a transfer is over or stops, and shows how far it is.
func (a *app) followTransfer(ctx context.Context, client *api.Client, p node.TransferProgress) (node.TransferProgress, error) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for said := -1; p.State == "running"; {
		if p.Transferred != said && isTerminal(os.Stderr) && !a.json {
			said = p.Transferred
			a.note("%d of %d are in the record", p.Transferred, p.Messages)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return p, fail(exitFailed, "The node goes on with it: 'tocsin record queue' says how far it is.", "interrupted while it was sent")
		}
		var err error
		if p, err = client.TransferProgress(ctx, p.Group); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (a *app) sayProgress(p node.TransferProgress) {
	where := ""
	if p.Record != "" {
		where = " at " + printable(p.Record)
	}
	a.say("%d of %d stand in the record%s.", p.Transferred, p.Messages, where)
	for _, r := range p.Refused {
		a.say("%s refused: %s", short(r.ID), printable(r.Reason))
	}
	if p.Stopped != "" {
		a.say("Stopped: %s", printable(p.Stopped))
	}
}

// sendOutcome is an error where something was not taken.
func sendOutcome(p node.TransferProgress) error {
	switch {
	case p.Stopped != "":
		return fail(exitFailed, "Nothing was lost: put right what it says and send again.", "the transfer stopped: %s", p.Stopped)
	case len(p.Refused) > 0:
		return fail(exitFailed, "They stay here. Put right what it says, and send again.", "the record refused %s", plural(len(p.Refused), "message"))
	}
	return nil
}
