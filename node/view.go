package node

import (
	"context"
	"fmt"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// Status returns what the node says of itself.
func (n *Node) Status() Status {
	now := n.cfg.Clock.Now()
	c := n.cred
	s := Status{
		Version: n.cfg.Version, Mesh: n.trust.Bundle().Name(), MeshID: n.trust.MeshID().String(),
		Name: c.Claims.Name, Person: c.Person.String(), Org: c.Person.Org, Device: c.Device,
		PeerID: c.Peer.String(), Log: n.selfLog().String(), Relay: c.Claims.Relay,
		Online: n.online.Load(), Addrs: n.mesh.Addrs(), Peers: len(n.mesh.Peers()),
		Started: n.start, CredentialNotAfter: c.NotAfter, TicketNotAfter: n.ticketNotAfter(),
		Standing:   standingOf(n.trust.Standing(c, now)),
		Revocation: revocationAges(n.trust.RevocationAge(now)), Declared: declaredOf(n.trust.Declared(now)),
		BundleNumber: uint32(n.trust.Bundle().Number()), IdleLockSeconds: int(max(n.cfg.IdleLock, 0) / time.Second),
	}
	s.StatWaiting = n.knocks.waiting()
	s.Refused, s.Attachments = n.mesh.Stats().Refused, n.attached.status()
	s.Spoilers = n.Spoilers()
	s.Forks, s.LowBandwidth = len(n.logs.Forks()), n.Thrift()
	for _, h := range n.logs.Frontier() {
		s.Logs++
		s.Entries += h.Next
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s.Locked = n.open == nil
	if n.open != nil {
		s.Waiting = n.open.waiting
		s.Exercises = n.open.inbox.Exercises()
		s.Transfer = n.transferCounts()
	}
	s.LeaseEnded = n.lease.ended && !s.TicketNotAfter.IsZero()
	if n.wipe != nil {
		s.Wiped, s.WipedAt = true, time.Unix(n.wipe.at, 0).UTC()
	}
	if n.cfg.Vault != nil && n.wipe == nil {
		pin := n.cfg.Vault.PIN(now)
		s.HasPIN, s.PINReady, s.PINAttempts = pin.Set, s.Locked && pin.Usable, pin.Left
	}
	s.Problem = n.problem(now)
	return s
}

// problem is one sentence for what keeps this device from doing its work. n.mu
// is held.
func (n *Node) problem(now time.Time) string {
	if n.wipe != nil {
		return ErrWiped.Error()
	}
	err := n.clockProblem()
	if n.open != nil {
		err = n.unwritable()
	}
	if err != nil {
		return err.Error()
	}
	standing := n.trust.Standing(n.cred, now)
	if s := standingOf(standing); !s.good() && standing.State != identity.StandingExpired {
		return "Neighbours refuse this device: " + s.Words + " Ask your authority."
	}
	if standing.State == identity.StandingExpired {
		return fmt.Sprintf("This device's credential ran out on %s, so neighbours refuse it: ask your authority or a registrar for a new one (`tocsin enrol --request`).",
			n.cred.NotAfter.Format("2 January 2006 15:04 MST"))
	}
	if n.open == nil && now.After(n.ticketNotAfter()) {
		return "This device has not been unlocked for more than 7 days, so neighbours refuse it: unlock it with its passphrase."
	}
	if s := n.storeProblem(); s != "" {
		return s
	}
	if n.open != nil && n.open.restErr != nil {
		return fmt.Sprintf("A message to a large group has not left for all of its members; it is tried again with each message and each hour: %v.", n.open.restErr)
	}
	return ""
}

// clockSlack is how far this device's clock may lie before an authority's
// signed time: small steps happen, a day is a wrong clock.
const clockSlack = 5 * time.Minute

// clockProblem refuses to sign while this device's clock is earlier than a time
// that an authority signed: an entry dated so would mislead its readers, and
// the record (protocol §1, §3).
func (n *Node) clockProblem() error {
	floor := n.cred.NotBefore
	for _, t := range []time.Time{n.trust.Bundle().Created(), n.trust.Floor()} {
		if t.After(floor) {
			floor = t
		}
	}
	now := n.cfg.Clock.Now()
	if now.Add(clockSlack).Before(floor) {
		return invalid("this device's clock says %s, which is before %s, a time that an authority signed: set the clock, then try again",
			now.UTC().Format("2 January 2006 15:04"), floor.UTC().Format("2 January 2006 15:04 MST"))
	}
	return nil
}

// nameOf is the name of the person behind a log, empty where it is not known.
func (n *Node) nameOf(log identity.LogID) string {
	c := n.people.credential(log.Author)
	if c == nil {
		return ""
	}
	return c.Claims.Name
}

// authorOf is the person behind a log as the inbox shows them. n.mu is held.
func (n *Node) authorOf(log identity.LogID, witnessed time.Time) inbox.Author {
	a := inbox.Author{Log: log.String()}
	if n.open != nil {
		if now := n.open.keyring.Newest(log); now != log {
			a.Now = now.String()
		}
	}
	c := n.people.credential(log.Author)
	if c == nil {
		return a
	}
	a.Person, a.Name, a.Org = c.Person.String(), c.Claims.Name, c.Person.Org
	if len(c.Claims.Roles) > 0 {
		a.Role = c.Claims.Roles[0]
	}
	a.Badge = badgeOf(c, n.trust.Standing(c, n.cfg.Clock.Now()))
	a.Verified = n.verifiedWhen(c, witnessed)
	return a
}

// verifiedWhen reports whether a credential counted when a message was
// witnessed. A later revocation voids nothing that was said before.
func (n *Node) verifiedWhen(c *identity.Credential, witnessed time.Time) bool {
	s := n.trust.Standing(c, witnessed)
	if s.State == identity.StandingRevoked || s.State == identity.StandingWiped {
		return s.Since.After(witnessed) && c.ValidAt(witnessed) == nil
	}
	return standingOf(s).good()
}

// refreshInbox shows every author as trust has them now. n.mu is held and the
// device is unlocked.
func (n *Node) refreshInbox() {
	earlier, places := n.open.inbox, n.open.places
	n.open.inbox = n.newInbox()
	for _, v := range n.open.keyring.Groups() {
		n.showGroup(v.ID)
	}
	if err := n.loadMessages(); err != nil {
		n.log.Error("badges are shown as they were until the next unlock", "err", err)
		n.open.inbox, n.open.places = earlier, places
	}
	n.due.addAll() // what was said a moment ago, and is not drained yet
}

// showGroup brings the inbox's idea of a group up to date. n.mu is held.
func (n *Node) showGroup(id group.ID) {
	v, ok := n.open.keyring.Group(id)
	if !ok {
		return
	}
	members := make([]inbox.Author, 0, len(v.Members))
	for _, m := range v.Members {
		a := n.authorOf(m.Device, n.cfg.Clock.Now())
		a.Admin = m.Role == group.RoleAdmin
		members = append(members, a)
	}
	n.open.inbox.SetGroup(inbox.Group{ID: inbox.GroupID(id), Kind: v.Kind.String(), Name: v.Name, Members: members, Ran: n.ran(&v)})
}

// applyToInbox shows an opened message and says what changed. n.mu is held.
func (n *Node) applyToInbox(o opened) inbox.Change {
	received := time.UnixMilli(o.rec.received)
	if o.rec.as != o.rec.id {
		n.open.split[o.rec.as] = o.rec.id
	}
	if a, ok := o.msg.Content.(*message.Attachment); ok {
		n.attached.learn(o.rec.as, o.rec.group, a)
	}
	reason := o.rec.reason()
	if o.rec.flags.has(flagBroadcast) {
		n.showBroadcasts()
	}
	change := n.open.inbox.Apply(inbox.Item{
		ID: inbox.EntryID(o.rec.as), Group: inbox.GroupID(o.rec.group), HLC: n.placedBy(o), Seq: o.seq, First: o.rec.first,
		From: n.authorOf(o.log, received), Message: o.msg, Sent: o.msg.Sent, Received: received,
		Priority: o.rec.priority.String(), Own: n.mine(o.log), Provable: o.rec.flags.has(flagProvable),
		Removed: o.rec.flags.has(flagRemoved), Broadcast: o.rec.flags.has(flagBroadcast), Reason: reason, HandedOver: o.rec.by,
		Forked: n.beyondFork(o.log, o.seq), AfterClosing: n.afterClosing(o.log, o.seq),
	})
	if o.msg.Shown() {
		n.applyLate(o)
	}
	if change.Board || len(change.Delivery) > 0 { // an acknowledgement ends an alert
		n.escalateSoon()
	}
	return change
}

// Conversations returns all groups of this device, the most recent first.
func (n *Node) Conversations() ([]inbox.Conversation, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return nil, n.lockedError()
	}
	return n.open.inbox.Conversations(), nil
}

// Messages returns at most limit messages of a group from position after on,
// in the order they are shown; a negative after counts from the end.
func (n *Node) Messages(groupID string, after, limit int) ([]inbox.Item, error) {
	id, err := parseGroupID(groupID)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return nil, n.lockedError()
	}
	if _, err := n.conversation(id); err != nil {
		return nil, err
	}
	items := n.open.inbox.Messages(inbox.GroupID(id), after, limit)
	n.open.inbox.Vacancies(items, n.cfg.Clock.Now())
	n.countCarriers(items)
	n.attached.fill(items)
	return items, nil
}

