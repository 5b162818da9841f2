package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"

	"github.com/spf13/cobra"

	"tocsin/crypto/identity"
	"tocsin/node"
	"tocsin/node/api"
)

// A statement file holds one or more statements, each a block of this type.
const pemStatement = "TOCSIN STATEMENT"

// maxStatements bounds the statements of one file.
const maxStatements = 256

func encodeStatements(raws [][]byte) []byte {
	var out []byte
	for _, raw := range raws {
		out = append(out, encodePEM(pemStatement, raw)...)
	}
	return out
}

// parseStatements reads what encodeStatements wrote.
func parseStatements(text []byte) ([][]byte, error) {
	no := fail(exitInput, "Give the file that 'tocsin authority revoke', 'wipe' or 'crl' wrote.", "this is no file of statements")
	var out [][]byte
	for len(bytes.TrimSpace(text)) > 0 {
		block, rest := pem.Decode(text)
		if block == nil || block.Type != pemStatement || len(block.Headers) > 0 || len(out) == maxStatements || !bytes.HasPrefix(bytes.TrimSpace(text), []byte("-----BEGIN")) {
			return nil, no
		}
		if _, err := identity.StatementKind(block.Bytes); err != nil {
			return nil, statementError(err)
		}
		out, text = append(out, block.Bytes), rest
	}
	if len(out) == 0 {
		return nil, no
	}
	return out, nil
}

// readStatements reads files of statements; pictures of QR codes are put
// together to one.
func (a *app) readStatements(paths []string) ([][]byte, error) {
	var out [][]byte
	var pictures []string
	for _, path := range paths {
		if path != "-" {
			picture, err := isPicture(path)
			if err != nil {
				return nil, err
			}
			if picture {
				pictures = append(pictures, path)
				continue
			}
		}
		raws, err := a.readStatementFile([]string{path})
		if err != nil {
			return nil, err
		}
		out = append(out, raws...)
	}
	if len(pictures) > 0 {
		raws, err := a.readStatementFile(pictures)
		if err != nil {
			return nil, err
		}
		out = append(out, raws...)
	}
	return out, nil
}

func (a *app) readStatementFile(paths []string) ([][]byte, error) {
	text, err := a.readDocument(paths, "statement", api.QRStatement, pemStatement, maxStatements*(identity.MaxStatement*3/2))
	if err != nil {
		return nil, err
	}
	return parseStatements(text)
}

func (a *app) statementCommand() *cobra.Command {
	cmd := a.clientCommand("statement [FILE...]", "Hand a statement of an authority to the mesh, or list those in force",
		"  tocsin statement wipe.pem\n  tocsin statement", args(0, -1),
		func(ctx context.Context, client *api.Client, paths []string) error {
			if len(paths) == 0 {
				return a.listStatements(ctx, client)
			}
			return a.publishStatements(ctx, client, paths)
		})
	cmd.Long = `Hand statements of an authority or a registrar to the mesh: who is revoked, which
device is to wipe itself, that an incident is declared. This device checks each, acts
on it at once, also while it is locked, and carries it to all others.

FILE is a file, "-" for standard input, or pictures of QR codes. Without one, the
statements in force are listed.`
	return cmd
}

func (a *app) publishStatements(ctx context.Context, client *api.Client, paths []string) error {
	raws, err := a.readStatements(paths)
	if err != nil {
		return err
	}
	var out []node.StatementInfo
	for _, raw := range raws {
		info, err := client.PublishStatement(ctx, raw)
		if err != nil {
			return refusedStatement(err)
		}
		out = append(out, info)
	}
	return a.emit(api.Statements{Statements: out}, func() {
		for _, s := range out {
			news := "taken in"
			if !s.New {
				news = "known already"
			}
			a.say("%s (%s, %s).", printable(s.Words), s.Issuer, news)
		}
	})
}

// refusedStatement gives a statement that the node refuses the exit code of what
// does not verify.
func refusedStatement(err error) error {
	if errors.Is(err, api.ErrInvalid) {
		var answer *api.Error
		if errors.As(err, &answer) {
			return fail(exitVerify, "Ask whoever made it for it again; nothing was changed.", "%s", answer.Message)
		}
	}
	return apiError(err)
}

func (a *app) listStatements(ctx context.Context, client *api.Client) error {
	list, err := client.Statements(ctx)
	if err != nil {
		return err
	}
	return a.emit(api.Statements{Statements: list}, func() {
		if len(list) == 0 {
			a.say("This device has heard no statement of an authority yet.")
			return
		}
		var rows [][]string
		for _, s := range list {
			rows = append(rows, []string{s.Kind, s.Issuer, when(s.Time), printable(s.Words)})
		}
		a.table([]string{"KIND", "ISSUER", "SIGNED", "SAYS"}, rows)
	})
}

func (a *app) authorityTake(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "take FILE...",
		Short: "Take in statements of others, such as a later trust bundle or another authority's list",
		Long: `Take in statements that others have signed, so that they go along with every answer
that is issued here: later trust bundles, and the lists of other authorities.`,
		Example: "  tocsin authority take next.pem northgate-revoked.pem",
		Args:    args(1, -1),
		RunE: func(cmd *cobra.Command, paths []string) error {
			raws, err := a.readStatements(paths)
			if err != nil {
				return err
			}
			return a.withAuthority(cmd.Context(), *dir, func(o *openAuthority) error { return a.takeAll(o, raws) })
		},
	}
}

func (a *app) takeAll(o *openAuthority, raws [][]byte) error {
	type taken struct {
		Kind string `json:"kind"`
		Org  string `json:"org"`
		New  bool   `json:"new"`
	}
	out := []taken{}
	for _, raw := range raws {
		e, err := o.trust.Take(raw, a.now())
		if errors.Is(err, identity.ErrRolledBack) { // superseded by what is known
			if e.Kind, err = identity.StatementKind(raw); err == nil {
				e.Known = true
			}
		}
		if err != nil {
			return statementError(err)
		}
		out = append(out, taken{e.Kind.String(), e.Org, !e.Known})
	}
	if err := o.saveTrust(); err != nil {
		return err
	}
	return a.emit(out, func() {
		for _, t := range out {
			news := "taken in"
			if !t.New {
				news = "known already, or superseded"
			}
			a.say("%s %s: %s", t.Kind, t.Org, news)
		}
	})
}
