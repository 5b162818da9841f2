package group

import (
	"time"

	"tocsin/crypto/identity"
)

// SealToward seals payload for one other device of a group, in one entry however
// many parts the group has: under an epoch that both read. Whoever else is on its
// list can read it, too. Of a group of several parts that is the part of this
// device with who announced the epoch, so that an answer goes back by the way
// the question came and nobody announces for it, also after devices were added;
// after a removal it waits for who is to be told to announce. Errors: [ErrNoEpoch]
// where both read none that only the present audience reads, and those of
// [Keyring.SealPart].
func (k *Keyring) SealToward(id ID, device identity.LogID, at Place, payload []byte, now time.Time) (*Sealed, error) {
	g, err := k.saying(id, at, payload)
	if err != nil {
		return nil, err
	}
	e := k.between(g, k.Newest(device), now)
	if e == nil {
		return nil, ErrNoEpoch
	}
	return k.sealUnder(e, nil, at, payload)
}

// Shares reports whether [Keyring.SealToward] finds an epoch.
func (k *Keyring) Shares(id ID, device identity.LogID, now time.Time) bool {
	g, err := k.announcing(id)
	return err == nil && k.between(g, k.Newest(device), now) != nil
}

// between returns the best epoch that this device and another read and that
// nobody reads who is out of the group's present audience, and nil if there is
// none. It need not be of a part as the audience is cut now: one device more cuts
// every part anew, and must not cut the way back. One that is due for rotation
// still serves where no other does.
func (k *Keyring) between(g *groupState, device identity.LogID, now time.Time) *epoch {
	var fallback *epoch
	for _, e := range g.toward {
		switch {
		case !e.reaches(device):
		case k.fresh(g, e, now):
			return e
		case fallback == nil && e.chains[k.cfg.Self].next < MaxGeneration:
			fallback = e
		}
	}
	return fallback
}
