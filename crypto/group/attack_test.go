package group

import (
	"bytes"
	"crypto/hpke"
	"errors"
	"maps"
	"slices"
	"testing"

	"tocsin/crypto/identity"
)

// The tests of this file each fail if one check is taken away.

// taped is a group of n whose epoch secret the test knows.
func taped(t *testing.T, n int) ([]*device, ID, *modelEpoch) {
	t.Helper()
	ds, id := meet(t, n, start)
	for _, d := range ds { // only the taped epoch stays
		for epoch := range d.k.epochs {
			d.apply(d.k.epochs[epoch].drop())
		}
	}
	e := announceTaped(ds[0], id, start)
	for _, d := range ds[1:] {
		if l := d.learn(ds[0], e.pages, start); !l.Complete {
			t.Fatalf("learnt %+v", l)
		}
	}
	return ds, id, e
}

// refused hands d something that must not open, and checks that nothing moved.
func refused(t *testing.T, what string, d *device, m sent, want error) {
	t.Helper()
	o, changes, err := d.k.Open(m.at, m.tag, m.commit, m.body, start)
	if err == nil || o != nil || changes != nil {
		t.Errorf("%s: opened, %d changes", what, len(changes))
	} else if want != nil && !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
	d.checkDisk()
}

func TestEveryBitCounts(t *testing.T) {
	ds, id, _ := taped(t, 2)
	m := ds[0].seal(id, "adrenaline 1 mg", start)
	before := dump(t, ds[1].k)
	flip := func(b []byte, try func()) {
		for i := range 8 * len(b) {
			b[i/8] ^= 1 << (i % 8)
			try()
			b[i/8] ^= 1 << (i % 8)
		}
	}
	try := func() {
		if _, changes, err := ds[1].k.Open(m.at, m.tag, m.commit, m.body, start); err == nil || changes != nil {
			t.Fatalf("opened with a flipped bit: %v", err)
		}
	}
	flip(m.body, try)
	flip(m.tag[:], try)
	flip(m.at.Log.Author[:], try)
	for i := range 32 {
		m.at.Log.Incarnation ^= 1 << i
		try()
		m.at.Log.Incarnation ^= 1 << i
	}
	for i := range 64 {
		m.at.Seq ^= 1 << i
		try()
		m.at.Seq ^= 1 << i
	}
	for n := range m.body { // cut short, and too long
		body := m.body
		m.body = body[:n]
		try()
		m.body = append(bytes.Clone(body), make([]byte, n+1)...)
		try()
		m.body = body
	}
	if after := dump(t, ds[1].k); len(after) != len(before) {
		t.Errorf("%d records became %d", len(before), len(after))
	}
	ds[1].mustOpen(m, start)
}

// forgery is a body built by hand from the true keys, wrong in one place.
type forgery struct {
	salt, plain, prefix, aad []byte
	keys                     []byte
	generation               uint32
}

func forge(e *modelEpoch, at Place, change func(f *forgery)) sent {
	f := &forgery{salt: bytes.Repeat([]byte{9}, 16), plain: make([]byte, 256)}
	copy(f.plain[36:], "forged")
	f.plain[35] = 6
	f.keys = e.keys(at.Log, f.generation, f.salt)
	f.prefix = slices.Concat([]byte{1}, f.salt, []byte{0, 0, 0, 0}, f.keys[44:])
	f.aad = modelAAD(f.prefix, at, e.tag())
	change(f)
	body := modelAEAD(f.keys[:32]).Seal(bytes.Clone(f.prefix), f.keys[32:44], f.plain, f.aad)
	m := sent{at: at, tag: Tag(e.tag()), body: body, payload: []byte("forged")}
	m.commit = Commit([32]byte(f.plain), []byte("forged"))
	return m
}

