package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// The low-level builder of certificates: it writes DER itself, so that a test
// can make what crypto/x509 would never issue.

// certSpec is one certificate, field by field. Byte fields are DER.
type certSpec struct {
	version   []byte // content of [0], nil leaves it out
	serial    []byte // content octets of the INTEGER
	alg       []byte // inside the signed part
	outerAlg  []byte // nil repeats alg
	issuer    []byte
	from, to  time.Time
	subject   []byte
	public    []byte // SubjectPublicKeyInfo
	exts      []extSpec
	signer    crypto.Signer
	hash      crypto.Hash // of ECDSA; default SHA-384
	signature func([]byte) (bits []byte)
	after     func(der []byte) []byte // changes the finished certificate
}

type extSpec struct {
	id       asn1.ObjectIdentifier
	critical bool
	value    []byte
}

func (c *certSpec) build(t testing.TB) []byte {
	t.Helper()
	tbs := c.tbs(t)
	if c.outerAlg == nil {
		c.outerAlg = c.alg
	}
	bits := append([]byte{0}, c.sign(t, tbs)...)
	if c.signature != nil {
		bits = c.signature(bits)
	}
	der := der(t, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(tbs)
			b.AddBytes(c.outerAlg)
			b.AddASN1(cbasn1.BIT_STRING, func(b *cryptobyte.Builder) { b.AddBytes(bits) })
		})
	})
	if c.after != nil {
		der = c.after(der)
	}
	return der
}

func (c *certSpec) tbs(t testing.TB) []byte {
	return der(t, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			if c.version != nil {
				b.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) { b.AddBytes(c.version) })
			}
			b.AddASN1(cbasn1.INTEGER, func(b *cryptobyte.Builder) { b.AddBytes(c.serial) })
			b.AddBytes(c.alg)
			b.AddBytes(c.issuer)
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1UTCTime(c.from)
				b.AddASN1UTCTime(c.to)
			})
			b.AddBytes(c.subject)
			b.AddBytes(c.public)
			if c.exts == nil {
				return
			}
			b.AddASN1(cbasn1.Tag(3).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					for _, e := range c.exts {
						b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
							b.AddASN1ObjectIdentifier(e.id)
							if e.critical {
								b.AddASN1Boolean(true)
							}
							b.AddASN1OctetString(e.value)
						})
					}
				})
			})
		})
	})
}

func (c *certSpec) sign(t testing.TB, tbs []byte) []byte {
	t.Helper()
	if key, ok := c.signer.(ed25519.PrivateKey); ok {
		return ed25519.Sign(key, tbs)
	}
	if c.hash == 0 {
		c.hash = crypto.SHA384
	}
	h := c.hash.New()
	h.Write(tbs)
	sig, err := c.signer.Sign(rand.Reader, h.Sum(nil), c.hash)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// set replaces the extension with the id of e, or adds it.
func (c *certSpec) set(e extSpec) {
	c.remove(e.id)
	c.exts = append(c.exts, e)
}

func (c *certSpec) remove(id asn1.ObjectIdentifier) {
	c.exts = slices.DeleteFunc(slices.Clone(c.exts), func(e extSpec) bool { return e.id.Equal(id) })
}

func (c *certSpec) sans(uris ...string) {
	c.set(extSpec{oidAltName(), false, derURIs(uris...)})
}

func der(t testing.TB, f func(*cryptobyte.Builder)) []byte {
	t.Helper()
	var b cryptobyte.Builder
	f(&b)
	out, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

type attr struct {
	id    asn1.ObjectIdentifier
	value string
}

func oidCN() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 4, 3} }

// name builds an RDNSequence of single-valued UTF8String attributes.
func name(t testing.TB, attrs ...attr) []byte {
	return der(t, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, a := range attrs {
				b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
					b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1ObjectIdentifier(a.id)
						b.AddASN1(cbasn1.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(a.value)) })
					})
				})
			}
		})
	})
}

// subtree is one GeneralSubtree of name constraints.
func subtree(t testing.TB, tag cbasn1.Tag, value string) []byte {
	return der(t, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes([]byte(value)) })
		})
	})
}

