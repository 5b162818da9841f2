package api

import (
	"encoding/hex"

	"tocsin/node/inbox"
	"tocsin/node/message"
)

// Filled is one field of a message's form that was filled in.
type Filled struct {
	Name   string   `json:"name"`
	Label  string   `json:"label"`
	Input  string   `json:"input"`
	Values []string `json:"values"` // as a form takes them
	Words  string   `json:"words"`  // as people read them
}

// filledOf is what a message says, field by field in the order of its form: nothing for a text, an attachment and a kind that this version
// does not know, whose words are all there is.
func filledOf(c message.Content) []Filled {
	switch c.(type) {
	case nil, *message.Text, *message.Attachment, *message.Unknown:
		return nil
	}
	var out []Filled
	for _, f := range c.Fields() {
		if !f.Zero() {
			out = append(out, Filled{Name: f.Name, Label: f.Label, Input: string(f.Input()), Values: f.Values(), Words: f.Human()})
		}
	}
	return out
}

// kindName is what people call the kind of a message, empty for a text.
func kindName(c message.Content) string {
	if c == nil || c.Kind() == message.KindText {
		return ""
	}
	return c.Kind().Name()
}

// said fills in what a page needs of a message beside its words.
func said(m *Message, it inbox.Item) {
	m.Group = hex.EncodeToString(it.Group[:])
	m.KindName, m.Fields = kindName(it.Message.Content), filledOf(it.Message.Content)
	m.Exercise, m.ForMe, m.For = it.Exercise, it.ForMe, addresseesOf(it.For)
}
