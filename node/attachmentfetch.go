package node

import (
	"errors"

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
	data, err := a.store.Get(name)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, nil
	}
	return data, err
}

// TakeBlob implements [mesh.BlobStore].
func (a *attachments) TakeBlob(_ peer.ID, name blob.Name, data []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	keep := a.named[name] > 0
	c := a.carrying[name]
	if !keep && c == nil {
		return nil // it was forgotten meanwhile
	}
	err := a.store.Put(name, data, keep)
	if c != nil {
		if err == nil {
			for _, p := range c.from {
				a.node.mesh.TellBlobs(p)
			}
		}
		a.dropErrand(name, c)
	}
	for _, it := range a.items {
		if _, missing := it.missing[name]; missing {
			a.came(it, name, err)
		}
	}
	return err
}

// came notes that a chunk of an attachment is here, or that it could not be
// kept. mu is held.
func (a *attachments) came(it *attached, name blob.Name, err error) {
	if err != nil {
		it.full, it.wanted = true, false
		a.giveUp(it)
		a.changed(it)
		return
	}
	delete(it.missing, name)
	if len(it.missing) == 0 {
		if err := a.store.Sync(); err != nil {
			a.node.log.Error("an attachment may have to be fetched again after a power cut", "err", err)
		}
		if a.left { // there is room in the mesh's list again
			a.left = false
			for _, other := range a.items {
				a.want(other)
			}
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

// lost notes that a chunk that was here is not any more, and fetches it again.
func (a *attachments) lost(name blob.Name) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, it := range a.items {
		for _, n := range it.names {
			if n == name {
				it.missing[name] = struct{}{}
				it.asked = true
				a.want(it)
				a.changed(it)
				break
			}
		}
	}
}
