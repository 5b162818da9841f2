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
	"tocsin/ledger"
)

// The keys of the node's values in the vault's journal. Group state has keys
// of its own under "group/".
const (
	keyVaultKeys  = "identity/vault-keys" // identity.VaultKeys; written at enrolment
	keyCompacted  = "node/compacted"      // when the journal was last rewritten, Unix seconds
	keyRestored   = "node/restored"       // set once this vault proved older than the log beside it
	prefixMessage = "msg/"                // msg/<log>/<seq>: an opened message
	prefixOut     = "out/"                // out/<seq>: sealed by us, not yet drained from our own log
	prefixCursor  = "cursor/"             // cursor/<log>: the next sequence number to drain
	prefixWait    = "wait/"               // wait/<tag>/<log>/<seq>: sealed under an epoch we do not hold
	prefixReceipt = "receipt/"            // receipt/<group>/<entry id>: a receipt that we owe
)

func messageKey(log identity.LogID, seq uint64) string {
	return fmt.Sprintf("%s%s/%016x", prefixMessage, log, seq)
}

func outKey(seq uint64) string { return fmt.Sprintf("%s%016x", prefixOut, seq) }

func cursorKey(log identity.LogID) string { return prefixCursor + log.String() }

// waitPrefix begins the keys of all entries that wait for one epoch.
func waitPrefix(tag group.Tag) string { return prefixWait + hex.EncodeToString(tag[:]) + "/" }

func waitKey(tag group.Tag, log identity.LogID, seq uint64) string {
	return fmt.Sprintf("%s%s/%016x", waitPrefix(tag), log, seq)
}

func receiptKey(g group.ID, id ledger.ID) string {
	return prefixReceipt + g.String() + "/" + id.String()
}

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
// of its commitment, so that it can be proved later. As a value of "out/" its
// id is zero, because it was not yet signed.
type openedRecord struct {
	id       ledger.ID
	group    group.ID
	hlc      uint64
	received int64 // milliseconds since the Unix epoch
	priority ledger.Priority
	provable bool
	opening  [32]byte
	payload  []byte
}

const openedRecordVersion = 1

func (r *openedRecord) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(openedRecordVersion)
	b.AddBytes(r.id[:])
	b.AddBytes(r.group[:])
	b.AddUint64(r.hlc)
	b.AddUint64(uint64(r.received))
	b.AddUint8(uint8(r.priority))
	b.AddUint8(boolByte(r.provable))
	b.AddBytes(r.opening[:])
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(r.payload) })
	return b.Bytes()
}

func boolByte(v bool) uint8 {
	if v {
		return 1
	}
	return 0
}

func parseOpenedRecord(raw []byte) (*openedRecord, error) {
	var r openedRecord
	var version, priority, provable uint8
	var received uint64
	var payload cryptobyte.String
	s := cryptobyte.String(raw)
	ok := s.ReadUint8(&version) && s.CopyBytes(r.id[:]) && s.CopyBytes(r.group[:]) &&
		s.ReadUint64(&r.hlc) && s.ReadUint64(&received) && s.ReadUint8(&priority) &&
		s.ReadUint8(&provable) && s.CopyBytes(r.opening[:]) &&
		s.ReadUint24LengthPrefixed(&payload) && s.Empty()
	if !ok || version != openedRecordVersion || provable > 1 {
		return nil, errRecord
	}
	r.received, r.priority, r.provable = int64(received), ledger.Priority(priority), provable == 1
	r.payload = payload
	return &r, nil
}
