package node

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tocsin/crypto/identity"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// makeIncident makes an incident's group of nodes, the first of which runs it.
func makeIncident(t *testing.T, nodes ...*Node) string {
	t.Helper()
	spec := GroupSpec{Kind: "incident", Name: "Flood"}
	for _, n := range nodes[1:] {
		spec.Members = append(spec.Members, n.cred.Claims.Name)
	}
	c, err := nodes[0].CreateGroup(t.Context(), spec)
	check(t, err)
	g := hex.EncodeToString(c.ID[:])
	inGroup(t, g, nodes...)
	return g
}

// declaration signs one of an authority, or its end.
func (w *world) declaration(t *testing.T, number uint64, declared bool) []byte {
	t.Helper()
	at := time.Now().Add(time.Duration(number) * time.Second) // the time of a declaration rises by whole seconds
	d := identity.Declaration{Number: number, Time: at, Declared: declared, Name: "Flood"}
	if declared {
		d.Until = d.Time.Add(7 * 24 * time.Hour)
	}
	raw, err := w.authorities[orgHospital].Declare(w.bundle.MeshID(), d)
	check(t, err)
	return raw
}

// TestIncidentSwitchesGrace: a declared incident that carries the declaration of the authority switches the grace rules on at every
// member's device, and its end switches them off. Nobody's message does so alone, and whatever is not in order changes nothing.
func TestIncidentSwitchesGrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amara Okafor", orgHospital).start(t)
	b := w.enrol("Ben Carter", orgHospital).start(t, knows(a))
	ready(t, 1, a, b)
	g := makeIncident(t, a, b)
	on, off := w.declaration(t, 1, true), w.declaration(t, 2, false)
	forged := slices.Clone(on)
	forged[len(forged)-1] ^= 1
	incident := func(state message.IncidentState, statement []byte) *message.Incident {
		return &message.Incident{Name: "Flood", Mode: message.Live, State: state, Statement: statement}
	}
	for name, c := range map[string]struct {
		by   *Node
		say  *message.Incident
		want string
	}{
		"by who does not run the group": {b, incident(message.IncidentDeclared, on), "runs"},
		"forged":                        {a, incident(message.IncidentDeclared, forged), "refused"},
		"no statement at all":           {a, incident(message.IncidentDeclared, []byte("x")), "refused"},
		"a revocation":                  {a, incident(message.IncidentDeclared, w.revoke(9, orgHospital)), "no declaration"},
		"the end, at the beginning":     {a, incident(message.IncidentDeclared, off), "stood down"},
		"on standby":                    {a, incident(message.IncidentStandby, on), "standby"},
		"of another incident":           {a, &message.Incident{Name: "Fire", Mode: message.Live, State: message.IncidentDeclared, Statement: on}, "is about the incident"},
		"in an exercise":                {a, &message.Incident{Name: "Flood", Mode: message.Exercise, State: message.IncidentDeclared, Statement: on}, "exercise"},
	} {
		if _, err := c.by.Send(t.Context(), g, message.Message{Content: c.say}, "urgent"); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if d := c.by.Status().Declared; len(d) != 0 {
			t.Fatalf("%s: trust has changed: %+v", name, d)
		}
	}
	// The device is locked in the moment in which the message is about to go.
	locks := whileMeeting{t.Context(), new(sync.Once), func() { check(t, a.Lock()) }}
	if _, err := a.Send(locks, g, message.Message{Content: incident(message.IncidentDeclared, on)}, "urgent"); !errors.Is(err, ErrLocked) {
		t.Fatalf("said by a locked device: %v", err)
	}
	check(t, a.Unlock(t.Context(), []byte(passphrase)))
	if d := a.Status().Declared; len(d) != 0 || boardOf(t, a, g).Incident != nil {
		t.Fatalf("trust has changed by a message that was never said: %+v", d)
	}
	declared := func(n *Node) bool { return len(n.Status().Declared) == 1 }
	tell(t, a, g, incident(message.IncidentStandby, nil), "urgent")
	tell(t, a, g, incident(message.IncidentDeclared, on), "urgent")
	for _, n := range []*Node{a, b} {
		eventually(t, "the grace is in force, and the board says so", func() bool {
			board := boardOf(t, n, g)
			return declared(n) && board.Incident != nil && board.Incident.State == message.IncidentDeclared && board.Grace != nil && board.Grace.Incident == "Flood"
		})
	}
	// Badges are drawn anew once trust has changed; what was said a moment before comes back with the next turn of the drain.
	eventually(t, "the incident is stood down", func() bool {
		_, err := a.Send(t.Context(), g, message.Message{Content: incident(message.IncidentStoodDown, off)}, "urgent")
		return err == nil
	})
	for _, n := range []*Node{a, b} {
		eventually(t, "the grace is over", func() bool {
			board := boardOf(t, n, g)
			return !declared(n) && board.Incident != nil && board.Incident.Over() && board.Grace == nil
		})
	}
}

