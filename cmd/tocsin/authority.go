package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
)

const day = 24 * time.Hour

const authorityLong = `Run your organisation's authority, which admits staff to the mesh.

Once for each organisation:       tocsin authority init --org HOST --name NAME
Once for all of them together:    tocsin authority bundle --name MESH AUTHORITY.pem...
Then at each organisation:        tocsin authority trust trust.pem --mesh-key mesh.key
For every device:                 tocsin authority issue REQUEST.pem

A device was lost or stolen:      tocsin authority wipe NAME
Somebody left:                    tocsin authority revoke NAME
The list keeps its age in sight:  tocsin authority crl        (every day)

These three write a statement. Hand it to any device of the mesh with
'tocsin statement FILE': it spreads from there by itself.

Keep the authority on a machine that is not a node, and switch it off when
nobody is being enrolled.`

func (a *app) authorityCommand() *cobra.Command {
	var dir string
	cmd := family("authority", "Run your organisation's authority, which admits staff and revokes",
		"  tocsin authority init --org stmarys.nhs.example --name \"St Mary's\"\n  tocsin authority issue request.pem\n  tocsin authority wipe \"Amina Khan\"",
		a.authorityInit(&dir), a.authorityBundle(&dir), a.authorityTrust(&dir), a.authorityIssue(&dir), a.authorityRegistrar(&dir),
		a.authorityList(&dir), a.authorityRevoke(&dir), a.authorityWipe(&dir), a.authorityCRL(&dir), a.authorityDeclare(&dir),
		a.authorityStandDown(&dir), a.authorityAdmin(&dir), a.authorityMeshKey(&dir), a.authorityTake(&dir))
	cmd.Long = authorityLong
	flags := cmd.PersistentFlags()
	flags.StringVar(&dir, "dir", "", "`directory` of the authority or registrar (default: tocsin-authority beside the data directory)")
	flags.StringVar(&dir, "registrar", "", "the same, for the `directory` of a registrar")
	return cmd
}

func (a *app) authorityInit(dir *string) *cobra.Command {
	var org, name string
	var years int
	var own bool
	cmd := &cobra.Command{
		Use:     "init",
		Short:   "Make an authority: its root key, sealed under a passphrase, and its certificate",
		Example: `  tocsin authority init --org stmarys.nhs.example --name "St Mary's"`,
		Args:    args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if org == "" || name == "" {
				return usage("See 'tocsin authority init --help' for an example.", "'tocsin authority init' needs --org and --name")
			}
			if years < 1 || years > 30 {
				return usage("Choose 1 to 30 years.", "a root certificate of %d years is not made", years)
			}
			return a.makeAuthority(cmd.Context(), *dir, org, name, time.Duration(years)*365*day, own)
		},
	}
	cmd.Flags().StringVar(&org, "org", "", "host name of the organisation, such as stmarys.nhs.example")
	cmd.Flags().StringVar(&name, "name", "", "name of the organisation")
	cmd.Flags().IntVar(&years, "years", 10, "how long the root certificate is valid")
	cmd.Flags().BoolVar(&own, "own-passphrase", false, "ask for a passphrase of your own")
	return cmd
}

func (a *app) makeAuthority(ctx context.Context, flag, org, name string, validity time.Duration, own bool) error {
	c, err := a.load()
	if err != nil {
		return err
	}
	dir, err := a.authorityPath(flag)
	if err != nil {
		return err
	}
	secret, generated, err := a.choosePassphrase(ctx, c, own)
	if err != nil {
		return err
	}
	authority, err := identity.NewAuthority(org, name, a.now(), validity, rand.Reader)
	if err != nil {
		return fail(exitInput, "Correct it and run the command again; nothing was written.", "the authority cannot be made: %w", err)
	}
	if err := makeDirectory(dir, func(tmp string) error { return fillAuthority(tmp, authority, secret) }); err != nil {
		return err
	}
	path := dataDir(dir).file(authorityFile)
	print := fingerprint(authority.Certificate().Raw)
	return a.emit(map[string]string{"dir": dir, "certificate": path, "fingerprint": print}, func() {
		a.say("The authority of %s is set up in %s.", org, dir)
		if generated {
			a.say("\nIts passphrase, shown this once. Write it down and lock it away from this machine:\n\n    %s\n",
				a.style().bold(string(secret)))
		}
		a.say("Its certificate, which is public: %s", path)
		a.say("Fingerprint, to compare by voice: %s", a.style().bold(print))
		a.say("\nWith one certificate of each organisation: tocsin authority bundle --name MESH AUTHORITY.pem...")
	})
}

func fillAuthority(dir string, authority *identity.Authority, secret []byte) error {
	cert, key, err := authority.MarshalPEM()
	if err != nil {
		return err
	}
	defer clear(key)
	return errors.Join(
		makeVault(filepath.Join(dir, vaultDir), secret, vault.Change{Key: vaultAuthorityKey, Value: key}),
		writeFile(filepath.Join(dir, authorityFile), cert, 0o644),
	)
}

