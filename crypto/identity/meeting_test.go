package identity

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"
)

// meet runs the three codes between a host and a guest.
type meet struct {
	host, guest  *Meeting
	one, two     string
	three        string
	hostGets     Verification
	guestGets    Verification
	errHost, err error
}

func (w *world) meet(host, guest *member, known []Key) *meet {
	w.t.Helper()
	m := &meet{
		host:  get(NewMeeting(w.store.MeshID(), host.vault.Signing, w.rand))(w.t),
		guest: get(NewMeeting(w.store.MeshID(), guest.vault.Signing, w.rand))(w.t),
	}
	m.one = m.host.Show()
	if m.two, m.err = m.guest.Answer(m.one, known); m.err != nil {
		return m
	}
	if m.three, m.hostGets, m.errHost = m.host.Confirm(m.two, known, noon); m.errHost == nil {
		m.guestGets, m.err = m.guest.Finish(m.three, noon)
	}
	return m
}

// TestMeeting: three codes of fewer than 120 letters and digits, and each side
// knows the other's key.
func TestMeeting(t *testing.T) {
	w := newWorld(t)
	a, b := w.enrol(w.a, "7000001", w.grant("doctor")), w.enrol(w.b, "7000002", w.grant("doctor"))
	known := []Key{w.enrol(w.a, "7000003", w.grant()).cred.SigningKey, a.cred.SigningKey, b.cred.SigningKey}
	m := w.meet(a, b, known)
	if m.err != nil || m.errHost != nil || m.hostGets.Key != b.cred.SigningKey || m.guestGets.Key != a.cred.SigningKey || !m.hostGets.At.Equal(noon) {
		t.Fatalf("%v, %v, %+v, %+v", m.err, m.errHost, m.hostGets, m.guestGets)
	}
	for i, code := range []string{m.one, m.two, m.three} {
		if len(code) >= 120 || !regexp.MustCompile(`^[0-9A-Z]+$`).MatchString(code) {
			t.Errorf("code %d has %d characters: %s", i+1, len(code), code)
		}
		t.Logf("code %d has %d characters", i+1, len(code))
	}
	again, err := ParseVerification(m.hostGets.Marshal())
	if err != nil || again != m.hostGets {
		t.Errorf("reads back as %+v, %v", again, err)
	}
	// A newcomer knows nobody and learns whom it met.
	host := get(NewMeeting(w.store.MeshID(), a.vault.Signing, w.rand))(t)
	guest := get(NewMeeting(w.store.MeshID(), b.vault.Signing, w.rand))(t)
	if _, err := guest.Answer(host.Show(), nil); err != nil {
		t.Errorf("a newcomer: %v", err)
	}
}

// TestMeetingRefuses: codes of others, of other meetings, of another mesh, and
// codes played back.
func TestMeetingRefuses(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.enrol(w.a, "7000001", w.grant()), w.enrol(w.a, "7000002", w.grant()), w.enrol(w.a, "7000003", w.grant())
	known := []Key{a.cred.SigningKey, b.cred.SigningKey, c.cred.SigningKey}
	good := w.meet(a, b, known)
	begin := func(m *member) *Meeting { return get(NewMeeting(w.store.MeshID(), m.vault.Signing, w.rand))(t) }

	if m := w.meet(a, b, known[1:]); m.err == nil {
		t.Error("an unknown host is met")
	}
	host := begin(a)
	if _, _, err := host.Confirm(good.two, known, noon); err == nil {
		t.Error("the guest's code of another meeting is taken")
	}
	two := get(begin(b).Answer(host.Show(), known))(t)
	if _, _, err := host.Confirm(two, known[:1], noon); err == nil {
		t.Error("an unknown guest is met")
	}
	fake := begin(c) // signs, and claims to be b by the hint
	forged := get(fake.Answer(host.Show(), known))(t)
	payload := get(decodeCode(codeGuest, forged, guestHint+guestNonce+64))(t)
	hint := guestHintOf(b.cred.SigningKey)
	copy(payload, hint[:])
	if _, v, err := host.Confirm(encodeCode(codeGuest, payload), known, noon); err == nil || v != (Verification{}) {
		t.Error("another's signature under this one's name is taken")
	}
	// The host's old codes, shown again to a guest who has begun anew.
	guest := begin(b)
	if _, err := guest.Answer(good.one, known); err != nil {
		t.Fatal(err)
	}
	if _, err := guest.Finish(good.three, noon); err == nil {
		t.Error("codes of the host are played back")
	}
	if _, err := begin(b).Finish(good.three, noon); err == nil {
		t.Error("the last code before the first")
	}
	if _, err := begin(a).Answer(begin(a).Show(), known); err == nil {
		t.Error("a device meets itself")
	}
	elsewhere := get(NewMeeting(MeshID{9}, b.vault.Signing, w.rand))(t)
	host = begin(a)
	if _, _, err := host.Confirm(get(elsewhere.Answer(host.Show(), known))(t), known, noon); err == nil {
		t.Error("a code of another mesh is taken")
	}
	for _, code := range []string{"", "1", good.two, good.one[:len(good.one)-1], good.one + "0", strings.ToLower(good.one), "1" + strings.Repeat("Z", len(good.one)-1)} {
		if _, err := begin(b).Answer(code, known); err == nil {
			t.Errorf("%q is taken for a first code", code)
		}
	}
}

// TestDigits: sixty digits, the same on both sides, others for other keys.
func TestDigits(t *testing.T) {
	w := newWorld(t)
	mesh := w.store.MeshID()
	a, b, c := Key{1}, Key{2}, Key{3}
	one := Digits(mesh, a, b)
	if one != Digits(mesh, b, a) || one == Digits(mesh, a, c) || one == Digits(MeshID{}, a, b) {
		t.Error("the digits depend on the side, or not on the keys and the mesh")
	}
	if !regexp.MustCompile(`^(\d{5} ){11}\d{5}$`).MatchString(one) {
		t.Errorf("%q", one)
	}
	v := VerifiedByDigits(a, noon)
	again, err := ParseVerification(v.Marshal())
	if err != nil || again != v || !v.Digits {
		t.Errorf("%+v, %v", again, err)
	}
	good := v.Marshal()
	for _, raw := range [][]byte{nil, good[:len(good)-1], append(bytes.Clone(good), 0), append([]byte{2}, good[1:]...), append(bytes.Clone(good[:len(good)-1]), 2)} {
		if _, err := ParseVerification(raw); err == nil {
			t.Errorf("%x is a verification", raw)
		}
	}
	if !v.At.Equal(noon) || v.At.Location() != time.UTC {
		t.Error("time")
	}
}