func TestForgeries(t *testing.T) {
	ds, _, e := taped(t, 2)
	at := Place{Log: ds[0].log, Seq: 7}
	// The key commitment: everything else fits, for it is authenticated too.
	refused(t, "another key commitment", ds[1], forge(e, at, func(f *forgery) {
		f.prefix[21] ^= 1
		f.aad[21] ^= 1
	}), ErrOpen)
	// What a body is nailed to, part by part.
	for _, c := range []struct {
		name string
		at   int
	}{{"suite", 0}, {"salt", 1}, {"generation", 17}, {"kc", 21}, {"author", 53}, {"incarnation", 88}, {"sequence", 96}, {"tag", 112}} {
		refused(t, "nailed to another "+c.name, ds[1], forge(e, at, func(f *forgery) { f.aad[c.at] ^= 1 }), ErrOpen)
	}
	refused(t, "nailed to nothing", ds[1], forge(e, at, func(f *forgery) { f.aad = nil }), ErrOpen)
	// The plaintext has one encoding.
	refused(t, "padding that is not zero", ds[1], forge(e, at, func(f *forgery) { f.plain[255] = 1 }), ErrOpen)
	refused(t, "a length beyond the end", ds[1], forge(e, at, func(f *forgery) { f.plain[34] = 1 }), ErrOpen)
	refused(t, "more padding than PADMÉ's", ds[1], forge(e, at, func(f *forgery) { f.plain = append(f.plain, make([]byte, 16)...) }), ErrOpen)
	refused(t, "no padding", ds[1], forge(e, at, func(f *forgery) { f.plain = f.plain[:42] }), ErrOpen)
	// And the control: with nothing changed it opens.
	ds[1].reload()
	m := forge(e, at, func(*forgery) {})
	if o, err := ds[1].open(m, start); err != nil || string(o.Payload) != "forged" || !o.Provable {
		t.Errorf("the unchanged body does not open: %v", err)
	}
}

func TestMovedBody(t *testing.T) {
	ds, id, _ := taped(t, 3)
	m := ds[0].seal(id, "stand down", start)
	for what, change := range map[string]func(*sent){
		"another sequence number": func(m *sent) { m.at.Seq++ },
		"another author":          func(m *sent) { m.at.Log = ds[2].log },
		"another incarnation":     func(m *sent) { m.at.Log.Incarnation++ },
		"another tag":             func(m *sent) { m.tag[0] ^= 1 },
	} {
		moved := m
		change(&moved)
		refused(t, what, ds[1], moved, nil)
	}
	ds[1].mustOpen(m, start)
}

func TestCommitMismatch(t *testing.T) {
	ds, id, _ := taped(t, 2)
	m := ds[0].seal(id, "give 5 mg", start)
	wrong := m
	wrong.commit[3] ^= 1
	o, changes, err := ds[1].k.Open(wrong.at, wrong.tag, wrong.commit, wrong.body, start)
	if err != nil || o.Provable || string(o.Payload) != "give 5 mg" {
		t.Fatalf("opened %+v, %v; want it shown as unprovable", o, err)
	}
	if changes != nil {
		t.Errorf("the chain moved for a message that is not what its author committed to")
	}
	ds[1].mustOpen(m, start)
}

func TestReplay(t *testing.T) {
	ds, id, e := taped(t, 2)
	first, second := ds[0].seal(id, "one", start), ds[0].seal(id, "two", start)
	ds[1].mustOpen(second, start)
	ds[1].mustOpen(first, start)
	for _, m := range []sent{first, second} {
		refused(t, "the same entry again", ds[1], m, ErrReplayed)
	}
	refused(t, "another body of a used generation", ds[1], forge(e, Place{Log: ds[0].log, Seq: 90}, func(*forgery) {}), ErrReplayed)
	refused(t, "one's own message", ds[0], first, ErrReplayed)
	ds[1].reload()
	refused(t, "the same entry after a restart", ds[1], first, ErrReplayed)
}

// A disk that was restored repeats a generation. The key must differ, or the
// two texts would be laid open.
func TestRolledBackChain(t *testing.T) {
	ds, id, _ := taped(t, 2)
	a := ds[0]
	s1, err := a.k.Seal(id, Place{Log: a.log, Seq: 50}, []byte("first"), start)
	if err != nil {
		t.Fatal(err)
	}
	a.reload() // the changes of s1 were lost
	s2, err := a.k.Seal(id, Place{Log: a.log, Seq: 50}, []byte("other"), start)
	if err != nil {
		t.Fatal(err)
	}
	if s1.Generation != s2.Generation {
		t.Fatalf("generations %d and %d: nothing was rolled back", s1.Generation, s2.Generation)
	}
	if bytes.Equal(s1.Body[1:17], s2.Body[1:17]) || bytes.Equal(s1.Body[21:53], s2.Body[21:53]) {
		t.Error("the salt or the key of a repeated generation is the same")
	}
}

