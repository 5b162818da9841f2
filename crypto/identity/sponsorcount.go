package identity

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"time"
)

// sponsoredSeen remembers break-glass credentials, by the hash of their leaf,
// so that the live sponsorships of each person can be counted; or what this
// device has vouched for, by the same hash. What is in it has been verified.
type sponsoredSeen map[[32]byte]*seenCredential

type seenCredential struct {
	key      [32]byte // of the device
	org      string
	from, to time.Time
	people   []string // humanOf those who vouch
}

func (m sponsoredSeen) note(c *Credential) {
	seen := &seenCredential{key: c.KeyHash(), org: c.Person.Org, from: c.NotBefore, to: c.NotAfter}
	for _, by := range c.Sponsors {
		seen.people = append(seen.people, humanOf(by.Person))
	}
	m.add(sponsoredID(c), seen, maxSponsoredSeen)
}

// sponsoredID is the hash of the credential's leaf; the form has been checked.
func sponsoredID(c *Credential) [32]byte {
	_, sp, err := decodeCredential([]byte(c.Raw))
	if err != nil || sp == nil {
		return sha256.Sum256([]byte(c.Raw))
	}
	return sha256.Sum256(sp.leaf)
}

// add forgets the one that ended first when there are as many as limit.
func (m sponsoredSeen) add(id [32]byte, seen *seenCredential, limit int) {
	if old, ok := m[id]; ok {
		for _, p := range old.people {
			if !slices.Contains(seen.people, p) {
				seen.people = append(seen.people, p)
			}
		}
	} else if len(m) >= limit {
		var first [32]byte
		var end time.Time
		for k, v := range m {
			if end.IsZero() || v.to.Before(end) || v.to.Equal(end) && bytes.Compare(k[:], first[:]) < 0 {
				first, end = k, v.to
			}
		}
		delete(m, first)
	}
	m[id] = seen
}

// others adds to found the devices other than key that the person vouches for
// and that had not ended when the one asked about begins. Those who are out are
// not counted. No clock plays a part, so that the answer is the same on every
// device that knows the same credentials and statements.
func (m sponsoredSeen) others(found map[[32]byte]*seenCredential, person string, key [32]byte, from time.Time, out func(*seenCredential) bool) {
	for _, v := range m {
		if v.key != key && slices.Contains(v.people, person) && !v.to.Before(from) && !out(v) {
			if had := found[v.key]; had == nil || v.from.Before(had.from) {
				found[v.key] = v
			}
		}
	}
}

// before counts those of the others that come before the one asked about: they
// began earlier, or at the same second with a lower key. The order makes every
// device refuse the same one.
func (m sponsoredSeen) before(person string, key [32]byte, from time.Time, out func(*seenCredential) bool) int {
	found := map[[32]byte]*seenCredential{}
	m.others(found, person, key, from, out)
	n := 0
	for _, v := range found {
		n += b2i(v.from.Before(from) || v.from.Equal(from) && bytes.Compare(v.key[:], key[:]) < 0)
	}
	return n
}
