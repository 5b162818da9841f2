package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tocsin/node"
	"tocsin/node/api"
)

// pageSize is how many messages are fetched at once.
const pageSize = 200

func (a *app) watchCommand() *cobra.Command {
	var since string
	var from time.Time
	var count int
	cmd := a.clientCommand("watch [GROUP]", "Show messages as they arrive, until Ctrl-C",
		"  tocsin watch\n  tocsin watch --since 2h \"Bus crash A6\"\n  tocsin watch --json --since all", args(0, 1),
		func(ctx context.Context, client *api.Client, args []string) error {
			w := &watcher{a: a, client: client, since: from, left: count, old: make(map[string]bool), shown: make(map[string]bool)}
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

--since shows older ones first: those that reached this device in the last two
hours (2h), since a time (2026-01-31T08:00:00Z), or all of them.`
	cmd.Flags().StringVar(&since, "since", "", "show older messages first: a duration, a time, or all")
	cmd.Flags().IntVar(&count, "count", 0, "end after this many messages")
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
	ready  bool      // old is filled
	old    map[string]bool
	shown  map[string]bool
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
	}
	return nil
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
	if w.a.json {
		line, err := json.Marshal(watched{g.ID, g.Title, m})
		if err != nil {
			return err
		}
		w.a.out.Write(append(line, '\n'))
	} else {
		w.a.say("%s", w.line(g, m))
	}
	if w.a.out.err != nil {
		return errEnough // run reports what stopped the output
	}
	if w.left > 0 {
		if w.left--; w.left == 0 {
			return errEnough
		}
	}
	return nil
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
	text := strings.ReplaceAll(printable(m.Text), "\n", "\n    ")
	if m.Priority != "routine" {
		text = s.red("["+strings.ToUpper(m.Priority)+"]") + " " + text
	}
	if !m.Provable {
		text += " " + s.red("[cannot be proved]")
	}
	return s.dim(when(m.Sent)) + "  " + printable(g.Title) + "  " + s.bold(from) + ": " + text
}
