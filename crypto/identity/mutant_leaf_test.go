package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"strings"
	"testing"

	libcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func oidPKIXUsage(n int) asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, n}
}
func oidAnyUsage() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 37, 0} }

func TestMutantLeafKeys(t *testing.T) {
	mutants := []mutant{
		{"P-256", admissionLeaf, func(c *chainSpec, k *keySet) { c.leaf.public = spki(c.t, k.p256.Public()) }, checkLeafKey, nil},
		{"P-384", credentialLeaf, func(c *chainSpec, k *keySet) { c.leaf.public = spki(c.t, k.rootEC.Public()) }, checkLeafKey, nil},
		{"RSA", admissionLeaf, func(c *chainSpec, k *keySet) { c.leaf.public = spki(c.t, k.rsa.Public()) }, checkLeafKey, nil},
	}
	for name, key := range badKeys(t) {
		for _, base := range []options{admissionLeaf, credentialLeaf} {
			mutants = append(mutants, mutant{name, base, func(c *chainSpec, _ *keySet) { c.leaf.public = rawSPKI(c.t, key) }, checkLeafKey, nil})
		}
	}
	runMutants(t, mutants)
}

// altNames is a subject alternative name extension of arbitrary names.
func altNames(t testing.TB, names ...[]byte) extSpec {
	return extSpec{oidAltName(), false, der(t, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(names, nil)) })
	})}
}

func generalName(t testing.TB, tag cbasn1.Tag, content []byte) []byte {
	return der(t, func(b *cryptobyte.Builder) {
		b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes(content) })
	})
}

func TestMutantAltNames(t *testing.T) {
	primitive := func(n cbasn1.Tag) cbasn1.Tag { return n | 0x80 }
	ours := func(c *chainSpec) []byte {
		return generalName(t, tagURI, []byte(uri(testHost, "peer", c.id.relay.PeerID().String())))
	}
	extra := map[string][]byte{
		"e-mail":         generalName(t, primitive(1), []byte("amara@stmarys.nhs.example")),
		"host name":      generalName(t, primitive(2), []byte(testHost)),
		"IP address":     generalName(t, primitive(7), []byte{192, 0, 2, 1}),
		"registered ID":  generalName(t, primitive(8), []byte{0x2a, 3}),
		"directory name": generalName(t, cbasn1.Tag(4).ContextSpecific().Constructed(), name(t, attr{oidCN(), "Amara"})),
		"other name":     generalName(t, cbasn1.Tag(0).ContextSpecific().Constructed(), []byte{6, 1, 0x2a, 0xa0, 2, 5, 0}),
	}
	var mutants []mutant
	for kind, n := range extra {
		mutants = append(mutants,
			mutant{kind + " beside", admissionLeaf, func(c *chainSpec, _ *keySet) { c.leaf.set(altNames(t, ours(c), n)) }, checkAltNameKind, nil},
			mutant{kind + " alone", credentialLeaf, func(c *chainSpec, _ *keySet) { c.leaf.set(altNames(t, n)) }, checkAltNameKind, nil})
	}
	mutants = append(mutants,
		mutant{"none", admissionLeaf, func(c *chainSpec, _ *keySet) { c.leaf.remove(oidAltName()) }, checkAltNameMissing, nil},
		mutant{"none", credentialLeaf, func(c *chainSpec, _ *keySet) { c.leaf.remove(oidAltName()) }, checkAltNameMissing, nil},
		mutant{"empty list", admissionLeaf, func(c *chainSpec, _ *keySet) { c.leaf.set(altNames(t)) }, checkAltNameCount, nil},
		mutant{"twice", admissionLeaf, func(c *chainSpec, _ *keySet) { c.leaf.set(altNames(t, ours(c), ours(c))) }, checkAltNameCount, nil},
		mutant{"peer only", credentialLeaf, func(c *chainSpec, _ *keySet) { c.leaf.set(altNames(t, ours(c))) }, checkAltNameCount, nil},
		mutant{"person in the admission leaf", admissionLeaf, func(c *chainSpec, _ *keySet) {
			c.leaf.set(altNames(t, ours(c), generalName(t, tagURI, []byte(uri(testHost, "gmc", "7654321")))))
		}, checkAltNameCount, nil},
		mutant{"bytes after the list", admissionLeaf, func(c *chainSpec, _ *keySet) {
			e := altNames(t, ours(c))
			e.value = append(e.value, 5, 0)
			c.leaf.set(e)
		}, checkAltNameEncoding, nil},
	)
	runMutants(t, mutants)
	// crypto/x509 refuses a name that is cut short before we see it; the rule
	// holds without its help.
	broken := &x509.Certificate{Extensions: []pkix.Extension{{Id: oidAltName(), Value: []byte{0x30, 2, 0x86, 5}}}}
	_, err := altURIs(broken, 1)
	assertRefused(t, err, checkAltNameEncoding, nil)
}