func TestNonMember(t *testing.T) {
	ds, id, e := taped(t, 2)
	m := ds[0].seal(id, "for two", start)
	eve := newDevice(t, 66)
	eve.publish(start, ds...)
	if l := eve.learn(ds[0], e.pages, start); l.Complete {
		t.Fatal("an outsider learnt the epoch")
	}
	if len(eve.k.partials) != 0 || len(eve.k.groups) != 0 {
		t.Errorf("an outsider keeps %d announces and %d groups", len(eve.k.partials), len(eve.k.groups))
	}
	refused(t, "an outsider", eve, m, ErrUnknownTag)
	// An outsider's entry under the group's tag.
	m.at.Log = eve.log
	refused(t, "an outsider's entry", ds[1], m, ErrNotMember)
	if _, err := eve.k.Seal(id, eve.place(), nil, start); err == nil {
		t.Error("an outsider sealed for the group")
	}
	// A late joiner reads nothing older.
	m = ds[0].seal(id, "before she came", start)
	ds[0].add(id, RoleMember, eve)
	refused(t, "a late joiner", eve, m, ErrUnknownTag)
	a := ds[0].announce(id, start)
	if l := eve.learn(ds[0], a.Pages, start); !l.Complete {
		t.Fatal("a new member did not learn the epoch")
	}
	refused(t, "a late joiner with the next epoch", eve, m, ErrUnknownTag)
	eve.mustOpen(ds[0].seal(id, "welcome", start), start)
}

// announcer builds announces that are wrong in one place.
type announcer struct {
	by      *device
	to      *device
	draft   *draft
	es      secret
	members []identity.LogID
	wrapped secret // what is in the wrap
}

func (f *announcer) pages(t *testing.T) [][]byte {
	t.Helper()
	d := f.draft
	id := d.header.id()
	keys := must(deriveEpoch(id, f.es))
	a := &Announce{Epoch: id}
	if err := d.wrapPages(a, f.wrapped); err != nil {
		t.Fatal(err)
	}
	if err := d.statePages(a, keys.state, must(d.st.marshal())); err != nil {
		t.Fatal(err)
	}
	return a.Pages
}

func newAnnouncer(t *testing.T, by, to *device, id ID) *announcer {
	t.Helper()
	g := by.k.groups[id]
	f := &announcer{by: by, to: to, es: secret{1, 2, 3}, wrapped: secret{1, 2, 3}, members: g.members}
	f.draft = &draft{k: by.k, st: epochState{group: id}}
	if err := f.draft.address(g, start); err != nil {
		t.Fatal(err)
	}
	for _, op := range slices.SortedFunc(maps.Keys(g.ops), func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) }) {
		f.draft.st.ops = append(f.draft.st.ops, g.ops[op].sealed)
	}
	f.fill(t)
	return f
}

func (f *announcer) fill(t *testing.T) {
	if err := f.draft.fillHeader(f.es, f.members, len(must(f.draft.st.marshal()))); err != nil {
		t.Fatal(err)
	}
}

func (d *device) tryLearn(from Place, pages [][]byte) error {
	d.t.Helper()
	for _, p := range pages {
		l, changes, err := d.k.LearnEpoch(from, [32]byte{}, p, start)
		if err != nil {
			return err
		}
		d.apply(changes)
		if l.Complete {
			return nil
		}
	}
	return errors.New("never complete")
}

