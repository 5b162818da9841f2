package group

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"tocsin/crypto/identity"
)

func TestWeeklyPreKeys(t *testing.T) {
	d := newDevice(t, 1)
	first, changes, err := d.k.PreKeyUpdate(start)
	if err != nil || first == nil {
		t.Fatal(err)
	}
	d.apply(changes)
	for _, later := range []time.Duration{0, time.Hour, Week - time.Second} {
		if payload, changes, err := d.k.PreKeyUpdate(start.Add(later)); payload != nil || changes != nil || err != nil {
			t.Errorf("published again after %v", later)
		}
	}
	d.reload()
	second, changes, err := d.k.PreKeyUpdate(start.Add(Week))
	if err != nil {
		t.Fatal(err)
	}
	d.apply(changes)
	a, b := must(ParsePreKeys(first)), must(ParsePreKeys(second))
	if b.FirstWeek != a.FirstWeek+1 || !slices.Equal(a.Public[1:], b.Public[:3]) || len(d.k.own) != 5 {
		t.Errorf("weeks %d and %d, %d private keys; three keys stay", a.FirstWeek, b.FirstWeek, len(d.k.own))
	}
	if payload, _, err := d.k.PreKeyUpdate(time.Unix(-1, 0)); payload != nil || err == nil {
		t.Error("prekeys before 1970")
	}
	// A new incarnation publishes anew: prekeys belong to a log.
	d.log.Incarnation++
	d.reload()
	if payload, _, err := d.k.PreKeyUpdate(start.Add(Week)); payload == nil || err != nil {
		t.Errorf("a new incarnation does not publish: %v", err)
	}
}

func TestWhichPreKey(t *testing.T) {
	p := &PreKeys{FirstWeek: 100}
	for week, want := range map[uint32]int{99: 3, 100: 0, 101: 1, 103: 3, 104: 3, 5000: 3} {
		if got := p.held().pick(week); got != want {
			t.Errorf("in week %d key %d is used, want %d", week, got, want)
		}
	}
	ds, _ := meet(t, 2, start)
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {4 * Week, true}, {8*Week - time.Second, true}, {8 * Week, false}} {
		if got := ds[0].k.HasPreKey(ds[1].log, start.Add(c.after)); got != c.want {
			t.Errorf("after %v a live prekey is held: %v", c.after, got)
		}
	}
	if ds[0].k.HasPreKey(newDevice(t, 9).log, start) {
		t.Error("a prekey of a stranger is held")
	}
}

// Delivery is promised for 28 days: whatever is sealed to a published prekey
// in its time can be opened 28 days later.
func TestDeliveryAfterFourWeeks(t *testing.T) {
	ds, id := meet(t, 2, start)
	a, b := ds[0], ds[1]
	now := start
	var epochs []*Announce
	var messages []sent
	var at []time.Time
	for range 27 { // b hears nothing for weeks, and its clock runs
		now = now.Add(24 * time.Hour)
		a.publish(now)
		e := a.announce(id, now)
		epochs, messages, at = append(epochs, e), append(messages, a.seal(id, "day", now)), append(at, now)
		a.apply(a.k.Expire(now, 24*time.Hour))
		b.apply(b.k.Expire(now, 24*time.Hour))
	}
	now = now.Add(24 * time.Hour)
	b.apply(b.k.Expire(now, 24*time.Hour))
	b.reload()
	for i, e := range epochs {
		if l := b.learn(a, e.Pages, now); !l.Complete {
			t.Fatalf("the epoch of %v cannot be opened at %v", at[i], now)
		}
		b.mustOpen(messages[i], now)
	}
	b.checkDisk()
}

func TestExpire(t *testing.T) {
	ds, id := meet(t, 2, start)
	d := ds[0]
	m := ds[1].seal(id, "old", start)
	now := start
	pass := func(wall, running time.Duration) {
		now = now.Add(wall)
		d.apply(d.k.Expire(now, running))
		d.checkDisk()
	}
	pass(0, 0)
	alive := func() bool { return len(d.k.epochs) == 1 && len(d.k.own) == 4 }
	// The clock is set forward by years, and back: nothing is destroyed.
	pass(10*365*24*time.Hour, time.Hour)
	pass(time.Hour, time.Hour)
	pass(-10*365*24*time.Hour, time.Hour)
	pass(-48*time.Hour, 0)
	if !alive() {
		t.Fatal("setting the clock destroyed secrets")
	}
	// Switched off for two months: nothing either.
	pass(60*24*time.Hour, 0)
	if !alive() {
		t.Fatal("being switched off destroyed secrets")
	}
	elapsed := d.k.clock.elapsed
	if elapsed > uint64(4*time.Hour/time.Second) {
		t.Errorf("%d s counted", elapsed)
	}
	pass(-time.Hour, 0)
	if d.k.clock.elapsed != elapsed {
		t.Errorf("%d s counted while the clock went back an hour", d.k.clock.elapsed-elapsed)
	}
	pass(time.Hour, 72*time.Hour) // it was set back while the process ran
	if got := d.k.clock.elapsed - elapsed; got != 72*3600 {
		t.Errorf("%d s counted of 72 h", got)
	}
	elapsed = d.k.clock.elapsed
	// A machine that ran on while locked: the process has counted.
	pass(72*time.Hour, 72*time.Hour)
	if got := d.k.clock.elapsed - elapsed; got != 72*3600 {
		t.Errorf("%d s counted of 72 h", got)
	}
	for range 28 {
		pass(24*time.Hour, 0)
	}
	if !alive() {
		t.Fatal("destroyed before 35 days")
	}
	d.mustOpen(m, now)
	for range 2 {
		pass(24*time.Hour, 0)
	}
	if len(d.k.epochs) != 0 {
		t.Error("an epoch outlived 35 days")
	}
	if len(d.k.own) != 3 {
		t.Errorf("%d private prekeys; that of the first week is due", len(d.k.own))
	}
	for key, value := range d.disk {
		if bytes.Contains([]byte(key), []byte("chain")) || bytes.Contains([]byte(key), []byte("seed")) {
			t.Errorf("record %s of a dead epoch: %x", key, value)
		}
	}
	refused(t, "after the end", d, m, ErrDestroyed)
	for range 4 * 7 {
		pass(24*time.Hour, 0)
	}
	if len(d.k.own) != 0 {
		t.Errorf("%d private prekeys outlive their 35 days", len(d.k.own))
	}
}

