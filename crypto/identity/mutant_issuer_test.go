package identity

import (
	"bytes"
	"crypto/ed25519"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Keys that must not be used. The first two are the identity and a point of
// order 8; the third encodes y = p, which is 0 spelt again; the fourth is off
// the curve. (RFC 8032 §5.1.3, and "Taming the many EdDSAs", table 1.)
func badKeys(t testing.TB) map[string]ed25519.PublicKey {
	hex := map[string]string{
		"identity":      "0100000000000000000000000000000000000000000000000000000000000000",
		"order 8":       "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"non-canonical": "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"off the curve": "0200000000000000000000000000000000000000000000000000000000000000",
	}
	out := map[string]ed25519.PublicKey{}
	for name, h := range hex {
		out[name] = unhex(t, h)
		if CheckKey(Key(out[name])) == nil {
			t.Fatalf("the key %q is not bad", name)
		}
	}
	return out
}

// anyKey is a public key over which crypto/x509 has no opinion.
func rawSPKI(t testing.TB, key ed25519.PublicKey) []byte {
	return der(t, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(algEd25519())
			b.AddASN1BitString(key)
		})
	})
}

func TestMutantIssuerKeys(t *testing.T) {
	mutants := []mutant{
		{"RSA registrar", registrarChain, func(c *chainSpec, k *keySet) { c.registrar.public = spki(c.t, k.rsa.Public()) }, checkCAKey, nil},
		{"P-256 registrar", registrarChain, func(c *chainSpec, k *keySet) { c.registrar.public = spki(c.t, k.p256.Public()) }, checkCAKey, nil},
		{"P-256 root", ecdsaChain, func(c *chainSpec, k *keySet) { c.root.public, c.root.signer = spki(c.t, k.p256.Public()), k.p256 }, checkCAKey, nil},
		{"RSA root", admissionLeaf, func(c *chainSpec, k *keySet) { c.root.public = spki(c.t, k.rsa.Public()) }, checkCAKey, nil},
	}
	for name, key := range badKeys(t) {
		mutants = append(mutants,
			mutant{name + " registrar", registrarChain, func(c *chainSpec, _ *keySet) { c.registrar.public = rawSPKI(c.t, key) }, checkCAKey, nil},
			mutant{name + " root", admissionLeaf, func(c *chainSpec, _ *keySet) { c.root.public = rawSPKI(c.t, key) }, checkCAKey, nil})
	}
	runMutants(t, mutants)
}

func TestMutantBasicConstraints(t *testing.T) {
	setBC := func(who string, critical bool, value []byte) func(*chainSpec, *keySet) {
		return func(c *chainSpec, _ *keySet) { c.who(who).set(extSpec{oidBasicConstraints(), critical, value}) }
	}
	runMutants(t, []mutant{
		{"registrar of length 1", registrarChain, setBC("registrar", true, derIssuer(1)), checkPathLength, nil},
		{"registrar without a length", registrarChain, setBC("registrar", true, []byte{0x30, 3, 1, 1, 0xff}), checkPathLength, nil},
		{"registrar not critical", registrarChain, setBC("registrar", false, derIssuer(0)), checkPathLength, nil},
		{"registrar that is no CA", registrarChain, setBC("registrar", true, []byte{0x30, 0}), checkPathLength, nil},
		{"registrar without basic constraints", registrarChain, func(c *chainSpec, _ *keySet) { c.registrar.remove(oidBasicConstraints()) }, checkPathLength, nil},
		{"root of length 0 above a registrar", registrarChain, setBC("root", true, derIssuer(0)), checkPathLength, nil},
		{"root of length 2", admissionLeaf, setBC("root", true, derIssuer(2)), checkPathLength, nil},
		{"root without a length", admissionLeaf, setBC("root", true, []byte{0x30, 3, 1, 1, 0xff}), checkPathLength, nil},
		{"root not critical", admissionLeaf, setBC("root", false, derIssuer(1)), checkPathLength, nil},
		{"leaf that is a CA", admissionLeaf, setBC("leaf", true, derIssuer(0)), checkLeafCA, nil},
		{"leaf credential that is a CA", credentialLeaf, setBC("leaf", true, []byte{0x30, 3, 1, 1, 0xff}), checkLeafCA, nil},
	})
	k := newKeySet(t)
	c := goodChain(t, k, admissionLeaf)
	c.leaf.set(extSpec{oidBasicConstraints(), true, derNotIssuer()})
	if err := c.verify(); err != nil {
		t.Errorf("a leaf may say that it is no CA: %v", err)
	}
	c = goodChain(t, k, admissionLeaf)
	c.root.set(extSpec{oidBasicConstraints(), true, derIssuer(0)})
	if err := c.verify(); err != nil {
		t.Errorf("a root of path length 0 may issue leaves: %v", err)
	}
}