// TestIncidentAloneChangesNoTrust: any clinician can make an incident's group, so that its messages alone count for nothing beyond it.
func TestIncidentAloneChangesNoTrust(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amara Okafor", orgHospital).start(t)
	g := makeIncident(t, a)
	tell(t, a, g, &message.Incident{Name: "Flood", Mode: message.Live, State: message.IncidentDeclared}, "urgent")
	if board := boardOf(t, a, g); len(a.Status().Declared) != 0 || board.Grace != nil || board.Incident == nil {
		t.Error("a message without a declaration changed trust")
	}
}

// exercising makes two devices and an exercise that is declared on both.
func exercising(t *testing.T) (a, b *Node, g string) {
	t.Helper()
	w := newWorld(t)
	a = w.enrol("Amara Okafor", orgHospital).start(t)
	b = w.enrol("Ben Carter", orgHospital).start(t, knows(a))
	ready(t, 1, a, b)
	g = makeIncident(t, a, b)
	tell(t, a, g, &message.Incident{Name: "Flood", Mode: message.Exercise, State: message.IncidentDeclared}, "urgent")
	eventually(t, "it is declared", func() bool { i := boardOf(t, b, g).Incident; return i != nil && i.Exercise() })
	return a, b, g
}

// TestIncidentOutlivesWhoMadeIt: the incident stays what it was when its maker leaves the group to others.
func TestIncidentOutlivesWhoMadeIt(t *testing.T) {
	t.Parallel()
	a, b, g := exercising(t)
	check(t, a.SetRole(t.Context(), g, "Ben Carter", "admin"))
	check(t, a.LeaveGroup(t.Context(), g))
	eventually(t, "the maker has left", func() bool {
		members, err := b.Roster(g)
		check(t, err)
		return len(members) == 1
	})
	board := boardOf(t, b, g)
	if board.Incident == nil || !board.Exercise || board.Incident.State != message.IncidentDeclared || b.Status().Exercises != 1 {
		t.Errorf("after its maker left the incident is %+v", board.Incident)
	}
	check(t, b.Lock())
	check(t, b.Unlock(t.Context(), []byte(passphrase)))
	if board := boardOf(t, b, g); board.Incident == nil || !board.Exercise {
		t.Error("after an unlock the exercise is none")
	}
	tell(t, b, g, &message.Incident{Name: "Flood", Mode: message.Exercise, State: message.IncidentStoodDown}, "urgent")
	if b.Status().Exercises != 0 {
		t.Error("an exercise that is over is counted")
	}
	all, err := b.Messages(g, 0, 0)
	check(t, err)
	if _, err := b.EraseMessages(t.Context(), token(t, b), g, hex.EncodeToString(all[0].ID[:])); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "not erased by hand") {
		t.Errorf("erasing what makes it an exercise: %v", err)
	}
}

