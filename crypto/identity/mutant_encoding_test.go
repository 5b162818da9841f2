package identity

import (
	"bytes"
	"crypto"
	"encoding/asn1"
	"errors"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

func TestMutantEncodings(t *testing.T) {
	oidPolicies := asn1.ObjectIdentifier{2, 5, 29, 32}
	policies := der(t, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidTocsin(9, 9)) })
		})
	})
	runMutants(t, []mutant{
		{"garbage", admissionLeaf, func(c *chainSpec, _ *keySet) {
			c.leaf.after = func(der []byte) []byte { return der[:len(der)-1] }
		}, checkParse, nil},
		{"bytes after the certificate", admissionLeaf, func(c *chainSpec, _ *keySet) {
			c.leaf.after = func(der []byte) []byte { return append(der, 0) }
		}, checkParse, nil},
		{"an extension twice", admissionLeaf, func(c *chainSpec, _ *keySet) {
			c.leaf.exts = append(c.leaf.exts, c.leaf.exts[0])
		}, checkParse, nil},
		{"negative serial number", admissionLeaf, func(c *chainSpec, _ *keySet) { c.leaf.serial = []byte{0x81} }, checkParse, nil},
		{"outer algorithm differs", admissionLeaf, func(c *chainSpec, _ *keySet) { c.leaf.outerAlg = algP384() }, checkParse, nil},
		{"certificate over 4 KiB", credentialLeaf, func(c *chainSpec, _ *keySet) {
			c.leaf.set(extSpec{oidTocsin(9, 1), false, make([]byte, MaxCertificate)})
		}, checkCertSize, nil},
		{"root over 4 KiB", credentialLeaf, func(c *chainSpec, _ *keySet) {
			c.root.set(extSpec{oidTocsin(9, 1), false, make([]byte, MaxCertificate)})
		}, checkCertSize, nil},
		{"admission over 3 KiB", admissionLeaf, func(c *chainSpec, _ *keySet) {
			c.leaf.set(extSpec{oidTocsin(9, 1), false, make([]byte, MaxAdmission)})
		}, checkChainSize, nil},
		{"three certificates below the root", registrarChain, func(c *chainSpec, _ *keySet) {
			c.reorder = func(ders [][]byte) [][]byte { return append(ders, ders[1]) }
		}, checkDepth, nil},
		{"spare bits in the signature", admissionLeaf, func(c *chainSpec, _ *keySet) {
			spareBits(c.t, c.leaf)
		}, checkOuter, nil},
		{"version 1", admissionLeaf, func(c *chainSpec, _ *keySet) { c.leaf.version, c.leaf.exts = nil, nil }, checkVersion, nil},
		{"serial number zero", admissionLeaf, func(c *chainSpec, _ *keySet) { c.leaf.serial = []byte{0} }, checkSerial, nil},
		{"serial number of 21 bytes", admissionLeaf, func(c *chainSpec, _ *keySet) {
			c.leaf.serial = append([]byte{1}, make([]byte, 20)...)
		}, checkSerial, nil},
		{"ends when it begins", admissionLeaf, func(c *chainSpec, _ *keySet) { c.leaf.to = c.leaf.from }, checkValidity, nil},
		{"ends before it begins", registrarChain, func(c *chainSpec, _ *keySet) {
			c.registrar.from, c.registrar.to = c.registrar.to, c.registrar.from
		}, checkValidity, nil},
		{"unknown critical extension", admissionLeaf, func(c *chainSpec, _ *keySet) {
			c.leaf.set(extSpec{oidTocsin(9, 1), true, []byte{5, 0}})
		}, checkCritical, nil},
		{"unknown critical extension of a registrar", registrarChain, func(c *chainSpec, _ *keySet) {
			c.registrar.set(extSpec{oidTocsin(9, 1), true, []byte{5, 0}})
		}, checkCritical, nil},
		{"unknown critical extension of a root", admissionLeaf, func(c *chainSpec, _ *keySet) {
			c.root.set(extSpec{oidTocsin(9, 1), true, []byte{5, 0}})
		}, checkCritical, nil},
		{"critical extension that crypto/x509 reads and we do not obey", admissionLeaf, func(c *chainSpec, _ *keySet) {
			c.leaf.set(extSpec{oidPolicies, true, policies})
		}, checkCritical, nil},
		{"critical claims", credentialLeaf, func(c *chainSpec, _ *keySet) {
			c.leaf.set(extSpec{oidClaims(), true, derOctets(mustCBOR(c.t, c.claims))})
		}, checkCritical, nil},
		{"Ed25519 with parameters", admissionLeaf, func(c *chainSpec, _ *keySet) {
			c.leaf.alg = []byte{0x30, 0x07, 0x06, 0x03, 0x2b, 0x65, 0x70, 5, 0}
		}, checkAlgorithm, nil},
		{"ECDSA with SHA-256", ecdsaChain, func(c *chainSpec, _ *keySet) {
			c.leaf.alg = []byte{0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02}
			c.leaf.hash = crypto.SHA256
		}, checkAlgorithm, nil},
		{"ECDSA named under an Ed25519 registrar", registrarChain, func(c *chainSpec, _ *keySet) { c.leaf.alg = algP384() }, checkAlgorithm, nil},
		{"Ed25519 named under a P-384 registrar", ecdsaViaRegister, func(c *chainSpec, _ *keySet) { c.leaf.alg = algEd25519() }, checkAlgorithm, nil},
	})
}

