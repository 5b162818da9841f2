package main

import (
	"context"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"tocsin/node/api"
	"tocsin/node/message"
)

// maxText is more than any message may have; the node says what its limit is.
const maxText = 64 << 10

func (a *app) sendCommand() *cobra.Command {
	var m api.SendText
	var f form
	cmd := a.clientCommand("send GROUP [TEXT | -]", "Send a message to a group",
		"  tocsin send \"Bus crash A6\" \"Two more ambulances on their way\"\n  tocsin send --priority urgent \"Bus crash A6\" - < report.txt",
		args(1, -1),
		func(ctx context.Context, client *api.Client, args []string) error {
			if f.kind != "" && f.kind != "text" {
				if len(args) > 1 {
					return usage("Fill its form with --field or --file; 'tocsin kinds "+f.kind+"' lists the fields.", "a message of kind %s has no TEXT", f.kind)
				}
				values, err := a.formValues(&f)
				if err != nil {
					return err
				}
				f.priority = f.priorityOf(m.Priority)
				return a.sendForm(ctx, client, args[0], f, values)
			}
			text, err := a.messageText(args[1:])
			if err != nil {
				return err
			}
			g, err := a.findGroup(ctx, client, args[0])
			if err != nil {
				return err
			}
			m.Text, m.For = text, addresses(f.to)
			if words := a.identifiers(text); words != "" && !a.json {
				a.note("tocsin: this may identify a patient (%s); initials and bed would do.", words)
			}
			sent, err := client.Send(ctx, g.ID, m)
			if err != nil {
				return err
			}
			return a.emit(sent, func() { a.saidSent(sent) })
		})
	cmd.Long = `Send a message to a group. It returns when the message is saved on this device,
and prints its id; the mesh carries it from there, now or later.

GROUP is a name, an id, or the beginning of one. Without TEXT, or with -, the text
is read from standard input: other users of this machine can see arguments while
the command runs. With --for it is for a person or for whoever holds a role: all others
in the group read it as well.

With --kind the fields of its form are given with --field or as JSON with --file; at a
terminal you are asked for those that are required and missing.`
	f.flags(cmd)
	cmd.Flags().StringVar(&f.kind, "kind", "", "send the form of another `kind` ('tocsin kinds')")
	cmd.Flags().StringVar(&m.Priority, "priority", "", "routine, urgent or stat (default: routine; stat for an alert)")
	cmd.Flags().StringArrayVar(&f.to, "for", nil, "`whom` it is for in the first place: a role such as medical-registrar, or a person as org/regulator/number (may be repeated)")
	cmd.Flags().StringVar(&m.ReplyTo, "reply-to", "", "`id` of the message that this one answers")
	return cmd
}

// addresses writes what people call a role or a person as the address of one.
func addresses(names []string) []string {
	var out []string
	for _, name := range names {
		switch {
		case strings.Contains(name, ":"):
		case strings.Contains(name, "/"):
			name = message.PersonAddress(name)
		default:
			name = message.RoleAddress(name)
		}
		out = append(out, name)
	}
	return out
}

// priorityOf is the priority that was asked for, or the one that the kind needs.
func (f *form) priorityOf(given string) string {
	if given == "" && f.kind == string(message.KindAlert) {
		return "stat"
	}
	return given
}

func (a *app) messageText(words []string) (string, error) {
	text := strings.Join(words, " ")
	if len(words) == 0 || len(words) == 1 && words[0] == "-" {
		if a.canAsk() {
			a.note("Type the message; Ctrl-D on an empty line sends it.")
		}
		b, err := a.readInput("-", "message", maxText)
		if err != nil {
			return "", err
		}
		text = strings.TrimRight(string(b), "\r\n")
	}
	if strings.TrimSpace(text) == "" {
		return "", fail(exitInput, "Give it as an argument or on standard input.", "the message is empty")
	}
	if !utf8.ValidString(text) {
		return "", fail(exitInput, "Send text in UTF-8.", "the message is not text")
	}
	return text, nil
}
