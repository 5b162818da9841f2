package identity

import "testing"

// BenchmarkVerify measures what a connection and a newcomer cost.
func BenchmarkVerify(b *testing.B) {
	k := newKeySet(b)
	for name, o := range map[string]options{
		"admission/Ed25519": admissionLeaf, "admission/P-384": ecdsaChain,
		"credential/Ed25519": credentialLeaf, "credential/registrar": registrarCred,
	} {
		b.Run(name, func(b *testing.B) {
			c := goodChain(b, k, o)
			bundle, err := ParseBundle(bundleOf(b, c.root.build(b)))
			if err != nil {
				b.Fatal(err)
			}
			store, err := NewTrustStore(bundle)
			if err != nil {
				b.Fatal(err)
			}
			chain := wire(b, c.ders()...)
			credential := encodeCredential(chain)
			b.ReportAllocs()
			for b.Loop() {
				if o.credential {
					_, err = store.VerifyCredential(credential, noon)
				} else {
					_, err = store.VerifyAdmission(chain, k.relay.PeerID(), noon)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
