package node

import (
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/ledger/memstore"
	"tocsin/node/message"
)

// pocket is a device of which everything is real but the machine around it: its credential is issued, its log signed, its group state
// learnt from what the coordinator's device announced.
type pocket struct {
	keys    *identity.VaultKeys
	log     identity.LogID
	own     *ledger.Log
	keyring *group.Keyring
}

func (p *pocket) write(t *testing.T, kind ledger.Kind, fill func(*ledger.Header) []byte) *ledger.Entry {
	t.Helper()
	place, err := p.own.Reserve(time.Now())
	check(t, err)
	h := place.Header()
	h.Kind = kind
	body := fill(&h)
	v, err := ledger.Sign(p.keys.Signing, h, body)
	check(t, err)
	check(t, p.own.Append(t.Context(), v))
	return v.Entry()
}

func (w *world) pocket(t *testing.T, i int, coordinator *Node) *pocket {
	t.Helper()
	relay, err := identity.NewRelayKeys(rand.Reader)
	check(t, err)
	keys, err := identity.NewVaultKeys(rand.Reader)
	check(t, err)
	req, err := identity.NewRequest(identity.Wish{
		Person: identity.Person{Org: orgHospital, Regulator: "gmc", Number: fmt.Sprintf("%07d", i)},
		Claims: identity.Claims{Name: fmt.Sprintf("Doctor %04d", i), Roles: []string{"doctor"}},
	}, relay, keys)
	check(t, err)
	g := w.grant(30 * 24 * time.Hour)
	g.Bundle, g.MeshKey = w.bundle, w.meshKey
	e, err := w.authorities[orgHospital].Issue(req, g)
	check(t, err)
	p := &pocket{keys: keys, log: identity.LogID{Author: identity.KeyOf(keys.Signing)}}
	logs, err := ledger.Open(t.Context(), ledger.Config{Store: memstore.New(), Authors: coordinator.people})
	check(t, err)
	p.own, err = logs.Own(t.Context(), p.log)
	check(t, err)
	p.keyring = group.New(group.Config{Self: p.log, VerifyOp: verifyOp, Devices: coordinator.cfg.EpochDevices})
	prekeys, changes, err := p.keyring.PreKeyUpdate(time.Now())
	check(t, err)
	check(t, p.keyring.Apply(changes...))
	for _, c := range []struct {
		kind    controlType
		content []byte
	}{{controlCredential, e.Credential}, {controlPreKeys, prekeys}} {
		body, err := marshalControl(c.kind, c.content)
		check(t, err)
		coordinator.accept(t.Context(), p.write(t, ledger.KindControl, func(*ledger.Header) []byte { return body }).Frame())
	}
	return p
}

func (n *Node) audience(id group.ID) []identity.LogID {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.open.keyring.Audience(id)
}

// callOutDevices is how many devices answer, and how many share an epoch: a hundred in epochs of forty, or TOCSIN_CALLOUT=300, which is
// more than an epoch of the design holds, or 2000 as it promises, which takes long.
func callOutDevices(t *testing.T) (count, epoch int) {
	t.Helper()
	s := os.Getenv("TOCSIN_CALLOUT")
	if s == "" {
		return 100, 40
	}
	count, err := strconv.Atoi(s)
	check(t, err)
	return count, group.MaxMembers
}

