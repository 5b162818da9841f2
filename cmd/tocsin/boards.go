package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tocsin/node/api"
)

func (a *app) boardCommand() *cobra.Command {
	return a.clientCommand("board GROUP", "Show what stands in a group: incident, alerts, call-outs, casualties, tasks, decisions and who is on duty",
		"  tocsin board \"Bus crash A6\"", args(1, 1),
		func(ctx context.Context, client *api.Client, given []string) error {
			g, err := a.findGroup(ctx, client, given[0])
			if err != nil {
				return err
			}
			b, err := client.Board(ctx, g.ID)
			if err != nil {
				return err
			}
			return a.emit(b, func() { a.sayBoard(g.Title, b) })
		})
}

func (a *app) sayBoard(title string, b api.Board) {
	if i := b.Incident; i != nil {
		a.say("%s%s: %s since %s, by %s", exercise(i.Exercise), printable(i.Name), i.State, clock(i.Since), printable(i.By.Name))
		a.sayMode(i)
	} else {
		a.say("%s: no incident was declared", printable(title))
	}
	a.section("ALERTS", []string{"ID", "STATE", "CALLED", "NEXT", "WHAT"}, rowsOf(b.Alerts, func(x api.Alert) []string {
		state, next := "SOUNDS", "nobody left"
		switch {
		case x.Cancelled:
			state = "cancelled"
		case !x.Sounds:
			state = "acknowledged by " + strconv.Itoa(x.Acknowledged)
		}
		if x.Escalates != nil {
			next = clock(*x.Escalates)
		} else if !x.Sounds {
			next = ""
		}
		return []string{short(x.Message.ID), state, strings.Join(x.Called, ", "), next, body(x.Message)}
	}))
	a.section("CALL-OUTS", []string{"ID", "COMING", "LATER", "CANNOT", "NO ANSWER", "", "ASKS"}, rowsOf(b.CallOuts, func(x api.CallOut) []string {
		closed := "open"
		if x.Closed {
			closed = "closed"
		}
		return []string{short(x.Message.ID), strconv.Itoa(len(x.Coming)), strconv.Itoa(len(x.Later)), strconv.Itoa(len(x.Cannot)), strconv.Itoa(x.Silent), closed, body(x.Message)}
	}))
	a.section("CASUALTIES", []string{"TAG", "TRIAGE", "SAID BY", "AT"}, rowsOf(b.Casualties, func(x api.Casualty) []string {
		return []string{x.Tag, x.TriageWords, printable(x.Message.From.Name), clock(x.Message.Sent)}
	}))
	a.section("TASKS", []string{"ID", "STATE", "BY", "WHAT"}, rowsOf(b.Tasks, func(x api.Task) []string {
		return []string{short(x.Message.ID), x.StateWords, printable(x.By.Name), body(x.Message)}
	}))
	a.section("DECISIONS", []string{"NO", "ID", "AT", "CORRECTS", "DECISION"}, rowsOf(b.Decisions, func(x api.Decision) []string {
		corrects := ""
		if x.Corrects > 0 {
			corrects = strconv.Itoa(x.Corrects)
		}
		return []string{strconv.Itoa(x.Number), short(x.Message.ID), clock(x.Message.Sent), corrects, body(x.Message)}
	}))
	a.section("ON DUTY", []string{"ROLE", "HELD BY", "UNTIL", ""}, rowsOf(b.Duties, func(x api.Duty) []string {
		var who, until []string
		for _, h := range x.Holders {
			who, until = append(who, printable(h.From.Name)), append(until, clock(h.Until))
		}
		note := ""
		switch {
		case x.Contested:
			note = "CONTESTED: more than one has taken it"
		case x.Offered != "":
			note = "offered to " + printable(x.Offered)
		}
		return []string{x.Name, strings.Join(who, ", "), strings.Join(until, ", "), note}
	}))
}

// exercise stands before every line of an exercise, so that none is taken for a live one.
func exercise(is bool) string {
	if is {
		return "EXERCISE  "
	}
	return ""
}

// body is what a message says, in a line.
func body(m api.Message) string { return clip(printable(summary(m)), 72) }

func clock(t time.Time) string { return t.Local().Format("2 Jan 15:04") }

func rowsOf[T any](in []T, f func(T) []string) [][]string {
	out := make([][]string, len(in))
	for i, x := range in {
		out[i] = f(x)
	}
	return out
}

// section prints a table under a heading of its own, or nothing.
func (a *app) section(name string, heading []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	a.say("\n%s", name)
	a.table(heading, rows)
}

