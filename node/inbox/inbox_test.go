package inbox

import (
	"bytes"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tocsin/node/message"
)

var epoch = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

var (
	alice = Author{Log: "alice", Name: "Alice", Org: "stmarys.nhs.example", Verified: true}
	bob   = Author{Log: "bob", Name: "Bob", Org: "stmarys.nhs.example", Verified: true}
	carol = Author{Log: "carol", Name: "Carol", Org: "ambulance.nhs.example", Verified: true}
)

func eid(n byte) EntryID { return EntryID{31: n} }

func gid(n byte) GroupID { return GroupID{0: n} }

// text is what alice's device would hold after opening the entry.
func text(n byte, from Author, hlc uint64) Item {
	m := message.NewText(fmt.Sprintf("message %d", n), epoch)
	return Item{ID: eid(n), Group: gid(1), HLC: hlc, From: from, Message: m, Sent: epoch, Received: epoch,
		Priority: "routine", Own: from.Log == alice.Log, Provable: true}
}

func receipt(n byte, from Author, state message.State, of ...byte) Item {
	var ids [][32]byte
	for _, b := range of {
		ids = append(ids, eid(b))
	}
	it := text(n, from, 1000+uint64(n))
	it.Message = message.NewReceipt(state, ids, epoch)
	return it
}

func team() Group {
	return Group{ID: gid(1), Name: "Bay 3", Kind: "team", Members: []Author{carol, bob, alice}, HLC: 1}
}

func only(t *testing.T, in *Inbox, id EntryID) Item {
	t.Helper()
	it, ok := in.Message(id)
	if !ok {
		t.Fatalf("message %x is not there", id)
	}
	return it
}

func TestStates(t *testing.T) {
	in := New()
	in.SetGroup(team())
	in.Apply(text(1, alice, 10))
	for i, step := range []struct {
		apply       Item
		state       string
		words       string
		read, given int
	}{
		{text(9, bob, 11), StateSaved, "Saved on this device", 0, 0},
		{receipt(20, alice, message.Delivered, 1), StateSaved, "Saved on this device", 0, 0},
		{receipt(21, bob, message.Delivered, 1), StateDelivered, "Delivered to 1 of 2", 0, 1},
		{receipt(22, bob, message.Read, 1), StateDelivered, "Delivered to 1 of 2, read by 1", 1, 1},
		{receipt(23, bob, message.Delivered, 1), StateDelivered, "Delivered to 1 of 2, read by 1", 1, 1},
		{receipt(24, carol, message.Delivered, 1), StateDelivered, "Delivered to 2 of 2, read by 1", 1, 2},
		{receipt(25, carol, message.Read, 1), StateRead, "Read by all 2", 2, 2},
	} {
		in.Apply(step.apply)
		it := only(t, in, eid(1))
		if it.State != step.state || it.StateWords() != step.words || len(it.Read) != step.read ||
			len(it.Delivered) != step.given || it.Recipients != 2 {
			t.Errorf("step %d: %s, %q, delivered %v, read %v of %d", i, it.State, it.StateWords(), it.Delivered, it.Read, it.Recipients)
		}
	}
}

// TestReceiptCounts holds the rule that nothing but a recipient's own receipt makes a message delivered.
func TestReceiptCounts(t *testing.T) {
	in := New()
	in.SetGroup(team())
	in.Apply(text(1, alice, 10))
	outsider := receipt(2, Author{Log: "mallory"}, message.Read, 1)
	elsewhere := receipt(3, bob, message.Read, 1)
	elsewhere.Group = gid(2)
	own := receipt(4, alice, message.Read, 1)
	for _, it := range []Item{outsider, elsewhere, own} {
		in.Apply(it)
	}
	if it := only(t, in, eid(1)); it.State != StateSaved || it.Delivered != nil || it.Read != nil {
		t.Errorf("%s, delivered %v, read %v", it.State, it.Delivered, it.Read)
	}
}

func TestReceiptBeforeMessage(t *testing.T) {
	in := New()
	in.Apply(receipt(2, bob, message.Delivered, 1))
	if got := in.Conversations(); len(got) != 0 {
		t.Errorf("a receipt alone makes a conversation: %+v", got)
	}
	in.Apply(text(1, alice, 10))
	in.SetGroup(team())
	if it := only(t, in, eid(1)); it.State != StateDelivered {
		t.Errorf("state %s", it.State)
	}
}

func TestAppliedOnce(t *testing.T) {
	in := New()
	in.SetGroup(team())
	if c := in.Apply(text(1, bob, 10)); !c.New || !c.Shown {
		t.Errorf("first: %+v", c)
	}
	if c := in.Apply(text(1, bob, 10)); c.New || c.Shown {
		t.Errorf("again: %+v", c)
	}
	if got := in.Messages(gid(1), 0, 0); len(got) != 1 {
		t.Errorf("%d messages", len(got))
	}
	if c := in.Apply(receipt(2, carol, message.Delivered, 1)); len(c.Delivery) != 1 || c.Shown {
		t.Errorf("receipt: %+v", c)
	}
	if c := in.Apply(receipt(3, carol, message.Delivered, 1)); !c.New || len(c.Delivery) != 0 {
		t.Errorf("a receipt that says nothing new: %+v", c)
	}
}

