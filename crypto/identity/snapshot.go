package identity

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// A snapshot is what a trust store has taken, for the node's disk:
//
//	struct { uint64 taken; opaque statement<1..2^16-1>; } Kept;
//	struct { opaque org<1..2^8-1>; opaque key[32]; } Device;
//	struct { Device device; uint64 since; opaque by<0..2^8-1>; uint8 flags; } Out;
//	struct { Device registrar; uint64 since; } RegistrarOut;
//	struct { opaque signer[32]; uint64 number; } MeshNumber;
//	struct { opaque id[32]; opaque signer[32]; } MeshPage;
//	struct { opaque leaf[32]; Device device; uint64 from; uint64 to; opaque person<1..2^16-1>; } Vouched;
//	struct {
//	    uint8 version = 1; opaque mesh[32]; uint64 floor;
//	    Kept kept[]; Out revoked[]; RegistrarOut registrars[]; MeshNumber numbers[];
//	    MeshPage pages[]; opaque waiting<1..2^16-1>[];
//	    Vouched vouched[];                                      /* each list: uint32 count, then the items */
//	} Snapshot;
//
// followed by SHA-256("tocsin/trust-snapshot/v1\0" ‖ all of it).

const (
	outSponsor = 1
	outWiped   = 2
)

var errSnapshot = errors.New("identity: the snapshot of the trust state is damaged: restore the file from a copy, or remove it and let the mesh state everything again")

// Snapshot returns everything that has been taken. It is to be on disk before
// anything follows from an [Effect]: that an old CRL cannot be played back after
// a restart rests on it. It needs no key, and holds no secret.
func (s *TrustStore) Snapshot() []byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var b cryptobyte.Builder
	b.AddUint8(1)
	mesh := s.genesis.MeshID()
	b.AddBytes(mesh[:])
	addTime(&b, s.state.floor)
	addList(&b, s.state.kept, func(k keptStatement) {
		addTime(&b, k.taken)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(k.raw) })
	})
	addList(&b, sortedDevices(s.state.revoked), func(d device) {
		r := s.state.revoked[d]
		addDevice(&b, d)
		addTime(&b, r.since)
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(r.by)) })
		b.AddUint8(uint8(b2i(r.sponsor)*outSponsor | b2i(r.wiped)*outWiped))
	})
	addList(&b, sortedDevices(s.state.registrars), func(d device) {
		addDevice(&b, d)
		addTime(&b, s.state.registrars[d])
	})
	addList(&b, sortedHashes(s.state.meshKeys), func(h [32]byte) {
		b.AddBytes(h[:])
		b.AddUint64(s.state.meshKeys[h])
	})
	addList(&b, sortedHashes(s.state.pages), func(h [32]byte) {
		b.AddBytes(h[:])
		by := s.state.pages[h]
		b.AddBytes(by[:])
	})
	addList(&b, s.waiting, func(raw []byte) {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(raw) })
	})
	s.vouched.addTo(&b)
	out := b.BytesOrPanic() // every length has been checked when it was taken
	sum := sha256.Sum256(join(domainSnapshot, out))
	return append(out, sum[:]...)
}

// addList writes how many there are, and each.
func addList[T any](b *cryptobyte.Builder, list []T, add func(T)) {
	b.AddUint32(uint32(len(list)))
	for _, v := range list {
		add(v)
	}
}

func addDevice(b *cryptobyte.Builder, d device) {
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(d.org)) })
	b.AddBytes(d.key[:])
}

func sortedDevices[V any](m map[device]V) []device {
	out := make([]device, 0, len(m))
	for d := range m {
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b device) int {
		if a.org != b.org {
			return bytes.Compare([]byte(a.org), []byte(b.org))
		}
		return bytes.Compare(a.key[:], b.key[:])
	})
	return out
}

