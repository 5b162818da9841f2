package node

import (
	"fmt"
	"slices"
	"strings"

	"tocsin/crypto/vault"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// keyCards holds the text of the action cards as it was loaded.
const keyCards = "node/cards"

// SetCards replaces the action cards of this device by those of a text ([message.ParseCards]); an empty text takes them away.
// Errors: [ErrLocked], [ErrInvalid] with the line, [ErrReadOnly].
func (n *Node) SetCards(text []byte) error {
	if len(text) > 0 {
		if _, err := message.ParseCards(text); err != nil {
			return invalid("%s", strings.TrimPrefix(err.Error(), message.ErrInvalid.Error()+": "))
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return n.lockedError()
	}
	change := vault.Change{Key: keyCards, Value: text}
	if len(text) == 0 {
		change.Value = nil
	}
	if err := n.cfg.Vault.Commit(change); err != nil {
		return fmt.Errorf("%w: the vault's journal: %w", ErrReadOnly, err)
	}
	return nil
}

// Cards returns the action cards of this device in the order of their file. Errors: [ErrLocked].
func (n *Node) Cards() ([]message.Card, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cards()
}

// cards is Cards. n.mu is held.
func (n *Node) cards() ([]message.Card, error) {
	if n.open == nil {
		return nil, n.lockedError()
	}
	text, ok, err := n.cfg.Vault.Get(keyCards)
	if err != nil || !ok {
		return nil, err
	}
	return message.ParseCards(text)
}

// cardsFor are the cards of what a reader has to do: those of the roles that the reader holds, and everybody's once an incident has begun.
func cardsFor(cards []message.Card, reader string, duties []inbox.Duty, incident *inbox.Incident) (out []message.Card) {
	for _, c := range cards {
		mine := c.Role == message.RoleAll && incident != nil && incident.Begun()
		for _, d := range duties {
			mine = mine || d.Role == c.Role && slices.ContainsFunc(d.Holders, func(h inbox.Holder) bool { return h.From.Person == reader })
		}
		if mine {
			out = append(out, c)
		}
	}
	return out
}