// who picks a certificate of the chain by name.
func (c *chainSpec) who(name string) *certSpec {
	switch name {
	case "root":
		return c.root
	case "registrar":
		return c.registrar
	}
	return c.leaf
}

func TestMutantUsages(t *testing.T) {
	var mutants []mutant
	add := func(name string, base options, who string, e extSpec, want check) {
		mutants = append(mutants, mutant{who + " " + name, base, func(c *chainSpec, _ *keySet) {
			if e.value == nil {
				c.who(who).remove(e.id)
				return
			}
			c.who(who).set(e)
		}, want, nil})
	}
	for who, base := range map[string]options{"root": admissionLeaf, "registrar": registrarChain, "leaf": admissionLeaf} {
		usage := derIssuerUsage()
		if who == "leaf" {
			usage = derLeafUsage()
		}
		add("without key usage", base, who, extSpec{oidKeyUsage(), false, nil}, checkKeyUsage)
		add("with key usage that is not critical", base, who, extSpec{oidKeyUsage(), false, usage}, checkKeyUsage)
		add("with every key usage", base, who, extSpec{oidKeyUsage(), true, []byte{3, 2, 0, 0xff}}, checkKeyUsage)
		add("with digital signature and certificate signing", base, who, extSpec{oidKeyUsage(), true, []byte{3, 2, 2, 0x84}}, checkKeyUsage)
	}
	serverAuth, anyUsage := oidPKIXUsage(1), oidAnyUsage()
	for name, list := range map[string][]byte{
		"absent": nil, "server authentication": derUsages(serverAuth), "any": derUsages(anyUsage),
		"ours and server authentication": derUsages(oidAdmissionUsage(), serverAuth),
		"that of the other leaf":         derUsages(oidCredentialUsage()),
		"that of both leaves":            derUsages(oidAdmissionUsage(), oidCredentialUsage()),
	} {
		add("usage "+name, admissionLeaf, "leaf", extSpec{oidExtendedUsage(), true, list}, checkExtendedUsage)
	}
	add("usage not critical", admissionLeaf, "leaf", extSpec{oidExtendedUsage(), false, derUsages(oidAdmissionUsage())}, checkExtendedUsage)
	add("usage of an admission leaf", credentialLeaf, "leaf", extSpec{oidExtendedUsage(), true, derUsages(oidAdmissionUsage())}, checkExtendedUsage)
	add("usage absent", credentialLeaf, "leaf", extSpec{oidExtendedUsage(), true, nil}, checkExtendedUsage)
	add("usage absent", registrarChain, "registrar", extSpec{oidExtendedUsage(), true, nil}, checkExtendedUsage)
	add("usage one of two", registrarChain, "registrar", extSpec{oidExtendedUsage(), true, derUsages(oidAdmissionUsage())}, checkExtendedUsage)
	add("usage any", registrarChain, "registrar", extSpec{oidExtendedUsage(), true, derUsages(anyUsage)}, checkExtendedUsage)
	add("usage server authentication", admissionLeaf, "root", extSpec{oidExtendedUsage(), false, derUsages(serverAuth)}, checkExtendedUsage)
	runMutants(t, mutants)
}

