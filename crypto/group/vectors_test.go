package group

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/cryptotest"

	"tocsin/crypto/identity"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

// The vectors hold two directions. "schedule" and "messages" are recomputed
// from their inputs, byte for byte. "announce" was made once, because HPKE draws
// its own randomness; it is opened with the private prekey given, and every
// value in it recomputed from the epoch secret found.
type vectors struct {
	Comment  string          `json:"comment"`
	Group    groupVector     `json:"group"`
	PreKeys  preKeyVector    `json:"prekeys"`
	Ops      []opVector      `json:"ops"`
	Announce announceVector  `json:"announce"`
	Messages []messageVector `json:"messages"`
	Padding  [][2]int        `json:"padding"`

	OpKinds    []text           `json:"op_kinds"` // from add on
	Views      []viewVector     `json:"views"`
	Handover   handoverVector   `json:"handover"`
	Unreadable unreadableVector `json:"unreadable"`
	Broadcast  broadcastVector  `json:"broadcast"`
}

type groupVector struct {
	Creator text   `json:"creator"`
	Nonce   text   `json:"nonce"`
	ID      text   `json:"id"`
	Name    string `json:"name"`
}

type preKeyVector struct {
	Device    text   `json:"device"`
	FirstWeek uint32 `json:"first_week"`
	Seeds     []text `json:"seeds"`
	Payload   text   `json:"payload"`
	IDs       []text `json:"ids"`
}

type opVector struct {
	Payload      text `json:"payload"`
	Opening      text `json:"opening"`
	Commit       text `json:"commit"`
	SignedHeader text `json:"signed_header"`
}

type announceVector struct {
	Announcer  text          `json:"announcer"`
	Recipient  text          `json:"recipient"`
	PreKeySeed text          `json:"prekey_seed"`
	PreKeyID   text          `json:"prekey_id"`
	Pages      []text        `json:"pages"`
	EpochID    text          `json:"epoch_id"`
	Secret     text          `json:"epoch_secret"`
	Members    []text        `json:"members"`
	MembersMAC text          `json:"members_mac"`
	Commitment text          `json:"commitment"`
	PRK        text          `json:"prk"`
	StateKey   text          `json:"state_key"`
	State      text          `json:"state"`
	TagKey     text          `json:"tag_key"`
	Tag        text          `json:"tag"`
	ChainKeys  map[text]text `json:"chain_keys_0"`
}

type messageVector struct {
	Author     text   `json:"author"`
	Seq        uint64 `json:"seq"`
	Generation uint32 `json:"generation"`
	Seed       text   `json:"message_seed"`
	Salt       text   `json:"salt"`
	Key        text   `json:"key"`
	Nonce      text   `json:"nonce"`
	KC         text   `json:"kc"`
	Opening    text   `json:"opening"`
	Payload    string `json:"payload"`
	Commit     text   `json:"commit"`
	Body       text   `json:"body"`
}

// text is bytes in hexadecimal.
type text string

func hexed[T ~[]byte](b T) text { return text(hex.EncodeToString(b)) }

func (x text) bytes() []byte { return must(hex.DecodeString(string(x))) }

func who(id identity.LogID) text { return hexed(modelWho(id)) }

// makeVectors plays a small story with fixed randomness.
func makeVectors(t *testing.T) *vectors {
	cryptotest.SetGlobalRandom(t, 1) // for HPKE
	v := &vectors{Comment: "Known answers for suite 1; see FORMAT.md. Made by: go test ./crypto/group -run TestVectors -update. A log is author ‖ incarnation. Signed headers of operations are a test's own: place ‖ commit, signed."}
	a, b := newDevice(t, 1), newDevice(t, 2)
	payload, changes, err := b.k.PreKeyUpdate(start)
	if err != nil {
		t.Fatal(err)
	}
	b.apply(changes)
	a.publish(start)
	a.apply(must(a.k.LearnPreKeys(b.log, payload, start)))
	set := must(ParsePreKeys(payload))
	v.PreKeys = preKeyVector{Device: who(b.log), FirstWeek: set.FirstWeek, Payload: hexed(payload)}
	for i := range set.Public {
		own := b.k.own[set.FirstWeek+uint32(i)]
		v.PreKeys.Seeds, v.PreKeys.IDs = append(v.PreKeys.Seeds, hexed(own.seed[:])), append(v.PreKeys.IDs, hexed(own.id[:]))
	}
	id := a.create(KindIncident, "Major incident: Ward 7")
	a.add(id, RoleMember, b)
	e := announceTaped(a, id, start)
	v.describe(t, a, b, id, e)
	for i, text := range []string{"", "theatre 2 is ready", strings.Repeat("long ", 300), "last"} {
		m := a.seal(id, text, start)
		if v.Messages = append(v.Messages, describeMessage(e, m, uint32(i))); i == 1 {
			v.makeMore(t, e, m)
		}
	}
	for _, n := range []int{0, 36, 256, 257, 1060, 4097, 59392} {
		v.Padding = append(v.Padding, [2]int{n, padded(n)})
	}
	return v
}