func TestMutantURIs(t *testing.T) {
	var mutants []mutant
	peerOf := func(c *chainSpec) string { return c.id.relay.PeerID().String() }
	for form, want := range map[string]check{
		"https://HOST/peer/PEER":                                            checkURI,
		"TOCSIN://HOST/peer/PEER":                                           checkURI,
		"tocsin://HOST:443/peer/PEER":                                       checkURI,
		"tocsin://me@HOST/peer/PEER":                                        checkURI,
		"tocsin://HOST/peer/PEER?x=1":                                       checkPeer, // the value is compared as it stands
		"tocsin://HOST/peer/PEER#x":                                         checkPeer,
		"tocsin://HOST/peer/%31PEER":                                        checkPeer,
		"tocsin://HOST/peer/PEER/":                                          checkURI,
		"tocsin://HOST/peer//PEER":                                          checkURI,
		"tocsin://HOST/peer":                                                checkURI,
		"tocsin://HOST/peer/":                                               checkURI,
		"tocsin://StMarys.nhs.example/peer/PEER":                            checkURI,
		"tocsin://localhost/peer/PEER":                                      checkURI,
		"tocsin://ward.HOST/peer/PEER":                                      checkHost,
		"tocsin://nhs.example/peer/PEER":                                    checkHost,
		"tocsin://other.nhs.example/peer/PEER":                              checkHost,
		"tocsin://HOST/device/PEER":                                         checkPeer,
		"tocsin://HOST/peer/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N": checkPeer,
	} {
		mutants = append(mutants, mutant{form, admissionLeaf, func(c *chainSpec, _ *keySet) {
			c.leaf.sans(strings.NewReplacer("HOST", testHost, "PEER", peerOf(c)).Replace(form))
		}, want, nil})
	}
	runMutants(t, mutants)
}