// TestCallOutReachesEveryDevice: a call-out to more devices than one epoch holds is opened by each of them, in one entry of several that
// are one message; each answers towards who asked in one entry, and is tallied once, whatever comes twice.
func TestCallOutReachesEveryDevice(t *testing.T) {
	t.Parallel()
	count, epoch := callOutDevices(t)
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t, func(cfg *Config) { cfg.ReceiptDelay, cfg.EpochDevices = time.Hour, epoch })
	pockets := make([]*pocket, count)
	for i := range pockets {
		pockets[i] = w.pocket(t, i+1, a)
	}
	eventually(t, "all can be reached", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return !slices.ContainsFunc(pockets, func(p *pocket) bool { return !a.open.keyring.HasPreKey(p.log, time.Now()) })
	})
	g := makeGroup(t, a)
	id, err := parseGroupID(g)
	check(t, err)
	a.mu.Lock()
	for _, p := range pockets {
		payload, err := a.open.keyring.AddOp(id, p.log, group.RoleMember)
		check(t, err)
		check(t, a.commitOp(t.Context(), payload))
	}
	a.showGroup(id)
	parts := a.open.keyring.Parts(id)
	a.mu.Unlock()
	if want := (count + epoch - 1) / (epoch - 1); parts != want {
		t.Fatalf("%d devices in %d parts", count+1, parts)
	}
	from, _ := a.logs.Head(a.self)
	call := tell(t, a, g, &message.CallOut{Question: "Major incident: can you come?", Place: "ED", Skills: []string{"theatre"}}, "urgent")
	to, _ := a.logs.Head(a.self)
	var pages, said []*ledger.Entry
	check(t, a.logs.Entries(t.Context(), a.self, from.Next, to.Next, func(e *ledger.Entry) error {
		switch e.Header.Kind {
		case ledger.KindEpoch:
			pages = append(pages, e)
		case ledger.KindData:
			said = append(said, e)
		}
		return nil
	}))
	audience := a.audience(id)
	if len(pages)%parts != 0 {
		t.Fatalf("%d pages for %d parts", len(pages), parts)
	}
	if len(said) != parts || said[0].ID().String() != call.ID {
		t.Fatalf("the call-out left in %d entries", len(said))
	}
	reached := make(map[int]int)
	for i, p := range pockets {
		at, _ := slices.BinarySearchFunc(audience, p.log, identity.LogID.Compare)
		part := 0
		for at >= (part+1)*len(audience)/parts {
			part++
		}
		each := len(pages) / parts // a device tries all pages; most are for others, and trying them is not what this is about
		p.hear(t, pages[part*each:(part+1)*each], said[part])
		reached[part]++
		eta := i % 90
		content := &message.CallOutAnswer{CallOut: message.EntryID(said[0].ID()), Answer: message.AnswerComing, ETA: &eta, Skill: "theatre"}
		if i%3 == 1 {
			content = &message.CallOutAnswer{CallOut: message.EntryID(said[0].ID()), Answer: message.AnswerCannot}
		}
		frame := p.answer(t, id, a.self, content)
		a.accept(t.Context(), frame)
		if i%7 == 0 {
			a.accept(t.Context(), frame) // twice
		}
	}
	if len(reached) != parts {
		t.Errorf("devices of %d of %d parts were reached", len(reached), parts)
	}
	coming := 0
	for i := range pockets {
		if i%3 != 1 {
			coming++
		}
	}
	eventually(t, "all are tallied, once", func() bool {
		out, err := a.CallOut(call.ID)
		check(t, err)
		return out.Silent == 0 && len(out.Coming) == coming && len(out.Cannot) == count-coming && out.Skills[0].Coming == coming
	})
	if k := len(mustMessages(t, a, g)); k != 1 {
		t.Errorf("%d messages are shown: the answers are no chat", k)
	}
}

// hear learns the epoch that is announced to this device and opens its entry of the call-out.
func (p *pocket) hear(t *testing.T, pages []*ledger.Entry, e *ledger.Entry) {
	t.Helper()
	for _, page := range pages {
		h := &page.Header
		_, changes, err := p.keyring.LearnEpoch(group.Place{Log: h.Log(), Seq: h.Seq}, page.ID(), page.Body, time.Now())
		check(t, err)
		check(t, p.keyring.Apply(changes...))
	}
	h := &e.Header
	o, changes, err := p.keyring.Open(group.Place{Log: h.Log(), Seq: h.Seq}, h.GroupTag, h.Commit, e.Body, time.Now())
	check(t, err)
	check(t, p.keyring.Apply(changes...))
	m, err := message.Decode(o.Payload)
	check(t, err)
	if _, ok := m.Content.(*message.CallOut); !ok || !o.Provable {
		t.Fatal("it is not the call-out")
	}
}

// answer seals an answer towards who asked, and returns its one entry.
func (p *pocket) answer(t *testing.T, id group.ID, asker identity.LogID, c message.Content) []byte {
	t.Helper()
	payload, err := message.Encode(message.Message{Sent: time.Now(), Content: c})
	check(t, err)
	return p.write(t, ledger.KindData, func(h *ledger.Header) []byte {
		s, err := p.keyring.SealToward(id, asker, group.Place{Log: h.Log(), Seq: h.Seq}, payload, time.Now())
		check(t, err)
		check(t, p.keyring.Apply(s.Changes...))
		h.GroupTag, h.Commit, h.LifetimeS = s.Tag, s.Commit, messageLifetime
		return s.Body
	}).Frame()
}
