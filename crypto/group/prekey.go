package group

import (
	"cmp"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
	"unique"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
)

const (
	preKeySize  = 1216              // MLKEM768-X25519 public key
	preKeySeed  = 32                // its private key (draft-ietf-hpke-pq)
	encSize     = 1120              // its encapsulation
	wrapSize    = encSize + 32 + 16 // encapsulation ‖ sealed epoch secret
	weekSeconds = int64(Week / 1e9) // seconds
	maxWeek     = 1<<32 - 1 - PublishedWeeks
	preKeysSize = 1 + 4 + PublishedWeeks*preKeySize
)

// PreKeys is the payload of a control entry that publishes a device's prekeys:
// one for each of four weeks in a row. It is signed as part of the entry.
type PreKeys struct {
	FirstWeek uint32 // weeks since the Unix epoch
	Public    [PublishedWeeks][preKeySize]byte
}

// Marshal returns the one encoding of p, 4,869 bytes.
func (p *PreKeys) Marshal() []byte {
	b := make([]byte, 0, preKeysSize)
	b = append(b, suite)
	b = binary.BigEndian.AppendUint32(b, p.FirstWeek)
	for i := range p.Public {
		b = append(b, p.Public[i][:]...)
	}
	return b
}

// ParsePreKeys reads what [PreKeys.Marshal] writes, and checks each key.
func ParsePreKeys(payload []byte) (*PreKeys, error) {
	p, err := readPreKeys(payload)
	if err != nil {
		return nil, err
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	return p, nil
}

// check refuses keys that cannot be sealed to.
func (p *PreKeys) check() error {
	for i := range p.Public {
		if err := identity.CheckHPKEKey(p.Public[i][:]); err != nil {
			return invalid("prekey of week %d: %w", p.FirstWeek+uint32(i), err)
		}
	}
	return nil
}

// readPreKeys reads the encoding alone.
func readPreKeys(payload []byte) (*PreKeys, error) {
	if len(payload) != preKeysSize {
		return nil, invalid("prekeys of %d bytes, not %d", len(payload), preKeysSize)
	}
	s := cryptobyte.String(payload)
	var version uint8
	p := new(PreKeys)
	s.ReadUint8(&version)
	s.ReadUint32(&p.FirstWeek)
	if version != suite {
		return nil, invalid("prekeys of suite %d; this version knows suite %d", version, suite)
	}
	if p.FirstWeek > maxWeek {
		return nil, invalid("prekeys for week %d, beyond the calendar", p.FirstWeek)
	}
	for i := range p.Public {
		s.CopyBytes(p.Public[i][:])
	}
	return p, nil
}

// heldPreKeys are those of another device. Devices that run in one process hold the same
// sets of the same others, 4.9 KB each: the bytes of a set exist once, for as long as one
// keyring has them, and nobody can change them. Whether it can be sealed to, each
// keyring has found out itself.
type heldPreKeys struct {
	firstWeek uint32 // of set
	set       unique.Handle[PreKeys]
}

func (p *PreKeys) held() heldPreKeys { return heldPreKeys{p.FirstWeek, unique.Make(*p)} }

// pick returns the index of the key to seal to at a time in week now: that
// week's, else the latest held.
func (h heldPreKeys) pick(now uint32) int {
	if now >= h.firstWeek && now-h.firstWeek < PublishedWeeks {
		return int(now - h.firstWeek)
	}
	return PublishedWeeks - 1
}

// preKeyID names one prekey of one device, so that a wrap opens only for it.
func preKeyID(device identity.LogID, week uint32, public []byte) [32]byte {
	who := device.Bytes()
	b := make([]byte, 0, len(labelPreKey)+len(who)+4+len(public))
	b = append(b, labelPreKey...)
	b = append(b, who[:]...)
	b = binary.BigEndian.AppendUint32(b, week)
	return sha256.Sum256(append(b, public...))
}

// ownPreKey is a prekey of this device with its private half.
type ownPreKey struct {
	log     identity.LogID // under which it was published
	week    uint32
	seed    secret
	due     uint64 // elapsed seconds at which the seed is destroyed
	private hpke.PrivateKey
	id      [32]byte
}

func newOwnPreKey(self identity.LogID, week uint32, seed secret, due uint64) (*ownPreKey, error) {
	private, err := hpke.MLKEM768X25519().NewPrivateKey(seed[:])
	if err != nil {
		return nil, fmt.Errorf("group: private prekey of week %d: %w", week, err)
	}
	id := preKeyID(self, week, private.PublicKey().Bytes())
	return &ownPreKey{log: self, week: week, seed: seed, due: due, private: private, id: id}, nil
}

func weekOf(t time.Time) (uint32, error) {
	s := t.Unix()
	if s < 0 || s/weekSeconds > maxWeek {
		return 0, fmt.Errorf("group: the clock says %s; set it and try again", t.UTC().Format(time.RFC3339))
	}
	return uint32(s / weekSeconds), nil
}

func weekStart(week uint32) time.Time { return time.Unix(int64(week)*weekSeconds, 0) }

// PreKeyUpdate returns the payload of a control entry with the prekeys of this
// week and the three that follow, and the changes that keep their private
// halves. The payload is nil while the set published last begins this week.
// The changes are made durable before the payload leaves.
func (k *Keyring) PreKeyUpdate(now time.Time) ([]byte, []Change, error) {
	week, err := weekOf(now)
	if err != nil {
		return nil, nil, err
	}
	if k.published != nil && k.published.log == k.cfg.Self && k.published.week == week {
		return nil, nil, nil
	}
	set := &PreKeys{FirstWeek: week}
	// Who has the signing key of before a roll may have the prekeys of then.
	rolled := k.published != nil && k.published.log.Author != k.cfg.Self.Author
	var changes []Change
	if rolled {
		changes = k.retirePreKeys(week)
	}
	made := 0
	for i := range set.Public {
		key, ok := k.own[week+uint32(i)]
		if !ok || rolled {
			if key, err = k.generatePreKey(week+uint32(i), now); err != nil {
				return nil, nil, err
			}
			changes = append(changes, key.change())
			made++
		}
		copy(set.Public[i][:], key.private.PublicKey().Bytes())
	}
	if held := len(k.own) + len(k.former); held+made > MaxOwnPreKeys {
		return nil, nil, fmt.Errorf("%w: %d private prekeys are held because the clock was moved about; set it right and keep the device running", ErrLimit, held)
	}
	changes = append(changes, published{log: k.cfg.Self, week: week}.change())
	if first := (span{first: week, published: true, destroyed: k.span.destroyed, any: k.span.any}); !k.span.published {
		changes = append(changes, first.change())
	}
	return set.Marshal(), changes, nil
}

// retirePreKeys returns the changes that keep the prekeys of before a key roll to
// open with, and no longer to publish. Those of the four weeks from week on are
// replaced by what the caller makes.
func (k *Keyring) retirePreKeys(week uint32) (out []Change) {
	for _, w := range slices.Sorted(maps.Keys(k.own)) {
		was := *k.own[w]
		was.log = k.published.log
		out = append(out, was.formerChange())
		if w < week || w >= week+PublishedWeeks {
			out = append(out, Change{Key: ownKey(w)})
		}
	}
	return out
}

func (k *Keyring) generatePreKey(week uint32, now time.Time) (*ownPreKey, error) {
	var seed secret
	if _, err := io.ReadFull(k.cfg.Rand, seed[:]); err != nil {
		return nil, fmt.Errorf("group: random bytes: %w", err)
	}
	left := max(weekStart(week).Add(SecretLife).Sub(now), 0)
	return newOwnPreKey(k.cfg.Self, week, seed, k.clock.elapsed+uint64(left/time.Second))
}

// LearnPreKeys takes the prekeys that a device published in a control entry.
// Entries of a log are handed in in their order: the last set counts, whatever
// our clock thinks of its weeks, for a clock may be wrong and a device that
// cannot be sealed to is cut off.
func (k *Keyring) LearnPreKeys(device identity.LogID, payload []byte, _ time.Time) ([]Change, error) {
	set, err := ParsePreKeys(payload)
	if err != nil {
		return nil, err
	}
	held, ok := k.prekeys[device]
	if !ok && len(k.prekeys) >= MaxPreKeyDevices {
		return nil, fmt.Errorf("%w: the prekeys of %d devices are held already", ErrLimit, MaxPreKeyDevices)
	}
	learnt := set.held()
	if ok && held == learnt {
		return nil, nil
	}
	k.sound = learnt
	return []Change{{Key: preKeyKey(device), Value: set.Marshal()}}, nil
}

// HasPreKey reports whether a prekey of device is held whose private half is
// not yet due to be destroyed at now.
func (k *Keyring) HasPreKey(device identity.LogID, now time.Time) bool {
	if device == k.cfg.Self {
		return len(k.own) > 0
	}
	held, ok := k.prekeys[device]
	if !ok {
		return false
	}
	week, err := weekOf(now)
	if err != nil {
		return false
	}
	return weekStart(held.firstWeek + uint32(held.pick(week))).Add(SecretLife).After(now)
}

// recipientKey returns the key that an epoch secret is wrapped to for device,
// and the id of that prekey. It is nil if none is held.
func (k *Keyring) recipientKey(device identity.LogID, now time.Time) (hpke.PublicKey, [32]byte, error) {
	week, err := weekOf(now)
	if err != nil {
		return nil, [32]byte{}, err
	}
	if device == k.cfg.Self {
		own := k.currentOwnPreKey(week)
		if own == nil {
			return nil, [32]byte{}, errors.New("group: this device has no prekeys yet: call PreKeyUpdate first")
		}
		return own.private.PublicKey(), own.id, nil
	}
	held, ok := k.prekeys[device]
	if !ok {
		return nil, [32]byte{}, nil
	}
	i, set := held.pick(week), held.set.Value()
	id := preKeyID(device, set.FirstWeek+uint32(i), set.Public[i][:])
	public, ok := k.parsed[id]
	if !ok {
		if public, err = hpke.MLKEM768X25519().NewPublicKey(set.Public[i][:]); err != nil {
			return nil, [32]byte{}, fmt.Errorf("group: held prekey of %s: %w", device, err)
		}
		if len(k.parsed) >= maxParsed {
			clear(k.parsed)
		}
		k.parsed[id] = public
	}
	return public, id, nil
}

// readAhead makes the public keys ready that announces would seal to now, as far
// as there is room for them: at the first announce after a start reading them
// would be a sixth of the work.
func (k *Keyring) readAhead(now time.Time) {
	for _, g := range k.groups {
		if !k.isMember(g) {
			continue
		}
		for _, m := range g.audience {
			if len(k.parsed) >= maxParsed {
				return
			}
			if m == k.cfg.Self {
				continue
			}
			if _, _, err := k.recipientKey(m, now); err != nil {
				return // a wrong clock or a damaged key: the announce says so
			}
		}
	}
}

func (k *Keyring) currentOwnPreKey(week uint32) *ownPreKey {
	if own, ok := k.own[week]; ok {
		return own
	}
	var latest *ownPreKey
	for _, own := range k.own {
		if latest == nil || own.week > latest.week {
			latest = own
		}
	}
	return latest
}

// ownPreKeys returns the private prekeys in the order in which a wrap is
// tried: newest week first from the one most senders use now. They are the same
// under every log that this device wrote, and a wrap names the log: those before come last.
func (k *Keyring) ownPreKeys(now time.Time) []*ownPreKey {
	week, _ := weekOf(now) // a wrong clock only costs the best order
	out := make([]*ownPreKey, 0, len(k.own))
	for _, own := range k.own {
		out = append(out, own)
	}
	distance := func(o *ownPreKey) int64 {
		if o.week > week {
			return 1<<32 + int64(o.week-week)
		}
		return int64(week - o.week)
	}
	slices.SortFunc(out, func(a, b *ownPreKey) int {
		return cmp.Compare(distance(a), distance(b))
	})
	former := slices.SortedFunc(maps.Values(k.former), func(a, b *ownPreKey) int {
		return cmp.Or(cmp.Compare(distance(a), distance(b)), a.log.Compare(b.log))
	})
	for _, log := range k.selves()[1:] {
		for _, own := range slices.Concat(out[:len(k.own)], former) {
			was := *own
			was.log, was.id = log, preKeyID(log, own.week, own.private.PublicKey().Bytes())
			out = append(out, &was)
		}
	}
	return out
}
