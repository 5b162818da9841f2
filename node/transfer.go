package node

// The way of messages into the record, top to bottom:
//
//	TransferQueue, TransferMessages   what is not yet in the record
//	Attribute, SignOff                a clinician looks, says which patient, and signs (transferreview.go)
//	ExportRecord                      everything of a conversation, to a file (transferexport.go)
//	SendRecord → transferLoop         what was signed off, to an endpoint; receipts first to the journal, then to the group (transfersend.go)
//	retain                            what stands in the record and has had its time is erased (retention.go)
//
// Nothing but a receipt moves a message to "transferred": one of this device's
// journal, or a member's signed message that says so.

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
	"tocsin/node/record"
)

// RecordEndpoint is where the record is kept.
type RecordEndpoint struct {
	// URL is the base of a FHIR R4 endpoint: https, or http on this machine itself.
	URL string
	// HTTP does the requests; record.NewHTTP makes one, with mutual TLS where that is asked for.
	HTTP *http.Client
	// Token returns the bearer token before each request; nil for none. record.TokenFile makes one.
	Token func() (string, error)
	// Batch is the most resources of one transaction; 0 is record.DefaultBatch.
	Batch int
	// AllowLoopback: a record on this machine itself (by its URL) counts as one, so that what it took may be erased, on other devices that say the same
	// too. Without it such a record is for rehearsals: it takes messages, and releases none.
	AllowLoopback bool
}

// The states of a message on its way into the record.
const (
	TransferWaiting   = "waiting"     // nobody has looked at it
	TransferReviewed  = "reviewed"    // a clinician has said which patient it is about, or that it is about none
	TransferSignedOff = "signed-off"  // a clinician has signed that it goes to the record
	TransferSending   = "sending"     // an upload with it is under way
	TransferRefused   = "refused"     // the record does not take it
	TransferDone      = "transferred" // it stands in the record
	TransferExercise  = "exercise"    // it never goes there
)

// TransferCounts says how many messages are in which state. Exercises are in none.
type TransferCounts struct {
	Waiting     int `json:"waiting"`
	Reviewed    int `json:"reviewed"`
	SignedOff   int `json:"signed_off"`
	Sending     int `json:"sending"`
	Refused     int `json:"refused"`
	Transferred int `json:"transferred"`
}

func (c *TransferCounts) add(state string) {
	switch state {
	case TransferWaiting:
		c.Waiting++
	case TransferReviewed:
		c.Reviewed++
	case TransferSignedOff:
		c.SignedOff++
	case TransferSending:
		c.Sending++
	case TransferRefused:
		c.Refused++
	case TransferDone:
		c.Transferred++
	}
}

// Open is how many are not in the record yet.
func (c TransferCounts) Open() int {
	return c.Waiting + c.Reviewed + c.SignedOff + c.Sending + c.Refused
}

// TransferGroup is one conversation in the queue.
type TransferGroup struct {
	Group string `json:"group"`
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	// Mode is live or exercise, or unknown for an incident of which no message says so: that is not sent.
	Mode string `json:"mode"`
	// Contested: those who run it say both that it is live and that it is an exercise, and nobody has settled which.
	Contested bool `json:"contested,omitempty"`
	// State is where its incident stands; empty for none. Over: it has ended.
	State string `json:"state,omitempty"`
	Over  bool   `json:"over,omitempty"`
	TransferCounts
	// Exercise is how many messages never go to the record.
	Exercise int `json:"exercise,omitempty"`
	// Missing is how many messages others name that are not on this device. Unopened is how many entries of its members wait for their
	// content or their key, and may belong here.
	Missing  int `json:"missing,omitempty"`
	Unopened int `json:"unopened,omitempty"`
	// Forked is how many messages stand where their author's device signed two things at one place.
	Forked int `json:"forked,omitempty"`
	// Erased is how many messages were erased on this device before they stood in the record.
	Erased int `json:"erased,omitempty"`
	// Words is what there is to say of it, in one or two sentences.
	Words     string            `json:"words"`
	rehearsed bool              // what was taken stands in a record that does not count
	Progress  *TransferProgress `json:"progress,omitempty"`
}

