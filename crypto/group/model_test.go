package group

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"tocsin/crypto/identity"
)

// A second implementation of the key schedule, the seal and the open, straight
// from the formulas of protocol §4 and FORMAT.md: no state, every key derived
// from the epoch secret again, its own strings and offsets.
type modelEpoch struct {
	id        [32]byte
	es        []byte
	group     [32]byte
	creator   identity.LogID
	members   []identity.LogID // ascending
	unreached []identity.LogID
	heads     [][32]byte
	pages     [][]byte
}

func modelExpand(key []byte, info []byte, n int) []byte {
	return must(hkdf.Expand(sha256.New, key, string(info), n))
}

func modelHMAC(key, data []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(data)
	return h.Sum(nil)
}

func modelWho(id identity.LogID) []byte {
	return binary.BigEndian.AppendUint32(bytes.Clone(id.Author[:]), id.Incarnation)
}

func (m *modelEpoch) prk() []byte { return must(hkdf.Extract(sha256.New, m.es, m.id[:])) }

func (m *modelEpoch) tag() []byte {
	return modelHMAC(modelExpand(m.prk(), []byte("tocsin/1 tag"), 32), m.group[:])[:16]
}

// keys returns key ‖ nonce ‖ kc of one message.
func (m *modelEpoch) keys(author identity.LogID, generation uint32, salt []byte) []byte {
	ck := modelExpand(m.prk(), append([]byte("tocsin/1 chain"), modelWho(author)...), 32)
	for range generation {
		ck = modelExpand(ck, []byte("tocsin/1 next"), 32)
	}
	ms := modelExpand(ck, []byte("tocsin/1 seed"), 32)
	return modelExpand(ms, append([]byte("tocsin/1 message"), salt...), 76)
}

func modelAEAD(key []byte) cipher.AEAD { return must(cipher.NewGCM(must(aes.NewCipher(key)))) }

func modelAAD(prefix []byte, at Place, tag []byte) []byte {
	return slices.Concat(prefix, modelWho(at.Log), binary.BigEndian.AppendUint64(nil, at.Seq), tag)
}

var errModel = errors.New("model: does not open")

// open returns opening and payload.
func (m *modelEpoch) open(at Place, body []byte) (opening, payload []byte, err error) {
	if len(body) < 53+16 || body[0] != 1 || !slices.Contains(m.members, at.Log) {
		return nil, nil, errModel
	}
	keys := m.keys(at.Log, binary.BigEndian.Uint32(body[17:21]), body[1:17])
	if !bytes.Equal(keys[44:], body[21:53]) {
		return nil, nil, errModel
	}
	plain, err := modelAEAD(keys[:32]).Open(nil, keys[32:44], body[53:], modelAAD(body[:53], at, m.tag()))
	if err != nil {
		return nil, nil, errModel
	}
	n := binary.BigEndian.Uint32(plain[32:36])
	return plain[:32], plain[36 : 36+n], nil
}

// seal is the model's own sealing: body and commit.
func (m *modelEpoch) seal(at Place, generation uint32, salt, opening, payload []byte, size int) (body []byte, commit [32]byte) {
	keys := m.keys(at.Log, generation, salt)
	prefix := slices.Concat([]byte{1}, salt, binary.BigEndian.AppendUint32(nil, generation), keys[44:])
	plain := slices.Concat(opening, binary.BigEndian.AppendUint32(nil, uint32(len(payload))), payload)
	plain = append(plain, make([]byte, size-len(plain))...)
	body = modelAEAD(keys[:32]).Seal(bytes.Clone(prefix), keys[32:44], plain, modelAAD(prefix, at, m.tag()))
	return body, sha256.Sum256(slices.Concat([]byte("tocsin/commit/v1\x00"), opening, payload))
}

// tape keeps the last bytes that were drawn: the epoch secret is the first
// thing that Announce draws.
type tape struct {
	r    interface{ Read([]byte) (int, error) }
	last []byte
}

func (t *tape) Read(b []byte) (int, error) {
	n, err := t.r.Read(b)
	t.last = bytes.Clone(b[:n])
	return n, err
}

// announceTaped announces and returns what the model knows of it.
func announceTaped(d *device, id ID, now time.Time) *modelEpoch {
	d.t.Helper()
	held := d.k.cfg.Rand
	tp := &tape{r: held}
	d.k.cfg.Rand = tp
	a := d.announce(id, now)
	d.k.cfg.Rand = held
	v, _ := d.k.Group(id)
	return &modelEpoch{id: a.Epoch, es: tp.last[:32], group: id, creator: d.log, members: v.devices(), unreached: a.Missing, heads: v.Heads, pages: a.Pages}
}
