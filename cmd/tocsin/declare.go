package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
)

func (a *app) authorityDeclare(dir *string) *cobra.Command {
	var days int
	var out string
	var codes showFlags
	cmd := &cobra.Command{
		Use:   "declare INCIDENT",
		Short: "Declare an incident: credentials that run out meanwhile count a little longer",
		Long: `Declare an incident. While it lasts, credentials of this organisation that have run
out count for 14 days more, shown in amber, because nobody may be there to renew
them. It ends by itself; declare it again to go on, and stand down when it is over.`,
		Example: "  tocsin authority declare \"Flood, lower town\" --days 14",
		Args:    args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if days < 1 {
				return usage("", "an incident is declared for at least a day")
			}
			return a.withAuthority(cmd.Context(), *dir, func(o *openAuthority) error {
				return a.declare(cmd.Context(), o, args[0], time.Duration(days)*day, out, codes)
			})
		},
	}
	cmd.Flags().IntVar(&days, "days", 7, "how long it stands unless it is renewed: 30 at most, 7 by a registrar")
	cmd.Flags().StringVar(&out, "out", "declared.pem", "write the statement to this `file`")
	codes.add(cmd.Flags())
	return cmd
}

func (a *app) authorityStandDown(dir *string) *cobra.Command {
	var out string
	var codes showFlags
	cmd := &cobra.Command{
		Use:     "stand-down INCIDENT",
		Short:   "End a declared incident",
		Example: "  tocsin authority stand-down \"Flood, lower town\"",
		Args:    args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAuthority(cmd.Context(), *dir, func(o *openAuthority) error {
				return a.declare(cmd.Context(), o, args[0], 0, out, codes)
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "stand-down.pem", "write the statement to this `file`")
	codes.add(cmd.Flags())
	return cmd
}

// declare signs that an incident begins or, for no time at all, that it ends. The
// number of a declaration is its second since 1970, which rises by itself.
func (a *app) declare(ctx context.Context, o *openAuthority, name string, lasts time.Duration, out string, codes showFlags) error {
	now := a.now().Truncate(time.Second)
	d := identity.Declaration{Number: uint64(now.Unix()), Time: now, Declared: lasts > 0, Name: name}
	if d.Declared {
		d.Until = now.Add(lasts)
	}
	raw, err := o.Declare(o.trust.MeshID(), d)
	if err != nil {
		return fail(exitInput, "", "it cannot be declared: %w", err)
	}
	return a.handOut(ctx, o, out, codes, "declaration", nil, raw)
}

func (a *app) authorityAdmin(dir *string) *cobra.Command {
	var out string
	var codes showFlags
	cmd := &cobra.Command{
		Use:   "admin GROUP LOG",
		Short: "Name an admin of a group that has none left",
		Long: `Name an admin of a group that has none left, because all of them were removed or
revoked. GROUP is the id that 'tocsin groups list --json' shows, LOG the log of one of
your own organisation's devices that 'tocsin people --json' shows.`,
		Example: "  tocsin authority admin 5f0c… 9a3b…/0",
		Args:    args(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			group, err := hex.DecodeString(args[0])
			if err != nil || len(group) != 32 {
				return usage("It is 64 hexadecimal digits, as 'tocsin groups list --json' shows.", "%q is no id of a group", args[0])
			}
			log, err := identity.ParseLogID(args[1])
			if err != nil {
				return usage("'tocsin people --json' shows it.", "%w", err)
			}
			return a.withAuthority(cmd.Context(), *dir, func(o *openAuthority) error {
				if o.root == nil {
					return fail(exitInput, "Ask the authority.", "a registrar names no admins")
				}
				raw, err := o.root.NameAdmin(o.trust.MeshID(), [32]byte(group), log, a.now(), rand.Reader)
				if err != nil {
					return fail(exitInput, "", "it cannot be signed: %w", err)
				}
				return a.handOut(cmd.Context(), o, out, codes, "admin", nil, raw)
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "admin.pem", "write the statement to this `file`")
	codes.add(cmd.Flags())
	return cmd
}

type registrarFlags struct {
	name   string
	roles  []string
	days   int
	out    string
	secret string
}

func (a *app) authorityRegistrar(dir *string) *cobra.Command {
	var f registrarFlags
	cmd := &cobra.Command{
		Use:   "registrar",
		Short: "Make a registrar, who admits staff for a month at most while the authority is out of reach",
		Long: `Make a registrar: a directory with a key and a passphrase of its own, for a desk that
admits staff while the authority is out of reach. It lasts 30 days at most, grants the
named roles only, and what it issues lasts a week and shows a badge.

Carry the directory to the desk, and keep the passphrase apart from it. There:

    tocsin authority issue --registrar DIR REQUEST.pem

The passphrase is six words, shown once, or the first line of --registrar-passphrase.`,
		Example: "  tocsin authority registrar --name \"Major incident desk\" --role nurse --role paramedic --days 14 --out desk",
		Args:    args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.name == "" || len(f.roles) == 0 || f.out == "" {
				return usage("See 'tocsin authority registrar --help' for an example.", "'tocsin authority registrar' needs --name, --role and --out")
			}
			if most := int((identity.MaxRegistrarValidity - identity.Backdate) / day); f.days < 1 || f.days > most {
				return usage("", "a registrar lasts for 1 to %d days", most)
			}
			return a.withAuthority(cmd.Context(), *dir, func(o *openAuthority) error { return a.makeRegistrar(cmd.Context(), o, f) })
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.name, "name", "", "what it is called, such as \"Major incident desk\"")
	fl.StringSliceVar(&f.roles, "role", nil, "a role that it may grant (may be repeated)")
	fl.IntVar(&f.days, "days", 14, "how long it lasts, 29 at most")
	fl.StringVar(&f.out, "out", "", "make this `directory`")
	fl.StringVar(&f.secret, "registrar-passphrase", "", "read the registrar's passphrase from the first line of this `file`")
	return cmd
}

func (a *app) makeRegistrar(ctx context.Context, o *openAuthority, f registrarFlags) error {
	if o.root == nil {
		return fail(exitInput, "Ask the authority.", "a registrar makes no registrars")
	}
	key, err := o.meshKey()
	if err != nil {
		return err
	}
	defer clear(key[:])
	secret, generated, err := a.newSecretFor(f.secret)
	if err != nil {
		return err
	}
	defer clear(secret)
	now := a.now()
	r, err := o.root.NewRegistrar(identity.RegistrarGrant{Name: f.name, Roles: f.roles, Now: now, Validity: time.Duration(f.days) * day})
	if err != nil {
		return fail(exitInput, "Correct it and run the command again; nothing was written.", "the registrar cannot be made: %w", err)
	}
	path, err := filepath.Abs(f.out)
	if err != nil {
		return err
	}
	line := issued{Time: now, Fingerprint: fingerprint(r.Certificate().Raw), Name: r.Name(), Roles: r.Roles(),
		Key: hexOf(r.KeyHash()), Registrar: true, NotAfter: r.Certificate().NotAfter}
	if err := makeDirectory(path, func(tmp string) error {
		if err := o.fillRegistrar(tmp, r, secret, key); err != nil {
			return err
		}
		return o.register(line) // before the directory is there: what exists can be revoked
	}); err != nil {
		return err
	}
	return a.emit(map[string]any{"dir": path, "name": line.Name, "roles": line.Roles, "not_after": line.NotAfter}, func() {
		a.say("The registrar %q is set up in %s, until %s.", printable(line.Name), path, when(line.NotAfter))
		if generated {
			a.say("\nIts passphrase, shown this once. Keep it apart from the directory:\n\n    %s\n", a.style().bold(string(secret)))
		}
		a.say("At its desk: tocsin authority issue --registrar %s REQUEST.pem", f.out)
	})
}

func (o *openAuthority) fillRegistrar(dir string, r *identity.Registrar, secret []byte, meshKey [32]byte) error {
	chain, key, err := r.MarshalPEM()
	if err != nil {
		return err
	}
	defer clear(key)
	if err := makeVault(filepath.Join(dir, vaultDir), secret,
		vault.Change{Key: vaultAuthorityKey, Value: key}, vault.Change{Key: vaultMeshKey, Value: meshKey[:]}); err != nil {
		return err
	}
	return errors.Join(
		writeFile(filepath.Join(dir, registrarFile), chain, 0o644),
		writeFile(filepath.Join(dir, trustFile), o.trust.Genesis().MarshalPEM(), 0o644),
		writeFile(filepath.Join(dir, snapshotFile), o.trust.Snapshot(), 0o600),
	)
}

func (a *app) authorityMeshKey(dir *string) *cobra.Command {
	var out, keyOut, from string
	cmd := &cobra.Command{
		Use:   "mesh-key",
		Short: "Change the mesh key, which seals broadcasts, for this organisation's staff",
		Long: `Change the mesh key, which seals broadcasts to everybody admitted: after a device was
lost, so that whoever has it reads no later broadcast. A new key belongs to a trust
bundle of its own number: have one signed first ('tocsin authority bundle add-root' without
a certificate makes one with the same authorities).

At one authority it draws the key, and writes the statements for its own staff and a key
file. Carry the key file to the other authorities as when the mesh was founded; there
--from seals the same key to theirs. Then destroy the file.`,
		Example: "  tocsin authority mesh-key --out mesh-key.pem --key-out mesh.key\n  tocsin authority mesh-key --from mesh.key --out mesh-key.pem",
		Args:    args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAuthority(cmd.Context(), *dir, func(o *openAuthority) error {
				return a.changeMeshKey(cmd.Context(), o, out, keyOut, from)
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "mesh-key.pem", "write the statements to this `file`")
	cmd.Flags().StringVar(&keyOut, "key-out", "mesh.key", "write the new key to this `file`, readable by you only")
	cmd.Flags().StringVar(&from, "from", "", "take the key from this `file` instead of drawing one")
	return cmd
}

func (a *app) changeMeshKey(ctx context.Context, o *openAuthority, out, keyOut, from string) error {
	if o.root == nil {
		return fail(exitInput, "Ask the authority.", "a registrar does not change the mesh key")
	}
	number := o.trust.Bundle().Number()
	if number == 0 {
		return fail(exitInput, "Have one signed first: 'tocsin authority bundle add-root --help'.", "a new mesh key belongs to a later trust bundle, and the mesh still has its first")
	}
	key, err := o.nextMeshKey(a, keyOut, from)
	if err != nil {
		return err
	}
	defer clear(key[:])
	staff, err := o.staff(a.now())
	if err != nil {
		return err
	}
	if len(staff) == 0 {
		return fail(exitInput, "Certify somebody first.", "nobody's credential is valid now, so the key would be sealed to nobody")
	}
	raws, err := o.root.SealMeshKey(o.trust.MeshID(), number, key, staff, a.now(), rand.Reader)
	if err != nil {
		return fail(exitInput, "", "the key cannot be sealed: %w", err)
	}
	// The key goes into the vault and the file first: statements whose key nobody
	// has would be of no use to anybody admitted later.
	if err := o.vault.Commit(vault.Change{Key: vaultMeshKey, Value: key[:]}); err != nil {
		return err
	}
	if from == "" {
		if err := writeFile(keyOut, encodeMeshKey(o.trust.MeshID(), key), 0o600); err != nil {
			return err
		}
		a.note("The new key is in %s. It is secret: carry it to the other authorities yourself, then destroy it.", keyOut)
	}
	a.note("Sealed to %s.", plural(len(staff), "device"))
	return a.handOut(ctx, o, out, showFlags{}, "mesh-key", nil, raws...)
}

// nextMeshKey draws a key, or reads the one that another authority drew.
func (o *openAuthority) nextMeshKey(a *app, keyOut, from string) (key [32]byte, err error) {
	if from == "" {
		if _, err := os.Lstat(keyOut); err == nil {
			return key, fail(exitInput, "Move it away, or choose another name with --key-out.", "%s exists already", keyOut)
		}
		return identity.NewMeshKey(rand.Reader)
	}
	text, err := a.readInput(from, "mesh key", 4096)
	if err != nil {
		return key, err
	}
	mesh, key, err := decodeMeshKey(text)
	if err == nil && mesh != o.trust.MeshID() {
		err = fail(exitInput, "Take the file that the other authority of this mesh wrote.", "the mesh key is that of another mesh")
	}
	return key, err
}

// staff are the credentials of this register that are good now and may have the
// mesh key: relays may not.
func (o *openAuthority) staff(now time.Time) ([]*identity.Credential, error) {
	lines, err := o.issuedLines()
	if err != nil {
		return nil, err
	}
	newest := map[[32]byte]*identity.Credential{}
	for _, l := range lines {
		if len(l.Credential) == 0 || l.Relay {
			continue
		}
		c, err := o.trust.VerifyCredential(l.Credential, now)
		if err != nil {
			continue // run out or revoked: the register is not only of the living
		}
		newest[c.KeyHash()] = c
	}
	out := make([]*identity.Credential, 0, len(newest))
	for _, c := range newest {
		out = append(out, c)
	}
	return out, nil
}

// signedBy says how far a later bundle is from being in force.
func signedBy(b *identity.Bundle, before *identity.Bundle) string {
	return fmt.Sprintf("%d of %d signatures", b.Signatures(), b.Needed(before))
}