func (a *app) authorityBundle(dir *string) *cobra.Command {
	var name, out, keyOut string
	cmd := &cobra.Command{
		Use:   "bundle AUTHORITY.pem...",
		Short: "Found a mesh: the trust bundle of all its authorities, and its mesh key",
		Long: `Found a mesh from the certificates of its authorities. This is done once, by one
person; compare the fingerprints that are printed with every authority by voice.

It writes two files. The trust bundle is public: whoever holds it knows whom to
trust. The mesh key is secret: it seals broadcasts to everybody admitted, and
every authority needs the same one to hand it to its staff. Carry it to each of
them yourself, on a stick and not by mail, import both with 'tocsin authority
trust', and then destroy the file. Somebody who copied it could read broadcasts,
but not messages of groups, and could not join.`,
		Example: `  tocsin authority bundle --name "North West" stmarys.pem northgate.pem
  tocsin authority bundle add-root eastside.pem --out next.pem
  tocsin authority bundle sign next.pem --out next.pem`,
		Args: args(1, -1),
		RunE: func(_ *cobra.Command, files []string) error {
			if name == "" {
				return usage("Give the mesh a name that people know, such as \"North West\".", "'tocsin authority bundle' needs --name")
			}
			return a.foundMesh(name, files, out, keyOut)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the mesh")
	cmd.Flags().StringVar(&out, "out", "trust.pem", "write the trust bundle to this `file`")
	cmd.Flags().StringVar(&keyOut, "mesh-key-out", "mesh.key", "write the mesh key to this `file`, readable by you only")
	cmd.AddCommand(a.bundleAddRoot(dir), a.bundleSign(dir))
	return cmd
}

// root is one authority as bundle and trust print it.
type root struct {
	Org         string `json:"org"`
	Name        string `json:"name"`
	Fingerprint string `json:"fingerprint"`
}

func (a *app) foundMesh(name string, files []string, out, keyOut string) error {
	var certs []*x509.Certificate
	for _, file := range files {
		text, err := a.readInput(file, "certificate", identity.MaxPEM)
		if err != nil {
			return err
		}
		cert, err := identity.ParseCertificatePEM(text)
		if err != nil {
			return fail(exitInput, "Give the authority.pem that 'tocsin authority init' wrote.", "%s is no certificate: %w", file, err)
		}
		certs = append(certs, cert)
	}
	bundle, err := identity.NewBundle(name, a.now(), certs...)
	if err != nil {
		return fail(exitInput, "Give one certificate of each organisation.", "these certificates make no trust bundle: %w", err)
	}
	key, err := identity.NewMeshKey(rand.Reader)
	if err != nil {
		return err
	}
	for _, path := range []string{out, keyOut} {
		if _, err := os.Lstat(path); err == nil {
			return fail(exitInput, "Move it away, or choose other names with --out and --mesh-key-out.", "%s exists already", path)
		}
	}
	if err := errors.Join(
		writeFile(keyOut, encodeMeshKey(bundle.MeshID(), key), 0o600),
		writeFile(out, bundle.MarshalPEM(), 0o644),
	); err != nil {
		return err
	}
	roots := rootsOf(bundle)
	return a.emit(map[string]any{"name": name, "mesh_id": bundle.MeshID().String(), "trust": out, "mesh_key": keyOut, "roots": roots}, func() {
		a.say("The mesh %q is founded (%s).\n", printable(name), short(bundle.MeshID().String()))
		a.printRoots(roots)
		a.say("\nCompare the fingerprints with each authority by voice. Then, at each of them:\n")
		a.say("    tocsin authority trust %s --mesh-key %s\n", out, keyOut)
		a.say("The mesh key is secret. Carry it yourself, and destroy the file when all have it.")
	})
}

func rootsOf(b *identity.Bundle) []root {
	var roots []root
	for _, r := range b.Roots() {
		roots = append(roots, root{r.Org, r.Certificate.Subject.CommonName, fingerprint(r.Certificate.Raw)})
	}
	return roots
}

func (a *app) printRoots(roots []root) {
	var rows [][]string
	for _, r := range roots {
		rows = append(rows, []string{r.Org, printable(r.Name), r.Fingerprint})
	}
	a.table([]string{"ORGANISATION", "NAME", "FINGERPRINT"}, rows)
}

func (a *app) authorityTrust(dir *string) *cobra.Command {
	var keyFile string
	var statements []string
	var yes bool
	cmd := &cobra.Command{
		Use:   "trust TRUST.pem",
		Short: "Take this authority into a mesh: import its trust bundle and mesh key",
		Long: `Take this authority into a mesh: import its trust bundle and mesh key. An authority
that joins a mesh which stands already needs the statement that added it as well.`,
		Example: "  tocsin authority trust trust.pem --mesh-key mesh.key\n  tocsin authority trust trust.pem --mesh-key mesh.key --statement next.pem",
		Args:    args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if keyFile == "" {
				return usage("It is the file that 'tocsin authority bundle' wrote beside the trust bundle.", "'tocsin authority trust' needs --mesh-key")
			}
			return a.importTrust(cmd.Context(), *dir, args[0], keyFile, statements, yes)
		},
	}
	cmd.Flags().StringArrayVar(&statements, "statement", nil, "`file` with statements of the mesh, such as a later trust bundle (may be repeated)")
	cmd.Flags().StringVar(&keyFile, "mesh-key", "", "`file` with the mesh key")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask for confirmation")
	return cmd
}

func (a *app) importTrust(ctx context.Context, flag, path, keyFile string, statements []string, yes bool) (err error) {
	dir, err := a.authorityPath(flag)
	if err != nil {
		return err
	}
	bundle, key, err := a.readTrust(path, keyFile)
	if err != nil {
		return err
	}
	defer clear(key[:])
	raws, err := a.readStatements(statements)
	if err != nil {
		return err
	}
	o, err := a.openAuthority(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	if err := o.join(bundle, raws, a.now()); err != nil {
		return err
	}
	roots := rootsOf(o.trust.Bundle())
	if !yes {
		a.note("The mesh %q (%s) trusts:", printable(bundle.Name()), short(bundle.MeshID().String()))
		for _, r := range roots {
			a.note("  %s  %s  %s", r.Org, printable(r.Name), r.Fingerprint)
		}
		if err := a.confirm("Have you compared these fingerprints with each of them?"); err != nil {
			return err
		}
	}
	if err := o.vault.Commit(vault.Change{Key: vaultMeshKey, Value: key[:]}); err != nil {
		return err
	}
	if err := errors.Join(o.saveTrust(), writeFile(o.file(trustFile), bundle.MarshalPEM(), 0o644)); err != nil {
		return err
	}
	return a.emit(map[string]any{"name": bundle.Name(), "mesh_id": bundle.MeshID().String(), "roots": roots}, func() {
		a.say("This authority now admits devices to the mesh %q.", printable(bundle.Name()))
		a.say("The mesh key is in its vault: destroy %s when every authority has it.", keyFile)
	})
}

func (a *app) readTrust(path, keyFile string) (*identity.Bundle, [32]byte, error) {
	var key [32]byte
	text, err := a.readInput(path, "trust bundle", identity.MaxPEM)
	if err != nil {
		return nil, key, err
	}
	bundle, err := identity.ParseBundlePEM(text)
	if err != nil {
		return nil, key, fail(exitInput, "Give the trust.pem that 'tocsin authority bundle' wrote.", "this is no trust bundle: %w", err)
	}
	if text, err = a.readInput(keyFile, "mesh key", 4096); err != nil {
		return nil, key, err
	}
	mesh, key, err := decodeMeshKey(text)
	if err != nil {
		return nil, key, err
	}
	if mesh != bundle.MeshID() {
		return nil, key, fail(exitInput, "Take both files from the same run of 'tocsin authority bundle'.", "the mesh key is that of another mesh")
	}
	return bundle, key, nil
}

// join takes a mesh in, and refuses a bundle that does not know this authority,
// and a second mesh. Nothing is written.
func (o *openAuthority) join(bundle *identity.Bundle, statements [][]byte, now time.Time) error {
	if o.trust != nil && o.trust.MeshID() != bundle.MeshID() {
		return fail(exitInput, "Make another authority for another mesh, in a directory of its own.",
			"this authority belongs to the mesh %q already", o.trust.Genesis().Name())
	}
	if o.trust == nil {
		var err error
		if o.trust, err = identity.NewTrustStore(bundle); err != nil {
			return err
		}
	}
	for _, raw := range statements {
		if _, err := o.trust.Take(raw, now); err != nil && !errors.Is(err, identity.ErrRolledBack) {
			return statementError(err)
		}
	}
	for _, r := range o.trust.Bundle().Roots() {
		if r.Certificate.Equal(o.rootCertificate()) {
			return nil
		}
	}
	return fail(exitInput, fmt.Sprintf("Found the mesh again with %s among the certificates, or have it added with 'tocsin authority bundle add-root'.", o.file(authorityFile)),
		"this authority is not in the trust bundle")
}

// rootCertificate is that of the authority, also at a registrar.
func (o *openAuthority) rootCertificate() *x509.Certificate {
	if r, ok := o.Issuer.(*identity.Registrar); ok {
		return r.Authority()
	}
	return o.Certificate()
}

// A mesh key file holds the id of its mesh and the key, so that it cannot be
// imported with another bundle.
const pemMeshKey = "TOCSIN MESH KEY"

func encodeMeshKey(mesh identity.MeshID, key [32]byte) []byte {
	return encodePEM(pemMeshKey, append(mesh[:], key[:]...))
}

func decodeMeshKey(text []byte) (mesh identity.MeshID, key [32]byte, err error) {
	b, ok := onePEM(pemMeshKey, text)
	if !ok || len(b) != len(mesh)+len(key) {
		return mesh, key, fail(exitInput, "Give the file that 'tocsin authority bundle' wrote beside the trust bundle.", "this is no mesh key")
	}
	copy(mesh[:], b)
	copy(key[:], b[len(mesh):])
	return mesh, key, nil
}
