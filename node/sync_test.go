package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/mesh"
	"tocsin/node/message"
)

// wire is one end of a session without a network.
type wire struct {
	in, out chan mesh.Frame
	stop    chan struct{} // closed when either end resets
	once    *sync.Once

	mu     sync.Mutex
	frames []mesh.Frame // received; guarded by mu
	bytes  int          // received and sent, headers included; guarded by mu
}

var errReset = errors.New("the session was reset")

func newWire() (client, server *wire) {
	a, b, stop, once := make(chan mesh.Frame, 1<<14), make(chan mesh.Frame, 1<<14), make(chan struct{}), new(sync.Once)
	return &wire{in: a, out: b, stop: stop, once: once}, &wire{in: b, out: a, stop: stop, once: once}
}

func (w *wire) reset() { w.once.Do(func() { close(w.stop) }) }

func (w *wire) Flush() error { return nil }

func (w *wire) Send(f mesh.Frame) error {
	f.Payload = bytes.Clone(f.Payload)
	w.note(f, false)
	select {
	case w.out <- f:
		return nil
	case <-w.stop:
		return errReset
	}
}

func (w *wire) Receive() (mesh.Frame, error) {
	select {
	case f, ok := <-w.in:
		if !ok {
			return f, io.EOF
		}
		w.note(f, true)
		return f, nil
	case <-w.stop:
		return mesh.Frame{}, errReset
	}
}

func (w *wire) note(f mesh.Frame, received bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bytes += 6 + len(f.Payload)
	if received {
		w.frames = append(w.frames, f)
	}
}

// tampered passes the server's frames through f; one of type 0 cuts the session
// off.
func (w *wire) tampered(f func(mesh.Frame) []mesh.Frame) *wire {
	from := w.in
	to := make(chan mesh.Frame, 1<<14)
	w.in = to
	go func() {
		defer close(to)
		for frame := range from {
			for _, out := range f(frame) {
				if out.Type == 0 {
					w.reset()
					return
				}
				select {
				case to <- out:
				case <-w.stop:
					return
				}
			}
		}
	}()
	return w
}

// meet has one node pull from another, and returns what either end says.
func meet(t testing.TB, client, server *Node, tamper func(mesh.Frame) []mesh.Frame) (c *wire, pull, serve error) {
	t.Helper()
	c, s := newWire()
	served := make(chan error)
	go func() {
		err := server.Serve(t.Context(), client.mesh.ID(), s)
		close(s.out)
		if err != nil {
			s.reset()
		}
		served <- err
	}()
	if tamper != nil {
		c.tampered(tamper)
	}
	pull = client.Pull(t.Context(), server.mesh.ID(), c)
	if pull != nil && !errors.Is(pull, mesh.ErrSessionLimit) && !errors.Is(pull, mesh.ErrNothingNew) {
		c.reset()
	}
	close(c.out)
	return c, pull, <-served
}

// alone keeps a node from synchronising by itself.
func alone(cfg *Config) { cfg.Unsafe.NoSync = true }

func synced(t testing.TB, client, server *Node) *wire {
	t.Helper()
	c, pull, serve := meet(t, client, server, nil)
	check(t, pull)
	check(t, serve)
	return c
}

// absentOf is which bodies of a log a node knows to be absent.
func absentOf(n *Node, id ledger.LogID) (w []ledger.Want) {
	n.sync.bodies(func(a *ledger.Absence) { w = a.Of(id) })
	return w
}

func isAbsent(n *Node, id ledger.LogID, seq uint64) (is bool) {
	n.sync.bodies(func(a *ledger.Absence) { is = a.Has(id, seq) })
	return is
}

// forgetAbsent has a node know no more of absent bodies than after a restart.
func forgetAbsent(n *Node) {
	s := n.sync
	s.scanMu.Lock()
	defer s.scanMu.Unlock()
	s.scanLog, s.scanSeq, s.scanned = ledger.LogID{}, 0, false
	s.bodies(func(*ledger.Absence) { s.absent = ledger.NewAbsence() })
}

