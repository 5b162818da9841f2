package identity

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"time"
)

// sponsoredSeen remembers break-glass credentials, by the hash of their leaf,
// so that the live sponsorships of each person can be counted. What is in it
// has been verified.
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
	m.add(sponsoredID(c), seen)
}

// sponsoredID is the hash of the credential's leaf; the form has been checked.
func sponsoredID(c *Credential) [32]byte {
	_, sp, err := decodeCredential(c.Raw)
	if err != nil || sp == nil {
		return sha256.Sum256(c.Raw)
	}
	return sha256.Sum256(sp.leaf)
}

// add forgets the one that ended first when there are too many.
func (m sponsoredSeen) add(id [32]byte, seen *seenCredential) {
	if old, ok := m[id]; ok {
		for _, p := range old.people {
			if !slices.Contains(seen.people, p) {
				seen.people = append(seen.people, p)
			}
		}
	} else if len(m) == maxSponsoredSeen {
		var first [32]byte
		var end time.Time
		for k, v := range m {
			if end.IsZero() || v.to.Before(end) {
				first, end = k, v.to
			}
		}
		delete(m, first)
	}
	m[id] = seen
}

// before counts the other devices that the person vouches for at t and that
// come before the one asked about: those which began earlier, or at the same
// second with a lower key. revoked ones are not counted. The order makes every
// device that knows the same credentials refuse the same one.
func (m sponsoredSeen) before(person string, key [32]byte, from, t time.Time, revoked func(*seenCredential) bool) int {
	others := map[[32]byte]bool{}
	for _, v := range m {
		if v.key == key || !slices.Contains(v.people, person) || t.Before(v.from) || t.After(v.to) || revoked(v) {
			continue
		}
		if v.from.Before(from) || v.from.Equal(from) && bytes.Compare(v.key[:], key[:]) < 0 {
			others[v.key] = true
		}
	}
	return len(others)
}
