package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	mrand "math/rand/v2"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// bank is one statement of every kind and a few that contradict each other.
type bank struct {
	w       *world
	members []*member
	raws    [][]byte
}

// fuzzWorld has Ed25519 alone: it is the same in every worker of a fuzz target,
// and quick.
func fuzzWorld(t testing.TB) *world {
	return newWorldWith(t, 7, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, 32)))
}

func newBank(t testing.TB) *bank {
	w := fuzzWorld(t)
	reg := w.registrar("doctor")
	b := &bank{w: w, members: []*member{
		w.enrol(w.a, "7000001", w.grant("doctor")), w.enrol(w.a, "7000002", w.grant("doctor")), w.enrol(w.b, "7000003", w.grant("doctor")),
	}}
	m := b.members
	guide := w.fresh()
	signers := []*Authority{w.a, w.b}
	one := w.next(guide, noon, signers, w.a.Certificate(), w.b.Certificate())
	mustTake(t, guide, one, noon)
	two := w.next(guide, noon.Add(time.Hour), signers, w.b.Certificate())
	wipe := w.wipe(w.a, noon, m[0])
	order := mustTake(t, guide, wipe, noon).Wipe
	admitted, err := w.newcomer().admit(w.three()...)
	if err != nil {
		t.Fatal(err)
	}
	b.members = append(b.members, admitted)
	for i, at := range []time.Duration{0, time.Hour, 2 * time.Hour} {
		who := m[:i]
		b.raws = append(b.raws, w.crl(w.a, uint64(i+1), noon.Add(at), who...), w.crl(w.a, uint64(3-i), noon.Add(at), m[1]), w.crl(w.b, uint64(5*i), noon.Add(-at), m[2]))
	}
	b.raws = append(b.raws, one, two, wipe, w.wipe(reg, noon, m[1]), w.crl(reg, 1, noon, m[1]),
		get(NewWipeReceipt(m[0].cred, m[0].relay.Witness, order, w.store.MeshID(), noon))(t),
		w.declare(w.a, 1, noon, true), w.declare(w.a, 2, noon.Add(time.Hour), false), w.declare(reg, 1, noon, true),
		get(w.a.CRL(w.store.MeshID(), CRL{Number: 9, Time: noon.Add(3 * time.Hour), Registrars: [][32]byte{reg.KeyHash()}}))(t),
		get(w.a.NameAdmin(w.store.MeshID(), [32]byte{1}, LogID{Author: m[0].cred.SigningKey}, noon, w.rand))(t),
		get(w.a.SealMeshKey(w.store.MeshID(), 1, [32]byte{1}, []*Credential{m[0].cred}, noon, w.rand))(t)[0])
	return b
}

// FuzzStatement demands that a frame, and a body of its kind, read back as the
// same bytes, and that no changed statement is taken.
func FuzzStatement(f *testing.F) {
	b := newBank(f)
	good := map[string]bool{}
	for _, raw := range b.raws {
		f.Add(raw)
		good[string(raw)] = true
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		st, err := parseStatement(raw)
		if err != nil {
			return
		}
		if again, err := st.marshal(); err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("statement reads back as other bytes: %v", err)
		}
		if body, ok := bodyAgain(st); ok && !bytes.Equal(body, st.body) {
			t.Errorf("the body of a %v reads back as other bytes", st.kind)
		}
		if e, err := b.w.fresh().Take(raw, noon); err == nil && !good[string(raw)] {
			t.Errorf("a changed %v is taken", e.Kind)
		}
	})
}

// bodyAgain builds the body from its parsed fields; ok is false if it does not
// parse.
func bodyAgain(st *statement) (body []byte, ok bool) {
	var err error
	switch st.kind {
	case KindCRL:
		var c *CRL
		if c, err = parseCRL(st.body, st.by == byRegistrar); err == nil {
			body, err = c.encode()
		}
	case KindWipe:
		var w *WipeOrder
		if w, err = parseWipe(st); err == nil {
			body, err = w.encode()
		}
	case KindDeclaration:
		var i *Incident
		if i, err = parseDeclaration(st.body, st.at(), st.by == byRegistrar); err == nil {
			var b cryptobyte.Builder
			b.AddUint64(i.Number)
			b.AddUint8(uint8(b2i(i.Declared)))
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(i.Name)) })
			addTime(&b, i.Until)
			body, err = b.Bytes()
		}
	case KindMeshKey:
		var p *MeshKeyPage
		if p, err = parseMeshPage(st.body); err == nil {
			body, err = p.encode()
		}
	case KindGroupAdmin:
		var g *GroupAdmin
		if g, err = parseGroupAdmin(st); err == nil {
			id := g.Admin.Bytes()
			body = append(bytes.Clone(g.Group[:]), id[:]...)
		}
	default:
		return nil, false
	}
	return body, err == nil
}

