package main

import (
	"bytes"
	"context"
	"crypto/rand"

	"github.com/spf13/cobra"

	"tocsin/crypto/vault"
	"tocsin/node/api"
)

// secretFlags choose between the passphrase and the PIN.
type secretFlags struct {
	pin     bool
	pinFile string
}

func (f *secretFlags) add(cmd *cobra.Command, what string) {
	cmd.Flags().BoolVar(&f.pin, "pin", false, what+" with the PIN instead of the passphrase")
	cmd.Flags().StringVar(&f.pinFile, "pin-file", "", "read the PIN from the first line of this `file`")
}

// secret asks for the one or the other.
func (a *app) secret(ctx context.Context, c *config, f secretFlags) (api.Unlock, error) {
	var s []byte
	var err error
	switch {
	case f.pinFile != "":
		s, err = a.passphraseFile(f.pinFile)
	case f.pin:
		s, err = a.askFor(ctx, "PIN for this device: ", "the PIN", "Name a file that holds it with --pin-file.")
	default:
		s, err = a.passphrase(ctx, c, "this device")
		defer func() { clear(s) }()
		return api.Unlock{Passphrase: string(s)}, err
	}
	defer func() { clear(s) }()
	return api.Unlock{PIN: string(s)}, err
}

// again has the user prove once more who they are, for one sensitive act.
func (a *app) again(ctx context.Context, client *api.Client, c *config, f secretFlags) (token string, err error) {
	secret, err := a.secret(ctx, c, f)
	if err != nil {
		return "", err
	}
	granted, err := client.Reauth(ctx, secret)
	return granted.Token, err
}

// guardedCommand is clientCommand for what asks for the passphrase or the PIN
// once more: do gets the token that it may use once.
func (a *app) guardedCommand(use, short, example string, argc cobra.PositionalArgs,
	do func(ctx context.Context, client *api.Client, again func() (string, error), args []string) error) *cobra.Command {
	var f secretFlags
	cmd := &cobra.Command{
		Use: use, Short: short, Example: example, Args: argc,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, c, err := a.connect()
			if err != nil {
				return err
			}
			defer client.Close()
			again := func() (string, error) { return a.again(cmd.Context(), client, c, f) }
			return apiError(do(cmd.Context(), client, again, args))
		},
	}
	f.add(cmd, "confirm")
	return cmd
}

// guardedGroup finds the group that a guarded command names, and then asks for the passphrase or the PIN once more.
func (a *app) guardedGroup(ctx context.Context, client *api.Client, name string, again func() (string, error)) (id, token string, err error) {
	g, err := a.findGroup(ctx, client, name)
	if err != nil {
		return "", "", err
	}
	token, err = again()
	return g.ID, token, err
}

func (a *app) lockCommand() *cobra.Command {
	var hard bool
	cmd := a.clientCommand("lock", "Lock this device: it forgets its keys and goes on relaying", "  tocsin lock\n  tocsin lock --hard", args(0, 0),
		func(ctx context.Context, client *api.Client, _ []string) error {
			lock := client.Lock
			if hard {
				lock = client.LockHard
			}
			st, err := lock(ctx)
			if err != nil {
				return err
			}
			return a.emit(st, func() {
				a.say("Locked. It relays, and reads nothing until 'tocsin unlock'.")
				if st.PINReady {
					a.say("The PIN opens it too: 'tocsin unlock --pin'.")
				}
			})
		})
	cmd.Flags().BoolVar(&hard, "hard", false, "only the passphrase opens it again, not the PIN")
	return cmd
}

func (a *app) unlockCommand() *cobra.Command {
	var f secretFlags
	cmd := &cobra.Command{
		Use: "unlock", Short: "Unlock this device with its passphrase or its PIN",
		Long: `Unlock this device with its passphrase, or with its PIN where one is set.

The PIN opens a device that was unlocked with the passphrase since it was started. Ten
wrong PINs leave the passphrase only, and cost no message.`,
		Example: "  tocsin unlock\n  tocsin unlock --pin\n  tocsin unlock --passphrase-file /run/secrets/tocsin", Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, c, err := a.connect()
			if err != nil {
				return err
			}
			defer client.Close()
			secret, err := a.secret(cmd.Context(), c, f)
			if err != nil {
				return err
			}
			unlock, with := client.Unlock, secret.Passphrase
			if secret.PIN != "" {
				unlock, with = client.UnlockPIN, secret.PIN
			}
			st, err := unlock(cmd.Context(), with)
			if err != nil {
				return apiError(err)
			}
			return a.emit(st, func() { a.say("Unlocked.") })
		},
	}
	f.add(cmd, "unlock")
	return cmd
}

