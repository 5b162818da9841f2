package sim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node"
)

// What comes and goes: devices that are switched off and on, batteries, contacts of who walks
// about, sticks, spoilt disks, newcomers.

// churn switches devices off and on, for times drawn at random.
func (e *eventState) churn(s *Churn) {
	for _, i := range e.r.s.pick(s.Devices) {
		d := e.r.world.devices[i]
		draw := func(mean time.Duration) time.Duration {
			return e.r.elapsed() + min(time.Duration(e.r.rng.ExpFloat64()*float64(mean)), 4*mean)
		}
		var off, on func(context.Context) error
		off = func(context.Context) error {
			if e.ended || d.node == nil {
				return nil
			}
			e.hits++
			e.down = append(e.down, d)
			e.r.due(draw(s.Down), on)
			return d.crash()
		}
		on = func(ctx context.Context) error {
			if e.ended {
				return nil // all are brought back
			}
			e.r.due(draw(s.Up), off)
			return e.r.start(ctx, d)
		}
		e.r.due(draw(s.Up), off)
	}
}

// batteryLook is how often batteries are looked at.
const batteryLook = 10 * time.Second

// battery drains batteries by time and traffic; who is empty is off until it was charged.
func (e *eventState) battery(s *Battery) {
	for _, i := range e.r.s.pick(s.Devices) {
		d := e.r.world.devices[i]
		left := 0.3 + 0.7*e.r.rng.Float64()
		before, _ := e.r.world.net.bytes(d.ip)
		var look func(context.Context) error
		look = func(ctx context.Context) error {
			if e.ended {
				return nil
			}
			if d.node == nil { // it was charging
				left = 1
				before, _ = e.r.world.net.bytes(d.ip)
				e.r.due(e.r.elapsed()+batteryLook, look)
				return e.r.start(ctx, d)
			}
			sent, _ := e.r.world.net.bytes(d.ip)
			left -= float64(batteryLook) / float64(s.Lasts)
			if s.Megabytes > 0 {
				left -= float64(sent-before) / 1e6 / s.Megabytes
			}
			before = sent
			if left > 0 {
				e.r.due(e.r.elapsed()+batteryLook, look)
				return nil
			}
			e.hits++
			e.down = append(e.down, d)
			e.r.due(e.r.elapsed()+s.Charge, look)
			return d.crash()
		}
		e.r.due(e.r.elapsed()+batteryLook, look)
	}
}

// contacts cuts devices off from all others but while they meet them, by a plan.
func (e *eventState) contacts(s *Contacts) {
	moving := e.names(s.Devices)
	type meeting struct {
		with      map[string]bool
		at, until time.Duration
	}
	var plan []meeting
	for _, m := range s.Plan {
		plan = append(plan, meeting{e.names(m.With), m.At, m.Until})
	}
	clock, began := e.r.world.clock, e.r.world.clock.Now()
	e.fault = &netFault{cut: true, touches: func(from, to *port) bool {
		a, b := moving[from.name], moving[to.name]
		if a == b {
			return false
		}
		other := from.name
		if a {
			other = to.name
		}
		now := clock.Now().Sub(began)
		if s.Repeat > 0 {
			now %= s.Repeat
		}
		return !slices.ContainsFunc(plan, func(m meeting) bool { return m.with[other] && m.at <= now && now < m.until })
	}}
	e.off = e.r.world.net.begin(e.fault)
}

// carry has somebody walk with a stick from one device to another and back, both ways
// with all that the other may lack.
func (e *eventState) carry(s *Carry) error {
	ends := [2]*Device{e.r.world.devices[e.r.s.pick([]string{s.From})[0]], e.r.world.devices[e.r.s.pick([]string{s.To})[0]]}
	stick := filepath.Join(e.r.o.Dir, fmt.Sprintf("stick-%d", len(e.r.events)))
	if err := os.MkdirAll(stick, 0o700); err != nil {
		return fmt.Errorf("sim: preparing a stick: %w", err)
	}
	walk := 0
	var go1 func(context.Context) error
	go1 = func(ctx context.Context) error {
		if e.ended {
			return nil
		}
		from, to := ends[walk%2], ends[(walk+1)%2]
		walk++
		path := filepath.Join(stick, fmt.Sprintf("%d.tocsin", walk))
		if e.r.without(DefenceSticks) {
			e.hits++ // he walks with empty hands
		} else if from.node != nil {
			if _, err := from.node.ExportBundle(ctx, path, node.BundleSpec{}, nil); err != nil {
				return fmt.Errorf("sim: writing a stick at %s: %w", from.Name, err)
			}
			e.r.due(e.r.elapsed()+s.Walk, func(ctx context.Context) error { return e.arrive(ctx, to, path) })
		}
		e.r.due(e.r.elapsed()+max(s.Every, s.Walk), go1)
		return nil
	}
	e.r.due(e.r.elapsed()+s.Every, go1)
	return nil
}

