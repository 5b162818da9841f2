package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tocsin/node"
	"tocsin/node/api"
)

func (a *app) peersCommand() *cobra.Command {
	return a.clientCommand("peers", "List the devices that this one is connected to, and those that were cut off, with the reason",
		"  tocsin peers", args(0, 0),
		func(ctx context.Context, client *api.Client, _ []string) error {
			all, err := client.Neighbours(ctx)
			if err != nil {
				return err
			}
			status, err := client.Status(ctx)
			if err != nil {
				return err
			}
			people, err := client.People(ctx)
			if err != nil {
				return err
			}
			return a.emit(all, func() {
				a.showPeers(all, people)
				a.showSpoilers(status.Spoilers)
			})
		})
}

// showPeers lists the neighbours with the names behind them, as far as their
// credentials are known here.
func (a *app) showPeers(all api.Peers, people []node.Person) {
	names := map[string]string{}
	for _, p := range people {
		if p.PeerID != "" {
			names[p.PeerID] = printable(p.Name)
		}
	}
	name := func(id string) string { return cmp.Or(names[id], "(not known yet)") }
	if len(all.Peers) == 0 {
		a.say("No device is in reach. Messages are saved and go out when one is.")
	} else {
		var rows [][]string
		for _, p := range all.Peers {
			rows = append(rows, []string{name(p.ID), p.Org, p.ID, p.Transport, direction(p.Inbound), fmt.Sprintf("%.1f ms", p.LatencyMS), speed(p.Goodput), p.Addr})
		}
		a.table([]string{"NAME", "ORGANISATION", "PEER ID", "BY", "DIRECTION", "DELAY", "SPEED", "ADDRESS"}, rows)
	}
	if all.Warning != "" {
		a.say("Warning: %s", all.Warning)
	}
	if len(all.Cuts) == 0 {
		return
	}
	a.say("Cut off, newest first:")
	var rows [][]string
	for _, c := range all.Cuts {
		rows = append(rows, []string{name(c.ID), c.Org, c.ID, c.Words, c.At.Local().Format(time.DateTime), c.Until.Local().Format(time.TimeOnly)})
	}
	a.table([]string{"NAME", "ORGANISATION", "PEER ID", "WHY", "WHEN", "UNTIL"}, rows)
}

// showSpoilers names the neighbours that handed on spoilt entries.
func (a *app) showSpoilers(all []node.Spoiler) {
	for _, s := range all {
		a.say("%s handed on %s with spoilt signatures, %d of them still missing. Their authors are not to blame: look at that device's disk.",
			spoilerName(s), plural(s.Entries, "entry"), s.Missing)
	}
}

// neighbours says who handed on spoilt entries.
func (p *patient) neighbours(ctx context.Context) diagnosis {
	if p.running == nil {
		return ok("looked at while the node runs")
	}
	status, err := p.running.Status(ctx)
	if err != nil {
		return badError(err)
	}
	if len(status.Spoilers) == 0 {
		return ok("none handed on spoilt entries")
	}
	worst := status.Spoilers[0]
	return warn("Its disk may be failing, or it is not to be trusted: 'tocsin peers' shows all of them. What is missing comes from others.",
		"%s handed on %s with spoilt signatures, %d still missing", spoilerName(worst), plural(worst.Entries, "entry"), worst.Missing)
}

// spoilerName is the name of a spoiler as far as it is known.
func spoilerName(s node.Spoiler) string {
	if s.Name == "" {
		return "A neighbour (" + s.Peer + ")"
	}
	return fmt.Sprintf("%s (%s, %s)", printable(s.Name), printable(s.Org), s.Peer)
}

// speed is a goodput for people.
func speed(bytesPerSecond float64) string {
	switch b := bytesPerSecond * 8; {
	case b <= 0:
		return "-"
	case b < 1e6:
		return fmt.Sprintf("%.0f kb/s", b/1e3)
	default:
		return fmt.Sprintf("%.1f Mb/s", b/1e6)
	}
}