// Patient is to whom a message is attributed.
type Patient struct {
	NHSNumber string `json:"nhs_number"`
	Traced    bool   `json:"traced"` // in the national service; a number that was typed off-line was not
	Family    string `json:"family,omitempty"`
	Given     string `json:"given,omitempty"`
	Born      string `json:"born,omitempty"` // 2006-01-02
	Words     string `json:"words,omitempty"`
}

// TransferItem is one message in the queue.
type TransferItem struct {
	ID       string    `json:"id"`
	Group    string    `json:"group"`
	Kind     string    `json:"kind"`
	Summary  string    `json:"summary"`
	From     string    `json:"from"` // display name
	Person   string    `json:"person"`
	Sent     time.Time `json:"sent"`     // author's clock
	Received time.Time `json:"received"` // this device's
	Priority string    `json:"priority"`
	Tag      string    `json:"tag,omitempty"` // of the casualty that it is about
	State    string    `json:"state"`

	Patient       *Patient  `json:"patient,omitempty"`
	ReviewedBy    string    `json:"reviewed_by,omitempty"`
	ReviewedAt    time.Time `json:"reviewed_at,omitzero"`
	Corrected     int       `json:"corrected,omitempty"` // how often it was attributed anew
	SignedOffBy   string    `json:"signed_off_by,omitempty"`
	SignedOffAt   time.Time `json:"signed_off_at,omitzero"`
	Refused       string    `json:"refused,omitempty"` // the endpoint's words; they go to no log
	Record        string    `json:"record,omitempty"`  // URL
	Location      string    `json:"location,omitempty"`
	TransferredAt time.Time `json:"transferred_at,omitzero"`
	TransferredBy string    `json:"transferred_by,omitempty"`
	// Notes are what a reviewer has to know: a clock that was wrong, a device that was cloned.
	Notes []string `json:"notes,omitempty"`
}

// TransferFilter chooses messages of the queue; every part that is set must hold.
type TransferFilter struct {
	State     string
	NHSNumber string
	Tag       string
	After     string // entry id: those that stand after it
	Limit     int    // 0 is no limit
}

// queued reports whether messages of a kind are reviewed and signed off. What devices say of others' messages, and what is said about keeping
// them, goes along.
func queued(k message.Kind) bool {
	switch k {
	case message.KindReceipt, message.KindTransferred, message.KindHold, message.KindHoldEnd, message.KindErase, message.KindDisclosed:
		return false
	}
	return true
}

// tracker tells the state of the messages of one conversation.
type tracker struct {
	n         *Node
	group     group.ID
	mode      string
	incident  inbox.Incident
	transfers map[inbox.EntryID]inbox.Transfer
	running   bool
}

// Modes of a conversation in the queue.
const modeUnknown = "unknown"

// track returns the tracker of a conversation. n.mu is held and the device is unlocked.
func (n *Node) track(c *inbox.Conversation) *tracker {
	t := &tracker{n: n, group: group.ID(c.ID), mode: string(message.Live), transfers: n.open.inbox.Transfers(c.ID), running: n.transfers.running(group.ID(c.ID))}
	inc, made := n.open.inbox.Incident(c.ID)
	switch {
	case made:
		t.mode, t.incident = string(inc.Mode), inc
	case c.Kind == group.KindIncident.String():
		t.mode = modeUnknown
	}
	if inc.Contested {
		t.mode = modeUnknown
	}
	return t
}

// transferred reports whether a message stands in a record that counts, as far as this device knows, so that it may be erased.
func (t *tracker) transferred(id ledger.ID) bool { return t.proved(id) || t.claimed(id) }

// proved reports whether this device has a receipt for a message from a record that counts.
func (t *tracker) proved(id ledger.ID) bool {
	r := t.receipt(id)
	return r != nil && t.n.stands(r.record)
}

// stands reports whether a record counts: one on this machine itself does only where the settings say so, because one for rehearsals is gone with its
// process, and what it took may not go on its word.
func (n *Node) stands(url string) bool {
	return !record.Loopback(url) || n.cfg.Record != nil && n.cfg.Record.AllowLoopback
}

