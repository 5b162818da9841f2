package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tocsin/crypto/identity"
)

// eventState is an event of the timeline in a run.
type eventState struct {
	r     *runner
	spec  *Event
	name  string
	began bool
	ended bool
	fault *netFault // of the network, if it is one
	off   func()    // ends fault
	down  []*Device // crashed, to start again
	hits  uint64    // what it did, where that is not counted by fault
	seen  struct{ from, to time.Duration }
}

// bit is how often the event has had an effect.
func (e *eventState) bit() uint64 {
	if e.fault != nil {
		return e.r.world.net.bit(e.fault)
	}
	return e.hits
}

// plan puts the timeline and the adversaries on the agenda.
func (r *runner) plan() {
	for i := range r.s.Timeline {
		e := &eventState{r: r, spec: &r.s.Timeline[i]}
		e.name, _ = e.spec.action()
		r.events = append(r.events, e)
		r.due(e.spec.At, e.begin)
		r.due(e.spec.Until, e.end)
	}
	for i := range r.s.Adversaries {
		r.due(r.s.Adversaries[i].At, func(ctx context.Context) error { return r.hostiles(ctx, i) })
	}
}

func (e *eventState) begin(ctx context.Context) error {
	e.began, e.seen.from = true, e.r.elapsed()
	s := e.spec
	switch {
	case s.Partition != nil:
		e.cut(s.Partition)
	case s.Degrade != nil:
		e.degrade(s.Degrade)
	case s.Crash != nil:
		e.each(s.Crash.Devices, s.Crash.Every, e.crash)
	case s.Ransomware != nil:
		e.spread(s.Ransomware)
	case s.Skew != nil:
		e.skew(s.Skew)
	case s.Replay != nil:
		for _, i := range e.r.s.pick(s.Replay.Devices) {
			packets := s.Replay.Packets
			if packets == 0 {
				packets = 200
			}
			e.r.world.net.record(e.r.world.devices[i].ip, packets)
		}
	case s.Surge != nil:
		e.surge(s.Surge)
	case s.Revoke != nil:
		return e.revoke(ctx, s.Revoke)
	}
	return e.beginOther(ctx)
}

// beginOther begins what is not of the network, nor of devices that only stop.
func (e *eventState) beginOther(ctx context.Context) error {
	s := e.spec
	switch {
	case s.Clone != nil:
		return e.clone(ctx, s.Clone)
	case s.Betray != nil:
		return e.betray(s.Betray)
	case s.Steal != nil:
		e.steal(s.Steal)
	case s.Rollback != nil:
		return e.rollback(ctx, s.Rollback)
	case s.Expel != nil:
		return e.expel(ctx)
	case s.Churn != nil:
		e.churn(s.Churn)
	case s.Battery != nil:
		e.battery(s.Battery)
	case s.Contacts != nil:
		e.contacts(s.Contacts)
	case s.Carry != nil:
		return e.carry(s.Carry)
	case s.Tamper != nil:
		return e.tamper(ctx, s.Tamper)
	case s.Enlist != nil:
		return e.enlist(ctx, s.Enlist)
	case s.Disk != nil:
		e.spoilDisks(s.Disk)
	}
	return nil
}

// end undoes what can be undone. Further calls do nothing.
func (e *eventState) end(ctx context.Context) error {
	if !e.began || e.ended {
		return nil
	}
	e.ended, e.seen.to = true, e.r.elapsed()
	s := e.spec
	switch {
	case e.off != nil:
		e.off()
	case s.Crash != nil:
		return e.restart(ctx, s.Crash.Every)
	case s.Churn != nil, s.Battery != nil:
		return e.restart(ctx, 0)
	case s.Clone != nil, s.Betray != nil:
		return e.depart()
	case s.Disk != nil:
		return e.mendDisks(ctx, s.Disk)
	case s.Skew != nil:
		for _, i := range e.r.s.pick(s.Skew.Devices) {
			e.r.world.devices[i].clock.set(0)
		}
	case s.Replay != nil:
		for _, i := range e.r.s.pick(s.Replay.Devices) {
			n, err := e.r.world.net.replay(e.r.world.devices[i].ip)
			e.hits += uint64(n)
			if err != nil && e.r.world.devices[i].node != nil {
				return err
			}
		}
	}
	return nil
}

