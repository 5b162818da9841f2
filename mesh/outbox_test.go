package mesh

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

func parcelOf(class uint8, first bool, name string, size int) *parcel {
	return &parcel{Label: Label{Class: class, First: first}, data: append([]byte(name), make([]byte, size-len(name))...), ids: []frameID{{}}}
}

// anyClass is an open window.
func anyClass(uint8) bool { return true }

func nameOf(p *parcel) string { return string(bytes.TrimRight(p.data, "\x00")) }

// TestOutboxOrder: what is urgent passes a full queue of routine parcels, stat
// first; and a flood of the urgent does not stop the rest.
func TestOutboxOrder(t *testing.T) {
	var o outbox
	for i := range 100 {
		o.put(parcelOf(ClassRoutine, false, fmt.Sprint("routine ", i), 100), 1<<20)
	}
	o.next(anyClass)
	o.put(parcelOf(ClassUrgent, false, "urgent", 100), 1<<20)
	o.put(parcelOf(ClassUrgent, true, "stat", 100), 1<<20)
	var got []string
	for range 4 {
		got = append(got, nameOf(o.next(anyClass)))
	}
	// One routine parcel may have begun its turn.
	if s, u := slices.Index(got, "stat"), slices.Index(got, "urgent"); s < 0 || s > 1 || u < s || u > 3 {
		t.Errorf("the order is %q", got)
	}
	var flood outbox
	for class := range uint8(classes) {
		for range 1000 {
			flood.put(parcelOf(class, false, "x", 100), 1<<20)
		}
	}
	var shares [classes]int
	for range 1500 {
		shares[flood.next(anyClass).Class]++
	}
	for class, n := range shares {
		if want := 100 * classWeights[class]; n < want-2 || n > want+2 {
			t.Errorf("class %d got %d of 1500 turns, want %d", class, n, want)
		}
	}
}

// TestOutboxFull: over its bound the newest of the worst class goes; what keeps
// gossip going does not.
func TestOutboxFull(t *testing.T) {
	var o outbox
	for i := range 10 {
		o.put(parcelOf(ClassRoutine, false, fmt.Sprint(i), 100), 1000)
	}
	dropped, ok := o.put(parcelOf(ClassUrgent, false, "urgent", 100), 1000)
	if !ok || len(dropped) != 1 || nameOf(dropped[0]) != "9" {
		t.Errorf("dropped %v, %v", dropped, ok)
	}
	dropped, ok = o.put(parcelOf(ClassBulk, false, "bulk", 100), 1000)
	if !ok || len(dropped) != 1 || nameOf(dropped[0]) != "bulk" {
		t.Errorf("dropped %v, %v", dropped, ok)
	}
	var stuck outbox
	control := func() *parcel {
		return &parcel{control: true, data: make([]byte, 400)}
	}
	stuck.put(control(), 1000)
	stuck.put(control(), 1000)
	if dropped, ok := stuck.put(control(), 1000); ok || len(dropped) != 0 {
		t.Errorf("control was dropped: %v, %v", dropped, ok)
	}
}

// TestOutboxProperty: whatever goes in comes out or is dropped, once, in the
// order of its class and lane, and the bytes add up.
func TestOutboxProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var o outbox
		in, out, gone, bytes := 0, 0, 0, 0
		last := make(map[[2]any]int)
		for range rapid.IntRange(0, 200).Draw(rt, "steps") {
			if rapid.IntRange(0, 2).Draw(rt, "what") > 0 {
				p := parcelOf(rapid.Uint8Range(0, ClassBulk).Draw(rt, "class"), rapid.Bool().Draw(rt, "first"), fmt.Sprint(in), rapid.IntRange(20, 200).Draw(rt, "size"))
				in++
				bytes += len(p.data)
				dropped, ok := o.put(p, 2000)
				if !ok {
					rt.Fatal("frames fill it for good")
				}
				for _, d := range dropped {
					gone++
					bytes -= len(d.data)
				}
			} else if p := o.next(anyClass); p != nil {
				out++
				bytes -= len(p.data)
				var n int
				fmt.Sscan(nameOf(p), &n)
				lane := [2]any{p.Class, p.First}
				if before, ok := last[lane]; ok && before > n {
					rt.Fatalf("%d comes after %d", n, before)
				}
				last[lane] = n
			}
			if o.bytes != bytes || o.len() != in-out-gone || o.bytes > 2000 {
				rt.Fatalf("%d bytes, %d parcels; want %d, %d", o.bytes, o.len(), bytes, in-out-gone)
			}
		}
	})
}