// arrive reads a stick.
func (e *eventState) arrive(ctx context.Context, at *Device, path string) error {
	if at.node == nil || e.ended {
		return nil
	}
	rep, err := at.node.ImportBundle(ctx, path, nil)
	if err != nil {
		return fmt.Errorf("sim: reading a stick at %s: %w", at.Name, err)
	}
	e.hits += rep.New + rep.Filled
	return os.Remove(path)
}

// tamper spoils entries on the disks of devices that are switched off for that.
func (e *eventState) tamper(ctx context.Context, s *Tamper) error {
	for _, i := range e.r.s.pick(s.Devices) {
		d := e.r.world.devices[i]
		if d.node == nil {
			continue
		}
		logs, err := d.node.Logs()
		if err != nil {
			return fmt.Errorf("sim: the logs of %s: %w", d.Name, err)
		}
		if err := d.crash(); err != nil {
			return err
		}
		d.tampered = true
		for range s.Entries {
			l := logs[e.r.rng.IntN(len(logs))]
			if l.Own || l.Entries == 0 {
				continue
			}
			id, err := identity.ParseLogID(l.Log)
			if err == nil {
				err = d.store.Spoil(id, e.r.rng.Uint64N(l.Entries))
			}
			if err != nil && !errors.Is(err, ledger.ErrNotFound) {
				return fmt.Errorf("sim: spoiling an entry of %s: %w", d.Name, err)
			}
			if err == nil {
				e.hits++
			}
		}
		if err := e.r.start(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// enlist has newcomers admitted by somebody, and made members of the first group.
func (e *eventState) enlist(ctx context.Context, s *Enlist) error {
	w := e.r.world
	by, bundle := identity.Issuer(w.authority), w.bundle
	if s.By == "registrar" {
		by = w.registrar
	}
	if e.r.without(DefenceRegistrar) {
		impostor, theirs, err := w.impostor()
		if err != nil {
			return err
		}
		by, bundle = impostor, theirs
	}
	first := w.devices[e.r.groups[0].members[0]]
	if first.node == nil {
		return errors.New("sim: whoever made the first group is off, so that nobody makes newcomers members")
	}
	for range s.Count {
		d, err := w.newcomer(by, bundle, s.Site)
		if err != nil {
			return err
		}
		d.joined = w.clock.Now()
		for _, k := range e.r.rng.Perm(d.index)[:min(d.index, e.r.s.Mesh.Knows)] {
			d.cfg.Static = append(d.cfg.Static, w.devices[k].addr())
		}
		d.cfg.WitnessPause, d.cfg.TestimonyPause = e.r.s.Mesh.Testimony, e.r.s.Mesh.Testimony
		if err := e.r.start(ctx, d); err != nil {
			return err
		}
		e.hits++
		e.r.groups[0].members = append(e.r.groups[0].members, d.index)
		e.welcome(first, d)
	}
	return nil
}

// welcome makes a newcomer a member as soon as it is known.
func (e *eventState) welcome(by, d *Device) {
	var try func(context.Context) error
	try = func(ctx context.Context) error {
		if e.ended || by.node == nil {
			return nil
		}
		if err := by.node.AddMember(ctx, e.r.groups[0].id, d.log); err != nil {
			e.r.due(e.r.elapsed()+lookEvery, try) // it is not known yet
			return nil
		}
		return nil
	}
	e.r.due(e.r.elapsed()+lookEvery, try)
}
