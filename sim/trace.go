package sim

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"tocsin/node"
)

// trace writes down what happens in a run, step by step, so that two runs can be held against
// each other, and so that it is seen when a promise broke:
//
//	12.000000s packets 4711 5f3a9c…      all packets so far: their number, and a hash of who sent
//	                                     what to whom and when
//	12.345678s says 0 5a04…              a device has said something: its number, the entry's id
//	12.351002s shows 1 5a04…             a device shows it
//	30.000000s begins partition          a line of the timeline
//	31.000000s broke forged: …           a promise, at the first look (each second) that saw it
//
// A nil trace writes nothing. It is safe for concurrent use.
type trace struct {
	clock node.Clock

	mu      sync.Mutex
	out     *bufio.Writer // guarded by mu, as all below
	begun   time.Time
	packets uint64
	sum     hash.Hash
	broke   []string      // names of invariants
	stepped time.Duration // the last step of the story
	err     error         // the first of writing
}

func newTrace(w io.Writer, clock node.Clock) *trace {
	if w == nil {
		return nil
	}
	return &trace{clock: clock, out: bufio.NewWriter(w), begun: clock.Now(), sum: sha256.New()}
}

// line writes one step.
func (t *trace) line(format string, args ...any) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lineLocked(format, args...)
}

func (t *trace) lineLocked(format string, args ...any) {
	at := t.clock.Now().Sub(t.begun)
	if _, err := fmt.Fprintf(t.out, "%.6fs "+format+"\n", append([]any{at.Seconds()}, args...)...); err != nil && t.err == nil {
		t.err = fmt.Errorf("sim: writing the trace: %w", err)
	}
}

// packet counts one datagram.
func (t *trace) packet(from, to netip.Addr, b []byte) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.packets++
	head := binary.BigEndian.AppendUint64(nil, uint64(t.clock.Now().Sub(t.begun)))
	head = append(append(head, from.AsSlice()...), to.AsSlice()...)
	head = binary.BigEndian.AppendUint32(head, uint32(len(b)))
	t.sum.Write(head)
	t.sum.Write(b)
}

// begin has times count from now on: the story begins.
func (t *trace) begin() {
	if t == nil {
		return
	}
	t.line("the story begins")
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begun, t.stepped = t.clock.Now(), -1
}

// mark writes the packets so far.
func (t *trace) mark() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lineLocked("packets %d %x", t.packets, t.sum.Sum(nil))
}

// close writes what is left.
func (t *trace) close() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.out.Flush(); err != nil && t.err == nil {
		t.err = fmt.Errorf("sim: writing the trace: %w", err)
	}
	return t.err
}

// brokenAtEnd writes what is broken when all is over.
func (t *trace) brokenAtEnd(all []Invariant) {
	if t != nil {
		t.mark()
		t.broken(all)
	}
}

// broken writes which promises are broken now that were not before.
func (t *trace) broken(all []Invariant) {
	for _, i := range all {
		if i.Held || slices.Contains(t.broke, i.Name) {
			continue
		}
		t.broke = append(t.broke, i.Name)
		t.line("broke %s: %s: %s", i.Name, i.Words, i.Broke[0])
	}
}

// step is written each second of a traced run: the events that began or ended in it, the packets,
// and what broke. That all agree is promised only after healing.
func (r *runner) step(now time.Duration) {
	if r.trace == nil {
		return
	}
	before := r.trace.stepped
	r.trace.stepped = now
	for i := range r.s.Timeline {
		e := &r.s.Timeline[i]
		name, _ := e.action()
		if e.At > before && e.At <= now {
			r.trace.line("begins %s: %s", name, e.Words())
		}
		if e.Until > before && e.Until <= now {
			r.trace.line("ends %s", name)
		}
	}
	r.trace.mark()
	if r.res.Healed == nil {
		r.trace.broken(slices.DeleteFunc(r.invariants(), func(i Invariant) bool { return i.Name == "agree" }))
	}
}

// differences says of some devices that do not agree with the first in what they differ.
func (r *runner) differences() string {
	var first map[string]node.LogInfo
	var words []string
	for _, d := range r.honest() {
		logs, err := d.node.Logs()
		if err != nil {
			return err.Error()
		}
		held := make(map[string]node.LogInfo, len(logs))
		for _, l := range logs {
			held[l.Log] = l
		}
		if first == nil {
			first = held
			continue
		}
		differ := 0
		for log, l := range held {
			if f, ok := first[log]; !ok || f.Entries != l.Entries || f.Head != l.Head {
				differ++
			}
		}
		for log := range first {
			if _, ok := held[log]; !ok {
				differ++
			}
		}
		if differ > 0 && len(words) < 3 {
			words = append(words, fmt.Sprintf("%s holds %d logs otherwise than %s", d.Name, differ, r.honest()[0].Name))
		}
	}
	return strings.Join(words, ", ")
}
