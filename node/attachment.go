package node

// Attachments, outbound and inbound (ATTACHMENTS.md):
//
//	Attach           file → chunks, sealed and on disk → message (attachmentsend.go)
//	learn            a message that names chunks was opened: keep and fetch them
//	TakeBlob         a chunk has come (attachmentfetch.go)
//	OpenAttachment   chunks → file (attachmentread.go)

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"

	"tocsin/crypto/group"
	"tocsin/ledger"
	"tocsin/ledger/blob"
	"tocsin/mesh"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// AttachmentLimits bound what attachments may take; zero fields are the defaults.
type AttachmentLimits struct {
	// Keep is how many bytes of chunks are kept for messages of this device; 0 is 2 GiB.
	Keep int64
	// Carry is how many bytes are carried for others; 0 is 256 MiB, negative none.
	Carry int64
	// Auto is how large a file may be to be fetched without being asked for; 0 is any, negative none.
	Auto int64
	// Reserve is how many bytes stay free on the disk for the logs; 0 is 512 MiB, negative none.
	Reserve int64
}

// AttachmentStatus says what attachments take on this device.
type AttachmentStatus struct {
	KeptBytes    int64 `json:"kept_bytes"`
	KeepQuota    int64 `json:"keep_quota"`
	CarriedBytes int64 `json:"carried_bytes"`
	CarryQuota   int64 `json:"carry_quota"`
	Missing      int   `json:"missing"` // chunks that are wanted and not here yet
}

// attachments knows which chunks this device's messages name, and which it
// fetches for others. It holds names and no keys, so that it works on while the device is locked.
type attachments struct {
	node  *Node
	store *blob.Store

	// sending bounds uploads and decoded pictures to one at a time.
	sending chan struct{}

	mu       sync.Mutex // taken after Node.mu, and not held while the disk writes
	items    map[ledger.ID]*attached
	named    map[blob.Name]int     // how many items, and uploads under way, name a chunk
	carrying map[blob.Name]*errand // fetched for others
	asked    map[peer.ID]int       // of carrying, by who asked
	learnt   uint64                // items so far: the order of those of one size
	left     bool                  // more is wanted than the mesh has taken
	promised int64                 // bytes of room for what items that are being fetched still lack
}

// attached is one attachment.
type attached struct {
	id      ledger.ID
	group   group.ID
	size    int64
	order   uint64
	names   []blob.Name // the thumbnail's first, where there is one
	thumb   bool
	missing map[blob.Name]struct{}
	asked   bool  // somebody asked for it
	wanted  bool  // the mesh was told
	room    int64 // bytes of promised
	full    bool  // there is no room for it
	told    int   // chunks here when an event told of it last
}

// errand is a chunk that is fetched for neighbours.
type errand struct {
	from []peer.ID
	old  bool // since before the last tidy
}

const (
	// attachmentHops is how many devices in a row may fetch a chunk for us.
	attachmentHops = 4
	// maxCarrying bounds the chunks that are being fetched for others, maxCarryingFor for one
	// of them, and carryFrom who is told when one has come.
	maxCarrying    = 4096
	maxCarryingFor = 2048
	carryFrom      = 4
)

// openAttachments opens the chunks in the node's directory.
func (n *Node) openAttachments() error {
	l := n.cfg.Attachments
	store, err := blob.Open(filepath.Join(n.cfg.Dir, "blobs"), blob.Options{Keep: l.Keep, Carry: l.Carry, Reserve: l.Reserve})
	if err != nil {
		return fmt.Errorf("node: attachments: %w", err)
	}
	n.attached = &attachments{
		node: n, store: store, sending: make(chan struct{}, 1), items: make(map[ledger.ID]*attached),
		named: make(map[blob.Name]int), carrying: make(map[blob.Name]*errand), asked: make(map[peer.ID]int),
	}
	return nil
}

func (n *Node) closeAttachments() error {
	if n.attached == nil {
		return nil
	}
	return n.attached.store.Close()
}

