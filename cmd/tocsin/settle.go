package main

import (
	"context"

	"github.com/spf13/cobra"

	"tocsin/node/api"
)

func (a *app) incidentSettle() *cobra.Command {
	cmd := a.guardedCommand("settle GROUP MODE REASON", "Say for good that an incident is live or an exercise, where those who run it say both",
		"  tocsin incident settle \"Bus crash A6\" live \"The rehearsal was called off when the bus came\"", args(3, 3),
		func(ctx context.Context, client *api.Client, again func() (string, error), given []string) error {
			group, token, err := a.guardedGroup(ctx, client, given[0], again)
			if err != nil {
				return err
			}
			sent, err := client.SettleIncident(ctx, token, group, given[1], given[2])
			return a.emitSent(sent, err, "Saved on this device. It counts on every device of the group once it arrives there.")
		})
	cmd.Long = `Say for good that an incident is live or an exercise, where those who run it say both: two
parts of the mesh that did not hear of each other, or a clock that was set back. Until then
nothing of it is sent to the record, or erased because its time is over.

It is for who runs the group, and your name stands beside it. That it is an exercise takes
two of them, because what belongs to an exercise may be erased without being in the record:
somebody else than who said so first. That it is live, one may say, and it stays so.`
	return cmd
}

// sayMode says what there is to know of an incident's being live.
func (a *app) sayMode(i *api.Incident) {
	switch {
	case i.Contested:
		a.say("CONTESTED: those who run it say both that it is live and that it is an exercise; ask them before you take it for one, and see 'tocsin incident settle --help'")
	case i.Settled != nil:
		a.say("%s settled on %s that it is %s", printable(i.Settled.From.Name), clock(i.Settled.Sent), map[bool]string{true: "an exercise", false: "live"}[i.Exercise])
	}
}
