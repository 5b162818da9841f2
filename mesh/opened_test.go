package mesh

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"
)

// A record is verified once; what differs from it in one bit, or is of another mesh's key, is
// verified anew and gets the verdict that it deserves.
func TestOpenedRecords(t *testing.T) {
	var o openedRecords
	self := testPeerID(t, 200)
	open := func(raw []byte) (*record, error) { return o.open(raw, testTag, self) }
	now := time.Unix(1_800_000_000, 0)
	raw := testRecord(t, 1, now, false, "/ip4/10.0.0.1/tcp/1")
	first, err := open(raw)
	if err != nil || first.peer != testPeerID(t, 1) {
		t.Fatalf("%+v, %v", first, err)
	}
	if again, err := open(bytes.Clone(raw)); again != first || err != nil {
		t.Errorf("verified again: %v", err)
	}
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] ^= 1
		if r, err := open(bad); !errors.Is(err, errRecord) {
			t.Errorf("byte %d changed: %+v, %v", i, r, err)
		}
	}
	for n := range raw {
		if _, err := open(raw[:n]); !errors.Is(err, errRecord) {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
	if again, err := open(raw); again != first || err != nil {
		t.Errorf("what is wrong has pushed out what is right: %v", err)
	}
	later := testRecord(t, 1, now.Add(time.Hour), true, "/ip4/10.0.0.2/tcp/1")
	if r, err := open(later); err != nil || !r.relays || r.issued != first.issued+3600 {
		t.Errorf("a later record of the same device is read as %+v, %v", r, err)
	}
}

// Records of any number of invented devices take no more memory than maxOpened of them.
func TestOpenedRecordsAreBounded(t *testing.T) {
	var o openedRecords
	o.known = make(map[string]*record)
	for n := range uint64(maxOpened) {
		o.known[string(binary.BigEndian.AppendUint64(nil, n))] = &record{}
	}
	raw := testRecord(t, 1, time.Unix(1_800_000_000, 0), false, "/ip4/10.0.0.1/tcp/1")
	r, err := o.open(raw, testTag, testPeerID(t, 200))
	if err != nil || len(o.known) != maxOpened {
		t.Errorf("%d are remembered, %v", len(o.known), err)
	}
	if again, err := o.open(raw, testTag, testPeerID(t, 200)); again != r || err != nil {
		t.Errorf("the last one was forgotten: %v", err)
	}
}
