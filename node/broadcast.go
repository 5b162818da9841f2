package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// BroadcastGroup is the id of the conversation that holds what was said to every
// verified clinician of the mesh.
var BroadcastGroup = group.ID{}.String()

// MaxReason is the longest reason of a broadcast, in bytes.
const MaxReason = 500

// A broadcast is sealed under the mesh key, which every clinician's device holds
// and which has no forward secrecy. Its payload says why it was sent:
//
//	struct { uint8 version = 1; opaque reason<1..2^16-1>; opaque message<1..2^16-1>; } Broadcast;

// Broadcast says m to every verified clinician of the mesh. reason is required,
// is shown to all and stays with the message for good. Errors: [ErrLocked],
// [ErrInvalid], [ErrReadOnly].
func (n *Node) Broadcast(ctx context.Context, m message.Message, priority, reason string) (Sent, error) {
	if err := checkReason(reason); err != nil {
		return Sent{}, err
	}
	p, payload, err := n.encode(&m, priority)
	if err != nil {
		return Sent{}, err
	}
	payload, err = marshalBroadcast(reason, payload)
	if err != nil {
		return Sent{}, err
	}
	n.sendMu.Lock()
	defer n.sendMu.Unlock()
	if err := n.meetFirst(ctx); err != nil {
		return Sent{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.writable(); err != nil {
		return Sent{}, err
	}
	n.sendRest(ctx)
	h, body, rec, err := n.sealBroadcast(payload, p)
	if err != nil {
		return Sent{}, err
	}
	e, err := n.commitEntry(ctx, h, body)
	if err != nil {
		return Sent{}, err
	}
	n.showOwn(e, rec)
	n.count(func(c *Metrics) { c.Sent++ })
	return sentOf(e, m.Sent), nil
}

func checkReason(reason string) error {
	if strings.TrimSpace(reason) == "" {
		return invalid("say why everybody must read this: a broadcast needs a reason, which all will see")
	}
	if len(reason) > MaxReason || !utf8.ValidString(reason) || strings.ContainsFunc(reason, unicode.IsControl) {
		return invalid("the reason of a broadcast is plain text of at most %d bytes", MaxReason)
	}
	return nil
}

func marshalBroadcast(reason string, payload []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(1)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(reason)) })
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(payload) })
	raw, err := b.Bytes()
	if err != nil {
		return nil, invalid("the message is too long for a broadcast: %v", err)
	}
	return raw, nil
}

var errBroadcast = errors.New("node: malformed broadcast")

func parseBroadcast(raw []byte) (reason string, payload []byte, err error) {
	s := cryptobyte.String(raw)
	var version uint8
	var r, p cryptobyte.String
	if !s.ReadUint8(&version) || version != 1 || !s.ReadUint16LengthPrefixed(&r) || !s.ReadUint16LengthPrefixed(&p) || !s.Empty() {
		return "", nil, errBroadcast
	}
	if checkReason(string(r)) != nil {
		return "", nil, errBroadcast
	}
	return string(r), p, nil
}

// sealBroadcast is seal for a broadcast.
func (n *Node) sealBroadcast(payload []byte, p ledger.Priority) (ledger.Header, []byte, *openedRecord, error) {
	h, err := n.reserve(ledger.KindBroadcast, p)
	if err != nil {
		return h, nil, nil, err
	}
	number, key, err := n.newestMeshKey()
	if err != nil {
		return h, nil, nil, err
	}
	s, err := group.SealBroadcast(key, number, group.Place{Log: h.Log(), Seq: h.Seq}, payload, n.rand)
	if err != nil {
		return h, nil, nil, invalid("%v", err)
	}
	rec := &openedRecord{
		hlc: h.HLC, received: n.cfg.Clock.Now().UnixMilli(), priority: p, flags: flagProvable | flagBroadcast,
		opening: s.Opening, payload: payload,
	}
	raw, err := rec.marshal()
	if err != nil {
		return h, nil, nil, err
	}
	if err := n.saveGroup(nil, secretChange(outKey(h.Log(), h.Seq), raw)); err != nil {
		return h, nil, nil, err
	}
	h.Commit = s.Commit
	return h, s.Body, rec, nil
}

// prefixMeshKey begins the keys of mesh keys that came after the enrolment's.
const prefixMeshKey = "identity/mesh-key/"

func meshKeyKey(number uint32) string { return fmt.Sprintf("%s%08x", prefixMeshKey, number) }

// meshKey returns the mesh key of a number, and false if it is not held.
func (n *Node) meshKey(number uint32) ([32]byte, bool, error) {
	if number == n.enrolKey {
		return n.open.keys.MeshKey, n.open.keys.MeshKey != [32]byte{}, nil
	}
	raw, ok, err := n.cfg.Vault.Get(meshKeyKey(number))
	if err != nil || !ok || len(raw) != 32 {
		return [32]byte{}, false, err
	}
	return [32]byte(raw), true, nil
}

