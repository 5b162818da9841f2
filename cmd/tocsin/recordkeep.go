package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"tocsin/node"
	"tocsin/node/api"
)

// How long messages are kept, what holds them, and how they go.

func (a *app) recordRetention() *cobra.Command {
	var days string
	cmd := a.guardedCommand("retention GROUP", "Show how long the messages of a group are kept and why, or set it",
		"  tocsin record retention \"Bus crash A6\"\n  tocsin record retention \"Bus crash A6\" --days 60", args(1, 1),
		func(ctx context.Context, client *api.Client, again func() (string, error), given []string) error {
			g, err := a.findGroup(ctx, client, given[0])
			if err != nil {
				return err
			}
			var v node.RetentionView
			if days == "" {
				v, err = client.Retention(ctx, g.ID)
			} else {
				n, wrong := strconv.Atoi(days)
				if days == "never" {
					n, wrong = 0, nil
				} else if wrong == nil && n < 1 {
					wrong = strconv.ErrRange
				}
				if wrong != nil {
					return usage("Write a number of days such as 30, or never.", "--days does not know %q", days)
				}
				token, refused := again()
				if refused != nil {
					return refused
				}
				v, err = client.SetRetention(ctx, token, g.ID, n)
			}
			if err != nil {
				return err
			}
			holds, err := client.Holds(ctx, g.ID)
			if err != nil {
				return err
			}
			return a.emit(v, func() { a.sayRetention(v, holds) })
		})
	cmd.Long = `Show how long the messages of a group are kept on its members' devices, what keeps them
longer, and when they go. With --days, who runs the group sets it for everybody in it;
'never' keeps them until somebody erases them. What is not in the record is not erased,
unless the organisation's settings say otherwise.`
	cmd.Flags().StringVar(&days, "days", "", "set it to so many `days` after the incident's end, or never")
	return cmd
}

func (a *app) sayRetention(v node.RetentionView, holds []node.HoldView) {
	a.say("%s", printable(v.Words))
	if !v.Due.IsZero() {
		a.say("Due: %s", when(v.Due))
	}
	for _, why := range v.Kept {
		a.say("Kept: %s", printable(why))
	}
	for _, h := range holds {
		a.sayHold(h)
	}
}

func (a *app) sayHold(h node.HoldView) {
	a.say("Hold %s (%s) by %s since %s: %s", short(h.ID), h.Basis, printable(h.By), when(h.At), printable(h.Reason))
	if h.Ended {
		a.say("  ended by %s on %s: %s", printable(h.EndedBy), when(h.EndedAt), printable(h.EndReason))
	}
}

