package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tocsin/node"
	"tocsin/node/api"
	"tocsin/node/message"
)

// pageSize is how many messages are fetched at once.
const pageSize = 200

func (a *app) watchCommand() *cobra.Command {
	var since string
	var from time.Time
	var count int
	var full, states bool
	cmd := a.clientCommand("watch [GROUP]", "Show messages as they arrive, until Ctrl-C",
		"  tocsin watch\n  tocsin watch --since 2h \"Bus crash A6\"\n  tocsin watch --json --since all", args(0, 1),
		func(ctx context.Context, client *api.Client, args []string) error {
			w := &watcher{a: a, client: client, since: from, left: count, full: full, states: states || !a.json,
				old: make(map[string]bool), shown: make(map[string]bool), waiting: make(map[string]map[string]int)}
			if len(args) == 1 {
				w.only = args[0]
			}
			return w.run(ctx)
		})
	cmd.PreRunE = func(*cobra.Command, []string) (err error) {
		from, err = a.parseSince(since)
		return err
	}
	cmd.Long = `Show messages as they arrive, until Ctrl-C; with --json one object a line.

A form is shown in one line, with --full field by field. What calls for an answer (alert,
task, call-out) comes with the beginning of its id, for 'tocsin ack' and the like. When an
urgent message is acknowledged, that is a line of its own; with --json and --states the
message comes again.

--since shows older ones first: those that reached this device in the last two
hours (2h), since a time (2026-01-31T08:00:00Z), or all of them.`
	cmd.Flags().StringVar(&since, "since", "", "show older messages first: a duration, a time, or all")
	cmd.Flags().IntVar(&count, "count", 0, "end after this many messages")
	cmd.Flags().BoolVar(&full, "full", false, "show every field of a form")
	cmd.Flags().BoolVar(&states, "states", false, "with --json, show an urgent message again when it is acknowledged")
	return cmd
}

// parseSince returns when the messages to show begin; the zero time for none of
// the older ones.
func (a *app) parseSince(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if s == "all" {
		return time.Unix(0, 0), nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return a.now().Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, usage("Write a duration such as 2h, a time such as 2026-01-31T08:00:00Z, or all.", "--since does not know %q", s)
	}
	return t, nil
}

// watcher shows every message once: those that an event names, and after a gap
// whatever it has not seen.
type watcher struct {
	a      *app
	client *api.Client
	only   string    // the group to show, as typed; empty for all
	since  time.Time // older messages to show; zero for none
	left   int       // messages to show before it ends; 0 for no end
	full   bool      // every field of a form
	states bool      // acknowledgements too
	ready  bool      // old is filled
	old    map[string]bool
	shown  map[string]bool
	// waiting are the urgent messages shown, by group and id, and how many devices had acknowledged each.
	waiting map[string]map[string]int
}

// errEnough ends a watch that has shown what was asked for.
var errEnough = errors.New("shown as many as were asked for")

func (w *watcher) run(ctx context.Context) error {
	for event, err := range w.client.Events(ctx, "") {
		if err == nil {
			err = w.event(ctx, event.Event)
		}
		switch {
		case errors.Is(err, errEnough), ctx.Err() != nil:
			return nil
		case errors.Is(err, api.ErrLocked):
			w.a.note("This device is locked: messages are shown once it is unlocked ('tocsin unlock').")
		case err != nil:
			var answer *api.Error
			if errors.As(err, &answer) {
				return err
			}
			var own *failure
			if errors.As(err, &own) {
				return err
			}
			return fail(exitNoNode, "Start it again with 'tocsin up'.", "the node has ended: %w", err)
		}
	}
	return nil
}

func (w *watcher) event(ctx context.Context, e node.Event) error {
	switch e.Type {
	case "ready", node.EventUnlock, node.EventGap:
		return w.catchUp(ctx)
	case node.EventMessage:
		return w.message(ctx, e.Group, e.ID)
	case node.EventDelivery:
		return w.delivery(ctx, e.Group)
	}
	return nil
}

// delivery shows which urgent messages of a group were acknowledged meanwhile.
func (w *watcher) delivery(ctx context.Context, group string) error {
	waiting := w.waiting[group]
	if len(waiting) == 0 || !w.states {
		return nil
	}
	g, err := w.client.Group(ctx, group)
	if err != nil {
		return err
	}
	return w.pages(ctx, g, func(m api.Message) error {
		before, ok := waiting[m.ID]
		if !ok || m.Acknowledged <= before {
			return nil
		}
		waiting[m.ID] = m.Acknowledged
		return w.print(g, m, func() string { return w.acknowledged(g, m) })
	})
}

// acknowledged says so for people.
func (w *watcher) acknowledged(g api.Group, m api.Message) string {
	return exercise(m.Exercise) + fmt.Sprintf("%s  %s  acknowledged by %d of %d: %s", w.a.style().dim(when(w.a.now())), printable(g.Title), m.Acknowledged, m.Recipients,
		clip(printable(summary(m)), 72))
}