func TestForgedAnnounces(t *testing.T) {
	for what, change := range map[string]func(t *testing.T, f *announcer){
		"members MAC": func(t *testing.T, f *announcer) { f.draft.header.members[0] ^= 1 },
		"members MAC of a shorter list": func(t *testing.T, f *announcer) {
			f.members = f.members[1:]
			f.fill(t)
		},
		"commitment": func(t *testing.T, f *announcer) { f.draft.header.commitment[0] ^= 1 },
		"another secret in the wrap": func(t *testing.T, f *announcer) {
			f.wrapped = secret{4}
		},
		"a member more than the operations make": func(t *testing.T, f *announcer) {
			m := epochMember{device: identity.LogID{Author: identity.Key{0: 255, 31: 255}}}
			f.draft.st.members = append(f.draft.st.members, m)
			f.members = append(slices.Clone(f.members), m.device)
			f.fill(t)
		},
		"an operation less": func(t *testing.T, f *announcer) {
			for i, op := range f.draft.st.ops {
				if must(ParseOp(op.Payload)).Add != nil {
					f.draft.st.ops = slices.Delete(f.draft.st.ops, i, i+1)
					break
				}
			}
			f.fill(t)
		},
		"an operation twice": func(t *testing.T, f *announcer) {
			f.draft.st.ops = slices.Insert(f.draft.st.ops, 0, f.draft.st.ops[0])
			f.fill(t)
		},
		"an operation with a forged signature": func(t *testing.T, f *announcer) {
			f.draft.st.ops[0].SignedHeader = bytes.Clone(f.draft.st.ops[0].SignedHeader)
			f.draft.st.ops[0].SignedHeader[100] ^= 1
		},
		"an operation with another payload": func(t *testing.T, f *announcer) {
			for i := range f.draft.st.ops {
				if op := must(ParseOp(f.draft.st.ops[i].Payload)); op.Create != nil {
					op.Create.Name = "Ward 8"
					f.draft.st.ops[i].Payload = must(op.Marshal())
				}
			}
		},
		"an operation with another opening": func(t *testing.T, f *announcer) { f.draft.st.ops[0].Opening[0] ^= 1 },
		"an add by someone who is no admin": func(t *testing.T, f *announcer) {
			view := f.by.k.groups[f.draft.st.group].view
			eve := newDevice(t, 99)
			op := &Op{Group: view.ID, Deps: view.Heads, Add: &Add{Device: eve.log, Role: RoleMember}}
			f.draft.st.ops = append(f.draft.st.ops, f.to.signOp(must(op.Marshal())))
			slices.SortFunc(f.draft.st.ops, func(a, b SignedOp) int {
				x, y := must(verifyTestHeader(a.SignedHeader)).ID, must(verifyTestHeader(b.SignedHeader)).ID
				return bytes.Compare(x[:], y[:])
			})
			f.draft.st.members = append(f.draft.st.members, epochMember{device: eve.log})
			slices.SortFunc(f.draft.st.members, func(a, b epochMember) int { return a.device.Compare(b.device) })
			f.members, _ = f.draft.st.devices()
			f.fill(t)
		},
	} {
		t.Run(what, func(t *testing.T) {
			ds, id := meet(t, 2, start)
			f := newAnnouncer(t, ds[0], ds[1], id)
			change(t, f)
			before := len(ds[1].k.epochs)
			err := ds[1].tryLearn(ds[0].place(), f.pages(t))
			if !errors.Is(err, ErrInvalid) || len(ds[1].k.epochs) != before {
				t.Errorf("learnt %d epochs, error %v", len(ds[1].k.epochs)-before, err)
			}
			ds[1].checkDisk()
			control := newAnnouncer(t, ds[0], ds[1], id)
			if err := ds[1].tryLearn(ds[0].place(), control.pages(t)); err != nil {
				t.Errorf("the unchanged announce: %v", err)
			}
		})
	}
}

// Pages in the log of someone else, member or not, are not his announce; and
// they do not stand in the way of the true one.
func TestCopiedAnnounce(t *testing.T) {
	ds, id := meet(t, 3, start)
	a := ds[0].announce(id, start)
	for i, thief := range []*device{ds[2], newDevice(t, 77)} {
		if err := ds[1].tryLearn(thief.place(), a.Pages); err == nil {
			t.Errorf("thief %d passed an announce off as his own", i)
		}
	}
	if l := ds[1].learn(ds[0], a.Pages, start); !l.Complete {
		t.Error("the true announce is not learnt any more")
	}
	if err := ds[1].tryLearn(ds[2].place(), a.Pages); !errors.Is(err, ErrInvalid) {
		t.Errorf("a copy of a held epoch: %v", err)
	}
}