func TestUnread(t *testing.T) {
	in := New()
	in.SetGroup(team())
	in.Apply(text(1, alice, 10))
	in.Apply(text(2, bob, 11))
	in.Apply(text(3, carol, 12))
	in.Apply(receipt(20, alice, message.Delivered, 2, 3))
	c, ok := in.Conversation(gid(1))
	if !ok || c.Unread != 2 || c.Count != 3 || c.Last == nil || c.Last.ID != eid(3) || c.HLC != 12 {
		t.Fatalf("%v, %d unread of %d", ok, c.Unread, c.Count)
	}
	in.Apply(receipt(21, alice, message.Read, 2, 4))
	in.Apply(text(4, bob, 13)) // was marked as read before it came
	if c, _ := in.Conversation(gid(1)); c.Unread != 1 {
		t.Errorf("%d unread", c.Unread)
	}
	if only(t, in, eid(2)).Unread || !only(t, in, eid(3)).Unread || only(t, in, eid(1)).Unread {
		t.Error("the wrong message is unread")
	}
}

func TestMessagesPages(t *testing.T) {
	in := New()
	for n := byte(1); n <= 9; n++ {
		in.Apply(text(n, bob, uint64(20-n))) // newest first
	}
	for _, c := range []struct {
		after, limit int
		first, count int
	}{{0, 0, 9, 9}, {0, 3, 9, 3}, {7, 5, 2, 2}, {9, 5, 0, 0}, {99, 5, 0, 0}, {-2, 0, 2, 2}, {-99, 4, 9, 4}} {
		got := in.Messages(gid(1), c.after, c.limit)
		if len(got) != c.count || (c.count > 0 && got[0].ID != eid(byte(c.first))) {
			t.Errorf("after %d, limit %d: %d messages", c.after, c.limit, len(got))
		}
	}
	if got := in.Messages(gid(5), 0, 0); got != nil {
		t.Errorf("messages of no conversation: %v", got)
	}
	if _, ok := in.Conversation(gid(5)); ok {
		t.Error("a conversation that is not there")
	}
	if _, ok := in.Message(eid(200)); ok {
		t.Error("a message that is not there")
	}
}

func TestConversationsNewestFirst(t *testing.T) {
	in := New()
	for n, hlc := range map[byte]uint64{1: 5, 2: 50, 3: 7} {
		in.SetGroup(Group{ID: gid(n), Name: fmt.Sprint(n), HLC: hlc})
	}
	it := text(1, bob, 30)
	in.Apply(it) // moves conversation 1 up
	var got []string
	for _, c := range in.Conversations() {
		got = append(got, c.Name)
	}
	if want := []string{"2", "1", "3"}; !reflect.DeepEqual(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

// TestAnyOrder is the rule the package stands on: the same set in any order, with repeats, gives the same state.
func TestAnyOrder(t *testing.T) {
	people := []Author{alice, bob, carol}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 14).Draw(t, "entries")
		var steps []func(*Inbox)
		for g := byte(1); g <= 2; g++ {
			group := team()
			group.ID = gid(g)
			steps = append(steps, func(in *Inbox) { in.SetGroup(group) })
		}
		for i := range n {
			from := rapid.SampledFrom(people).Draw(t, "from")
			it := text(byte(i), from, rapid.Uint64Range(1, 5).Draw(t, "hlc"))
			if rapid.Bool().Draw(t, "receipt") {
				about := rapid.SliceOfN(rapid.ByteRange(0, byte(n)), 1, 4).Draw(t, "about")
				it = receipt(byte(i), from, rapid.SampledFrom([]message.State{message.Delivered, message.Read}).Draw(t, "state"), about...)
			}
			it.Group = gid(rapid.ByteRange(1, 2).Draw(t, "group"))
			steps = append(steps, func(in *Inbox) { in.Apply(it) })
		}
		for _, b := range rapid.SliceOfN(rapid.ByteRange(0, byte(n)), 0, 3).Draw(t, "erased") {
			steps = append(steps, func(in *Inbox) { in.Erase(eid(b)) })
		}
		repeated := append(steps, rapid.SliceOfN(rapid.SampledFrom(steps), 0, 5).Draw(t, "repeats")...)
		want := play(steps)
		if got := play(rapid.Permutation(repeated).Draw(t, "order")); !reflect.DeepEqual(got, want) {
			t.Fatalf("another order gives another state:\n%#v\n%#v", got, want)
		}
		checkCounts(t, want)
	})
}

type state struct {
	conversations []Conversation
	messages      map[GroupID][]Item
}

