package identity

import (
	"testing"
	"time"
)

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

// BenchmarkTrust measures statements, and what people who vouch cost.
func BenchmarkTrust(b *testing.B) {
	w := newWorld(b)
	full := get(w.a.CRL(w.store.MeshID(), CRL{Number: 1, Time: noon, Revoked: manyRevoked(MaxRevoked)}))(b)
	newcomer, err := w.newcomer().admit(w.three()...)
	if err != nil {
		b.Fatal(err)
	}
	loaded := w.fresh()
	mustTake(b, loaded, full, noon)
	snapshot := loaded.Snapshot()
	plain := w.enrol(w.a, "7000001", w.grant("doctor"))
	ticket := get(NewTicketWith(newcomer.vault.Signing, newcomer.relay.PeerID(), noon, noon.Add(time.Hour), newcomer.enrolment.Credential))(b)
	for name, run := range map[string]func() error{
		"take a CRL of 1,400": func() error { _, err := w.fresh().Take(full, noon); return err },
		"snapshot of 1,400":   func() error { loaded.Snapshot(); return nil },
		"restore 1,400":       func() error { return w.fresh().Restore(snapshot) },
		"admission beside a CRL of 1,400": func() error {
			_, err := loaded.VerifyAdmission(plain.enrolment.Admission, plain.relay.PeerID(), noon)
			return err
		},
		"break-glass, admission and ticket": func() error {
			adm, err := loaded.VerifyAdmission(newcomer.enrolment.Admission, newcomer.relay.PeerID(), noon)
			if err != nil {
				return err
			}
			return loaded.VerifyTicket(ticket, adm, noon)
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
