package main

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tocsin/node/api"
	"tocsin/node/message"
)

func (a *app) cardsCommand() *cobra.Command {
	return family("cards", "Load and show action cards: what somebody in a role does first",
		"  tocsin cards load cards.txt\n  tocsin cards show medical-registrar", a.cardsLoad(), a.cardsShow(), a.cardsCheck())
}

// cardsForm says how a file of cards is written.
const cardsForm = `A file of cards is a text:

    role: medical-registrar
    title: Medical registrar on call
    when: A major incident is declared
    - Go to the emergency department
    - Report to the consultant in charge

A card begins with its role; the role all is for everybody. Lines that begin with #
are remarks.`

func (a *app) cardsLoad() *cobra.Command {
	cmd := a.clientCommand("load FILE", "Replace the action cards of this device by those of a text file", "  tocsin cards load cards.txt", args(1, 1),
		func(ctx context.Context, client *api.Client, given []string) error {
			text, err := a.readInput(given[0], "cards", message.MaxCardFile)
			if err != nil {
				return err
			}
			cards, err := client.SetCards(ctx, string(text))
			if err != nil {
				return err
			}
			return a.emit(cards, func() { a.say("%s loaded.", plural(len(cards.Cards), "card")) })
		})
	cmd.Long = "Replace the action cards of this device by those of a text file, or of standard input\n(-). They are shown to who takes their role, and to everybody in a declared incident.\n\n" + cardsForm
	return cmd
}

func (a *app) cardsShow() *cobra.Command {
	return a.clientCommand("show [ROLE]", "Show the action cards of this device, or that of one role", "  tocsin cards show medical-registrar", args(0, 1),
		func(ctx context.Context, client *api.Client, given []string) error {
			cards, err := client.Cards(ctx)
			if err != nil {
				return err
			}
			if len(given) == 1 {
				all := cards.Cards
				cards.Cards = nil
				for _, c := range all {
					if c.Role == strings.ToLower(given[0]) {
						cards.Cards = append(cards.Cards, c)
					}
				}
				if len(cards.Cards) == 0 {
					return fail(exitNotFound, "'tocsin cards show' lists them.", "there is no card of the role %s", given[0])
				}
			}
			return a.emit(cards, func() {
				if len(cards.Cards) == 0 {
					a.note("No cards are loaded: 'tocsin cards load FILE'.")
				}
				a.sayCards(cards.Cards)
			})
		})
}

func (a *app) cardsCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check FILE", Short: "Check a file of action cards without loading it", Example: "  tocsin cards check cards.txt", Args: args(1, 1),
		Long: "Check a file of action cards without loading it. It needs no node.\n\n" + cardsForm,
		RunE: func(_ *cobra.Command, given []string) error {
			text, err := a.readInput(given[0], "cards", message.MaxCardFile)
			if err != nil {
				return err
			}
			cards, err := message.ParseCards(text)
			if err != nil {
				return fail(exitInput, "Correct the line and check again.", "%s", strings.TrimPrefix(err.Error(), message.ErrInvalid.Error()+": "))
			}
			return a.emit(map[string]int{"cards": len(cards)}, func() { a.say("%s, in order.", plural(len(cards), "card")) })
		},
	}
	return cmd
}

// sayCards prints cards, each step with its number.
func (a *app) sayCards(cards []api.Card) {
	for i, c := range cards {
		if i > 0 {
			a.say("")
		}
		a.say("%s (%s)", a.style().bold(printable(c.Title)), c.Name)
		if c.When != "" {
			a.say("%s", printable(c.When))
		}
		for n, step := range c.Steps {
			a.say("%3d. %s", n+1, printable(step))
		}
	}
}

// sayToDo prints the cards of what this reader has to do in a group now. What has just been said stands, so that a card that
// cannot be shown is a note and no failure.
func (a *app) sayToDo(ctx context.Context, client *api.Client, group string) {
	if a.json {
		return
	}
	g, err := a.findGroup(ctx, client, group)
	var board api.Board
	if err == nil {
		board, err = client.Board(ctx, g.ID)
	}
	var answer *api.Error
	switch {
	case errors.As(err, &answer):
		a.note("The action cards cannot be shown: %s", answer.Message)
	case err != nil:
		a.note("The action cards cannot be shown: %v", err)
	case len(board.Cards) > 0:
		a.say("")
		a.sayCards(board.Cards)
	}
}

func (a *app) timelineCommand() *cobra.Command {
	var all bool
	cmd := a.clientCommand("timeline GROUP", "Show what happened in an incident, by when it happened", "  tocsin timeline \"Bus crash A6\"", args(1, 1),
		func(ctx context.Context, client *api.Client, given []string) error {
			g, err := a.findGroup(ctx, client, given[0])
			if err != nil {
				return err
			}
			line, err := client.Timeline(ctx, g.ID, all)
			if err != nil {
				return err
			}
			return a.emit(line, func() { a.sayTimeline(line) })
		})
	cmd.Long = `Show what happened in an incident, by when it happened. ENTERED is when it was written
down, where that was more than half an hour later. What was replaced, retracted or could
not count stays, and says so.`
	cmd.Flags().BoolVar(&all, "all", false, "texts and files, too")
	return cmd
}

func (a *app) sayTimeline(line api.Timeline) {
	if line.Exercise {
		a.say("EXERCISE")
	}
	if len(line.Events) == 0 {
		a.note("Nothing has happened yet.")
		return
	}
	a.table([]string{"AT", "ENTERED", "BY", "WHAT", ""}, rowsOf(line.Events, func(e api.TimelineEvent) []string {
		entered := ""
		if e.Late {
			entered = clock(e.Entered)
		}
		return []string{clock(e.At), entered, printable(e.Message.From.Name), clip(printable(e.Summary), 80), printable(eventNote(e))}
	}))
}

// eventNote says what became of what happened.
func eventNote(e api.TimelineEvent) string {
	switch m := e.Message; {
	case e.Refused != "":
		return "counts for nothing: " + e.Refused
	case m.Retracted != "":
		return "retracted: " + m.Retracted
	case m.ReplacedBy != "":
		return "replaced by " + short(m.ReplacedBy)
	case m.Acknowledged > 0:
		return "acknowledged by " + strconv.Itoa(m.Acknowledged)
	}
	return ""
}