func (a *app) pinCommand() *cobra.Command {
	var newFile string
	set := a.guardedCommand("set", "Set the PIN, or change it", "  tocsin pin set\n  tocsin pin set --new-pin-file pin.txt", args(0, 0),
		func(ctx context.Context, client *api.Client, again func() (string, error), _ []string) error {
			token, err := again()
			if err != nil {
				return err
			}
			pin, err := a.newPIN(ctx, newFile)
			if err != nil {
				return err
			}
			defer clear(pin)
			st, err := client.SetPIN(ctx, token, string(pin))
			if err != nil {
				return err
			}
			return a.emit(st, func() {
				a.say("The PIN is set. It opens this device between two starts; after a start the passphrase does.")
			})
		})
	set.Flags().StringVar(&newFile, "new-pin-file", "", "read the new PIN from the first line of this `file`")
	set.Long = `Set the PIN, or change it. It saves typing the passphrase during a shift, and nothing
else: it guards no disk. A stolen device that was switched off opens with the passphrase
only, and so does one after ten wrong PINs.`
	remove := a.guardedCommand("clear", "Take the PIN away: only the passphrase opens this device", "  tocsin pin clear", args(0, 0),
		func(ctx context.Context, client *api.Client, again func() (string, error), _ []string) error {
			token, err := again()
			if err != nil {
				return err
			}
			st, err := client.ClearPIN(ctx, token)
			if err != nil {
				return err
			}
			return a.emit(st, func() { a.say("The PIN is gone.") })
		})
	return family("pin", "Set or clear the PIN of this device", "  tocsin pin set", set, remove)
}

// newPIN reads a new PIN from a file, or asks for it twice.
func (a *app) newPIN(ctx context.Context, file string) ([]byte, error) {
	if file != "" {
		return a.passphraseFile(file)
	}
	const next = "Name a file that holds it with --new-pin-file."
	first, err := a.askFor(ctx, "New PIN: ", "a new PIN", next)
	if err != nil {
		return nil, err
	}
	second, err := a.askFor(ctx, "The same again: ", "a new PIN", next)
	if err != nil {
		return nil, err
	}
	defer clear(second)
	if !bytes.Equal(first, second) {
		clear(first)
		return nil, fail(exitInput, "Run the command again.", "the two PINs differ")
	}
	return first, nil
}

func (a *app) passphraseCommand() *cobra.Command {
	var newFile string
	var own bool
	cmd := &cobra.Command{
		Use: "passphrase", Short: "Change the passphrase of this device",
		Long: `Change the passphrase of this device. Six words are chosen and shown once; with
--own-passphrase you are asked for one of your own, with --new-passphrase-file it is
read from there. The node must be running; nothing is sealed anew but the key.`,
		Example: "  tocsin passphrase\n  tocsin passphrase --new-passphrase-file new.txt", Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, c, err := a.connect()
			if err != nil {
				return err
			}
			defer client.Close()
			old, err := a.passphrase(cmd.Context(), c, "this device")
			if err != nil {
				return err
			}
			defer clear(old)
			fresh, generated, err := a.freshPassphrase(cmd.Context(), newFile, own)
			if err != nil {
				return err
			}
			defer clear(fresh)
			if err := client.ChangePassphrase(cmd.Context(), string(old), string(fresh)); err != nil {
				return apiError(err)
			}
			return a.emit(map[string]bool{"changed": true}, func() {
				a.say("The passphrase is changed. The old one opens nothing any more.")
				if generated {
					a.say("\nThe new one, shown this once. Write it down and keep it away from the device:\n\n    %s\n", a.style().bold(string(fresh)))
				}
			})
		},
	}
	cmd.Flags().StringVar(&newFile, "new-passphrase-file", "", "read the new passphrase from the first line of this `file`")
	cmd.Flags().BoolVar(&own, "own-passphrase", false, "ask for a passphrase of your own")
	return cmd
}

func (a *app) freshPassphrase(ctx context.Context, file string, own bool) (secret []byte, generated bool, err error) {
	if own && file == "" {
		secret, err = a.newPassphrase(ctx)
		return secret, false, err
	}
	return a.newSecretFor(file)
}

func (a *app) wipeCommand() *cobra.Command {
	var yes bool
	cmd := a.guardedCommand("wipe", "Destroy the keys of this device, for good", "  tocsin wipe", args(0, 0),
		func(ctx context.Context, client *api.Client, again func() (string, error), _ []string) error {
			if !yes {
				a.note("Everything on this device becomes unreadable, for good. Messages of groups stay with their other members.")
				if err := a.confirm("Wipe this device?"); err != nil {
					return err
				}
			}
			token, err := again()
			if err != nil {
				return err
			}
			if err := client.Wipe(ctx, token); err != nil {
				return err
			}
			return a.emit(map[string]bool{"wiped": true}, func() { a.say("This device is wiped. To use it again: 'tocsin init' in an empty directory.") })
		})
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask for confirmation")
	return cmd
}

// newSecretFor reads a new passphrase from a file, or draws one.
func (a *app) newSecretFor(path string) (secret []byte, generated bool, err error) {
	if path == "" && a.json {
		return nil, false, usage("Name a file that holds one.", "with --json no passphrase is generated, because it would end in whatever reads the output")
	}
	if path == "" {
		words, err := vault.GeneratePassphrase(rand.Reader)
		return []byte(words), true, err
	}
	secret, err = a.passphraseFile(path)
	if err == nil && len(secret) < vault.MinPassphrase {
		err = fail(exitInput, "Several unrelated words are best.", "the passphrase in %s has fewer than %d characters", path, vault.MinPassphrase)
	}
	return secret, false, err
}
