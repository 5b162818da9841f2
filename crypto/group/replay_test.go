package group

import (
	"bytes"
	"crypto/hpke"
	"errors"
	"slices"
	"testing"
	"time"
)

// Announces with a split view: one header, two stories. Whoever is told the
// one that the header does not name refuses it, and the true one is still
// taken.
func TestSplitView(t *testing.T) {
	ds, id := meet(t, 3, start)
	a, b, c := ds[0], ds[1], ds[2]
	f := newAnnouncer(t, a, b, id)
	honest := f.pages(t)
	// For B the list is without C, and the operations fit it: the same group
	// before C was added.
	other := newAnnouncer(t, a, b, id)
	other.draft.header, other.es = f.draft.header, f.es
	for i, op := range other.draft.st.ops {
		if x := must(ParseOp(op.Payload)); x.Add != nil && x.Add.Device == c.log {
			other.draft.st.ops = slices.Delete(other.draft.st.ops, i, i+1)
			break
		}
	}
	other.draft.st.members = slices.DeleteFunc(other.draft.st.members, func(m epochMember) bool { return m.device == c.log })
	split := other.pages(t)
	if err := b.tryLearn(a.place(), [][]byte{honest[0], split[1]}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a list that the header does not name: %v", err)
	}
	if l := learnAll(b.k, a.log, honest[1:]); !l.Complete {
		t.Error("the true page is not taken any more")
	}
	if l := learnAll(c.k, a.log, honest); !l.Complete {
		t.Error("the honest announce is not learnt")
	}
	// Two secrets under one header, one for each: the commitment is to one.
	two := newAnnouncer(t, a, b, id)
	two.es, two.wrapped = secret{9}, secret{9}
	two.fill(t)
	p := page{header: two.draft.header, kind: bodyWraps}
	for i, r := range two.draft.recipients {
		es := two.es
		if r.device == c.log {
			es[i%2] ^= 1
		}
		p.data = append(p.data, must(hpke.Seal(r.public, hpke.HKDFSHA256(), hpke.AES256GCM(), wrapInfo(p.header.id(), r.device, r.key), es[:]))...)
	}
	pages := two.pages(t)
	pages[0] = must(p.marshal())
	if l := learnAll(b.k, a.log, pages); !l.Complete {
		t.Error("control: B's wrap has the secret of the header")
	}
	if err := c.tryLearn(a.place(), pages); !errors.Is(err, ErrInvalid) {
		t.Errorf("a second secret under one header: %v", err)
	}
}

// Bodies are of one epoch and one group; so are operations.
func TestReplayAcrossGroupsAndEpochs(t *testing.T) {
	ds, id := meet(t, 2, start)
	a, b := ds[0], ds[1]
	ward := a.seal(id, "stop the infusion", start)
	other := a.create(KindTeam, "Elsewhere")
	a.add(other, RoleMember, b)
	b.learn(a, a.announce(other, start).Pages, start)
	next := a.seal(other, "go on", start)
	moved := ward
	moved.tag = next.tag
	refused(t, "a body under another group's tag", b, moved, ErrOpen)
	day := start.Add(RotateAge)
	b.learn(a, a.announce(id, day).Pages, day)
	later := a.seal(id, "the next day", day)
	moved.tag = later.tag
	refused(t, "a body under another epoch's tag", b, moved, ErrOpen)
	b.mustOpen(ward, start)
	b.mustOpen(later, day)
	b.reload()
	refused(t, "a body after a restart", b, ward, ErrReplayed)
	// An operation of one group in another's announce.
	f := newAnnouncer(t, a, b, other)
	f.draft.st.ops = append(f.draft.st.ops, newAnnouncer(t, a, b, id).draft.st.ops...)
	slices.SortFunc(f.draft.st.ops, func(x, y SignedOp) int {
		p, q := must(verifyTestHeader(x.SignedHeader)).ID, must(verifyTestHeader(y.SignedHeader)).ID
		return bytes.Compare(p[:], q[:])
	})
	f.fill(t)
	if err := b.tryLearn(a.place(), f.pages(t)); !errors.Is(err, ErrInvalid) {
		t.Errorf("an operation of another group: %v", err)
	}
}

// An announce again: held, it is known; destroyed, it does not come back, even
// where a prekey of a later week would still open it.
func TestReplayedAnnounce(t *testing.T) {
	ds, id := meet(t, 2, start)
	a, b := ds[0], ds[1]
	ahead := start.Add(3 * Week) // A's clock is three weeks ahead: it seals to a prekey that lives longer
	e := a.announce(id, ahead)
	b.learn(a, e.Pages, start)
	m := a.seal(id, "once", start)
	if m.s.Epoch != e.Epoch {
		m = a.seal(id, "once", ahead)
	}
	b.mustOpen(m, start)
	b.reload()
	if l := b.learn(a, e.Pages, start); !l.Complete {
		t.Errorf("a held epoch again: %+v", l)
	}
	refused(t, "the message after the announce again", b, m, ErrReplayed)
	now := start
	for len(b.k.epochs) > 0 {
		b.apply(b.k.Expire(now, 0))
		now = now.Add(24 * time.Hour)
	}
	if len(b.k.own) == 0 {
		t.Fatal("no prekey is left that opens it: nothing is shown")
	}
	if err := b.tryLearn(a.place(), e.Pages); !errors.Is(err, ErrInvalid) {
		t.Errorf("a destroyed epoch came back: %v", err)
	}
	refused(t, "its message", b, m, ErrDestroyed)
}

// A forged removal in an announce takes nothing along.
func TestForgedRemovalInAnnounce(t *testing.T) {
	ds, id := meet(t, 3, start)
	a, b, c := ds[0], ds[1], ds[2]
	g := a.k.groups[id]
	// C, a member, removes B by itself and announces it.
	op := c.signOp(must((&Op{Group: id, Deps: g.view.Heads, Remove: &Remove{Device: b.log}}).Marshal()))
	f := newAnnouncer(t, c, a, id)
	f.draft.st.ops = append(f.draft.st.ops, op)
	slices.SortFunc(f.draft.st.ops, func(x, y SignedOp) int {
		p, q := must(verifyTestHeader(x.SignedHeader)).ID, must(verifyTestHeader(y.SignedHeader)).ID
		return bytes.Compare(p[:], q[:])
	})
	f.draft.st.members = slices.DeleteFunc(f.draft.st.members, func(m epochMember) bool { return m.device == b.log })
	f.members, _ = f.draft.st.devices()
	f.fill(t)
	if err := a.tryLearn(c.place(), f.pages(t)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a member's removal of another: %v", err)
	}
	if v, _ := a.k.Group(id); len(v.Members) != 3 || len(v.Heads) != 1 {
		t.Errorf("view %+v", v)
	}
	if _, err := c.k.LearnOp(op); !errors.Is(err, ErrInvalid) {
		t.Errorf("and by the front door: %v", err)
	}
}
