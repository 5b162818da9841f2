package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/node"
	"tocsin/node/api"
)

// A key roll gives this device a new signing key. The keys lie in its vault: the
// new ones beside the present ones until the authority has certified them, then the
// present ones beside the new until the node has closed its log with them.
const (
	nextKeysKey   = "identity/next-keys"   // identity.VaultKeys; made by request, taken up by finish
	rolledFromKey = "identity/rolled-from" // identity.VaultKeys; the node reads it there
)

// keyRollFile is the request for the new key.
const keyRollFile = "keyroll-request.pem"

func (a *app) keyrollCommand() *cobra.Command {
	return family("keyroll", "Give this device a new signing key",
		"  tocsin keyroll request\n  tocsin keyroll finish response.pem", a.keyrollRequest(), a.keyrollFinish())
}

func (a *app) keyrollRequest() *cobra.Command {
	return &cobra.Command{
		Use: "request", Short: "Make a new signing key, and the request to have it certified",
		Long: `Make a new signing key, and the request to have it certified. Stop the node first.

Do this when the key may have been copied: the device was out of your hands, or a
backup of it was. Nothing changes until 'tocsin keyroll finish' has imported your
organisation's answer. Then the device goes on in a new log, which closes the one
before; everybody sees the same person, and your groups keep you.`,
		Example: "  tocsin keyroll request", Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withDevice(func(c *config, d dataDir) error { return a.requestRoll(cmd.Context(), c, d) })
		},
	}
}

func (a *app) keyrollFinish() *cobra.Command {
	return &cobra.Command{
		Use: "finish RESPONSE...", Short: "Import your organisation's answer, and take the new key into use",
		Long: `Import your organisation's answer, and take the new key into use. Stop the node first.

Everything in the answer is checked before anything is written. At its next start the
node closes its log with the key before and goes on with the new one; then the key
before is destroyed.`,
		Example: "  tocsin keyroll finish response.pem", Args: args(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withDevice(func(c *config, d dataDir) error { return a.finishRoll(cmd.Context(), c, d, args) })
		},
	}
}

// withDevice takes the data directory of a device that is enrolled, for one command.
func (a *app) withDevice(do func(*config, dataDir) error) (err error) {
	c, err := a.load()
	if err != nil {
		return err
	}
	d, err := openDataDir(c.text(keyData))
	if err != nil {
		return err
	}
	lock, err := d.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if ok, err := d.enrolled(); err != nil {
		return err
	} else if !ok {
		return d.notEnrolled()
	}
	return do(c, d)
}

// presentCredential reads who the device is.
func (d dataDir) presentCredential() (*identity.Credential, error) {
	bundle, err := d.bundle()
	if err != nil {
		return nil, err
	}
	trust, err := identity.NewTrustStore(bundle)
	if err != nil {
		return nil, err
	}
	raw, err := d.wire(credentialFile, pemCredential)
	if err != nil {
		return nil, err
	}
	cred, err := trust.ReadCredential(raw)
	if err != nil {
		return nil, fail(exitVerify, "Import your organisation's answer again with 'tocsin enrol'.", "the credential of this device is refused: %w", err)
	}
	return cred, nil
}

func (a *app) requestRoll(ctx context.Context, c *config, d dataDir) (err error) {
	cred, err := d.presentCredential()
	if err != nil {
		return err
	}
	if cred.Claims.Relay {
		return fail(exitInput, "Set it up again in an empty directory with 'tocsin init'.", "a relay signs no log, so that it has no key to roll")
	}
	relay, err := d.relayKeys()
	if err != nil {
		return err
	}
	v, err := a.unlockVault(ctx, c, d.file(vaultDir), "this device")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	keys, err := nextKeys(v)
	if err != nil {
		return err
	}
	req, err := identity.NewRequest(identity.Wish{
		Person: cred.Person,
		Claims: identity.Claims{Name: cred.Claims.Name, Roles: cred.Claims.Roles, Grade: cred.Claims.Grade, ODS: cred.Claims.ODS},
	}, relay, keys)
	if err != nil {
		return fail(exitFailed, "", "the request cannot be made: %w", err)
	}
	path := d.file(keyRollFile)
	if err := writeFile(path, req.MarshalPEM(), 0o644); err != nil {
		return err
	}
	print := req.Fingerprint()
	return a.emit(map[string]string{"request": path, "fingerprint": print}, func() {
		a.say("Hand this request to your organisation:\n\n    %s\n", path)
		a.say("Compare its fingerprint with them by voice:\n\n    %s\n", a.style().bold(print))
		a.say("Then import their answer: tocsin keyroll finish RESPONSE.pem\nUntil then this device goes on as it is.")
	})
}

