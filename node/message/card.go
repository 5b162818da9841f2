package message

import (
	"errors"
	"fmt"
	"strings"
)

// An action card is what somebody in a role does first, step by step. Cards come from a text file that people can read and print:
//
//	# a remark
//	role: medical-registrar
//	title: Medical registrar on call
//	when: A major incident is declared
//	- Go to the emergency department
//	- Report to the consultant in charge
//
// A card begins with its role; the role "all" is for everybody. Steps keep their order.

// Limits of action cards.
const (
	MaxCards     = 64
	MaxCardSteps = 64
	MaxCardFile  = 48 << 10
)

// RoleAll is the role of the card that is everybody's.
const RoleAll = "all"

// Card is the action card of one role.
type Card struct {
	Role  string
	Title string
	When  string // in words; empty for nothing said
	Steps []string
}

// ParseCards reads a file of cards. Errors wrap [ErrInvalid] and name the line.
func ParseCards(text []byte) ([]Card, error) {
	if len(text) > MaxCardFile {
		return nil, fmt.Errorf("%w: the cards have %d bytes, at most %d are read", ErrInvalid, len(text), MaxCardFile)
	}
	var cards []Card
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		if number == 1 {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		var err error
		if cards, err = cardLine(cards, line); err != nil {
			return nil, fmt.Errorf("%w: line %d of the cards %w", ErrInvalid, number, err)
		}
	}
	if len(cards) == 0 {
		return nil, fmt.Errorf("%w: there is no card in it; begin one with a line such as role: medical-registrar", ErrInvalid)
	}
	for _, c := range cards {
		switch {
		case c.Title == "":
			return nil, fmt.Errorf("%w: the card of %s has no title; add a line such as title: Medical registrar on call", ErrInvalid, c.Role)
		case len(c.Steps) == 0:
			return nil, fmt.Errorf("%w: the card of %s has no steps; write each on a line of its own after a hyphen", ErrInvalid, c.Role)
		}
	}
	return cards, nil
}

// cardLine takes one line that says something. Its error follows "line n of the cards".
func cardLine(cards []Card, line string) ([]Card, error) {
	if err := checkText(line, MaxProse, true); err != nil {
		return nil, err
	}
	name, value, _ := strings.Cut(line, ":")
	value = strings.TrimSpace(value)
	if name == "role" {
		return beginCard(cards, value)
	}
	if len(cards) == 0 {
		return nil, errors.New("stands before the first card; begin one with role:")
	}
	c := &cards[len(cards)-1]
	if step, ok := strings.CutPrefix(line, "- "); ok {
		if len(c.Steps) == MaxCardSteps {
			return nil, fmt.Errorf("is step %d of a card, at most %d fit", MaxCardSteps+1, MaxCardSteps)
		}
		c.Steps = append(c.Steps, strings.TrimSpace(step))
		return cards, nil
	}
	field := map[string]*string{"title": &c.Title, "when": &c.When}[name]
	switch {
	case field == nil:
		return nil, errors.New("is neither a step after a hyphen nor one of role:, title: and when:")
	case *field != "":
		return nil, fmt.Errorf("says %s: a second time for one card", name)
	case value == "" || len(value) > MaxLine:
		return nil, fmt.Errorf("must say 1 to %d bytes after %s:", MaxLine, name)
	}
	*field = value
	return cards, nil
}

func beginCard(cards []Card, role string) ([]Card, error) {
	if err := checkRole(role); err != nil {
		return nil, fmt.Errorf("names what %w", err)
	}
	if len(cards) == MaxCards {
		return nil, fmt.Errorf("begins card %d, at most %d fit", MaxCards+1, MaxCards)
	}
	for _, c := range cards {
		if c.Role == role {
			return nil, fmt.Errorf("begins a second card of %s; put its steps into the first", role)
		}
	}
	return append(cards, Card{Role: role}), nil
}
