package node

// How long messages stay on this device, top to bottom:
//
//	policy          the group's days, as its admins signed them, else the organisation's, else 30
//	dueIn           what has had its time or is ordered to go, stands in the record, and is not held
//	eraseItems      keys and sealed bodies are destroyed (erase.go); what is left is a mark, and the receipt
//
// It runs after every unlock, once all that came is opened, and every hour
// while the device is unlocked; a locked device erases nothing. Exercises have
// no place in the record and wait for none. How long messages are here is told by retentionclock.go, not by the wall clock.
//
// What was said of itself goes first, and what says something of the whole conversation last, as one step that begins only when everything else
// is gone: a power cut at any place leaves a conversation that still knows whether it is an exercise and that it is over. What an
// incident was is noted before its own messages go, for what comes later.

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
	// Begins is when the time of an incident began to run, by this device's clock, and Due when it ends if the device stays in use (time that it is
	// switched off for more than a day counts later); zero while it is not over, and in conversations where each message has its own time.
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
	ends    bool          // the conversation is an incident's: its time begins at its end
	begins  time.Time     // by this device's clock; zero: not yet
	from    time.Duration // the same, in elapsed time
	now     time.Time
	keeping *keeping
	elapsed time.Duration // that counts by now
	items   []*inbox.Item
	at      map[inbox.EntryID]*inbox.Item
	ordered map[inbox.EntryID]bool
	orders  int
	goes    map[inbox.EntryID]bool
	coming  bool // a hold may be among what is to come ([Node.bodiesToCome])
}

// retainedIn works out what of a conversation stays and what goes. n.mu is held and the device is unlocked.
func (n *Node) retainedIn(c *inbox.Conversation) *retained {
	at := n.elapsed()
	r := &retained{tracker: n.track(c), policy: n.policy(group.ID(c.ID)), held: n.held(group.ID(c.ID)), now: at.wall, keeping: n.open.keeping, elapsed: at.elapsed,
		at: make(map[inbox.EntryID]*inbox.Item), ordered: make(map[inbox.EntryID]bool), goes: make(map[inbox.EntryID]bool)}
	r.ends = c.Kind == group.KindIncident.String() || r.tracker.incident.State != ""
	r.coming = n.bodiesToCome(c)
	r.begin()
	n.open.inbox.Each(c.ID, func(it *inbox.Item) {
		one := *it
		r.items = append(r.items, &one)
		r.at[one.ID] = &one
	})
	for _, o := range n.open.inbox.Orders(c.ID) {
		r.orders++
		wait := orderWait
		if r.coming {
			wait = comingWait
		}
		if !o.Item.Own && r.elapsed-r.came(o.Item.ID) < wait {
			continue
		}
		for _, id := range o.Entries {
			r.ordered[id] = r.ordered[id] || r.obeys(&o, id)
		}
	}
	r.decide()
	return r
}

// begin says when the time of an incident that is over began.
func (r *retained) begin() {
	if s := r.keeping.settled[r.tracker.group]; s != nil {
		r.begins, r.from = s.at, s.elapsed
		return
	}
	if !r.tracker.incident.Over() {
		return
	}
	for _, s := range r.tracker.incident.Steps {
		if s.Refused == "" {
			r.begins, r.from = s.Item.Received, r.came(s.Item.ID)
		}
	}
}

// came is when this device first looked at a message, in elapsed time.
func (r *retained) came(id inbox.EntryID) time.Duration {
	if at := r.keeping.since[ledger.ID(id)]; at != nil {
		return *at
	}
	return r.elapsed // it is seen for the first time
}

// orderWait is how long a device that did not give an order waits, in elapsed time: a hold, a retraction or a revocation may be on its way.
const orderWait = 24 * time.Hour

// obeys reports whether an order counts for one message. Nobody's own word that their own message stands in the record has it destroyed by their own
// order: then only this device's receipt, or somebody else's word, does.
func (r *retained) obeys(o *inbox.Order, id inbox.EntryID) bool {
	it := r.at[id]
	if it == nil || r.policy.before || r.tracker.mode == string(message.Exercise) || r.tracker.proved(ledger.ID(id)) {
		return true
	}
	by := o.Item.From.Person
	return !(it.From.Person == by && r.tracker.transfers[id].By.Person == by)
}

// released reports whether a message may go at all: it stands in the record, or never has to.
func (r *retained) released(it *inbox.Item) bool {
	return !queued(it.Message.Kind()) || r.policy.before || r.tracker.mode == string(message.Exercise) || r.tracker.transferred(ledger.ID(it.ID))
}