// spareBits spells the signature with one unused bit. It looks for a serial
// number that makes the first bit zero, so that the same number results.
func spareBits(t testing.TB, c *certSpec) {
	for n := byte(1); ; n++ {
		c.serial = []byte{n & 0x7f}
		sig := c.sign(t, c.tbs(t))
		if n&0x7f != 0 && sig[0] < 0x80 {
			break
		}
	}
	c.signature = func(bits []byte) []byte {
		for i := 1; i < len(bits); i++ {
			bits[i] <<= 1
			if i+1 < len(bits) {
				bits[i] |= bits[i+1] >> 7
			}
		}
		bits[0] = 1
		return bits
	}
}

func TestMutantSignatures(t *testing.T) {
	otherName := name(t, attr{oidOrganisation(), testHost}, attr{oidCN(), "Somebody"})
	runMutants(t, []mutant{
		{"unknown issuer", admissionLeaf, func(c *chainSpec, _ *keySet) { c.leaf.issuer = otherName }, checkIssuer, ErrForeign},
		{"unknown issuer of the registrar", registrarChain, func(c *chainSpec, _ *keySet) { c.registrar.issuer = otherName }, checkIssuer, ErrForeign},
		{"issuer is not the registrar", registrarChain, func(c *chainSpec, _ *keySet) { c.leaf.issuer = otherName }, checkIssuer, nil},
		{"another key, Ed25519", admissionLeaf, func(c *chainSpec, k *keySet) { c.leaf.signer = k.registrar }, checkSignature, ErrForeign},
		{"another key, P-384", ecdsaChain, func(c *chainSpec, k *keySet) { c.leaf.signer = k.registerEC }, checkSignature, ErrForeign},
		{"another key above the registrar", registrarChain, func(c *chainSpec, k *keySet) { c.registrar.signer = k.registrar }, checkSignature, ErrForeign},
		{"another key below the registrar", registrarChain, func(c *chainSpec, k *keySet) { c.leaf.signer = k.root }, checkSignature, nil},
		{"another key below the registrar, P-384", ecdsaViaRegister, func(c *chainSpec, k *keySet) { c.leaf.signer = k.rootEC }, checkSignature, nil},
		{"self-signed leaf", credentialLeaf, func(c *chainSpec, k *keySet) {
			c.leaf.issuer, c.leaf.signer = c.leaf.subject, k.vault.Signing
		}, checkIssuer, ErrForeign},
		{"root not signed by itself", admissionLeaf, func(c *chainSpec, k *keySet) { c.root.signer = k.registrar }, checkSelfSigned, nil},
		{"root with another issuer's name", admissionLeaf, func(c *chainSpec, _ *keySet) { c.root.issuer = otherName }, checkSelfSigned, nil},
		{"leaf begins before its authority", admissionLeaf, func(c *chainSpec, _ *keySet) {
			c.leaf.from = c.root.from.Add(-time.Second)
		}, checkNesting, nil},
		{"leaf ends after its authority", admissionLeaf, func(c *chainSpec, _ *keySet) {
			c.root.to = c.leaf.to.Add(-time.Second)
		}, checkNesting, nil},
		{"leaf ends after its registrar", registrarCred, func(c *chainSpec, _ *keySet) {
			c.registrar.to = c.leaf.to.Add(-time.Second)
		}, checkNesting, nil},
		{"registrar ends after its authority", registrarCred, func(c *chainSpec, _ *keySet) {
			c.root.to = c.registrar.to.Add(-time.Second)
		}, checkNesting, nil},
		{"registrar begins before its authority", registrarCred, func(c *chainSpec, _ *keySet) {
			c.registrar.from = c.root.from.Add(-time.Second)
			c.registrar.to = c.registrar.from.Add(MaxRegistrarValidity)
		}, checkNesting, nil},
	})
}

func TestMutantTimes(t *testing.T) {
	runMutants(t, []mutant{
		{"admission ended a second ago", admissionLeaf, func(c *chainSpec, _ *keySet) { c.leaf.to = noon.Add(-time.Second) }, checkTime, ErrExpired},
		{"admission begins in a second", admissionLeaf, func(c *chainSpec, _ *keySet) { c.leaf.from = noon.Add(time.Second) }, checkTime, ErrExpired},
		{"credential ended a second ago", credentialLeaf, func(c *chainSpec, _ *keySet) { c.leaf.to = noon.Add(-time.Second) }, checkTime, ErrExpired},
		{"credential begins in a second", credentialLeaf, func(c *chainSpec, _ *keySet) { c.leaf.from = noon.Add(time.Second) }, checkTime, ErrExpired},
	})
	k := newKeySet(t)
	for _, o := range []options{admissionLeaf, credentialLeaf} {
		c := goodChain(t, k, o)
		c.leaf.from, c.leaf.to = noon.Add(-time.Second), noon
		if err := c.verify(); err != nil {
			t.Errorf("refused in its last second: %v", err)
		}
	}
	// To crypto/x509 the zero time means now. Here it is a time like others.
	h := newHouse(t)
	_, err := h.store.VerifyAdmission(h.enrolment.Admission, h.relay.PeerID(), time.Time{})
	assertRefused(t, err, checkTime, ErrExpired)
	_, err = h.store.VerifyCredential(h.enrolment.Credential, time.Time{})
	assertRefused(t, err, checkTime, ErrExpired)
}

