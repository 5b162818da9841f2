package identity

import (
	"bytes"
	"cmp"
	"slices"
	"time"
)

// Wipe orders. Each is a revocation for ever. Which of them are also orders is
// bounded for registrars, in two ways that a stolen key cannot get around: of one
// registrar's orders of one day (UTC, as they are dated) the first five by date
// and id count, which is the same on every device whatever came first; and a
// device carries out none that it takes more than a day after its date, or
// orders dated into every day of the past would add up. An authority's orders
// know neither bound.

// wipeDay is one day of one registrar: days of 24 hours since 1970.
type wipeDay struct {
	registrar [32]byte
	day       int64
}

func (w *WipeOrder) day() wipeDay { return wipeDay{w.registrar, w.Time.Unix() / (24 * 60 * 60)} }

func (w *WipeOrder) byRegistrar() bool { return w.registrar != [32]byte{} }

// takeWipe revokes the device of the order, whether or not it is to erase
// itself. Of a registrar of whom too many are kept, nothing but that follows.
func (s *TrustStore) takeWipe(st *statement, v *voice, k keptStatement, e *Effect) error {
	w, err := parseWipe(st)
	if err != nil {
		return err
	}
	person, err := s.checkEvidence(v, w.Key, w.evidence)
	if err != nil {
		return err
	}
	w.ID, w.Org = k.id, v.org
	limit := maxKeptStatements
	if v.kind == byRegistrar {
		w.registrar, w.late = v.key, k.taken.Sub(w.Time) > RegistrarWipeDelay
		limit = maxKeptOfRegistrar
	}
	full := s.state.full(k, limit)
	if full && !w.byRegistrar() || s.state.count(v.org) >= maxKeptRevoked {
		return refuse(checkStatementFull, "more wipe orders than can be kept")
	}
	d := device{v.org, w.Key}
	was := s.state.wiped(d)
	news := s.state.revoke(d, revocation{since: w.Time, by: v.org, wiped: !w.byRegistrar()})
	if full {
		w.RevokesOnly = true
		e.Wipe, e.Known = w, !news
	} else {
		s.state.addWipe(w)
		s.state.keep(k, false)
		e.Wipe = s.state.order(w)
	}
	if wiped := s.state.wiped(d); news || wiped && !was {
		e.Revoked = []Revocation{{Key: d.key, Org: d.org, Since: w.Time, By: v.org, Wiped: wiped, Person: person}}
	}
	return nil
}

// addWipe keeps an order; those of a registrar in the order of date and id.
func (s *state) addWipe(w *WipeOrder) {
	s.wipes[w.ID] = w
	if !w.byRegistrar() {
		return
	}
	list := append(s.wipeDays[w.day()], w)
	slices.SortFunc(list, func(a, b *WipeOrder) int {
		return cmp.Or(a.Time.Compare(b.Time), bytes.Compare(a.ID[:], b.ID[:]))
	})
	s.wipeDays[w.day()] = list
	d := device{w.Org, w.Key}
	s.registrarWipes[d] = append(s.registrarWipes[d], w)
}

// counts reports whether w is an order and not only a revocation. One that has
// its receipt stays an order: what is erased cannot be had back.
func (s *state) counts(w *WipeOrder) bool {
	if !w.byRegistrar() || s.receipts[w.ID] != nil {
		return true
	}
	day := s.wipeDays[w.day()]
	return slices.Contains(day[:min(len(day), RegistrarWipesADay)], w)
}

// wiped reports whether an order counts that the device erase itself.
func (s *state) wiped(d device) bool {
	r := s.revoked[d]
	if r == nil || r.wiped {
		return r != nil
	}
	return slices.ContainsFunc(s.registrarWipes[d], s.counts)
}

// order returns w for others: whether it is to be carried out here, too.
func (s *state) order(w *WipeOrder) *WipeOrder {
	out := *w
	out.RevokesOnly = !s.counts(w) || w.late && s.receipts[w.ID] == nil
	return &out
}

// WipeFor returns the order that the device of c is to carry out at now, if
// there is one. A device asks for itself after every statement and at start.
func (s *TrustStore) WipeFor(c *Credential, now time.Time) (*WipeOrder, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, w := range s.state.wipes {
		if w.Org != c.Person.Org || w.Key != c.KeyHash() {
			continue
		}
		if order := s.state.order(w); order.Due(now) {
			return order, true
		}
	}
	return nil, false
}

// ReceiptFor returns the receipt for an order, if it has come.
func (s *TrustStore) ReceiptFor(order [32]byte) (*WipeReceipt, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, ok := s.state.receipts[order]
	if !ok {
		return nil, false
	}
	receipt := *r
	return &receipt, true
}
