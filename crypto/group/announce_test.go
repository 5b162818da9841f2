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
	if failed, err := d.wrapPages(a, f.wrapped); err != nil || len(failed) > 0 {
		t.Fatal(failed, err)
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
	f.draft = &draft{k: by.k, devices: g.members, st: epochState{group: id}}
	if err := f.draft.address(start); err != nil {
		t.Fatal(err)
	}
	for _, op := range slices.SortedFunc(maps.Keys(g.ops), func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) }) {
		f.draft.st.ops = append(f.draft.st.ops, g.ops[op].sealed)
	}
	f.fill(t)
	return f
}

func (f *announcer) fill(t *testing.T) {
	f.draft.devices = f.members
	if err := f.draft.fillHeader(f.es, len(must(f.draft.st.marshal()))); err != nil {
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
