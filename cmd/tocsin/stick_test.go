package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tocsin/node"
	"tocsin/node/api"
)

// TestStickRound is three sites that share no network any more and are linked
// by a stick that is carried round, each device a process of its own: all end
// with the same logs and have read everything. A message of before is proved,
// and the proof is checked without a node.
func TestStickRound(t *testing.T) {
	t.Parallel()
	d := enrolled(t, 3)
	ctx := t.Context()
	amina, ben, chidi := d.cast[0], d.cast[1], d.cast[2]
	for _, c := range d.cast {
		d.start(t, c)
	}
	must(t, d.reachEachOther(ctx, d.cast))
	must(t, d.until(ctx, func(ctx context.Context) (string, error) { return d.strangersAmong(ctx, d.cast) }))
	var g api.Group
	must(t, d.run(ctx, amina.secret, &g, "groups", "create", "--data", amina.dir, "--kind", "incident", "Bus crash A6", ben.name, chidi.name))
	if code, text := d.outcome(ctx, amina, "decision", "log", "Bus crash A6", "Divert to Southfield", "ED is full", "--decider", amina.person(), "-f", "options=Divert"); code != exitOK {
		t.Fatalf("decision log: %d: %s", code, text)
	}
	before := d.post(t, amina, "Theatre 2 is free")
	for _, c := range d.cast {
		d.read(t, c, "Theatre 2 is free")
	}
	d.testProof(t, amina, before)
	d.testDecisionPrint(t, amina) // its entry stands before what has been proved

	for _, c := range d.cast { // the network ends
		must(t, c.node.stop())
		c.node = nil
	}
	for _, c := range d.cast {
		var err error
		c.node, err = d.up(ctx, c.dir, c.secret, "", nil)
		must(t, err)
	}
	d.post(t, amina, "Generator failing")
	d.post(t, ben, "Two ambulances sent")
	d.post(t, chidi, "Water is out")
	stick := filepath.Join(t.TempDir(), "stick.tocsin")
	carry := func(from, to *clinician) node.BundleReport {
		t.Helper()
		var rep node.BundleReport
		must(t, d.run(ctx, from.secret, nil, "bundle", "export", "--data", from.dir, stick, "--to", to.name))
		must(t, d.run(ctx, to.secret, &rep, "bundle", "import", "--data", to.dir, stick))
		if rep.Creator != from.name || rep.Refused+rep.Unsaved+rep.Damaged > 0 || rep.Cut {
			t.Fatalf("from %s to %s: %+v", from.name, to.name, rep)
		}
		return rep
	}
	carry(amina, ben)
	carry(ben, chidi)
	carry(chidi, amina)
	carry(amina, ben)
	for _, c := range d.cast {
		d.read(t, c, "Generator failing", "Two ambulances sent", "Water is out")
	}
	// Receipts follow; then nobody has anything to carry.
	must(t, d.until(ctx, func(ctx context.Context) (string, error) {
		carry(amina, ben)
		carry(ben, chidi)
		carry(chidi, amina)
		return d.differing(ctx)
	}))
	d.testPaper(t, amina, ben)
	d.testBadBundles(t, amina, ben, stick)
}

// post sends a message to the one group there is.
func (d *demo) post(t *testing.T, c *clinician, text string) node.Sent {
	t.Helper()
	var sent node.Sent
	must(t, d.run(t.Context(), c.secret, &sent, "send", "--data", c.dir, "Bus crash A6", text))
	return sent
}

// read waits until a device shows texts, whatever else it shows.
func (d *demo) read(t *testing.T, c *clinician, texts ...string) {
	t.Helper()
	must(t, d.until(t.Context(), func(ctx context.Context) (string, error) {
		client := c.node.client
		groups, err := client.Groups(ctx)
		if err != nil {
			return "", err
		}
		var shown []string
		for _, g := range groups {
			messages, err := client.Messages(ctx, g.ID, 0, 100)
			if err != nil {
				return "", err
			}
			for _, m := range messages.Messages {
				shown = append(shown, m.Text)
			}
		}
		for _, want := range texts {
			if !slices.Contains(shown, want) {
				return c.name + " has not read " + want, nil
			}
		}
		return "", nil
	}))
}

// testProof proves a message, checks the proof with the trust bundle alone, and
// refuses it with one byte changed.
func (d *demo) testProof(t *testing.T, c *clinician, sent node.Sent) {
	file := filepath.Join(t.TempDir(), "it.tocsin-proof")
	// Two rounds of synchronisation go by before: longer than one wait where many tests share a machine.
	var err error
	for range 4 {
		if err = d.proved(t, c, sent, file); err == nil {
			break
		}
	}
	must(t, err)
	d.testVerify(t, c, file)
}

