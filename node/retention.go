package node

// How long messages stay on this device, top to bottom:
//
//	policy          the group's days, as its admins signed them, else the organisation's, else 30
//	dueIn           what has had its time or is ordered to go, stands in the record, and is not held
//	eraseItems      keys and sealed bodies are destroyed (erase.go); what is left is a mark, and the receipt
//
// It runs after every unlock, once all that came is opened, and every hour
// while the device is unlocked; a locked device erases nothing. Exercises have
// no place in the record and wait for none.

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"tocsin/crypto/group"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// RetentionPolicy is how long an organisation keeps messages on devices: after stand-down those of an incident, after they came all others.
type RetentionPolicy struct {
	// Days is for how many; 0 is [DefaultRetentionDays], negative is until they are erased by hand.
	Days int `json:"days"`
	// BeforeTransfer erases also what does not stand in the record. Without it nothing goes before that.
	BeforeTransfer bool `json:"before_transfer"`
}

// DefaultRetentionDays is for how many days messages stay where nobody says anything else.
const DefaultRetentionDays = 30

// maxRetentionDays is what a group's operation can hold.
const maxRetentionDays = math.MaxUint16

// Where a conversation's retention comes from.
const (
	RetentionOfGroup        = "group"
	RetentionOfOrganisation = "organisation"
	RetentionDefault        = "default"
)

// RetentionView says how long the messages of a conversation stay on this device, and why.
type RetentionView struct {
	Group  string `json:"group"`
	Days   int    `json:"days"`            // 0 with Never
	Never  bool   `json:"never,omitempty"` // until they are erased by hand
	Source string `json:"source"`          // group, organisation or default
	// BeforeTransfer: also what is not in the record goes.
	BeforeTransfer bool `json:"before_transfer,omitempty"`
	// Begins is when the time of an incident began to run, by this device's clock, and Due when it ends; zero while it is not over, and in
	// conversations where each message has its own time.
	Begins time.Time `json:"begins,omitzero"`
	Due    time.Time `json:"due,omitzero"`
	Held   bool      `json:"held,omitempty"`
	// Messages are here, Untransferred of them are not in the record, Erasable go the next time this device looks, within the hour.
	Messages      int      `json:"messages"`
	Untransferred int      `json:"untransferred"`
	Erasable      int      `json:"erasable"`
	Orders        int      `json:"orders"` // to erase messages, that count
	Kept          []string `json:"kept"`   // why messages stay, in words
	Words         string   `json:"words"`
}

// retention is the policy that holds for one conversation.
type retention struct {
	days   int
	never  bool
	source string
	before bool
}

// policy is how long the messages of a group stay. n.mu is held and the device is unlocked.
func (n *Node) policy(g group.ID) retention {
	r := retention{days: n.cfg.Retention.Days, source: RetentionOfOrganisation, before: n.cfg.Retention.BeforeTransfer}
	if r.days == 0 {
		r.days, r.source = DefaultRetentionDays, RetentionDefault
	}
	set := func(op group.OpInfo) bool { return !op.Void && op.Op.Retention != nil }
	if v, ok := n.open.keyring.Group(g); ok && slices.ContainsFunc(n.open.keyring.Ops(g), set) {
		r.days, r.source, r.never = int(v.Retention), RetentionOfGroup, v.Retention == 0
	}
	if r.days < 0 {
		r.days, r.never = 0, true
	}
	return r
}

// span is for how long messages stay.
func (r retention) span() time.Duration { return time.Duration(r.days) * 24 * time.Hour }

// keeper of one conversation: what of it stays, what goes.
type retained struct {
	tracker *tracker
	policy  retention
	held    bool
	ends    bool // the conversation is an incident's: its time begins at its end
	begins  time.Time
	now     time.Time
	items   []*inbox.Item
	at      map[inbox.EntryID]*inbox.Item
	ordered map[inbox.EntryID]bool
	orders  int
	goes    map[inbox.EntryID]bool
}

