package node

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tocsin/ledger"
	"tocsin/ledger/bundle"
	"tocsin/node/message"
)

// Three sites that never share a network, linked by a stick that is carried
// round, end with the same logs, and everyone has read everything.
func TestStickJoinsSites(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t)
	c := w.enrol("Chidi", orgHospital).start(t)
	stick := filepath.Join(t.TempDir(), "stick"+bundle.Suffix)
	carry := func(from, to *Node) BundleReport {
		t.Helper()
		_, err := from.ExportBundle(t.Context(), stick, BundleSpec{To: []string{to.self.String()}}, nil)
		check(t, err)
		rep, err := to.ImportBundle(t.Context(), stick, nil)
		check(t, err)
		if rep.Refused+rep.Unsaved+rep.Damaged != 0 || rep.Cut || rep.Creator != from.cred.Claims.Name {
			t.Fatalf("%+v", rep)
		}
		return rep
	}
	introduce(t, a, b, c)

	g := makeGroup(t, a, b, c)
	say(t, a, g, "Bus crash on the A6")
	carry(a, b)
	shows(t, b, g, "Bus crash on the A6")
	say(t, b, g, "Two ambulances sent")
	carry(b, c)
	shows(t, c, g, "Bus crash on the A6", "Two ambulances sent")
	say(t, c, g, "Theatre 2 is free")
	carry(c, a)
	carry(a, b)
	for _, n := range []*Node{a, b, c} {
		shows(t, n, g, "Bus crash on the A6", "Two ambulances sent", "Theatre 2 is free")
	}
	// Receipts follow the messages; two rounds later nobody has anything to add.
	eventually(t, "equal roots", func() bool {
		carry(a, b)
		carry(b, c)
		carry(c, a)
		return a.logs.Tree().Root() == b.logs.Tree().Root() && b.logs.Tree().Root() == c.logs.Tree().Root()
	})
	if rep := carry(a, b); rep.New != 0 || rep.Filled != 0 {
		t.Fatalf("the same again brought %+v", rep)
	}
}

// What witnesses signed travels on the stick too: sites that never share a
// network can prove what was said.
func TestStickCarriesTestimony(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t)
	c := w.enrol("Chidi", orgHospital).start(t)
	introduce(t, a, b, c)
	g := makeGroup(t, a, b, c)
	s := say(t, a, g, "Theatre 2 is free")
	stick := filepath.Join(t.TempDir(), "x.tocsin")
	eventually(t, "a proof by two who were never in reach", func() bool {
		for _, hop := range [][2]*Node{{a, b}, {b, c}, {c, a}} {
			_, err := hop[0].ExportBundle(t.Context(), stick, BundleSpec{To: []string{hop[1].self.String()}, Everything: true}, nil)
			check(t, err)
			rep, err := hop[1].ImportBundle(t.Context(), stick, nil)
			check(t, err)
			if rep.Refused > 0 {
				t.Fatalf("%+v", rep)
			}
		}
		_, err := a.Prove(t.Context(), s.ID)
		if err != nil && !errors.Is(err, ErrUnwitnessed) {
			t.Fatal(err)
		}
		return err == nil
	})
}

// introduce lets devices that share no network know each other: each exports
// once to nobody in particular, through a carrier who was met.
func introduce(t *testing.T, nodes ...*Node) {
	t.Helper()
	for _, from := range nodes {
		for _, to := range nodes {
			if from == to {
				continue
			}
			for _, head := range from.logs.Frontier() {
				check(t, from.logs.Entries(t.Context(), head.Log, 0, head.Next, func(e *ledger.Entry) error {
					to.accept(t.Context(), e.Frame())
					return nil
				}))
			}
		}
	}
	ready(t, len(nodes)-1, nodes...)
}

// The stick that goes back carries the difference only.
func TestReturningStickCarriesTheDifference(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t)
	introduce(t, a, b)
	g := makeGroup(t, a, b)
	for range 20 {
		say(t, a, g, "Still waiting for blood")
	}
	dir := t.TempDir()
	out, back := filepath.Join(dir, "out.tocsin"), filepath.Join(dir, "back.tocsin")
	first, err := a.ExportBundle(t.Context(), out, BundleSpec{To: []string{"Ben"}}, nil)
	check(t, err)
	_, err = b.ImportBundle(t.Context(), out, nil)
	check(t, err)
	eventually(t, "the other side shows them", func() bool { return len(texts(t, b, g)) == 20 })
	sent := say(t, b, g, "On its way")
	info, err := b.ExportBundle(t.Context(), back, BundleSpec{To: []string{"Amal"}}, nil)
	check(t, err)
	if info.Bytes >= first.Bytes/2 || info.Entries > first.Entries/2 {
		t.Fatalf("the first carried %d entries in %d bytes, the one back %d in %d", first.Entries, first.Bytes, info.Entries, info.Bytes)
	}
	rep, err := a.ImportBundle(t.Context(), back, nil)
	check(t, err)
	if rep.New == 0 || rep.Known != 0 {
		t.Fatalf("%+v", rep)
	}
	eventually(t, "the answer", func() bool {
		items, err := a.Messages(g, -1, 1)
		check(t, err)
		return len(items) == 1 && hex.EncodeToString(items[0].ID[:]) == sent.ID
	})
	all, err := b.ExportBundle(t.Context(), back, BundleSpec{To: []string{"Amal"}, Everything: true}, nil)
	check(t, err)
	if all.Entries <= info.Entries {
		t.Fatalf("everything is %d entries, the difference was %d", all.Entries, info.Entries)
	}
}

