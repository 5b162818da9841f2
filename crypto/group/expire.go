package group

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"tocsin/crypto/identity"
)

// Expire counts the time that went by and returns the changes that destroy
// what has lived its 35 days: private prekeys, epochs with their chains, and
// incomplete announces. The caller calls it at start, at unlock and at least
// hourly in between.
//
// now is the wall clock; running is the time that this process measured since
// its previous call, without the wall clock, and zero at the first call after a
// start. Time counts only where the two agree to within [MaxClockStep]; a larger
// step of the wall clock counts as the time measured, so that setting the
// clock destroys nothing, and a device that was switched off for weeks still has
// the keys to what was sent to it meanwhile.
//
// The changes may be stored in several commits, in their order: [Load] takes
// what is left after any of them, and the next Expire destroys the rest.
func (k *Keyring) Expire(now time.Time, running time.Duration) []Change {
	k.readAhead(now)
	c := k.clock.advance(now, running)
	out := []Change{c.change()}
	last := k.span
	for _, week := range slices.Sorted(maps.Keys(k.own)) {
		if k.own[week].due <= c.elapsed {
			out = append(out, Change{Key: ownKey(week)})
			last.destroyed, last.any = max(last.destroyed, week), true
		}
	}
	for id, own := range k.former {
		if own.due <= c.elapsed {
			out = append(out, Change{Key: id.key()})
			last.destroyed, last.any = max(last.destroyed, id.week), true
		}
	}
	if last != k.span {
		out = append(out, last.change())
	}
	ids := slices.SortedFunc(maps.Keys(k.epochs), func(a, b EpochID) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range ids {
		if e := k.epochs[id]; e.due <= c.elapsed {
			out = append(out, e.remember(c.elapsed))
			out = append(out, e.drop()...)
		}
	}
	out = append(out, k.forgetGone()...)
	out = append(out, k.forgetAsked(c.elapsed)...)
	for id, p := range k.partials {
		if p.due <= c.elapsed {
			out = append(out, p.drop(id)...)
		}
	}
	return out
}

func (c clock) advance(now time.Time, running time.Duration) clock {
	running = max(running, 0)
	counted := running
	if c.set {
		gap := now.Sub(time.Unix(c.wall, 0))
		if step := gap - running; gap > 0 && step <= MaxClockStep && step >= -MaxClockStep {
			counted = gap
		}
	}
	return clock{set: true, wall: now.Unix(), elapsed: c.elapsed + uint64(counted/time.Second)}
}

// drop deletes every record of e. Its own is the last, and a chain's comes after
// the seeds and gaps of the chain: where a long list is stored in several
// commits and the last of them are lost, what is left still has its epoch.
func (e *epoch) drop() []Change {
	var out []Change
	for _, m := range e.members {
		out = append(out, e.chains[m].drop(e.id, m)...)
	}
	for _, m := range slices.SortedFunc(maps.Keys(e.demoted), identity.LogID.Compare) {
		out = append(out, Change{Key: demotedKey(e.id, m)})
	}
	return append(out, Change{Key: epochKey(e.id)})
}

func (c *chain) drop(id EpochID, member identity.LogID) []Change {
	var out []Change
	for _, gen := range slices.Sorted(maps.Keys(c.seeds)) {
		out = append(out, Change{Key: seedKey(id, member, gen)})
	}
	for _, g := range c.gaps {
		out = append(out, Change{Key: gapKey(id, member, g.from)})
	}
	return append(out, Change{Key: chainKey(id, member)})
}