// constraints builds NameConstraints from subtrees.
func constraints(t testing.TB, permitted, excluded [][]byte) []byte {
	return der(t, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for i, list := range [][][]byte{permitted, excluded} {
				if list == nil {
					continue
				}
				b.AddASN1(cbasn1.Tag(i).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
					b.AddBytes(bytes.Join(list, nil))
				})
			}
		})
	})
}

// chainSpec is a good chain before a mutation: root, optional registrar, and
// one leaf.
type chainSpec struct {
	t          testing.TB
	root       *certSpec
	registrar  *certSpec // nil when the root issues the leaf
	leaf       *certSpec
	claims     claimsWire // of a credential; encoded by ders unless set by hand
	noClaims   bool
	credential bool
	id         struct {
		relay *RelayKeys
		vault *VaultKeys
	}
	reorder func(chain [][]byte) [][]byte // changes the list of certificates
}

const testHost = "stmarys.nhs.example"

type keySet struct {
	root, registrar    ed25519.PrivateKey
	rootEC, registerEC *ecdsa.PrivateKey
	p256               *ecdsa.PrivateKey
	rsa                *rsa.PrivateKey
	relay              *RelayKeys
	vault              *VaultKeys
}

// newKeySet returns the keys of the experiment. They are made once: an RSA key
// takes a while.
func newKeySet(t testing.TB) *keySet {
	t.Helper()
	k, err := sharedKeys()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var sharedKeys = sync.OnceValues(func() (*keySet, error) {
	k := &keySet{
		root:      ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32)),
		registrar: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32)),
	}
	var errs [6]error
	k.rootEC, errs[0] = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	k.registerEC, errs[1] = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	k.p256, errs[2] = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	k.rsa, errs[3] = rsa.GenerateKey(rand.Reader, 2048)
	k.relay, errs[4] = NewRelayKeys(rand.Reader)
	k.vault, errs[5] = NewVaultKeys(rand.Reader)
	return k, errors.Join(errs[:]...)
})

