package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
)

// output is standard output. It remembers the first error, so that printing
// needs no check on every line and a full disk is still reported.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.w.Write(p)
	if err != nil {
		o.err = fmt.Errorf("the output could not be written: %w", err)
	}
	return n, err
}

// say prints a line for people.
func (a *app) say(format string, args ...any) { fmt.Fprintf(a.out, format+"\n", args...) }

// note prints a line that is no result, beside it.
func (a *app) note(format string, args ...any) { fmt.Fprintf(a.err, format+"\n", args...) }

// emit prints v as JSON with --json, and calls text without it.
func (a *app) emit(v any, text func()) error {
	if !a.json {
		text()
		return nil
	}
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// table prints rows in aligned columns under a heading.
func (a *app) table(heading []string, rows [][]string) {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(heading, "\t"))
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	w.Flush() // an error is remembered by a.out
}

// style is colour where the user can see and wants it.
type style struct{ on bool }

// style follows https://no-color.org: NO_COLOR set to anything but nothing switches it off.
func (a *app) style() style {
	return style{on: isTerminal(a.out.w) && a.env.get("NO_COLOR") == "" && a.env.get("TERM") != "dumb"}
}

func (s style) wrap(code, text string) string {
	if !s.on {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) bold(t string) string  { return s.wrap("1", t) }
func (s style) dim(t string) string   { return s.wrap("2", t) }
func (s style) red(t string) string   { return s.wrap("1;31", t) }
func (s style) green(t string) string { return s.wrap("32", t) }

// isTerminal reports whether stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// plural writes a count with its noun.
func plural[N int | int64 | uint64](n N, noun string) string {
	if n == 1 {
		return fmt.Sprintf("1 %s", noun)
	}
	switch {
	case noun == "person":
		return fmt.Sprintf("%d people", n)
	case noun == "entry":
		return fmt.Sprintf("%d entries", n)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// short cuts an identifier for people, who compare its beginning.
func short(id string) string {
	if len(id) <= 12 {
		return id
	}
	return id[:12]
}

// when prints a time for people, in their own zone, to the second.
func when(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// printable replaces what could move a terminal's cursor or change its colours
// in text that came from elsewhere. A newline stays.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0):
			return '\ufffd'
		case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069: // bidirectional overrides
			return '\ufffd'
		}
		return r
	}, s)
}