// FuzzTrustStore plays statements in any order, again and again, at any clock,
// with restarts: the highest numbers and the clock floor never fall, no bundle
// is taken back, and nobody who was out is in again.
func FuzzTrustStore(f *testing.F) {
	b := newBank(f)
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20})
	f.Add([]byte{6, 0, 0xff, 3, 6, 0xfe, 1, 10, 9, 0xff, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 32 || bytes.Count(script, []byte{0xff}) > 2 {
			return
		}
		b.play(t, script)
	})
}

// TestTrustStoreNeverForgets is the fuzz target's property for random scripts,
// in every run of the tests.
func TestTrustStoreNeverForgets(t *testing.T) {
	b := newBank(t)
	random := mrand.NewChaCha8([32]byte{1})
	for range 60 {
		script := make([]byte, 24)
		if _, err := random.Read(script); err != nil {
			t.Fatal(err)
		}
		script[8], script[16] = 0xff, 0xff
		b.play(t, script)
	}
}

// play runs one script against a store that has heard nothing.
func (b *bank) play(t *testing.T, script []byte) {
	t.Helper()
	s, now := b.w.fresh(), noon
	last := lookAt(s, b)
	for _, op := range script {
		switch {
		case op == 0xff: // a restart
			again := b.w.fresh()
			if err := again.Restore(s.Snapshot()); err != nil {
				t.Fatalf("a snapshot does not come back: %v", err)
			}
			if !bytes.Equal(again.Snapshot(), s.Snapshot()) {
				t.Fatal("a snapshot comes back as another")
			}
			s = again
		case op >= 0xf0: // the clock steps, also back
			now = noon.Add(time.Duration(int(op)-0xf7) * 12 * time.Hour)
		default:
			raw := b.raws[int(op)%len(b.raws)]
			if _, err := s.Take(raw, now); err != nil && !isVerdict(err) {
				t.Fatalf("not a verdict: %v", err)
			}
		}
		next := lookAt(s, b)
		next.compare(t, last)
		last = next
	}
}

