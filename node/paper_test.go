package node

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tocsin/ledger"
	"tocsin/ledger/bundle"
	"tocsin/node/message"
)

// paperSites are two devices that share a group, know by stick what the other
// holds, and share no network.
func paperSites(t *testing.T) (w *world, a, b *Node, g string) {
	w = newWorld(t)
	a = w.enrol("Amal", orgHospital).start(t)
	b = w.enrol("Ben", orgAmbulance).start(t)
	introduce(t, a, b)
	g = makeGroup(t, a, b)
	say(t, a, g, "We have power")
	stick := filepath.Join(t.TempDir(), "stick"+bundle.Suffix)
	for _, hop := range [][2]*Node{{a, b}, {b, a}} {
		_, err := hop[0].ExportBundle(t.Context(), stick, BundleSpec{To: []string{hop[1].self.String()}}, nil)
		check(t, err)
		_, err = hop[1].ImportBundle(t.Context(), stick, nil)
		check(t, err)
	}
	shows(t, b, g, "We have power")
	return w, a, b, g
}

func sayAs(t *testing.T, n *Node, g, priority, text string) Sent {
	t.Helper()
	s, err := n.Send(t.Context(), g, message.NewText(text, time.Time{}), priority)
	check(t, err)
	return s
}

// Urgent messages go over on paper, in any order of codes, and routine ones do
// not; nothing of them can be read on the paper.
func TestPaperCarriesUrgentMessages(t *testing.T) {
	_, a, b, g := paperSites(t)
	say(t, a, g, "The canteen is open")
	sayAs(t, a, g, "stat", "Theatre 2 is on fire")
	info, err := a.ExportPaper(t.Context(), PaperSpec{To: []string{b.self.String()}})
	check(t, err)
	if info.Messages != 1 || info.Left != 0 || len(info.Codes) > defaultPaperCodes {
		t.Fatalf("%d codes, %+v", len(info.Codes), info)
	}
	for _, code := range info.Codes {
		if len(code) >= 120 || strings.Contains(code, "FIRE") {
			t.Fatalf("code %q", code)
		}
	}
	codes := slices.Clone(info.Codes)
	slices.Reverse(codes)
	rep, err := b.ImportPaper(t.Context(), append(codes, codes[0], strings.ToLower(codes[1])))
	check(t, err)
	if len(rep.Sheets) != 1 || !rep.Sheets[0].Taken || rep.Refused+rep.Waiting != 0 || len(rep.Wrong) != 0 || rep.New == 0 {
		t.Fatalf("%+v", rep)
	}
	shows(t, b, g, "We have power", "Theatre 2 is on fire")
	rep, err = b.ImportPaper(t.Context(), codes)
	check(t, err)
	if rep.New+rep.Filled != 0 || rep.Known == 0 {
		t.Fatalf("the same again brought %+v", rep)
	}
}

// One code missing, one altered, the codes of two sheets mixed: what is wrong is
// named, whole sheets are taken, and nothing of the others.
func TestPaperMissingAlteredMixed(t *testing.T) {
	_, a, b, g := paperSites(t)
	first := sayAs(t, a, g, "stat", "Theatre 2 is on fire")
	one, err := a.ExportPaper(t.Context(), PaperSpec{To: []string{b.self.String()}, Messages: []string{first.ID}})
	check(t, err)
	sayAs(t, a, g, "urgent", "Water is out")
	two, err := a.ExportPaper(t.Context(), PaperSpec{To: []string{b.self.String()}})
	check(t, err)
	if one.Messages != 1 || two.Messages != 2 {
		t.Fatalf("%d and %d messages", one.Messages, two.Messages)
	}
	if _, err := b.ImportPaper(t.Context(), nil); !errors.Is(err, ErrInvalid) {
		t.Fatal(err)
	}

	altered := []byte(two.Codes[2])
	altered[40] = map[bool]byte{true: '8', false: '9'}[altered[40] == '9']
	mixed := slices.Concat(two.Codes[:1], one.Codes[3:], []string{string(altered)}, two.Codes[3:], one.Codes[:3])
	rep, err := b.ImportPaper(t.Context(), mixed)
	check(t, err)
	if len(rep.Wrong) != 1 || rep.Wrong[0].Number != len(one.Codes)-1 || len(rep.Sheets) != 2 {
		t.Fatalf("%+v", rep)
	}
	if s := rep.Sheets[0]; s.Taken || !slices.Equal(s.Missing, []int{2, 3}) || s.Count != len(two.Codes) || !strings.Contains(s.Words, "2 to 3") {
		t.Fatalf("%+v", s)
	}
	if !rep.Sheets[1].Taken {
		t.Fatalf("%+v", rep.Sheets[1])
	}
	shows(t, b, g, "We have power", "Theatre 2 is on fire")
	_, err = b.ImportPaper(t.Context(), two.Codes)
	check(t, err)
	shows(t, b, g, "We have power", "Theatre 2 is on fire", "Water is out")
}

