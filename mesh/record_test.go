package mesh

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"slices"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"
)

var testTag = [tagSize]byte{1, 2, 3}

func testRecord(t testing.TB, n byte, issued time.Time, relays bool, addrs ...string) []byte {
	t.Helper()
	var all []ma.Multiaddr
	for _, a := range addrs {
		m, err := ma.NewMultiaddr(a)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	raw, err := signRecord(testKey(n), testTag, issued, relays, all)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func opened(t testing.TB, raw []byte) *record {
	t.Helper()
	r, err := openRecord(raw, testTag, testPeerID(t, 200))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRecord(t *testing.T) {
	now := time.Now()
	self, relay := testPeer(t, 200), testPeer(t, 2)
	raw := testRecord(t, 1, now, true, "/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.1/udp/1/quic-v1",
		"/ip4/10.0.0.1/tcp/1", // twice
		"/dns4/evil.example/tcp/1", "/ip4/10.0.0.2/tcp/1/p2p/"+self+"/p2p-circuit",
		"/ip4/10.0.0.2/tcp/1/p2p/"+relay+"/p2p-circuit", "/ip4/10.0.0.2/tcp/1/p2p/"+testPeer(t, 1)+"/p2p-circuit")
	r := opened(t, raw)
	if r.peer != testPeerID(t, 1) || !r.relays || r.issued != uint64(now.Unix()) || !bytes.Equal(r.raw, raw) {
		t.Errorf("read %+v", r)
	}
	want := []string{"/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.1/udp/1/quic-v1", "/ip4/10.0.0.2/tcp/1/p2p/" + relay + "/p2p-circuit"}
	var got []string
	for _, a := range r.addrs {
		got = append(got, a.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("addresses %v, want %v", got, want)
	}
	other := testTag
	other[0]++
	if _, err := openRecord(raw, other, testPeerID(t, 200)); !errors.Is(err, errRecord) {
		t.Errorf("of another mesh: %v", err)
	}
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] ^= 0x40
		if _, err := openRecord(bad, testTag, testPeerID(t, 200)); !errors.Is(err, errRecord) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	for n := range raw {
		if _, err := openRecord(raw[:n], testTag, testPeerID(t, 200)); !errors.Is(err, errRecord) {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
	if _, err := openRecord(append(bytes.Clone(raw), 0), testTag, testPeerID(t, 200)); !errors.Is(err, errRecord) {
		t.Errorf("with a byte more: %v", err)
	}
}

// A key that signs for itself may still not write what no record may hold.
func TestRecordBounds(t *testing.T) {
	sign := func(b recordBody) []byte {
		b.key = testKey(1).Public().(ed25519.PublicKey)
		body, err := b.marshal()
		if err != nil {
			t.Fatal(err)
		}
		return append(body, ed25519.Sign(testKey(1), recordSigned(testTag, body))...)
	}
	one := addr(t, "/ip4/10.0.0.1/tcp/1").Bytes()
	many := slices.Repeat([][]byte{one}, maxAddrsPerContact+1)
	for name, b := range map[string]recordBody{
		"too many addresses": {addrs: many},
		"a long address":     {addrs: [][]byte{make([]byte, maxAddrBytes+1)}},
		"an empty address":   {addrs: [][]byte{{}}},
		"unknown flags":      {flags: 2, addrs: [][]byte{one}},
	} {
		if _, err := openRecord(sign(b), testTag, testPeerID(t, 200)); !errors.Is(err, errRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What cannot be read as an address is left out: it may be of a later version.
	r, err := openRecord(sign(recordBody{addrs: [][]byte{{0xff, 0xff}, one}}), testTag, testPeerID(t, 200))
	if err != nil || len(r.addrs) != 1 {
		t.Errorf("an address of an unknown kind: %v, %v", r, err)
	}
	if r, err := openRecord(sign(recordBody{addrs: many[1:]}), testTag, testPeerID(t, 200)); err != nil || len(r.raw) > maxRecord {
		t.Errorf("the most addresses that fit: %v", err)
	}
}

func TestRecordTime(t *testing.T) {
	now := time.Now()
	for age, want := range map[time.Duration]bool{
		0: true, recordLife - time.Hour: true, recordLife + time.Hour: false,
		-recordAhead + time.Hour: true, -recordAhead - time.Hour: false,
	} {
		r := opened(t, testRecord(t, 1, now.Add(-age), false, "/ip4/10.0.0.1/tcp/1"))
		if got := r.timely(now); got != want {
			t.Errorf("age %v: %v", age, got)
		}
	}
	if r := (&record{issued: 1<<64 - 1}); r.timely(now) {
		t.Error("a record from the end of time is timely")
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(testRecord(f, 1, time.Unix(1_800_000_000, 0), true, "/ip4/10.0.0.1/tcp/1", "/ip6/fd00::1/udp/2/quic-v1"))
	f.Add(testRecord(f, 2, time.Unix(0, 0), false))
	f.Add([]byte{recordVersion})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if r, err := openRecord(raw, testTag, testPeerID(t, 200)); err == nil && !bytes.Equal(r.raw, raw) {
			t.Fatal("kept something else than what came")
		}
		b, err := parseRecordBody(raw)
		if err != nil {
			return
		}
		again, err := b.marshal()
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("%x became %x (%v)", raw, again, err)
		}
	})
}

func FuzzExchange(f *testing.F) {
	own := testRecord(f, 1, time.Unix(1_800_000_000, 0), true, "/ip4/10.0.0.1/tcp/1")
	ask, err := marshalAsk(maxExchanged, own)
	if err != nil {
		f.Fatal(err)
	}
	answer, err := marshalAnswer([][]byte{own, own})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ask)
	f.Add(answer)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if want, own, err := parseAsk(raw); err == nil {
			if again, err := marshalAsk(want, own); err != nil || !bytes.Equal(again, raw) {
				t.Fatalf("%x became %x (%v)", raw, again, err)
			}
		}
		if list, err := parseAnswer(raw); err == nil {
			if again, err := marshalAnswer(list); err != nil || !bytes.Equal(again, raw) {
				t.Fatalf("%x became %x (%v)", raw, again, err)
			}
		}
	})
}