func TestMutantNameConstraints(t *testing.T) {
	uriTag := tagURI
	dnsTag := cbasn1.Tag(2) | 0x80
	mailTag := cbasn1.Tag(1) | 0x80
	ours := subtree(t, uriTag, testHost)
	values := map[string][]byte{
		"absent":                   nil,
		"two hosts":                constraints(t, [][]byte{ours, subtree(t, uriTag, "other.nhs.example")}, nil),
		"every host below":         constraints(t, [][]byte{subtree(t, uriTag, ".nhs.example")}, nil),
		"host in capitals":         constraints(t, [][]byte{subtree(t, uriTag, "STMARYS.nhs.example")}, nil),
		"an exclusion beside":      constraints(t, [][]byte{ours}, [][]byte{subtree(t, uriTag, "a.example")}),
		"an exclusion only":        constraints(t, nil, [][]byte{subtree(t, uriTag, "a.example")}),
		"host names instead":       constraints(t, [][]byte{subtree(t, dnsTag, testHost)}, nil),
		"e-mail addresses beside":  constraints(t, [][]byte{ours, subtree(t, mailTag, testHost)}, nil),
		"empty":                    constraints(t, [][]byte{}, nil),
		"bytes after the subtrees": append(constraints(t, [][]byte{ours}, nil), 5, 0),
	}
	var mutants []mutant
	for who, base := range map[string]options{"root": admissionLeaf, "registrar": registrarChain} {
		for name, value := range values {
			if name == "empty" || name == "bytes after the subtrees" {
				continue // crypto/x509 refuses these before us
			}
			mutants = append(mutants, mutant{who + " " + name, base, func(c *chainSpec, _ *keySet) {
				c.who(who).remove(oidNameConstraints())
				if value != nil {
					c.who(who).set(extSpec{oidNameConstraints(), true, value})
				}
			}, checkConstraints, nil})
		}
		mutants = append(mutants, mutant{who + " not critical", base, func(c *chainSpec, _ *keySet) {
			c.who(who).set(extSpec{oidNameConstraints(), false, derConstraints(testHost)})
		}, checkConstraints, nil})
	}
	for _, name := range []string{"empty", "bytes after the subtrees"} {
		mutants = append(mutants, mutant{name, admissionLeaf, func(c *chainSpec, _ *keySet) {
			c.root.set(extSpec{oidNameConstraints(), true, values[name]})
		}, checkParse, nil})
	}
	runMutants(t, mutants)
}

