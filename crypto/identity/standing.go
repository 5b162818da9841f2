package identity

import (
	"time"
)

// State says how a device stands.
type State uint8

// The states of a device, from best to worst.
const (
	StandingValid       State = iota
	StandingProvisional       // with a badge that says why
	StandingGrace             // expired, and believed because its organisation has declared an incident
	StandingExpired           // or not begun
	StandingRevoked           // taken out; what it did before stays as it was
	StandingWiped             // ordered to erase itself
)

// String returns the word for s.
func (s State) String() string {
	return [...]string{"valid", "provisional", "grace", "expired", "revoked", "wiped"}[min(s, StandingWiped)]
}

// Why is the reason for a standing, a fixed word or two; empty where the state
// says all.
type Why string

// The reasons.
const (
	WhyRegistrar        Why = "registrar"         // provisional: a registrar issued it
	WhyOwnDevice        Why = "own device"        // provisional: the person vouches for it
	WhyBreakGlass       Why = "break-glass"       // provisional: three persons vouch for it
	WhyIssuer           Why = "issuer"            // provisional: its issuer marked it so
	WhyWithdrawn        Why = "withdrawn"         // revoked: the trust bundle leaves out its authority
	WhyRegistrarRevoked Why = "registrar revoked" // revoked: with all that this registrar issued
	WhySponsor          Why = "sponsor"           // revoked: one who vouched took it back
	WhySponsorRevoked   Why = "sponsor revoked"   // revoked: one who vouched is out
	WhyOverFive         Why = "over five"         // revoked: one who vouched does so for more than five
)

// Standing is what the badge of a device says.
type Standing struct {
	State State
	Why   Why
	Since time.Time // of a revocation or a wipe; zero where unknown
	Until time.Time // when the credential, or its grace, ends; zero when it is out
	By    string    // organisation that revoked or ordered
}

// Standing returns how the device of c stands at now. Revocation subtracts:
// what a device signed before stays shown as it was.
func (s *TrustStore) Standing(c *Credential, now time.Time) Standing {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.standing(c, now)
}

// RevokedDevice reports whether the device of c has been taken out, for
// whatever reason: by a CRL, a wipe order or one who vouched for it; with its
// registrar, its authority or a sponsor; or because it is the sixth that somebody
// vouches for. It is true exactly when [TrustStore.Standing] says revoked or
// wiped, which depends on no time.
func (s *TrustStore) RevokedDevice(c *Credential) (Revocation, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st, out := s.taken(c)
	return Revocation{Key: c.KeyHash(), Org: c.Person.Org, Since: st.Since, By: st.By, Wiped: st.State == StandingWiped, Person: c.Person}, out
}

// taken says whether and why a device is out. It knows no clock.
func (s *TrustStore) taken(c *Credential) (Standing, bool) {
	if st, out := s.subtracted(subjectOf(c)); out {
		return st, true
	}
	if c.BreakGlass && s.overFive(c) {
		return Standing{State: StandingRevoked, Why: WhyOverFive}, true
	}
	return Standing{}, false
}

// voucher is one who vouches: the device, and the authority above it.
type voucher struct {
	device device
	root   [32]byte // [IssuerKeyHash]
}

// subject is what credentials and admission leaves have in common here.
type subject struct {
	device   device
	above    above
	form     Form
	from, to time.Time
	sponsors []voucher
}

func subjectOf(c *Credential) subject {
	u := subject{device: device{c.Person.Org, c.KeyHash()}, above: c.above, form: c.Form, from: c.NotBefore, to: c.NotAfter}
	for _, by := range c.Sponsors {
		u.sponsors = append(u.sponsors, voucher{device{by.Person.Org, by.KeyHash}, by.root})
	}
	return u
}

func subjectOfAdmission(a *Admission) subject {
	return subject{device: device{a.Org, a.TicketKey}, above: a.above, form: a.Form, from: a.NotBefore, to: a.NotAfter, sponsors: a.vouchers}
}

// standing is Standing with s.mu held.
func (s *TrustStore) standing(c *Credential, now time.Time) Standing {
	st, out := s.taken(c)
	if out {
		return st
	}
	if st = s.inTime(subjectOf(c), now); st.State != StandingValid {
		return st
	}
	switch {
	case c.BreakGlass:
		return Standing{State: StandingProvisional, Why: WhyBreakGlass, Until: c.NotAfter}
	case c.Form == FormSponsored:
		return Standing{State: StandingProvisional, Why: WhyOwnDevice, Until: c.NotAfter}
	case c.Registrar:
		return Standing{State: StandingProvisional, Why: WhyRegistrar, Until: c.NotAfter}
	case c.Claims.Provisional:
		return Standing{State: StandingProvisional, Why: WhyIssuer, Until: c.NotAfter}
	}
	return st
}