func (n *Node) newestMeshKey() (uint32, [32]byte, error) {
	number, key := n.enrolKey, n.open.keys.MeshKey
	err := n.cfg.Vault.Scan(prefixMeshKey, func(k string, value []byte) error {
		at, err := strconv.ParseUint(k[len(prefixMeshKey):], 16, 32)
		if err != nil || len(value) != 32 {
			return fmt.Errorf("%w: %s", errRecord, k)
		}
		if uint32(at) >= number {
			number, key = uint32(at), [32]byte(value)
		}
		return nil
	})
	if err == nil && key == [32]byte{} {
		err = invalid("this device holds no key for broadcasts: a break-glass credential has none; say it in a group")
	}
	return number, key, err
}

// drainBroadcast opens what was said to everybody. What is sealed under a mesh key
// that has not come waits for it.
func (n *Node) drainBroadcast(b *batch, e *ledger.Entry) error {
	h := &e.Header
	number, err := group.BroadcastNumber(e.Body)
	if err != nil {
		return n.unopened(e, err)
	}
	key, ok, err := n.meshKey(number)
	if err != nil {
		return err
	}
	if !ok {
		b.put(waitKey(meshKeyTag(number), h.Log(), h.Seq), []byte{1})
		b.waiting++
		return nil
	}
	o, err := group.OpenBroadcast(key, group.Place{Log: h.Log(), Seq: h.Seq}, h.Commit, e.Body)
	if err != nil {
		return n.unopened(e, err)
	}
	rec := &openedRecord{
		hlc: h.HLC, received: n.cfg.Clock.Now().UnixMilli(), priority: h.Priority,
		flags: flagBroadcast, opening: o.Opening, payload: o.Payload,
	}
	if o.Provable {
		rec.flags |= flagProvable
	}
	return n.add(b, e, rec)
}

// meshKeyTag is the tag under which broadcasts wait for a mesh key: no epoch has
// one that begins so.
func meshKeyTag(number uint32) group.Tag {
	tag := group.Tag{}
	copy(tag[:], "broadcast\x00\x00\x00")
	binary.BigEndian.PutUint32(tag[len(tag)-4:], number)
	return tag
}

// meshKeyNumber is the inverse of meshKeyTag.
func meshKeyNumber(tag group.Tag) (uint32, bool) {
	number := binary.BigEndian.Uint32(tag[len(tag)-4:])
	return number, tag == meshKeyTag(number)
}

// heedMine uses what trust holds for this device once it is unlocked: mesh keys
// sealed to it, and groups it was named the admin of. n.mu is held.
func (n *Node) heedMine(ctx context.Context) {
	n.keeper.mu.Lock()
	mine := n.keeper.mine
	n.keeper.mu.Unlock()
	var left [][]byte
	for _, raw := range mine {
		done, err := n.useMine(ctx, raw)
		if err != nil {
			n.log.Error("a statement for this device could not be used", "err", err)
		}
		if !done {
			left = append(left, raw)
		}
	}
	if len(left) == len(mine) {
		return
	}
	n.keeper.mu.Lock()
	n.keeper.mine = append(left, n.keeper.mine[len(mine):]...)
	n.keeper.dirty = true
	n.keeper.mu.Unlock()
	if err := n.saveCursors(); err != nil {
		n.log.Error("what is known of statements could not be saved", "err", err)
	}
}

// useMine says whether a statement for this device is done with.
func (n *Node) useMine(ctx context.Context, raw []byte) (bool, error) {
	e, err := n.reread(raw)
	if errors.Is(err, identity.ErrPostDated) || errors.Is(err, identity.ErrEarly) {
		return false, nil // it was good once: this clock was set back, or a bundle is on its way
	}
	if err != nil {
		return true, err
	}
	if e.Admin != nil {
		return n.takeOver(ctx, e.Admin)
	}
	key, ok := e.MeshKey.Open(n.trust.MeshID(), n.open.keys)
	if !ok {
		return true, nil
	}
	number := uint32(e.MeshKey.Number)
	if err := n.cfg.Vault.Commit(vault.Change{Key: meshKeyKey(number), Value: key[:], Erasable: true}); err != nil {
		return false, err
	}
	return true, n.openWaiting(ctx, []group.Tag{meshKeyTag(number)})
}

// takeOver makes this device the admin of a group that has none, as the authority
// has named it.
func (n *Node) takeOver(ctx context.Context, a *identity.GroupAdmin) (bool, error) {
	id := group.ID(a.Group)
	if _, ok := n.open.keyring.Group(id); !ok {
		return false, nil // its operations come with the next epoch
	}
	if err := n.writable(); err != nil {
		return false, err
	}
	payload, err := n.open.keyring.AppointOp(id, a.Raw)
	if err != nil {
		return true, err
	}
	if err := n.commitOp(ctx, payload); err != nil {
		return false, err
	}
	return true, n.announceChange(ctx, id)
}

// showBroadcasts gives the conversation of broadcasts its name.
func (n *Node) showBroadcasts() {
	n.open.inbox.SetGroup(inbox.Group{ID: inbox.GroupID{}, Kind: "broadcast", Name: "Everyone in this mesh"})
}