// retainedIn works out what of a conversation stays and what goes. n.mu is held and the device is unlocked.
func (n *Node) retainedIn(c *inbox.Conversation, now time.Time) *retained {
	r := &retained{tracker: n.track(c), policy: n.policy(group.ID(c.ID)), held: n.held(group.ID(c.ID)), now: now,
		at: make(map[inbox.EntryID]*inbox.Item), ordered: make(map[inbox.EntryID]bool), goes: make(map[inbox.EntryID]bool)}
	r.ends = c.Kind == group.KindIncident.String() || r.tracker.incident.State != ""
	if r.tracker.incident.Over() {
		for _, s := range r.tracker.incident.Steps {
			if s.Refused == "" {
				r.begins = s.Item.Received
			}
		}
	}
	n.open.inbox.Each(c.ID, func(it *inbox.Item) {
		one := *it
		r.items = append(r.items, &one)
		r.at[one.ID] = &one
	})
	for _, o := range n.open.inbox.Orders(c.ID) {
		r.orders++
		for _, id := range o.Entries {
			r.ordered[id] = true
		}
	}
	r.decide()
	return r
}

// released reports whether a message may go at all: it stands in the record, or never has to.
func (r *retained) released(it *inbox.Item) bool {
	return !queued(it.Message.Kind()) || r.policy.before || r.tracker.mode == string(message.Exercise) || r.tracker.transferred(ledger.ID(it.ID))
}

// aged reports whether a message has had its time: after the end of its incident, but at least as long since it came; or since it came.
func (r *retained) aged(it *inbox.Item) bool {
	from := it.Received
	if r.ends && (r.begins.IsZero() || r.policy.never) {
		return false
	}
	if r.ends && r.begins.After(from) {
		from = r.begins
	}
	return !r.policy.never && !r.now.Before(from.Add(r.policy.span()))
}

// framing reports whether a kind says something of the whole conversation, so that it stays as long as anything does.
func framing(k message.Kind) bool { return k == message.KindIncident || !queued(k) }

// leans is the message that would show as it was before if one went alone.
func leans(c message.Content) (inbox.EntryID, bool) {
	switch c := c.(type) {
	case *message.METHANE:
		return inbox.EntryID(c.Supersedes), c.Supersedes != message.EntryID{}
	case *message.Decision:
		return inbox.EntryID(c.Corrects), c.Corrects != message.EntryID{}
	}
	return inbox.Acting(c)
}

// decide fills goes. It begins with everything that may go, and takes out what something that stays rests on until nothing changes.
func (r *retained) decide() {
	if r.held {
		return
	}
	for _, it := range r.items {
		if (r.aged(it) || r.ordered[it.ID]) && r.released(it) {
			r.goes[it.ID] = true
		}
	}
	for changed := true; changed; {
		changed = false
		stays := slices.ContainsFunc(r.items, func(it *inbox.Item) bool { return !r.goes[it.ID] && !framing(it.Message.Kind()) })
		for _, it := range r.items {
			if r.goes[it.ID] && r.needed(it, stays) {
				delete(r.goes, it.ID)
				changed = true
			}
		}
	}
}

// needed reports whether something that stays rests on a message; stays is whether anything does that was said of itself.
func (r *retained) needed(it *inbox.Item, stays bool) bool {
	if r.ends && stays && framing(it.Message.Kind()) {
		return true
	}
	standing := func(id inbox.EntryID) bool { return r.at[id] != nil && !r.goes[id] }
	if to, ok := leans(it.Message.Content); ok && standing(to) {
		return true
	}
	var names []message.EntryID
	switch c := it.Message.Content.(type) {
	case *message.Transferred:
		names = c.Entries
	case *message.Erase:
		names = c.Entries
	}
	return slices.ContainsFunc(names, func(id message.EntryID) bool { return standing(inbox.EntryID(id)) })
}

// Retain erases on this device what has had its time, and what is ordered to go: what stands in the record and is not held. It runs by itself
// within the hour. Errors: [ErrLocked], [ErrReadOnly].
func (n *Node) Retain(ctx context.Context) (Erased, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return Erased{}, n.lockedError()
	}
	if err := n.clockProblem(); err != nil {
		return Erased{}, err // whose time is over is not known by a wrong clock
	}
	if err := n.drainAll(ctx); err != nil { // a hold may have come
		return Erased{}, err
	}
	if n.open == nil {
		return Erased{}, n.lockedError()
	}
	var out Erased
	for _, c := range n.open.inbox.Conversations() {
		k, err := n.retainGroup(ctx, &c)
		out.Messages += k
		if err != nil {
			return out, err
		}
	}
	if out.Messages > 0 {
		out.Words = erasedWords(out.Messages)
		n.log.Info("messages that had their time were erased", "count", out.Messages)
	}
	return out, nil
}