func (n *Node) conversation(id group.ID) (inbox.Conversation, error) {
	c, ok := n.open.inbox.Conversation(inbox.GroupID(id))
	if !ok {
		return c, noGroup(id)
	}
	return c, nil
}

// LogEntries returns the headers of at most limit entries of one log, for
// people to look at. It works while locked.
func (n *Node) LogEntries(ctx context.Context, log string, from uint64, limit int) ([]EntryInfo, error) {
	id, err := identity.ParseLogID(log)
	if err != nil {
		return nil, invalid("%v", err)
	}
	head, ok := n.logs.Head(id)
	if !ok {
		return nil, fmt.Errorf("%w: no log %s here", ErrNotFound, log)
	}
	if limit <= 0 || from >= head.Next {
		return nil, nil
	}
	to := min(head.Next, from+uint64(limit))
	name := n.nameOf(id)
	var out []EntryInfo
	err = n.logs.Entries(ctx, id, from, to, func(e *ledger.Entry) error {
		out = append(out, entryInfo(e, name))
		return nil
	})
	return out, err
}

// Logs returns every log that this device holds.
func (n *Node) Logs() ([]LogInfo, error) {
	var out []LogInfo
	for _, h := range n.logs.Frontier() {
		out = append(out, LogInfo{
			Log: h.Log.String(), Author: n.nameOf(h.Log),
			Entries: h.Next, Head: h.ID.String(), Own: h.Log == n.selfLog(),
		})
	}
	return out, nil
}

// Metrics returns the counters since start.
func (n *Node) Metrics() Metrics {
	n.countMu.Lock()
	m := n.counters
	n.countMu.Unlock()
	m.Mesh = n.mesh.Stats()
	m.Carried = n.carry.bytes()
	for _, h := range n.logs.Frontier() {
		m.Logs++
		m.Entries += h.Next
	}
	return m
}
