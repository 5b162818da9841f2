package main

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tocsin/node"
	"tocsin/node/api"
)

// form is a message of some kind that is being filled in from flags, a file or
// by asking.
type form struct {
	kind     string
	fields   []string // name=value
	file     string   // JSON, - for standard input
	priority string
	to       []string // whom it is for in the first place; empty for all

	statement string // file with the declaration that an incident carries
}

// maxForm is more than the form of any message may have; the node says what
// its limits are.
const maxForm = 128 << 10

func (f *form) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&f.fields, "field", "f", nil, "a field of the form, `name=value`; may be repeated, also for a field of several values")
	cmd.Flags().StringVar(&f.file, "file", "", "read the fields from a JSON `file`, or - for standard input")
}

// values puts flags and file together.
func (a *app) formValues(f *form) (map[string][]string, error) {
	values := make(map[string][]string)
	if f.file != "" {
		raw, err := a.readInput(f.file, "form", maxForm)
		if err != nil {
			return nil, err
		}
		if values, err = parseForm(raw); err != nil {
			return nil, fail(exitInput, "Write an object of fields, for example {\"situation\": \"…\"}; 'tocsin kinds' lists them.", "%s is no form: %v", f.file, err)
		}
	}
	if f.statement != "" {
		text, err := a.readInput(f.statement, "statement", maxForm)
		if err != nil {
			return nil, err
		}
		values["statement"] = []string{string(text)}
	}
	for _, field := range f.fields {
		name, value, ok := strings.Cut(field, "=")
		if !ok {
			return nil, usage("Write --field name=value; 'tocsin kinds' lists the names.", "the field %q has no value", field)
		}
		values[name] = append(values[name], value)
	}
	return values, nil
}

// parseForm reads an object whose values are texts, numbers or lists of them.
func parseForm(raw []byte) (map[string][]string, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, err
	}
	values := make(map[string][]string)
	for name, value := range object {
		var list []json.RawMessage
		if json.Unmarshal(value, &list) != nil {
			list = []json.RawMessage{value}
		}
		for _, one := range list {
			var text string
			if json.Unmarshal(one, &text) != nil {
				text = string(one) // a number
			}
			values[name] = append(values[name], text)
		}
	}
	return values, nil
}

// sendForm sends a form to a group and says what became of it.
func (a *app) sendForm(ctx context.Context, client *api.Client, group string, f form, values map[string][]string) error {
	g, err := a.findGroup(ctx, client, group)
	if err != nil {
		return err
	}
	if err := a.prompt(ctx, client, f.kind, values); err != nil {
		return err
	}
	sent, err := client.Send(ctx, g.ID, api.SendText{Kind: f.kind, Priority: f.priority, Fields: values, For: addresses(f.to)})
	if err != nil {
		return err
	}
	return a.emit(sent, func() { a.saidSent(sent) })
}

func (a *app) saidSent(sent node.Sent) {
	a.say("%s", sent.ID)
	for _, role := range sent.Nobody {
		a.note("Nobody holds the role of %s now: whoever takes it next gets the message as well.", printable(role))
	}
	a.note("Saved on this device. 'tocsin watch' and the web app show who has it.")
}

func (a *app) kindsCommand() *cobra.Command {
	return a.clientCommand("kinds [KIND]", "List the kinds of message, or the fields of one", "  tocsin kinds\n  tocsin kinds methane", args(0, 1),
		func(ctx context.Context, client *api.Client, given []string) error {
			kinds, err := client.Kinds(ctx)
			if err != nil {
				return err
			}
			if len(given) == 0 {
				return a.emit(kinds, func() {
					var rows [][]string
					for _, k := range kinds.Kinds {
						rows = append(rows, []string{k.Kind, k.Name})
					}
					a.table([]string{"KIND", "NAME"}, rows)
				})
			}
			i := slices.IndexFunc(kinds.Kinds, func(k api.Kind) bool { return k.Kind == given[0] })
			if i < 0 {
				return fail(exitNotFound, "'tocsin kinds' lists them.", "there is no kind of message called %q", given[0])
			}
			return a.emit(kinds.Kinds[i], func() { a.sayFields(kinds.Kinds[i]) })
		})
}