func sameLogs(t testing.TB, a, b *Node) {
	t.Helper()
	if a.logs.Tree().Root() != b.logs.Tree().Root() {
		t.Fatal("two nodes that have synchronised hold different logs")
	}
	a.sync.bodies(func(x *ledger.Absence) {
		if x.Len() != 0 {
			t.Fatalf("bodies of %d logs are absent", x.Len())
		}
	})
}

// pair returns two nodes of one mesh that are not connected; the second has
// written n messages.
func pair(t testing.TB, n int, options ...func(*Config)) (a, b *Node) {
	t.Helper()
	w := newWorld(t)
	options = append(options, alone)
	a = w.enrol("Amal", orgHospital).start(t, options...)
	b = w.enrol("Ben", orgAmbulance).start(t, options...)
	if n > 0 {
		g := makeGroup(t, b)
		for i := range n {
			say(t, b, g, fmt.Sprint("message ", i))
		}
	}
	return a, b
}

// TestSyncEqual: nodes that hold the same say so in 64 bytes a scope.
func TestSyncEqual(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 3)
	synced(t, a, b)
	synced(t, b, a)
	sameLogs(t, a, b)
	var c *wire
	eventually(t, "two equal scopes, control and headers, cost at most 64 bytes each", func() bool {
		synced(t, b, a) // until testimony about both logs has settled
		c = synced(t, a, b)
		return c.bytes <= 2*64
	})
	t.Logf("two equal scopes: %d bytes both ways", c.bytes)
}

// TestSyncUrgentFirst: of many entries the headers come first, then the bodies
// that others are read by, then the urgent ones, then the newest.
func TestSyncUrgentFirst(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 1)
	synced(t, a, b)
	g := makeGroup(t, b)
	for i := range headersFirst {
		say(t, b, g, fmt.Sprint("earlier ", i))
	}
	m, err := b.Send(t.Context(), g, message.NewText("cardiac arrest", time.Time{}), "stat")
	check(t, err)
	for i := range 10 {
		say(t, b, g, fmt.Sprint("later ", i))
	}
	c := synced(t, a, b)
	synced(t, b, a)
	sameLogs(t, a, b)
	var headers, routine int
	var classes []uint8
	newest := uint64(1 << 60)
	for _, f := range c.frames {
		if f.Type != frameItem {
			continue
		}
		it, err := ledger.ParseItem(f.Payload)
		check(t, err)
		switch it.Piece {
		case ledger.PieceHeader:
			headers++
			if len(classes) > 0 {
				t.Fatal("a header came after bodies")
			}
		case ledger.PieceBody:
			if len(classes) == 0 || classes[len(classes)-1] != f.Class {
				classes = append(classes, f.Class)
			}
			if f.Class == uint8(ledger.ClassUrgent) && it.Seq != m.Seq {
				t.Errorf("body %d came as urgent, not %d", it.Seq, m.Seq)
			}
			if f.Class == uint8(ledger.ClassRoutine) {
				if it.Seq > newest {
					t.Errorf("routine body %d after %d", it.Seq, newest)
				}
				newest = it.Seq
				routine++
			}
		}
	}
	if headers < headersFirst || routine < headersFirst || !slices.Contains(classes, uint8(ledger.ClassUrgent)) {
		t.Errorf("%d headers, %d routine bodies, classes %v", headers, routine, classes)
	}
	if last := slices.Index(classes, uint8(ledger.ClassUrgent)); last > 2 {
		t.Errorf("urgent came late: %v", classes)
	}
}