// nextKeys returns the keys to be taken into use; it makes them the first time, so
// that asking again asks for the same.
func nextKeys(v *vault.Vault) (*identity.VaultKeys, error) {
	raw, ok, err := v.Get(nextKeysKey)
	if err != nil {
		return nil, err
	}
	if ok {
		return identity.ParseVaultKeys(raw)
	}
	keys, err := identity.NewVaultKeys(rand.Reader)
	if err != nil {
		return nil, err
	}
	if raw, err = keys.Marshal(); err != nil {
		return nil, err
	}
	return keys, v.Commit(vault.Change{Key: nextKeysKey, Value: raw})
}

// finishRoll checks the answer and takes the new keys into use. The vault comes
// first: after a crash the command is simply run again.
func (a *app) finishRoll(ctx context.Context, c *config, d dataDir, paths []string) (err error) {
	text, err := a.readDocument(paths, "response", api.QRAnswer, "TOCSIN ENROLMENT", identity.MaxPEM)
	if err != nil {
		return err
	}
	answer, err := identity.ParseEnrolmentPEM(text)
	if err != nil {
		return fail(exitInput, "Ask your organisation for the file that 'tocsin authority issue' wrote.", "this is no answer to a request: %w", err)
	}
	relay, err := d.relayKeys()
	if err != nil {
		return err
	}
	bundle, err := a.checkAnswer(d, answer, relay)
	if err != nil {
		return err
	}
	before, err := d.presentCredential()
	if err != nil {
		return err
	}
	v, err := a.unlockVault(ctx, c, d.file(vaultDir), "this device")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	trust, cred, err := a.takeNextKeys(v, answer, relay, before)
	if err != nil {
		return err
	}
	if err := errors.Join(
		node.SaveTrust(string(d), trust.Snapshot()),
		writeFile(d.file(credentialFile), encodePEM(pemCredential, answer.Credential), 0o644),
		writeFile(d.file(admissionFile), encodePEM(pemAdmission, answer.Admission), 0o644),
		d.takeRequest(),
	); err != nil {
		return err
	}
	return a.showEnrolment(cred, bundle)
}

// takeNextKeys makes the new keys the present ones, in one commit.
func (a *app) takeNextKeys(v *vault.Vault, answer *identity.Enrolment, relay *identity.RelayKeys, before *identity.Credential) (*identity.TrustStore, *identity.Credential, error) {
	present, err := vaultKeys(v)
	if err != nil {
		return nil, nil, err
	}
	raw, ok, err := v.Get(nextKeysKey)
	if err != nil {
		return nil, nil, err
	}
	_, unsaid, err := v.Get(rolledFromKey)
	if err != nil {
		return nil, nil, err
	}
	keys := present
	switch {
	case ok && unsaid:
		return nil, nil, fail(exitInput, "Start it with 'tocsin up' and unlock it once; then run this again.",
			"this device has not said yet that it goes on with the key it was given before")
	case ok:
		if keys, err = identity.ParseVaultKeys(raw); err != nil {
			return nil, nil, err
		}
	case !unsaid: // else an earlier run is repeated
		return nil, nil, fail(exitInput, "Make one with 'tocsin keyroll request' and hand the request to your organisation.", "this device has no new key to take into use")
	}
	trust, cred, err := answer.Accept(relay, keys, a.now())
	if err != nil {
		return nil, nil, credentialError(err, a.now())
	}
	if cred.Person != before.Person {
		return nil, nil, fail(exitVerify, "Ask your organisation to certify the request as it is.",
			"a new key stays with the person: this device is %s's, and the answer is for %s", before.Person, cred.Person)
	}
	if !ok {
		return trust, cred, nil
	}
	now, err := keys.Marshal()
	if err != nil {
		return nil, nil, err
	}
	then, err := present.Marshal()
	if err != nil {
		return nil, nil, err
	}
	return trust, cred, v.Commit(
		vault.Change{Key: vaultKeysKey, Value: now}, vault.Change{Key: rolledFromKey, Value: then}, vault.Change{Key: nextKeysKey})
}

// takeRequest makes the request for the new key the one that 'tocsin enrol
// --request' prints.
func (d dataDir) takeRequest() error {
	err := os.Rename(d.file(keyRollFile), d.file(requestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
