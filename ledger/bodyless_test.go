package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"tocsin/ledger"
	"tocsin/ledger/memstore"
)

var ctx = context.Background()

// header returns a chain's entry without its body.
func header(t testing.TB, v ledger.Verified) ledger.Verified {
	t.Helper()
	h, err := ledger.VerifySigned(v.Entry().SignedHeader())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestHeadersFirst: a log grows by headers, the bodies come in any order, and
// every combination survives a restart.
func TestHeadersFirst(t *testing.T) {
	store := memstore.New()
	l := open(t, store, everyone(), ledger.Limits{})
	d := newDevice("a")
	chain := d.chain(t, 6)
	add(t, l, chain[0], ledger.Appended)
	for _, v := range chain[1:5] {
		add(t, l, header(t, v), ledger.Appended)
		add(t, l, header(t, v), ledger.Known)
	}
	if next(l, d.id) != 5 {
		t.Fatalf("%d entries, want 5", next(l, d.id))
	}
	add(t, l, chain[4], ledger.Filled)
	add(t, l, chain[4], ledger.Known)
	add(t, l, chain[2], ledger.Filled)
	add(t, l, chain[5], ledger.Appended)
	for range 2 {
		var absent []uint64
		err := l.Bodyless(ctx, d.id, 0, 99, func(e *ledger.Entry) error {
			if e.Body != nil || e.HasBody() || e.Frame() != nil || e.Erased {
				t.Errorf("entry %d is absent and has a body", e.Header.Seq)
			}
			absent = append(absent, e.Header.Seq)
			return nil
		})
		if err != nil || !slices.Equal(absent, []uint64{1, 3}) {
			t.Fatalf("absent %d: %v", absent, err)
		}
		e, err := l.Entry(ctx, d.id, 2)
		if err != nil || !bytes.Equal(e.Frame(), chain[2].Entry().Frame()) {
			t.Fatalf("a filled entry is not the one that was signed: %v", err)
		}
		rep, err := l.VerifyAll(ctx, nil)
		if err != nil || !rep.OK() || rep.Entries != 6 || rep.Absent != 2 || rep.Erased != 0 || rep.Logs[0].Absent != 2 {
			t.Fatalf("%+v %v", rep, err)
		}
		store = store.Reopen()
		l = open(t, store, everyone(), ledger.Limits{})
	}
}

func TestFill(t *testing.T) {
	l := openMem(t)
	d := newDevice("a")
	chain := d.chain(t, 3)
	add(t, l, chain[0], ledger.Appended)
	add(t, l, header(t, chain[1]), ledger.Appended)
	body := chain[1].Entry().Body
	if _, err := l.Fill(ctx, d.id, 1, []byte("another body")); !errors.Is(err, ledger.ErrInvalid) {
		t.Errorf("another body: %v", err)
	}
	wrong := bytes.Clone(body)
	wrong[0] ^= 1
	if _, err := l.Fill(ctx, d.id, 1, wrong); !errors.Is(err, ledger.ErrInvalid) {
		t.Errorf("a changed body: %v", err)
	}
	if _, err := l.Fill(ctx, d.id, 7, body); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("beyond the head: %v", err)
	}
	for _, want := range []ledger.Outcome{ledger.Filled, ledger.Known} {
		if o, err := l.Fill(ctx, d.id, 1, body); err != nil || o != want {
			t.Errorf("%s %v, want %s", o, err, want)
		}
	}
	if e, err := l.Entry(ctx, d.id, 1); err != nil || !bytes.Equal(e.Body, body) {
		t.Errorf("%q %v", e.Body, err)
	}
}