// An epoch with skipped seeds and gaps leaves nothing behind.
func TestExpireLeavesNothing(t *testing.T) {
	ds, id := meet(t, 2, start)
	a, b := ds[0], ds[1]
	b.k.maxSeeds = 5
	var messages []sent
	for range 30 {
		messages = append(messages, a.seal(id, "x", start))
	}
	for _, i := range []int{4, 20, 12, 29} {
		b.mustOpen(messages[i], start)
	}
	other := a.announce(id, start)
	_, changes, err := b.k.LearnEpoch(a.place(), [32]byte{}, other.Pages[1], start)
	if err != nil {
		t.Fatal(err)
	}
	b.apply(changes)
	if b.k.seeds == 0 || len(b.k.partials) != 1 {
		t.Fatal("nothing to leave behind")
	}
	for i := range 40 {
		b.apply(b.k.Expire(start.Add(time.Duration(i)*24*time.Hour), 0))
	}
	b.checkDisk()
	for key := range b.disk {
		for _, word := range []string{"chain", "seed", "gap", "epoch", "partial"} {
			if bytes.HasPrefix([]byte(key), []byte(keyPrefix+word)) {
				t.Errorf("left behind: %s", key)
			}
		}
	}
}

func TestPreKeyLimits(t *testing.T) {
	d := newDevice(t, 1)
	other := newDevice(t, 2)
	payload, _, err := other.k.PreKeyUpdate(start)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{nil, payload[:100], append(bytes.Clone(payload), 0), append([]byte{2}, payload[1:]...),
		append([]byte{1, 255, 255, 255, 255}, payload[5:]...), append(bytes.Clone(payload[:5]), bytes.Repeat([]byte{255}, len(payload)-5)...)} {
		if _, err := d.k.LearnPreKeys(other.log, bad, start); !errors.Is(err, ErrInvalid) {
			t.Errorf("%d bytes: %v", len(bad), err)
		}
	}
	set := must(ParsePreKeys(payload)).held()
	for i := range MaxPreKeyDevices {
		d.k.prekeys[identity.LogID{Incarnation: uint32(i)}] = set
	}
	if _, err := d.k.LearnPreKeys(other.log, payload, start); !errors.Is(err, ErrLimit) {
		t.Errorf("one device too many: %v", err)
	}
	// A clock moved about makes a new set each time, but not for ever.
	var last error
	for i := range 40 {
		now := start.Add(time.Duration(i*4) * Week)
		_, changes, err := other.k.PreKeyUpdate(now)
		if last = err; err != nil {
			break
		}
		other.apply(changes)
	}
	if !errors.Is(last, ErrLimit) || len(other.k.own) > MaxOwnPreKeys {
		t.Errorf("%d private prekeys: %v", len(other.k.own), last)
	}
}

func TestAnnounceNeedsOwnPreKey(t *testing.T) {
	d := newDevice(t, 1)
	id := d.create(KindTeam, "Alone")
	if _, err := d.k.Announce(id, start); err == nil {
		t.Error("announced without a prekey of its own")
	}
}

// At a start the keys to seal to are read ahead, and no more than are kept.
func TestReadAhead(t *testing.T) {
	ds, id := meet(t, 4, start)
	a := ds[0]
	a.reload()
	a.apply(a.k.Expire(start, 0))
	if len(a.k.parsed) != 3 {
		t.Fatalf("%d keys are ready", len(a.k.parsed))
	}
	ready := maps.Clone(a.k.parsed)
	if missing := a.announce(id, start).Missing; len(missing) != 0 || !maps.Equal(ready, a.k.parsed) {
		t.Errorf("the announce read keys anew; missing %v", missing)
	}
	for i := range maxParsed {
		a.k.parsed[[32]byte{1, byte(i), byte(i >> 8)}] = nil
	}
	n := len(a.k.parsed)
	if a.apply(a.k.Expire(start.Add(Week), 0)); len(a.k.parsed) != n {
		t.Errorf("%d keys are kept", len(a.k.parsed))
	}
}
