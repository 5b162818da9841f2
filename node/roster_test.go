package node

import (
	"errors"
	"testing"
	"time"

	"tocsin/crypto/group"
	"tocsin/node/message"
)

// trio is three nodes in one group of the first.
func trio(t *testing.T, w *world, options ...func(*Config)) (a, b, c *Node, g string) {
	t.Helper()
	a = w.enrol("Amal", orgHospital).start(t, options...)
	b = w.enrol("Ben", orgAmbulance).start(t, append(options, knows(a))...)
	c = w.enrol("Chidi", orgHospital).start(t, append(options, knows(a, b))...)
	ready(t, 2, a, b, c)
	g = makeGroup(t, a, b, c)
	inGroup(t, g, a, b, c)
	return a, b, c, g
}

// TestRemovedMemberReadsNothingAfter: and what they say later, under the epoch that
// they still hold, is kept and flagged.
func TestRemovedMemberReadsNothingAfter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b, c, g := trio(t, w)
	say(t, c, g, "before")
	shows(t, a, g, "before")
	shows(t, b, g, "before")
	check(t, c.SetOnline(false)) // hears nothing of it
	check(t, a.RemoveMember(t.Context(), g, "Chidi"))
	say(t, a, g, "without Chidi")
	shows(t, b, g, "before", "without Chidi")
	say(t, c, g, "after")
	check(t, c.SetOnline(true))
	for _, n := range []*Node{a, b} {
		eventually(t, "what was said after is kept", func() bool { return len(texts(t, n, g)) == 3 })
		items, err := n.Messages(g, 0, 0)
		check(t, err)
		for _, it := range items {
			if want := message.Words(it.Message.Content) == "after"; it.Removed != want {
				t.Errorf("%q: flagged %v", message.Words(it.Message.Content), it.Removed)
			}
		}
	}
	eventually(t, "all is synchronised", func() bool { return c.logs.Frontier().Hash() == a.logs.Frontier().Hash() })
	if got := texts(t, c, g); len(got) != 2 {
		t.Errorf("the removed member reads %q", got)
	}
}

func TestOnlyAdminsChangeAGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b, c, g := trio(t, w)
	if err := b.RemoveMember(t.Context(), g, "Chidi"); !errors.Is(err, ErrInvalid) {
		t.Errorf("a plain member removes: %v", err)
	}
	if err := a.SetRole(t.Context(), g, "Ben", "queen"); !errors.Is(err, ErrInvalid) {
		t.Errorf("an unknown role: %v", err)
	}
	check(t, a.SetRole(t.Context(), g, "Ben", "admin"))
	role := func(n *Node, name string) string {
		roster, err := n.Roster(g)
		check(t, err)
		for _, m := range roster {
			if m.Name == name {
				return m.Role
			}
		}
		return ""
	}
	eventually(t, "Ben is told", func() bool { return role(b, "Ben") == "admin" })
	check(t, b.RemoveMember(t.Context(), g, "Chidi"))
	eventually(t, "Amal is told", func() bool { return role(a, "Chidi") == "" })
	if err := b.RemoveMember(t.Context(), g, "Chidi"); !errors.Is(err, ErrInvalid) {
		t.Errorf("removing one who is gone: %v", err)
	}
	if _, err := c.Roster("00"); !errors.Is(err, ErrInvalid) {
		t.Errorf("a roster of nothing: %v", err)
	}
}

func TestLeavingAGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b, c, g := trio(t, w)
	say(t, a, g, "kept by the one who left")
	shows(t, c, g, "kept by the one who left")
	check(t, c.LeaveGroup(t.Context(), g))
	if _, err := c.Send(t.Context(), g, message.NewText("x", time.Time{}), "routine"); err == nil {
		t.Error("one who left sends on")
	}
	for _, n := range []*Node{a, b} {
		eventually(t, "the others are told", func() bool { r, err := n.Roster(g); return err == nil && len(r) == 2 })
	}
	say(t, b, g, "after")
	shows(t, a, g, "kept by the one who left", "after")
	eventually(t, "all is synchronised", func() bool { return c.logs.Frontier().Hash() == a.logs.Frontier().Hash() })
	shows(t, c, g, "kept by the one who left")
}

// TestGroupWithoutAdminGetsOne: the authority names one, whose device takes it over
// by itself.
func TestGroupWithoutAdminGetsOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b, c, g := trio(t, w)
	publish(t, b, w.revoke(1, orgHospital, a)) // the only admin
	id, err := parseGroupID(g)
	check(t, err)
	raw, err := w.authorities[orgAmbulance].NameAdmin(w.bundle.MeshID(), [32]byte(id), b.self, time.Now(), nil)
	check(t, err)
	publish(t, c, raw)
	eventually(t, "Ben is admin", func() bool {
		roster, err := c.Roster(g)
		check(t, err)
		for _, m := range roster {
			if m.Name == "Ben" && m.Role == group.RoleAdmin.String() {
				return true
			}
		}
		return false
	})
	check(t, b.RemoveMember(t.Context(), g, "Chidi"))
	eventually(t, "Chidi is told nothing more, and Ben has removed her", func() bool { r, err := b.Roster(g); return err == nil && len(r) == 2 })
}

// TestDirectGroupStaysBetweenTwo: a third person cannot be added.
func TestDirectGroupStaysBetweenTwo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	c := w.enrol("Chidi", orgHospital).start(t, knows(a, b))
	ready(t, 2, a, b, c)
	conv, err := a.CreateGroup(t.Context(), GroupSpec{Kind: "direct", Members: []string{"Ben"}})
	check(t, err)
	g := group.ID(conv.ID).String()
	inGroup(t, g, a, b)
	if err := a.AddMember(t.Context(), g, "Chidi"); err == nil {
		_, err = a.Send(t.Context(), g, message.NewText("between us", time.Time{}), "routine")
		if err == nil {
			t.Error("a third person was added to a direct conversation, and it is sent in")
		}
	}
}