// TestRoleIsCalled: who holds the role is told, who takes it over before it was read is told as well, and what is addressed to a role that
// nobody holds says so.
func TestRoleIsCalled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amara Okafor", orgHospital).start(t)
	b := w.enrol("Ben Carter", orgHospital).start(t, knows(a))
	c := w.enrol("Carla Diaz", orgHospital).start(t, knows(a))
	ready(t, 2, a, b, c)
	g := makeIncident(t, a, b, c)
	tell(t, a, g, &message.Incident{Name: "Flood", Mode: message.Exercise, State: message.IncidentDeclared}, "urgent")
	role := func(n *Node, r *message.Role) {
		r.Role = "medical-registrar"
		tell(t, n, g, r, "urgent")
	}
	toRole := func(text string) Sent {
		s, err := a.Send(t.Context(), g, message.Message{Content: &message.Text{Body: text}, For: []string{"role:medical-registrar"}}, "stat")
		check(t, err)
		return s
	}
	first := toRole("Who is on call?")
	if !slices.Equal(first.Nobody, []string{"medical registrar"}) {
		t.Errorf("a role that nobody holds: %v", first.Nobody)
	}
	until := time.Now().Add(8 * time.Hour)
	heard := listening(t, b, c)
	role(b, &message.Role{Action: message.RoleTake, Until: until})
	heard.says(t, b, first.ID) // told again, because it was not read before
	eventually(t, "the role is held", func() bool { return len(boardOf(t, a, g).Duties) == 1 })
	second := toRole("Please see bed 4")
	if len(second.Nobody) != 0 {
		t.Errorf("a role that is held: %v", second.Nobody)
	}
	heard.says(t, b, second.ID)
	// Ben hands over before he has read it.
	role(b, &message.Role{Action: message.RoleHandOver, To: message.PersonAddress(c.cred.Person.String())})
	eventually(t, "it was handed over", func() bool {
		d := boardOf(t, c, g).Duties
		return len(d) == 1 && d[0].Offered == c.cred.Person.String()
	})
	role(c, &message.Role{Action: message.RoleTake, Until: until})
	heard.says(t, c, second.ID)
	eventually(t, "everybody sees who has it", func() bool {
		it, err := a.message(second.ID)
		check(t, err)
		return len(it.For) == 1 && len(it.For[0].Holders) == 2 && !it.For[0].Vacant
	})
	role(c, &message.Role{Action: message.RoleRelease})
	eventually(t, "nobody is on call", func() bool {
		all, err := a.Messages(g, 0, 0)
		check(t, err)
		i := slices.IndexFunc(all, func(it inbox.Item) bool { return hex.EncodeToString(it.ID[:]) == second.ID })
		return all[i].For[0].Vacant && len(all[i].For[0].Holders) == 2
	})
}

// heard are events that say that a message is for the reader.
type heard map[*Node]<-chan Event

func listening(t *testing.T, nodes ...*Node) heard {
	h := make(heard)
	for _, n := range nodes {
		h[n] = n.Subscribe(t.Context())
	}
	return h
}

// says waits until a node has said that a message is for its reader: of an exercise, and stat.
func (h heard) says(t *testing.T, n *Node, id string) {
	t.Helper()
	for {
		select {
		case e := <-h[n]:
			if e.ID != id || !e.ForMe {
				continue
			}
			if !e.Exercise || e.Priority != "stat" || e.Type != EventMessage {
				t.Errorf("the event %+v", e)
			}
			return
		case <-t.Context().Done():
			t.Fatal("nobody was told")
		case <-time.After(patience):
			t.Fatalf("%s was not told of the message", n.cred.Claims.Name)
		}
	}
}

func TestCardsOfWhatIsToBeDone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amara Okafor", orgHospital).start(t)
	g := makeIncident(t, a)
	text := "role: all\ntitle: Everybody\n- Wear your badge\n\nrole: medical-registrar\ntitle: Medical registrar on call\nwhen: A major incident is declared\n- Go to the emergency department\n- Report to the consultant\n"
	if err := a.SetCards([]byte(text + "role: All\n")); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "line 10 of the cards") {
		t.Errorf("a broken card: %v", err)
	}
	check(t, a.SetCards([]byte(text)))
	roles := func() (out []string) {
		for _, c := range boardOf(t, a, g).Cards {
			out = append(out, c.Role)
		}
		return out
	}
	if got := roles(); got != nil {
		t.Errorf("before anything happened there is to do: %v", got)
	}
	tell(t, a, g, &message.Role{Role: "medical-registrar", Action: message.RoleTake, Until: time.Now().Add(time.Hour)}, "routine")
	if got := roles(); !slices.Equal(got, []string{"medical-registrar"}) {
		t.Errorf("with the role: %v", got)
	}
	tell(t, a, g, &message.Incident{Name: "Flood", Mode: message.Live, State: message.IncidentDeclared}, "urgent")
	if got := roles(); !slices.Equal(got, []string{"all", "medical-registrar"}) {
		t.Errorf("in the incident: %v", got)
	}
	check(t, a.Lock())
	if _, err := a.Cards(); !errors.Is(err, ErrLocked) {
		t.Errorf("while locked: %v", err)
	}
	check(t, a.Unlock(t.Context(), []byte(passphrase)))
	if cards, err := a.Cards(); err != nil || len(cards) != 2 || cards[1].Steps[1] != "Report to the consultant" {
		t.Errorf("after an unlock %v, %v", cards, err)
	}
	check(t, a.SetCards(nil))
	if cards, err := a.Cards(); err != nil || len(cards) != 0 {
		t.Errorf("taken away: %v, %v", cards, err)
	}
}

