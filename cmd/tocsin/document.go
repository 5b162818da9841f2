package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"tocsin/node/api"
)

// A document is what two machines hand each other: a request, an answer, a
// statement, a sponsorship. It is a PEM file, or a sequence of QR codes of what
// is in it, shown on one screen and read from pictures by the other.

// readDocument returns the PEM text of one document from a file ("-" is standard
// input), or from pictures of its QR codes.
func (a *app) readDocument(paths []string, what string, kind api.QRKind, pemType string, limit int64) ([]byte, error) {
	if len(paths) == 1 && paths[0] == "-" {
		return a.readInput("-", what, limit)
	}
	var codes api.QRCollector
	for i, path := range paths {
		picture, err := isPicture(path)
		if err != nil {
			return nil, err
		}
		if !picture {
			if len(paths) > 1 {
				return nil, fail(exitInput, "Name one file, or pictures (PNG or JPEG) of QR codes.", "%s is no picture", paths[i])
			}
			return a.readInput(path, what, limit)
		}
		if err := readCodes(path, &codes); err != nil {
			return nil, err
		}
	}
	got, content, err := codes.Content()
	if err != nil {
		return nil, fail(exitInput, "Take the pictures again, and name all of them.", "the QR codes give no %s yet: %w", what, err)
	}
	if got != kind {
		return nil, fail(exitInput, "Show the other device's "+what+".", "these QR codes carry something else than a %s", what)
	}
	return encodePEM(pemType, content), nil
}

// isPicture reports whether a file begins as a PNG or JPEG does.
func isPicture(path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, fail(exitNotFound, "Check the path.", "%s does not exist", path)
	}
	if err != nil {
		return false, fail(exitInput, "Check the path and its permissions.", "%s cannot be read: %w", path, err)
	}
	defer f.Close()
	var head [8]byte
	n, err := io.ReadFull(f, head[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, fail(exitInput, "Check the path and its permissions.", "%s cannot be read: %w", path, err)
	}
	return bytes.HasPrefix(head[:n], []byte("\x89PNG\r\n\x1a\n")) || bytes.HasPrefix(head[:n], []byte{0xff, 0xd8, 0xff}), nil
}

func readCodes(path string, codes *api.QRCollector) error {
	texts, err := readPicture(path)
	if err != nil {
		return err
	}
	for _, text := range texts {
		if err := codes.Add(text); err != nil {
			return fail(exitInput, "Name the pictures of one sequence only.", "%s: %w", path, err)
		}
	}
	return nil
}

// readPicture returns the texts of the QR codes in a picture, at least one.
func readPicture(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fail(exitNotFound, "Check the path.", "the picture cannot be read: %w", err)
	}
	defer f.Close()
	texts, err := api.ReadQR(f, api.MaxQRBytes, api.MaxQRPixels)
	if err != nil {
		return nil, fail(exitInput, "Take the picture again: straight on, near, without glare.", "%s: %w", path, err)
	}
	return texts, nil
}

// showFlags say that a document is to be shown as QR codes too.
type showFlags struct {
	screen bool
	dir    string
}

func (f *showFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.screen, "qr", false, "show it as QR codes on this screen, one after the other, until Ctrl-C")
	flags.StringVar(&f.dir, "qr-dir", "", "write its QR codes as pictures into this new `directory`")
}

// showEvery is how long each QR code stands on the screen: a camera that looks
// five times a second sees each of them.
const showEvery = 700 * time.Millisecond

// showCodes shows a document, given as PEM, where the flags ask for it.
func (a *app) showCodes(ctx context.Context, f showFlags, kind api.QRKind, pemType string, text []byte) error {
	if !f.screen && f.dir == "" {
		return nil
	}
	content, ok := onePEM(pemType, text)
	if !ok {
		return fail(exitFailed, "", "what was to be shown is no %s", pemType)
	}
	codes, err := api.QRSequence(kind, content)
	if err != nil {
		return fail(exitInput, "Hand over the file.", "it cannot be shown: %w", err)
	}
	if f.dir != "" {
		if err := a.writeCodes(f.dir, codes); err != nil {
			return err
		}
	}
	if f.screen {
		return a.playCodes(ctx, codes)
	}
	return nil
}

func (a *app) writeCodes(dir string, codes []string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fail(exitInput, "Name a directory that does not exist yet.", "the pictures cannot be written: %w", err)
	}
	for i, code := range codes {
		picture, err := api.QRCode(code)
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(dir, fmt.Sprintf("qr-%03d-of-%03d.png", i+1, len(codes))), picture, 0o644); err != nil {
			return err
		}
	}
	a.note("%s in %s.", plural(len(codes), "QR code"), dir)
	return nil
}

// playCodes shows codes over and over until Ctrl-C, which is the good end of it.
// What is no terminal gets each once.
func (a *app) playCodes(ctx context.Context, codes []string) error {
	terminal := isTerminal(a.out.w)
	for {
		for i, code := range codes {
			drawn, err := api.QRText(code, a.style().on)
			if err != nil {
				return err
			}
			if terminal {
				fmt.Fprint(a.out, "\x1b[2J\x1b[H")
			}
			a.say("%s%d of %d", drawn, i+1, len(codes))
			if a.out.err != nil {
				return a.out.err
			}
			if !terminal {
				continue
			}
			a.say("Let the other device take pictures of all of them. Ctrl-C ends this.")
			select {
			case <-time.After(showEvery):
			case <-ctx.Done():
				a.note("")
				return nil
			}
		}
		if !terminal {
			return nil
		}
	}
}
