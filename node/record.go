package node

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/node/message"
)

// The keys of the node's values in the vault's journal. Group state has keys
// of its own under "group/".
const (
	keyVaultKeys  = "identity/vault-keys" // identity.VaultKeys; written at enrolment
	keyCompacted  = "node/compacted"      // when the journal was last rewritten, Unix seconds
	keyRestored   = "node/restored"       // the log beside which this vault proved too old
	prefixMessage = "msg/"                // msg/<log>/<seq>: an opened message
	prefixOut     = "out/"                // out/<log>/<seq>: sealed by us, not yet drained from our own log
	prefixCursor  = "cursor/"             // cursor/<log>: the next sequence number to drain
	prefixWait    = "wait/"               // wait/<tag>/<log>/<seq>: sealed under an epoch we do not hold
	prefixReceipt = "receipt/"            // receipt/<group>/<entry id>: a receipt that we owe
	prefixRead    = "read/"               // read/<group>/<entry id>: read here, and owed to nobody
	prefixAbsent  = "absent/"             // absent/<log>/<seq>: an entry that was passed before its body came
)

func messageKey(log identity.LogID, seq uint64) string {
	return fmt.Sprintf("%s%s/%016x", prefixMessage, log, seq)
}

func outKey(log identity.LogID, seq uint64) string {
	return fmt.Sprintf("%s%s/%016x", prefixOut, log, seq)
}

func absentKey(log identity.LogID, seq uint64) string {
	return fmt.Sprintf("%s%s/%016x", prefixAbsent, log, seq)
}

func cursorKey(log identity.LogID) string { return prefixCursor + log.String() }

// waitPrefix begins the keys of all entries that wait for one epoch.
func waitPrefix(tag group.Tag) string { return prefixWait + hex.EncodeToString(tag[:]) + "/" }

func waitKey(tag group.Tag, log identity.LogID, seq uint64) string {
	return fmt.Sprintf("%s%s/%016x", waitPrefix(tag), log, seq)
}

func receiptKey(g group.ID, id ledger.ID) string {
	return prefixReceipt + g.String() + "/" + id.String()
}

func readKey(g group.ID, id ledger.ID) string {
	return prefixRead + g.String() + "/" + id.String()
}

// secretChange sets a value that can be erased: its key lies in the vault's
// slot file and is overwritten when the value is replaced or deleted. Opened
// messages and the secrets of groups are kept so.
func secretChange(key string, value []byte) vault.Change {
	return vault.Change{Key: key, Value: value, Erasable: value != nil}
}

// groupChange is a change of group state. All of it is kept as secrets are:
// prekeys, epoch secrets and chains are what old messages can be opened with.
func groupChange(c group.Change) vault.Change { return secretChange(c.Key, c.Value) }

var errRecord = errors.New("node: malformed journal record")

// parseMessageKey is the inverse of messageKey.
func parseMessageKey(key string) (identity.LogID, uint64, error) {
	rest := strings.TrimPrefix(key, prefixMessage)
	i := strings.LastIndexByte(rest, '/')
	if i < 0 {
		return identity.LogID{}, 0, errRecord
	}
	log, err := identity.ParseLogID(rest[:i])
	if err != nil {
		return identity.LogID{}, 0, errRecord
	}
	seq, err := strconv.ParseUint(rest[i+1:], 16, 64)
	if err != nil {
		return identity.LogID{}, 0, errRecord
	}
	return log, seq, nil
}

// parseWaitKey is the inverse of waitKey.
func parseWaitKey(key string) (group.Tag, identity.LogID, uint64, error) {
	var tag group.Tag
	parts := strings.Split(strings.TrimPrefix(key, prefixWait), "/")
	if len(parts) != 4 {
		return tag, identity.LogID{}, 0, errRecord
	}
	raw, err := hex.DecodeString(parts[0])
	if err != nil || len(raw) != len(tag) {
		return tag, identity.LogID{}, 0, errRecord
	}
	log, err := identity.ParseLogID(parts[1] + "/" + parts[2])
	if err != nil {
		return tag, identity.LogID{}, 0, errRecord
	}
	seq, err := strconv.ParseUint(parts[3], 16, 64)
	if err != nil {
		return tag, identity.LogID{}, 0, errRecord
	}
	return group.Tag(raw), log, seq, nil
}

