package group

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// The vectors of what stands beside messages: views, requests, hand-overs and
// broadcasts. A view vector is a set of operations, each with the id and place
// that its entry would have, and what they amount to.

type viewVector struct {
	Group     text           `json:"group"`
	Ops       []viewOpVector `json:"ops"`
	Members   []memberVector `json:"members"` // by seniority
	Retention uint16         `json:"retention"`
	State     string         `json:"state"`
	Heads     []text         `json:"heads"`
	Void      []text         `json:"void"`
}

type viewOpVector struct {
	ID      text   `json:"id"`
	Author  text   `json:"author"`
	Seq     uint64 `json:"seq"`
	Payload text   `json:"payload"`
}

type memberVector struct {
	Device text   `json:"device"`
	Role   string `json:"role"`
}

type handoverVector struct {
	Group   text   `json:"group"`
	ID      text   `json:"id"`
	Opening text   `json:"opening"`
	TagKey  text   `json:"tag_key"`
	Payload string `json:"payload"`
	Tag     text   `json:"tag"`
	Commit  text   `json:"commit"`
	Bytes   text   `json:"bytes"`
}

type unreadableVector struct {
	Creator text   `json:"creator"`
	Epoch   text   `json:"epoch"`
	Entries []text `json:"entries"`
	Bytes   text   `json:"bytes"`
}

type broadcastVector struct {
	MeshKey text   `json:"mesh_key"`
	Number  uint32 `json:"number"`
	Author  text   `json:"author"`
	Seq     uint64 `json:"seq"`
	Tag     text   `json:"tag"`
	Opening text   `json:"opening"`
	Salt    text   `json:"salt"`
	Payload string `json:"payload"`
	Commit  text   `json:"commit"`
	Body    text   `json:"body"`
}

func hexIDs(ids [][32]byte) (out []text) {
	for _, id := range ids {
		out = append(out, hexed(id[:]))
	}
	return out
}

func makeViewVectors(t *testing.T) (out []viewVector) {
	r := rand.New(rand.NewPCG(2026, 11))
	draw := func(_ string, n int) int { return r.IntN(n) }
	for len(out) < 12 {
		g := newGrove(draw)
		for len(g.ids) < 6+len(out) {
			g.grow(draw)
		}
		v := must(g.set.evaluate(nil, g.id))
		if len(out) > 3 && (len(v.Void) == 0 || len(v.Members) < 2) {
			continue // the later ones show something
		}
		x := describeView(v)
		for _, id := range g.ids {
			o := g.set[id]
			x.Ops = append(x.Ops, viewOpVector{ID: hexed(id[:]), Author: who(o.author()), Seq: o.proof.Place.Seq, Payload: hexed(must(o.op.Marshal()))})
		}
		out = append(out, x)
	}
	return out
}

func describeView(v *View) viewVector {
	x := viewVector{Group: hexed(v.ID[:]), Retention: v.Retention, State: v.State.String(), Heads: hexIDs(v.Heads), Void: hexIDs(v.Void)}
	for _, m := range v.Members {
		x.Members = append(x.Members, memberVector{Device: who(m.Device), Role: m.Role.String()})
	}
	return x
}

func (v *vectors) checkViews(t *testing.T) {
	void := 0
	for i, x := range v.Views {
		set := make(opSet)
		for _, o := range x.Ops {
			op := must(ParseOp(o.Payload.bytes()))
			id := [32]byte(o.ID.bytes())
			set[id] = &knownOp{op: op, proof: OpProof{ID: id, Place: Place{Log: logName(o.Author.bytes()), Seq: o.Seq}}}
			equal(t, "operation", must(op.Marshal()), o.Payload)
		}
		got := describeView(must(set.evaluate(nil, ID(x.Group.bytes()))))
		if !slices.Equal(got.Members, x.Members) || !slices.Equal(got.Void, x.Void) || !slices.Equal(got.Heads, x.Heads) || got.Retention != x.Retention || got.State != x.State {
			t.Errorf("view %d is %+v, want %+v", i, got, x)
		}
		void += len(x.Void)
	}
	if len(v.Views) < 12 || void == 0 {
		t.Errorf("%d views with %d void operations", len(v.Views), void)
	}
	for i, kind := range v.OpKinds {
		if op := must(ParseOp(kind.bytes())); op.Kind() != OpKind(i+2) {
			t.Errorf("operation %d is %s", i, op.Kind())
		}
	}
	if len(v.OpKinds) != int(OpAppoint)-1 {
		t.Errorf("%d kinds of operation", len(v.OpKinds))
	}
}