// learn takes in what an opened message names: what is here of it is kept, and
// the rest is fetched. One that is known changes nothing.
func (a *attachments) learn(id ledger.ID, g group.ID, m *message.Attachment) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.items[id] != nil {
		return
	}
	it := &attached{id: id, group: g, size: m.Size, order: a.learnt, names: m.Names(), thumb: m.Thumb != nil, missing: make(map[blob.Name]struct{})}
	a.learnt++
	a.items[id] = it
	for _, name := range it.names {
		a.named[name]++
		it.missing[name] = struct{}{}
	}
	a.keepCarried(it)
	it.told = it.here()
	a.want(it)
}

func (it *attached) here() int { return len(it.names) - len(it.missing) }

// lacksThumb reports whether the thumbnail is still to come.
func (it *attached) lacksThumb() bool {
	if !it.thumb {
		return false
	}
	_, missing := it.missing[it.names[0]]
	return missing
}

// want tells the mesh what is missing of an attachment and to be fetched now. mu is held.
func (a *attachments) want(it *attached) {
	if it.full { // there may be room by now for what is here, carried for others
		it.full = false
		a.keepCarried(it)
		if len(it.missing) == 0 {
			a.changed(it)
		}
	}
	if len(it.missing) == 0 {
		return
	}
	all := a.fetchAll(it)
	if it.full = all && !it.wanted && !a.roomFor(it); it.full {
		all = false
	}
	it.wanted = it.wanted || all
	a.promise(it)
	var wants []mesh.BlobWant
	for i, name := range it.names {
		if _, missing := it.missing[name]; missing && (all || it.thumb && i == 0) {
			wants = append(wants, mesh.BlobWant{Name: name, Rank: it.rank(i), Hops: attachmentHops})
		}
	}
	a.left = a.node.mesh.WantBlobs(wants) > 0 || a.left
}

// fetchAll reports whether the whole of an attachment is to be fetched now.
func (a *attachments) fetchAll(it *attached) bool {
	auto := a.node.cfg.Attachments.Auto
	return it.asked || !a.node.mesh.Thrift() && (auto == 0 || it.size <= auto)
}

// rank orders what is fetched: thumbnails, what was asked for, the smallest file, the
// one that came first, and within a file its beginning.
func (it *attached) rank(i int) uint64 {
	class := uint64(2)
	switch {
	case it.thumb && i == 0:
		class = 0
	case it.asked:
		class = 1
	}
	return class<<60 | uint64(it.size>>10)<<32 | it.order&0xffff<<16 | uint64(i)&0xffff
}

// wantAll looks at every attachment again: the mode of work has changed, or there is room.
func (a *attachments) wantAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left = false
	for _, it := range a.items {
		if it.wanted && !a.fetchAll(it) {
			it.wanted = false
			a.giveUp(it)
		}
		a.want(it)
	}
}

// forget drops the attachments of messages that were erased, and their chunks
// where no other message names them.
func (a *attachments) forget(ids ...ledger.ID) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var gone []blob.Name
	for _, id := range ids {
		if it := a.items[id]; it != nil {
			delete(a.items, id)
			a.promised -= it.room
			gone = append(gone, a.unname(it.names)...)
		}
	}
	a.node.mesh.ForgetBlobs(gone)
	return a.store.Remove(gone...)
}

// unname takes one naming of each chunk back, and returns those that nobody names
// any more. mu is held.
func (a *attachments) unname(names []blob.Name) (gone []blob.Name) {
	for _, name := range names {
		if a.named[name]--; a.named[name] <= 0 {
			delete(a.named, name)
			gone = append(gone, name)
		}
	}
	return gone
}

