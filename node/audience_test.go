package node

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"sync"
	"testing"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/message"
)

// TestRevocationMakesFewAnnounces: real devices after one list. Whoever sends first
// announces, and nobody does so again. How many announce before they can hear of
// each other is a matter of chance and of the machine:
// TestFewAnnounceAfterOneRevocation shows that for 200.
func TestRevocationMakesFewAnnounces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gone := w.enrol("Zoe", orgHospital).start(t)
	nodes := []*Node{gone}
	for _, name := range []string{"Amal", "Ben", "Chidi", "Dora", "Eve"} {
		nodes = append(nodes, w.enrol(name, orgHospital).start(t, knows(nodes...)))
	}
	ready(t, len(nodes)-1, nodes...)
	rest := nodes[1:]
	g := makeGroup(t, append([]*Node{rest[0], gone}, rest[1:]...)...)
	inGroup(t, g, nodes...)
	announced := func() (k uint64) {
		for _, n := range rest {
			k += n.Metrics().Announced
		}
		return k
	}
	before := announced()
	publish(t, rest[0], w.revoke(1, orgHospital, gone))
	for _, n := range rest {
		eventually(t, "the list is known", func() bool { return person(t, n, gone).Standing.State == "revoked" })
	}
	say(t, rest[0], g, "the first")
	for _, n := range rest {
		eventually(t, "it is read", func() bool { return len(texts(t, n, g)) == 1 })
	}
	var sends sync.WaitGroup
	for _, n := range rest {
		sends.Go(func() {
			_, err := n.Send(t.Context(), g, message.NewText("from "+n.cred.Claims.Name, time.Time{}), "routine")
			if err != nil {
				t.Error(err)
			}
		})
	}
	sends.Wait()
	for _, n := range rest {
		eventually(t, "everything is read", func() bool { return len(texts(t, n, g)) == len(rest)+1 })
	}
	if k := announced() - before; k != 1 {
		t.Errorf("%d announcements", k)
	}
}

// TestLargeAudienceIsOneMessage: to more devices than one epoch holds, a message
// leaves as an entry for each part, and is shown once.
func TestLargeAudienceIsOneMessage(t *testing.T) {
	t.Parallel()
	a := newWorld(t).enrol("Amal", orgHospital).start(t)
	g := makeGroup(t, a)
	id, err := parseGroupID(g)
	check(t, err)
	a.mu.Lock()
	for range group.MaxMembers + 10 {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		check(t, err)
		payload, err := a.open.keyring.AddOp(id, identity.LogID{Author: identity.KeyOf(key)}, group.RoleMember)
		check(t, err)
		check(t, a.commitOp(t.Context(), payload))
	}
	a.mu.Unlock()
	from, _ := a.logs.Head(a.self)
	first := say(t, a, g, "to all of you")
	to, _ := a.logs.Head(a.self)
	var parts []*ledger.Entry
	check(t, a.logs.Entries(t.Context(), a.self, from.Next, to.Next, func(e *ledger.Entry) error {
		if e.Header.Kind == ledger.KindData {
			parts = append(parts, e)
		}
		return nil
	}))
	if len(parts) != 2 || parts[0].Header.Commit != parts[1].Header.Commit || parts[0].Header.GroupTag == parts[1].Header.GroupTag {
		t.Fatalf("%d entries", len(parts))
	}
	for range 2 {
		shows(t, a, g, "to all of you")
		if it := mustMessages(t, a, g)[0]; ledger.ID(it.ID).String() != first.ID || it.Seq != parts[0].Header.Seq {
			t.Errorf("it is shown as %x", it.ID)
		}
		eventually(t, "the drain has come to both", func() bool {
			k := 0
			check(t, a.cfg.Vault.Scan(prefixOut, func(string, []byte) error { k++; return nil }))
			return k == 0
		})
		check(t, a.Lock())
		check(t, a.Unlock(t.Context(), []byte(passphrase)))
	}
	if p := a.Status().Problem; p != "" {
		t.Error(p)
	}
}

// TestRevokedOrWipedIsNotAdded: nobody puts them back by hand.
func TestRevokedOrWipedIsNotAdded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	ready(t, 1, a)
	g := makeGroup(t, a)
	publish(t, a, w.revoke(1, orgAmbulance, b))
	if err := a.AddMember(t.Context(), g, "Ben"); !errors.Is(err, ErrInvalid) {
		t.Errorf("adding a revoked device: %v", err)
	}
}