// A file that was cut or changed gives what it still holds, and says so; one for
// somebody else, or of another mesh, is refused; a whole one repairs all.
func TestBadSticks(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t)
	c := w.enrol("Chidi", orgHospital).start(t)
	introduce(t, a, b, c)
	g := makeGroup(t, a, b)
	var want []string
	for range 80 {
		text := string(bytes.Repeat([]byte("blood "), 300))
		say(t, a, g, text)
		want = append(want, text)
	}
	path := filepath.Join(t.TempDir(), "x.tocsin")
	_, err := a.ExportBundle(t.Context(), path, BundleSpec{To: []string{"Ben"}}, nil)
	check(t, err)
	file, err := os.ReadFile(path)
	check(t, err)
	if _, err := c.ImportBundle(t.Context(), path, nil); !errors.Is(err, ErrInvalid) {
		t.Fatalf("sealed to another: %v", err)
	}
	if _, err := b.ImportBundle(t.Context(), filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, ErrInvalid) {
		t.Fatalf("no file: %v", err)
	}
	for _, bad := range [][]byte{nil, file[:100], []byte("minutes of a meeting"), file[:len(file)/10]} {
		check(t, os.WriteFile(path, bad, 0o600))
		if _, err := b.ImportBundle(t.Context(), path, nil); len(bad) < 1000 && !errors.Is(err, ErrInvalid) {
			t.Fatalf("%d bytes: %v", len(bad), err)
		}
	}
	check(t, os.WriteFile(path, file[:len(file)*2/3], 0o600))
	rep, err := b.ImportBundle(t.Context(), path, nil)
	check(t, err)
	if !rep.Cut || rep.NotThere == 0 || rep.New == 0 {
		t.Fatalf("two thirds of a file: %+v", rep)
	}
	flipped := bytes.Clone(file)
	flipped[len(file)/2] ^= 1
	check(t, os.WriteFile(path, flipped, 0o600))
	rep, err = b.ImportBundle(t.Context(), path, nil)
	check(t, err)
	if rep.Damaged != 1 || rep.Refused != 0 {
		t.Fatalf("one changed byte: %+v", rep)
	}
	check(t, os.WriteFile(path, file, 0o600))
	rep, err = b.ImportBundle(t.Context(), path, nil)
	check(t, err)
	if rep.Cut || rep.Damaged != 0 || rep.Refused != 0 {
		t.Fatalf("the whole file: %+v", rep)
	}
	shows(t, b, g, want...)
	check(t, b.Lock())
	if _, err := b.ImportBundle(t.Context(), path, nil); !errors.Is(err, ErrLocked) {
		t.Fatalf("while locked: %v", err)
	}
	if _, err := a.ExportBundle(t.Context(), path, BundleSpec{To: []string{"Zoe"}}, nil); !errors.Is(err, ErrNotFound) {
		t.Fatalf("for nobody: %v", err)
	}
}

// A stick that was too small leaves headers without bodies; the next one brings
// the bodies, because what came back did not claim them.
func TestSmallStickThenAnother(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t)
	introduce(t, a, b)
	g := makeGroup(t, a, b)
	var want []string
	for i := range 30 {
		text := fmt.Sprint(i, " ", strings.Repeat("blood ", 200))
		_, err := a.Send(t.Context(), g, message.NewText(text, time.Time{}), []string{"routine", "urgent"}[i%2])
		check(t, err)
		want = append(want, text)
	}
	stick := filepath.Join(t.TempDir(), "x.tocsin")
	info, err := a.ExportBundle(t.Context(), stick, BundleSpec{To: []string{"Ben"}, Limit: 40_000}, nil)
	check(t, err)
	if info.Left == 0 {
		t.Fatalf("everything fitted: %+v", info)
	}
	rep, err := b.ImportBundle(t.Context(), stick, nil)
	check(t, err)
	if rep.NotThere == 0 || rep.Filled == 0 {
		t.Fatalf("%+v", rep)
	}
	_, err = b.ExportBundle(t.Context(), stick, BundleSpec{To: []string{"Amal"}}, nil)
	check(t, err)
	_, err = a.ImportBundle(t.Context(), stick, nil)
	check(t, err)
	_, err = a.ExportBundle(t.Context(), stick, BundleSpec{To: []string{"Ben"}}, nil)
	check(t, err)
	_, err = b.ImportBundle(t.Context(), stick, nil)
	check(t, err)
	shows(t, b, g, want...)
}