func play(steps []func(*Inbox)) state {
	in := New()
	for _, step := range steps {
		step(in)
	}
	s := state{conversations: in.Conversations(), messages: map[GroupID][]Item{}}
	for _, c := range s.conversations {
		s.messages[c.ID] = in.Messages(c.ID, 0, 0)
	}
	return s
}

// checkCounts compares the counts that are kept up to date step by step with a count from scratch.
func checkCounts(t *rapid.T, s state) {
	for _, c := range s.conversations {
		unread := 0
		for i, it := range s.messages[c.ID] {
			if it.Unread {
				unread++
			}
			if i > 0 && s.messages[c.ID][i-1].HLC > it.HLC {
				t.Fatalf("not in the order of the clock")
			}
		}
		if unread != c.Unread || len(s.messages[c.ID]) != c.Count {
			t.Fatalf("%d unread of %d, the conversation says %d of %d", unread, len(s.messages[c.ID]), c.Unread, c.Count)
		}
	}
}

// TestOutDevices: a device that was revoked or wiped is waited for no longer; what it said before counts.
func TestOutDevices(t *testing.T) {
	in := New()
	g := team()
	in.SetGroup(g)
	in.Apply(text(1, alice, 10))
	in.Apply(text(2, alice, 11))
	in.Apply(receipt(8, carol, message.Delivered, 1))
	in.Apply(receipt(9, bob, message.Read, 1, 2))
	for _, badge := range []string{BadgeRevoked, BadgeWiped} {
		out := carol
		out.Badge = badge
		g.Members = []Author{out, bob, alice}
		in.SetGroup(g)
		if it := only(t, in, eid(1)); it.Recipients != 2 || it.StateWords() != "Delivered to 2 of 2, read by 1" {
			t.Errorf("%s after it got the message: %s", badge, it.StateWords())
		}
		if it := only(t, in, eid(2)); it.Recipients != 1 || it.State != StateRead {
			t.Errorf("%s before it got the message: %s", badge, it.StateWords())
		}
	}
}

// TestErased: what was erased is shown no more, whenever it is applied, and the counts say so.
func TestErased(t *testing.T) {
	in := New()
	in.SetGroup(team())
	for n := byte(1); n <= 3; n++ {
		in.Apply(text(n, bob, uint64(10+n)))
	}
	in.Erase(eid(2), eid(2), eid(4))
	if c := in.Apply(text(4, bob, 14)); !c.New || c.Shown {
		t.Errorf("a message that was erased before it came is shown: %+v", c)
	}
	if c := in.Apply(text(2, bob, 12)); c.New {
		t.Errorf("an erased message came back: %+v", c)
	}
	if _, ok := in.Message(eid(2)); ok {
		t.Error("an erased message is still found")
	}
	got := in.Messages(gid(1), 0, 0)
	if len(got) != 2 || got[0].ID != eid(1) || got[1].ID != eid(3) {
		t.Errorf("shown are %v", got)
	}
	c, _ := in.Conversation(gid(1))
	if c.Count != 2 || c.Unread != 2 || c.Last.ID != eid(3) {
		t.Errorf("%d messages, %d unread, the last %v", c.Count, c.Unread, c.Last)
	}
	in.Apply(receipt(9, alice, message.Read, 2, 3))
	if c, _ := in.Conversation(gid(1)); c.Unread != 1 {
		t.Errorf("a receipt for an erased message counts: %d unread", c.Unread)
	}
}

func TestNewerKindIsShown(t *testing.T) {
	in := New()
	it := text(1, bob, 10)
	it.Message = message.Message{Sent: epoch, Content: &message.Unknown{Named: "ward-round", Raw: []byte{1}}}
	if c := in.Apply(it); !c.Shown {
		t.Error("a message of a newer kind is not shown")
	}
	if got := in.Messages(gid(1), 0, 0); len(got) != 1 || got[0].Message.Summary() != message.NewerKind {
		t.Errorf("got %d", len(got))
	}
}

func TestLogsHoldNoContent(t *testing.T) {
	const canary = "CANARY-patient-in-bed-4"
	it := text(1, bob, 10)
	it.Message, it.Reason = message.NewText(canary, epoch), canary
	c := Conversation{ID: gid(1), Name: canary, Last: &it}
	g := Group{ID: gid(1), Name: canary}
	var out bytes.Buffer
	for _, log := range []*slog.Logger{slog.New(slog.NewTextHandler(&out, nil)), slog.New(slog.NewJSONHandler(&out, nil))} {
		log.Info("things", "item", it, "pointer", &it, "conversation", c, "pointer", &c, "group", g)
	}
	for _, f := range []string{"%v", "%+v", "%#v", "%s"} {
		fmt.Fprintf(&out, f+f+f+f, it, c, &c, g)
	}
	if strings.Contains(out.String(), canary) {
		t.Errorf("a log holds content: %s", out.String())
	}
}
