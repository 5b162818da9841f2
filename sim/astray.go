package sim

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node"
	"tocsin/node/message"
)

// Devices that go astray: what has their keys is not, or not only, their owner.

// thiefPause is how often a thief, or a copy, writes.
const thiefPause = 15 * time.Second

// clone copies the disk of devices and runs each copy beside its original; both go on
// writing, with the same keys.
func (e *eventState) clone(ctx context.Context, s *Clone) error {
	for _, i := range e.r.s.pick(s.Devices) {
		d := e.r.world.devices[i]
		if d.node == nil {
			continue
		}
		log := d.log
		if err := d.crash(); err != nil {
			return err
		}
		twin, err := e.r.world.imageOf(d, s.Site)
		if err != nil {
			return err
		}
		d.astray = true
		e.r.copies = append(e.r.copies, twin)
		e.r.forked = append(e.r.forked, log)
		if err := e.r.start(ctx, d); err != nil {
			return err
		}
		if err := twin.run(ctx); err != nil {
			return err
		}
		e.hits++
		e.speak(d)
		e.speak(twin)
	}
	return nil
}

// imageOf makes a device of a copy of another's disk, which is off. It stands at an address
// of its own.
func (w *World) imageOf(d *Device, site string) (*Device, error) {
	if site == "" {
		site = d.Site
	}
	at := w.place()
	twin := &Device{
		Name: d.Name + " (copy)", Site: site, world: w, index: d.index, ip: address(at), cfg: d.cfg, store: d.store.Copy(), disk: new(diskState),
		clock: &skewed{clock: w.clock}, turn: make(chan struct{}, 1), dir: filepath.Join(w.dir, fmt.Sprintf("%04d", at)), papers: d.papers, astray: true,
	}
	twin.cfg.Dir, twin.cfg.Clock, twin.cfg.Listen = twin.dir, twin.clock, []string{listenOn(twin.ip)}
	twin.cfg.HostOptions = w.hostOptions(twin.Name, site)
	if err := os.CopyFS(twin.dir, os.DirFS(d.dir)); err != nil {
		return nil, fmt.Errorf("sim: copying the disk of %s: %w", d.Name, err)
	}
	return twin, nil
}

// speak has a device that went astray write to its first group as long as the event lasts.
func (e *eventState) speak(d *Device) {
	g := e.r.groupOf(d.index)
	if g < 0 {
		return
	}
	var again func(context.Context) error
	again = func(ctx context.Context) error {
		if e.ended || d.node == nil {
			return nil
		}
		e.r.sendFrom(ctx, d, g, Work{Priority: "routine", Bytes: 80})
		e.r.due(e.r.elapsed()+thiefPause, again)
		return nil
	}
	e.r.due(e.r.elapsed()+thiefPause, again)
}

// groupOf is the first group that a device is a member of, or -1.
func (r *runner) groupOf(device int) int {
	for g := range r.groups {
		for _, m := range r.groups[g].members {
			if m == device {
				return g
			}
		}
	}
	return -1
}

// steal hands devices, unlocked, to a thief, who reads and writes; the loss is noticed after a
// while, and their credentials are taken back.
func (e *eventState) steal(s *Steal) {
	for _, i := range e.r.s.pick(s.Devices) {
		d := e.r.world.devices[i]
		d.astray = true
		e.hits++
		e.speak(d)
	}
	e.r.due(e.r.elapsed()+s.Noticed, func(ctx context.Context) error { return e.revoke(ctx, &Revoke{Devices: s.Devices}) })
}

// betray has devices go over to the enemy: in place of the node a program of the enemy's own
// runs with its keys, from one or two addresses, and continues its log with lies.
func (e *eventState) betray(s *Betray) error {
	for _, i := range e.r.s.pick(s.Devices) {
		d := e.r.world.devices[i]
		if d.node == nil {
			continue
		}
		t, err := e.traitor(d, s)
		if err != nil {
			return err
		}
		e.r.due(e.r.elapsed()+thiefPause, t.lie)
	}
	return nil
}

// traitor is a device that was betrayed: its keys, and where its log stands.
type traitor struct {
	e     *eventState
	kind  string
	key   *identity.VaultKeys
	log   identity.LogID
	hands []*hostile  // hosts of the enemy's: one, or one at each of two sites
	next  uint64      // the next place
	prev  []ledger.ID // what stands before it, by hand
}

