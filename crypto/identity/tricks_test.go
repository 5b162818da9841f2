package identity

import (
	"crypto/ed25519"
	"encoding/asn1"
	"testing"
)

// The tricks with certificates that other software has fallen for, one test
// each by name. The mutants beside this file break every rule; here stands each
// trick as an attacker would use it.

func trick(t *testing.T, base options, want check, change func(c *chainSpec, k *keySet)) {
	t.Helper()
	k := newKeySet(t)
	c := goodChain(t, k, base)
	if err := c.verify(); err != nil {
		t.Fatalf("the control is refused: %v", err)
	}
	c = goodChain(t, k, base)
	change(c, k)
	assertRefused(t, c.verify(), want, nil)
}

func ownPeer(c *chainSpec) string { return c.id.relay.PeerID().String() }

// TestTrickExtraSAN: a second URI, of an organisation that the issuer may not
// name, beside the right one.
func TestTrickExtraSAN(t *testing.T) {
	trick(t, admissionLeaf, checkAltNameCount, func(c *chainSpec, _ *keySet) {
		c.leaf.sans(uri(testHost, "peer", ownPeer(c)), uri("royal.nhs.example", "peer", ownPeer(c)))
	})
}

// TestTrickExtraSANOfAnotherKind: an e-mail address, which a URI constraint
// does not constrain.
func TestTrickExtraSANOfAnotherKind(t *testing.T) {
	trick(t, admissionLeaf, checkAltNameKind, func(c *chainSpec, _ *keySet) {
		c.leaf.set(altNames(t, generalName(t, tagURI, []byte(uri(testHost, "peer", ownPeer(c)))), generalName(t, tagURI-5, []byte("root@royal.nhs.example"))))
	})
}

// TestTrickSuffixHost: a name constraint for a host also admits those below it.
func TestTrickSuffixHost(t *testing.T) {
	trick(t, admissionLeaf, checkHost, func(c *chainSpec, _ *keySet) {
		c.leaf.sans(uri("evil."+testHost, "peer", ownPeer(c)))
	})
}

// TestTrickUserInfo: what stands before an @ looks like the host to a reader.
func TestTrickUserInfo(t *testing.T) {
	trick(t, admissionLeaf, checkURI, func(c *chainSpec, _ *keySet) {
		c.leaf.sans("tocsin://royal.nhs.example@" + testHost + "/peer/" + ownPeer(c))
	})
}

// TestTrickNoSAN: with no name at all nothing is constrained.
func TestTrickNoSAN(t *testing.T) {
	trick(t, credentialLeaf, checkAltNameMissing, func(c *chainSpec, _ *keySet) { c.leaf.remove(oidAltName()) })
}

// TestTrickWeakKey: a key of small order, under which one signature fits many
// messages.
func TestTrickWeakKey(t *testing.T) {
	trick(t, credentialLeaf, checkLeafKey, func(c *chainSpec, _ *keySet) { c.leaf.public = rawSPKI(t, badKeys(t)["order 8"]) })
}

// TestTrickNonCanonicalKey: a second spelling of a point, a second device.
func TestTrickNonCanonicalKey(t *testing.T) {
	spelled := ed25519.PublicKey(unhex(t, "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"))
	trick(t, credentialLeaf, checkLeafKey, func(c *chainSpec, _ *keySet) { c.leaf.public = rawSPKI(t, spelled) })
}

// TestTrickSmallRSA: a key that is no Ed25519 key.
func TestTrickSmallRSA(t *testing.T) {
	trick(t, admissionLeaf, checkLeafKey, func(c *chainSpec, k *keySet) { c.leaf.public = spki(t, k.rsa.Public()) })
}

// TestTrickWrongUsage: the admission leaf of a device shown as its credential's
// kind, and a TLS server's.
func TestTrickWrongUsage(t *testing.T) {
	trick(t, admissionLeaf, checkExtendedUsage, func(c *chainSpec, _ *keySet) {
		c.leaf.set(extSpec{oidExtendedUsage(), true, derUsages(oidCredentialUsage())})
	})
	trick(t, credentialLeaf, checkExtendedUsage, func(c *chainSpec, _ *keySet) {
		c.leaf.set(extSpec{oidExtendedUsage(), true, derUsages(oidPKIXUsage(1))})
	})
}

// TestTrickUnknownCriticalExtension: what must be understood and is not.
func TestTrickUnknownCriticalExtension(t *testing.T) {
	trick(t, admissionLeaf, checkCritical, func(c *chainSpec, _ *keySet) {
		c.leaf.set(extSpec{asn1.ObjectIdentifier{1, 2, 3, 4}, true, []byte{5, 0}})
	})
}

// TestTrickOverlongChain: a registrar who makes another registrar; and a leaf
// that issues.
func TestTrickOverlongChain(t *testing.T) {
	trick(t, registrarChain, checkDepth, func(c *chainSpec, _ *keySet) {
		c.reorder = func(chain [][]byte) [][]byte { return [][]byte{chain[0], chain[1], chain[1]} }
	})
	trick(t, registrarChain, checkPathLength, func(c *chainSpec, _ *keySet) {
		c.registrar.set(extSpec{oidBasicConstraints(), true, derIssuer(1)})
	})
}

// TestTrickRolesBeyondTheIssuer: a registrar grants what it was not given, and
// gives itself a longer list than its certificate's kind has.
func TestTrickRolesBeyondTheIssuer(t *testing.T) {
	trick(t, registrarCred, checkRoles, func(c *chainSpec, _ *keySet) { c.claims.Roles = []string{"doctor", "senior"} })
	trick(t, registrarCred, checkGrant, func(c *chainSpec, _ *keySet) { c.registrar.remove(oidGrant()) })
}