func isVerdict(err error) bool {
	for _, kind := range []error{ErrRefused, ErrForeign, ErrExpired, ErrRevoked, ErrRolledBack, ErrPostDated, ErrBeyond, ErrEarly} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// look is what must never fall.
type look struct {
	numbers map[[32]byte]uint64
	times   map[[32]byte]time.Time
	out     []bool
	wiped   []bool
	agree   bool // the badge with what groups leave out
	floor   time.Time
	bundle  uint64
}

func lookAt(s *TrustStore, b *bank) look {
	l := look{numbers: map[[32]byte]uint64{}, times: map[[32]byte]time.Time{}, agree: true, floor: s.Floor(), bundle: s.Bundle().Number()}
	for k, h := range s.state.crls {
		l.numbers[k], l.times[k] = h.number, h.time
	}
	for _, m := range b.members {
		r, out := s.RevokedDevice(m.cred)
		st := s.Standing(m.cred, noon).State
		l.agree = l.agree && out == (st >= StandingRevoked) && r.Wiped == (st == StandingWiped)
		l.out, l.wiped = append(l.out, out), append(l.wiped, r.Wiped)
	}
	return l
}

func (l look) compare(t *testing.T, before look) {
	t.Helper()
	for k, n := range before.numbers {
		if l.numbers[k] < n || l.times[k].Before(before.times[k]) {
			t.Fatalf("the highest CRL fell from %d to %d", n, l.numbers[k])
		}
	}
	for i := range l.out {
		if before.out[i] && !l.out[i] || before.wiped[i] && !l.wiped[i] {
			t.Fatalf("device %d was out and is in again", i)
		}
	}
	if !l.agree {
		t.Fatal("Standing and RevokedDevice disagree")
	}
	if l.floor.Before(before.floor) || l.bundle < before.bundle {
		t.Fatal("the clock floor or the bundle's number fell")
	}
}

// FuzzSnapshot restores arbitrary contents under a good checksum: an error or a
// store, which can be asked and snapshot again.
func FuzzSnapshot(f *testing.F) {
	b := newBank(f)
	for _, raw := range b.raws {
		if _, err := b.w.store.Take(raw, noon); err != nil && !isVerdict(err) {
			f.Fatal(err)
		}
	}
	snapshot := b.w.store.Snapshot()
	f.Add(snapshot[:len(snapshot)-sha256.Size])
	empty := b.w.fresh().Snapshot()
	f.Add(empty[:len(empty)-sha256.Size])
	f.Fuzz(func(t *testing.T, content []byte) {
		sum := sha256.Sum256(join(domainSnapshot, content))
		s := b.w.fresh()
		if err := s.Restore(append(bytes.Clone(content), sum[:]...)); err != nil {
			return
		}
		s.RevocationAge(noon)
		s.Declared(noon)
		if err := b.w.fresh().Restore(s.Snapshot()); err != nil {
			t.Errorf("what was restored does not restore: %v", err)
		}
	})
}

func FuzzSponsorRequest(f *testing.F) {
	w := fuzzWorld(f)
	req, _ := w.newcomer().ask()
	good := req.Marshal()
	f.Add(good)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := ParseSponsorRequest(raw)
		if err != nil {
			return
		}
		again, err := encodeSponsorRequest(r.request.raw, r.admission, r.credential)
		if err != nil || !bytes.Equal(again, raw) || !bytes.Equal(raw, good) {
			t.Errorf("a changed sponsor request is accepted: %v", err)
		}
	})
}

func FuzzSponsorAnswer(f *testing.F) {
	w := fuzzWorld(f)
	req, _ := w.newcomer().ask()
	m := w.three()[0]
	f.Add(get(w.store.Sponsor(req, m.with(req)))(f))
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := parseSponsorAnswer(raw)
		if err != nil {
			return
		}
		if again, err := a.encode(); err != nil || !bytes.Equal(again, raw) {
			t.Errorf("sponsorship reads back as other bytes: %v", err)
		}
	})
}

// FuzzSponsoredAdmission changes a good admission leaf that people vouch for.
func FuzzSponsoredAdmission(f *testing.F) {
	w := fuzzWorld(f)
	m, err := w.newcomer().admit(w.three()...)
	if err != nil {
		f.Fatal(err)
	}
	good := m.enrolment.Admission
	f.Add(good)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := w.store.VerifyAdmission(raw, m.relay.PeerID(), noon); err == nil && !bytes.Equal(raw, good) {
			t.Error("a changed admission leaf is accepted")
		}
	})
}

func FuzzKeyRoll(f *testing.F) {
	w := fuzzWorld(f)
	old, next := w.enrol(w.a, "7000001", w.grant("doctor")), w.enrol(w.a, "7000001", w.grant("doctor"))
	good := get(NewKeyRoll(old.vault.Signing, next.vault.Signing, []byte(next.cred.Raw)))(f)
	f.Add(good)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := w.store.VerifyKeyRoll(raw, old.cred); err == nil && !bytes.Equal(raw, good) {
			t.Error("a changed key roll is accepted")
		}
	})
}

func FuzzMeetingCode(f *testing.F) {
	w := fuzzWorld(f)
	a := w.enrol(w.a, "7000001", w.grant())
	m := get(NewMeeting(w.store.MeshID(), a.vault.Signing, w.rand))(f)
	f.Add(m.Show())
	f.Fuzz(func(t *testing.T, code string) {
		for number, size := range map[byte]int{codeHost: 48, codeGuest: 76, codeFinish: 64} {
			if payload, err := decodeCode(number, code, size); err == nil && encodeCode(number, payload) != code {
				t.Errorf("%q reads back as %q", code, encodeCode(number, payload))
			}
		}
		if v, err := ParseVerification([]byte(code)); err == nil && string(v.Marshal()) != code {
			t.Error("a verification reads back as other bytes")
		}
	})
}
