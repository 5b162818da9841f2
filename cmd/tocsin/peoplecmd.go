package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tocsin/node"
	"tocsin/node/api"
)

func (a *app) peopleCommand() *cobra.Command {
	cmd := a.clientCommand("people", "List the people whose devices this one has met, as their credentials say", "  tocsin people", args(0, 0),
		func(ctx context.Context, client *api.Client, _ []string) error {
			people, err := client.People(ctx)
			if err != nil {
				return err
			}
			st, err := client.Status(ctx)
			if err != nil {
				return err
			}
			return a.emit(api.People{People: people}, func() {
				var rows [][]string
				for _, p := range people {
					rows = append(rows, []string{printable(p.Name), p.Org + "/" + p.Regulator + "/" + p.Number, orNone(p.Roles), standingWords(p), personState(p)})
				}
				a.table([]string{"NAME", "PERSON", "ROLES", "STANDING", "STATE"}, rows)
				a.printRevocation(st)
			})
		})
	cmd.Long = `List the people whose devices this one has met, as their credentials say, one line for
each device. STANDING says how they came to be trusted, or that they no longer are.
Below the table: how old what is known of revocations is.`
	return cmd
}

// printRevocation says how old the lists of revoked devices are.
func (a *app) printRevocation(st node.Status) {
	for _, r := range st.Revocation {
		words := printable(r.Words)
		if r.State == "stale" || r.State == "none" {
			words = a.style().bold(words)
		}
		a.say("%s", words)
	}
	for _, d := range st.Declared {
		a.say("%s has declared an incident: %s (since %s).", d.Org, printable(d.Incident), when(d.Since))
	}
}

// standingWords are the badges of a person's device.
func standingWords(p node.Person) string {
	words := []string{p.Standing.State}
	switch {
	case p.Wipe != nil && !p.Wipe.Receipt.IsZero():
		words[0] = "wiped, and it says so itself"
	case p.Wipe != nil:
		words[0] = "ordered to wipe itself"
	case !p.Standing.Until.IsZero() && p.Standing.State != "valid":
		words[0] += " until " + when(p.Standing.Until)
	case !p.Standing.Since.IsZero() && p.Standing.State != "valid":
		words[0] += " since " + when(p.Standing.Since)
	}
	if p.Registrar {
		words = append(words, "by a registrar")
	}
	if s := p.Sponsored; s != nil {
		what := "sponsored"
		if s.Kind == "break-glass" {
			what = "break-glass"
		}
		words = append(words, what+" by "+printable(strings.Join(s.Sponsors, ", ")))
	}
	if !p.VerifiedAt.IsZero() {
		words = append(words, "verified in person")
	}
	return strings.Join(words, ", ")
}

func personState(p node.Person) string {
	var words []string
	switch {
	case p.Self:
		words = append(words, "this device")
	case p.Reachable:
		words = append(words, "in reach")
	default:
		words = append(words, "not in reach")
	}
	if p.Relay {
		words = append(words, "relay")
	}
	if !p.Valid {
		words = append(words, "credential not valid now")
	}
	if p.ReplacedWhy != "" {
		words = append(words, "goes on in a new log since "+when(p.ReplacedAt)+": "+p.ReplacedWhy)
	}
	if p.Cloned {
		words = append(words, "somebody else wrote to its log: shown until its authority certifies it anew")
	}
	if !p.Self && !p.Relay && !p.Ready {
		words = append(words, "cannot be sealed to yet")
	}
	return strings.Join(words, ", ")
}

type verifyFlags struct {
	qr, yes bool
	scan    string
	out     string
}

func (a *app) verifyPersonCommand() *cobra.Command {
	var f verifyFlags
	cmd := a.clientCommand("verify-person [PERSON]", "Verify somebody in person: by their code, or by sixty digits",
		"  tocsin verify-person \"Ben Okafor\"\n  tocsin verify-person --qr\n  tocsin verify-person --scan photo.jpg", args(0, 1),
		func(ctx context.Context, client *api.Client, args []string) error {
			switch {
			case f.scan != "":
				return a.meetScan(ctx, client, f)
			case f.qr:
				m, err := client.VerifyPerson(ctx)
				if err != nil {
					return err
				}
				return a.showMeeting(m, f.out)
			case len(args) == 1:
				return a.compareDigits(ctx, client, args[0], f.yes)
			}
			return usage("Name the person to compare digits, or begin with --qr.", "'tocsin verify-person' needs a person, --qr or --scan")
		})
	cmd.Long = `Verify somebody who stands in front of you.

With PERSON both devices show the same sixty digits: read them to each other, and say
yes when they agree.

With codes: one device shows a code (--qr), the other scans it (--scan) and shows the next,
and so on, until both say that it is done. What is scanned is a picture (PNG or JPEG),
or the text of the code.`
	cmd.Flags().BoolVar(&f.qr, "qr", false, "begin: show the first code")
	cmd.Flags().StringVar(&f.scan, "scan", "", "a `picture` of the code that the other device shows, or its text")
	cmd.Flags().StringVar(&f.out, "qr-file", "", "write the code to show as a picture to this `file` too")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "the digits were compared and agree")
	return cmd
}