// A sheet that begins too late says so, and what it brought shows when the rest
// has come.
func TestPaperBeginsTooLate(t *testing.T) {
	_, a, b, g := paperSites(t)
	for _, text := range []string{"one", "two"} {
		sayAs(t, a, g, "stat", text)
	}
	whole, err := a.ExportPaper(t.Context(), PaperSpec{To: []string{b.self.String()}})
	check(t, err)
	number, key, err := a.paperKey()
	check(t, err)
	last := newest(t, a)
	content, err := bundle.SealPaper(a.rand, a.trust.MeshID(), number, key, []bundle.PaperRun{{last}})
	check(t, err)
	late, err := bundle.PaperCodes(content)
	check(t, err)
	rep, err := b.ImportPaper(t.Context(), late)
	check(t, err)
	if rep.Waiting == 0 || !strings.Contains(rep.Words, "further back") {
		t.Fatalf("%+v", rep)
	}
	_, err = b.ImportPaper(t.Context(), whole.Codes)
	check(t, err)
	shows(t, b, g, "We have power", "one", "two")
}

// A forged entry on a sheet that an insider made does not pass.
func TestPaperForged(t *testing.T) {
	_, a, b, g := paperSites(t)
	sayAs(t, a, g, "stat", "true")
	number, key, err := a.paperKey()
	check(t, err)
	e := newest(t, a)
	forged := *e
	forged.Body = append(bytes.Clone(e.Body), 0) // a body that the header does not name
	content, err := bundle.SealPaper(a.rand, a.trust.MeshID(), number, key, []bundle.PaperRun{{&forged}})
	check(t, err)
	codes, err := bundle.PaperCodes(content)
	check(t, err)
	rep, err := b.ImportPaper(t.Context(), codes)
	check(t, err)
	if rep.Refused == 0 || rep.New != 0 {
		t.Fatalf("%+v", rep)
	}
	shows(t, b, g, "We have power")
}

// Bad input is refused with what to do, and what cannot be read is not taken.
func TestPaperRefusals(t *testing.T) {
	w, a, b, g := paperSites(t)
	for name, spec := range map[string]PaperSpec{
		"hours": {Hours: -1}, "codes": {Codes: 10_000}, "an id": {Messages: []string{"xyz"}},
	} {
		if _, err := a.ExportPaper(t.Context(), spec); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, spec := range map[string]PaperSpec{
		"no urgent message": {}, "no such message": {Messages: []string{strings.Repeat("ab", 32)}}, "nobody": {To: []string{"Nobody"}},
	} {
		if _, err := a.ExportPaper(t.Context(), spec); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	sayAs(t, a, g, "stat", "Theatre 2 is on fire")
	if _, err := a.ExportPaper(t.Context(), PaperSpec{Codes: 2}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "more codes") {
		t.Error(err)
	}
	content, err := bundle.SealPaper(a.rand, a.trust.MeshID(), 77, w.meshKey, []bundle.PaperRun{{newest(t, a)}})
	check(t, err)
	codes, err := bundle.PaperCodes(content)
	check(t, err)
	rep, err := b.ImportPaper(t.Context(), codes)
	check(t, err)
	if rep.Sheets[0].Taken || !strings.Contains(rep.Sheets[0].Words, "broadcast key 77") {
		t.Errorf("%+v", rep)
	}
	check(t, b.Lock())
	if _, err := b.ImportPaper(t.Context(), codes); !errors.Is(err, ErrLocked) {
		t.Error(err)
	}
	if _, err := b.ExportPaper(t.Context(), PaperSpec{}); !errors.Is(err, ErrLocked) {
		t.Error(err)
	}
}

// newest is the newest entry of a device's own log.
func newest(t *testing.T, n *Node) *ledger.Entry {
	t.Helper()
	head, _ := n.logs.Head(n.self)
	e, err := n.logs.Entry(t.Context(), n.self, head.Next-1)
	check(t, err)
	return e
}

// Receipts of what is stat are urgent, and take no codes.
func TestPaperCarriesNoReceipts(t *testing.T) {
	_, a, b, g := paperSites(t)
	sayAs(t, a, g, "stat", "Theatre 2 is on fire")
	before, err := a.ExportPaper(t.Context(), PaperSpec{To: []string{b.self.String()}})
	check(t, err)
	id, err := parseGroupID(g)
	check(t, err)
	runs, _, _ := runsOf([]debt{{owed: oweDelivered, log: b.self, seq: 1, id: ledger.ID{1}}})
	raw, err := marshalReceipts(runs)
	check(t, err)
	a.mu.Lock()
	_, err = a.sendPayload(t.Context(), id, raw, ledger.Urgent)
	check(t, errors.Join(err, a.drainAll(t.Context())))
	a.mu.Unlock()
	after, err := a.ExportPaper(t.Context(), PaperSpec{To: []string{b.self.String()}})
	check(t, err)
	if after.Messages != before.Messages {
		t.Errorf("%d messages on the sheet, not %d", after.Messages, before.Messages)
	}
}