// formCommand makes a command that sends one kind of message: the arguments
// after GROUP fill the named fields, flags the rest.
func (a *app) formCommand(use, short, example, kind, priority string, positional []string, fixed map[string]string) *cobra.Command {
	f := form{kind: kind, priority: priority}
	cmd := a.clientCommand(use, short, example, args(1, 1+len(positional)),
		func(ctx context.Context, client *api.Client, given []string) error {
			values, err := a.formValues(&f)
			if err != nil {
				return err
			}
			for i, value := range given[1:] { // whom the command line names is called before those that -f adds
				values[positional[i]] = append([]string{value}, values[positional[i]]...)
			}
			for name, value := range fixed {
				values[name] = []string{value}
			}
			if err := a.sendForm(ctx, client, given[0], f, values); err != nil {
				return err
			}
			if kind == "incident" {
				a.sayToDo(ctx, client, given[0])
			}
			return nil
		})
	f.flags(cmd)
	cmd.Flags().StringVar(&f.priority, "priority", priority, "routine, urgent or stat")
	if kind == "incident" {
		cmd.Flags().StringVar(&f.statement, "statement", "", "`file` with what the authority signed to declare a live incident, or to end it ('tocsin authority declare')")
	}
	return cmd
}

// aboutCommand makes a command that says something about an earlier message,
// whose id or its beginning is the first argument; it goes to the same group.
func (a *app) aboutCommand(use, short, example, about, field, kind string, positional []string, fixed map[string]string) *cobra.Command {
	var f form
	cmd := a.clientCommand(use, short, example, args(2, 2+len(positional)),
		func(ctx context.Context, client *api.Client, given []string) error {
			m, err := a.findMessage(ctx, client, given[1], about)
			if err != nil {
				return err
			}
			values, err := a.formValues(&f)
			if err != nil {
				return err
			}
			values[field] = []string{m.ID}
			for i, value := range given[2:] {
				values[positional[i]] = append(values[positional[i]], value)
			}
			for name, value := range fixed {
				values[name] = []string{value}
			}
			return a.sendForm(ctx, client, given[0], form{kind: kind, priority: "urgent"}, values)
		})
	f.flags(cmd)
	return cmd
}

func (a *app) calloutCommand() *cobra.Command {
	return family("callout", "Ask staff to come, answer, and see who is coming", "  tocsin callout ask \"Bus crash A6\" \"Can you come in?\" \"ED reception\" -f skills=nurse -f skills=surgeon\n  tocsin callout answer \"Bus crash A6\" 5f3a coming 25",
		a.formCommand("ask GROUP QUESTION PLACE", "Ask once; answers are tallied and are no chat", "  tocsin callout ask \"Bus crash A6\" \"Can you come in?\" \"ED reception\"",
			"call-out", "urgent", []string{"question", "place"}, nil),
		a.aboutCommand("answer GROUP CALL-OUT ANSWER [MINUTES]", "Answer coming, later or cannot; who is coming says in how many minutes", "  tocsin callout answer \"Bus crash A6\" 5f3a coming 25",
			"call-out", "call-out", "call-out-answer", []string{"answer", "eta"}, nil),
		a.aboutCommand("close GROUP CALL-OUT", "Say that enough are coming: all others stand by", "  tocsin callout close \"Bus crash A6\" 5f3a",
			"call-out", "call-out", "call-out-close", nil, nil))
}

func (a *app) taskCommand() *cobra.Command {
	step := func(verb, state, short string) *cobra.Command {
		return a.aboutCommand(verb+" GROUP TASK [NOTE]", short, "  tocsin task "+verb+" \"Bus crash A6\" 5f3a", "task", "task", "task-update", []string{"note"}, map[string]string{"state": state})
	}
	return family("task", "Give, accept and finish tasks", "  tocsin task assign \"Bus crash A6\" \"Open theatre 4\" role:theatre-lead\n  tocsin task done \"Bus crash A6\" 5f3a",
		a.formCommand("assign GROUP WHAT WHO", "Give a task to a person or to whoever holds a role", "  tocsin task assign \"Bus crash A6\" \"Open theatre 4\" role:theatre-lead",
			"task", "urgent", []string{"what", "to"}, nil),
		step("accept", "accepted", "Accept a task"), step("start", "in-progress", "Say that a task is in progress"),
		step("done", "done", "Say that a task is done"), step("decline", "declined", "Decline a task, with the reason as NOTE"))
}

func (a *app) alertCommand() *cobra.Command {
	return family("alert", "Raise an alert that sounds until it is acknowledged, or cancel one", "  tocsin alert raise \"Ward 7\" \"Cardiac arrest\" \"Bed 4\" role:medical-registrar\n  tocsin ack 5f3a",
		a.formCommand("raise GROUP WHAT WHERE WHO", "Raise an alert; -f to=… adds whom it calls next, -f after=… says after how many minutes",
			"  tocsin alert raise \"Ward 7\" \"Cardiac arrest\" \"Bed 4\" role:medical-registrar -f to=role:consultant", "alert", "stat", []string{"what", "where", "to"}, nil),
		a.aboutCommand("cancel GROUP ALERT REASON", "Cancel an alert", "  tocsin alert cancel \"Ward 7\" 5f3a \"False alarm\"", "alert", "alert", "alert-cancel", []string{"reason"}, nil))
}