func TestMutantRegistrars(t *testing.T) {
	setHost := func(host string) func(*chainSpec, *keySet) {
		return func(c *chainSpec, _ *keySet) {
			c.registrar.subject = name(c.t, attr{oidOrganisation(), host}, attr{oidCN(), "Registrar"})
			c.leaf.issuer = c.registrar.subject
			c.registrar.set(extSpec{oidNameConstraints(), true, derConstraints(host)})
		}
	}
	setGrant := func(value []byte) func(*chainSpec, *keySet) {
		return func(c *chainSpec, _ *keySet) { c.registrar.set(extSpec{oidGrant(), false, value}) }
	}
	runMutants(t, []mutant{
		{"registrar of another host", registrarChain, setHost("other.nhs.example"), checkHost, nil},
		{"registrar of a host below", registrarChain, setHost("ward." + testHost), checkHost, nil},
		{"31 days", registrarChain, func(c *chainSpec, _ *keySet) {
			c.registrar.to = c.registrar.from.Add(MaxRegistrarValidity + time.Second)
		}, checkRegistrarLife, nil},
		{"no roles", registrarChain, func(c *chainSpec, _ *keySet) { c.registrar.remove(oidGrant()) }, checkGrant, nil},
		{"null for roles", registrarChain, setGrant(derOctets([]byte{0xf6})), checkGrant, nil},
		{"roles not in an octet string", registrarChain, setGrant(mustCBOR(t, []string{"doctor"})), checkGrant, nil},
		{"roles out of order", registrarChain, setGrant(derOctets(mustCBOR(t, []string{"nurse", "doctor"}))), checkGrant, nil},
		{"roles with bytes after", registrarChain, setGrant(derOctets(append(mustCBOR(t, []string{"doctor"}), 0))), checkGrant, nil},
		{"leaf of 7 days and a second", registrarChain, func(c *chainSpec, _ *keySet) {
			c.leaf.to = c.leaf.from.Add(MaxRegistrarLeafValidity + time.Second)
		}, checkRegistrarLeaf, nil},
		{"credential of 7 days and a second", registrarCred, func(c *chainSpec, _ *keySet) {
			c.leaf.to = c.leaf.from.Add(MaxRegistrarLeafValidity + time.Second)
		}, checkRegistrarLeaf, nil},
		{"a role that it may not grant", registrarCred, func(c *chainSpec, _ *keySet) { c.claims.Roles = []string{"doctor", "senior"} }, checkRoles, nil},
		{"any role when it may grant none", registrarCred, func(c *chainSpec, _ *keySet) {
			c.registrar.set(extSpec{oidGrant(), false, derOctets(mustCBOR(c.t, []string{}))})
		}, checkRoles, nil},
		{"leaf of 400 days and a second", admissionLeaf, func(c *chainSpec, _ *keySet) {
			c.leaf.to = c.leaf.from.Add(MaxLeafValidity + time.Second)
		}, checkLeafLife, nil},
	})
}

func TestMutantSubjects(t *testing.T) {
	o, cn := attr{oidOrganisation(), testHost}, attr{oidCN(), "Dr Amara Okafor"}
	other := attr{oidOrganisation(), "other.nhs.example"}
	leaf := func(attrs ...attr) func(*chainSpec, *keySet) {
		return func(c *chainSpec, _ *keySet) { c.leaf.subject = name(c.t, attrs...) }
	}
	registrar := func(attrs ...attr) func(*chainSpec, *keySet) {
		return func(c *chainSpec, _ *keySet) {
			c.registrar.subject = name(c.t, attrs...)
			c.leaf.issuer = c.registrar.subject
		}
	}
	root := func(attrs ...attr) func(*chainSpec, *keySet) {
		return func(c *chainSpec, _ *keySet) {
			c.root.subject = name(c.t, attrs...)
			c.root.issuer, c.leaf.issuer = c.root.subject, c.root.subject
		}
	}
	runMutants(t, []mutant{
		{"leaf without O", admissionLeaf, leaf(), checkSubject, nil},
		{"leaf with another O", admissionLeaf, leaf(other), checkSubject, nil},
		{"credential with another O", credentialLeaf, leaf(other), checkSubject, nil},
		{"leaf with a name", admissionLeaf, leaf(o, cn), checkSubject, nil},
		{"leaf with two O", admissionLeaf, leaf(o, other), checkSubject, nil},
		{"leaf with a CN for an O", admissionLeaf, leaf(attr{oidCN(), testHost}), checkSubject, nil},
		{"registrar with another O", registrarChain, registrar(other, cn), checkSubject, nil},
		{"registrar with two O", registrarChain, registrar(o, other, cn), checkSubject, nil},
		{"registrar without O", registrarChain, registrar(cn), checkSubject, nil},
		{"registrar without CN", registrarChain, registrar(o), checkSubject, nil},
		{"root with another O", admissionLeaf, root(other, cn), checkSubject, nil},
		{"root with writing turned around", admissionLeaf, root(o, attr{oidCN(), "Root \u202etooR"}), checkSubject, nil},
		{"root with a long CN", admissionLeaf, root(o, attr{oidCN(), string(bytes.Repeat([]byte("a"), 65))}), checkSubject, nil},
	})
}
