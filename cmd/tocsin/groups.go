package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"tocsin/node"
	"tocsin/node/api"
)

func (a *app) groupsCommand() *cobra.Command {
	return family("groups", "List, make and change groups", "  tocsin groups list\n  tocsin groups create --kind incident \"Bus crash A6\" \"Ben Okafor\"",
		a.groupsList(), a.groupsCreate(), a.groupsAdd(), a.groupsMembers(), a.groupsRemove(), a.groupsRole(), a.groupsLeave(), a.groupsHandOver())
}

func (a *app) groupsList() *cobra.Command {
	return a.clientCommand("list", "List the groups that this device is in, the most recent first", "  tocsin groups list", args(0, 0),
		func(ctx context.Context, client *api.Client, _ []string) error {
			groups, err := client.Groups(ctx)
			if err != nil {
				return err
			}
			return a.emit(api.Groups{Groups: groups}, func() {
				if len(groups) == 0 {
					a.say("This device is in no group yet. Make one with 'tocsin groups create'.")
					return
				}
				var rows [][]string
				for _, g := range groups {
					last := ""
					if g.Last != nil {
						last = clip(printable(g.Last.From.Name+": "+g.Last.Summary), 48)
					}
					rows = append(rows, []string{short(g.ID), g.Kind, printable(g.Title), plural(len(g.Members), "device"),
						plural(g.Count, "message"), last})
				}
				a.table([]string{"ID", "KIND", "NAME", "MEMBERS", "HOLDS", "LAST"}, rows)
			})
		})
}

// clip cuts a line for a table.
func clip(s string, most int) string {
	s = strings.ReplaceAll(s, "\n", " ")
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most-1]) + "…"
}

func (a *app) groupsCreate() *cobra.Command {
	var kind string
	cmd := a.clientCommand("create NAME MEMBER...", "Make a group",
		"  tocsin groups create \"Ward 7\" stmarys.nhs.example/nmc/18A1234B\n  tocsin groups create --kind incident \"Bus crash A6\" \"Ben Okafor\" \"Chidi Eze\"",
		args(1, -1),
		func(ctx context.Context, client *api.Client, args []string) error {
			g, err := client.CreateGroup(ctx, node.GroupSpec{Kind: kind, Name: args[0], Members: args[1:]})
			if err != nil {
				return err
			}
			return a.emit(g, func() {
				a.say("Made %q (%s) with %s.", printable(g.Title), short(g.ID), plural(len(g.Members), "device"))
			})
		})
	cmd.Long = "Make a group. A member is a name that only one person has, a person as 'tocsin people'\nshows them (organisation/regulator/number), or a log. You are a member yourself."
	cmd.Flags().StringVar(&kind, "kind", "team", "direct, team or incident")
	return cmd
}

func (a *app) groupsAdd() *cobra.Command {
	return a.clientCommand("add GROUP MEMBER", "Add somebody to a group", "  tocsin groups add \"Ward 7\" \"Chidi Eze\"", args(2, 2),
		func(ctx context.Context, client *api.Client, args []string) error {
			g, err := a.findGroup(ctx, client, args[0])
			if err != nil {
				return err
			}
			if g, err = client.AddMember(ctx, g.ID, args[1]); err != nil {
				return err
			}
			return a.emit(g, func() { a.say("%q now has %s.", printable(g.Title), plural(len(g.Members), "device")) })
		})
}

// minPrefix is the shortest beginning of an identifier that stands for it.
const minPrefix = 4

// findGroup finds a group by its id, the beginning of it, or its name. Two that
// fit are an error: a message must not go to the wrong one.
func (a *app) findGroup(ctx context.Context, client *api.Client, name string) (api.Group, error) {
	groups, err := client.Groups(ctx)
	if err != nil {
		return api.Group{}, err
	}
	var found []api.Group
	var titles []string
	for _, g := range groups {
		if g.ID == name {
			return g, nil
		}
		if strings.EqualFold(g.Title, name) || len(name) >= minPrefix && strings.HasPrefix(g.ID, strings.ToLower(name)) {
			found = append(found, g)
		}
		titles = append(titles, g.Title)
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		next := "'tocsin groups list' shows the groups of this device."
		if near := nearest(name, titles); near != "" {
			next = "Did you mean '" + near + "'? " + next
		}
		return api.Group{}, fail(exitNotFound, next, "this device is in no group %q", name)
	}
	var ids []string
	for _, g := range found {
		ids = append(ids, short(g.ID))
	}
	return api.Group{}, fail(exitInput, "Name it by its id: "+strings.Join(ids, " or ")+".", "%d groups are called %q", len(found), name)
}