// TestDecisionIsCompleted: the node names the loggist and the entry before, and no entry leaves the log by hand.
func TestDecisionIsCompleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amara Okafor", orgHospital).start(t)
	b := w.enrol("Ben Carter", orgHospital).start(t, knows(a))
	ready(t, 1, a, b)
	g := makeIncident(t, a, b)
	amara, ben := message.PersonAddress(a.cred.Person.String()), message.PersonAddress(b.cred.Person.String())
	decide := func(n *Node, change func(*message.Decision)) (Sent, error) {
		d := &message.Decision{Decision: "Divert", Rationale: "r", Decider: amara, Options: []string{"x"}, At: time.Now().Add(-time.Minute)}
		change(d)
		return n.Send(t.Context(), g, message.Message{Content: d}, "routine")
	}
	first, err := decide(a, func(*message.Decision) {})
	check(t, err)
	eventually(t, "the entry is there", func() bool { return len(boardOf(t, b, g).Decisions) == 1 })
	second, err := decide(b, func(d *message.Decision) { d.After = message.EntryID{7} }) // a form cannot say otherwise
	check(t, err)
	for _, n := range []*Node{a, b} {
		eventually(t, "both entries are there", func() bool { return len(boardOf(t, n, g).Decisions) == 2 })
		log := boardOf(t, n, g).Decisions
		if log[0].Content.Loggist != "" || log[1].Content.Loggist != ben || log[1].Content.After != entryOf(t, first) || log[1].After != 1 || len(log[1].Problems) != 0 {
			t.Errorf("the log says loggist %q, after %d, %q", log[1].Content.Loggist, log[1].After, log[1].Problems)
		}
	}
	for what, change := range map[string]func(*message.Decision){
		"by another loggist": func(d *message.Decision) { d.Loggist = amara },
		"of tomorrow":        func(d *message.Decision) { d.At = time.Now().Add(24 * time.Hour) },
	} {
		if _, err := decide(b, change); !errors.Is(err, ErrInvalid) {
			t.Errorf("an entry %s: %v", what, err)
		}
	}
	if _, err := b.EraseMessages(t.Context(), token(t, b), g, second.ID); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "decision log") {
		t.Errorf("an entry was erased by hand: %v", err)
	}
	if _, err := b.Send(t.Context(), g, message.Message{Content: &message.Retract{Entry: entryOf(t, second), Reason: "r"}}, "routine"); !errors.Is(err, ErrInvalid) {
		t.Errorf("an entry was retracted: %v", err)
	}
	events, err := b.Timeline(g, false)
	check(t, err)
	if len(events) != 2 || !events[0].At.Before(events[0].Entered) {
		t.Errorf("the timeline has %d events", len(events))
	}
}

// whileMeeting calls once, when the device that sends waits for the comparison of logs, which comes after all that is known before the lock.
type whileMeeting struct {
	context.Context
	once *sync.Once
	call func()
}

func (m whileMeeting) Done() <-chan struct{} {
	m.once.Do(m.call)
	return m.Context.Done()
}

// TestDecisionFollowsTheLast: an entry of the decision log names the one before it as it is when it is sealed, not as it was when its writer
// pressed the key: what came in between is not "not known to its device".
func TestDecisionFollowsTheLast(t *testing.T) {
	t.Parallel()
	a, b, g := exercising(t)
	decision := func(by *Node, what string) *message.Decision {
		return &message.Decision{Decision: what, Rationale: "The road is flooded", Options: []string{"Do nothing"}, At: time.Now(), Decider: message.PersonAddress(by.cred.Person.String())}
	}
	id, err := parseGroupID(g)
	check(t, err)
	last := func() (id2 string) {
		check(t, a.reads(func(in *inbox.Inbox) error {
			entry := in.LastDecision(inbox.GroupID(id))
			id2 = hex.EncodeToString(entry[:])
			return nil
		}))
		return id2
	}
	var between Sent
	ctx := whileMeeting{t.Context(), new(sync.Once), func() {
		s, err := b.Send(t.Context(), g, message.Message{Content: decision(b, "Close the north gate")}, "urgent")
		check(t, err)
		between = s
		eventually(t, "it came in between", func() bool { return last() == s.ID })
	}}
	s, err := a.Send(ctx, g, message.Message{Content: decision(a, "Move bay 2")}, "urgent")
	check(t, err)
	it, err := a.message(s.ID)
	check(t, err)
	after := it.Message.Content.(*message.Decision).After
	if got := hex.EncodeToString(after[:]); between.ID == "" || got != between.ID {
		t.Errorf("it follows %s, want %s", got, between.ID)
	}
}
