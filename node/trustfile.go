package node

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
)

// trustFile keeps what statements have changed, readable while locked:
//
//	struct {
//	    uint8  version = 1;
//	    opaque snapshot<0..2^32-1>;                    /* identity.TrustStore */
//	    { opaque log[36]; uint64 next; } cursors<0..2^32-1>;
//	    { opaque hash[32]; } carried<0..2^24-1>;
//	    { opaque by[32]; opaque statement<1..2^24-1>; } later<0..2^32-1>;
//	    { opaque statement<1..2^24-1>; } pending<0..2^32-1>;
//	    { opaque statement<1..2^24-1>; } mine<0..2^32-1>;
//	    { opaque log[36]; } orders<0..2^32-1>;         /* that carry wipe orders or receipts */
//	    { opaque log[36]; uint64 first; } early<0..2^32-1>;
//	    opaque sum[32];                                /* SHA-256 of all before it */
//	} TrustFile;
//
// A file that is missing or damaged costs a reading of every log, never a
// statement that stands in one.
const (
	trustFile     = "trust.bin"
	enrolFile     = "enrolled.bin" // the snapshot that [SaveTrust] was handed
	maxTrustBytes = 256 << 20
)

var errTrustFile = errors.New("node: the file of trust is damaged")

// saveTrust writes the file. n.keeper.mu is held.
func (n *Node) saveTrust() error {
	raw, err := n.keeper.marshal(n.trust.Snapshot())
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(n.cfg.Dir, trustFile), raw); err != nil {
		return err
	}
	n.keeper.dirty = false
	return nil
}

// saveCursors writes the file if only cursors have moved since, so that the next
// start reads less. n.keeper.mu is not held.
func (n *Node) saveCursors() error {
	n.keeper.mu.Lock()
	defer n.keeper.mu.Unlock()
	if !n.keeper.dirty {
		return nil
	}
	return n.saveTrust()
}

// SaveTrust keeps what the statements of an enrolment said (the Snapshot of the
// trust store that identity.Enrolment.Accept returns) for every start of the
// node of dir.
func SaveTrust(dir string, snapshot []byte) error {
	if err := writeFile(filepath.Join(dir, enrolFile), snapshot); err != nil {
		return fmt.Errorf("node: saving the statements of the enrolment: %w", err)
	}
	return nil
}

// loadTrust restores what statements have changed: what the enrolment brought,
// and the file. Without a file every log is read anew.
func (n *Node) loadTrust() error {
	enrolled, err := readBounded(filepath.Join(n.cfg.Dir, enrolFile))
	if err == nil && enrolled != nil {
		err = n.trust.Restore(enrolled)
	}
	if err != nil {
		return fmt.Errorf("node: the statements of this device's enrolment: %w: enrol again with `tocsin enrol`", err)
	}
	n.enrolKey = uint32(n.trust.Bundle().Number())
	raw, err := readBounded(filepath.Join(n.cfg.Dir, trustFile))
	if raw == nil && err == nil {
		return nil
	}
	var k *keeper
	var snapshot []byte
	if err == nil {
		k, snapshot, err = parseTrustFile(raw)
	}
	if err == nil {
		err = n.trust.Restore(snapshot)
	}
	if err != nil {
		// All cursors are at their start, so that openLogs reads every log.
		n.log.Error("what is known of revocations cannot be read; it is rebuilt from the logs", "file", trustFile, "err", err)
		return nil
	}
	n.keeper = k
	return nil
}

// readBounded reads a file of ours; nil without one.
func readBounded(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if st.Size() > maxTrustBytes {
		return nil, fmt.Errorf("node: %s has more than %d bytes", filepath.Base(path), maxTrustBytes)
	}
	return os.ReadFile(path)
}

func (k *keeper) marshal(snapshot []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(1)
	add32(&b, func(b *cryptobyte.Builder) { b.AddBytes(snapshot) })
	addPlaces(&b, k.cursors)
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, hash := range sortedHashes(k.carried) {
			b.AddBytes(hash[:])
		}
	})
	add32(&b, func(b *cryptobyte.Builder) {
		for _, d := range k.later {
			b.AddBytes(d.by[:])
			b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(d.raw) })
		}
	})
	for _, list := range [][][]byte{k.pending, k.mine} {
		add32(&b, func(b *cryptobyte.Builder) {
			for _, raw := range list {
				b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(raw) })
			}
		})
	}
	add32(&b, func(b *cryptobyte.Builder) {
		for _, id := range slices.SortedFunc(maps.Keys(k.orders), identity.LogID.Compare) {
			log := id.Bytes()
			b.AddBytes(log[:])
		}
	})
	addPlaces(&b, k.early)
	raw, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("node: %s: %w", trustFile, err)
	}
	sum := sha256.Sum256(raw)
	return append(raw, sum[:]...), nil
}

