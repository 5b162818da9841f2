package node

import (
	"fmt"
	"time"

	"tocsin/crypto/identity"
	"tocsin/node/inbox"
)

// Standing is what there is to say of a credential now.
type Standing struct {
	State string    `json:"state"` // valid, provisional, grace, expired, revoked or wiped
	Words string    `json:"words"` // one sentence; empty where there is nothing to say
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

// good reports that the credential counts.
func (s Standing) good() bool {
	return s.State == identity.StandingValid.String() || s.State == identity.StandingProvisional.String() ||
		s.State == identity.StandingGrace.String()
}

// Sponsored is how colleagues vouched for a device. It stays with the device for
// good.
type Sponsored struct {
	Kind     string    `json:"kind"`     // own-device or break-glass
	Sponsors []string  `json:"sponsors"` // their names
	Groups   []string  `json:"groups,omitempty"`
	Until    time.Time `json:"until"`
	Ended    bool      `json:"ended"`
}

// WipeState is what is known of a device that was ordered to wipe itself.
type WipeState struct {
	Ordered time.Time `json:"ordered"`
	Receipt time.Time `json:"receipt,omitzero"` // when it says that it destroyed its keys
}

func standingOf(s identity.Standing) Standing {
	return Standing{State: s.State.String(), Words: standingWords(s), Since: s.Since, Until: s.Until}
}

func standingWords(s identity.Standing) string {
	date := func(t time.Time) string { return t.UTC().Format("2 January 2006 15:04 MST") }
	switch s.State {
	case identity.StandingProvisional:
		switch s.Why {
		case identity.WhyRegistrar:
			return fmt.Sprintf("Admitted by a registrar until %s.", date(s.Until))
		case identity.WhyOwnDevice:
			return fmt.Sprintf("Admitted by another device of the same person until %s.", date(s.Until))
		case identity.WhyBreakGlass:
			return fmt.Sprintf("Admitted by three colleagues, not by an authority, until %s.", date(s.Until))
		}
		return fmt.Sprintf("Provisional until %s.", date(s.Until))
	case identity.StandingGrace:
		return fmt.Sprintf("The credential has run out; in the declared incident it counts until %s.", date(s.Until))
	case identity.StandingExpired:
		return fmt.Sprintf("The credential does not count now; it ends on %s.", date(s.Until))
	case identity.StandingRevoked:
		return revokedWords(s, date(s.Since))
	case identity.StandingWiped:
		return fmt.Sprintf("Ordered to destroy its keys by %s on %s.", s.By, date(s.Since))
	}
	return ""
}

func revokedWords(s identity.Standing, since string) string {
	switch s.Why {
	case identity.WhyWithdrawn:
		return fmt.Sprintf("The authority behind it left this mesh on %s.", since)
	case identity.WhyRegistrarRevoked:
		return fmt.Sprintf("The registrar who admitted it was revoked on %s.", since)
	case identity.WhySponsor:
		return fmt.Sprintf("One who vouched for it took that back on %s.", since)
	case identity.WhySponsorRevoked:
		return fmt.Sprintf("One who vouched for it was revoked by %s on %s.", s.By, since)
	case identity.WhyOverFive:
		return "One who vouched for it vouches for more than five."
	}
	return fmt.Sprintf("Revoked by %s since %s. What was said before stays as it was.", s.By, since)
}

func sponsoredOf(c *identity.Credential, now time.Time) *Sponsored {
	if len(c.Sponsors) == 0 {
		return nil
	}
	s := &Sponsored{Kind: sponsorOwnDevice, Until: c.NotAfter, Ended: now.After(c.NotAfter)}
	if c.BreakGlass {
		s.Kind = sponsorBreakGlass
	}
	for _, by := range c.Sponsors {
		s.Sponsors = append(s.Sponsors, by.Name)
	}
	for _, g := range c.Groups {
		s.Groups = append(s.Groups, fmt.Sprintf("%x", g))
	}
	return s
}

// wipeOf is what is known of the wipe of a device, nil for nothing.
func (n *Node) wipeOf(c *identity.Credential, s identity.Standing) *WipeState {
	if s.State != identity.StandingWiped {
		return nil
	}
	w := &WipeState{Ordered: s.Since}
	if order, ok := n.trust.WipeFor(c, s.Since); ok {
		if receipt, ok := n.trust.ReceiptFor(order.ID); ok {
			w.Receipt = receipt.Time
		}
	}
	return w
}

// badgeOf is the standing of an author as the inbox shows it.
func badgeOf(c *identity.Credential, s identity.Standing) string {
	switch s.State {
	case identity.StandingWiped:
		return inbox.BadgeWiped
	case identity.StandingRevoked:
		return inbox.BadgeRevoked
	case identity.StandingExpired:
		return inbox.BadgeExpired
	case identity.StandingGrace:
		return inbox.BadgeGrace
	}
	switch {
	case len(c.Sponsors) > 0:
		return inbox.BadgeSponsored
	case c.Registrar:
		return inbox.BadgeRegistrar
	case s.State == identity.StandingProvisional:
		return inbox.BadgeProvisional
	}
	return ""
}

// RevocationAge is how old what an issuer said of revoked devices is.
type RevocationAge struct {
	Issuer     string    `json:"issuer"`
	Registrar  bool      `json:"registrar,omitempty"`
	Number     uint64    `json:"number"`
	Updated    time.Time `json:"updated,omitzero"` // zero: it has said nothing yet
	AgeSeconds int64     `json:"age_seconds"`
	State      string    `json:"state"` // fresh (up to a day), ageing (up to a week), stale or none
	Words      string    `json:"words"`
}

func revocationAges(ages []identity.IssuerAge) []RevocationAge {
	out := make([]RevocationAge, 0, len(ages))
	for _, a := range ages {
		r := RevocationAge{
			Issuer: a.Org, Registrar: a.Registrar, Number: a.Number, Updated: a.ThisUpdate,
			AgeSeconds: int64(a.Age / time.Second), State: a.State.String(),
		}
		if a.ThisUpdate.IsZero() {
			r.State, r.AgeSeconds = "none", 0
			r.Words = fmt.Sprintf("No revocation data of %s has ever come here.", a.Org)
		} else {
			r.Words = fmt.Sprintf("Revocation data of %s is %s old (%s).", a.Org, span(a.Age), r.State)
		}
		out = append(out, r)
	}
	return out
}

// span is a length of time in words, rounded down.
func span(d time.Duration) string {
	n, unit := int64(d/time.Minute), "minute"
	switch {
	case d >= 48*time.Hour:
		n, unit = int64(d/(24*time.Hour)), "day"
	case d >= 2*time.Hour:
		n, unit = int64(d/time.Hour), "hour"
	}
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", max(n, 0), unit)
}

// Declared is an incident that an organisation has declared and not stood down.
type Declared struct {
	Org      string    `json:"org"`
	Incident string    `json:"incident"`
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until,omitzero"`
}

func declaredOf(list []identity.Incident) []Declared {
	var out []Declared
	for _, i := range list {
		out = append(out, Declared{Org: i.Org, Incident: i.Name, Since: i.Since, Until: i.Until})
	}
	return out
}
