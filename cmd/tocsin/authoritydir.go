package main

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
)

// The directory of an authority. It belongs on a machine that is not a node,
// switched off when nobody is being enrolled.
//
//	VERSION         the format of this directory, as for a node's
//	lock            held by the command that uses the directory; empty
//	authority.pem   the root certificate, which is public
//	trust.pem       the trust bundle of the mesh, once 'authority trust' has run
//	issued.jsonl    what was certified, one line each, written before the answer
//	vault/          the root key and the mesh key, sealed under the passphrase
const (
	authorityFile = "authority.pem"
	issuedFile    = "issued.jsonl"

	vaultAuthorityKey = "authority/key"      // PKCS #8
	vaultMeshKey      = "authority/mesh-key" // 32 bytes, once there is a bundle
)

// authorityDir is an authority's directory whose VERSION was read.
type authorityDir struct{ dataDir }

func openAuthorityDir(path string) (authorityDir, error) {
	d := authorityDir{dataDir(path)}
	err := checkVersion(path)
	if err == nil {
		_, err = os.Stat(d.file(authorityFile))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return d, fail(exitInput, "Run 'tocsin authority init' first, or name the directory with --dir.",
			"there is no authority at %s", path)
	}
	return d, err
}

// openAuthority is an authority at work: its directory locked, its vault open.
type openAuthority struct {
	authorityDir
	*identity.Authority
	vault *vault.Vault
	lock  *os.File
}

func (a *app) openAuthority(ctx context.Context, path string) (_ *openAuthority, err error) {
	c, err := a.load()
	if err != nil {
		return nil, err
	}
	d, err := openAuthorityDir(path)
	if err != nil {
		return nil, err
	}
	o := &openAuthority{authorityDir: d}
	if o.lock, err = d.lock(); err != nil {
		return nil, err
	}
	if o.vault, err = a.unlockVault(ctx, c, d.file(vaultDir), "the authority"); err != nil {
		return nil, errors.Join(err, o.lock.Close())
	}
	if o.Authority, err = d.load(o.vault); err != nil {
		return nil, errors.Join(err, o.close())
	}
	return o, nil
}

func (o *openAuthority) close() error { return errors.Join(o.vault.Close(), o.lock.Close()) }

func (d authorityDir) load(v *vault.Vault) (*identity.Authority, error) {
	text, err := os.ReadFile(d.file(authorityFile))
	if err != nil {
		return nil, fail(exitInput, "Put the file back from a copy.", "the certificate cannot be read: %w", err)
	}
	key, ok, err := v.Get(vaultAuthorityKey)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fail(exitInput, "Put the directory back from a copy.", "the vault of the authority holds no key")
	}
	defer clear(key)
	return identity.ParseAuthorityPEM(text, key)
}

// meshKey returns the key that is sealed to each clinician, and the bundle.
func (o *openAuthority) meshKey() (key [32]byte, bundle *identity.Bundle, err error) {
	const next = "Run 'tocsin authority bundle', then 'tocsin authority trust TRUST --mesh-key FILE'."
	bundle, err = o.bundle()
	if errors.Is(err, fs.ErrNotExist) {
		return key, nil, fail(exitInput, next, "this authority has no trust bundle yet")
	}
	if err != nil {
		return key, nil, err
	}
	raw, ok, err := o.vault.Get(vaultMeshKey)
	if err != nil {
		return key, nil, err
	}
	if !ok || len(raw) != len(key) {
		return key, nil, fail(exitInput, next, "this authority has no mesh key yet")
	}
	defer clear(raw)
	return [32]byte(raw), bundle, nil
}

// issued is one line of the register.
type issued struct {
	Time        time.Time `json:"time"`
	Fingerprint string    `json:"fingerprint"` // of the request
	Name        string    `json:"name"`
	Person      string    `json:"person"`
	Roles       []string  `json:"roles"`
	Device      string    `json:"device"`
	PeerID      string    `json:"peer_id"`
	Relay       bool      `json:"relay,omitempty"`
	Provisional bool      `json:"provisional,omitempty"`
	NotAfter    time.Time `json:"not_after"`
}

// register writes a line and waits until it is on the disk: what was certified
// must be known when it has to be revoked.
func (d authorityDir) register(line issued) error {
	b, err := json.Marshal(line)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(d.file(issuedFile), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fail(exitFailed, "Nothing was issued.", "the register cannot be written: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fail(exitFailed, "Nothing was issued.", "the register cannot be written: %w", err)
	}
	return nil
}

// authorityPath is where an authority is kept when --dir does not say.
func (a *app) authorityPath(flag string) (string, error) {
	if flag != "" {
		return filepath.Abs(flag)
	}
	return a.env.dataDir("tocsin-authority")
}