// surge adds to the workload what makes it so many times as much.
func (e *eventState) surge(s *Surge) {
	for _, w := range e.r.s.Workload {
		w.From, w.To = max(w.From, e.spec.At), min(w.To, e.spec.Until)
		if w.From < w.To {
			w.PerHour *= s.Times - 1
			e.r.planWork(w)
			e.hits++
		}
	}
}

// names are the devices meant, by name.
func (e *eventState) names(devices []string) map[string]bool {
	out := make(map[string]bool)
	for _, i := range e.r.s.pick(devices) {
		out[e.r.world.devices[i].Name] = true
	}
	return out
}

func (e *eventState) cut(p *Partition) {
	part := make(map[string]int)
	for i, names := range p.Parts {
		for name := range e.names(names) {
			part[name] = i + 1
		}
	}
	e.sited(part)
	f := &netFault{cut: true}
	switch p.Shape {
	case "whole":
		f.touches = func(from, to *port) bool {
			a, b := partOf(part, from), partOf(part, to)
			return a != 0 && b != 0 && a != b
		}
	case "one-way":
		f.touches = func(from, to *port) bool { return partOf(part, from) == 1 && partOf(part, to) == 2 }
	case "ring":
		f.touches = e.ring(p.Parts[0])
	}
	e.fault = f
	e.off = e.r.world.net.begin(f)
}

// sited puts the sites that lie wholly in one part there too, for those at a site that
// are none of the scenario's devices: hostile ones and copies.
func (e *eventState) sited(part map[string]int) {
	w := e.r.world
	for _, site := range e.r.s.Mesh.Sites {
		all := -1
		for _, d := range w.devices {
			if d.Site == site.Name && (all < 0 || all == part[d.Name]) {
				all = part[d.Name]
			} else if d.Site == site.Name {
				all = 0
			}
		}
		if all > 0 {
			part[siteOf+site.Name] = all
		}
	}
	for _, d := range w.devices {
		if _, ok := part[d.Name]; !ok {
			part[d.Name] = 0
		}
	}
}

// siteOf begins the key of a site among the names of devices.
const siteOf = "site "

// partOf is where a socket lies, by the name of its device or else by its site.
func partOf(part map[string]int, p *port) int {
	if n, ok := part[p.name]; ok {
		return n
	}
	return part[siteOf+p.site]
}

// ring cuts all that are not next to each other.
func (e *eventState) ring(names []string) func(from, to *port) bool {
	all := e.r.s.pick(names)
	at := make(map[string]int)
	for place, i := range all {
		at[e.r.world.devices[i].Name] = place
	}
	return func(from, to *port) bool {
		a, ok1 := at[from.name]
		b, ok2 := at[to.name]
		apart := (a - b + len(all)) % len(all)
		return ok1 && ok2 && apart != 0 && apart != 1 && apart != len(all)-1
	}
}

func (e *eventState) degrade(d *Degrade) {
	a, b := e.names(d.Between), e.names(d.And)
	e.fault = &netFault{change: d.Link, touches: func(from, to *port) bool {
		return a[from.name] && b[to.name] || a[to.name] && b[from.name]
	}}
	e.off = e.r.world.net.begin(e.fault)
}

// each does something to devices, one after the other.
func (e *eventState) each(names []string, every time.Duration, do func(context.Context, *Device) error) {
	for k, i := range e.r.s.pick(names) {
		d := e.r.world.devices[i]
		e.r.due(e.spec.At+time.Duration(k)*every, func(ctx context.Context) error {
			if e.ended {
				return nil
			}
			return do(ctx, d)
		})
	}
}

func (e *eventState) crash(_ context.Context, d *Device) error {
	if d.node == nil {
		return nil
	}
	e.hits++
	e.down = append(e.down, d)
	if e.spec.Crash.Forget {
		return errors.Join(d.crash(), d.forget())
	}
	return d.crash()
}

// restart brings back who crashed.
func (e *eventState) restart(_ context.Context, every time.Duration) error {
	now := e.r.elapsed()
	for k, d := range e.down {
		e.r.due(now+time.Duration(k)*every, func(ctx context.Context) error { return e.r.start(ctx, d) })
	}
	return nil
}

