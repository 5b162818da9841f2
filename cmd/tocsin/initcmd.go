package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
)

// vaultKeysKey is where the vault holds identity.VaultKeys; the node reads it
// there.
const vaultKeysKey = "identity/vault-keys"

type initFlags struct {
	org, regulator, number, name, grade, ods string
	roles                                    []string
	own                                      bool
}

func (a *app) initCommand() *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Set this device up and make the request for your organisation",
		Long: `Set this device up: make its keys, seal them under a passphrase, and write a
request to be enrolled. Hand the request to your organisation, compare the
fingerprint with them by voice, and import their answer with 'tocsin enrol'.

Six words are chosen as the passphrase and shown once. With --own-passphrase
you are asked for one of your own; with --passphrase-file it is read from there.`,
		Example: `  tocsin init --org stmarys.nhs.example --regulator gmc --number 7654321 \
      --name "Amina Khan" --role consultant --grade ST5`,
		Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.initialise(cmd.Context(), f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.org, "org", "", "host name of your organisation, such as stmarys.nhs.example")
	fl.StringVar(&f.regulator, "regulator", "", "body that registers you: gmc, nmc, hcpc, gphc …")
	fl.StringVar(&f.number, "number", "", "your registration number")
	fl.StringVar(&f.name, "name", "", "your name, as colleagues know it")
	fl.StringSliceVar(&f.roles, "role", nil, "a role to ask for, such as consultant (may be repeated)")
	fl.StringVar(&f.grade, "grade", "", "your grade, such as ST5")
	fl.StringVar(&f.ods, "ods", "", "ODS code of your site")
	fl.BoolVar(&f.own, "own-passphrase", false, "ask for a passphrase of your own")
	return cmd
}

// wish turns the flags into what the request asks for.
func (f initFlags) wish() (identity.Wish, error) {
	for _, need := range []struct{ flag, value string }{
		{"--org", f.org}, {"--regulator", f.regulator}, {"--number", f.number}, {"--name", f.name},
	} {
		if need.value == "" {
			return identity.Wish{}, usage("See 'tocsin init --help' for an example.", "'tocsin init' needs %s", need.flag)
		}
	}
	roles := slices.Clone(f.roles)
	slices.Sort(roles)
	return identity.Wish{
		Person: identity.Person{Org: f.org, Regulator: strings.ToLower(f.regulator), Number: strings.ToUpper(f.number)},
		Claims: identity.Claims{Name: f.name, Roles: slices.Compact(roles), Grade: f.grade, ODS: f.ods},
	}, nil
}

func (a *app) initialise(ctx context.Context, f initFlags) error {
	c, err := a.load()
	if err != nil {
		return err
	}
	wish, err := f.wish()
	if err != nil {
		return err
	}
	secret, generated, err := a.choosePassphrase(ctx, c, f.own)
	if err != nil {
		return err
	}
	dir := c.text(keyData)
	var req *identity.Request
	var relay *identity.RelayKeys
	if err := makeDirectory(dir, func(tmp string) error {
		relay, req, err = makeDevice(tmp, wish, secret)
		return err
	}); err != nil {
		return err
	}
	path := dataDir(dir).file(requestFile)
	print := req.Fingerprint()
	return a.emit(map[string]string{
		"data_dir": dir, "request": path, "fingerprint": print, "peer_id": relay.PeerID().String(),
	}, func() {
		a.say("This device is set up in %s.", dir)
		if generated {
			a.say("\nYour passphrase, shown this once. Write it down and keep it away from the device:\n\n    %s\n",
				a.style().bold(string(secret)))
		}
		a.say("Hand this request to your organisation:\n\n    %s\n", path)
		a.say("Compare its fingerprint with them by voice:\n\n    %s\n", a.style().bold(print))
		a.say("Then import their answer: tocsin enrol RESPONSE.pem")
	})
}

// choosePassphrase returns the passphrase for a new vault, and whether it was
// generated and must be shown.
func (a *app) choosePassphrase(ctx context.Context, c *config, own bool) (secret []byte, generated bool, err error) {
	switch {
	case c.text(keyPassphrase) != "":
		secret, err = a.passphraseFile(c.text(keyPassphrase))
		if err == nil && len(secret) < vault.MinPassphrase {
			err = fail(exitInput, "Several unrelated words are best; without a file six are chosen for you.",
				"the passphrase in the file has fewer than %d characters", vault.MinPassphrase)
		}
		return secret, false, err
	case own:
		secret, err = a.newPassphrase(ctx)
		return secret, false, err
	case a.json:
		return nil, false, usage("Name a file that holds one with --passphrase-file.",
			"with --json no passphrase is generated, because it would end in whatever reads the output")
	}
	words, err := vault.GeneratePassphrase(rand.Reader)
	return []byte(words), true, err
}

// makeDevice fills a new data directory.
func makeDevice(dir string, wish identity.Wish, secret []byte) (*identity.RelayKeys, *identity.Request, error) {
	relay, err := identity.NewRelayKeys(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	keys, err := identity.NewVaultKeys(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	req, err := identity.NewRequest(wish, relay, keys)
	if err != nil {
		return nil, nil, fail(exitInput, "Correct it and run 'tocsin init' again; nothing was written.", "the request cannot be made: %w", err)
	}
	raw, err := keys.Marshal()
	if err != nil {
		return nil, nil, err
	}
	if err := makeVault(filepath.Join(dir, vaultDir), secret, vault.Change{Key: vaultKeysKey, Value: raw}); err != nil {
		return nil, nil, err
	}
	d := dataDir(dir)
	return relay, req, errors.Join(
		writeFile(d.file(relayFile), relay.MarshalPEM(), 0o600),
		writeFile(d.file(requestFile), req.MarshalPEM(), 0o644),
	)
}

// makeVault creates a vault that holds changes.
func makeVault(dir string, secret []byte, changes ...vault.Change) error {
	v, err := vault.Create(dir, secret, vault.Options{})
	if err != nil {
		return fail(exitFailed, "", "the vault cannot be made: %w", err)
	}
	return errors.Join(v.Commit(changes...), v.Close())
}

// fingerprint is what two people compare by voice, in the form of
// [identity.Request.Fingerprint].
func fingerprint(b []byte) string {
	sum := sha256.Sum256(b)
	digits := hex.EncodeToString(sum[:16])
	var groups []string
	for i := 0; i < len(digits); i += 4 {
		groups = append(groups, digits[i:i+4])
	}
	return strings.Join(groups, " ")
}

// unlockVault opens a vault of ours with the user's passphrase.
func (a *app) unlockVault(ctx context.Context, c *config, dir, what string) (*vault.Vault, error) {
	v, err := vault.Open(dir)
	if err != nil {
		return nil, fail(exitInput, "", "the vault cannot be opened: %w", err)
	}
	secret, err := a.passphrase(ctx, c, what)
	if err == nil {
		err = passphraseError(v.Unlock(secret))
	}
	clear(secret)
	if err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

// passphraseError gives a wrong passphrase its exit code.
func passphraseError(err error) error {
	if errors.Is(err, vault.ErrPassphrase) {
		return fail(exitLocked, "Check for a slip and try again; nothing is lost by trying.", "the passphrase is wrong")
	}
	return err
}