// receipt is this device's own receipt for a message, from the record that is set now; nil for none. What another endpoint took, such as one for
// rehearsals, stands in no record.
func (t *tracker) receipt(id ledger.ID) *recorded {
	r := t.n.open.queue.recorded[id]
	if r == nil || t.n.cfg.Record != nil && r.record != t.n.cfg.Record.URL {
		return nil
	}
	return r
}

// claimed reports whether a member says that a message stands in the record: where this device has a record of its own, in that one. It is a signed word
// and no receipt: who has looked at the message here can sign it off and send it all the same, and the record will know it again.
func (t *tracker) claimed(id ledger.ID) bool {
	told, ok := t.transfers[inbox.EntryID(id)]
	return ok && t.n.stands(told.Record) && (t.n.cfg.Record == nil || told.Record == cutLine(t.n.cfg.Record.URL))
}

// state is where one message stands.
func (t *tracker) state(id ledger.ID) string {
	r := t.n.open.queue.reviews[id]
	switch {
	case t.receipt(id) != nil:
		return TransferDone
	case t.mode == string(message.Exercise):
		return TransferExercise
	case t.claimed(id) && !r.signedOff():
		return TransferDone
	case r == nil:
		return TransferWaiting
	case !r.signedOff():
		return TransferReviewed
	case r.refused != "":
		return TransferRefused
	case t.running:
		return TransferSending
	}
	return TransferSignedOff
}

// transferCounts counts all conversations. n.mu is held and the device is unlocked.
func (n *Node) transferCounts() *TransferCounts {
	var out TransferCounts
	for _, c := range n.open.inbox.Conversations() {
		t := n.track(&c)
		n.open.inbox.Each(c.ID, func(it *inbox.Item) {
			if queued(it.Message.Kind()) {
				out.add(t.state(ledger.ID(it.ID)))
			}
		})
	}
	return &out
}

// TransferQueue returns every conversation with what of it is not yet in the record: those with something to do first. Errors: [ErrLocked].
func (n *Node) TransferQueue() ([]TransferGroup, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return nil, n.lockedError()
	}
	unopened, err := n.unopenedByLog()
	if err != nil {
		return nil, err
	}
	var out []TransferGroup
	for _, c := range n.open.inbox.Conversations() {
		if c.Count > 0 {
			out = append(out, n.transferGroup(&c, unopened))
		}
	}
	slices.SortStableFunc(out, func(a, b TransferGroup) int { return cmp.Compare(min(b.Open(), 1), min(a.Open(), 1)) })
	return out, nil
}

func (n *Node) transferGroup(c *inbox.Conversation, unopened map[string]int) TransferGroup {
	t := n.track(c)
	g := TransferGroup{Group: t.group.String(), Name: c.Name, Kind: c.Kind, Mode: t.mode, Contested: t.incident.Contested, State: string(t.incident.State), Over: t.incident.Over(), Progress: n.transfers.progress(t.group)}
	named := make(map[message.EntryID]bool)
	n.open.inbox.Each(c.ID, func(it *inbox.Item) {
		for _, id := range pointersOf(it.Message) {
			named[id] = true
		}
		if it.Forked {
			g.Forked++
		}
		if !queued(it.Message.Kind()) {
			return
		}
		switch state := t.state(ledger.ID(it.ID)); state {
		case TransferExercise:
			g.Exercise++
		default:
			g.add(state)
		}
	})
	for id := range named {
		if !n.open.inbox.Knows(inbox.EntryID(id)) && n.open.queue.gone[ledger.ID(id)] == nil {
			if erased, err := n.wasErased(ledger.ID(id)); err == nil && !erased {
				g.Missing++
			}
		}
	}
	g.rehearsed = g.Transferred > 0 && n.cfg.Record != nil && !n.stands(n.cfg.Record.URL)
	for _, m := range c.Members {
		g.Unopened += unopened[m.Log]
	}
	for id, was := range n.open.queue.gone {
		if was.group == t.group && t.mode != string(message.Exercise) && !t.transferred(id) {
			g.Erased++
		}
	}
	g.Words = g.words()
	return g
}

