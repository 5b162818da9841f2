package node

import (
	"errors"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"

	"tocsin/ledger/blob"
	"tocsin/mesh"
)

// The mesh's [mesh.BlobStore]: what neighbours ask for, and what has come from them.

var _ mesh.BlobStore = (*attachments)(nil)

// HaveBlobs implements [mesh.BlobStore]: it says what is here, and where the
// neighbour asks for that, fetches what is not.
func (a *attachments) HaveBlobs(from peer.ID, names []blob.Name, hops uint8) []bool {
	out := make([]bool, len(names))
	var lacking []blob.Name
	for i, name := range names {
		if out[i] = a.store.Has(name); !out[i] {
			lacking = append(lacking, name)
		}
	}
	if hops > 0 && len(lacking) > 0 {
		a.carryFor(from, lacking, hops-1)
	}
	return out
}

// carryFor fetches chunks for a neighbour, within bounds.
func (a *attachments) carryFor(from peer.ID, names []blob.Name, hops uint8) {
	select {
	case <-a.node.joined:
	default:
		return // the mesh is only starting: the neighbour asks again
	}
	if a.node.cfg.Attachments.Carry < 0 || a.node.mesh.Thrift() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var wants []mesh.BlobWant
	for _, name := range names {
		c := a.carrying[name]
		known := false
		if c != nil {
			for _, p := range c.from {
				known = known || p == from
			}
		}
		switch {
		case known, a.asked[from] >= maxCarryingFor:
			continue
		case c == nil && len(a.carrying) >= maxCarrying:
			continue
		case c == nil:
			c = &errand{}
			a.carrying[name] = c
			wants = append(wants, mesh.BlobWant{Name: name, Rank: carryRank, Hops: hops})
		case len(c.from) >= carryFrom:
			continue
		}
		c.from = append(c.from, from)
		a.asked[from]++
	}
	a.node.mesh.WantBlobs(wants)
}

// carryRank is behind all that this device wants for itself.
const carryRank = 3 << 60

// ReadBlob implements [mesh.BlobStore].
func (a *attachments) ReadBlob(name blob.Name) ([]byte, error) {
	if !a.store.Has(name) {
		return nil, nil
	}
	data, err := a.store.Get(name)
	if errors.Is(err, blob.ErrNotFound) { // it was found damaged just now
		a.lost(name, false)
		return nil, nil
	}
	return data, err
}

// TakeBlob implements [mesh.BlobStore]. The disk writes while mu is free.
func (a *attachments) TakeBlob(_ peer.ID, name blob.Name, data []byte) error {
	keep, carry := a.awaits(name)
	if !keep && !carry {
		return nil // it was forgotten meanwhile
	}
	err := a.store.Put(name, data, keep)
	whole, err := a.took(name, keep, err)
	if whole {
		a.sync()
	}
	return err
}

// awaits says for whom a chunk is awaited: for messages of this device, and for others.
func (a *attachments) awaits(name blob.Name) (keep, carry bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.named[name] > 0, a.carrying[name] != nil
}

// took notes that a chunk was stored, or why it was not, and reports whether an attachment is
// whole by it. What was true before the disk wrote may be so no more.
func (a *attachments) took(name blob.Name, kept bool, err error) (whole bool, _ error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	named := a.named[name] > 0
	switch {
	case err != nil:
	case kept && !named: // its message was erased
		err = a.store.Remove(name)
	case named && !kept: // a message came to name it
		err = a.store.Keep(name)
	}
	if c := a.carrying[name]; c != nil {
		if a.store.Has(name) {
			for _, p := range c.from {
				a.node.mesh.TellBlobs(p)
			}
		}
		a.dropErrand(name, c)
	}
	for _, it := range a.items {
		if _, missing := it.missing[name]; missing {
			a.came(it, name, err)
			whole = whole || len(it.missing) == 0
		}
	}
	a.node.mesh.ForgetBlobs([]blob.Name{name}) // a message may have asked for it once more
	return whole, err
}

// came notes that a chunk of an attachment is here, or that it could not be
// kept. mu is held.
func (a *attachments) came(it *attached, name blob.Name, err error) {
	if err != nil {
		it.full, it.wanted = true, false
		if errors.Is(err, blob.ErrFull) {
			if err := a.makeWay(it); err != nil {
				a.node.log.Error("parts of an attachment for which there is no room could not be removed", "err", err)
			}
		}
		a.promise(it)
		a.giveUp(it)
		a.changed(it)
		return
	}
	delete(it.missing, name)
	a.promise(it)
	if len(it.missing) == 0 && a.left { // there is room in the mesh's list again
		a.left = false
		for _, other := range a.items {
			a.want(other)
		}
	}
	here := it.here()
	if len(it.missing) == 0 || it.thumb && name == it.names[0] || (here-it.told)*attachmentSteps >= len(it.names) {
		a.changed(it)
	}
}

// attachmentSteps is in how many steps an attachment tells of its progress.
const attachmentSteps = 20

// giveUp has the mesh fetch no more of an attachment. mu is held.
func (a *attachments) giveUp(it *attached) {
	var names []blob.Name
	for name := range it.missing {
		if a.named[name] <= 1 && a.carrying[name] == nil {
			names = append(names, name)
		}
	}
	a.node.mesh.ForgetBlobs(names)
}

// changed tells subscribers. mu is held; the hub waits for nobody.
func (a *attachments) changed(it *attached) {
	it.told = it.here()
	a.node.events.publish(Event{Type: EventAttachment, Group: it.group.String(), ID: it.id.String()})
}

// lost notes that a chunk that was here is not any more, and fetches it again; where somebody waits
// for it, also on a thin link. One of which it is known changes nothing.
func (a *attachments) lost(name blob.Name, asked bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.named[name] == 0 {
		return
	}
	for _, it := range a.items {
		if _, missing := it.missing[name]; missing || !slices.Contains(it.names, name) {
			continue
		}
		it.asked = it.asked || asked && len(it.missing) == 0
		it.missing[name] = struct{}{}
		a.promise(it)
		a.want(it)
		a.changed(it)
	}
}
