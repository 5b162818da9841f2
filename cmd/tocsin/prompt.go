package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"tocsin/node/api"
	"tocsin/node/message"
)

// prompter asks for the fields of a form, one after the other, and refuses what
// does not fit before anything is sent.
type prompter struct {
	a       *app
	in      *bufio.Reader
	content message.Content
	// id finds the whole id of a message from the beginning of one.
	id func(ctx context.Context, beginning string) (string, error)
	// begun: the heading was printed.
	begun bool
}

// prompt asks whoever sits at the terminal for what a form still needs. Without a
// terminal it asks nothing: the node says what is missing.
func (a *app) prompt(ctx context.Context, client *api.Client, kind string, values map[string][]string) error {
	if !a.canAsk() || a.json {
		return nil
	}
	p := &prompter{a: a, in: bufio.NewReader(a.in), content: message.New(message.Kind(kind))}
	p.id = func(ctx context.Context, beginning string) (string, error) {
		m, err := a.findMessage(ctx, client, beginning, "")
		return m.ID, apiError(err)
	}
	return p.fill(ctx, values)
}

// fill asks for each required field that values lack, and then for those that
// the rules of the kind ask for beside. What it does not understand, such as a
// kind that is none, it leaves to the node to refuse.
func (p *prompter) fill(ctx context.Context, values map[string][]string) error {
	if p.content == nil || message.Fill(p.content, values) != nil {
		return nil
	}
	for _, f := range p.content.Fields() {
		if !f.Required || !f.Zero() || f.Input() == message.InputMade {
			continue
		}
		if err := p.field(ctx, f); err != nil {
			return err
		}
		values[f.Name] = f.Values()
	}
	// A rule that no answer satisfies must not ask for ever.
	for range p.content.Fields() {
		broken := message.Message{Sent: p.a.now(), Content: p.content}.Validate()
		f, ok := named(p.content, broken)
		if !ok || !p.begun {
			return nil
		}
		p.refuse(broken)
		if err := p.field(ctx, f); err != nil {
			return err
		}
		values[f.Name] = f.Values()
	}
	return nil
}

// named is the field that an error of the message package names.
func named(c message.Content, err error) (message.Field, bool) {
	if err == nil {
		return message.Field{}, false
	}
	fields := c.Fields()
	i := slices.IndexFunc(fields, func(f message.Field) bool { return strings.Contains(err.Error(), "("+f.Name+")") })
	if i < 0 {
		return message.Field{}, false
	}
	return fields[i], true
}

// refuse says in a sentence what does not fit.
func (p *prompter) refuse(err error) {
	text := strings.TrimPrefix(plainWords(err), strings.TrimPrefix(message.ErrInvalid.Error(), "message: ")+": ")
	p.a.note("  %s", p.a.style().red(printable(upperFirst(text))))
}

// field asks for one field until the answer fits it.
func (p *prompter) field(ctx context.Context, f message.Field) error {
	if !p.begun {
		p.a.note("%s: what must be filled in is asked for. Ctrl-C sends nothing.", p.content.Kind().Name())
		p.begun = true
	}
	if f.Help != "" {
		p.a.note("  %s", f.Help)
	}
	for i, c := range f.Choices() {
		p.a.note("  %d  %s", i+1, c.Label)
	}
	for {
		answers, err := p.answers(ctx, f)
		if err != nil {
			return err
		}
		if err := p.understand(ctx, f, answers); err != nil {
			p.refuse(err)
			continue
		}
		again, err := p.identifies(ctx, f)
		if err != nil {
			return err
		}
		if !again {
			return nil
		}
	}
}

// answers reads one line, or one for each value until an empty one.
func (p *prompter) answers(ctx context.Context, f message.Field) ([]string, error) {
	if f.Input() != message.InputList && f.Input() != message.InputEntries {
		text, err := p.line(ctx, f.Label+": ")
		return []string{text}, err
	}
	var all []string
	for {
		text, err := p.line(ctx, f.Label+" (an empty line ends): ")
		if err != nil {
			return nil, err
		}
		if text == "" {
			return all, nil
		}
		all = append(all, text)
	}
}

// understand puts answers into a field. People write the number of a choice, the
// beginning of an id, and the time of day.
func (p *prompter) understand(ctx context.Context, f message.Field, answers []string) error {
	for i, text := range answers {
		var err error
		switch f.Input() {
		case message.InputChoice:
			answers[i] = chosen(f.Choices(), text)
		case message.InputTime:
			answers[i] = p.moment(text)
		case message.InputEntry, message.InputEntries:
			if text != "" {
				answers[i], err = p.id(ctx, text)
			}
		}
		if err != nil {
			return err
		}
	}
	if err := f.Set(answers...); err != nil {
		return err
	}
	return f.Check()
}

// chosen is the value of a choice that was named by its number, value or words.
func chosen(choices []message.Choice, text string) string {
	if n, err := strconv.Atoi(text); err == nil && n >= 1 && n <= len(choices) {
		return choices[n-1].Value
	}
	for _, c := range choices {
		if strings.EqualFold(c.Label, text) {
			return c.Value
		}
	}
	return text
}

// moment writes "now" and a time of today, such as 14:05, as a field reads it.
func (p *prompter) moment(text string) string {
	now := p.a.now()
	if strings.EqualFold(text, "now") {
		return now.UTC().Format(time.RFC3339)
	}
	t, err := time.Parse("15:04", text)
	if err != nil {
		return text
	}
	year, month, day := now.Date()
	return time.Date(year, month, day, t.Hour(), t.Minute(), 0, 0, now.Location()).UTC().Format(time.RFC3339)
}

// identifies says when an answer may identify a patient, and asks whether it is
// to be written again. A human decides; nothing is refused for it.
func (p *prompter) identifies(ctx context.Context, f message.Field) (again bool, err error) {
	if f.Input() != message.InputLine && f.Input() != message.InputText && f.Input() != message.InputList {
		return false, nil
	}
	words := p.a.identifiers(strings.Join(f.Values(), "\n"))
	if words == "" {
		return false, nil
	}
	p.a.note("  This may identify a patient (%s). Initials and bed would do.", words)
	answer, err := p.line(ctx, "  Enter keeps it, anything else asks again: ")
	return answer != "", err
}

// identifiers are the kinds of what in a text may identify a patient, "" for none.
func (a *app) identifiers(text string) string {
	var words []string
	for _, found := range message.Identifiers(text, a.now()) {
		if w := found.Kind.Words(); !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	return strings.Join(words, ", ")
}

// line reads one line from the terminal. The read cannot be interrupted: on
// Ctrl-C its goroutine is left behind, and ends with the process.
func (p *prompter) line(ctx context.Context, prompt string) (string, error) {
	type read struct {
		text string
		err  error
	}
	reads := make(chan read, 1)
	fmt.Fprint(p.a.err, p.a.style().bold(prompt))
	go func() {
		text, err := p.in.ReadString('\n')
		reads <- read{text, err}
	}()
	select {
	case got := <-reads:
		if got.err != nil {
			p.a.note("")
			if !errors.Is(got.err, io.EOF) {
				return "", fail(exitFailed, "", "the answer could not be read: %w", got.err)
			}
			return "", fail(exitInput, "Run it again, or give the fields with --field.", "the form was not finished, and nothing was sent")
		}
		return strings.TrimSpace(got.text), nil
	case <-ctx.Done():
		p.a.note("")
		return "", ctx.Err()
	}
}
