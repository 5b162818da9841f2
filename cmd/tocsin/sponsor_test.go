package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"tocsin/crypto/identity"
	"tocsin/node/api"
)

// TestSponsors admits, without an authority, a person's own second device and a
// colleague in an emergency, over real nodes; and takes the latter's admission
// back.
func TestSponsors(t *testing.T) {
	t.Parallel()
	cast := theCast()[:3]
	cast[0].role += "," + identity.RoleSenior
	d, _ := enrolledCast(t, cast)
	amina, ben, chidi := d.cast[0], d.cast[1], d.cast[2]
	ctx := t.Context()
	for _, c := range d.cast {
		d.start(t, c)
	}
	must(t, d.reachEachOther(ctx, d.cast))
	must(t, d.until(ctx, func(ctx context.Context) (string, error) { return d.strangersAmong(ctx, d.cast) }))
	var g api.Group
	must(t, d.run(ctx, amina.secret, &g, "groups", "create", "--data", amina.dir, "Ward 7", ben.name, chidi.name))

	second := &clinician{hospital: amina.hospital, name: amina.name, regulator: amina.regulator, number: amina.number, role: "consultant"}
	d.newcomer(t, second, "second")
	d.requests(t, second, "--kind", "own-device", "--hours", "24")
	d.vouches(t, amina, second, exitOK)
	d.joins(t, second, exitOK, amina)

	ines := &clinician{hospital: theHospitals()[1], name: "Ines Duarte", regulator: "gmc", number: "7333444", role: "paramedic"}
	d.newcomer(t, ines, "ines")
	d.requests(t, ines, "--kind", "break-glass", "--hours", "12", "--group", g.ID)
	for _, c := range d.cast {
		d.vouches(t, c, ines, exitOK)
	}
	d.vouches(t, ben, second, exitInput) // not his own device
	d.joins(t, ines, exitVerify, amina, ben)
	d.joins(t, ines, exitOK, amina, ben, chidi)

	for _, c := range []*clinician{second, ines} {
		d.start(t, c)
		d.cast = append(d.cast, c)
	}
	must(t, d.until(ctx, func(ctx context.Context) (string, error) { return d.strangersAmong(ctx, d.cast[:3]) }))
	must(t, d.until(ctx, func(ctx context.Context) (string, error) {
		_, text := d.outcome(ctx, ben, "people")
		for _, want := range []string{"sponsored by Amina Khan", "break-glass by "} {
			if !strings.Contains(text, want) {
				return fmt.Sprintf("Ben does not see %q:\n%s", want, text), nil
			}
		}
		return "", nil
	}))
	must(t, d.until(ctx, func(ctx context.Context) (string, error) {
		code, text := d.outcome(ctx, amina, "groups", "add", "Ward 7", ines.name)
		return map[bool]string{false: text}[code == exitOK], nil
	}))
	d.hears(t, ines, d.say7(t, amina, "Welcome; theatre two is yours"))

	// Any one sponsor takes it back, once he has heard of her, and nobody lets her in any more.
	must(t, d.until(ctx, func(ctx context.Context) (string, error) {
		code, text := d.outcome(ctx, chidi, "sponsor", "revoke", ines.name)
		return map[bool]string{false: text}[code == exitOK], nil
	}))
	must(t, d.until(ctx, func(ctx context.Context) (string, error) {
		st, err := ines.node.client.Status(ctx)
		if err != nil || st.Peers == 0 {
			return "", err
		}
		return fmt.Sprintf("Ines reaches %d devices", st.Peers), nil
	}))
	if code, text := d.outcome(ctx, amina, "people"); code != exitOK || !strings.Contains(text, "revoked") {
		t.Errorf("exit code %d: %s", code, text)
	}
}

// newcomer sets a device up that no authority has certified.
func (d *demo) newcomer(t *testing.T, c *clinician, handle string) {
	t.Helper()
	c.dir = filepath.Join(d.dir, handle)
	var err error
	c.secret, err = d.newSecret(handle)
	must(t, err)
	must(t, d.run(t.Context(), c.secret, nil, "init", "--data", c.dir, "--org", c.org, "--regulator", c.regulator,
		"--number", c.number, "--name", c.name, "--role", c.role))
}

func (d *demo) requests(t *testing.T, c *clinician, args ...string) {
	t.Helper()
	must(t, d.run(t.Context(), c.secret, nil, append([]string{"sponsor", "request", "--data", c.dir, "--out", c.dir + ".sponsor.pem"}, args...)...))
}

func sponsorship(by, c *clinician) string { return c.dir + ".by-" + by.first() + ".pem" }

func (d *demo) vouches(t *testing.T, by, c *clinician, want int) {
	t.Helper()
	code, text := d.outcome(t.Context(), by, "sponsor", "vouch", c.dir+".sponsor.pem", "--yes", "--out", sponsorship(by, c))
	if code != want {
		t.Fatalf("%s vouches for %s: exit code %d, not %d: %s", by.name, c.name, code, want, text)
	}
}

func (d *demo) joins(t *testing.T, c *clinician, want int, by ...*clinician) {
	t.Helper()
	args := []string{"sponsor", "join"}
	for _, s := range by {
		args = append(args, sponsorship(s, c))
	}
	if code, text := d.outcome(t.Context(), c, args...); code != want {
		t.Fatalf("%s joins by %d: exit code %d, not %d: %s", c.name, len(by), code, want, text)
	}
}
