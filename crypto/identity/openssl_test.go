package identity

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// openssl runs the command in dir and returns what it prints.
func openssl(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("openssl %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func needOpenSSL(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("NOT RUN: interoperation with openssl needs the openssl command (3.0 or newer) in PATH")
	}
}

func write(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestOpenSSLIssues lets openssl be the authority: root, admission leaf and
// credential come from its command with our profile, and our verifier accepts
// them.
func TestOpenSSLIssues(t *testing.T) {
	needOpenSSL(t)
	for _, tc := range []struct {
		name string
		key  []string
		hash []string
	}{
		{"Ed25519", []string{"-newkey", "ed25519"}, nil},
		{"P-384", []string{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-sha384"}, []string{"-sha384"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHouse(t)
			dir := t.TempDir()
			const org, name = "stmarys.nhs.example", `St Mary's "#1" root, $5 \ é`
			cnf, err := OpenSSLAuthorityConfig(org, name)
			if err != nil {
				t.Fatal(err)
			}
			write(t, dir, "authority.cnf", cnf)
			openssl(t, dir, append([]string{"req", "-x509", "-config", "authority.cnf", "-days", "3650", "-noenc",
				"-keyout", "authority.key", "-out", "authority.pem"}, tc.key...)...)
			authority, err := ParseAuthorityPEM(read(t, dir, "authority.pem"), read(t, dir, "authority.key"))
			if err != nil {
				t.Fatal(err)
			}
			if got := authority.Certificate().Subject.CommonName; got != name {
				t.Errorf("common name %q, want %q", got, name)
			}
			issueWithOpenSSL(t, dir, h, org, tc.hash)

			now := authority.Certificate().NotBefore
			bundle, err := NewBundle("North West", now, authority.Certificate())
			if err != nil {
				t.Fatal(err)
			}
			admission, err := ParseChainPEM(read(t, dir, "admission.pem"))
			if err != nil {
				t.Fatal(err)
			}
			credential, err := ParseChainPEM(read(t, dir, "credential.pem"))
			if err != nil {
				t.Fatal(err)
			}
			e, err := AssembleEnrolment(h.request, bundle, h.meshKey, admission, credential)
			if err != nil {
				t.Fatal(err)
			}
			_, c, err := e.Accept(h.relay, h.vault, now.Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			if c.Person != h.wish().Person || !c.Claims.HasRole("senior") || h.vault.MeshKey != h.meshKey {
				t.Errorf("openssl issued to %v with %v", c.Person, c.Claims.Roles)
			}
			// The authority that openssl made can also be used by our own code.
			g := h.grant()
			g.Now, g.Bundle = now, bundle
			if _, err := authority.Issue(h.request, g); err != nil {
				t.Error(err)
			}
		})
	}
}

func issueWithOpenSSL(t *testing.T, dir string, h *house, org string, hash []string) {
	t.Helper()
	cnf, err := h.request.OpenSSLConfig(h.grant())
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "leaves.cnf", cnf)
	for _, leaf := range []struct {
		section string
		key     Key
	}{{"admission", h.request.Transport()}, {"credential", h.request.Signing()}} {
		public, err := KeyPEM(leaf.key)
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, leaf.section+".pub", public)
		openssl(t, dir, append([]string{"x509", "-new", "-force_pubkey", leaf.section + ".pub", "-subj", "/O=" + org, "-days", "365",
			"-CA", "authority.pem", "-CAkey", "authority.key", "-extfile", "leaves.cnf", "-extensions", leaf.section,
			"-out", leaf.section + ".pem"}, hash...)...)
	}
}

// TestOpenSSLVerifies has `openssl verify` accept what we issue, at the time
// of the certificates, and refuse it at another time and under another root.
func TestOpenSSLVerifies(t *testing.T) {
	needOpenSSL(t)
	h := newHouse(t)
	dir := t.TempDir()
	write(t, dir, "root.pem", CertificatePEM(h.authority.Certificate().Raw))
	other, err := NewAuthority("stmarys.nhs.example", "St Mary's root", noon, 24*time.Hour*365, h.rand)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "other.pem", CertificatePEM(other.Certificate().Raw))
	for name, chain := range map[string][]byte{"admission": h.enrolment.Admission, "credential": h.enrolment.Credential[1:]} {
		ders, err := DecodeChain(chain)
		if err != nil {
			t.Fatal(err)
		}
		file := name + ".pem"
		write(t, dir, file, CertificatePEM(ders[0]))
		at := fmt.Sprint(noon.Unix())
		out := openssl(t, dir, "verify", "-x509_strict", "-attime", at, "-CAfile", "root.pem", "-no-CApath", "-no-CAstore", file)
		if out != file+": OK\n" {
			t.Errorf("openssl verify says %q", out)
		}
		for _, args := range [][]string{
			{"verify", "-attime", fmt.Sprint(noon.Add(366 * 24 * time.Hour).Unix()), "-CAfile", "root.pem", file},
			{"verify", "-attime", at, "-CAfile", "other.pem", file},
			{"verify", "-attime", at, "-purpose", "sslserver", "-CAfile", "root.pem", file},
		} {
			cmd := exec.Command("openssl", args...)
			cmd.Dir = dir
			if cmd.Run() == nil {
				t.Errorf("openssl %v accepts", args)
			}
		}
	}
}