// aged reports whether a message has had its time: after the end of its incident, but at least as long since it came; or since it came.
func (r *retained) aged(it *inbox.Item) bool {
	if r.policy.never || r.ends && r.begins.IsZero() {
		return false
	}
	from := r.came(it.ID)
	if r.ends {
		from = max(from, r.from)
	}
	span := r.policy.span()
	if r.coming && r.tracker.mode == string(message.Exercise) { // nothing else keeps it, such as a record that has to have it first
		span += comingWait
	}
	return r.elapsed-from >= span
}

// framing reports whether a kind says something of the whole conversation, so that it stays as long as anything does, and goes last.
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
	if r.ends && framing(it.Message.Kind()) && (stays || r.tracker.mode == modeUnknown) {
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
	return slices.ContainsFunc(names, func(id message.EntryID) bool { return standing(inbox.EntryID(id)) || !r.known(inbox.EntryID(id)) })
}

// known reports whether a message is here, or went: what was ordered or said of one that is still to come has to be there when it comes.
func (r *retained) known(id inbox.EntryID) bool {
	return r.at[id] != nil || r.tracker.n.open.queue.gone[ledger.ID(id)] != nil
}

// Retain erases on this device what has had its time, and what is ordered to go: what stands in the record and is not held. It runs by itself
// within the hour. Errors: [ErrLocked], [ErrReadOnly].
func (n *Node) Retain(ctx context.Context) (Erased, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.retain(ctx, maxErase)
}

// retain erases so many messages at a time. n.mu is held.
func (n *Node) retain(ctx context.Context, atOnce int) (Erased, error) {
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
	if err := n.readRetentionClock(); err != nil {
		return Erased{}, err
	}
	var out Erased
	for _, c := range n.open.inbox.Conversations() {
		k, err := n.retainGroup(ctx, &c, atOnce)
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

// retainGroup erases what of a conversation goes, and says how much that was.
func (n *Node) retainGroup(ctx context.Context, c *inbox.Conversation, atOnce int) (done int, err error) {
	r := n.retainedIn(c)
	defer func() {
		if done > 0 {
			n.events.publish(Event{Type: EventTransfer, Group: group.ID(c.ID).String()})
		}
	}()
	for _, last := range []bool{false, true} {
		if last {
			if err := n.settleOf(r); err != nil {
				return done, err
			}
		}
		for _, why := range []goneWhy{goneOrdered, goneRetention} {
			for some := range slices.Chunk(r.going(last, why), atOnce) {
				if err := n.eraseItems(ctx, some, why); err != nil {
					return done, err
				}
				done += len(some)
			}
		}
	}
	return done, nil
}

// going are the messages that go for a reason, in order: those that go last, or those before.
func (r *retained) going(last bool, why goneWhy) (out []inbox.Item) {
	for _, it := range r.items {
		because := goneOrdered
		if r.aged(it) {
			because = goneRetention
		}
		if r.goes[it.ID] && framing(it.Message.Kind()) == last && because == why {
			out = append(out, *it)
		}
	}
	return out
}

// settleOf notes what an incident was, if messages that say so are about to go.
func (n *Node) settleOf(r *retained) error {
	says := func(it *inbox.Item) bool { return r.goes[it.ID] && it.Message.Kind() == message.KindIncident }
	if !slices.ContainsFunc(r.items, says) || !r.tracker.incident.Over() {
		return nil
	}
	return n.settleIncident(r.tracker.group, &settled{mode: r.tracker.incident.Mode, state: r.tracker.incident.State, at: r.begins, elapsed: r.from})
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
	return n.retainedIn(&c).view(), nil
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
		v.Due = r.now.Add(r.from + r.policy.span() - r.elapsed)
	}
	keep := func(format string, args ...any) { v.Kept = append(v.Kept, fmt.Sprintf(format, args...)) }
	if r.held {
		keep("A hold is in force: nothing is erased until it is ended.")
	}
	if r.ends && r.begins.IsZero() {
		keep("The incident is not over: its time begins when it is stood down or cancelled.")
	}
	if r.coming {
		keep("Content of messages is still to come, and a hold may be among it: orders of others, and an exercise, wait up to %d days longer.", comingWait/(24*time.Hour))
	}
	if r.policy.never {
		keep("They stay until they are erased by hand or by an order.")
	}
	if v.Untransferred > 0 {
		keep("%d do not stand in the record: nothing is erased before that.", v.Untransferred)
	}
	if n := r.tracker.n; n.cfg.Record != nil && !n.stands(n.cfg.Record.URL) {
		keep("%s.", loopbackWords)
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