// sweep removes kept chunks that no message names: of uploads that a crash
// ended, and of messages whose erasing it did. Every message must be known.
func (a *attachments) sweep() {
	a.mu.Lock()
	defer a.mu.Unlock()
	gone := slices.DeleteFunc(a.store.Kept(), func(name blob.Name) bool { return a.named[name] > 0 })
	if err := a.store.Remove(gone...); err != nil {
		a.node.log.Error("chunks of attachments that no message names could not be removed", "err", err)
	}
}

// tidy gives up what has been fetched for others for an hour or more in vain, and
// tells the mesh what it had no room for.
func (a *attachments) tidy() {
	a.mu.Lock()
	var gone []blob.Name
	for name, c := range a.carrying {
		if c.old {
			a.dropErrand(name, c)
			if a.named[name] == 0 {
				gone = append(gone, name)
			}
		}
		c.old = true
	}
	a.node.mesh.ForgetBlobs(gone)
	a.mu.Unlock()
	a.wantAll()
	a.sync()
}

// sync makes durable what has come. mu is not held.
func (a *attachments) sync() {
	if err := a.store.Sync(); err != nil {
		a.node.log.Error("attachments may have to be fetched again after a power cut", "err", err)
	}
}

// dropErrand ends the fetching of a chunk for others. mu is held.
func (a *attachments) dropErrand(name blob.Name, c *errand) {
	delete(a.carrying, name)
	for _, p := range c.from {
		if a.asked[p]--; a.asked[p] <= 0 {
			delete(a.asked, p)
		}
	}
}

// held says what of an attachment is here.
func (a *attachments) held(id ledger.ID) *inbox.Held {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.heldNow(id)
}

// heldNow is held where mu is held.
func (a *attachments) heldNow(id ledger.ID) *inbox.Held {
	it := a.items[id]
	if it == nil {
		return nil
	}
	h := &inbox.Held{State: inbox.HeldListed, Have: it.here(), Chunks: len(it.names), Thumb: it.thumb && !it.lacksThumb()}
	switch {
	case len(it.missing) == 0:
		h.State = inbox.HeldHere
	case it.full:
		h.State = inbox.HeldNoRoom
	case it.wanted:
		h.State = inbox.HeldFetching
	}
	return h
}

// fill says of items that are attachments what of them is here.
func (a *attachments) fill(items []inbox.Item) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range items {
		if _, ok := items[i].Message.Content.(*message.Attachment); ok {
			items[i].Held = a.heldNow(ledger.ID(items[i].ID))
		}
	}
}

// status says what attachments take.
func (a *attachments) status() AttachmentStatus {
	u := a.store.Usage()
	s := AttachmentStatus{KeptBytes: u.KeptBytes, KeepQuota: u.KeepQuota, CarriedBytes: u.CarriedBytes, CarryQuota: u.CarryQuota}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, it := range a.items {
		if it.wanted {
			s.Missing += len(it.missing)
		}
	}
	return s
}

// AttachmentInfo is one attachment, for people and programs. It is content.
type AttachmentInfo struct {
	ID      string `json:"id"` // of the message
	Group   string `json:"group"`
	From    string `json:"from"` // display name
	Own     bool   `json:"own"`
	Name    string `json:"name"`
	Media   string `json:"media"`
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"`
	Caption string `json:"caption,omitempty"`
	Sent    string `json:"sent"`   // RFC 3339
	State   string `json:"state"`  // listed, fetching, here or no-room
	Have    int    `json:"have"`   // chunks here
	Chunks  int    `json:"chunks"` // of so many
	Thumb   bool   `json:"thumb"`  // a thumbnail is here
}

// infoOf describes an item that is an attachment; false for any other.
func (n *Node) infoOf(it inbox.Item) (AttachmentInfo, *message.Attachment, bool) {
	m, ok := it.Message.Content.(*message.Attachment)
	held := n.attached.held(ledger.ID(it.ID))
	if !ok || held == nil {
		return AttachmentInfo{}, nil, false
	}
	return AttachmentInfo{
		ID: ledger.ID(it.ID).String(), Group: group.ID(it.Group).String(), From: it.From.Name, Own: it.Own,
		Name: m.Name, Media: m.Media, Size: m.Size, SHA256: fmt.Sprintf("%x", m.SHA256), Caption: m.Caption,
		Sent: it.Sent.UTC().Format("2006-01-02T15:04:05.000Z07:00"), State: held.State, Have: held.Have, Chunks: held.Chunks, Thumb: held.Thumb,
	}, m, true
}