func (a *app) recordHold() *cobra.Command {
	place := a.guardedCommand("place GROUP BASIS REASON", "Keep everything in a group from being erased; BASIS is legal, clinical or inquiry",
		"  tocsin record hold place \"Bus crash A6\" inquiry \"Coroner's inquiry 2026/17\"", args(3, 3),
		func(ctx context.Context, client *api.Client, again func() (string, error), given []string) error {
			group, token, err := a.guardedGroup(ctx, client, given[0], again)
			if err != nil {
				return err
			}
			sent, err := client.PlaceHold(ctx, token, group, given[1], given[2])
			return a.emitSent(sent, err, "Saved on this device. It holds on every device of the group once it arrives there.")
		})
	list := a.clientCommand("list GROUP", "List the holds of a group, ended ones too", "  tocsin record hold list \"Bus crash A6\"", args(1, 1),
		func(ctx context.Context, client *api.Client, given []string) error {
			g, err := a.findGroup(ctx, client, given[0])
			if err != nil {
				return err
			}
			holds, err := client.Holds(ctx, g.ID)
			if err != nil {
				return err
			}
			return a.emit(api.Holds{Holds: holds}, func() {
				if len(holds) == 0 {
					a.say("Nothing holds the messages of this group.")
				}
				for _, h := range holds {
					a.sayHold(h)
				}
			})
		})
	end := a.guardedCommand("end GROUP HOLD REASON", "End a hold: by who placed it, or who runs the group",
		"  tocsin record hold end \"Bus crash A6\" 5f3a91c2 \"Inquiry closed\"", args(3, 3),
		func(ctx context.Context, client *api.Client, again func() (string, error), given []string) error {
			g, err := a.findGroup(ctx, client, given[0])
			if err != nil {
				return err
			}
			holds, err := client.Holds(ctx, g.ID)
			if err != nil {
				return err
			}
			items := make([]node.TransferItem, len(holds)) // the same rule for beginnings of ids
			for i, h := range holds {
				items[i].ID = h.ID
			}
			ids, err := transferIDs(items, given[1:2])
			if err != nil {
				return err
			}
			token, err := again()
			if err != nil {
				return err
			}
			sent, err := client.EndHold(ctx, token, g.ID, ids[0], given[2])
			return a.emitSent(sent, err, "Saved on this device. The hold ends on every device of the group once it arrives there.")
		})
	return family("hold", "Keep the messages of a group from being erased, by name and with a reason",
		"  tocsin record hold place \"Bus crash A6\" inquiry \"Coroner's inquiry 2026/17\"", place, list, end)
}

// emitSent says what became of something that was sent.
func (a *app) emitSent(sent node.Sent, err error, note string) error {
	if err != nil {
		return err
	}
	return a.emit(sent, func() {
		a.say("%s", sent.ID)
		a.note("%s", note)
	})
}

func (a *app) recordErase() *cobra.Command {
	var yes, due bool
	cmd := a.guardedCommand("erase [GROUP REASON MESSAGE...]", "Order every member's device to erase messages, or erase here what is due",
		"  tocsin record erase \"Bus crash A6\" \"Sent to the wrong group\" 5f3a91c2\n  tocsin record erase --due", args(0, -1),
		func(ctx context.Context, client *api.Client, again func() (string, error), given []string) error {
			if due {
				if len(given) > 0 {
					return usage("", "--due takes no arguments: it erases whatever is due, in every group")
				}
				erased, err := client.Retain(ctx)
				if err != nil {
					return err
				}
				return a.emit(erased, func() { a.say("%s", printable(erased.Words)) })
			}
			if len(given) < 3 {
				return usage("Or erase what is due with --due.", "name the group, the reason and the messages")
			}
			return a.orderErasure(ctx, client, again, given, yes)
		})
	cmd.Long = `Order every member's device to erase messages: by who runs the group, or their author. A
device does so once the message is in the record and nothing holds it. The log stays whole
and verifies; what remains is who said something when, and nothing of what it was. Flash
memory may remember what was overwritten.

With --due this device erases now what its group's retention says is due; it does that
every hour by itself.`
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask for confirmation")
	cmd.Flags().BoolVar(&due, "due", false, "erase on this device what is due")
	return cmd
}

func (a *app) orderErasure(ctx context.Context, client *api.Client, again func() (string, error), given []string, yes bool) error {
	g, err := a.findGroup(ctx, client, given[0])
	if err != nil {
		return err
	}
	items, err := transferItems(ctx, client, g.ID, node.TransferFilter{})
	if err != nil {
		return err
	}
	ids, err := transferIDs(items, given[2:])
	if err != nil {
		return err
	}
	if !yes {
		a.note("About to have every member of %q erase %s. It cannot be undone.", printable(g.Title), plural(len(ids), "message"))
		if err := a.confirm("Erase?"); err != nil {
			return err
		}
	}
	token, err := again()
	if err != nil {
		return err
	}
	sent, err := client.OrderErasure(ctx, token, g.ID, given[1], ids...)
	return a.emitSent(sent, err, "Saved on this device. Each device erases them once the order arrives, they are in the record and nothing holds them.")
}