func (n *Node) retainGroup(ctx context.Context, c *inbox.Conversation) (int, error) {
	r := n.retainedIn(c, n.cfg.Clock.Now())
	var aged, ordered []inbox.Item
	for _, it := range r.items {
		switch {
		case !r.goes[it.ID]:
		case r.aged(it):
			aged = append(aged, *it)
		default:
			ordered = append(ordered, *it)
		}
	}
	done := 0
	for _, part := range []struct {
		items []inbox.Item
		why   goneWhy
	}{{ordered, goneOrdered}, {aged, goneRetention}} {
		for some := range slices.Chunk(part.items, maxErase) {
			if err := n.eraseItems(ctx, some, part.why); err != nil {
				return done, err
			}
			done += len(some)
		}
	}
	if done > 0 {
		n.events.publish(Event{Type: EventTransfer, Group: group.ID(c.ID).String()})
	}
	return done, nil
}

// Retention says how long the messages of a conversation stay on this device. Errors: [ErrLocked], [ErrNotFound], [ErrInvalid].
func (n *Node) Retention(groupID string) (RetentionView, error) {
	g, err := parseGroupID(groupID)
	if err != nil {
		return RetentionView{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return RetentionView{}, n.lockedError()
	}
	c, err := n.conversation(g)
	if err != nil {
		return RetentionView{}, err
	}
	return n.retainedIn(&c, n.cfg.Clock.Now()).view(), nil
}

func (r *retained) view() RetentionView {
	v := RetentionView{Group: r.tracker.group.String(), Days: r.policy.days, Never: r.policy.never, Source: r.policy.source, BeforeTransfer: r.policy.before,
		Begins: r.begins, Held: r.held, Messages: len(r.items), Erasable: len(r.goes), Orders: r.orders, Kept: []string{}}
	for _, it := range r.items {
		if !r.released(it) {
			v.Untransferred++
		}
	}
	if r.ends && !r.begins.IsZero() && !r.policy.never {
		v.Due = r.begins.Add(r.policy.span())
	}
	keep := func(format string, args ...any) { v.Kept = append(v.Kept, fmt.Sprintf(format, args...)) }
	if r.held {
		keep("A hold is in force: nothing is erased until it is ended.")
	}
	if r.ends && r.begins.IsZero() {
		keep("The incident is not over: its time begins when it is stood down or cancelled.")
	}
	if r.policy.never {
		keep("They stay until they are erased by hand or by an order.")
	}
	if v.Untransferred > 0 {
		keep("%d do not stand in the record: nothing is erased before that.", v.Untransferred)
	}
	switch {
	case r.policy.never:
		v.Words = "Messages stay until they are erased by hand."
	case r.ends:
		v.Words = fmt.Sprintf("Messages stay for %d days after the incident is stood down or cancelled, and until they stand in the record.", v.Days)
	default:
		v.Words = fmt.Sprintf("Each message stays for %d days, and until it stands in the record.", v.Days)
	}
	return v
}

// SetRetention sets for how many days all members' devices keep the messages of a group, by an operation that is signed and spread as those on
// members are; 0 is until they are erased by hand. It needs a token of [Node.Reauth], and is for admins of the group. Errors: [ErrLocked], [ErrReauth],
// [ErrNotFound], [ErrInvalid], [ErrReadOnly].
func (n *Node) SetRetention(ctx context.Context, token, groupID string, days int) error {
	g, err := parseGroupID(groupID)
	if err != nil {
		return err
	}
	if days < 0 || days > maxRetentionDays {
		return invalid("messages are kept for 1 to %d days, or for 0: until they are erased by hand", maxRetentionDays)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.spend(token); err != nil {
		return err
	}
	if err := n.writable(); err != nil {
		return err
	}
	if _, ok := n.open.keyring.Group(g); !ok {
		return noGroup(g)
	}
	payload, err := n.open.keyring.RetentionOp(g, uint16(days))
	if err != nil {
		return invalid("%v", err)
	}
	if err := n.commitOp(ctx, payload); err != nil {
		return err
	}
	n.transfers.retainSoon()
	return n.announceChange(ctx, g)
}

// errHeld refuses to erase what a hold keeps.
var errHeld = errors.New("a hold is in force in this conversation, so that nothing of it is erased: have it ended first")