func spki(t testing.TB, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func algEd25519() []byte { b, _ := algorithmDER(x509.PureEd25519); return b }
func algP384() []byte    { b, _ := algorithmDER(x509.ECDSAWithSHA384); return b }

func algOf(key crypto.Signer) []byte {
	if _, ok := key.(*ecdsa.PrivateKey); ok {
		return algP384()
	}
	return algEd25519()
}

// options choose among the good chains.
type options struct {
	registrar  bool
	credential bool
	ecdsa      bool
}

// goodChain returns a chain that the verifier accepts at noon.
func goodChain(t testing.TB, k *keySet, o options) *chainSpec {
	t.Helper()
	var rootKey, registrarKey crypto.Signer = k.root, k.registrar
	if o.ecdsa {
		rootKey, registrarKey = k.rootEC, k.registerEC
	}
	c := &chainSpec{t: t, credential: o.credential}
	c.id.relay, c.id.vault = k.relay, k.vault
	rootName := name(t, attr{oidOrganisation(), testHost}, attr{oidCN(), "Root"})
	c.root = issuerSpec(t, rootName, rootName, rootKey, rootKey, 1)
	c.root.from, c.root.to = noon.Add(-24*time.Hour), noon.Add(3000*24*time.Hour)
	issuerName, issuerKey := rootName, rootKey
	if o.registrar {
		issuerName = name(t, attr{oidOrganisation(), testHost}, attr{oidCN(), "Registrar"})
		issuerKey = registrarKey
		c.registrar = issuerSpec(t, rootName, issuerName, rootKey, registrarKey, 0)
		c.registrar.from, c.registrar.to = noon.Add(-time.Hour), noon.Add(-time.Hour).Add(MaxRegistrarValidity)
		c.registrar.exts = append(c.registrar.exts,
			extSpec{oidExtendedUsage(), true, derUsages(oidAdmissionUsage(), oidCredentialUsage())},
			extSpec{oidGrant(), false, derOctets(mustCBOR(t, []string{"doctor", "nurse"}))})
	}
	c.leaf = leafSpec(t, issuerName, issuerKey, o, k)
	c.claims = claimsWire{
		Name: "Dr Amara Okafor", Roles: []string{"doctor"}, Grade: "ST5", ODS: "RYJ01",
		Witness: k.relay.Witness.Public().(ed25519.PublicKey), Bundle: k.vault.Bundle.PublicKey().Bytes(),
	}
	return c
}

func issuerSpec(t testing.TB, issuer, subject []byte, signer, key crypto.Signer, path int) *certSpec {
	return &certSpec{
		version: []byte{2, 1, 2}, serial: []byte{0x41}, alg: algOf(signer),
		issuer: issuer, subject: subject, public: spki(t, key.Public()), signer: signer,
		exts: []extSpec{
			{oidBasicConstraints(), true, derIssuer(path)},
			{oidKeyUsage(), true, derIssuerUsage()},
			{oidNameConstraints(), true, derConstraints(testHost)},
		},
	}
}

func leafSpec(t testing.TB, issuer []byte, signer crypto.Signer, o options, k *keySet) *certSpec {
	key, usage := KeyOf(k.relay.Transport), oidAdmissionUsage()
	peerURI := uri(testHost, "peer", k.relay.PeerID().String())
	uris := []string{peerURI}
	ticket := TicketKey(KeyOf(k.vault.Signing))
	exts := []extSpec{{oidTicketKey(), false, derOctets(ticket[:])}}
	if o.credential {
		key, usage, exts = KeyOf(k.vault.Signing), oidCredentialUsage(), nil
		uris = []string{uri(testHost, "gmc", "7654321"), uri(testHost, "device", DeviceID(key)), peerURI}
	}
	return &certSpec{
		version: []byte{2, 1, 2}, serial: []byte{0x42}, alg: algOf(signer),
		issuer: issuer, subject: name(t, attr{oidOrganisation(), testHost}),
		public: spki(t, ed25519.PublicKey(key[:])), signer: signer,
		from: noon.Add(-time.Hour), to: noon.Add(-time.Hour).Add(MaxRegistrarLeafValidity),
		exts: append([]extSpec{
			{oidKeyUsage(), true, derLeafUsage()},
			{oidExtendedUsage(), true, derUsages(usage)},
			{oidAltName(), false, derURIs(uris...)},
		}, exts...),
	}
}

func mustCBOR(t testing.TB, v any) []byte {
	t.Helper()
	b, err := marshalCBOR(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ders builds the certificates, leaf first, root left out. A credential gets
// its claims unless the mutation has set some by hand.
func (c *chainSpec) ders() [][]byte {
	hasClaims := slices.ContainsFunc(c.leaf.exts, func(e extSpec) bool { return e.id.Equal(oidClaims()) })
	if c.credential && !hasClaims && !c.noClaims {
		c.leaf.set(extSpec{oidClaims(), false, derOctets(mustCBOR(c.t, c.claims))})
	}
	out := [][]byte{c.leaf.build(c.t)}
	if c.registrar != nil {
		out = append(out, c.registrar.build(c.t))
	}
	if c.reorder != nil {
		out = c.reorder(out)
	}
	return out
}

// wire frames certificates without the limits of EncodeChain.
func wire(t testing.TB, ders ...[]byte) []byte {
	return der(t, func(b *cryptobyte.Builder) {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			for _, d := range ders {
				b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(d) })
			}
		})
	})
}

// bundleOf builds a genesis bundle of arbitrary roots.
func bundleOf(t testing.TB, roots ...[]byte) []byte {
	slices.SortFunc(roots, bytes.Compare)
	return der(t, func(b *cryptobyte.Builder) {
		b.AddUint8(1)
		b.AddUint64(0)
		b.AddBytes(make([]byte, 32))
		b.AddUint64(uint64(noon.Unix()))
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte("Test")) })
		b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
			for _, d := range roots {
				b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(d) })
			}
		})
		b.AddUint16(0)
	})
}

// verify runs the verifier over the chain at noon.
func (c *chainSpec) verify() error {
	bundle, err := ParseBundle(bundleOf(c.t, c.root.build(c.t)))
	if err != nil {
		return err
	}
	store, err := NewTrustStore(bundle)
	if err != nil {
		return err
	}
	chain := wire(c.t, c.ders()...)
	if c.credential {
		_, err = store.VerifyCredential(encodeCredential(chain), noon)
		return err
	}
	_, err = store.VerifyAdmission(chain, c.id.relay.PeerID(), noon)
	return err
}