// TestSyncErased: what a neighbour erased comes as its header, and its body from
// another who holds it.
func TestSyncErased(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b, c := w.enrol("Amal", orgHospital).start(t, alone), w.enrol("Ben", orgAmbulance).start(t, alone), w.enrol("Chi", orgHospital).start(t, alone)
	g := makeGroup(t, b)
	s := say(t, b, g, "to be erased")
	say(t, b, g, "stays")
	synced(t, c, b)
	if n, err := b.logs.Erase(t.Context(), b.self, s.Seq); err != nil || n != 1 {
		t.Fatalf("erased %d: %v", n, err)
	}
	synced(t, a, b)
	e, err := a.logs.Entry(t.Context(), b.self, s.Seq)
	check(t, err)
	if !e.Absent || e.HasBody() {
		t.Fatal("an erased body was served")
	}
	if head, _ := a.logs.Head(b.self); head.Next <= s.Seq+1 {
		t.Fatal("what follows an erased body did not come")
	}
	// After a restart it is known again what is absent.
	held := absentOf(a, b.self)
	forgetAbsent(a)
	check(t, a.scanAbsent(t.Context()))
	if got := absentOf(a, b.self); len(got) != 1 || !slices.Equal(got, held) {
		t.Fatalf("absent after a restart %v, before it %v", got, held)
	}
	synced(t, a, b) // asks again, in vain
	now := a.cfg.Clock.Now()
	if a.sync.worthAsking(b.mesh.ID(), now) || !a.sync.worthAsking(c.mesh.ID(), now) || !a.sync.worthAsking(b.mesh.ID(), now.Add(vainTime)) {
		t.Error("a neighbour that had nothing is asked again at once, or others never")
	}
	synced(t, a, c)
	if e, err = a.logs.Entry(t.Context(), b.self, s.Seq); err != nil || !e.HasBody() {
		t.Fatalf("the body did not come from another: %v", err)
	}
	synced(t, c, a)
	sameLogs(t, a, c)
	// Nor does the one who erased it take it back.
	synced(t, b, c)
	if e, err = b.logs.Entry(t.Context(), b.self, s.Seq); err != nil || !e.Erased {
		t.Fatalf("an erased body came back: %v", err)
	}
}

// TestBodyThatCameMeanwhileIsNotAbsent: a log is read while a session brings what it lacks. Who read the log notes nothing as
// absent that is there by then.
func TestBodyThatCameMeanwhileIsNotAbsent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.enrol("Amal", orgHospital).start(t, alone), w.enrol("Ben", orgAmbulance).start(t, alone)
	g := makeGroup(t, b)
	erased, kept := say(t, b, g, "to be erased"), say(t, b, g, "stays")
	if n, err := b.logs.Erase(t.Context(), b.self, erased.Seq); err != nil || n != 1 {
		t.Fatalf("erased %d: %v", n, err)
	}
	synced(t, a, b)
	forgetAbsent(a)
	a.sawAbsent(t.Context(), b.self, []uint64{erased.Seq, kept.Seq})
	if !isAbsent(a, b.self, erased.Seq) || isAbsent(a, b.self, kept.Seq) {
		t.Errorf("absent are %v; place %d is, %d came", absentOf(a, b.self), erased.Seq, kept.Seq)
	}
}

