package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/node"
	"tocsin/node/api"
)

// The types of the two PEM files that hold what identity keeps in wire form.
const (
	pemAdmission  = "TOCSIN ADMISSION CHAIN"
	pemCredential = "TOCSIN CREDENTIAL"
)

func (a *app) enrolCommand() *cobra.Command {
	var request bool
	var codes showFlags
	cmd := &cobra.Command{
		Use:   "enrol RESPONSE... | --request",
		Short: "Import your organisation's answer to this device's request",
		Long: `Import your organisation's answer to this device's request. Everything in it is
checked before anything is written. With --request, print the request again, or show
it as QR codes.

RESPONSE is a file, or pictures (PNG or JPEG) of the QR codes that the authority shows,
in any order.`,
		Example: "  tocsin enrol response.pem\n  tocsin enrol --request > request.pem\n  tocsin enrol --request --qr\n  tocsin enrol photo-*.jpg",
		Args: func(cmd *cobra.Command, given []string) error {
			if request {
				return args(0, 0)(cmd, given)
			}
			return args(1, -1)(cmd, given)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			d, err := openDataDir(c.text(keyData))
			if err != nil {
				return err
			}
			if request {
				return a.printRequest(cmd.Context(), d, codes)
			}
			return a.enrol(cmd.Context(), c, d, args)
		},
	}
	cmd.Flags().BoolVar(&request, "request", false, "print the request")
	codes.add(cmd.Flags())
	return cmd
}

func (a *app) printRequest(ctx context.Context, d dataDir, codes showFlags) error {
	text, err := os.ReadFile(d.file(requestFile))
	if err != nil {
		return fail(exitInput, "", "the request cannot be read: %w", err)
	}
	req, err := identity.ParseRequestPEM(text)
	if err != nil {
		return fail(exitVerify, "Set this device up again in an empty directory with 'tocsin init'.", "the request is damaged: %w", err)
	}
	print := req.Fingerprint()
	if err := a.showCodes(ctx, codes, api.QRRequest, "TOCSIN ENROLMENT REQUEST", text); err != nil {
		return err
	}
	return a.emit(map[string]string{"request": string(text), "fingerprint": print}, func() {
		if !codes.screen {
			a.out.Write(text)
		}
		a.note("Fingerprint: %s", print)
	})
}

// enrol imports an answer from a file, or from pictures of its QR codes.
func (a *app) enrol(ctx context.Context, c *config, d dataDir, paths []string) error {
	text, err := a.readDocument(paths, "response", api.QRAnswer, "TOCSIN ENROLMENT", identity.MaxPEM)
	if err != nil {
		return err
	}
	answer, err := identity.ParseEnrolmentPEM(text)
	if err != nil {
		return fail(exitInput, "Ask your organisation for the file that 'tocsin authority issue' wrote.", "this is no answer to a request: %w", err)
	}
	return a.importAnswer(ctx, c, d, answer)
}

// importAnswer checks an answer and writes it. The vault comes first and the
// admission chain last, so that a directory with an admission chain is whole;
// after a crash the command is simply run again.
func (a *app) importAnswer(ctx context.Context, c *config, d dataDir, answer *identity.Enrolment) (err error) {
	lock, err := d.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	relay, err := d.relayKeys()
	if err != nil {
		return err
	}
	bundle, err := a.checkAnswer(d, answer, relay)
	if err != nil {
		return err
	}
	v, err := a.unlockVault(ctx, c, d.file(vaultDir), "this device")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	trust, cred, err := a.accept(v, answer, relay)
	if err != nil {
		return err
	}
	if err := errors.Join(
		writeFile(d.file(trustFile), bundle.MarshalPEM(), 0o644),
		node.SaveTrust(string(d), trust.Snapshot()),
		writeFile(d.file(credentialFile), encodePEM(pemCredential, answer.Credential), 0o644),
	); err != nil {
		return err
	}
	if err := writeFile(d.file(admissionFile), encodePEM(pemAdmission, answer.Admission), 0o644); err != nil {
		return err
	}
	return a.showEnrolment(cred, bundle)
}