// words says what there is to know of it.
func (g *TransferGroup) words() string {
	var out []string
	say := func(k int, one, many string) {
		if k == 1 {
			out = append(out, "1 "+one)
		} else if k > 1 {
			out = append(out, fmt.Sprintf("%d %s", k, many))
		}
	}
	switch {
	case g.Mode == string(message.Exercise):
		return "EXERCISE: it never goes to the record. An export to a file says so on every resource."
	case g.Contested:
		out = append(out, "Those who run the incident say both that it is live and that it is an exercise, so nothing of it can be sent, or goes by time: one of them settles which it is")
	case g.Mode == modeUnknown:
		out = append(out, "Whether it is live or an exercise has not arrived here, so nothing of it can be sent: synchronise with whoever runs the incident")
	}
	say(g.Waiting, "message waits for a clinician to look at it", "messages wait for a clinician to look at them")
	say(g.Reviewed, "is reviewed and not signed off", "are reviewed and not signed off")
	say(g.SignedOff, "is signed off and not sent", "are signed off and not sent")
	say(g.Sending, "is being sent", "are being sent")
	say(g.Refused, "is refused by the record: see why", "are refused by the record: see why")
	if g.rehearsed {
		out = append(out, loopbackWords)
	} else if g.Open() == 0 && g.Transferred > 0 {
		out = append(out, "Everything here stands in the record")
	}
	say(g.Missing, "message that others name is not here: synchronise before it is handed over", "messages that others name are not here: synchronise before it is handed over")
	say(g.Forked, "message is of a device that signed two things at one place", "messages are of devices that signed two things at one place")
	say(g.Erased, "message was erased here before it stood in the record", "messages were erased here before they stood in the record")
	if len(out) == 0 {
		return "Nothing to hand over."
	}
	return strings.Join(out, ". ") + "."
}

// loopbackWords say why what was sent releases nothing.
const loopbackWords = "The record that is set is on this machine itself and releases nothing: no message is erased because it stands there, and the group is not told, unless record.allow_loopback is set"

// pointersOf are the messages that one points at.
func pointersOf(m message.Message) (out []message.EntryID) {
	message.Redirect(m, func(id message.EntryID) message.EntryID {
		if id != (message.EntryID{}) {
			out = append(out, id)
		}
		return id
	})
	return out
}