// TestSyncLies: each lie ends the session with its reason, what had come before
// it is kept, and an honest session afterwards brings the rest.
func TestSyncLies(t *testing.T) {
	t.Parallel()
	items := func(f func(n int, it ledger.Item) []ledger.Item) func(mesh.Frame) []mesh.Frame {
		n := 0
		return func(fr mesh.Frame) []mesh.Frame {
			if fr.Type != frameItem {
				return []mesh.Frame{fr}
			}
			it, err := ledger.ParseItem(fr.Payload)
			if err != nil {
				panic(err) // our own server sent it
			}
			n++
			var out []mesh.Frame
			for _, it := range f(n, it) {
				out = append(out, mesh.Frame{Type: frameItem, Class: fr.Class, Payload: ledger.MarshalItem(it)})
			}
			return out
		}
	}
	for name, c := range map[string]struct {
		reason string
		tamper func(mesh.Frame) []mesh.Frame
	}{
		"an entry twice": {ledger.BrokenRange, items(func(n int, it ledger.Item) []ledger.Item {
			if n == 5 {
				return []ledger.Item{it, it}
			}
			return []ledger.Item{it}
		})},
		"an endless range": {ledger.BrokenRange, items(func(n int, it ledger.Item) []ledger.Item {
			if n < 6 {
				return []ledger.Item{it}
			}
			return slices.Repeat([]ledger.Item{it}, 2000)
		})},
		"a range that nobody asked for": {ledger.BrokenRange, items(func(n int, it ledger.Item) []ledger.Item {
			if n == 5 {
				it.Number = 999
			}
			return []ledger.Item{it}
		})},
		"a bad signature": {ledger.BrokenEntry, items(func(n int, it ledger.Item) []ledger.Item {
			if n == 5 {
				it.Data = bytes.Clone(it.Data)
				it.Data[2+ledger.MinHeader] ^= 1 // past the header, in refs or the signature
			}
			return []ledger.Item{it}
		})},
		"no entry": {ledger.BrokenEntry, items(func(n int, it ledger.Item) []ledger.Item {
			if n == 5 {
				it.Data = []byte("?")
			}
			return []ledger.Item{it}
		})},
		"another class": {ledger.BrokenRange, func(f mesh.Frame) []mesh.Frame {
			if f.Type == frameItem {
				f.Class = 3
			}
			return []mesh.Frame{f}
		}},
		"a class that does not exist": {ledger.BrokenRange, func(f mesh.Frame) []mesh.Frame {
			if f.Type == frameItem {
				f.Class = 200
			}
			return []mesh.Frame{f}
		}},
		"an unknown frame": {ledger.BrokenRange, func(f mesh.Frame) []mesh.Frame {
			if f.Type == frameItem {
				f.Type = 77
			}
			return []mesh.Frame{f}
		}},
		"no answer": {ledger.BrokenRange, func(f mesh.Frame) []mesh.Frame {
			if f.Type == frameEqual {
				f.Type = frameDone
			}
			return []mesh.Frame{f}
		}},
		"a million logs": {ledger.BrokenFrontier, func(f mesh.Frame) []mesh.Frame {
			if f.Type == frameEqual {
				f.Payload = []byte{255, 255, 255, 255, 0, 15, 66, 64}
			}
			return []mesh.Frame{f}
		}},
		"an end without a beginning": {ledger.BrokenRange, func(f mesh.Frame) []mesh.Frame {
			if f.Type == frameItem {
				return []mesh.Frame{f, {Type: frameDone, Payload: ledger.MarshalDone(500, ledger.EndAll)}}
			}
			return []mesh.Frame{f}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := pair(t, 10)
			_, err, _ := meet(t, a, b, c.tamper)
			if ledger.Broken(err) != c.reason {
				t.Fatalf("%v, want %q", err, c.reason)
			}
			synced(t, a, b)
			synced(t, b, a)
			sameLogs(t, a, b)
		})
	}
}

// TestSyncEmptyClaims: a neighbour that shows logs which it does not hold ends
// after a few of them.
func TestSyncEmptyClaims(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 0)
	liar := ledger.NewTree(ledger.ScopeHeaders)
	for i := range 500 {
		liar.Set(ledger.Mark{Log: identity.LogID{Author: identity.Key{1, byte(i), byte(i >> 8)}}, Next: 1 << 50, ID: [32]byte{9}})
	}
	c, s := newWire()
	wants := 0
	done := lie(s, liar, func(number uint16) error {
		wants++
		return s.Send(mesh.Frame{Type: frameDone, Payload: ledger.MarshalDone(number, ledger.EndShort)})
	})
	err := a.Pull(t.Context(), b.mesh.ID(), c)
	if ledger.Broken(err) != ledger.BrokenFrontier {
		t.Fatalf("500 empty claims: %v", err)
	}
	c.reset()
	<-done
	if wants > maxEmpty+maxWants+1 {
		t.Errorf("%d ranges were asked of a liar", wants)
	}
	synced(t, a, b)
}