func (v *vectors) describe(t *testing.T, a, b *device, id ID, e *modelEpoch) {
	view, _ := a.k.Group(id)
	for _, o := range a.k.groups[id].ops {
		x := opVector{Payload: hexed(o.sealed.Payload), Opening: hexed(o.sealed.Opening[:]), Commit: hexed(o.proof.Commit[:]), SignedHeader: hexed(o.sealed.SignedHeader)}
		if o.op.Create != nil {
			v.Group = groupVector{Creator: who(a.log), Nonce: hexed(o.op.Create.Nonce[:]), ID: hexed(id[:]), Name: view.Name}
			v.Ops = append([]opVector{x}, v.Ops...)
		} else {
			v.Ops = append(v.Ops, x)
		}
	}
	own := b.k.currentOwnPreKey(must(weekOf(start)))
	p := must(parsePage(e.pages[0]))
	keys := must(deriveEpoch(e.id, secret(e.es)))
	w := &work{next: partial{header: p.header, pages: map[uint8][]byte{0: must(parsePage(e.pages[1])).data}}}
	st := must(w.openState(keys.state))
	v.Announce = announceVector{Announcer: who(a.log), Recipient: who(b.log), PreKeySeed: hexed(own.seed[:]), PreKeyID: hexed(own.id[:]),
		EpochID: hexed(e.id[:]), Secret: hexed(e.es), MembersMAC: hexed(p.header.members[:]), Commitment: hexed(p.header.commitment[:]),
		PRK: hexed(keys.prk), StateKey: hexed(keys.state[:]), State: hexed(must(st.marshal())), TagKey: hexed(modelExpand(e.prk(), []byte("tocsin/1 tag"), 32)), Tag: hexed(e.tag()), ChainKeys: make(map[text]text)}
	for _, page := range e.pages {
		v.Announce.Pages = append(v.Announce.Pages, hexed(page))
	}
	for _, m := range e.members {
		ck := must(keys.chainKey(m))
		v.Announce.Members, v.Announce.ChainKeys[who(m)] = append(v.Announce.Members, who(m)), hexed(ck[:])
	}
	if t.Failed() {
		t.FailNow()
	}
}

func describeMessage(e *modelEpoch, m sent, generation uint32) messageVector {
	ck := modelExpand(e.prk(), append([]byte("tocsin/1 chain"), modelWho(m.at.Log)...), 32)
	for range generation {
		ck = modelExpand(ck, []byte("tocsin/1 next"), 32)
	}
	salt := m.body[1:17]
	keys := e.keys(m.at.Log, generation, salt)
	return messageVector{Author: who(m.at.Log), Seq: m.at.Seq, Generation: generation, Seed: hexed(modelExpand(ck, []byte("tocsin/1 seed"), 32)), Salt: hexed(salt),
		Key: hexed(keys[:32]), Nonce: hexed(keys[32:44]), KC: hexed(keys[44:]), Opening: hexed(m.s.Opening[:]), Payload: string(m.payload), Commit: hexed(m.commit[:]), Body: hexed(m.body)}
}

