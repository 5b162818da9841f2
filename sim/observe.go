package sim

import (
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"time"

	"tocsin/node"
	"tocsin/node/message"
)

// saying is one message that the workload sent.
type saying struct {
	id       string // entry id, hex
	from     int    // device
	group    int
	at       time.Time
	text     string
	priority string
}

// watch is what is seen of all devices. It is safe for concurrent use.
type watch struct {
	clock node.Clock
	trace *trace

	mu      sync.Mutex
	said    map[string]*saying           // guarded by mu: by entry id
	order   []*saying                    // guarded by mu
	arrived map[string]map[int]time.Time // guarded by mu: by entry id and device
	failed  []string                     // guarded by mu: what could not be sent, and why
	unsure  map[string]string            // guarded by mu: the same, by text: the group
	gaps    map[int]bool                 // guarded by mu: devices of which events were missed
}

func newWatch(clock node.Clock, t *trace) *watch {
	return &watch{clock: clock, trace: t, said: make(map[string]*saying), arrived: make(map[string]map[int]time.Time), gaps: make(map[int]bool), unsure: make(map[string]string)}
}

// follow notes what a device shows until its node closes. It returns at once.
func (w *watch) follow(d *Device, work *sync.WaitGroup, events <-chan node.Event) {
	work.Go(func() {
		for e := range events {
			switch e.Type {
			case node.EventMessage:
				w.arrive(d.index, e.ID)
			case node.EventGap:
				w.mu.Lock()
				w.gaps[d.index] = true
				w.mu.Unlock()
			}
		}
	})
}

func (w *watch) arrive(device int, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.arriveLocked(device, id)
}

func (w *watch) arriveLocked(device int, id string) {
	at := w.arrived[id]
	if at == nil {
		at = make(map[int]time.Time)
		w.arrived[id] = at
	}
	if _, known := at[device]; !known {
		at[device] = w.clock.Now()
		w.trace.line("shows %d %s", device, id)
	}
}

func (w *watch) say(s *saying) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said[s.id] = s
	w.order = append(w.order, s)
	w.trace.line("says %d %s", s.from, s.id)
}

// doubt notes that the author of a text was told it might not be saved: whether it is
// shown later is open (ledger.Store).
func (w *watch) doubt(group, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unsure[text] = group
}

func (w *watch) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = append(w.failed, fmt.Sprintf(format, args...))
}

// doubtful notes that a device may show what no event told of.
func (w *watch) doubtful(device int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gaps[device] = true
}

// missed takes the devices of which events were missed.
func (w *watch) missed() []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []int
	for d := range w.gaps {
		out = append(out, d)
	}
	clear(w.gaps)
	return out
}

// shown is a message as a device shows it.
type shown struct {
	id        string
	text      string
	own       bool
	delivered []string
}

// shows reads all that a device shows of a group.
func shows(n *node.Node, groupID string) ([]shown, error) {
	items, err := n.Messages(groupID, 0, 0)
	if err != nil {
		return nil, err
	}
	out := make([]shown, 0, len(items))
	for _, it := range items {
		out = append(out, shown{
			id: hex.EncodeToString(it.ID[:]), text: message.Words(it.Message.Content), own: it.Own, delivered: it.Delivered,
		})
	}
	return out, nil
}

// sentence makes the n-th message of a run: words that no other has, filled up to
// size bytes.
func sentence(n, size int) string {
	text := fmt.Sprintf("Rehearsal message %06d. ", n)
	for len(text) < size {
		text += "Bed state unchanged. "
	}
	return strings.TrimSpace(text[:max(size, len("Rehearsal message 000000."))])
}