// unopenedByLog counts entries whose content or key has not come, by log. n.mu is held and the device is unlocked.
func (n *Node) unopenedByLog() (map[string]int, error) {
	out := make(map[string]int)
	err := n.cfg.Vault.Scan(prefixAbsent, func(key string, _ []byte) error {
		log, _, err := parseMessageKey(prefixMessage + key[len(prefixAbsent):])
		if err == nil {
			out[log.String()]++
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, n.cfg.Vault.Scan(prefixWait, func(key string, _ []byte) error {
		_, log, _, err := parseWaitKey(key)
		if err == nil {
			out[log.String()]++
		}
		return err
	})
}

// TransferMessages returns the messages of a conversation that the filter chooses, in order. Errors: [ErrLocked], [ErrNotFound], [ErrInvalid].
func (n *Node) TransferMessages(groupID string, f TransferFilter) ([]TransferItem, error) {
	id, err := parseGroupID(groupID)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return nil, n.lockedError()
	}
	c, err := n.conversation(id)
	if err != nil {
		return nil, err
	}
	t := n.track(&c)
	out := []TransferItem{}
	skip := f.After != ""
	n.open.inbox.Each(c.ID, func(it *inbox.Item) {
		if skip {
			skip = hex.EncodeToString(it.ID[:]) != f.After
			return
		}
		if !queued(it.Message.Kind()) || f.Limit > 0 && len(out) >= f.Limit {
			return
		}
		if one := t.item(it); f.chooses(&one) {
			out = append(out, one)
		}
	})
	return out, nil
}

func (f *TransferFilter) chooses(it *TransferItem) bool {
	switch {
	case f.State != "" && it.State != f.State, f.Tag != "" && it.Tag != strings.ToUpper(f.Tag):
		return false
	case f.NHSNumber != "":
		return it.Patient != nil && it.Patient.NHSNumber == digitsOf(f.NHSNumber)
	}
	return true
}

// item describes one message of the queue.
func (t *tracker) item(it *inbox.Item) TransferItem {
	id := ledger.ID(it.ID)
	out := TransferItem{ID: id.String(), Group: t.group.String(), Kind: string(it.Message.Kind()), Summary: it.Message.Summary(), From: it.From.Name, Person: it.From.Person,
		Sent: it.Sent, Received: it.Received, Priority: it.Priority, Tag: casualtyTag(it.Message.Content), State: t.state(id), Notes: t.notes(it)}
	if r := t.n.open.queue.reviews[id]; r != nil {
		out.ReviewedBy, out.ReviewedAt, out.Corrected, out.SignedOffBy, out.SignedOffAt = r.by, r.at, int(r.corrected), r.signer, r.signed
		if out.Patient = patientView(r); out.State == TransferRefused {
			out.Refused = r.refused
		}
	}
	if told, ok := t.transfers[it.ID]; ok {
		out.Record, out.TransferredAt, out.TransferredBy = told.Record, told.At, told.By.Person
	}
	if r := t.n.open.queue.recorded[id]; r != nil {
		out.Record, out.Location, out.TransferredAt, out.TransferredBy = r.record, r.location, r.at, r.by
	}
	return out
}

func patientView(r *review) *Patient {
	if r.patient.NHSNumber == "" {
		return nil
	}
	p := &Patient{NHSNumber: r.patient.NHSNumber, Traced: r.patient.Traced, Family: r.patient.Family, Given: r.patient.Given, Born: r.patient.Born}
	p.Words = p.words()
	return p
}

// words are a patient as people read one.
func (p *Patient) words() string {
	number := p.NHSNumber
	if len(number) == 10 {
		number = number[:3] + " " + number[3:6] + " " + number[6:]
	}
	parts := []string{number, strings.TrimSpace(p.Given + " " + p.Family)}
	if p.Born != "" {
		parts = append(parts, "born "+p.Born)
	}
	if !p.Traced {
		parts = append(parts, "number not traced")
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", ")
}

func casualtyTag(c message.Content) string {
	switch c := c.(type) {
	case *message.Casualty:
		return c.Tag
	case *message.ATMIST:
		return c.Tag
	}
	return ""
}

// notes are what a reviewer has to know of a message beside what it says.
func (t *tracker) notes(it *inbox.Item) (out []string) {
	if it.Forked {
		out = append(out, "Its author's device, or a copy of it, signed two things at one place of its log: ask its author whether this is theirs.")
	}
	if it.AfterClosing {
		out = append(out, "It stands after the end that its device named when it went on in another log: ask its author whether this is theirs.")
	}
	if ahead := it.Sent.Sub(it.Received); ahead > clockSlack {
		out = append(out, fmt.Sprintf("Its author's clock was wrong: it says %s, which is after it came here.", it.Sent.UTC().Format("2 January 2006 15:04 MST")))
	}
	if !it.Provable {
		out = append(out, "Its author's device did not commit to what it says: it goes to the record without a proof.")
	}
	if it.Removed {
		out = append(out, "It was said after its author was removed from the group.")
	}
	if !it.From.Verified {
		out = append(out, "The credential of its author did not count when it came here.")
	}
	return out
}

// digitsOf is a number without the spaces and hyphens that people write, in the digits 0 to 9 whatever the keyboard's script is.
func digitsOf(s string) string {
	return strings.NewReplacer(" ", "", "-", "").Replace(message.FoldDigits(strings.TrimSpace(s)))
}

// reviewer is this device's person, if their credential counts now. n.mu is held.
func (n *Node) reviewer() (identity.Person, error) {
	if s := standingOf(n.trust.Standing(n.cred, n.cfg.Clock.Now())); !s.good() {
		return n.cred.Person, invalid("your credential does not count now, so that nothing can be signed: %s", s.Words)
	}
	return n.cred.Person, n.clockProblem()
}