func (s *TrustStore) admissionStanding(u subject, now time.Time) Standing {
	if st, out := s.subtracted(u); out {
		return st
	}
	return s.inTime(u, now)
}

// mayHear reports whether the device is out by a wipe order that it has yet to
// carry out, and is otherwise in its time.
func (s *TrustStore) mayHear(u subject, st Standing, now time.Time) bool {
	if st.State != StandingWiped {
		return false
	}
	if in := s.inTime(u, now).State; in != StandingValid && in != StandingGrace {
		return false
	}
	for id, w := range s.state.wipes {
		if w.Org == u.device.org && w.Key == u.device.key && s.state.order(w).Due(now) && s.state.receipts[id] == nil {
			return true
		}
	}
	return false
}

// subtracted reports whether a statement has taken the device out.
func (s *TrustStore) subtracted(u subject) (Standing, bool) {
	if r := s.state.revoked[u.device]; r != nil {
		st := Standing{State: StandingRevoked, Since: r.since, By: r.by}
		if r.sponsor {
			st.Why = WhySponsor
		}
		if s.state.wiped(u.device) {
			st.State, st.Why = StandingWiped, ""
		}
		return st, true
	}
	if u.form == FormSponsored {
		for _, by := range u.sponsors {
			if r := s.state.revoked[by.device]; r != nil {
				return Standing{State: StandingRevoked, Why: WhySponsorRevoked, Since: r.since, By: r.by}, true
			}
			if !s.state.inForce(by.root) {
				return Standing{State: StandingRevoked, Why: WhyWithdrawn, Since: s.state.current().created}, true
			}
		}
		return Standing{}, false
	}
	if since, ok := s.state.registrars[device{u.device.org, u.above.registrar}]; ok {
		return Standing{State: StandingRevoked, Why: WhyRegistrarRevoked, Since: since, By: u.device.org}, true
	}
	if !s.state.inForce(u.above.root) {
		return Standing{State: StandingRevoked, Why: WhyWithdrawn, Since: s.state.current().created}, true
	}
	return Standing{}, false
}

// inTime looks at the clock, and at the grace of a declared incident: 14 days
// for what an authority or a registrar has issued, but never past the end of a
// registrar's own certificate, and none for what people vouch for.
func (s *TrustStore) inTime(u subject, now time.Time) Standing {
	if now.Before(u.from) {
		return Standing{State: StandingExpired, Until: u.to}
	}
	if !now.After(u.to) {
		return Standing{State: StandingValid, Until: u.to}
	}
	end := u.to.Add(GraceLife)
	if registrar := u.above.registrarEnd; !registrar.IsZero() && registrar.Before(end) {
		end = registrar
	}
	if u.form == FormChain && !now.After(end) && s.state.declares(u.device.org, now) {
		return Standing{State: StandingGrace, Until: end}
	}
	return Standing{State: StandingExpired, Until: u.to}
}

// overFive reports whether one of those who vouch did so for five other
// devices that come before this one and were live when it began. It stays so
// when one of the five ends; when one is taken back, this one has its place.
func (s *TrustStore) overFive(c *Credential) bool {
	for _, by := range c.Sponsors {
		if s.sponsored.before(humanOf(by.Person), c.KeyHash(), c.NotBefore, s.isOut) >= MaxSponsoring {
			return true
		}
	}
	return false
}

func (s *TrustStore) isOut(v *seenCredential) bool {
	return s.state.revoked[device{v.org, v.key}] != nil
}

// refusal turns a standing into the error of a check, nil for those who may.
func (st Standing) refusal(what string, from, to time.Time) error {
	switch st.State {
	case StandingExpired:
		if st.Until.Before(to) {
			to = st.Until
		}
		return refuseAs(ErrExpired, checkTime, "the %s holds from %s to %s: look at the clock of this device, or ask the authority for a new one",
			what, from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339))
	case StandingWiped:
		return refuseAs(ErrRevoked, checkWiped, "the device has been ordered to erase itself")
	case StandingRevoked:
		return st.revoked()
	}
	return nil
}

func (st Standing) revoked() error {
	switch st.Why {
	case WhyWithdrawn:
		return refuseAs(ErrRevoked, checkWithdrawn, "the trust bundle in force no longer names the authority")
	case WhyRegistrarRevoked:
		return refuseAs(ErrRevoked, checkRegistrarRevoked, "the registrar who issued it is revoked")
	case WhySponsor, WhySponsorRevoked:
		return refuseAs(ErrRevoked, checkSponsorRevoked, "one who vouched took it back, or is revoked")
	case WhyOverFive:
		return refuseAs(ErrRevoked, checkSponsorLive, "one who vouched does so for more than %d", MaxSponsoring)
	}
	return refuseAs(ErrRevoked, checkRevoked, "the device is revoked")
}