// TestHeaderFrame: the form without body is read back, and no other spelling.
func TestHeaderFrame(t *testing.T) {
	v := newDevice("a").chain(t, 1)[0]
	frame := v.Entry().HeaderFrame()
	h, erased, err := ledger.VerifyHeaderFrame(frame)
	if err != nil || erased || !h.Entry().Absent || h.Entry().ID() != v.Entry().ID() || !bytes.Equal(h.Entry().HeaderFrame(), frame) {
		t.Fatalf("%v %v", erased, err)
	}
	frame[len(frame)-1] = 1
	if h, erased, err := ledger.VerifyHeaderFrame(frame); err != nil || !erased || h.Entry().Erased {
		t.Fatalf("what another device erased counts as erased here, or is not told: %v %v", erased, err)
	}
	if _, err := ledger.Verify(frame); !errors.Is(err, ledger.ErrInvalid) {
		t.Errorf("a header frame was taken for a whole one: %v", err)
	}
	flipped := bytes.Clone(frame)
	flipped[40] ^= 1
	for name, b := range map[string][]byte{
		"whole frame": v.Entry().Frame(), "cut": frame[:len(frame)-1], "longer": append(bytes.Clone(frame), 0),
		"other flag": append(bytes.Clone(frame[:len(frame)-1]), 2), "changed": flipped, "empty": nil,
	} {
		if _, _, err := ledger.VerifyHeaderFrame(b); !errors.Is(err, ledger.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestErase: the body is gone for good, the log still verifies, and nobody
// brings it back.
func TestErase(t *testing.T) {
	store := memstore.New()
	l := open(t, store, everyone(), ledger.Limits{})
	me, d := newDevice("me"), newDevice("a")
	g := own(t, l, me)
	mine := []ledger.Verified{write(t, g, me, "first"), write(t, g, me, "second"), write(t, g, me, "third")}
	chain := d.chain(t, 4)
	addAll(t, l, chain[:3], ledger.Appended)
	add(t, l, header(t, chain[3]), ledger.Appended)

	for _, c := range []struct {
		id   ledger.LogID
		seqs []uint64
		n    int
	}{{me.id, []uint64{1}, 1}, {d.id, []uint64{2, 2, 3}, 2}, {d.id, []uint64{2, 3}, 0}} {
		if n, err := l.Erase(ctx, c.id, c.seqs...); n != c.n || err != nil {
			t.Fatalf("%d of %d erased: %v", n, c.n, err)
		}
	}
	if _, err := l.Erase(ctx, d.id, 9); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("beyond the head: %v", err)
	}
	if _, err := l.Erase(ctx, d.id, 0); err == nil {
		t.Error("the credential of a log was erased")
	}
	for range 2 {
		for _, v := range []ledger.Verified{mine[1], chain[2], chain[3]} {
			h := v.Entry().Header
			add(t, l, v, ledger.Known)
			if o, err := l.Fill(ctx, h.Log(), h.Seq, v.Entry().Body); o != ledger.Known || err != nil {
				t.Fatalf("an erased body was filled: %s %v", o, err)
			}
			e, err := l.Entry(ctx, h.Log(), h.Seq)
			if err != nil || !e.Erased || e.Absent || e.Body != nil || e.ID() != v.Entry().ID() {
				t.Fatalf("%+v %v", e, err)
			}
			value, err := store.Get(ctx, ledger.TableEntries, h.Log(), h.Seq)
			if err != nil || bytes.Contains(value, v.Entry().Body) {
				t.Fatalf("the store still has the body: %v", err)
			}
		}
		rep, err := l.VerifyAll(ctx, nil)
		if err != nil || !rep.OK() || rep.Entries != 7 || rep.Erased != 3 || rep.Absent != 0 {
			t.Fatalf("%+v %v", rep, err)
		}
		if err := l.Bodyless(ctx, d.id, 0, 9, func(*ledger.Entry) error { return errors.New("something is to be fetched") }); err != nil {
			t.Fatal(err)
		}
		store = store.Reopen()
		l = open(t, store, everyone(), ledger.Limits{})
		g = own(t, l, me)
	}
	write(t, g, me, "fourth")
}

// TestHeaderOfAnUnknownAuthor: without its body the first entry of a log admits
// nobody.
func TestHeaderOfAnUnknownAuthor(t *testing.T) {
	who := &authors{admit: func(e *ledger.Entry) error {
		if e.Body == nil {
			t.Error("an author was to be admitted without a credential")
		}
		return nil
	}}
	l := open(t, memstore.New(), who, ledger.Limits{})
	chain := newDevice("a").chain(t, 3)
	add(t, l, header(t, chain[1]), ledger.Penned)
	add(t, l, header(t, chain[0]), ledger.Penned)
	add(t, l, chain[1], ledger.Penned) // with its body it takes the place of the header
	add(t, l, chain[0], ledger.Appended)
	if e, err := l.Entry(ctx, chain[1].Entry().Header.Log(), 1); err != nil || !e.HasBody() {
		t.Fatalf("what waited came without its body: %v", err)
	}
}

// TestFillCountsAsBytes: bodies that come later are within the author's budget.
func TestFillCountsAsBytes(t *testing.T) {
	d := newDevice("a")
	chain := d.chain(t, 3)
	size := len(chain[0].Entry().Frame())
	l := open(t, memstore.New(), everyone(), ledger.Limits{DayBytes: uint64(3*size - 5)})
	add(t, l, chain[0], ledger.Appended)
	add(t, l, header(t, chain[1]), ledger.Appended)
	add(t, l, header(t, chain[2]), ledger.Appended)
	add(t, l, chain[1], ledger.Filled)
	add(t, l, chain[2], ledger.OverBudget)
}

// TestRestore: lost entries come back in any order, each proved by what follows,
// and nothing else is taken in their place.
func TestRestore(t *testing.T) {
	for name, order := range map[string][]int{"down": {6, 5, 4, 2}, "up": {2, 4, 5, 6}, "mixed": {5, 2, 6, 4}} {
		t.Run(name, func(t *testing.T) {
			base := memstore.New()
			store := &lossy{Store: base, gone: map[uint64]bool{2: true, 4: true, 5: true, 6: true}}
			l := open(t, base, everyone(), ledger.Limits{})
			d := newDevice("a")
			chain := d.chain(t, 7)
			addAll(t, l, chain, ledger.Appended)
			l = open(t, store, everyone(), ledger.Limits{})
			if rep, err := l.Scrub(ctx, 100); err != nil || rep.Lost != 4 || !rep.Round {
				t.Fatalf("%+v %v", rep, err)
			}
			want := []ledger.Want{{Log: d.id, From: 4, To: 7}, {Log: d.id, From: 2, To: 3}}
			if got := l.Lost(); !slices.Equal(got, want) || l.Health().LostEntries != 4 || l.Stats().Lost != 4 {
				t.Fatalf("lost: %+v", got)
			}
			other := d.extend(t, chain[:6], 1, "x")
			add(t, l, other[6], ledger.Forked) // not what the head says
			store.gone = map[uint64]bool{}     // the places can be written again
			for _, i := range order {
				if _, err := l.Append(ctx, chain[i], noon); err != nil {
					t.Fatal(err)
				}
			}
			if got := l.Lost(); len(got) != 0 {
				t.Fatalf("still lost: %+v", got)
			}
			if s := l.Stats(); s.Penned != 0 || s.Restored != 4 {
				t.Fatalf("%+v", s)
			}
			if rep, err := l.VerifyAll(ctx, nil); err != nil || !rep.OK() || rep.Entries != 7 {
				t.Fatalf("%+v %v", rep, err)
			}
		})
	}
}

// TestScrub goes round and round in small steps, finds damage once, and finds
// what only the link to the next entry shows.
func TestScrub(t *testing.T) {
	store := memstore.New()
	l := open(t, store, everyone(), ledger.Limits{})
	var ids []ledger.LogID
	for i := range 5 {
		d := newDevice(fmt.Sprint(i))
		ids = append(ids, d.id)
		addAll(t, l, d.chain(t, 10), ledger.Appended)
	}
	round := func() (entries, lost uint64) {
		t.Helper()
		for range 100 {
			rep, err := l.Scrub(ctx, 7)
			if err != nil || rep.Entries > 7 {
				t.Fatalf("%+v %v", rep, err)
			}
			entries, lost = entries+rep.Entries, lost+rep.Lost
			if rep.Round {
				return entries, lost
			}
		}
		t.Fatal("no round ended")
		return 0, 0
	}
	if n, lost := round(); n != 50 || lost != 0 {
		t.Fatalf("%d entries, %d lost", n, lost)
	}
	put := func(id ledger.LogID, seq uint64, value []byte) {
		t.Helper()
		if err := store.Commit(ctx, []ledger.Record{{Table: ledger.TableEntries, Log: id, Seq: seq, Value: value}}); err != nil {
			t.Fatal(err)
		}
	}
	put(ids[1], 4, []byte("not an entry"))
	d := newDevice("3")
	put(ids[3], 9, ledger.StoredEntry(d.extend(t, d.chain(t, 9), 1, "other branch")[9].Entry()))
	if n, lost := round(); n != 50 || lost != 2 {
		t.Fatalf("%d entries, %d lost, want 50 and 2", n, lost)
	}
	if _, lost := round(); lost != 0 {
		t.Fatalf("%d lost places were found twice", lost)
	}
	if h := l.Health(); h.LostEntries != 2 || h.ScrubRounds != 3 || h.Scrubbed != 150 {
		t.Fatalf("%+v", h)
	}
	add(t, l, d.chain(t, 10)[9], ledger.Restored)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := l.Scrub(gone, 5); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestOrderOfLogs: any order of arrival gives the same order of logs, and a walk
// may begin anywhere.
func TestOrderOfLogs(t *testing.T) {
	const n = 1500
	l := openMem(t)
	ids := make([]ledger.LogID, 0, n)
	for i := range n {
		d := newDevice(fmt.Sprint(i * 7 % n))
		ids = append(ids, d.id)
		add(t, l, d.chain(t, 1)[0], ledger.Appended)
	}
	slices.SortFunc(ids, ledger.LogID.Compare)
	f := l.Frontier()
	if len(f) != n {
		t.Fatalf("%d logs", len(f))
	}
	for i := range f {
		if f[i].Log != ids[i] {
			t.Fatalf("log %d is out of order", i)
		}
	}
	for _, from := range []int{0, 1, 511, 512, 513, n - 1} {
		i := from
		l.EachHead(ids[from], func(h ledger.Head) bool {
			if h.Log != ids[i] {
				t.Fatalf("a walk from %d gave another log than %d", from, i)
			}
			i++
			return i < from+20
		})
		if i != min(n, from+20) {
			t.Fatalf("a walk from %d ended at %d", from, i)
		}
	}
	if logs, entries := l.Heads(); logs != n || entries != n {
		t.Fatalf("%d logs, %d entries", logs, entries)
	}
	before := l.Generation()
	add(t, l, newDevice("0").chain(t, 2)[1], ledger.Appended)
	if l.Generation() == before {
		t.Fatal("a head moved and the generation did not")
	}
}

// TestEvict: what is carried for others can be given up and come again, when it
// came is remembered all the way, and what may not go is refused.
func TestEvict(t *testing.T) {
	ctx := context.Background()
	store := memstore.New()
	l := open(t, store, everyone(), ledger.Limits{})
	d := newDevice("a")
	chain := d.chain(t, 5)
	addAll(t, l, chain[:3], ledger.Appended)
	later := noon.Add(time.Hour)
	out, err := l.AppendBatch(ctx, []ledger.Verified{chain[3].WithoutBody(), chain[4]}, later)
	must(t, err)
	if !slices.Equal(out, []ledger.Outcome{ledger.Appended, ledger.Appended}) {
		t.Fatalf("outcomes %v", out)
	}
	when := func(seq uint64, want time.Time, body bool) {
		t.Helper()
		for range 2 { // the second time after a restart
			e, err := l.Entry(ctx, d.id, seq)
			must(t, err)
			if !e.Received().Equal(want) || e.HasBody() != body || e.Erased {
				t.Fatalf("entry %d: received %s, body %v, erased %v", seq, e.Received(), e.HasBody(), e.Erased)
			}
			l = open(t, store, everyone(), ledger.Limits{})
		}
	}
	when(2, noon, true)
	when(3, later, false)
	n, err := l.Evict(ctx, d.id, 2, 3, 2)
	if err != nil || n != 1 {
		t.Fatalf("%d evicted, %v", n, err)
	}
	when(2, noon, false)
	for _, v := range chain[2:4] { // they come again, a day later
		o, err := l.Append(ctx, v, noon.Add(24*time.Hour))
		if err != nil || o != ledger.Filled {
			t.Fatalf("%s, %v", o, err)
		}
	}
	when(2, noon, true)
	when(3, later, true)
	if _, err := l.Evict(ctx, d.id, 0); err == nil {
		t.Fatal("a credential was evicted")
	}
	if v := chain[0].WithoutBody(); !v.Entry().HasBody() {
		t.Fatal("a credential without its body")
	}
	own := newDevice("own")
	g, err := l.Own(ctx, own.id)
	must(t, err)
	write(t, g, own, "first")
	write(t, g, own, "second")
	if _, err := l.Evict(ctx, own.id, 1); err == nil {
		t.Fatal("what was written here was evicted")
	}
}
