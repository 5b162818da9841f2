package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"strings"

	"tocsin/crypto/vault"
)

// hospital is one organisation of the demo.
type hospital struct{ org, name string }

// clinician is one person of the demo with a node.
type clinician struct {
	hospital
	name, regulator, number, role string

	dir    string // data directory
	secret string // file with the passphrase
	node   *demoNode
}

// first is what colleagues call somebody.
func (c *clinician) first() string { return strings.Fields(c.name)[0] }

func (c *clinician) person() string { return c.org + "/" + c.regulator + "/" + c.number }

func theCast() []*clinician {
	stmarys, northgate := theHospitals()[0], theHospitals()[1]
	return []*clinician{
		{hospital: stmarys, name: "Amina Khan", regulator: "gmc", number: "7654321", role: "consultant"},
		{hospital: northgate, name: "Ben Okafor", regulator: "nmc", number: "18A1234B", role: "charge-nurse"},
		{hospital: stmarys, name: "Chidi Eze", regulator: "hcpc", number: "PA012345", role: "paramedic"},
		{hospital: northgate, name: "Dana Whitlock", regulator: "gmc", number: "7011223", role: "registrar"},
		{hospital: stmarys, name: "Elin Price", regulator: "gphc", number: "2071234", role: "pharmacist"},
	}
}

func theHospitals() []hospital {
	return []hospital{{"stmarys.nhs.example", "St Mary's"}, {"northgate.nhs.example", "Northgate"}}
}

// impostor is enrolled as carefully as anybody, by an authority that the mesh
// does not know.
func impostor() *clinician {
	return &clinician{hospital: hospital{"elsewhere.example", "Elsewhere"},
		name: "Max Stranger", regulator: "gmc", number: "7999999", role: "consultant"}
}

// newSecret draws a passphrase into a file.
func (d *demo) newSecret(name string) (string, error) {
	words, err := vault.GeneratePassphrase(rand.Reader)
	if err != nil {
		return "", err
	}
	path := filepath.Join(d.dir, name+".passphrase")
	return path, writeFile(path, []byte(words+"\n"), 0o600)
}

// meshFiles is what is needed to certify devices for one mesh.
type meshFiles struct {
	secret string            // file with the passphrase of its authorities
	dirs   map[string]string // directory of each authority, by organisation
	id     string
}

// foundMeshOf makes the authorities of some hospitals and the mesh they found
// together, with the commands that a real authority would use.
func (d *demo) foundMeshOf(ctx context.Context, name string, hospitals ...hospital) (*meshFiles, error) {
	m := &meshFiles{dirs: make(map[string]string)}
	var err error
	if m.secret, err = d.newSecret("authority-" + hospitals[0].org); err != nil {
		return nil, err
	}
	roots := make([]string, len(hospitals))
	for i, h := range hospitals {
		m.dirs[h.org] = filepath.Join(d.dir, "authority-"+h.org)
		roots[i] = filepath.Join(m.dirs[h.org], authorityFile)
	}
	if err := together(len(hospitals), func(i int) error {
		h := hospitals[i]
		return d.run(ctx, m.secret, nil, "authority", "init", "--dir", m.dirs[h.org], "--org", h.org, "--name", h.name)
	}); err != nil {
		return nil, err
	}
	trust := filepath.Join(d.dir, "trust-"+hospitals[0].org+".pem")
	key := filepath.Join(d.dir, "mesh-"+hospitals[0].org+".key")
	var founded struct {
		MeshID string `json:"mesh_id"`
	}
	args := append([]string{"authority", "bundle", "--name", name, "--out", trust, "--mesh-key-out", key}, roots...)
	if err := d.run(ctx, m.secret, &founded, args...); err != nil {
		return nil, err
	}
	m.id = founded.MeshID
	return m, together(len(hospitals), func(i int) error {
		return d.run(ctx, m.secret, nil, "authority", "trust", trust, "--mesh-key", key, "--yes", "--dir", m.dirs[hospitals[i].org])
	})
}

// initDevice makes the device of a clinician and its request.
func (d *demo) initDevice(ctx context.Context, c *clinician) (err error) {
	handle := strings.ToLower(c.first())
	c.dir = filepath.Join(d.dir, handle)
	if c.secret, err = d.newSecret(handle); err != nil {
		return err
	}
	return d.run(ctx, c.secret, nil, "init", "--data", c.dir, "--org", c.org, "--regulator", c.regulator,
		"--number", c.number, "--name", c.name, "--role", c.role)
}

// certify has the clinician's own hospital answer the request. An authority's
// directory is locked while it works: one at a time for each.
func (d *demo) certify(ctx context.Context, m *meshFiles, c *clinician) error {
	return d.run(ctx, m.secret, nil, "authority", "issue", filepath.Join(c.dir, requestFile), "--yes",
		"--dir", m.dirs[c.org], "--days", "30", "--out", c.dir+".response.pem")
}

// enrolDevice imports the answer, and checks what it says.
func (d *demo) enrolDevice(ctx context.Context, m *meshFiles, c *clinician) error {
	var e enrolment
	if err := d.run(ctx, c.secret, &e, "enrol", c.dir+".response.pem", "--data", c.dir); err != nil {
		return err
	}
	if e.Person != c.person() || e.MeshID != m.id {
		return fmt.Errorf("%s was enrolled as %s in the mesh %s", c.name, e.Person, short(e.MeshID))
	}
	return nil
}

// enrolCast is step 1.
func (d *demo) enrolCast(ctx context.Context) error {
	m, err := d.foundMeshOf(ctx, "North West", theHospitals()...)
	if err != nil {
		return err
	}
	d.mesh = m
	d.checked("St Mary's and Northgate made an authority each and founded the mesh “North West” (%s)", short(m.id))
	if err := together(len(d.cast), func(i int) error { return d.initDevice(ctx, d.cast[i]) }); err != nil {
		return err
	}
	for _, c := range d.cast {
		if err := d.certify(ctx, m, c); err != nil {
			return err
		}
	}
	if err := together(len(d.cast), func(i int) error { return d.enrolDevice(ctx, m, d.cast[i]) }); err != nil {
		return err
	}
	d.checked("five devices made their keys; each was certified by its own hospital, and checked the answer itself")
	return nil
}