// An announce by someone who is not on its list.
func TestAnnouncerIsMember(t *testing.T) {
	ds, id := meet(t, 2, start)
	eve := newDevice(t, 66)
	eve.publish(start, ds...)
	ds[1].publish(start)
	// Eve has the group's operations from a careless member.
	eve.k.groups[id] = ds[0].k.groups[id]
	eve.k.prekeys = ds[0].k.prekeys
	f := newAnnouncer(t, eve, ds[1], id)
	if err := ds[1].tryLearn(eve.place(), f.pages(t)); !errors.Is(err, ErrNotMember) || !errors.Is(err, ErrInvalid) {
		t.Errorf("an outsider's announce: %v", err)
	}
}

// A wrap for someone who is not on the list gives him nothing.
func TestWrapForOutsider(t *testing.T) {
	ds, id := meet(t, 2, start)
	eve := newDevice(t, 66)
	eve.publish(start, ds...)
	f := newAnnouncer(t, ds[0], eve, id)
	public, key, err := ds[0].k.recipientKey(eve.log, start)
	if err != nil {
		t.Fatal(err)
	}
	f.draft.recipients = append(f.draft.recipients, recipient{device: eve.log, public: public, key: key})
	if err := eve.tryLearn(ds[0].place(), f.pages(t)); !errors.Is(err, ErrNotMember) {
		t.Errorf("not listed, but wrapped for: %v", err)
	}
}

// A wrap is bound to its recipient, prekey and epoch.
func TestWrapBinding(t *testing.T) {
	ds, id := meet(t, 2, start)
	for what, info := range map[string]func(e EpochID, r recipient) []byte{
		"another epoch":     func(e EpochID, r recipient) []byte { e[0] ^= 1; return wrapInfo(e, r.device, r.key) },
		"another recipient": func(e EpochID, r recipient) []byte { return wrapInfo(e, ds[0].log, r.key) },
		"another prekey":    func(e EpochID, r recipient) []byte { r.key[0] ^= 1; return wrapInfo(e, r.device, r.key) },
		"no label":          func(e EpochID, r recipient) []byte { return wrapInfo(e, r.device, r.key)[len(labelWrap):] },
	} {
		f := newAnnouncer(t, ds[0], ds[1], id)
		p := page{header: f.draft.header, kind: bodyWraps}
		for _, r := range f.draft.recipients {
			p.data = append(p.data, must(hpke.Seal(r.public, hpke.HKDFSHA256(), hpke.AES256GCM(), info(p.header.id(), r), f.es[:]))...)
		}
		pages := f.pages(t)
		pages[0] = must(p.marshal())
		if err := ds[1].tryLearn(ds[0].place(), pages); err == nil {
			t.Errorf("a wrap for %s was opened", what)
		}
	}
}

// Every bit of every page counts.
func TestEpochPageBits(t *testing.T) {
	ds, id := meet(t, 2, start)
	a := ds[0].announce(id, start)
	for n, original := range a.Pages {
		for i := 0; i < 8*len(original); i += 101 {
			pages := slices.Clone(a.Pages)
			pages[n] = bytes.Clone(original)
			pages[n][i/8] ^= 1 << (i % 8)
			k := must(Load(ds[1].config(3), scanner(ds[1].disk)))
			l := learnAll(k, ds[0].log, pages)
			// A flip in the wrap of someone else is his loss, not ours.
			if l.Complete && (n != 0 || i/8 < pagePrefixSize+2) {
				t.Fatalf("page %d learnt with bit %d flipped", n, i)
			}
		}
	}
}

func learnAll(k *Keyring, from identity.LogID, pages [][]byte) (l Learned) {
	for i, p := range pages {
		got, changes, err := k.LearnEpoch(Place{Log: from, Seq: uint64(i)}, [32]byte{}, p, start)
		if err != nil || k.Apply(changes...) != nil {
			return Learned{}
		}
		l = got
	}
	return l
}
