package group

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

func TestBroadcast(t *testing.T) {
	d := newDevice(t, 1)
	meshKey, at := [32]byte{1, 2, 3}, d.place()
	sum := sha256.Sum256([]byte("tocsin/1 broadcast"))
	if BroadcastTag != Tag(sum[:16]) {
		t.Errorf("tag %x", BroadcastTag)
	}
	for _, text := range []string{"", "Evacuate the east wing", string(make([]byte, MaxBroadcast))} {
		c, err := SealBroadcast(meshKey, 7, at, []byte(text), d.k.cfg.Rand)
		if err != nil || len(c.Body) > MaxBody {
			t.Fatalf("%d bytes: %v", len(c.Body), err)
		}
		if n, err := BroadcastNumber(c.Body); err != nil || n != 7 {
			t.Errorf("key number %d: %v", n, err)
		}
		o, err := OpenBroadcast(meshKey, at, c.Commit, c.Body)
		if err != nil || string(o.Payload) != text || !o.Provable || o.Opening != c.Opening || o.Number != 7 {
			t.Fatalf("opened %+v, %v", o, err)
		}
		checkBroadcastBytes(t, meshKey, at, c, []byte(text))
	}
	if _, err := SealBroadcast(meshKey, 7, at, make([]byte, MaxBroadcast+1), d.k.cfg.Rand); err == nil {
		t.Error("sealed too much")
	}
	if _, err := SealBroadcast(meshKey, 7, at, nil, bytes.NewReader(nil)); err == nil {
		t.Error("sealed without randomness")
	}
}

// checkBroadcastBytes seals the same by the formulas of FORMAT.md.
func checkBroadcastBytes(t *testing.T, meshKey [32]byte, at Place, c *Broadcast, payload []byte) {
	t.Helper()
	salt := c.Body[5:21]
	prk := must(hkdf.Extract(sha256.New, meshKey[:], []byte("tocsin/1 broadcast")))
	keys := modelExpand(prk, slices.Concat([]byte("tocsin/1 message"), []byte{0, 0, 0, 7}, salt), 76)
	prefix := slices.Concat([]byte{1, 0, 0, 0, 7}, salt, keys[44:])
	plain := slices.Concat(c.Opening[:], binary.BigEndian.AppendUint32(nil, uint32(len(payload))), payload)
	plain = append(plain, make([]byte, len(c.Body)-53-16-len(plain))...)
	aad := append(modelAAD(prefix, at, BroadcastTag[:]), c.Commit[:]...)
	if want := modelAEAD(keys[:32]).Seal(prefix, keys[32:44], plain, aad); !bytes.Equal(want, c.Body) {
		t.Errorf("sealed to other bytes than the format says")
	}
}

func TestBroadcastForgeries(t *testing.T) {
	d := newDevice(t, 1)
	meshKey, at := [32]byte{1, 2, 3}, d.place()
	c, err := SealBroadcast(meshKey, 7, at, []byte("Evacuate the east wing"), d.k.cfg.Rand)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, key [32]byte, at Place, commit [32]byte, body []byte) {
		t.Helper()
		if o, err := OpenBroadcast(key, at, commit, body); !errors.Is(err, ErrOpen) || o != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for i := range 8 * len(c.Body) {
		body := bytes.Clone(c.Body)
		body[i/8] ^= 1 << (i % 8)
		try("a bit flipped", meshKey, at, c.Commit, body)
	}
	try("another mesh key", [32]byte{1, 2, 4}, at, c.Commit, c.Body)
	try("another place", meshKey, Place{Log: at.Log, Seq: at.Seq + 1}, c.Commit, c.Body)
	try("another log", meshKey, Place{Log: newDevice(t, 2).log, Seq: at.Seq}, c.Commit, c.Body)
	try("another commit", meshKey, at, [32]byte{1}, c.Body)
	try("cut short", meshKey, at, c.Commit, c.Body[:60])
	try("nothing", meshKey, at, c.Commit, nil)
	try("beyond a body", meshKey, at, c.Commit, append(bytes.Clone(c.Body), make([]byte, MaxBody)...))
	// A message of a group is no broadcast, and a broadcast no message.
	ds, id := meet(t, 2, start)
	m := ds[0].seal(id, "x", start)
	try("a group's message", meshKey, m.at, m.commit, m.body)
	refused(t, "a broadcast as a message", ds[1], sent{at: at, tag: BroadcastTag, commit: c.Commit, body: c.Body}, nil)
}
