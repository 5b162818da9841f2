package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"tocsin/node"
)

// maxBroke bounds how many breaks of one invariant are told of.
const maxBroke = 10

// Bounds that hold in every run, whatever is attacked.
const (
	maxHeapPerDevice = 64 << 20 // bytes
	maxQueue         = 4 << 20  // bytes to one neighbour
)

// history is what devices were seen to hold, to find logs that change afterwards.
type history struct {
	heads map[int]map[string]node.LogInfo // by device and log: how it was last
	broke []string
}

func newHistory() *history { return &history{heads: make(map[int]map[string]node.LogInfo)} }

// look compares what a device holds with what it held.
func (h *history) look(d *Device) error {
	logs, err := d.node.Logs()
	if err != nil {
		return fmt.Errorf("sim: the logs of %s: %w", d.Name, err)
	}
	before := h.heads[d.index]
	now := make(map[string]node.LogInfo, len(logs))
	for _, l := range logs {
		now[l.Log] = l
	}
	for log, was := range before {
		is, ok := now[log]
		if d.forgot && (!ok || is.Entries < was.Entries) {
			now[log] = was // it is to hold the same once more
			continue
		}
		if !ok || is.Entries < was.Entries {
			h.report("%s held %d entries of log %s, and then %d", d.Name, was.Entries, log, is.Entries)
			continue
		}
		if is.Entries == was.Entries {
			if is.Head != was.Head {
				h.report("entry %d of log %s was %.8s at %s and is now %.8s", was.Entries-1, log, was.Head, d.Name, is.Head)
			}
			continue
		}
		e, err := d.node.LogEntries(context.Background(), log, was.Entries-1, 1)
		if d.tampered && (err != nil || len(e) != 1) {
			continue // it cannot be read before it was fetched again
		}
		if err != nil || len(e) != 1 {
			return fmt.Errorf("sim: entry %d of log %s at %s: %w", was.Entries-1, log, d.Name, err)
		}
		if e[0].ID != was.Head {
			h.report("entry %d of log %s was %.8s at %s and is now %.8s", was.Entries-1, log, was.Head, d.Name, e[0].ID)
		}
	}
	h.heads[d.index] = now
	return nil
}

func (h *history) report(format string, args ...any) {
	if len(h.broke) < maxBroke {
		h.broke = append(h.broke, fmt.Sprintf(format, args...))
	}
}

// agree reports whether all honest devices hold the same logs.
func (r *runner) agree() (bool, error) {
	var first map[string]node.LogInfo
	for _, d := range r.honest() {
		logs, err := d.node.Logs()
		if err != nil {
			return false, err
		}
		held := make(map[string]node.LogInfo, len(logs))
		for _, l := range logs {
			held[l.Log] = l
		}
		for log := range r.forksAt(d) {
			held[log] = node.LogInfo{Log: "forked"} // which branch stands in the log may differ
		}
		if first == nil {
			first = held
			continue
		}
		if len(held) != len(first) {
			return false, nil
		}
		for log, l := range held {
			if f, ok := first[log]; !ok || f.Entries != l.Entries || f.Head != l.Head {
				return false, nil
			}
		}
	}
	return true, nil
}

// invariantWords are the promises, in the order of the report.
var invariantWords = []struct{ name, words string }{
	{"forged", "nothing is shown that nobody said"},
	{"twice", "nothing is shown twice"},
	{"rewritten", "no log is rewritten in silence"},
	{"agree", "after healing all honest devices hold the same entries"},
	{"bounded", "memory and queues stay bounded"},
	{"receipts", "nothing is called delivered that is not shown by its reader's device"},
}

// checkInvariants fills in what broke.
func (r *runner) checkInvariants() {
	r.res.Invariants = append(r.res.Invariants, r.invariants()...)
	r.trace.brokenAtEnd(r.res.Invariants)
}

// invariants are the promises as they are held now.
func (r *runner) invariants() (out []Invariant) {
	broke := map[string][]string{"rewritten": r.seen.broke}
	report := func(name, format string, args ...any) {
		if len(broke[name]) < maxBroke {
			broke[name] = append(broke[name], fmt.Sprintf(format, args...))
		}
	}
	if same, err := r.agree(); err != nil {
		report("agree", "the logs could not be read: %v", err)
	} else if !same && !r.res.Partial {
		report("agree", "%s after the last fault they still differed: %s", r.elapsed()-r.res.HealBegan, r.differences())
	}
	for _, s := range r.res.Samples {
		if m, ok := s.memory(r.res.Devices); ok && m > maxHeapPerDevice {
			report("bounded", "%.0f MiB of memory for each device at %s", m/(1<<20), s.At)
		}
		if s.Queued > maxQueue {
			report("bounded", "%d bytes waited for one neighbour at %s", s.Queued, s.At)
		}
	}
	views := r.views(report)
	// Who called something delivered was asked first: its reader, asked now, shows it by then
	// if it ever did, whatever events there were.
	r.lookAll()
	r.lookAfresh()
	for _, v := range views {
		r.checkShown(v, report)
	}
	for _, w := range invariantWords {
		out = append(out, Invariant{Name: w.name, Words: w.words, Broke: broke[w.name], Held: len(broke[w.name]) == 0})
	}
	return out
}

// author is the part of a log's name that all logs of a device share: whose log is
// forked goes on in another.
func author(log string) string {
	key, _, _ := strings.Cut(log, "/")
	return key
}

// view is what a device shows of a group.
type view struct {
	d     *Device
	g     group
	items []shown
}

// views are those of all honest devices.
func (r *runner) views(report func(name, format string, args ...any)) (out []view) {
	for _, d := range r.honest() {
		for _, g := range r.groups {
			if !slices.Contains(g.members, d.index) {
				continue
			}
			items, err := shows(d.node, g.id)
			if err == nil {
				out = append(out, view{d, g, items})
			} else if !errors.Is(err, node.ErrNotFound) {
				report("forged", "%s cannot show its messages: %v", d.Name, err)
			}
		}
	}
	return out
}

// checkShown compares what a device shows of a group with what was said.
func (r *runner) checkShown(v view, report func(name, format string, args ...any)) {
	d, g := v.d, v.g
	devices := make(map[string]*Device, len(r.world.devices))
	for _, o := range r.world.devices {
		devices[author(o.log)] = o
	}
	r.watch.mu.Lock()
	defer r.watch.mu.Unlock()
	texts := make(map[string]string)
	for _, it := range v.items {
		s := r.watch.said[it.id]
		if s == nil && r.watch.unsure[it.text] == g.id {
			// Its author was told that it might not be saved, and it was.
		} else if s == nil || s.text != it.text || r.groups[s.group].id != g.id {
			report("forged", "%s shows %.60q as message %.8s", d.Name, it.text, it.id)
			continue
		}
		if other, again := texts[it.text]; again {
			report("twice", "%s shows %.60q as %.8s and as %.8s", d.Name, it.text, other, it.id)
		}
		texts[it.text] = it.id
		if !it.own {
			continue
		}
		for _, log := range it.delivered {
			reader := devices[author(log)]
			if reader == nil {
				report("receipts", "%s calls %.8s delivered to %s, which is no device", d.Name, it.id, log)
				continue
			}
			if _, ok := r.watch.arrived[it.id][reader.index]; !ok && !reader.lost && !reader.astray {
				report("receipts", "%s calls %.8s delivered to %s, which does not show it", d.Name, it.id, reader.Name)
			}
		}
	}
}
