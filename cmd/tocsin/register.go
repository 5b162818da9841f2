package main

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tocsin/crypto/identity"
)

// The register of an authority: what it certified, what became of it, and who is
// meant by a name.

func (a *app) authorityList(dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List what was certified here, and what became of it", Example: "  tocsin authority list", Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAuthority(cmd.Context(), *dir, func(o *openAuthority) error { return a.listIssued(o) })
		},
	}
}

// withAuthority opens an authority that belongs to a mesh, for one command.
func (a *app) withAuthority(ctx context.Context, flag string, do func(*openAuthority) error) (err error) {
	dir, err := a.authorityPath(flag)
	if err != nil {
		return err
	}
	o, err := a.openAuthority(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	if err := o.inMesh(); err != nil {
		return err
	}
	return do(o)
}

// listed is one line of the register with what became of it.
type listed struct {
	issued
	State string `json:"state"` // valid, expired, revoked or wiped
}

func (a *app) listIssued(o *openAuthority) error {
	lines, err := o.issuedLines()
	if err != nil {
		return err
	}
	out := make([]listed, 0, len(lines))
	var rows [][]string
	for _, l := range lines {
		state := o.stateOf(l, a.now())
		l.Credential = nil // a kilobyte each that nobody reads here
		out = append(out, listed{l, state})
		kind := "device"
		switch {
		case l.Registrar:
			kind = "registrar"
		case l.Relay:
			kind = "relay"
		}
		rows = append(rows, []string{printable(l.Name), l.Person, kind, short(l.Device), when(l.NotAfter), state})
	}
	return a.emit(out, func() {
		if len(rows) == 0 {
			a.say("Nothing was certified here yet.")
			return
		}
		a.table([]string{"NAME", "PERSON", "KIND", "DEVICE", "UNTIL", "STATE"}, rows)
	})
}

func (o *openAuthority) stateOf(l issued, now time.Time) string {
	if l.Registrar {
		key, err := hex.DecodeString(l.Key)
		if err == nil && slices.ContainsFunc(o.revokedRegistrars(), func(k [32]byte) bool { return string(k[:]) == string(key) }) {
			return "revoked"
		}
	} else if c, err := o.trust.ReadCredential(l.Credential); err == nil {
		return o.trust.Standing(c, now).State.String()
	}
	if now.After(l.NotAfter) {
		return "expired"
	}
	return "valid"
}

func (o *openAuthority) revokedRegistrars() [][32]byte { return o.trust.NextCRL(o.Issuer).Registrars }

// target is one device, or one registrar, that a statement is about.
type target struct {
	line issued
	key  [32]byte
}

// find resolves WHO to the lines of one person, the newest of each device. Two
// people of one name are an error: the wrong one must not be cut off.
func (d authorityDir) find(who string) ([]target, error) {
	if t, ok := byLog(who); ok {
		return []target{t}, nil
	}
	lines, err := d.issuedLines()
	if err != nil {
		return nil, err
	}
	found := map[string]target{} // by key
	persons := map[string]bool{}
	var names []string
	for _, l := range lines {
		names = append(names, l.Name)
		if !l.is(who) {
			continue
		}
		key, err := hex.DecodeString(l.Key)
		if err != nil || len(key) != 32 {
			return nil, fail(exitInput, "Name the device by the log that 'tocsin people --json' shows.",
				"the register does not know the key of %s: an older version certified it", printable(l.Name))
		}
		found[l.Key] = target{l, [32]byte(key)}
		persons[l.Person+l.Name] = true
	}
	var out []target
	for _, key := range sortedKeys(found) {
		out = append(out, found[key])
	}
	switch {
	case len(out) == 0:
		next := "'tocsin authority list' shows what was certified here."
		if near := nearest(who, names); near != "" {
			next = "Did you mean '" + near + "'? " + next
		}
		return nil, fail(exitNotFound, next, "nothing was certified here for %q", who)
	case len(persons) > 1:
		var list []string
		for _, t := range out {
			list = append(list, t.line.Person)
		}
		slices.Sort(list)
		return nil, fail(exitInput, "Name one of them: "+strings.Join(slices.Compact(list), " or ")+".", "%d people are called %q", len(persons), who)
	}
	return out, nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(keysOf(m)) }

// is reports whether a line is what somebody calls so.
func (l issued) is(who string) bool {
	plain := strings.ReplaceAll(who, " ", "")
	return strings.EqualFold(l.Name, who) || l.Person != "" && l.Person == who || l.PeerID != "" && l.PeerID == who ||
		len(who) >= minPrefix && l.Device != "" && strings.HasPrefix(l.Device, strings.ToLower(who)) ||
		l.Fingerprint != "" && strings.EqualFold(strings.ReplaceAll(l.Fingerprint, " ", ""), plain)
}

// byLog takes a log, or the author of one.
func byLog(who string) (target, bool) {
	if !strings.Contains(who, "/") {
		who += "/0"
	}
	id, err := identity.ParseLogID(who)
	if err != nil {
		return target{}, false
	}
	return target{issued{Name: "a device of another register", Device: identity.DeviceID(id.Author)}, identity.TicketKey(id.Author)}, true
}