// rpcBytes is an RPC as gossipsub writes it.
func rpcBytes(t testing.TB, rpc *pubsub.RPC) []byte {
	t.Helper()
	raw, err := proto.Marshal(&rpc.RPC)
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.AppendUvarint(nil, uint64(len(raw))), raw...)
}

func publishing(frames ...string) *pubsub.RPC {
	topic := "t"
	rpc := new(pubsub.RPC)
	for _, f := range frames {
		rpc.Publish = append(rpc.Publish, &pb.Message{Data: []byte(f), Topic: &topic})
	}
	return rpc
}

// byFirstLetter labels frames in tests.
func byFirstLetter(frame []byte) Label {
	switch {
	case bytes.HasPrefix(frame, []byte("stat")):
		return Label{Class: ClassUrgent, First: true}
	case bytes.HasPrefix(frame, []byte("urgent")):
		return Label{Class: ClassUrgent}
	case bytes.HasPrefix(frame, []byte("key")):
		return Label{Class: ClassControl}
	}
	return Label{Class: ClassRoutine}
}

// TestScanRPC: an RPC is of the best class of its frames; what carries anything
// else is control.
func TestScanRPC(t *testing.T) {
	grafting := publishing("routine")
	grafting.Control = &pb.ControlMessage{Graft: []*pb.ControlGraft{{}}}
	subscribing := &pubsub.RPC{RPC: pb.RPC{Subscriptions: []*pb.RPC_SubOpts{{}}}}
	for _, c := range []struct {
		name    string
		raw     []byte
		class   uint8
		first   bool
		control bool
		ids     int
	}{
		{"routine", rpcBytes(t, publishing("routine")), ClassRoutine, false, false, 1},
		{"stat", rpcBytes(t, publishing("stat")), ClassUrgent, true, false, 1},
		{"mixed", rpcBytes(t, publishing("routine", "urgent", "stat")), ClassUrgent, true, false, 3},
		{"key first", rpcBytes(t, publishing("stat", "key")), ClassControl, false, false, 2},
		{"graft", rpcBytes(t, grafting), ClassControl, false, true, 1},
		{"subscription", rpcBytes(t, subscribing), ClassControl, false, true, 0},
		{"noise", []byte{3, 0xff, 0xff, 0xff}, ClassControl, false, true, 0},
		{"nothing", nil, ClassControl, false, true, 0},
	} {
		p := scanRPC(c.raw, byFirstLetter)
		if p.Class != c.class || p.First != c.first || p.control != c.control || len(p.ids) != c.ids {
			t.Errorf("%s: %+v", c.name, p)
		}
	}
	p := scanRPC(rpcBytes(t, publishing("routine")), byFirstLetter)
	if p.ids[0] != frameID(sha256.Sum256([]byte("routine"))) {
		t.Error("the frame has another id")
	}
}

// FuzzScanRPC: no bytes make it panic, and what gossipsub can read it reads alike.
func FuzzScanRPC(f *testing.F) {
	f.Add(rpcBytes(f, publishing("routine", "stat")))
	f.Add([]byte{5, 0x12, 3, 0x12, 1, 'x'})
	f.Fuzz(func(t *testing.T, raw []byte) {
		p := scanRPC(raw, byFirstLetter)
		if !bytes.Equal(p.data, raw) || p.Class > ClassBulk {
			t.Fatalf("%+v", p)
		}
		n, used := binary.Uvarint(raw)
		var rpc pb.RPC
		if used <= 0 || n != uint64(len(raw)-used) || proto.Unmarshal(raw[used:], &rpc) != nil || p.control {
			return
		}
		if len(rpc.Publish) != len(p.ids) {
			t.Fatalf("%d frames, %d ids", len(rpc.Publish), len(p.ids))
		}
	})
}