// lie serves what the marks of a tree say until the wire ends, with wanted called for each
// range that is asked for; then the channel is closed.
func lie(s *wire, tree *ledger.Tree, wanted func(number uint16) error) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		answerer := ledger.NewAnswerer(tree)
		for {
			f, err := s.Receive()
			if err != nil {
				return
			}
			switch f.Type {
			case frameRoots:
				var roots []ledger.ScopeRoot
				if roots, err = ledger.ParseRoots(f.Payload); err == nil {
					err = s.Send(mesh.Frame{Type: frameEqual, Payload: ledger.AnswerRoots(roots, func(ledger.Scope) *ledger.Tree { return tree })})
				}
			case frameAsk:
				err = answerer.Answer(f.Payload, func(b []byte) error { return s.Send(mesh.Frame{Type: frameMarks, Payload: b}) })
			case frameWant:
				var number uint16
				if number, _, err = ledger.ParseWant(f.Payload); err == nil {
					err = wanted(number)
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return done
}

// TestSyncGreedyClients: who asks for too much, too often or for nothing that
// exists is refused with its reason.
func TestSyncGreedyClients(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 80)
	roots := mesh.Frame{Type: frameRoots, Payload: ledger.MarshalRoots([]ledger.ScopeRoot{{Scope: ledger.ScopeHeaders}})}
	want := func(n int, r ledger.Request) mesh.Frame {
		return mesh.Frame{Type: frameWant, Class: uint8(r.Class), Payload: ledger.MarshalWant(uint16(n), r)}
	}
	all := ledger.Request{Want: ledger.Want{Log: b.self, From: 0, To: 80}, Class: 2, Piece: ledger.PieceEntry}
	everything := append([]byte{byte(ledger.ScopeHeaders)}, make([]byte, ledger.SaltSize+2)...) // the whole range, an empty list
	for name, c := range map[string]struct {
		reason string
		say    func() []mesh.Frame
	}{
		"no roots":      {ledger.BrokenEncoding, func() []mesh.Frame { return []mesh.Frame{want(0, all)} }},
		"roots twice":   {ledger.BrokenEncoding, func() []mesh.Frame { return []mesh.Frame{roots, roots} }},
		"unknown frame": {ledger.BrokenEncoding, func() []mesh.Frame { return []mesh.Frame{roots, {Type: 99}} }},
		"unknown class": {ledger.BrokenEncoding, func() []mesh.Frame { r := all; r.Class = 9; return []mesh.Frame{roots, want(0, r)} }},
		"too long a range": {ledger.BrokenGreedy, func() []mesh.Frame {
			r := all
			r.To = 1 << 52
			return []mesh.Frame{roots, want(0, r)}
		}},
		"credit from nothing": {ledger.BrokenCredit, func() []mesh.Frame {
			return []mesh.Frame{roots, {Type: frameCredit, Class: 2, Payload: ledger.MarshalCredit(1)}}
		}},
		"all ranges at once": {ledger.BrokenGreedy, func() []mesh.Frame {
			out := []mesh.Frame{roots}
			for i := range 5000 {
				out = append(out, want(i, all)) // no credit is ever given
			}
			return out
		}},
		"all marks again and again": {ledger.BrokenGreedy, func() []mesh.Frame {
			return append([]mesh.Frame{roots}, slices.Repeat([]mesh.Frame{{Type: frameAsk, Payload: everything}}, 1000)...)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, server := newWire()
			go func() {
				for _, f := range c.say() {
					if client.Send(f) != nil {
						return
					}
				}
			}()
			if err := b.Serve(t.Context(), a.mesh.ID(), server); ledger.Broken(err) != c.reason {
				t.Errorf("%v, want %q", err, c.reason)
			}
			server.reset()
		})
	}
}

// TestSyncAgainAndAgain: the same entries over and over, each session in good
// order, use up a ration that others do not share.
func TestSyncAgainAndAgain(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 3)
	now := b.cfg.Clock.Now().Add(time.Hour) // so that nothing comes back meanwhile
	b.sync.ration(a.mesh.ID(), now, func(r *ledger.Ration) bool {
		for r.Again(1<<20, now) { // as if it had been sent 64 MiB again
		}
		return true
	})
	if _, pull, serve := meet(t, a, b, nil); pull == nil || ledger.Broken(serve) != ledger.BrokenGreedy {
		t.Fatalf("pull %v, serve %v", pull, serve)
	}
	other := newWorld(t) // anybody else
	c := other.enrol("Chi", orgHospital).start(t, alone)
	if _, _, serve := meet(t, c, b, nil); serve != nil {
		t.Fatalf("another neighbour suffers: %v", serve)
	}
}

