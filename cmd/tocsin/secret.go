package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/term"

	"tocsin/crypto/vault"
)

// Secrets come from a prompt or a file. They are never the value of a flag or
// of a variable: other users can read command lines, and other programs can
// read the environment.

// passphrase asks for the passphrase of what, or reads it from the file that
// the configuration names.
func (a *app) passphrase(ctx context.Context, c *config, what string) ([]byte, error) {
	if path := c.text(keyPassphrase); path != "" {
		return a.passphraseFile(path)
	}
	return a.ask(ctx, "Passphrase for "+what+": ")
}

// canAsk reports whether there is somebody to ask.
func (a *app) canAsk() bool { return isTerminal(a.in) }

// ask reads a passphrase from the terminal.
func (a *app) ask(ctx context.Context, prompt string) ([]byte, error) {
	return a.askFor(ctx, prompt, "a passphrase", "Name a file that holds it with --passphrase-file or TOCSIN_PASSPHRASE_FILE.")
}

// askFor reads one line from the terminal without showing it. Without a terminal
// next says what to do.
func (a *app) askFor(ctx context.Context, prompt, what, next string) ([]byte, error) {
	stdin, ok := a.in.(*os.File)
	if !ok || !a.canAsk() {
		return nil, usage(next, "%s is needed, and there is no terminal to ask for it", what)
	}
	fd := int(stdin.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, fail(exitFailed, "", "the terminal cannot be read: %w", err)
	}
	type answer struct {
		line []byte
		err  error
	}
	// The read cannot be interrupted. On Ctrl-C the goroutine is left behind in
	// it, with the terminal put back, and ends with the process.
	answers := make(chan answer, 1)
	a.err.Write([]byte(prompt))
	go func() {
		line, err := term.ReadPassword(fd)
		answers <- answer{line, err}
	}()
	select {
	case got := <-answers:
		a.note("")
		if got.err != nil && !errors.Is(got.err, io.EOF) {
			return nil, fail(exitFailed, "", "%s could not be read: %w", what, got.err)
		}
		return checkPassphrase(bytes.TrimSpace(got.line), "typed")
	case <-ctx.Done():
		a.note("")
		return nil, errors.Join(ctx.Err(), term.Restore(fd, before))
	}
}

// passphraseFile reads the first line of the file. Space around a passphrase
// does not count, here and wherever one is typed.
func (a *app) passphraseFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fail(exitInput, "Check --passphrase-file or TOCSIN_PASSPHRASE_FILE.", "the passphrase file cannot be read: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && !privateMode(info) {
		a.note("tocsin: warning: other users of this machine may read %s; run: chmod 600 %s", path, path)
	}
	line, err := bufio.NewReader(io.LimitReader(f, vault.MaxPassphrase+2)).ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fail(exitInput, "", "the passphrase file cannot be read: %w", err)
	}
	return checkPassphrase(bytes.TrimSpace(line), "in "+path)
}

func checkPassphrase(p []byte, where string) ([]byte, error) {
	switch {
	case len(p) == 0:
		return nil, fail(exitInput, "Give the passphrase on the first line.", "the passphrase %s is empty", where)
	case len(p) > vault.MaxPassphrase:
		return nil, fail(exitInput, "Use a shorter one.", "the passphrase %s is longer than %d bytes", where, vault.MaxPassphrase)
	}
	return p, nil
}

// newPassphrase asks twice for a passphrase of the user's own.
func (a *app) newPassphrase(ctx context.Context) ([]byte, error) {
	first, err := a.ask(ctx, "New passphrase: ")
	if err != nil {
		return nil, err
	}
	if len(first) < vault.MinPassphrase {
		return nil, fail(exitInput, "Several unrelated words are best; without --own-passphrase six are chosen for you.",
			"a passphrase of your own needs at least %d characters", vault.MinPassphrase)
	}
	second, err := a.ask(ctx, "The same again: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, second) {
		return nil, fail(exitInput, "Run the command again.", "the two passphrases differ")
	}
	return first, nil
}

// confirm asks a question that only the word yes answers.
func (a *app) confirm(question string) error {
	if !a.canAsk() {
		return usage("Look at what is printed above, and run it again with --yes.", "this needs a yes, and there is no terminal to ask")
	}
	a.err.Write([]byte(question + " Type yes: "))
	line, err := bufio.NewReader(io.LimitReader(a.in, 64)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fail(exitFailed, "", "the answer could not be read: %w", err)
	}
	if string(bytes.TrimSpace([]byte(line))) != "yes" {
		return fail(exitFailed, "Nothing was changed.", "not confirmed")
	}
	return nil
}
