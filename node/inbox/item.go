package inbox

import (
	"time"

	"tocsin/node/message"
)

// EntryID is the id of the ledger entry that carried a message.
type EntryID [32]byte

// GroupID is the id of a group.
type GroupID [32]byte

// Author is who wrote a message, as their credential says.
type Author struct {
	// Log is the author's log id, in the text form that the node uses everywhere. Devices are told apart by it, and by Now.
	Log string
	// Now is the log in which the device goes on, where that is another one; empty otherwise. What is said in either is of one device.
	Now string
	// Person is who it is, "org/regulator/number", the same on all devices of a person; empty while the credential is unknown.
	Person string
	// Name, Org and Role come from the credential, never from the message.
	Name, Org, Role string
	// Verified: the credential was valid when the message was witnessed.
	Verified bool
	// Admin, of members of a group: they run it, as its operations say now.
	Admin bool
	// Badge is what there is to say of the credential now, one of the Badge constants; empty for nothing.
	Badge string
}

// The badges. They say how somebody came to be trusted, or that they no longer are; they void nothing that was said before.
const (
	BadgeProvisional = "provisional" // the issuer marked the credential so
	BadgeSponsored   = "sponsored"   // vouched for by colleagues; kept for ever
	BadgeRegistrar   = "registrar"   // issued by a registrar, not by the authority itself
	BadgeGrace       = "grace"       // ran out in a declared incident, and counts a little longer
	BadgeExpired     = "expired"     // ran out
	BadgeRevoked     = "revoked"     // taken back by its issuer
	BadgeWiped       = "wiped"       // ordered to destroy its keys
)

// device is what a device is told apart by.
func (a Author) device() string {
	if a.Now != "" {
		return a.Now
	}
	return a.Log
}

// out reports whether a device gets no keys any more.
func (a Author) out() bool { return a.Badge == BadgeRevoked || a.Badge == BadgeWiped }

// Group is a conversation's frame: what the group's operations say. Members are devices.
type Group struct {
	ID      GroupID
	Name    string
	Kind    string // direct, team, incident or broadcast
	Members []Author
	// HLC is the clock of the operation that made the group, 0 when unknown; it places a conversation without messages.
	HLC uint64
	// Ran are the devices that run the group or ever did. What they said of its incident counts for good: who hands a group over does
	// not take its incident along, nor its being an exercise.
	Ran []string
}

// Item is one opened message. A caller of Apply fills the first part; the second part is filled in by Messages.
type Item struct {
	ID    EntryID
	Group GroupID
	// HLC and Seq are the entry's hybrid clock and place in its author's log. Items are shown by HLC, then ID:
	// an answer always comes after what its author had seen.
	HLC, Seq uint64
	// First is the place of the first of the entries by which the message left: Seq, but in a group of more devices than one epoch holds.
	First          uint64
	From           Author
	Message        message.Message
	Sent, Received time.Time // the sender's clock and ours
	Priority       string    // routine, urgent or stat
	Own            bool      // written by this device
	Provable       bool      // the payload matches the commitment in the signed header
	Removed        bool      // said after its author was removed from the group: kept, and flagged
	Broadcast      bool      // sent to everybody admitted, past all groups; marked for ever
	Reason         string    // of a broadcast: why its author sent it so
	AfterClosing   bool      // stands in a log at a place after the end that its device named when it went on in another: lost in a restore, or not the device's
	Forked         bool      // stands at or beyond a place of its log at which its device signed two entries
	HandedOver     string    // display name of the member who handed it over later; empty when it came by itself

	// Delivered and Read are the logs of the member devices whose signed receipts say so, sorted. Read devices are in both.
	// Acknowledged devices, whose reader has said so by a press of their own, are in all three.
	Delivered, Read, Acknowledged []string
	// Recipients is how many member devices the message is for: all but its author's, and but those that were revoked or wiped before
	// they got it.
	Recipients int
	// Carried is how many other devices promise to keep an own message that is only saved, filled in by the node.
	Carried int
	// Held says what of an attachment is on this device, filled in by the node; nil for other messages.
	Held *Held
	// State is StateSaved, StateDelivered, StateRead or StateAcknowledged.
	State string
	// Unread: somebody else's message that this device has not marked as read.
	Unread bool
	// Retracted is why its author has withdrawn the message, which stays; empty while it stands.
	Retracted string
	// ReplacedBy is the message that brings this one up to date or corrects it; zero for none.
	ReplacedBy EntryID
	// Exercise: the incident of the conversation is one, and so is everything said there.
	Exercise bool
	// For says who gets the message by each of its addresses; nil where it is for all. ForMe: this device's reader is among them.
	For   []Addressee
	ForMe bool

	words string // what a search looks through
}

// The states of a message, in order. (Custody, "carried by n devices", has its place between the first two.)
const (
	// StateSaved: durable on its author's device; no receipt has come back.
	StateSaved = "saved"
	// StateDelivered: at least one recipient's device has given a signed receipt. Item.Delivered says which.
	StateDelivered = "delivered"
	// StateRead: every recipient has read it.
	StateRead = "read"
	// StateAcknowledged: at least one recipient has acknowledged it; one is enough for a message that asks for it.
	StateAcknowledged = "acknowledged"
)

// Conversation is one group as a list shows it.
type Conversation struct {
	ID      GroupID
	Name    string
	Kind    string // direct, team, incident or broadcast; empty while the group's operations are not known yet
	Members []Author
	Count   int   // messages shown
	Unread  int   // of them, others' messages not yet marked as read
	Last    *Item // the last one, nil for none; a copy
	// HLC places the conversation in the list: that of its last message, else of its making.
	HLC uint64
	// Exercise: its incident is one; Over: its incident was stood down or cancelled.
	Exercise, Over bool
}

// Change says what an Apply changed, so that the node can tell its listeners.
type Change struct {
	// New: the entry was not known before. All the rest is empty when it is false.
	New bool
	// Shown: it is a message that stands in the conversation, not a receipt.
	Shown bool
	// Delivery lists the messages already shown whose state the entry changed.
	Delivery []EntryID
	// Board: what one of the boards shows has changed.
	Board bool
	// Exercise: the conversation is one. ForMe: the message is for this device's reader.
	Exercise, ForMe bool
	// Calls are earlier messages that are for the reader from now on and unread, by a role that was taken.
	Calls []EntryID
}