// TestSyncForks: two branches of one log are found where they part, whatever
// their lengths, the proof spreads, and then nothing is left to compare.
func TestSyncForks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b, c := w.enrol("Amal", orgHospital).start(t, alone), w.enrol("Ben", orgAmbulance).start(t, alone), w.enrol("Chi", orgHospital).start(t, alone)
	clone := w.enrol("Dee", orgAmbulance).start(t, alone)
	synced(t, a, clone)
	synced(t, b, clone)
	extend := func(n *Node, k int, word string) {
		for i := range k {
			head, _ := n.logs.Head(clone.self)
			v, err := ledger.Sign(clone.open.keys.Signing, ledger.Header{
				Seq: head.Next, Prev: head.ID, HLC: uint64(time.Now().UnixMilli())<<16 + uint64(i), Kind: ledger.KindControl,
			}, fmt.Appendf(nil, "%s %d", word, i))
			check(t, err)
			if r := n.accept(t.Context(), v.Entry().Frame())[0]; r.outcome != ledger.Appended {
				t.Fatalf("outcome %v", r.outcome)
			}
		}
	}
	parted, _ := a.logs.Head(clone.self)
	extend(a, 9, "one")
	extend(b, 4, "two")
	synced(t, a, b) // b has less of it: a must see the branch all the same
	forks := a.logs.Forks()
	if len(forks) != 1 || forks[0].Seq != parted.Next {
		t.Fatalf("forks %v, want one at %d", forks, parted.Next)
	}
	synced(t, b, a)
	synced(t, c, b)
	synced(t, c, a)
	synced(t, a, b)
	for _, n := range []*Node{b, c} {
		if f := n.logs.Forks(); len(f) != 1 || f[0].Seq != parted.Next {
			t.Fatalf("the proof did not spread: %v", f)
		}
	}
	synced(t, a, c)
	synced(t, b, c)
	sameLogs(t, a, b)
	answers, err := ledger.ParseAnswers(synced(t, a, b).frames[0].Payload, 2)
	check(t, err)
	if !answers[1].Equal {
		t.Error("a settled fork is compared again in every session")
	}
}

// TestSyncClaims: two sessions do not fetch one log at once, unless the one that
// has it takes too long.
func TestSyncClaims(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 3)
	slow := &puller{}
	now := a.cfg.Clock.Now()
	a.sync.claim(slow, b.self, now)
	if _, pull, _ := meet(t, a, b, nil); !errors.Is(pull, mesh.ErrNothingYet) {
		t.Fatalf("a session that had to leave the only log: %v", pull)
	}
	if _, held := a.logs.Head(b.self); held {
		t.Fatal("a log that another session is fetching was fetched")
	}
	a.sync.release(slow)
	a.sync.claim(slow, b.self, now.Add(-claimTime))
	synced(t, a, b)
	if _, held := a.logs.Head(b.self); !held {
		t.Fatal("a session that takes too long keeps a log from the others")
	}
}