// checkAnswer finds what is wrong with an answer before the passphrase is asked
// for: another mesh, another device, a clock that is off.
func (a *app) checkAnswer(d dataDir, answer *identity.Enrolment, relay *identity.RelayKeys) (*identity.Bundle, error) {
	bundle, err := identity.ParseBundle(answer.Bundle)
	if err != nil {
		return nil, credentialError(err, a.now())
	}
	if old, err := d.bundle(); err == nil && old.MeshID() != bundle.MeshID() {
		return nil, fail(exitInput, "Use another data directory for another mesh: 'tocsin init --data DIR'.",
			"this device belongs to the mesh %q, and the answer is for %q", old.Name(), bundle.Name())
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	trust, err := identity.NewTrustStore(bundle)
	if err != nil {
		return nil, credentialError(err, a.now())
	}
	for _, raw := range answer.Statements {
		if _, err := trust.Take(raw, a.now()); err != nil {
			return nil, statementError(err)
		}
	}
	cred, err := trust.VerifyCredential(answer.Credential, a.now())
	if err != nil {
		return nil, credentialError(err, a.now())
	}
	if cred.Peer != relay.PeerID() {
		return nil, fail(exitInput, "Import the answer to the request that 'tocsin enrol --request' prints.",
			"this answer is for another device")
	}
	return bundle, nil
}

// credentialError says what to do about a credential that is refused.
func credentialError(err error, now time.Time) error {
	next := "Ask your organisation for the answer again."
	if errors.Is(err, identity.ErrExpired) {
		next = "This device's clock says " + when(now) + ". If that is wrong, set the clock; if not, ask your organisation for a new answer."
	}
	return fail(exitVerify, next, "the credential is refused: %w", err)
}

// accept makes every check of the profile and keeps the mesh key in the vault.
func (a *app) accept(v *vault.Vault, answer *identity.Enrolment, relay *identity.RelayKeys) (*identity.TrustStore, *identity.Credential, error) {
	keys, err := vaultKeys(v)
	if err != nil {
		return nil, nil, err
	}
	now := a.now()
	trust, cred, err := answer.Accept(relay, keys, now)
	if err != nil {
		return nil, nil, credentialError(err, now)
	}
	raw, err := keys.Marshal()
	if err != nil {
		return nil, nil, err
	}
	return trust, cred, v.Commit(vault.Change{Key: vaultKeysKey, Value: raw})
}

// vaultKeys reads the keys of a device from its open vault.
func vaultKeys(v *vault.Vault) (*identity.VaultKeys, error) {
	raw, ok, err := v.Get(vaultKeysKey)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fail(exitInput, "Set this device up again in an empty directory with 'tocsin init'.", "the vault holds no keys")
	}
	keys, err := identity.ParseVaultKeys(raw)
	if err != nil {
		return nil, fail(exitInput, "", "the vault's keys cannot be read: %w", err)
	}
	return keys, nil
}

// enrolment is what enrol prints.
type enrolment struct {
	Name     string    `json:"name"`
	Person   string    `json:"person"`
	Roles    []string  `json:"roles"`
	Device   string    `json:"device"`
	Mesh     string    `json:"mesh"`
	MeshID   string    `json:"mesh_id"`
	Issuer   string    `json:"issuer"`
	NotAfter time.Time `json:"not_after"`
}

func (a *app) showEnrolment(cred *identity.Credential, bundle *identity.Bundle) error {
	e := enrolment{cred.Claims.Name, cred.Person.String(), cred.Claims.Roles, cred.Device,
		bundle.Name(), bundle.MeshID().String(), cred.Issuer, cred.NotAfter}
	return a.emit(e, func() {
		a.say("This device is enrolled.\n")
		a.say("  you       %s (%s)", printable(e.Name), e.Person)
		a.say("  roles     %s", orNone(e.Roles))
		a.say("  mesh      %s (%s)", printable(e.Mesh), short(e.MeshID))
		a.say("  issued by %s, until %s", printable(e.Issuer), when(e.NotAfter))
		a.say("\nStart it with: tocsin up")
	})
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// relayKeys reads the keys that work while the device is locked.
func (d dataDir) relayKeys() (*identity.RelayKeys, error) {
	text, err := os.ReadFile(d.file(relayFile))
	if err != nil {
		return nil, fail(exitInput, "Put the file back from a copy, or set the device up again.", "the relay keys cannot be read: %w", err)
	}
	k, err := identity.ParseRelayKeysPEM(text)
	if err != nil {
		return nil, fail(exitInput, "Put the file back from a copy, or set the device up again.", "%s: %w", d.file(relayFile), err)
	}
	return k, nil
}

// bundle reads the trust bundle; fs.ErrNotExist before enrolment.
func (d dataDir) bundle() (*identity.Bundle, error) {
	text, err := os.ReadFile(d.file(trustFile))
	if err != nil {
		return nil, err
	}
	b, err := identity.ParseBundlePEM(text)
	if err != nil {
		return nil, fail(exitInput, "Import your organisation's answer again with 'tocsin enrol'.", "%s: %w", d.file(trustFile), err)
	}
	return b, nil
}

// wire reads a PEM file of ours that holds one object in wire form.
func (d dataDir) wire(name, kind string) ([]byte, error) {
	text, err := os.ReadFile(d.file(name))
	if err != nil {
		return nil, err
	}
	b, ok := onePEM(kind, text)
	if !ok {
		return nil, fail(exitInput, "Import your organisation's answer again with 'tocsin enrol'.",
			"%s is damaged: it should hold one %s", d.file(name), kind)
	}
	return b, nil
}

func encodePEM(kind string, b []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})
}

// onePEM reads a file that holds one block of the kind and nothing else.
func onePEM(kind string, text []byte) ([]byte, bool) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != kind || len(bytes.TrimSpace(rest)) > 0 || len(block.Headers) > 0 {
		return nil, false
	}
	return block.Bytes, true
}

// notEnrolled is what every command says that needs a credential.
func (d dataDir) notEnrolled() error {
	return fail(exitInput, fmt.Sprintf("Hand %s to your organisation and import the answer with 'tocsin enrol RESPONSE'.", d.file(requestFile)),
		"this device is not enrolled yet")
}
