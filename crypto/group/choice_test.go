package group

import (
	"slices"
	"testing"
	"time"

	"tocsin/crypto/identity"
)

// worlds runs a test in several worlds: epoch ids differ in each, so that the
// lowest id is not what decides by chance.
func worlds(t *testing.T, test func(t *testing.T, fresh func(n int) []*device)) {
	for world := range uint64(8) {
		test(t, func(n int) (ds []*device) {
			for i := range n {
				ds = append(ds, newDevice(t, 1000*(world+1)+uint64(i)))
			}
			return ds
		})
	}
}

// Two admins add the same device: the view is one, the heads are two. The
// announce that knows both is sent under.
func TestMostHeads(t *testing.T) {
	worlds(t, func(t *testing.T, fresh func(n int) []*device) {
		ds := fresh(3)
		for _, d := range ds {
			d.publish(start, ds...)
		}
		id := ds[0].create(KindTeam, "Ward 7")
		ds[0].add(id, RoleAdmin, ds[1])
		ds[1].learn(ds[0], ds[0].announce(id, start).Pages, start)
		ds[0].add(id, RoleMember, ds[2])
		ds[1].add(id, RoleMember, ds[2])
		a, b := ds[0].announce(id, start), ds[1].announce(id, start)
		ds[0].learn(ds[1], b.Pages, start)
		ds[1].learn(ds[0], a.Pages, start)
		if v, _ := ds[0].k.Group(id); len(v.Heads) != 2 || len(v.Members) != 3 {
			t.Fatalf("view %+v", v)
		}
		both := ds[1].announce(id, start)
		ds[0].learn(ds[1], both.Pages, start)
		for _, d := range ds[:2] {
			if m := d.seal(id, "x", start); m.s.Epoch != both.Epoch {
				t.Errorf("%s does not send under the announce that knows most", name(d))
			}
		}
	})
}

// Of two epochs, the one that reaches a member counts, also for a device that
// could not reach him itself.
func TestFewestUnreached(t *testing.T) {
	worlds(t, func(t *testing.T, fresh func(n int) []*device) {
		ds := fresh(3)
		ds[0].publish(start, ds...)
		ds[1].publish(start, ds...)
		ds[2].publish(start, ds[1])
		id := ds[0].create(KindTeam, "Ward 7")
		ds[0].add(id, RoleMember, ds[1:]...)
		partial := ds[0].announce(id, start)
		ds[1].learn(ds[0], partial.Pages, start)
		if !slices.Equal(partial.Missing, []identity.LogID{ds[2].log}) || !ds[1].k.NeedsEpoch(id, start) || ds[0].k.NeedsEpoch(id, start) {
			t.Fatal("who knows whom")
		}
		whole := ds[1].announce(id, start)
		ds[0].learn(ds[1], whole.Pages, start)
		ds[2].learn(ds[1], whole.Pages, start)
		m := ds[0].seal(id, "to all three", start)
		if m.s.Epoch != whole.Epoch {
			t.Error("sent under an epoch that leaves a member out")
		}
		ds[2].mustOpen(m, start)
	})
}

// A clock that was ahead when the epoch was learnt must not keep it for years.
func TestEpochFromTheFuture(t *testing.T) {
	ds, id := meet(t, 2, start.Add(10*365*24*time.Hour))
	if !ds[0].k.NeedsEpoch(id, start) {
		t.Error("an epoch learnt in ten years is fresh today")
	}
	if _, err := ds[0].k.Seal(id, ds[0].place(), nil, start); err != nil {
		t.Errorf("it still serves: %v", err)
	}
}

// A wrap's place must not tell whose it is.
func TestWrapsAreShuffled(t *testing.T) {
	ds, id := meet(t, 12, start)
	orders := make(map[string]bool)
	for range 3 {
		d := &draft{k: ds[0].k, devices: ds[0].k.groups[id].members}
		if _, err := ds[0].k.cfg.Rand.Read(d.random[:]); err != nil {
			t.Fatal(err)
		}
		if err := d.address(start); err != nil {
			t.Fatal(err)
		}
		var order []identity.LogID
		for _, r := range d.recipients {
			order = append(order, r.device)
		}
		if slices.Equal(order, ds[0].k.groups[id].members) {
			t.Error("wraps stand in the order of the members")
		}
		orders[string(slices.Concat(hexes(order)...))] = true
		slices.SortFunc(order, identity.LogID.Compare)
		if !slices.Equal(order, ds[0].k.groups[id].members) {
			t.Error("the shuffle lost someone")
		}
	}
	if len(orders) != 3 {
		t.Error("the order is the same each time")
	}
}

func hexes(ids []identity.LogID) (out [][]byte) {
	for _, id := range ids {
		out = append(out, modelWho(id))
	}
	return out
}
