package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
)

// Exit codes. They are part of the interface: scripts branch on them, so a
// number never changes its meaning.
const (
	exitOK       = 0 // done
	exitFailed   = 1 // it was tried and failed
	exitUsage    = 2 // the command line is wrong
	exitInput    = 3 // a file, value or configuration cannot be accepted
	exitNoNode   = 4 // no node is running on the data directory
	exitLocked   = 5 // the node is locked, or the passphrase or PIN is wrong
	exitNotFound = 6 // there is no such group, person or file
	exitInUse    = 7 // another process uses the directory, or the port
	exitVerify   = 8 // a log or a credential does not verify
)

// exitHelp is the table as the user reads it, in `tocsin --help`.
const exitHelp = `Exit codes:
  0  done
  1  it was tried and failed
  2  the command line is wrong
  3  a file, value or configuration cannot be accepted
  4  no node is running on this data directory
  5  the node is locked, or the passphrase or PIN is wrong
  6  there is no such group, person or file
  7  another process uses the data directory, or the port is taken
  8  a log or a credential does not verify`

// failure is an error as the user meets it: what is wrong, what to do next,
// and the exit code.
type failure struct {
	code int
	err  error
	next string // what to do, one sentence; empty when there is nothing to add
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// fail makes a failure. next may be empty; format takes %w.
func fail(code int, next, format string, args ...any) error {
	return &failure{code: code, err: fmt.Errorf(format, args...), next: next}
}

// usage is a failure of the command line.
func usage(next, format string, args ...any) error {
	return fail(exitUsage, next, format, args...)
}

// asFailure gives every error its code: one that carries none failed while it
// was tried.
func asFailure(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		if f.err.Error() == err.Error() {
			return f
		}
		return &failure{code: f.code, err: err, next: f.next}
	}
	return &failure{code: exitFailed, err: err}
}

// packagePrefix is what errors of our packages begin with. It helps whoever
// reads the source, and nobody who reads the message.
const packagePrefix = `(^|: |\n)(?:identity|vault|group|ledger|badgerstore|mesh|node|api|message|inbox|record): `

func plainWords(err error) string {
	return regexp.MustCompile(packagePrefix).ReplaceAllString(err.Error(), "$1")
}

// report prints err for a person, or as one JSON object for a program.
func (f *failure) report(w io.Writer, asJSON bool) {
	text := plainWords(f.err)
	if asJSON {
		// Marshalling two strings and a number cannot fail, and an error of
		// writing to stderr has nowhere to go.
		b, _ := json.Marshal(struct {
			Error string `json:"error"`
			Next  string `json:"next,omitempty"`
			Code  int    `json:"code"`
		}{text, f.next, f.code})
		fmt.Fprintf(w, "%s\n", b)
		return
	}
	fmt.Fprintf(w, "tocsin: %s\n", text)
	if f.next != "" {
		fmt.Fprintf(w, "        %s\n", f.next)
	}
}