func (a *app) sayFields(k api.Kind) {
	var rows [][]string
	for _, f := range k.Fields {
		need := ""
		if f.Required {
			need = "required"
		}
		var words []string
		for _, c := range f.Choices {
			words = append(words, c.Value)
		}
		rows = append(rows, []string{f.Name, f.Label, need, f.Input, strings.Join(words, ", "), f.Help})
	}
	a.table([]string{"FIELD", "LABEL", "", "INPUT", "CHOICES", "HELP"}, rows)
}

func (a *app) ackCommand() *cobra.Command {
	return a.clientCommand("ack MESSAGE", "Acknowledge a message: you have taken note of it",
		"  tocsin ack 5f3a91c2", args(1, 1),
		func(ctx context.Context, client *api.Client, given []string) error {
			m, err := a.findMessage(ctx, client, given[0], "")
			if err != nil {
				return err
			}
			sent, err := client.Acknowledge(ctx, m.ID)
			if err != nil {
				return err
			}
			return a.emit(sent, func() { a.say("Acknowledged: %s", clip(printable(m.Text), 72)) })
		})
}

// findMessage finds a message by its id or the beginning of one, of one kind
// unless kind is empty.
func (a *app) findMessage(ctx context.Context, client *api.Client, id, kind string) (api.Message, error) {
	q := url.Values{"limit": {"500"}}
	if kind != "" {
		q.Set("kind", kind)
	}
	found, err := client.Search(ctx, q)
	if err != nil {
		return api.Message{}, err
	}
	var hits []api.Message
	for _, m := range found.Messages {
		if strings.HasPrefix(m.ID, strings.ToLower(id)) {
			hits = append(hits, m)
		}
	}
	what := "message"
	if kind != "" {
		what = kind
	}
	switch {
	case len(hits) == 0:
		return api.Message{}, fail(exitNotFound, "'tocsin search' and 'tocsin board GROUP' show ids.", "no %s begins with %s", what, id)
	case len(hits) > 1:
		return api.Message{}, fail(exitInput, "Give more of its id.", "%s of kind %s begin with %s", plural(len(hits), "message"), what, id)
	}
	return hits[0], nil
}

func (a *app) searchCommand() *cobra.Command {
	var person, kind, tag, group string
	var limit int
	cmd := a.clientCommand("search [WORDS...]", "Find messages, the newest first",
		"  tocsin search potassium bed 4\n  tocsin search --kind casualty --tag A-017", args(0, -1),
		func(ctx context.Context, client *api.Client, words []string) error {
			q := url.Values{"words": {strings.Join(words, " ")}, "person": {person}, "kind": {kind}, "tag": {tag}, "limit": {strconv.Itoa(limit)}}
			if group != "" {
				g, err := a.findGroup(ctx, client, group)
				if err != nil {
					return err
				}
				q.Set("group", g.ID)
			}
			found, err := client.Search(ctx, q)
			if err != nil {
				return err
			}
			return a.emit(found, func() {
				if len(found.Messages) == 0 {
					a.say("Nothing was found.")
				}
				var rows [][]string
				for _, m := range found.Messages {
					rows = append(rows, []string{short(m.ID), m.Sent.Local().Format(time.DateTime), printable(m.From.Name), m.Kind, clip(exercise(m.Exercise)+printable(summary(m)), 72)})
				}
				if len(rows) > 0 {
					a.table([]string{"ID", "SENT", "FROM", "KIND", "SAYS"}, rows)
				}
			})
		})
	cmd.Flags().StringVar(&person, "person", "", "only what this `person` said, as org/regulator/number")
	cmd.Flags().StringVar(&kind, "kind", "", "only this `kind` of message")
	cmd.Flags().StringVar(&tag, "tag", "", "only about the casualty with this `tag`")
	cmd.Flags().StringVar(&group, "group", "", "only in this `group`")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many")
	return cmd
}