// parted gives each node as many logs of one author as are taken, none of them the other's.
func parted(t *testing.T, w *world, nodes ...*Node) {
	t.Helper()
	thief := w.enrol("Chidi", orgHospital)
	first, _ := thief.firstEntry(t, 0)
	for i, n := range nodes {
		n.accept(t.Context(), first.Frame())
		for number := range uint32(maxTaken) {
			later := thief.later(t, 100*uint32(i+1)+number, 0, ledger.ClosedRestored, time.Now())
			if o := n.accept(t.Context(), later.Frame())[0].outcome; o != ledger.Appended {
				t.Fatalf("log %d: %v", number, o)
			}
		}
	}
}

// TestSyncInVain: a session between devices of which each refuses what the other holds says
// that there is nothing to be had, and is no failure.
func TestSyncInVain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t, alone)
	b := w.enrol("Ben", orgAmbulance).start(t, alone)
	parted(t, w, a, b)
	for round := range 3 { // what is to be had comes first
		for _, way := range [][2]*Node{{a, b}, {b, a}} {
			_, pull, serve := meet(t, way[0], way[1], nil)
			check(t, serve)
			if round == 2 && !errors.Is(pull, mesh.ErrNothingNew) {
				t.Fatalf("a session in vain ended with %v", pull)
			}
			select {
			case <-way[0].met:
			default:
				t.Fatalf("after a session that ended with %v the node still waits for its first", pull)
			}
		}
	}
}

// TestInVainTheyRest: such devices do not tell each other for ever that the other is behind, and what one
// says after that comes to the other.
func TestInVainTheyRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	inGroup(t, g, a, b)
	check(t, b.mesh.SetOnline(false))
	eventually(t, "they part", func() bool { return len(a.Peers())+len(b.Peers()) == 0 })
	parted(t, w, a, b)
	before := a.Metrics().Pulls + b.Metrics().Pulls
	check(t, b.mesh.SetOnline(true))
	eventually(t, "they pull in vain", func() bool { return a.Metrics().Pulls+b.Metrics().Pulls > before+4 })
	last, still := uint64(0), 0
	eventually(t, "they rest", func() bool {
		now := a.Metrics().Pulls + b.Metrics().Pulls
		if still++; now != last {
			last, still = now, 0
		}
		return still > 100 // without a rest they pull ten times a second and more
	})
	say(t, a, g, "still here")
	shows(t, b, g, "still here")
}

// TestSyncResumes: what came before a session was cut off is kept, and the next
// one goes on from there.
func TestSyncResumes(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 30)
	n := 0
	_, pull, _ := meet(t, a, b, func(f mesh.Frame) []mesh.Frame {
		if n++; n > 12 {
			return []mesh.Frame{{Type: 0}}
		}
		return []mesh.Frame{f}
	})
	if pull == nil {
		t.Fatal("a session that was cut off ended well")
	}
	half, _ := a.logs.Head(b.self)
	if half.Next == 0 || half.Next > 20 {
		t.Fatalf("%d entries of a session that was cut off", half.Next)
	}
	synced(t, a, b)
	synced(t, b, a)
	sameLogs(t, a, b)
}

// A body for which the day's budget has no room is asked for again.
func TestBodyOverBudgetIsAskedForAgain(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, func(cfg *Config) { cfg.Limits.DayBytes = 4000 })
	first, err := a.logs.Entry(t.Context(), a.self, 0)
	check(t, err)
	second, err := a.logs.Entry(t.Context(), a.self, 1) // prekeys, longer than what is left
	check(t, err)
	b.accept(t.Context(), first.Frame())
	b.acceptHeaders(t.Context(), second.HeaderFrame())
	check(t, b.acceptBodies(t.Context(), body{a.self, 1, second.Body}))
	if e, err := b.logs.Entry(t.Context(), a.self, 1); err != nil || !e.Absent {
		t.Fatalf("the body was taken over the budget: %v", err)
	}
	b.sync.bodies(func(absent *ledger.Absence) {
		if !absent.Has(a.self, 1) {
			t.Fatal("the body was forgotten")
		}
	})
}