func (a *app) compareDigits(ctx context.Context, client *api.Client, person string, yes bool) error {
	d, err := client.Digits(ctx, person)
	if err != nil {
		return err
	}
	if !yes && !a.json {
		a.say("%s (%s)\n", printable(d.Person.Name), d.Person.Org+"/"+d.Person.Regulator+"/"+d.Person.Number)
		a.say("%s\n", a.style().bold(twoRows(d.Digits)))
	}
	if !yes {
		if a.json {
			return a.emit(d, func() {})
		}
		if err := a.confirm("Do both devices show these digits?"); err != nil {
			return err
		}
	}
	p, err := client.VerifyDigits(ctx, person, d.Digits)
	if err != nil {
		return err
	}
	return a.emit(p, func() { a.say("%s is verified in person.", printable(p.Name)) })
}

// twoRows breaks twelve groups of digits in the middle, so that they can be read out.
func twoRows(digits string) string {
	groups := strings.Fields(digits)
	half := (len(groups) + 1) / 2
	return strings.Join(groups[:half], " ") + "\n" + strings.Join(groups[half:], " ")
}

func (a *app) meetScan(ctx context.Context, client *api.Client, f verifyFlags) error {
	code := f.scan
	if picture, err := isPicture(f.scan); err == nil && picture {
		texts, err := readPicture(f.scan)
		if err != nil {
			return err
		}
		if len(texts) != 1 {
			return fail(exitInput, "Take a picture of the other device's code only.", "the picture shows %s", plural(len(texts), "code"))
		}
		code = texts[0]
	}
	m, err := client.VerifyScan(ctx, code)
	if err != nil {
		return err
	}
	return a.showMeeting(m, f.out)
}

func (a *app) showMeeting(m api.Meeting, out string) error {
	if out != "" && m.Show != "" {
		picture, err := api.QRCode(m.Show)
		if err != nil {
			return err
		}
		if err := writeFile(out, picture, 0o600); err != nil {
			return err
		}
	}
	drawn := ""
	if m.Show != "" {
		var err error
		if drawn, err = api.QRText(m.Show, a.style().on); err != nil {
			return err
		}
	}
	return a.emit(m, func() {
		if drawn != "" {
			a.say("%s", drawn)
		}
		a.say("%s", printable(m.Words))
		if m.Done && m.Person != nil {
			a.say("%s is verified in person.", printable(m.Person.Name))
		}
	})
}

func (a *app) eraseCommand() *cobra.Command {
	var yes bool
	cmd := a.guardedCommand("erase GROUP MESSAGE...", "Erase messages on this device, so that nobody can read them here again",
		"  tocsin erase \"Bus crash A6\" 5f0c…", args(2, -1),
		func(ctx context.Context, client *api.Client, again func() (string, error), args []string) error {
			g, err := a.findGroup(ctx, client, args[0])
			if err != nil {
				return err
			}
			if !yes {
				a.note("About to erase %s of %q on this device. It cannot be undone.", plural(len(args)-1, "message"), printable(g.Title))
				if err := a.confirm("Erase?"); err != nil {
					return err
				}
			}
			token, err := again()
			if err != nil {
				return err
			}
			erased, err := client.Erase(ctx, token, g.ID, args[1:]...)
			if err != nil {
				return err
			}
			return a.emit(erased, func() { a.say("%s", printable(erased.Words)) })
		})
	cmd.Long = `Erase messages on this device: the keys that open them are overwritten, and the messages
are never fetched again. The log stays whole and verifies. Other devices keep theirs, and
flash memory may remember what was overwritten.`
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask for confirmation")
	return cmd
}

func (a *app) broadcastCommand() *cobra.Command {
	var b api.Broadcast
	cmd := a.clientCommand("broadcast [TEXT | -]", "Send a message to everybody admitted, past all groups",
		"  tocsin broadcast --reason \"gas leak in the basement\" --priority stat \"Leave by the north stair\"", args(0, -1),
		func(ctx context.Context, client *api.Client, words []string) error {
			if strings.TrimSpace(b.Reason) == "" {
				return usage("It stands with the message for ever.", "'tocsin broadcast' needs --reason")
			}
			text, err := a.messageText(words)
			if err != nil {
				return err
			}
			b.Text = text
			sent, err := client.Broadcast(ctx, b)
			if err != nil {
				return err
			}
			return a.emit(sent, func() {
				a.say("%s", sent.ID)
				a.note("Saved on this device. Everybody admitted can read it, and sees who sent it and why.")
			})
		})
	cmd.Long = `Send a message to everybody admitted, past all groups: for what somebody must hear whom
you share no group with. It is sealed under the mesh key, which every clinician's device
has, and is marked for ever with your name and the reason.`
	cmd.Flags().StringVar(&b.Priority, "priority", "routine", "routine, urgent or stat")
	cmd.Flags().StringVar(&b.Reason, "reason", "", "why everybody must have it")
	return cmd
}