func sortedHashes[V any](m map[[32]byte]V) [][32]byte {
	out := make([][32]byte, 0, len(m))
	for h := range m {
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	return out
}

// Restore merges a snapshot into the store. Statements are verified again, with
// the clock of the moment at which they were taken; nothing that the store
// knows already is lowered or un-revoked. A damaged snapshot, or that of another
// mesh, changes nothing.
func (s *TrustStore) Restore(snapshot []byte) error {
	p, err := parseSnapshot(snapshot)
	if err != nil {
		return err
	}
	if p.mesh != s.genesis.MeshID() {
		return fmt.Errorf("identity: the snapshot is that of another mesh: %w", ErrForeign)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range p.kept {
		if _, err := s.take(k.raw, k.taken); err != nil && !isOvertaken(err) {
			return fmt.Errorf("identity: a statement of the snapshot: %w", err)
		}
	}
	s.state.raise(p.floor)
	for d, r := range p.revoked {
		s.state.revoke(d, r)
	}
	for d, since := range p.registrars {
		if _, ok := s.state.registrars[d]; !ok {
			s.state.registrars[d] = since
		}
	}
	for by, n := range p.meshKeys {
		s.state.raiseMeshKey(by, n)
	}
	for id, by := range p.pages {
		if p.meshKeys[by] == s.state.meshKeys[by] {
			s.state.pages[id] = by
		}
	}
	for _, raw := range p.waiting {
		s.waiting.add(raw)
	}
	for _, v := range p.vouched {
		s.vouched.add(v.leaf, v.seen, maxVouched)
	}
	return nil
}

// parsedSnapshot is a snapshot read, and nothing of it verified.
type parsedSnapshot struct {
	mesh       MeshID
	floor      time.Time
	kept       []keptStatement
	revoked    map[device]revocation
	registrars map[device]time.Time
	meshKeys   map[[32]byte]uint64
	pages      map[[32]byte][32]byte
	waiting    [][]byte
	vouched    []vouched
}

// vouched is one sponsorship that this device has given.
type vouched struct {
	leaf [32]byte
	seen *seenCredential
}

func parseSnapshot(raw []byte) (*parsedSnapshot, error) {
	n := len(raw) - sha256.Size
	if n < 0 || len(raw) > maxSnapshot {
		return nil, errSnapshot
	}
	if sum := sha256.Sum256(join(domainSnapshot, raw[:n])); !bytes.Equal(sum[:], raw[n:]) {
		return nil, errSnapshot
	}
	p := &parsedSnapshot{
		revoked: map[device]revocation{}, registrars: map[device]time.Time{},
		meshKeys: map[[32]byte]uint64{}, pages: map[[32]byte][32]byte{},
	}
	s := cryptobyte.String(bytes.Clone(raw[:n]))
	var version uint8
	if !s.ReadUint8(&version) || version != 1 || !s.CopyBytes(p.mesh[:]) || !readTime(&s, &p.floor) {
		return nil, errSnapshot
	}
	ok := p.readStatements(&s) && p.readOut(&s) &&
		readList(&s, func() bool {
			var d device
			var since time.Time
			ok := readDevice(&s, &d) && readTime(&s, &since)
			p.registrars[d] = since
			return ok
		}) &&
		readList(&s, func() bool {
			var h [32]byte
			var n uint64
			ok := s.CopyBytes(h[:]) && s.ReadUint64(&n)
			p.meshKeys[h] = n
			return ok
		}) &&
		readList(&s, func() bool {
			var id, by [32]byte
			ok := s.CopyBytes(id[:]) && s.CopyBytes(by[:])
			p.pages[id] = by
			return ok
		}) &&
		readList(&s, func() bool {
			var raw cryptobyte.String
			ok := s.ReadUint16LengthPrefixed(&raw)
			p.waiting = append(p.waiting, raw)
			return ok
		}) && p.readVouched(&s)
	if !ok || !s.Empty() {
		return nil, errSnapshot
	}
	return p, nil
}

func (p *parsedSnapshot) readStatements(s *cryptobyte.String) bool {
	return readList(s, func() bool {
		var k keptStatement
		var raw cryptobyte.String
		ok := readTime(s, &k.taken) && s.ReadUint16LengthPrefixed(&raw)
		k.raw = raw
		p.kept = append(p.kept, k)
		return ok
	})
}

func (p *parsedSnapshot) readOut(s *cryptobyte.String) bool {
	return readList(s, func() bool {
		var d device
		var r revocation
		var by cryptobyte.String
		var flags uint8
		ok := readDevice(s, &d) && readTime(s, &r.since) && s.ReadUint8LengthPrefixed(&by) && s.ReadUint8(&flags)
		r.by, r.sponsor, r.wiped = string(by), flags&outSponsor != 0, flags&outWiped != 0
		p.revoked[d] = r
		return ok
	})
}

// addTo writes what this device has vouched for, once for each person.
func (m sponsoredSeen) addTo(b *cryptobyte.Builder) {
	var list []vouched
	for _, leaf := range sortedHashes(m) {
		for _, person := range m[leaf].people {
			one := *m[leaf]
			one.people = []string{person}
			list = append(list, vouched{leaf, &one})
		}
	}
	addList(b, list, func(v vouched) {
		b.AddBytes(v.leaf[:])
		addDevice(b, device{v.seen.org, v.seen.key})
		addTime(b, v.seen.from)
		addTime(b, v.seen.to)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(v.seen.people[0])) })
	})
}

func (p *parsedSnapshot) readVouched(s *cryptobyte.String) bool {
	return readList(s, func() bool {
		v := vouched{seen: &seenCredential{}}
		var d device
		var person cryptobyte.String
		ok := s.CopyBytes(v.leaf[:]) && readDevice(s, &d) && readTime(s, &v.seen.from) && readTime(s, &v.seen.to) && s.ReadUint16LengthPrefixed(&person)
		v.seen.key, v.seen.org, v.seen.people = d.key, d.org, []string{string(person)}
		p.vouched = append(p.vouched, v)
		return ok
	})
}

// readList reads a count and calls read for each; nothing is allocated for a
// count that the bytes do not bear out.
func readList(s *cryptobyte.String, read func() bool) bool {
	var n uint32
	if !s.ReadUint32(&n) {
		return false
	}
	for range n {
		if !read() {
			return false
		}
	}
	return true
}

func readDevice(s *cryptobyte.String, d *device) bool {
	var org cryptobyte.String
	ok := s.ReadUint8LengthPrefixed(&org) && s.CopyBytes(d.key[:])
	d.org = string(org)
	return ok
}
