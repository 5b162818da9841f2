package sim

import (
	"context"
	"errors"
	"slices"
	"time"

	"tocsin/node"
)

// revokedGrace is how long after a revocation nobody is held to it.
const revokedGrace = 30 * time.Second

// leakedGrace is the same for what is said: a group rotates when somebody next writes.
const leakedGrace = time.Minute

// take measures what only the run itself can.
func (r *runner) take() {
	r.res.Taken = make(map[string]float64)
	if r.res.Unformed != "" {
		return
	}
	r.takeForks()
	r.takeLeaks()
	r.takeDisks()
	r.takeOrder()
	if len(r.world.devices) > r.res.Devices {
		in := 0
		for _, d := range r.world.devices[r.res.Devices:] {
			if r.isNeighbour(d) {
				in++
			}
		}
		r.res.Taken["newcomers"] = float64(in) / float64(len(r.world.devices)-r.res.Devices)
	}
	if len(r.enemies) > 0 {
		cut := make(map[string]bool)
		for _, d := range r.honest() {
			for _, c := range d.node.Cuts() {
				cut[c.Peer.String()] = true
			}
		}
		n := 0
		for _, h := range r.enemies {
			if cut[h.peer.String()] {
				n++
			}
		}
		r.res.Taken["cut-off"] = float64(n) / float64(len(r.enemies))
	}
}

// takeForks is the share of honest devices that know of every fork there is.
func (r *runner) takeForks() {
	if len(r.forked) == 0 {
		return
	}
	knows := 0
	honest := r.honest()
	for _, d := range honest {
		forked := r.forksAt(d)
		all := true
		for _, log := range r.forked {
			all = all && forked[log]
		}
		if all {
			knows++
		}
	}
	if len(honest) > 0 {
		r.res.Taken["forks"] = float64(knows) / float64(len(honest))
	}
}

// forksAt are the logs that a device knows to be forked.
func (r *runner) forksAt(d *Device) map[string]bool {
	out := make(map[string]bool)
	if len(r.forked) == 0 {
		return out
	}
	forks, err := d.node.Forks(context.Background())
	if err != nil {
		r.seen.report("the forks known to %s cannot be read: %v", d.Name, err)
		return out
	}
	for _, f := range forks {
		out[f.Log] = true
	}
	return out
}

// takeLeaks counts messages that a device shows though they were sent after it was
// known to be lost.
func (r *runner) takeLeaks() {
	var gone []*Device
	for _, d := range r.world.devices {
		if !d.revoked.IsZero() {
			gone = append(gone, d)
		}
	}
	if len(gone) == 0 {
		return
	}
	leaked := 0
	r.watch.mu.Lock()
	defer r.watch.mu.Unlock()
	for _, s := range r.watch.order {
		for _, d := range gone {
			if _, ok := r.watch.arrived[s.id][d.index]; ok && s.from != d.index && s.at.After(d.revoked.Add(leakedGrace)) {
				leaked++
			}
		}
	}
	r.res.Taken["leaked"] = float64(leaked)
}

// takeOrder counts messages that an honest device shows before one that their author had seen
// when writing them. It takes the square of the messages, and is done only where it is asked for.
func (r *runner) takeOrder() {
	if !slices.ContainsFunc(slices.Concat(r.s.Expect, r.s.Sometimes), func(e Expect) bool { return e.Measure == "misplaced" }) {
		return
	}
	misplaced := 0
	for _, d := range r.honest() {
		for _, g := range r.groups {
			items, err := shows(d.node, g.id)
			if err != nil && !errors.Is(err, node.ErrNotFound) {
				r.seen.report("%s cannot show its messages: %v", d.Name, err)
			}
			misplaced += r.watch.misplaced(items)
		}
	}
	r.res.Taken["misplaced"] = float64(misplaced)
}

// misplaced counts those of a conversation that stand before one which their author had been
// shown before.
func (w *watch) misplaced(items []shown) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, it := range items {
		answer := w.said[it.id]
		if answer == nil {
			continue
		}
		if slices.ContainsFunc(items[i+1:], func(later shown) bool {
			at, ok := w.arrived[later.id][answer.from]
			return ok && at.Before(answer.at)
		}) {
			n++
		}
	}
	return n
}

// takeDisks counts entries that do not verify on the disk of an honest device.
func (r *runner) takeDisks() {
	spoilt, looked := uint64(0), false
	for _, d := range r.honest() {
		if !d.tampered {
			continue
		}
		looked = true
		rep, err := d.node.VerifyLogs(context.Background(), nil)
		if err != nil {
			r.seen.report("the logs of %s cannot be verified: %v", d.Name, err)
			continue
		}
		spoilt += rep.Failures
	}
	if looked {
		r.res.Taken["spoilt"] = float64(spoilt)
	}
}

// isNeighbour reports whether an honest device has d as a neighbour.
func (r *runner) isNeighbour(d *Device) bool {
	id := d.cfg.Relay.PeerID()
	for _, o := range r.honest() {
		if o == d {
			continue
		}
		for _, p := range o.node.Peers() {
			if p.ID == id {
				return true
			}
		}
	}
	return false
}

// intruders is how many devices whose credentials were taken back somebody has as a
// neighbour all the same.
func (r *runner) intruders() (n int) {
	now := r.world.clock.Now()
	met := make(map[string]bool)
	for _, d := range r.honest() {
		for _, p := range d.node.Peers() {
			met[p.ID.String()] = true
		}
	}
	for _, d := range r.world.devices {
		if !d.revoked.IsZero() && now.Sub(d.revoked) > revokedGrace && met[d.cfg.Relay.PeerID().String()] {
			n++
		}
	}
	if !r.expelled.IsZero() && now.Sub(r.expelled) > revokedGrace {
		for _, h := range r.enemies {
			if h.spec.Kind == "intruder" && met[h.peer.String()] {
				n++
			}
		}
	}
	return n
}

func measureTaken(name string) func(*Result, Expect) (float64, bool) {
	return func(r *Result, _ Expect) (float64, bool) {
		v, ok := r.Taken[name]
		return v, ok
	}
}

func measureIntruders(r *Result, _ Expect) (float64, bool) {
	n := 0
	for _, s := range r.Samples {
		n = max(n, s.Intruders)
	}
	return float64(n), len(r.Samples) > 0
}

func measureLingering(r *Result, _ Expect) (float64, bool) {
	if len(r.Samples) == 0 {
		return 0, false
	}
	return float64(r.Samples[len(r.Samples)-1].Intruders), true
}