func TestVectors(t *testing.T) {
	path := filepath.Join("testdata", "vectors.json")
	if *update {
		raw := must(json.MarshalIndent(makeVectors(t), "", "  "))
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(raw, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	v := new(vectors)
	dec := json.NewDecoder(bytes.NewReader(must(os.ReadFile(path))))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		t.Fatal(err)
	}
	t.Run("group", v.checkGroup)
	t.Run("prekeys", v.checkPreKeys)
	t.Run("ops", v.checkOps)
	t.Run("announce", v.checkAnnounce)
	t.Run("messages", v.checkMessages)
	t.Run("views", v.checkViews)
	t.Run("more", v.checkMore)
	for _, p := range v.Padding {
		if got := padded(p[0]); got != p[1] {
			t.Errorf("padded(%d) = %d, want %d", p[0], got, p[1])
		}
	}
}

func equal(t *testing.T, what string, got []byte, want text) {
	t.Helper()
	if hexed(got) != want {
		t.Errorf("%s is %x, want %s", what, got, want)
	}
}

func (v *vectors) checkGroup(t *testing.T) {
	id := groupID(logName(v.Group.Creator.bytes()), [32]byte(v.Group.Nonce.bytes()))
	equal(t, "group id", id[:], v.Group.ID)
}

func (v *vectors) checkPreKeys(t *testing.T) {
	device := logName(v.PreKeys.Device.bytes())
	set := &PreKeys{FirstWeek: v.PreKeys.FirstWeek}
	for i, seed := range v.PreKeys.Seeds {
		own, err := newOwnPreKey(device, set.FirstWeek+uint32(i), secret(seed.bytes()), 0)
		if err != nil {
			t.Fatal(err)
		}
		copy(set.Public[i][:], own.private.PublicKey().Bytes())
		equal(t, fmt.Sprint("id of prekey ", i), own.id[:], v.PreKeys.IDs[i])
	}
	equal(t, "payload", set.Marshal(), v.PreKeys.Payload)
}

func (v *vectors) checkOps(t *testing.T) {
	for i, o := range v.Ops {
		op, err := ParseOp(o.Payload.bytes())
		if err != nil {
			t.Fatal(err)
		}
		equal(t, fmt.Sprint("operation ", i), must(op.Marshal()), o.Payload)
		commit := Commit([32]byte(o.Opening.bytes()), o.Payload.bytes())
		equal(t, "commit", commit[:], o.Commit)
	}
}

func (v *vectors) checkAnnounce(t *testing.T) {
	a := v.Announce
	k := New(Config{Self: logName(a.Recipient.bytes()), VerifyOp: verifyTestHeader})
	own, err := newOwnPreKey(k.cfg.Self, v.PreKeys.FirstWeek, secret(a.PreKeySeed.bytes()), 1)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "prekey id", own.id[:], a.PreKeyID)
	if err := k.Apply(own.change()); err != nil {
		t.Fatal(err)
	}
	p := must(parsePage(a.Pages[0].bytes()))
	id := p.header.id()
	equal(t, "epoch id", id[:], a.EpochID)
	es := must(k.findWrap(partialID{log: logName(a.Announcer.bytes()), epoch: id}, p, start))
	equal(t, "epoch secret", es[:], a.Secret)
	var members []identity.LogID
	for _, m := range a.Members {
		members = append(members, logName(m.bytes()))
	}
	m := must(membersMAC(*es, members))
	equal(t, "members MAC", m[:], a.MembersMAC)
	c := must(commitment(*es, p.header.salt, logName(a.Announcer.bytes())))
	equal(t, "commitment", c[:], a.Commitment)
	keys := must(deriveEpoch(id, *es))
	equal(t, "prk", keys.prk, a.PRK)
	equal(t, "state key", keys.state[:], a.StateKey)
	tagKey := must(expandSecret(keys.prk, labelTag))
	equal(t, "tag key", tagKey[:], a.TagKey)
	tag := tagOf(tagKey, ID(v.Group.ID.bytes()))
	equal(t, "tag", tag[:], a.Tag)
	for _, m := range members {
		ck := must(keys.chainKey(m))
		equal(t, "chain key", ck[:], a.ChainKeys[who(m)])
	}
	equal(t, "state", must(must(parseEpochState(a.State.bytes())).marshal()), a.State)
	v.learn(t, k)
}

// learn takes the pages by the front door and opens the messages.
func (v *vectors) learn(t *testing.T, k *Keyring) {
	var pages [][]byte
	for _, p := range v.Announce.Pages {
		pages = append(pages, p.bytes())
	}
	if l := learnAll(k, logName(v.Announce.Announcer.bytes()), pages); !l.Complete || hexed(l.Tag[:]) != v.Announce.Tag {
		t.Fatalf("learnt %+v", l)
	}
	for _, m := range v.Messages {
		o, _, err := k.Open(Place{Log: logName(m.Author.bytes()), Seq: m.Seq}, Tag(v.Announce.Tag.bytes()), [32]byte(m.Commit.bytes()), m.Body.bytes(), start)
		if err != nil || string(o.Payload) != m.Payload || !o.Provable {
			t.Errorf("generation %d: %v", m.Generation, err)
		}
	}
}

func (v *vectors) checkMessages(t *testing.T) {
	for _, m := range v.Messages {
		author := logName(m.Author.bytes())
		ck := secret(v.Announce.ChainKeys[m.Author].bytes())
		r := newRatchet(ck)
		for range m.Generation {
			r = newRatchet(r.next())
		}
		seed := r.seed()
		equal(t, "message seed", seed[:], m.Seed)
		key, nonce, kc, err := messageKey(seed, m.Salt.bytes())
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "key", key, m.Key)
		equal(t, "nonce", nonce, m.Nonce)
		equal(t, "kc", kc, m.KC)
		s := &Sealed{Tag: Tag(v.Announce.Tag.bytes()), Generation: m.Generation}
		drawn := bytes.NewReader(append(m.Opening.bytes(), m.Salt.bytes()...))
		if err := s.seal(seed, Place{Log: author, Seq: m.Seq}, nil, []byte(m.Payload), drawn); err != nil {
			t.Fatal(err)
		}
		equal(t, "commit", s.Commit[:], m.Commit)
		equal(t, "body", s.Body, m.Body)
	}
}