// addPlaces writes one place of each of some logs.
func addPlaces(b *cryptobyte.Builder, places map[identity.LogID]uint64) {
	add32(b, func(b *cryptobyte.Builder) {
		for _, id := range slices.SortedFunc(maps.Keys(places), identity.LogID.Compare) {
			log := id.Bytes()
			b.AddBytes(log[:])
			b.AddUint64(places[id])
		}
	})
}

func add32(b *cryptobyte.Builder, f func(*cryptobyte.Builder)) { b.AddUint32LengthPrefixed(f) }

func sortedHashes[V any](m map[[32]byte]V) [][32]byte {
	return slices.SortedFunc(maps.Keys(m), func(a, b [32]byte) int { return slices.Compare(a[:], b[:]) })
}

// parseTrustFile is the inverse of marshal.
func parseTrustFile(raw []byte) (*keeper, []byte, error) {
	if len(raw) < sha256.Size {
		return nil, nil, errTrustFile
	}
	body, sum := raw[:len(raw)-sha256.Size], raw[len(raw)-sha256.Size:]
	if sha256.Sum256(body) != [32]byte(sum) {
		return nil, nil, errTrustFile
	}
	s := cryptobyte.String(body)
	var version uint8
	var snapshot, cursors, carried, later, pending, mine, orders, early cryptobyte.String
	if !s.ReadUint8(&version) || version != 1 || !read32(&s, &snapshot) || !read32(&s, &cursors) ||
		!s.ReadUint24LengthPrefixed(&carried) || !read32(&s, &later) || !read32(&s, &pending) || !read32(&s, &mine) ||
		!read32(&s, &orders) || !read32(&s, &early) || !s.Empty() {
		return nil, nil, errTrustFile
	}
	k := newKeeper()
	ok := readPlaces(cursors, k.cursors) && k.readHashes(carried) && k.readLater(later) && readList(pending, &k.pending) && readList(mine, &k.mine) && k.readOrders(orders) &&
		readPlaces(early, k.early)
	if !ok {
		return nil, nil, errTrustFile
	}
	return k, snapshot, nil
}

func read32(s, out *cryptobyte.String) bool {
	var n uint32
	return s.ReadUint32(&n) && s.ReadBytes((*[]byte)(out), int(n))
}

func readPlaces(s cryptobyte.String, out map[identity.LogID]uint64) bool {
	for !s.Empty() {
		var raw []byte
		var next uint64
		if !s.ReadBytes(&raw, identity.LogIDSize) || !s.ReadUint64(&next) {
			return false
		}
		id, err := identity.LogIDFromBytes(raw)
		if err != nil {
			return false
		}
		out[id] = next
	}
	return true
}

func (k *keeper) readOrders(s cryptobyte.String) bool {
	for !s.Empty() {
		var raw []byte
		if !s.ReadBytes(&raw, identity.LogIDSize) {
			return false
		}
		id, err := identity.LogIDFromBytes(raw)
		if err != nil {
			return false
		}
		k.orders[id] = struct{}{}
	}
	return true
}

func (k *keeper) readHashes(s cryptobyte.String) bool {
	for !s.Empty() {
		var hash [32]byte
		if !s.CopyBytes(hash[:]) {
			return false
		}
		k.carried[hash] = struct{}{}
	}
	return true
}

func (k *keeper) readLater(s cryptobyte.String) bool {
	for !s.Empty() {
		var d deferred
		var raw cryptobyte.String
		if !s.CopyBytes(d.by[:]) || !s.ReadUint24LengthPrefixed(&raw) || len(raw) == 0 {
			return false
		}
		d.raw = raw
		k.later = append(k.later, d)
	}
	return true
}

func readList(s cryptobyte.String, out *[][]byte) bool {
	for !s.Empty() {
		var raw cryptobyte.String
		if !s.ReadUint24LengthPrefixed(&raw) || len(raw) == 0 {
			return false
		}
		*out = append(*out, raw)
	}
	return true
}
