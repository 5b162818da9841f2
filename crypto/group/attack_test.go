package group

import (
	"bytes"
	"errors"
	"slices"
	"testing"
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

// What can never be right is not kept for a retry, even under an unknown tag.
func TestMalformedBody(t *testing.T) {
	ds, id, _ := taped(t, 2)
	m := ds[0].seal(id, "x", start)
	m.tag = Tag{1}
	refused(t, "control", ds[1], m, ErrUnknownTag)
	for what, body := range map[string][]byte{
		"nothing":           nil,
		"another suite":     append([]byte{2}, m.body[1:]...),
		"no padded size":    append(bytes.Clone(m.body), 0),
		"below the floor":   m.body[:len(m.body)-1],
		"no ciphertext":     m.body[:bodyPrefix],
		"beyond a body":     append(bytes.Clone(m.body), make([]byte, MaxBody)...),
		"a long generation": slices.Concat(m.body[:17], []byte{1, 0, 0, 0}, m.body[21:]),
	} {
		bad := m
		bad.body = body
		refused(t, what, ds[1], bad, ErrOpen)
	}
}