func TestMutantChainFrames(t *testing.T) {
	k := newKeySet(t)
	good := wire(t, goodChain(t, k, admissionLeaf).ders()...)
	for _, tc := range []struct {
		name string
		raw  []byte
		want check
	}{
		{"nothing", nil, checkChainEncoding},
		{"no certificate", []byte{0, 0}, checkChainEncoding},
		{"an empty certificate", []byte{0, 2, 0, 0}, checkChainEncoding},
		{"cut short", good[:len(good)-1], checkChainEncoding},
		{"a byte after the end", append(bytes.Clone(good), 0), checkChainEncoding},
		{"a certificate cut short", wireRaw(t, append([]byte{0, 9}, 1)), checkChainEncoding},
		{"over 8 KiB", make([]byte, MaxChain+1), checkChainSize},
		{"a certificate over 4 KiB", wire(t, make([]byte, MaxCertificate+1)), checkCertSize},
		{"four certificates", wire(t, []byte{1}, []byte{2}, []byte{3}, []byte{4}), checkDepth},
	} {
		_, err := DecodeChain(tc.raw)
		t.Run(tc.name, func(t *testing.T) { assertRefused(t, err, tc.want, nil) })
	}
	if _, err := EncodeChain([][]byte{{1}, {2}, {3}}); Reason(err) != string(checkDepth) {
		t.Errorf("EncodeChain makes what DecodeChain refuses: %v", err)
	}
	if _, err := EncodeChain([][]byte{make([]byte, 1<<16)}); err == nil {
		t.Error("EncodeChain accepts 64 KiB")
	}
}

func wireRaw(t *testing.T, list []byte) []byte {
	return der(t, func(b *cryptobyte.Builder) {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(list) })
	})
}

// rawSponsored frames a list of sponsorships as it is.
func rawSponsored(t *testing.T, list []byte) []byte {
	return append([]byte{byte(FormSponsored), 0, 1, 0x30}, wireRaw(t, list)...)
}

func TestMutantForms(t *testing.T) {
	h := newHouse(t)
	chain := h.enrolment.Admission
	sp := &sponsored{leaf: []byte{0x30}, votes: []sponsorship{{chain: chain}}}
	encode := func(sp *sponsored) []byte {
		b, err := sp.encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	four := &sponsored{leaf: []byte{0x30}, votes: make([]sponsorship, 4)}
	for i := range four.votes {
		four.votes[i].chain = chain
	}
	good := encode(sp)
	for _, tc := range []struct {
		name string
		raw  []byte
		want check
		kind error
	}{
		{"sponsored with a leaf that is none", good, checkParse, nil},
		{"nothing", nil, checkForm, nil},
		{"form 0", append([]byte{0}, chain...), checkForm, nil},
		{"form 3", append([]byte{3}, chain...), checkForm, nil},
		{"sponsored, cut short", good[:len(good)-1], checkForm, nil},
		{"sponsored, a byte after the end", append(bytes.Clone(good), 0), checkForm, nil},
		{"sponsorship cut in its chain", rawSponsored(t, []byte{0, 9, 1}), checkForm, nil},
		{"sponsorship cut in its signature", rawSponsored(t, append(wireRaw(t, chain), make([]byte, 63)...)), checkForm, nil},
		{"sponsored without a leaf", encode(&sponsored{votes: sp.votes}), checkForm, nil},
		{"sponsored with a leaf over 4 KiB", encode(&sponsored{leaf: make([]byte, MaxCertificate+1), votes: sp.votes}), checkForm, nil},
		{"sponsored by nobody", encode(&sponsored{leaf: []byte{0x30}}), checkForm, nil},
		{"sponsored by four", encode(four), checkForm, nil},
		{"sponsored with a broken chain", encode(&sponsored{leaf: []byte{0x30}, votes: []sponsorship{{chain: []byte{0, 0}}}}), checkChainEncoding, nil},
		{"sponsored, over 32 KiB", append([]byte{2}, make([]byte, MaxCredential)...), checkChainSize, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := h.store.ReadCredential(tc.raw)
			assertRefused(t, err, tc.want, tc.kind)
			if c, err := h.store.VerifyCredential(tc.raw, noon); c != nil || err == nil {
				t.Error("VerifyCredential gives a credential beside the error, or none")
			}
		})
	}
	if Reason(nil) != "" || Reason(errors.New("x")) != "other" {
		t.Error("Reason of no refusal")
	}
}
