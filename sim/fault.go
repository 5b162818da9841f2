package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
		a := r.s.Adversaries[i]
		r.due(a.At, func(ctx context.Context) error { return r.hostiles(ctx, a) })
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
	f := &netFault{cut: true}
	switch p.Shape {
	case "whole":
		f.touches = func(from, to *port) bool {
			a, b := part[from.name], part[to.name]
			return a != 0 && b != 0 && a != b
		}
	case "one-way":
		f.touches = func(from, to *port) bool { return part[from.name] == 1 && part[to.name] == 2 }
	case "ring":
		f.touches = e.ring(p.Parts[0])
	}
	e.fault = f
	e.off = e.r.world.net.begin(f)
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
	for i, d := range w.devices {
		if d.node == nil || slices.Contains(gone, i) {
			continue
		}
		if _, err := d.node.PublishStatement(ctx, raw); err != nil {
			return fmt.Errorf("sim: bringing a revocation to %s: %w", d.Name, err)
		}
		for _, i := range gone {
			w.devices[i].revoked = true
			e.hits++
		}
		return nil
	}
	return errors.New("sim: nobody is left who could bring a revocation")
}
