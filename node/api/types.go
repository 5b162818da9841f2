package api

import (
	"encoding/hex"
	"time"

	"tocsin/node"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// The bodies of requests and answers. Ids are lower-case hex, times RFC 3339 in UTC. Fields are only ever added.
type (
	// People answers GET /v1/people.
	People struct {
		People []node.Person `json:"people"`
	}

	// Groups answers GET /v1/groups, the most recent first.
	Groups struct {
		Groups []Group `json:"groups"`
	}
	// Group is one conversation.
	Group struct {
		ID      string   `json:"id"`
		Name    string   `json:"name"`
		Title   string   `json:"title"` // Name, or who the others are where there is none
		Kind    string   `json:"kind"`  // direct, team, incident or broadcast
		Members []Author `json:"members"`
		Count   int      `json:"count"`
		Unread  int      `json:"unread"`
		Last    *Last    `json:"last"` // null when nothing was said yet
		// Exercise: everything said there belongs to an exercise. Over: its incident was stood down or cancelled.
		Exercise bool `json:"exercise,omitempty"`
		Over     bool `json:"over,omitempty"`
	}
	// Last is the end of a conversation in one line.
	Last struct {
		From     Author    `json:"from"`
		Summary  string    `json:"summary"`
		Sent     time.Time `json:"sent"`
		Priority string    `json:"priority"`
		Own      bool      `json:"own"`
		State    string    `json:"state"`
		Exercise bool      `json:"exercise,omitempty"`
	}
	// Author is who wrote, or who is a member, as their credential says.
	Author struct {
		Log      string `json:"log"`
		Person   string `json:"person,omitempty"` // org/regulator/number
		Name     string `json:"name"`
		Org      string `json:"org"`
		Role     string `json:"role"`
		Verified bool   `json:"verified"`
		Badge    string `json:"badge,omitempty"` // one of inbox's: how they came to be trusted, or that they no longer are
	}

	// Messages answers GET /v1/groups/{id}/messages in the order they are shown.
	Messages struct {
		Messages []Message `json:"messages"`
		First    int       `json:"first"` // position of the first message of this answer
		Total    int       `json:"total"` // messages in the conversation
	}
	// Message is one message of a conversation.
	Message struct {
		ID         string    `json:"id"`
		Log        string    `json:"log"`
		Seq        uint64    `json:"seq"`
		From       Author    `json:"from"`
		Kind       string    `json:"kind"`
		Text       string    `json:"text"`               // for other kinds than text: what a reader is told instead
		ReplyTo    string    `json:"reply_to,omitempty"` // id of the message that this one answers
		Sent       time.Time `json:"sent"`               // the sender's clock
		Received   time.Time `json:"received"`           // ours
		Priority   string    `json:"priority"`
		Own        bool      `json:"own"`
		Provable   bool      `json:"provable"`
		Unread     bool      `json:"unread"`
		State      string    `json:"state"` // saved, delivered or read
		StateWords string    `json:"state_words"`
		Delivered  int       `json:"delivered"` // recipients' devices with a signed receipt
		Read       int       `json:"read"`      // of them, those that say it was read
		Recipients int       `json:"recipients"`
		Removed    bool      `json:"removed,omitempty"`     // said after its author was removed: kept and flagged
		Broadcast  bool      `json:"broadcast,omitempty"`   // sent to everybody admitted
		Reason     string    `json:"reason,omitempty"`      // of a broadcast
		HandedOver string    `json:"handed_over,omitempty"` // who handed it over later
		Attachment *Attached `json:"attachment,omitempty"`  // of a message that is one
		// AfterClosing: its device went on in another log and did not hold this place then: lost in a restore, or written by a copy of it.
		AfterClosing bool `json:"after_closing,omitempty"`
		Forked       bool `json:"forked,omitempty"` // its device signed two different entries at this place of its log, or before it
		// Acknowledged is how many recipients have said that they took note; Retracted why its author withdrew the message; ReplacedBy
		// the message that brings it up to date or corrects it.
		Acknowledged int    `json:"acknowledged,omitempty"`
		Retracted    string `json:"retracted,omitempty"`
		ReplacedBy   string `json:"replaced_by,omitempty"`
		// Group is the conversation; KindName what people call the kind, left out of a text; Fields what its form says.
		Group    string   `json:"group"`
		KindName string   `json:"kind_name,omitempty"`
		Fields   []Filled `json:"fields,omitempty"`
		// Exercise: it belongs to an exercise, and says so wherever it stands. For is whom it is for in the first place, left out where it is
		// for all; ForMe: this reader is among them.
		Exercise bool        `json:"exercise,omitempty"`
		For      []Addressee `json:"for,omitempty"`
		ForMe    bool        `json:"for_me,omitempty"`
	}

	// Logs answers GET /v1/logs.
	Logs struct {
		Logs []node.LogInfo `json:"logs"`
	}
	// LogEntries answers GET /v1/logs/entries.
	LogEntries struct {
		Entries []node.EntryInfo `json:"entries"`
	}
	// Verified answers POST /v1/logs/verify. Bad counts everything that is wrong; Problems names the first of it.
	Verified struct {
		Valid    bool            `json:"valid"`
		Logs     int             `json:"logs"`
		Entries  uint64          `json:"entries"` // checked and good
		Bytes    uint64          `json:"bytes"`   // of them
		Forks    int             `json:"forks"`   // logs with evidence of a fork
		Bad      uint64          `json:"bad"`
		Problems []VerifyProblem `json:"problems"`
	}
	// VerifyProblem is one thing that is wrong in a log.
	VerifyProblem struct {
		Log    string `json:"log"`
		Seq    uint64 `json:"seq"`
		Reason string `json:"reason"`
	}

	// Mesh is the body of POST /v1/mesh.
	Mesh struct {
		Online *bool `json:"online"`
	}
	// AddMember is the body of POST /v1/groups/{id}/members: a person, a log, or a name that only one person has.
	AddMember struct {
		Member string `json:"member"`
	}
	// SendText is the body of POST /v1/groups/{id}/messages: a text, or a kind and the fields of its form. An empty priority is
	// routine.
	SendText struct {
		Text     string              `json:"text"`
		Priority string              `json:"priority"`
		ReplyTo  string              `json:"reply_to"`
		Kind     string              `json:"kind,omitempty"`
		Fields   map[string][]string `json:"fields,omitempty"`
		// For are addresses: role:medical-registrar, person:nhs.example/gmc/7654321.
		For []string `json:"for,omitempty"`
	}
	// Code answers POST /v1/web/code.
	Code struct {
		Code string    `json:"code"`
		URL  string    `json:"url"`
		Ends time.Time `json:"ends"`
	}
	// TakeCode is the body of POST /v1/session.
	TakeCode struct {
		Code string `json:"code"`
	}
	// Session answers POST /v1/session; the cookie comes with it. Token goes into the Tocsin-Token header.
	Session struct {
		Token string    `json:"token"`
		Ends  time.Time `json:"ends"`
	}
	// Health answers GET /healthz and GET /readyz.
	Health struct {
		Status string `json:"status"`
	}
)

// VerifiedOf puts a report into words, for an answer or a command that read the logs itself.
func VerifiedOf(r node.VerifyReport) Verified {
	v := Verified{
		Valid: r.OK(), Logs: len(r.Logs), Entries: r.Entries, Bytes: r.Bytes, Forks: r.Forks, Bad: r.Failures,
		Problems: make([]VerifyProblem, 0, len(r.First)),
	}
	for _, f := range r.First {
		v.Problems = append(v.Problems, VerifyProblem{Log: f.Log.String(), Seq: f.Seq, Reason: f.Err.Error()})
	}
	return v
}

func authorOf(a inbox.Author) Author {
	return Author{Log: a.Log, Person: a.Person, Name: a.Name, Org: a.Org, Role: a.Role, Verified: a.Verified, Badge: a.Badge}
}

func groupOf(c inbox.Conversation, self string) Group {
	g := Group{
		ID: hex.EncodeToString(c.ID[:]), Name: c.Name, Title: c.Name, Kind: c.Kind,
		Members: make([]Author, 0, len(c.Members)), Count: c.Count, Unread: c.Unread, Exercise: c.Exercise, Over: c.Over,
	}
	for _, m := range c.Members {
		g.Members = append(g.Members, authorOf(m))
	}
	if g.Title == "" {
		g.Title = titleOf(c.Members, self)
	}
	if c.Last != nil {
		g.Last = &Last{
			From: authorOf(c.Last.From), Summary: c.Last.Message.Summary(), Sent: c.Last.Sent.UTC(),
			Priority: c.Last.Priority, Own: c.Last.Own, State: c.Last.State, Exercise: c.Last.Exercise,
		}
	}
	return g
}

// titleOf names a conversation after the people in it other than this device.
func titleOf(members []inbox.Author, self string) string {
	var names []string
	for _, m := range members {
		if m.Log != self && m.Name != "" {
			names = append(names, m.Name)
		}
	}
	switch n := len(names); {
	case n == 0:
		return "Only you"
	case n <= 2:
		return join(names)
	default:
		return names[0] + " and " + plural(n-1, "other", "others")
	}
}

func messageOf(it inbox.Item) Message {
	m := Message{
		ID: hex.EncodeToString(it.ID[:]), Log: it.From.Log, Seq: it.Seq, From: authorOf(it.From),
		Kind: string(it.Message.Kind()), Text: message.Words(it.Message.Content), Sent: it.Sent.UTC(), Received: it.Received.UTC(),
		Priority: it.Priority, Own: it.Own, Provable: it.Provable, Unread: it.Unread,
		State: it.State, StateWords: it.StateWords(),
		Delivered: len(it.Delivered), Read: len(it.Read), Recipients: it.Recipients,
		Removed: it.Removed, Broadcast: it.Broadcast, Reason: it.Reason, HandedOver: it.HandedOver, Attachment: attachedOf(it),
		Forked: it.Forked, AfterClosing: it.AfterClosing,
		Acknowledged: len(it.Acknowledged), Retracted: it.Retracted, ReplacedBy: replacedBy(it),
	}
	if t, ok := it.Message.Content.(*message.Text); ok && t.ReplyTo != (message.EntryID{}) {
		m.ReplyTo = hex.EncodeToString(t.ReplyTo[:])
	}
	said(&m, it)
	return m
}