// TestOpenSSLRegistrar lets openssl certify a registrar, whose key openssl has
// made too. The registrar then issues, `openssl verify` accepts its leaves, and
// our verifier takes what it states.
func TestOpenSSLRegistrar(t *testing.T) {
	needOpenSSL(t)
	h := newHouse(t)
	dir := t.TempDir()
	const org = "stmarys.nhs.example"
	authorityConfig := get(OpenSSLAuthorityConfig(org, "St Mary's root"))(t)
	registrarConfig := get(OpenSSLRegistrarConfig(org, "doctor", "senior"))(t)
	write(t, dir, "authority.cnf", authorityConfig)
	write(t, dir, "registrar.cnf", registrarConfig)
	openssl(t, dir, "req", "-x509", "-config", "authority.cnf", "-days", "3650", "-noenc", "-newkey", "ed25519", "-keyout", "authority.key", "-out", "authority.pem")
	openssl(t, dir, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", "registrar.key")
	openssl(t, dir, "pkey", "-in", "registrar.key", "-pubout", "-out", "registrar.pub")
	openssl(t, dir, "x509", "-new", "-force_pubkey", "registrar.pub", "-subj", "/O="+org+"/CN=Ward desk", "-days", "29",
		"-CA", "authority.pem", "-CAkey", "authority.key", "-extfile", "registrar.cnf", "-extensions", "registrar", "-out", "registrar.pem")
	reg := get(ParseRegistrarPEM(append(read(t, dir, "registrar.pem"), read(t, dir, "authority.pem")...), read(t, dir, "registrar.key")))(t)
	if reg.Name() != "Ward desk" || len(reg.Roles()) != 2 {
		t.Errorf("registrar %q with %v", reg.Name(), reg.Roles())
	}
	now := reg.Certificate().NotBefore.Add(time.Minute)
	bundle := get(NewBundle("North West", now.Add(-time.Second), reg.Authority()))(t)
	g := h.grant()
	g.Now, g.Bundle, g.Validity = now, bundle, 24*time.Hour
	e := get(reg.Issue(h.request, g))(t)
	for name, chain := range map[string][]byte{"admission": e.Admission, "credential": e.Credential[1:]} {
		ders := get(DecodeChain(chain))(t)
		write(t, dir, name+".pem", CertificatePEM(ders[0]))
		out := openssl(t, dir, "verify", "-attime", fmt.Sprint(now.Unix()), "-CAfile", "authority.pem", "-no-CApath", "-no-CAstore", "-untrusted", "registrar.pem", name+".pem")
		if out != name+".pem: OK\n" {
			t.Errorf("openssl verify says %q", out)
		}
	}
	store, c, err := e.Accept(h.relay, h.vault, now)
	if err != nil || !c.Registrar {
		t.Fatalf("our verifier: %v", err)
	}
	raw := get(reg.CRL(bundle.MeshID(), CRL{Number: 1, Time: now, Revoked: []Revoked{{Key: c.KeyHash(), Since: now.Add(-time.Hour), Credential: []byte(c.Raw)}}}))(t)
	mustTake(t, store, raw, now)
	if st := store.Standing(c, now); st.State != StandingRevoked {
		t.Errorf("standing %+v", st)
	}
}

// TestOpenSSLProfile compares the shipped profile with its golden files, which
// are there to be read.
func TestOpenSSLProfile(t *testing.T) {
	h := newHouse(t)
	authority, err := OpenSSLAuthorityConfig("stmarys.nhs.example", "St Mary's root")
	if err != nil {
		t.Fatal(err)
	}
	leaves, err := h.request.OpenSSLConfig(h.grant())
	if err != nil {
		t.Fatal(err)
	}
	registrar, err := OpenSSLRegistrarConfig("stmarys.nhs.example", "doctor", "nurse")
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]byte{"authority.cnf": authority, "leaves.cnf": leaves, "registrar.cnf": registrar} {
		path := filepath.Join("testdata", "openssl", name)
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs from the profile; run go test -update and look at the difference:\n%s", path, got)
		}
	}
}
