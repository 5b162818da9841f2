package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"tocsin/node"
	"tocsin/node/api"
)

func (a *app) logForks() *cobra.Command {
	return a.clientCommand("forks", "Show the logs whose device signed two entries at one place, with both branches",
		"  tocsin log forks\n  tocsin log forks --json", args(0, 0),
		func(ctx context.Context, client *api.Client, _ []string) error {
			forks, err := client.Forks(ctx)
			if err != nil {
				return err
			}
			return a.emit(api.Forks{Forks: forks}, func() {
				if len(forks) == 0 {
					a.say("No device is known to have signed two entries at one place of its log.")
				}
				for _, f := range forks {
					a.showFork(f)
				}
			})
		})
}

func (a *app) showFork(f node.Fork) {
	s := a.style()
	a.say("%s", s.bold("Log "+short(f.Log)+", from entry "+fmt.Sprint(f.Seq)+" on"))
	a.say("%s", s.red(printable(f.Words)))
	for i, b := range f.Branches {
		where := "kept out of the log"
		if b.InLog > 0 {
			where = "in the log of this device, where it came first"
		}
		a.say("")
		a.say("Branch %d: %s, %s", i+1, plural(len(b.Entries), "entry"), where)
		var rows [][]string
		for _, e := range b.Entries {
			rows = append(rows, []string{fmt.Sprint(e.Seq), when(e.Time), e.Kind, short(e.ID), saidOn(e)})
		}
		a.table([]string{"SEQ", "TIME", "KIND", "ID", "SAYS"}, rows)
	}
	a.say("")
}

// saidOn is what an entry of a branch says, or why that is not known.
func saidOn(e node.ForkEntry) string {
	if e.Why != "" {
		return "(" + e.Why + ")"
	}
	return printable(e.Summary)
}

func (a *app) lowBandwidthCommand() *cobra.Command {
	cmd := a.clientCommand("low-bandwidth [auto | on | off]", "Say whether only headers and urgent messages are fetched, or set it",
		"  tocsin low-bandwidth\n  tocsin low-bandwidth on", args(0, 1),
		func(ctx context.Context, client *api.Client, given []string) error {
			state := node.ThriftState{}
			if len(given) == 0 {
				st, err := client.Status(ctx)
				if err != nil {
					return err
				}
				state = st.LowBandwidth
			} else {
				if err := checkThrift(given[0]); err != nil {
					return err
				}
				var err error
				if state, err = client.SetLowBandwidth(ctx, given[0]); err != nil {
					return err
				}
			}
			return a.emit(state, func() { a.say("%s", thriftWords(state)) })
		})
	cmd.Long = `Say whether only headers and urgent messages are fetched, or set it until the node is
restarted. auto switches it on while the lines to all neighbours are bad, and off
again. The setting mesh.low_bandwidth keeps it for good.`
	return cmd
}

func thriftWords(t node.ThriftState) string {
	switch {
	case t.Words != "":
		return printable(t.Words)
	case t.Mode == node.ThriftOff:
		return "Low-bandwidth mode is off, whatever the lines carry."
	}
	return "Low-bandwidth mode is off; it switches itself on while the lines to all neighbours are bad."
}