func (v *vectors) makeMore(t *testing.T, e *modelEpoch, m sent) {
	for _, op := range everyOp() {
		v.OpKinds = append(v.OpKinds, hexed(must(op.Marshal())))
	}
	v.Views = makeViewVectors(t)
	id := [32]byte{5}
	item := HandoverItem{ID: id, Opening: m.s.Opening, TagKey: m.s.TagKey, Payload: m.payload}
	v.Handover = handoverVector{Group: hexed(e.group[:]), ID: hexed(id[:]), Opening: hexed(item.Opening[:]), TagKey: hexed(item.TagKey[:]), Payload: string(item.Payload),
		Tag: hexed(m.tag[:]), Commit: hexed(m.commit[:]), Bytes: hexed(must(MarshalHandover([]HandoverItem{item})))}
	u := &Unreadable{Creator: m.at.Log, Epoch: e.id, Entries: [][32]byte{{1}, {2}}}
	v.Unreadable = unreadableVector{Creator: who(u.Creator), Epoch: hexed(u.Epoch[:]), Entries: hexIDs(u.Entries), Bytes: hexed(must(u.Marshal()))}
	drawn := bytes.Repeat([]byte{0xc5}, 48)
	meshKey := [32]byte{1, 2, 3}
	c := must(SealBroadcast(meshKey, 4, m.at, []byte("Evacuate the east wing"), bytes.NewReader(drawn)))
	v.Broadcast = broadcastVector{MeshKey: hexed(meshKey[:]), Number: 4, Author: who(m.at.Log), Seq: m.at.Seq, Tag: hexed(BroadcastTag[:]), Opening: hexed(c.Opening[:]),
		Salt: hexed(drawn[32:]), Payload: "Evacuate the east wing", Commit: hexed(c.Commit[:]), Body: hexed(c.Body)}
}

func (v *vectors) checkMore(t *testing.T) {
	h := v.Handover
	items := must(ParseHandover(h.Bytes.bytes()))
	good, _, err := CheckHandover(ID(h.Group.bytes()), items, func(id [32]byte) (HandedHeader, bool) {
		return HandedHeader{Tag: Tag(h.Tag.bytes()), Commit: [32]byte(h.Commit.bytes())}, hexed(id[:]) == h.ID
	})
	if err != nil || len(good) != 1 || string(good[0].Payload) != h.Payload || hexed(good[0].Opening[:]) != h.Opening || hexed(good[0].TagKey[:]) != h.TagKey {
		t.Errorf("handed over %v: %v", good, err)
	}
	equal(t, "hand-over", must(MarshalHandover(items)), h.Bytes)
	u := &Unreadable{Creator: logName(v.Unreadable.Creator.bytes()), Epoch: EpochID(v.Unreadable.Epoch.bytes())}
	for _, id := range v.Unreadable.Entries {
		u.Entries = append(u.Entries, [32]byte(id.bytes()))
	}
	equal(t, "request", must(u.Marshal()), v.Unreadable.Bytes)
	b := v.Broadcast
	at := Place{Log: logName(b.Author.bytes()), Seq: b.Seq}
	c := must(SealBroadcast([32]byte(b.MeshKey.bytes()), b.Number, at, []byte(b.Payload), bytes.NewReader(append(b.Opening.bytes(), b.Salt.bytes()...))))
	equal(t, "broadcast", c.Body, b.Body)
	equal(t, "its commit", c.Commit[:], b.Commit)
	equal(t, "its tag", BroadcastTag[:], b.Tag)
	if o, err := OpenBroadcast([32]byte(b.MeshKey.bytes()), at, c.Commit, b.Body.bytes()); err != nil || string(o.Payload) != b.Payload {
		t.Error(fmt.Sprint("broadcast: ", err))
	}
}