// parseReceiptKey is the inverse of receiptKey.
func parseReceiptKey(key string) (group.ID, ledger.ID, error) {
	var g group.ID
	var id ledger.ID
	a, b, _ := strings.Cut(strings.TrimPrefix(key, prefixReceipt), "/")
	ga, err := hex.DecodeString(a)
	if err != nil || len(ga) != len(g) {
		return g, id, errRecord
	}
	ia, err := hex.DecodeString(b)
	if err != nil || len(ia) != len(id) {
		return g, id, errRecord
	}
	return group.ID(ga), ledger.ID(ia), nil
}

// openedRecord is an opened message as the journal keeps it: with the opening
// of its commitment, so that it can be proved later, and the key of its tag, so
// that it can be handed over. As a value of "out/" its id is zero, because it
// was not yet signed.
type openedRecord struct {
	id       ledger.ID
	as       ledger.ID // of the message: that of the first of its entries (parts.go)
	first    uint64    // the place of that in its log
	group    group.ID
	hlc      uint64
	received int64 // milliseconds since the Unix epoch
	priority ledger.Priority
	flags    recordFlags
	opening  [32]byte
	tagKey   [32]byte
	payload  []byte
	by       string // display name of who handed it over
}

// recordFlags say what is special about an opened message.
type recordFlags uint8

const (
	flagProvable  recordFlags = 1 << iota // it matches the commitment of its signed header
	flagRemoved                           // said after its author was removed
	flagBroadcast                         // said to everybody; the payload says why
	flagPart                              // under "out/": a further entry of a message to more devices than one epoch holds; without its payload
	knownFlags    = flagProvable | flagRemoved | flagBroadcast | flagPart
)

func (f recordFlags) has(want recordFlags) bool { return f&want == want }

const (
	openedRecordVersion = 3
	openedRecordSize    = 256 // more than one takes beside its payload
)

// ofReceipts reports whether it holds receipts, which come in groups only.
func (r *openedRecord) ofReceipts() bool { return isReceipts(r.payload) && !r.flags.has(flagBroadcast) }

func (r *openedRecord) marshal() ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, openedRecordSize+len(r.payload)+len(r.by)))
	b.AddUint8(openedRecordVersion)
	b.AddBytes(r.id[:])
	b.AddBytes(r.as[:])
	b.AddUint64(r.first)
	b.AddBytes(r.group[:])
	b.AddUint64(r.hlc)
	b.AddUint64(uint64(r.received))
	b.AddUint8(uint8(r.priority))
	b.AddUint8(uint8(r.flags))
	b.AddBytes(r.opening[:])
	b.AddBytes(r.tagKey[:])
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(r.payload) })
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(r.by)) })
	return b.Bytes()
}

// message returns what was said, and of a broadcast why.
func (r *openedRecord) message() (msg message.Message, reason string, err error) {
	payload := r.payload
	if r.flags.has(flagBroadcast) {
		if reason, payload, err = parseBroadcast(r.payload); err != nil {
			return msg, "", err
		}
	}
	msg, err = message.Decode(payload)
	return msg, reason, err
}

// reason is why a broadcast was said; empty of everything else.
func (r *openedRecord) reason() string {
	if !r.flags.has(flagBroadcast) {
		return ""
	}
	reason, _, err := parseBroadcast(r.payload)
	if err != nil {
		return "" // whoever read the message has seen to it
	}
	return reason
}

func parseOpenedRecord(raw []byte) (*openedRecord, error) {
	var r openedRecord
	var version, priority, flags uint8
	var received uint64
	var payload, by cryptobyte.String
	s := cryptobyte.String(raw)
	ok := s.ReadUint8(&version) && s.CopyBytes(r.id[:]) && s.CopyBytes(r.as[:]) && s.ReadUint64(&r.first) && s.CopyBytes(r.group[:]) &&
		s.ReadUint64(&r.hlc) && s.ReadUint64(&received) && s.ReadUint8(&priority) &&
		s.ReadUint8(&flags) && s.CopyBytes(r.opening[:]) && s.CopyBytes(r.tagKey[:]) &&
		s.ReadUint24LengthPrefixed(&payload) && s.ReadUint8LengthPrefixed(&by) && s.Empty()
	if !ok || version != openedRecordVersion || recordFlags(flags)&^knownFlags != 0 {
		return nil, errRecord
	}
	r.received, r.priority, r.flags = int64(received), ledger.Priority(priority), recordFlags(flags)
	r.payload, r.by = payload, string(by)
	return &r, nil
}