// testDecisionPrint prints the decision log with a proof that holds for somebody who has nothing but it and the mesh's authorities.
func (d *demo) testDecisionPrint(t *testing.T, c *clinician) {
	dir := t.TempDir()
	page := filepath.Join(dir, "log.html")
	code, text := d.outcome(t.Context(), c, "decision", "print", "Bus crash A6", "-o", page)
	if code != exitOK || !strings.Contains(text, "1 entry, 1 of them with proofs") {
		t.Fatalf("decision print: %d: %s", code, text)
	}
	doc, err := os.ReadFile(page)
	must(t, err)
	proofs, err := filepath.Glob(filepath.Join(dir, "log-proofs", "001-*"+proofSuffix))
	must(t, err)
	if len(proofs) != 1 || !strings.Contains(string(doc), "Check: tocsin verify log-proofs/"+filepath.Base(proofs[0])) || !strings.Contains(string(doc), "held it by") {
		t.Fatalf("the document names no proof of %q: %s", proofs, doc)
	}
	proof, err := os.ReadFile(proofs[0])
	must(t, err)
	if sum := sha256.Sum256(proof); !strings.Contains(string(doc), hex.EncodeToString(sum[:])) {
		t.Error("the document does not name the hash of the proof")
	}
	stranger := &clinician{secret: c.secret, dir: t.TempDir()}
	code, text = d.outcome(t.Context(), stranger, "verify", proofs[0], "--trust", filepath.Join(c.dir, trustFile))
	if code != exitOK || !strings.Contains(text, "Divert to Southfield") {
		t.Errorf("verify: %d: %s", code, text)
	}
}

// proved waits until a proof can be written.
func (d *demo) proved(t *testing.T, c *clinician, sent node.Sent, file string) error {
	return d.until(t.Context(), func(ctx context.Context) (string, error) {
		code, text := d.outcome(ctx, c, "log", "prove", sent.ID, "--out", file)
		if code != exitOK && !strings.Contains(text, "signed for this message yet") {
			t.Fatalf("log prove: %d: %s", code, text)
		}
		if code != exitOK {
			return "no two others have signed yet", nil
		}
		return "", nil
	})
}

// testVerify checks a proof as somebody would who has nothing but it and the
// mesh's authorities.
func (d *demo) testVerify(t *testing.T, c *clinician, file string) {
	ctx := t.Context()
	trust := filepath.Join(c.dir, trustFile)
	stranger := &clinician{secret: c.secret, dir: t.TempDir()}
	code, text := d.outcome(ctx, stranger, "verify", file, "--trust", trust)
	if code != exitOK || !strings.Contains(text, "Theatre 2 is free") || !strings.Contains(text, c.name) || !strings.Contains(text, "at another site") {
		t.Fatalf("verify: %d: %s", code, text)
	}
	raw, err := os.ReadFile(file)
	must(t, err)
	for at := 100; at < len(raw); at += len(raw) / 7 {
		bad := bytes.Clone(raw)
		if bad[at]++; bad[at] == '\n' {
			bad[at]++
		}
		must(t, os.WriteFile(file, bad, 0o600))
		if code, text := d.outcome(ctx, stranger, "verify", file, "--trust", trust); code != exitVerify {
			t.Fatalf("byte %d changed: %d: %s", at, code, text)
		}
	}
	if code, text := d.outcome(ctx, stranger, "verify", file); code != exitUsage || !strings.Contains(text, "--trust") {
		t.Fatalf("without authorities: %d: %s", code, text)
	}
}

// testBadBundles are the ways in which the commands refuse.
func (d *demo) testBadBundles(t *testing.T, amina, ben *clinician, stick string) {
	junk := filepath.Join(t.TempDir(), "minutes.tocsin")
	must(t, os.WriteFile(junk, []byte("minutes of a meeting"), 0o600))
	for _, c := range []struct {
		who  *clinician
		args []string
		code int
		want string
	}{
		{amina, []string{"bundle", "import", junk}, exitInput, "not a bundle"},
		{amina, []string{"bundle", "import", junk + ".gone"}, exitInput, "cannot be opened"},
		{ben, []string{"bundle", "import", stick}, exitInput, "sealed to other devices"}, // it was for Amina
		{amina, []string{"bundle", "export", stick, "--to", "Nobody Known"}, exitNotFound, "no device, person, organisation or site"},
		{amina, []string{"bundle", "export", stick, "--limit", "many"}, exitUsage, "is no size"},
		{amina, []string{"bundle", "export", filepath.Join(junk, "x")}, exitInput, "could not be written"},
		{amina, []string{"bundle", "export", stick, "--everything", "--limit", "20K", "--to", ben.name}, exitOK, "had no room"},
		{amina, []string{"lock"}, exitOK, "Locked"},
		{amina, []string{"bundle", "import", stick}, exitLocked, "locked"},
		{amina, []string{"bundle", "export", stick}, exitOK, "read back and found good"},
	} {
		code, text := d.outcome(t.Context(), c.who, c.args...)
		if code != c.code || !strings.Contains(text, c.want) {
			t.Errorf("%q: exit code %d, not %d, or it does not say %q:\n%s", c.args, code, c.code, c.want, text)
		}
	}
	var info node.BundleInfo
	_, text := d.outcome(t.Context(), amina, "bundle", "export", stick, "--json")
	if err := json.Unmarshal([]byte(text), &info); err != nil || info.Recipients != 2 || info.Bytes == 0 {
		t.Errorf("bundle export --json: %v: %s", err, text)
	}
}
