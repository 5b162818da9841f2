package main

import (
	"bytes"
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

// The directory of an authority, or of a registrar. It belongs on a machine that
// is not a node, switched off when nobody is being enrolled.
//
//	VERSION         the format of this directory, as for a node's
//	lock            held by the command that uses the directory; empty
//	authority.pem   the root certificate, which is public
//	registrar.pem   in its place, in the directory of a registrar: its certificate,
//	                then the authority's
//	trust.pem       the genesis trust bundle of the mesh, once 'authority trust' has run
//	trust.bin       what is known beyond it: later bundles, what was revoked, by
//	                whom; a snapshot of identity.TrustStore
//	issued.jsonl    what was certified, one line each, written before the answer
//	statements/     a copy of every statement made here, by number
//	vault/          the key and the mesh key, sealed under the passphrase
const (
	authorityFile = "authority.pem"
	registrarFile = "registrar.pem"
	snapshotFile  = "trust.bin"
	issuedFile    = "issued.jsonl"
	statementsDir = "statements"

	vaultAuthorityKey = "authority/key"      // PKCS #8
	vaultMeshKey      = "authority/mesh-key" // 32 bytes, once there is a bundle
)

// maxSnapshot bounds trust.bin.
const maxSnapshot = 64 << 20

// authorityDir is an authority's directory whose VERSION was read.
type authorityDir struct {
	dataDir
	registrar bool
}

func openAuthorityDir(path string) (authorityDir, error) {
	d := authorityDir{dataDir: dataDir(path)}
	err := checkVersion(path)
	if err == nil {
		_, err = os.Stat(d.file(authorityFile))
		if errors.Is(err, fs.ErrNotExist) {
			_, err = os.Stat(d.file(registrarFile))
			d.registrar = err == nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return d, fail(exitInput, "Run 'tocsin authority init' first, or name the directory with --dir.",
			"there is no authority at %s", path)
	}
	return d, err
}

// openAuthority is an authority or a registrar at work: its directory locked,
// its vault open.
type openAuthority struct {
	authorityDir
	identity.Issuer
	root  *identity.Authority  // nil in the directory of a registrar
	trust *identity.TrustStore // nil before 'authority trust'
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
	what := "the authority"
	if d.registrar {
		what = "the registrar"
	}
	if o.vault, err = a.unlockVault(ctx, c, d.file(vaultDir), what); err != nil {
		return nil, errors.Join(err, o.lock.Close())
	}
	if err := errors.Join(o.loadKey(), o.loadTrust()); err != nil {
		return nil, errors.Join(err, o.close())
	}
	return o, nil
}

func (o *openAuthority) close() error { return errors.Join(o.vault.Close(), o.lock.Close()) }

func (o *openAuthority) loadKey() error {
	name := authorityFile
	if o.registrar {
		name = registrarFile
	}
	text, err := os.ReadFile(o.file(name))
	if err != nil {
		return fail(exitInput, "Put the file back from a copy.", "the certificate cannot be read: %w", err)
	}
	key, ok, err := o.vault.Get(vaultAuthorityKey)
	if err != nil {
		return err
	}
	if !ok {
		return fail(exitInput, "Put the directory back from a copy.", "the vault holds no key to sign with")
	}
	defer clear(key)
	if o.registrar {
		r, err := identity.ParseRegistrarPEM(text, key)
		if err != nil {
			return err
		}
		o.Issuer = r
		return nil
	}
	if o.root, err = identity.ParseAuthorityPEM(text, key); err != nil {
		return err
	}
	o.Issuer = o.root
	return nil
}

// loadTrust reads what is known of the mesh; nothing before 'authority trust'.
func (o *openAuthority) loadTrust() error {
	genesis, err := o.bundle()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if o.trust, err = identity.NewTrustStore(genesis); err != nil {
		return err
	}
	snapshot, err := os.ReadFile(o.file(snapshotFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(snapshot) > maxSnapshot {
		err = errors.New("it is too large")
	}
	if err == nil {
		err = o.trust.Restore(snapshot)
	}
	if err != nil {
		return fail(exitInput, "Put the file back from a copy of the directory. Without it numbers would be used a second time, and every device would refuse what you sign.",
			"%s cannot be read: %w", o.file(snapshotFile), err)
	}
	return nil
}

// saveTrust keeps what was taken in, on the disk, before anything is handed out.
func (o *openAuthority) saveTrust() error {
	return writeFile(o.file(snapshotFile), o.trust.Snapshot(), 0o600)
}

// inMesh demands that the authority belongs to a mesh.
func (o *openAuthority) inMesh() error {
	if o.trust == nil {
		return fail(exitInput, "Run 'tocsin authority bundle', then 'tocsin authority trust TRUST --mesh-key FILE'.", "this authority has no trust bundle yet")
	}
	return nil
}

// meshKey returns the key that is sealed to each clinician.
func (o *openAuthority) meshKey() (key [32]byte, err error) {
	if err := o.inMesh(); err != nil {
		return key, err
	}
	raw, ok, err := o.vault.Get(vaultMeshKey)
	if err != nil {
		return key, err
	}
	if !ok || len(raw) != len(key) {
		return key, fail(exitInput, "Import it with 'tocsin authority trust TRUST --mesh-key FILE'.", "this authority has no mesh key yet")
	}
	defer clear(raw)
	return [32]byte(raw), nil
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
	Key         string    `json:"key,omitempty"`        // identity.TicketKey of the signing key, hex: statements name the device by it
	Credential  []byte    `json:"credential,omitempty"` // in wire form
	Relay       bool      `json:"relay,omitempty"`
	Provisional bool      `json:"provisional,omitempty"`
	Registrar   bool      `json:"registrar,omitempty"` // it certifies a registrar: Key is identity.IssuerKeyHash
	NotAfter    time.Time `json:"not_after"`
}

// issuedLines reads the register.
func (d authorityDir) issuedLines() ([]issued, error) {
	text, err := os.ReadFile(d.file(issuedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fail(exitInput, "Put the file back from a copy.", "the register cannot be read: %w", err)
	}
	var out []issued
	for line := range bytes.Lines(text) {
		var l issued
		if err := json.Unmarshal(line, &l); err != nil {
			return nil, fail(exitInput, "Put the file back from a copy.", "line %d of %s is damaged", len(out)+1, d.file(issuedFile))
		}
		out = append(out, l)
	}
	return out, nil
}

// register adds lines and waits until they are on the disk: what was certified
// must be known when it has to be revoked. The file is replaced as a whole, so
// that a crash leaves no half line.
func (d authorityDir) register(lines ...issued) error {
	text, err := os.ReadFile(d.file(issuedFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail(exitFailed, "Nothing was issued.", "the register cannot be read: %w", err)
	}
	for _, line := range lines {
		b, err := json.Marshal(line)
		if err != nil {
			return err
		}
		text = append(append(text, b...), '\n')
	}
	return writeFile(d.file(issuedFile), text, 0o600)
}

// authorityPath is where an authority is kept when --dir does not say.
func (a *app) authorityPath(flag string) (string, error) {
	if flag != "" {
		return filepath.Abs(flag)
	}
	return a.env.dataDir("tocsin-authority")
}