// traitor ends a device's node and puts the enemy's in its place.
func (e *eventState) traitor(d *Device, s *Betray) (*traitor, error) {
	logs, err := d.node.Logs()
	if err != nil {
		return nil, fmt.Errorf("sim: the logs of %s: %w", d.Name, err)
	}
	t := &traitor{e: e, kind: s.Into, key: d.papers.keys}
	var own node.LogInfo
	for _, l := range logs {
		if l.Own {
			own = l
		}
	}
	head, err1 := ledger.ParseID(own.Head)
	t.log, err = identity.ParseLogID(own.Log)
	if err = errors.Join(err, err1); err != nil {
		return nil, fmt.Errorf("sim: the log of %s: %w", d.Name, err)
	}
	t.next = own.Entries
	if err := d.crash(); err != nil {
		return nil, err
	}
	d.lost, d.astray = true, true
	var known []string
	for _, o := range e.r.world.devices {
		if o != d {
			known = append(known, o.addr())
		}
	}
	sites := []string{d.Site}
	if s.Into == liesFork {
		e.r.forked = append(e.r.forked, own.Log)
		if s.Site != "" {
			sites = append(sites, s.Site)
		}
	}
	for k, site := range sites {
		ip := d.ip
		if k > 0 {
			ip = address(e.r.world.place())
		}
		h, err := e.r.putHostile(Adversary{Kind: "traitor"}, d.papers, ip, fmt.Sprintf("%s (traitor %d)", d.Name, k+1), site, known)
		if err != nil {
			return nil, err
		}
		e.r.enemies = append(e.r.enemies, h)
		t.hands, t.prev = append(t.hands, h), append(t.prev, head)
	}
	return t, nil
}

// How a traitor lies.
const (
	liesFork  = "fork"  // it signs two entries at one place
	liesCross = "cross" // it says what others said under its own name, in other groups
)

// lie publishes the next lies, and plans those after them.
func (t *traitor) lie(ctx context.Context) error {
	if t.e.ended {
		return nil
	}
	said := 0
	for k, h := range t.hands {
		branches := 1
		if t.kind == liesFork && len(t.hands) == 1 {
			branches = 2 // both from one place, so that everybody hears both
		}
		for b := range branches {
			v, err := t.entry(h)
			if err != nil {
				return err
			}
			if v.IsZero() {
				continue // nothing was heard yet that could be repeated
			}
			if h.mesh.Publish(ctx, v.Entry().Frame()) == nil {
				t.e.hits++
			}
			if b == 0 {
				t.prev[k] = v.Entry().ID()
			}
			said++
		}
	}
	if said > 0 {
		t.next++
	}
	t.e.r.due(t.e.r.elapsed()+thiefPause, t.lie)
	return nil
}

// entry signs one lie for a hand.
func (t *traitor) entry(h *hostile) (ledger.Verified, error) {
	header := ledger.Header{
		Incarnation: t.log.Incarnation, Seq: t.next, HLC: uint64(h.clock.Now().UnixMilli()) << 16, Kind: ledger.KindData,
	}
	for k := range t.hands {
		if t.hands[k] == h {
			header.Prev = t.prev[k]
		}
	}
	var body []byte
	if t.kind == liesCross {
		said, elsewhere, ok := h.heard()
		if !ok {
			return ledger.Verified{}, nil
		}
		body, header.Commit, header.GroupTag = said.Body, said.Header.Commit, elsewhere.Header.GroupTag
	} else {
		body = make([]byte, 300)
		for _, random := range [][]byte{body, header.Commit[:], header.GroupTag[:]} {
			if _, err := rand.Read(random); err != nil {
				return ledger.Verified{}, err
			}
		}
	}
	v, err := ledger.Sign(t.key.Signing, header, body)
	if err != nil {
		return v, fmt.Errorf("sim: signing a lie: %w", err)
	}
	return v, nil
}

// heard draws two entries with messages that were heard, of two groups where there are two.
func (h *hostile) heard() (said, elsewhere *ledger.Entry, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*ledger.Entry
	for _, frame := range h.frames {
		if e, err := ledger.ParseFrame(frame); err == nil && e.Header.Kind == ledger.KindData && e.HasBody() {
			all = append(all, e)
		}
	}
	if len(all) == 0 {
		return nil, nil, false
	}
	said = all[h.rng.IntN(len(all))]
	elsewhere = said
	for _, e := range all {
		if e.Header.GroupTag != said.Header.GroupTag {
			elsewhere = e
		}
	}
	return said, elsewhere, true
}

// sendFrom has a device say something, and does not wait for it.
func (r *runner) sendFrom(ctx context.Context, from *Device, g int, w Work) {
	r.res.Messages++
	text := sentence(r.res.Messages, w.Bytes)
	at, n, priority := r.world.clock.Now(), from.node, w.Priority
	if r.without(DefencePriority) {
		priority = "routine"
	}
	counted := from.counts()
	r.sends.Go(func() {
		from.turn <- struct{}{}
		defer func() { <-from.turn }()
		sent, err := n.Send(ctx, r.groups[g].id, message.NewText(text, from.clock.Now()), priority)
		if err != nil {
			if counted { // nobody is held to what a thief could not save
				r.watch.fail("%s could not save a message: %v", from.Name, err)
			}
			r.watch.doubt(r.groups[g].id, text)
			return
		}
		r.watch.say(&saying{id: sent.ID, from: from.index, group: g, at: at, text: text, priority: w.Priority})
	})
}
