package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"tocsin/node/api"
)

// connect returns a client of the node that runs on the data directory. The
// configuration comes with an error too, once it could be read.
func (a *app) connect() (*api.Client, *config, error) {
	c, err := a.load()
	if err != nil {
		return nil, nil, err
	}
	d, err := openDataDir(c.text(keyData))
	if err != nil {
		return nil, c, err
	}
	socket := a.env.socketPlace(string(d))
	if err := socket.trusted(); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, c, err
	}
	client, err := api.Dial(socket.path)
	if err != nil {
		return nil, c, noNode(d)
	}
	return client, c, nil
}

func noNode(d dataDir) error {
	return fail(exitNoNode, "Start it with 'tocsin up', or name another directory with --data.", "no node is running on %s", d)
}

// apiError gives what the node answered its exit code and its next step.
func apiError(err error) error {
	var answer *api.Error
	if !errors.As(err, &answer) {
		return err
	}
	code := exitFailed
	switch {
	case errors.Is(err, api.ErrLocked), errors.Is(err, api.ErrPassphrase), errors.Is(err, api.ErrTooMany), errors.Is(err, api.ErrWrongPIN),
		errors.Is(err, api.ErrBackOff), errors.Is(err, api.ErrNoPIN), errors.Is(err, api.ErrReauth), errors.Is(err, api.ErrWiped):
		code = exitLocked
	case errors.Is(err, api.ErrNotFound):
		code = exitNotFound
	case errors.Is(err, api.ErrInvalid), errors.Is(err, api.ErrTooLarge):
		code = exitInput
	}
	return fail(code, upperFirst(answer.Hint), "%s", answer.Message)
}

func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// clientCommand makes a command that talks to the running node.
func (a *app) clientCommand(use, short, example string, argc cobra.PositionalArgs,
	do func(ctx context.Context, client *api.Client, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Example: example, Args: argc,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, _, err := a.connect()
			if err != nil {
				return err
			}
			defer client.Close()
			return apiError(do(cmd.Context(), client, args))
		},
	}
}