// Attachments lists those of a group, or of all where it is empty, in the order
// in which they are shown. Errors: [ErrLocked], [ErrNotFound], [ErrInvalid].
func (n *Node) Attachments(groupID string) ([]AttachmentInfo, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return nil, n.lockedError()
	}
	var groups []inbox.GroupID
	if groupID == "" {
		for _, c := range n.open.inbox.Conversations() {
			groups = append(groups, c.ID)
		}
	} else {
		id, err := parseGroupID(groupID)
		if err != nil {
			return nil, err
		}
		if _, err := n.conversation(id); err != nil {
			return nil, err
		}
		groups = []inbox.GroupID{inbox.GroupID(id)}
	}
	out := []AttachmentInfo{}
	for _, g := range groups {
		for _, it := range n.open.inbox.Messages(g, 0, 0) {
			if info, _, ok := n.infoOf(it); ok {
				out = append(out, info)
			}
		}
	}
	return out, nil
}

// attachmentOf finds one by the id of its message. n.mu is held.
func (n *Node) attachmentOf(id string) (AttachmentInfo, *message.Attachment, error) {
	if n.open == nil {
		return AttachmentInfo{}, nil, n.lockedError()
	}
	entry, err := ledger.ParseID(id)
	if err != nil {
		return AttachmentInfo{}, nil, invalid("%q is no message id", id)
	}
	it, ok := n.open.inbox.Message(inbox.EntryID(entry))
	if ok {
		if info, m, ok := n.infoOf(it); ok {
			return info, m, nil
		}
	}
	return AttachmentInfo{}, nil, fmt.Errorf("%w: message %s is no attachment on this device", ErrNotFound, id)
}

// FetchAttachment has the whole of an attachment fetched now, whatever its size
// and also in low-bandwidth mode. Errors: [ErrLocked], [ErrNotFound], [ErrInvalid].
func (n *Node) FetchAttachment(_ context.Context, id string) (AttachmentInfo, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	info, _, err := n.attachmentOf(id)
	if err != nil {
		return info, err
	}
	entry, err := ledger.ParseID(info.ID)
	if err != nil {
		return info, err
	}
	a := n.attached
	a.mu.Lock()
	if it := a.items[entry]; it != nil {
		it.asked = true
		a.want(it)
	}
	a.mu.Unlock()
	info, _, err = n.attachmentOf(id)
	return info, err
}

// AttachmentThumb returns the thumbnail of an attachment, a JPEG that was drawn anew on this
// device. Errors: [ErrLocked], [ErrNotFound] also where it is not here yet, [ErrInvalid].
func (n *Node) AttachmentThumb(_ context.Context, id string) ([]byte, error) {
	n.mu.Lock()
	_, m, err := n.attachmentOf(id)
	n.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if m.Thumb == nil {
		return nil, fmt.Errorf("%w: this attachment has no thumbnail", ErrNotFound)
	}
	plain, err := n.attached.read(m, thumbIndex, m.Thumb.Chunk, m.Thumb.Size)
	if err != nil {
		return nil, err
	}
	return redrawThumb(bytes.Clone(plain))
}

// forgetAttachments drops the chunks of messages whose keys were erased just now.
func (n *Node) forgetAttachments(gone []inbox.EntryID) {
	ids := make([]ledger.ID, len(gone))
	for i, id := range gone {
		ids[i] = ledger.ID(id)
	}
	if err := n.attached.forget(ids...); err != nil {
		n.log.Error("chunks whose key is erased could not be removed; the next unlock does", "err", err)
	}
}