// spread takes devices one after the other, for good.
func (e *eventState) spread(s *Ransomware) {
	victims := e.r.s.pick(s.Devices)
	e.r.rng.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	most := max(1, int(s.Share*float64(len(victims))))
	for k, i := range victims[:most] {
		d := e.r.world.devices[i]
		at := e.spec.At + time.Duration(k)*s.Every
		if at >= e.spec.Until {
			return
		}
		e.r.due(at, func(context.Context) error {
			if d.node == nil {
				return nil
			}
			e.hits++
			d.lost = true
			return d.crash()
		})
	}
}

func (e *eventState) skew(s *Skew) {
	devices := e.r.s.pick(s.Devices)
	wrong := false
	var flip func(at time.Duration)
	flip = func(at time.Duration) {
		e.r.due(at, func(context.Context) error {
			if e.ended {
				return nil
			}
			wrong = !wrong
			by := time.Duration(0)
			if wrong {
				by = s.By
				e.hits += uint64(len(devices))
			}
			for _, i := range devices {
				e.r.world.devices[i].clock.set(by)
			}
			if s.Strobe > 0 {
				flip(at + s.Strobe)
			}
			return nil
		})
	}
	flip(e.spec.At)
}

// revoke has the authority take credentials back, and a device that is left bring word
// of it.
func (e *eventState) revoke(ctx context.Context, s *Revoke) error {
	w := e.r.world
	gone := e.r.s.pick(s.Devices)
	now := w.clock.Now()
	w.crl.Number++
	w.crl.Time = now
	for _, i := range gone {
		w.crl.Revoked = append(w.crl.Revoked, identity.Revoked{Key: w.devices[i].key, Since: now})
	}
	raw, err := w.authority.CRL(w.bundle.MeshID(), w.crl)
	if err != nil {
		return fmt.Errorf("sim: revoking: %w", err)
	}
	w.lists = append(w.lists, raw)
	for _, i := range gone {
		w.devices[i].revoked = now
		e.hits++
	}
	return e.r.bring(ctx, raw)
}

// bring has one honest device bring a statement of an authority, but in a control run without
// revocation.
func (r *runner) bring(ctx context.Context, raw []byte) error {
	if r.without(DefenceRevocation) {
		return nil
	}
	for _, d := range r.honest() {
		if _, err := d.node.PublishStatement(ctx, raw); err != nil {
			return fmt.Errorf("sim: bringing a statement to %s: %w", d.Name, err)
		}
		return nil
	}
	return errors.New("sim: nobody is left who could bring a statement")
}

// rollback has somebody bring the first list of revoked devices once more, as if
// nothing had been revoked since. Whether it is refused or taken as known is the node's
// affair; that it undoes nothing is an objective.
func (e *eventState) rollback(ctx context.Context, s *Rollback) error {
	w := e.r.world
	if len(w.lists) < 2 {
		return errors.New("sim: there is no older list of revoked devices to bring back: revoke twice before")
	}
	for _, i := range e.r.s.pick([]string{s.By}) {
		if d := w.devices[i]; d.node != nil {
			_, err := d.node.PublishStatement(ctx, w.lists[0])
			w.logger.Info("an old list of revoked devices was brought back", "by", d.Name, "err", err)
			e.hits++
		}
	}
	return nil
}

// expel takes the partner's authority, whose key was stolen, out of the mesh: the two
// others sign a trust bundle without it.
func (e *eventState) expel(ctx context.Context) error {
	w := e.r.world
	now := w.clock.Now()
	next, err := identity.NextBundle(w.bundle, now, w.authority.Certificate(), w.third.Certificate())
	for _, a := range []*identity.Authority{w.authority, w.third} {
		if err == nil {
			next, err = a.SignBundle(next)
		}
	}
	if err != nil {
		return fmt.Errorf("sim: making the next trust bundle: %w", err)
	}
	raw, err := identity.BundleStatement(next)
	if err != nil {
		return fmt.Errorf("sim: making the next trust bundle: %w", err)
	}
	e.r.expelled = now
	e.hits++
	return e.r.bring(ctx, raw)
}

// depart ends copies and traitors.
func (e *eventState) depart() error {
	var errs []error
	if e.spec.Clone != nil {
		for _, d := range e.r.copies {
			errs = append(errs, d.stop())
		}
	}
	for _, h := range e.r.enemies {
		if e.spec.Betray != nil && h.spec.Kind == "traitor" {
			errs = append(errs, h.stop())
		}
	}
	return errors.Join(errs...)
}
