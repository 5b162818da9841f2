package node

import (
	"context"
	"testing"

	"tocsin/ledger"
)

// crowdedReader is a device that has no room for what it does not read, and one
// that says something in a group of both, which the first reads.
func crowdedReader(t *testing.T) (reader, author *Node, g string) {
	t.Helper()
	w := newWorld(t)
	author = w.enrol("Ben", orgAmbulance).start(t, alone)
	reader = w.enrol("Amal", orgHospital).start(t, alone, func(cfg *Config) { cfg.Carry = ledger.Quota{Author: 1} })
	for range 2 {
		synced(t, author, reader)
		synced(t, reader, author)
	}
	author.drainNow(t) // it has read the others' prekeys
	g = makeGroup(t, author, reader)
	say(t, author, g, "first")
	eventually(t, "it reads in the group", func() bool {
		synced(t, reader, author)
		return len(texts(t, reader, g)) == 1
	})
	return reader, author, g
}

// headerOf feeds the header of an entry, and has the drain pass it.
func headerOf(t *testing.T, from, to *Node, seq uint64) body {
	t.Helper()
	e, err := from.logs.Entry(t.Context(), from.self, seq)
	check(t, err)
	results, _ := to.acceptHeaders(t.Context(), e.HeaderFrame())
	if results[0].outcome != ledger.Appended {
		t.Fatalf("%s", results[0].outcome)
	}
	to.drainNow(t)
	return body{from.self, seq, e.Body}
}

func asksFor(n *Node, b body) (asks bool) {
	n.sync.bodies(func(a *ledger.Absence) { asks = a.Has(b.log, b.seq) })
	return asks
}

// TestBodyLeftOutIsAskedFor: a body that came before it could be told whether this
// device reads it, and was left out for want of room, is asked for still.
func TestBodyLeftOutIsAskedFor(t *testing.T) {
	t.Parallel()
	reader, author, g := crowdedReader(t)
	b := headerOf(t, author, reader, say(t, author, g, "left out").Seq)
	check(t, reader.Lock())
	check(t, reader.acceptBodies(t.Context(), b))
	e, err := reader.logs.Entry(t.Context(), b.log, b.seq)
	check(t, err)
	if e.HasBody() {
		t.Fatal("there is room, and nothing is tested")
	}
	if !asksFor(reader, b) {
		t.Fatal("nobody is asked for it any more")
	}
	check(t, reader.Unlock(t.Context(), []byte(passphrase)))
	check(t, reader.acceptBodies(t.Context(), b))
	if asksFor(reader, b) {
		t.Error("what is held is asked for")
	}
	shows(t, reader, g, "first", "left out")
}

// TestBodyComesWhileTheDrainWorks: what synchronisation brings for this device is
// kept, whoever is at work in the session meanwhile.
func TestBodyComesWhileTheDrainWorks(t *testing.T) {
	t.Parallel()
	reader, author, g := crowdedReader(t)
	b := headerOf(t, author, reader, say(t, author, g, "meanwhile").Seq)
	left := reader.Metrics().NotCarried
	took := make(chan error)
	reader.mu.Lock()
	go func() { took <- reader.acceptBodies(context.WithoutCancel(t.Context()), b) }()
	e, err := author.logs.Entry(t.Context(), b.log, b.seq)
	check(t, err)
	for range 500 { // of the work that it has to do before it comes to the session once
		_, err := ledger.Verify(e.Frame())
		check(t, err)
	}
	reader.mu.Unlock()
	check(t, <-took)
	if reader.Metrics().NotCarried > left {
		t.Error("it was left out")
	}
	shows(t, reader, g, "first", "meanwhile")
}

// TestBodyOfAnAppendThatFailed: an append that failed may have saved bodies all the
// same; they are shown.
func TestBodyOfAnAppendThatFailed(t *testing.T) {
	t.Parallel()
	late, low, high, g := lateMember(t)
	s := say(t, low, g, "saved all the same")
	feed(t, high, late, high)
	inGroup(t, g, late)
	feedBefore(t, low, late, s.Seq)
	b := headerOf(t, low, late, s.Seq)
	if out, err := late.logs.Fill(t.Context(), b.log, b.seq, b.data); err != nil || out != ledger.Filled {
		t.Fatal(out, err)
	}
	late.recover(t.Context(), nil)
	shows(t, late, g, "saved all the same")
}

// TestStickKeepsWhatMayBeOurs: a device that cannot tell whether it reads what a stick
// brings, because it is locked, keeps it: nobody may be there to ask for it.
func TestStickKeepsWhatMayBeOurs(t *testing.T) {
	t.Parallel()
	reader, author, g := crowdedReader(t)
	s := say(t, author, g, "on a stick")
	e, err := author.logs.Entry(t.Context(), author.self, s.Seq)
	check(t, err)
	check(t, reader.Lock())
	if r := reader.acceptBy(t.Context(), brought, e.Frame())[0]; r.outcome != ledger.Appended {
		t.Fatalf("%s", r.outcome)
	}
	check(t, reader.Unlock(t.Context(), []byte(passphrase)))
	shows(t, reader, g, "first", "on a stick")
}
