package identity

import (
	"crypto/x509"
	"fmt"
	"os/exec"
	"testing"
	"time"
)

// What we accept, others accept too: our profile is X.509 and only narrower.

func TestStandardLibraryAgrees(t *testing.T) {
	k := newKeySet(t)
	for _, o := range []options{admissionLeaf, credentialLeaf, registrarChain, registrarCred, ecdsaChain, ecdsaViaRegister} {
		c := goodChain(t, k, o)
		roots, middle := x509.NewCertPool(), x509.NewCertPool()
		root, err := x509.ParseCertificate(c.root.build(t))
		if err != nil {
			t.Fatal(err)
		}
		roots.AddCert(root)
		ders := c.ders()
		if len(ders) > 1 {
			registrar, err := x509.ParseCertificate(ders[1])
			if err != nil {
				t.Fatal(err)
			}
			middle.AddCert(registrar)
		}
		leaf, err := x509.ParseCertificate(ders[0])
		if err != nil {
			t.Fatal(err)
		}
		_, err = leaf.Verify(x509.VerifyOptions{
			Roots: roots, Intermediates: middle, CurrentTime: noon, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		if err != nil {
			t.Errorf("%+v: crypto/x509 refuses what we accept: %v", o, err)
		}
	}
}

// TestStandardLibraryIsLaxer shows why the profile does not rest on
// crypto/x509: each of these passes there and is refused here. A case that
// starts to fail has become stricter upstream, and the comment in PROFILE.md
// can be amended.
func TestStandardLibraryIsLaxer(t *testing.T) {
	k := newKeySet(t)
	for name, mutate := range map[string]func(c *chainSpec){
		"another Subject O":           func(c *chainSpec) { c.leaf.subject = nameOf(c, "other.nhs.example") },
		"an e-mail SAN":               func(c *chainSpec) { c.leaf.set(altNames(t, generalName(t, tagURI-5, []byte("a@b.example")))) },
		"no SAN":                      func(c *chainSpec) { c.leaf.remove(oidAltName()) },
		"no constraints on the root":  func(c *chainSpec) { c.root.remove(oidNameConstraints()) },
		"constraints not critical":    func(c *chainSpec) { c.root.set(extSpec{oidNameConstraints(), false, derConstraints(testHost)}) },
		"no key usage on the leaf":    func(c *chainSpec) { c.leaf.remove(oidKeyUsage()) },
		"no extended usage (any use)": func(c *chainSpec) { c.leaf.remove(oidExtendedUsage()) },
		"a key of small order":        func(c *chainSpec) { c.leaf.public = rawSPKI(t, badKeys(t)["identity"]) },
		"spare bits in the signature": func(c *chainSpec) { spareBits(t, c.leaf) },
		"a leaf outlives its root":    func(c *chainSpec) { c.root.to = noon.Add(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			c := goodChain(t, k, admissionLeaf)
			mutate(c)
			if err := c.verify(); err == nil {
				t.Fatal("our verifier accepts it")
			}
			root, err := x509.ParseCertificate(c.root.build(t))
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := x509.ParseCertificate(c.ders()[0])
			if err != nil {
				t.Fatal(err)
			}
			roots := x509.NewCertPool()
			roots.AddCert(root)
			_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: noon, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
			if err != nil {
				t.Errorf("crypto/x509 has become stricter: %v", err)
			}
		})
	}
}

func nameOf(c *chainSpec, org string) []byte {
	return name(c.t, attr{oidOrganisation(), org})
}

// TestOpenSSLAgrees has `openssl verify` check chains through a registrar.
func TestOpenSSLAgrees(t *testing.T) {
	needOpenSSL(t)
	k := newKeySet(t)
	for _, o := range []options{registrarChain, registrarCred, ecdsaViaRegister} {
		dir := t.TempDir()
		c := goodChain(t, k, o)
		ders := c.ders()
		write(t, dir, "root.pem", CertificatePEM(c.root.build(t)))
		write(t, dir, "registrar.pem", CertificatePEM(ders[1]))
		write(t, dir, "leaf.pem", CertificatePEM(ders[0]))
		at := fmt.Sprint(noon.Unix())
		openssl(t, dir, "verify", "-attime", at, "-CAfile", "root.pem", "-untrusted", "registrar.pem", "leaf.pem")
		cmd := exec.Command("openssl", "verify", "-attime", at, "-CAfile", "root.pem", "leaf.pem")
		cmd.Dir = dir
		if cmd.Run() == nil {
			t.Error("openssl accepts a leaf without its registrar")
		}
	}
}