func (a *app) groupsMembers() *cobra.Command {
	return a.clientCommand("members GROUP", "List the members of a group with their roles", "  tocsin groups members \"Ward 7\"", args(1, 1),
		func(ctx context.Context, client *api.Client, args []string) error {
			g, err := a.findGroup(ctx, client, args[0])
			if err != nil {
				return err
			}
			members, err := client.Roster(ctx, g.ID)
			if err != nil {
				return err
			}
			return a.emit(api.Roster{Members: members}, func() { a.printRoster(members) })
		})
}

func (a *app) printRoster(members []node.Member) {
	var rows [][]string
	for _, m := range members {
		state := personState(m.Person)
		if m.Excluded {
			state += ", gets no new keys"
		}
		rows = append(rows, []string{printable(m.Name), m.Org + "/" + m.Regulator + "/" + m.Number, m.Role, standingWords(m.Person), state})
	}
	a.table([]string{"NAME", "PERSON", "ROLE", "STANDING", "STATE"}, rows)
}

func (a *app) groupsRemove() *cobra.Command {
	cmd := a.clientCommand("remove GROUP MEMBER", "Take somebody out of a group", "  tocsin groups remove \"Ward 7\" \"Chidi Eze\"", args(2, 2),
		func(ctx context.Context, client *api.Client, args []string) error {
			g, err := a.findGroup(ctx, client, args[0])
			if err != nil {
				return err
			}
			if g, err = client.RemoveMember(ctx, g.ID, args[1]); err != nil {
				return err
			}
			return a.emit(g, func() {
				a.say("%q now has %s. Who has not heard of it yet may go on writing to them.", printable(g.Title), plural(len(g.Members), "device"))
			})
		})
	cmd.Long = `Take every device of somebody out of a group. They keep what they have read. Members
who have not heard of the removal go on sealing to them until they do.`
	return cmd
}

func (a *app) groupsRole() *cobra.Command {
	return a.clientCommand("role GROUP MEMBER ROLE", "Make somebody an admin of a group, or a plain member", "  tocsin groups role \"Ward 7\" \"Chidi Eze\" admin", args(3, 3),
		func(ctx context.Context, client *api.Client, args []string) error {
			g, err := a.findGroup(ctx, client, args[0])
			if err != nil {
				return err
			}
			members, err := client.SetRole(ctx, g.ID, args[1], args[2])
			if err != nil {
				return err
			}
			return a.emit(api.Roster{Members: members}, func() { a.printRoster(members) })
		})
}

func (a *app) groupsLeave() *cobra.Command {
	return a.clientCommand("leave GROUP", "Leave a group", "  tocsin groups leave \"Ward 7\"", args(1, 1),
		func(ctx context.Context, client *api.Client, args []string) error {
			g, err := a.findGroup(ctx, client, args[0])
			if err != nil {
				return err
			}
			if err := client.LeaveGroup(ctx, g.ID); err != nil {
				return err
			}
			return a.emit(map[string]string{"left": g.ID}, func() { a.say("You have left %q. What you have read stays on this device.", printable(g.Title)) })
		})
}

func (a *app) groupsHandOver() *cobra.Command {
	var since string
	cmd := a.clientCommand("hand-over GROUP MEMBER", "Give somebody who joined late the older messages of a group",
		"  tocsin groups hand-over \"Bus crash A6\" \"Chidi Eze\" --since 2h", args(2, 2),
		func(ctx context.Context, client *api.Client, args []string) error {
			from, err := a.parseSince(since)
			if err != nil {
				return err
			}
			if since == "all" {
				from = time.Time{}
			}
			g, err := a.findGroup(ctx, client, args[0])
			if err != nil {
				return err
			}
			n, err := client.HandOver(ctx, g.ID, args[1], from)
			if err != nil {
				return err
			}
			return a.emit(api.HandedOver{Messages: n}, func() { a.say("Handed over %s, each with its proof.", plural(n, "message")) })
		})
	cmd.Flags().StringVar(&since, "since", "all", fmt.Sprintf("from when on: %q, a duration such as 2h, or a time", "all"))
	return cmd
}