func TestMutantNames(t *testing.T) {
	_, rsaPub, err := libcrypto.GenerateRSAKeyPair(2048, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaPeer, err := peer.IDFromPublicKey(rsaPub)
	if err != nil {
		t.Fatal(err)
	}
	// names replaces one of the three URIs of a good credential.
	names := func(i int, kind, value string) func(*chainSpec, *keySet) {
		return func(c *chainSpec, k *keySet) {
			uris := []string{
				uri(testHost, "gmc", "7654321"),
				uri(testHost, "device", DeviceID(KeyOf(k.vault.Signing))),
				uri(testHost, "peer", k.relay.PeerID().String()),
			}
			if value == "CID" {
				value = peer.ToCid(k.relay.PeerID()).String()
			}
			uris[i] = uri(testHost, kind, value)
			c.leaf.sans(uris...)
		}
	}
	mutants := []mutant{
		{"first is a device", credentialLeaf, names(0, "device", "7654321"), checkPerson, nil},
		{"first is a peer", credentialLeaf, names(0, "peer", "7654321"), checkPerson, nil},
		{"number in small letters", credentialLeaf, names(0, "nmc", "99a1234b"), checkPerson, nil},
		{"number of another shape", credentialLeaf, names(0, "gmc", "76543210"), checkPerson, nil},
		{"another device", credentialLeaf, names(1, "device", strings.Repeat("0", 32)), checkDevice, nil},
		{"device under another word", credentialLeaf, names(1, "gadget", DeviceID(KeyOf(newKeySet(t).vault.Signing))), checkDevice, nil},
		{"peer under another word", credentialLeaf, names(2, "gadget", newKeySet(t).relay.PeerID().String()), checkPeer, nil},
		{"peer that is none", credentialLeaf, names(2, "peer", "7654321"), checkPeer, nil},
		{"peer with an RSA key", credentialLeaf, names(2, "peer", rsaPeer.String()), checkPeer, nil},
		{"peer in a second spelling", credentialLeaf, names(2, "peer", "CID"), checkPeer, nil},
		{"another peer in the admission leaf", admissionLeaf, func(c *chainSpec, k *keySet) {
			c.leaf.sans(uri(testHost, "peer", peerIDOf(KeyOf(k.root)).String()))
		}, checkPeer, nil},
		{"peer and device swapped", credentialLeaf, func(c *chainSpec, k *keySet) {
			c.leaf.sans(uri(testHost, "gmc", "7654321"), uri(testHost, "peer", k.relay.PeerID().String()),
				uri(testHost, "device", DeviceID(KeyOf(k.vault.Signing))))
		}, checkDevice, nil},
	}
	for what, key := range badKeys(t) {
		mutants = append(mutants, mutant{"peer with a key that is " + what, credentialLeaf, names(2, "peer", peerIDOf(Key(key)).String()), checkPeer, nil})
	}
	for i := range 3 {
		mutants = append(mutants, mutant{"another host", credentialLeaf, func(c *chainSpec, k *keySet) {
			names(0, "gmc", "7654321")(c, k)
			uris := []string{uri(testHost, "gmc", "7654321"), uri(testHost, "device", DeviceID(KeyOf(k.vault.Signing))), uri(testHost, "peer", k.relay.PeerID().String())}
			uris[i] = strings.Replace(uris[i], testHost, "other.nhs.example", 1)
			c.leaf.sans(uris...)
		}, checkHost, nil})
	}
	runMutants(t, mutants)
}

func TestMutantAdmission(t *testing.T) {
	runMutants(t, []mutant{
		{"stolen by another key", admissionLeaf, func(c *chainSpec, k *keySet) {
			other := *k.relay
			other.Transport = k.root
			c.id.relay = &other
		}, checkStolen, nil},
		{"no ticket key", admissionLeaf, func(c *chainSpec, _ *keySet) { c.leaf.remove(oidTicketKey()) }, checkTicketKey, nil},
		{"ticket key of 31 bytes", admissionLeaf, func(c *chainSpec, _ *keySet) {
			c.leaf.set(extSpec{oidTicketKey(), false, derOctets(make([]byte, 31))})
		}, checkTicketKey, nil},
		{"ticket key without its wrapping", admissionLeaf, func(c *chainSpec, _ *keySet) {
			c.leaf.set(extSpec{oidTicketKey(), false, make([]byte, 32)})
		}, checkTicketKey, nil},
		{"ticket key with bytes after", admissionLeaf, func(c *chainSpec, _ *keySet) {
			c.leaf.set(extSpec{oidTicketKey(), false, append(derOctets(make([]byte, 32)), 5, 0)})
		}, checkTicketKey, nil},
		{"claims for strangers to read", admissionLeaf, func(c *chainSpec, _ *keySet) {
			c.leaf.set(extSpec{oidClaims(), false, derOctets(mustCBOR(c.t, c.claims))})
		}, checkLeak, nil},
	})
}

func TestMutantClaims(t *testing.T) {
	raw := func(f func(good []byte, c *chainSpec) []byte) func(*chainSpec, *keySet) {
		return func(c *chainSpec, _ *keySet) {
			c.leaf.set(extSpec{oidClaims(), false, f(mustCBOR(c.t, c.claims), c)})
		}
	}
	value := func(f func(w *claimsWire)) func(*chainSpec, *keySet) {
		return func(c *chainSpec, _ *keySet) { f(&c.claims) }
	}
	mutants := []mutant{
		{"absent", credentialLeaf, func(c *chainSpec, _ *keySet) { c.noClaims = true }, checkClaims, nil},
		{"not in an octet string", credentialLeaf, raw(func(b []byte, _ *chainSpec) []byte { return b }), checkClaims, nil},
		{"a byte after the map", credentialLeaf, raw(func(b []byte, _ *chainSpec) []byte { return derOctets(append(b, 0)) }), checkClaims, nil},
		{"cut short", credentialLeaf, raw(func(b []byte, _ *chainSpec) []byte { return derOctets(b[:len(b)-1]) }), checkClaims, nil},
		{"indefinite length", credentialLeaf, raw(func(b []byte, _ *chainSpec) []byte {
			return derOctets(append(append([]byte{0xbf}, b[1:]...), 0xff))
		}), checkClaims, nil},
		{"unknown field", credentialLeaf, raw(func(b []byte, _ *chainSpec) []byte {
			return derOctets(append(append([]byte{b[0] + 1}, b[1:]...), 0x18, 99, 1))
		}), checkClaims, nil},
		{"a field twice", credentialLeaf, raw(func(b []byte, _ *chainSpec) []byte {
			return derOctets(append(append([]byte{b[0] + 1}, b[1:]...), 4, 0x60))
		}), checkClaims, nil},
		{"long form of a short length", credentialLeaf, raw(func(b []byte, c *chainSpec) []byte {
			name := append([]byte{1, 0x60 | byte(len(c.claims.Name))}, c.claims.Name...)
			long := append([]byte{1, 0x78, byte(len(c.claims.Name))}, c.claims.Name...)
			return derOctets(bytes.Replace(b, name, long, 1))
		}), checkClaims, nil},
		{"null for the name", credentialLeaf, raw(func(b []byte, c *chainSpec) []byte {
			name := append([]byte{1, 0x60 | byte(len(c.claims.Name))}, c.claims.Name...)
			return derOctets(bytes.Replace(b, name, []byte{1, 0xf6}, 1))
		}), checkClaims, nil},
		{"unknown flag", credentialLeaf, value(func(w *claimsWire) { w.Flags = 4 }), checkClaims, nil},
		{"witness key of 31 bytes", credentialLeaf, value(func(w *claimsWire) { w.Witness = w.Witness[:31] }), checkClaims, nil},

		{"no name", credentialLeaf, value(func(w *claimsWire) { w.Name = "" }), checkClaimsValue, nil},
		{"name over 128 bytes", credentialLeaf, value(func(w *claimsWire) { w.Name = strings.Repeat("a", 129) }), checkClaimsValue, nil},
		{"name with a line feed", credentialLeaf, value(func(w *claimsWire) { w.Name = "Amara\nOkafor" }), checkClaimsValue, nil},
		{"name turned around", credentialLeaf, value(func(w *claimsWire) { w.Name = "Amara \u202eOkafor" }), checkClaimsValue, nil},
		{"name with a space at its end", credentialLeaf, value(func(w *claimsWire) { w.Name = "Amara " }), checkClaimsValue, nil},
		{"grade over 64 bytes", credentialLeaf, value(func(w *claimsWire) { w.Grade = strings.Repeat("a", 65) }), checkClaimsValue, nil},
		{"ODS code in small letters", credentialLeaf, value(func(w *claimsWire) { w.ODS = "ryj01" }), checkClaimsValue, nil},
		{"roles out of order", credentialLeaf, value(func(w *claimsWire) { w.Roles = []string{"nurse", "doctor"} }), checkClaimsValue, nil},
		{"a role twice", credentialLeaf, value(func(w *claimsWire) { w.Roles = []string{"doctor", "doctor"} }), checkClaimsValue, nil},
		{"a role in capitals", credentialLeaf, value(func(w *claimsWire) { w.Roles = []string{"Doctor"} }), checkClaimsValue, nil},
		{"17 roles", credentialLeaf, value(func(w *claimsWire) {
			w.Roles = nil
			for i := range 17 {
				w.Roles = append(w.Roles, string(rune('a'+i)))
			}
		}), checkClaims, nil}, // the decoder's own bound comes first

		{"bundle key too short", credentialLeaf, value(func(w *claimsWire) { w.Bundle = w.Bundle[1:] }), checkBundleKey, nil},
		{"bundle key not reduced", credentialLeaf, value(func(w *claimsWire) { w.Bundle = append([]byte{0xff, 0xff, 0xff}, w.Bundle[3:]...) }), checkBundleKey, nil},
		{"bundle key of small order", credentialLeaf, value(func(w *claimsWire) {
			w.Bundle = append(bytes.Clone(w.Bundle[:BundleKeySize-32]), make([]byte, 32)...)
		}), checkBundleKey, nil},
	}
	for what, key := range badKeys(t) {
		mutants = append(mutants, mutant{what, credentialLeaf, value(func(w *claimsWire) { w.Witness = key }), checkWitness, nil})
	}
	runMutants(t, mutants)
	roles := make([]string, maxRoles+1)
	for i := range roles {
		roles[i] = string(rune('a' + i))
	}
	if err := checkRoleList(roles); err == nil {
		t.Error("17 roles pass without the decoder's help")
	}
}

func TestMutantSharedKeys(t *testing.T) {
	runMutants(t, []mutant{
		{"transport and witness", credentialLeaf, func(c *chainSpec, k *keySet) {
			c.claims.Witness = k.relay.Transport.Public().(ed25519.PublicKey)
		}, checkDistinct, nil},
		{"signing and witness", credentialLeaf, func(c *chainSpec, k *keySet) {
			c.claims.Witness = k.vault.Signing.Public().(ed25519.PublicKey)
		}, checkDistinct, nil},
		{"signing and transport", credentialLeaf, func(c *chainSpec, k *keySet) {
			key := KeyOf(k.vault.Signing)
			c.leaf.sans(uri(testHost, "gmc", "7654321"), uri(testHost, "device", DeviceID(key)), uri(testHost, "peer", peerIDOf(key).String()))
		}, checkDistinct, nil},
	})
}