func (a *app) decisionCommand() *cobra.Command {
	f := form{}
	var decider, corrects string
	record := a.clientCommand("log GROUP DECISION RATIONALE", "Log a decision; -f options=… names what was considered, once for each",
		"  tocsin decision log \"Bus crash A6\" \"Divert ambulances\" \"ED is full\" --decider stmarys.nhs.example/gmc/7654321 -f options=Divert -f \"options=Stay open\"", args(3, 3),
		func(ctx context.Context, client *api.Client, given []string) error {
			values, err := a.formValues(&f)
			if err != nil {
				return err
			}
			values["decision"], values["rationale"] = []string{given[1]}, []string{given[2]}
			if len(values["at"]) == 0 {
				values["at"] = []string{a.now().UTC().Format(time.RFC3339)}
			}
			if decider != "" {
				values["decider"] = []string{"person:" + strings.TrimPrefix(decider, "person:")}
			}
			if corrects != "" {
				m, err := a.findMessage(ctx, client, corrects, "decision")
				if err != nil {
					return err
				}
				values["corrects"] = []string{m.ID}
			}
			return a.sendForm(ctx, client, given[0], form{kind: "decision", priority: "routine"}, values)
		})
	f.flags(record)
	record.Flags().StringVar(&decider, "decider", "", "`person` who decided, as org/regulator/number")
	record.Flags().StringVar(&corrects, "corrects", "", "`id` of the decision that this one corrects")
	return family("decision", "Keep the decision log", "  tocsin decision log \"Bus crash A6\" \"Divert ambulances\" \"ED is full\" --decider stmarys.nhs.example/gmc/7654321 -f options=Divert\n  tocsin decision print \"Bus crash A6\" -o decisions.html", record, a.decisionPrint())
}

func (a *app) incidentCommand() *cobra.Command {
	step := func(verb, state, short string) *cobra.Command {
		return a.formCommand(verb+" GROUP NAME MODE [REASON]", short+"; MODE is live or exercise, and fixed", "  tocsin incident "+verb+" \"Bus crash A6\" \"Bus crash A6\" live",
			"incident", "urgent", []string{"name", "mode", "reason"}, map[string]string{"state": state})
	}
	return family("incident", "Declare an incident, stand it down or cancel it", "  tocsin incident declare \"Bus crash A6\" \"Bus crash A6\" live",
		step("standby", "standby", "Put an incident on standby"), step("declare", "declared", "Declare an incident"),
		step("stand-down", "stand-down", "Stand an incident down"), step("cancel", "cancelled", "Cancel an incident"), a.incidentSettle())
}

func (a *app) roleCommand() *cobra.Command {
	var hours float64
	take := a.clientCommand("take GROUP ROLE", "Take an on-duty role", "  tocsin role take \"Bus crash A6\" medical-registrar --hours 12", args(2, 2),
		func(ctx context.Context, client *api.Client, given []string) error {
			until := a.now().Add(time.Duration(hours * float64(time.Hour))).UTC().Format(time.RFC3339)
			if err := a.sendForm(ctx, client, given[0], form{kind: "role", priority: "urgent"}, map[string][]string{"role": {given[1]}, "action": {"take"}, "until": {until}}); err != nil {
				return err
			}
			a.sayToDo(ctx, client, given[0])
			return nil
		})
	take.Flags().Float64Var(&hours, "hours", 12, "how long the duty lasts")
	handOver := a.clientCommand("hand-over GROUP ROLE PERSON", "Hand a role over; it is yours until they take it", "  tocsin role hand-over \"Bus crash A6\" medical-registrar stmarys.nhs.example/gmc/7654321", args(3, 3),
		func(ctx context.Context, client *api.Client, given []string) error {
			to := "person:" + strings.TrimPrefix(given[2], "person:")
			return a.sendForm(ctx, client, given[0], form{kind: "role", priority: "urgent"}, map[string][]string{"role": {given[1]}, "action": {"hand-over"}, "to": {to}})
		})
	release := a.clientCommand("give-up GROUP ROLE", "Give a role up", "  tocsin role give-up \"Bus crash A6\" medical-registrar", args(2, 2),
		func(ctx context.Context, client *api.Client, given []string) error {
			return a.sendForm(ctx, client, given[0], form{kind: "role", priority: "urgent"}, map[string][]string{"role": {given[1]}, "action": {"release"}})
		})
	release.Aliases = []string{"release"}
	return family("role", "Take, hand over and give up on-duty roles", "  tocsin role take \"Bus crash A6\" medical-registrar --hours 12", take, handOver, release)
}