// catchUp goes through every message. The first time it shows those that
// --since asks for; later, after a gap, all that were not there before.
func (w *watcher) catchUp(ctx context.Context) error {
	groups, err := w.groups(ctx)
	if err != nil {
		return err
	}
	for _, g := range groups {
		err := w.pages(ctx, g, func(m api.Message) error {
			if !w.ready {
				w.old[m.ID] = true
				if w.since.IsZero() || m.Received.Before(w.since) {
					return nil
				}
				return w.show(g, m)
			}
			if w.old[m.ID] {
				return nil
			}
			return w.show(g, m)
		})
		if err != nil {
			return err
		}
	}
	w.ready = true
	return nil
}

func (w *watcher) groups(ctx context.Context) ([]api.Group, error) {
	if w.only == "" {
		return w.client.Groups(ctx)
	}
	g, err := w.a.findGroup(ctx, w.client, w.only)
	return []api.Group{g}, err
}

// pages calls fn for the messages of g in the order they are shown.
func (w *watcher) pages(ctx context.Context, g api.Group, fn func(api.Message) error) error {
	for at := 0; ; at += pageSize {
		page, err := w.client.Messages(ctx, g.ID, at, pageSize)
		if err != nil {
			return err
		}
		for _, m := range page.Messages {
			if err := fn(m); err != nil {
				return err
			}
		}
		if len(page.Messages) < pageSize {
			return nil
		}
	}
}

// message shows the message that an event names. It is looked for from the end,
// where most arrive.
func (w *watcher) message(ctx context.Context, group, id string) error {
	if w.shown[id] {
		return nil
	}
	g, err := w.client.Group(ctx, group)
	if err != nil {
		return err
	}
	if w.only != "" && g.ID != w.only && !strings.EqualFold(g.Title, w.only) && !strings.HasPrefix(g.ID, strings.ToLower(w.only)) {
		return nil
	}
	for end := g.Count; end > 0; end -= pageSize {
		from := max(0, end-pageSize)
		page, err := w.client.Messages(ctx, g.ID, from, end-from)
		if err != nil {
			return err
		}
		for _, m := range page.Messages {
			if m.ID == id {
				return w.show(g, m)
			}
		}
	}
	return nil
}

// watched is one line of watch --json.
type watched struct {
	Group     string `json:"group"`
	GroupName string `json:"group_name"`
	api.Message
}

func (w *watcher) show(g api.Group, m api.Message) error {
	if w.shown[m.ID] {
		return nil
	}
	w.shown[m.ID] = true
	if m.Priority != "routine" {
		if w.waiting[g.ID] == nil {
			w.waiting[g.ID] = make(map[string]int)
		}
		w.waiting[g.ID][m.ID] = m.Acknowledged
	}
	if err := w.print(g, m, func() string { return w.line(g, m) }); err != nil {
		return err
	}
	if w.left > 0 {
		if w.left--; w.left == 0 {
			return errEnough
		}
	}
	return nil
}

// print writes one line: JSON for programs, text for people.
func (w *watcher) print(g api.Group, m api.Message, text func() string) error {
	if w.a.json {
		line, err := json.Marshal(watched{g.ID, g.Title, m})
		if err != nil {
			return err
		}
		w.a.out.Write(append(line, '\n'))
	} else {
		w.a.say("%s", text())
	}
	if w.a.out.err != nil {
		return errEnough // run reports what stopped the output
	}
	return nil
}

// summary is what a message says in one line; a text is as it is.
func summary(m api.Message) string {
	c := message.New(message.Kind(m.Kind))
	if m.Kind == string(message.KindAttachment) {
		return strings.ReplaceAll(m.Text, "\n", " · ")
	}
	if c == nil || len(m.Fields) == 0 {
		return m.Text
	}
	form := make(map[string][]string)
	for _, f := range m.Fields {
		form[f.Name] = f.Values
	}
	if message.Fill(c, form) != nil {
		return m.Text // of a newer version, which knows more values
	}
	return c.Summary()
}

// nobodyWords says of an addressee that is a role who holds it.
func nobodyWords(to api.Addressee) string {
	if to.Nobody {
		return ", which nobody holds now"
	}
	return ""
}

// answerable: there are commands that answer a message of the kind by its id.
func answerable(kind string) bool {
	switch message.Kind(kind) {
	case message.KindAlert, message.KindTask, message.KindCallOut:
		return true
	}
	return false
}

// line is a message for people. What others wrote cannot move the cursor.
func (w *watcher) line(g api.Group, m api.Message) string {
	s := w.a.style()
	from := printable(m.From.Name)
	if m.From.Role != "" {
		from += " (" + printable(m.From.Role) + ")"
	}
	if m.Own {
		from = "you"
	} else if !m.From.Verified {
		from += " " + s.red("[NOT VERIFIED]")
	}
	text := printable(m.Text)
	if !w.full {
		text = printable(summary(m))
	}
	text = strings.ReplaceAll(text, "\n", "\n    ")
	if answerable(m.Kind) {
		text += "  " + s.dim(short(m.ID))
	}
	for _, to := range m.For {
		text = "[for " + printable(to.Words) + nobodyWords(to) + "] " + text
	}
	if m.Priority != "routine" {
		text = s.red("["+strings.ToUpper(m.Priority)+"]") + " " + text
	}
	if !m.Provable {
		text += " " + s.red("[cannot be proved]")
	}
	return s.bold(exercise(m.Exercise)) + s.dim(when(m.Sent)) + "  " + printable(g.Title) + "  " + s.bold(from) + ": " + text
}
