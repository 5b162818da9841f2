package record

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/message"
)

// ErrInvalid is wrapped by every error about what is to be exported; the text says which message, and what to do. It never repeats
// what a message says.
var ErrInvalid = errors.New("record: cannot be exported")

// ErrNoProof is what [Sources.Proof] returns for a message that has too few witnesses yet: it is exported with its signature and without
// the proof, and the package says so.
var ErrNoProof = errors.New("record: no proof yet")

// ErrNoContent is what [Sources.Attachment] returns for a file that is not on this device: its manifest is exported, and the package says so.
var ErrNoContent = errors.New("record: the file is not on this device")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}

// Author is a clinician as their credential has them.
type Author struct {
	Person identity.Person
	Name   string   // display name
	Roles  []string // of the credential
	Grade  string   // may be empty
	ODS    string   // code of their site; may be empty
	// Note is what a reader of their signature has to know: "provisional: vouched for by colleagues". Empty for nothing.
	Note string
}

// Attribution is the patient to whom a clinician attributed a message before it is handed over.
type Attribution struct {
	// NHSNumber is ten digits, its check digit right.
	NHSNumber string
	// Traced reports that the number was traced in the national service. A number that was typed while it was out of reach was not.
	Traced bool
	// Family, Given and Born (2006-01-02) are what the patient is known by; each may be empty.
	Family, Given, Born string
}

// Item is one message that is to be handed over.
type Item struct {
	// Signed is the header as its author signed it, followed by the signature (ledger, FORMAT.md). The id, the author's key, the
	// time and the priority are taken from it and from nothing else.
	Signed []byte
	// Opening and Payload are what the header's commitment is over. Opening is nil where the message matched no commitment; then it
	// is exported without its signature, and said to be unprovable.
	Opening, Payload []byte
	// Message is what Payload says, Reason why it was sent to everybody; empty but for break-glass messages.
	Message message.Message
	Reason  string
	// Author is who the author's credential says they are.
	Author Author
	// Received is when the exporting device got it.
	Received time.Time
	// Patient is to whom it was attributed; nil for nobody.
	Patient *Attribution
	// Standing is what later messages made of it, as the inbox decides.
	Standing Standing
}

// Standing is what later messages made of one. The inbox holds the rules (who may cancel, retract or move on what), and the record
// repeats what it says.
type Standing struct {
	RetractedBy ledger.ID         // of a message that was withdrawn: the retraction; zero for none
	Task        message.TaskState // of a task; empty is assigned
	Ended       bool              // of a call-out: closed. Of an alert: acknowledged
	Cancelled   bool              // of an alert
	Until       time.Time         // of a role that was taken: when its holder gave it up or handed it over; zero for as announced
}

// Incident is what is exported: the messages of one group.
type Incident struct {
	Group   [32]byte
	Name    string
	Mode    message.Mode
	Items   []Item // in any order; each entry once
	Written time.Time
	// By is who exports, Device their device, Custodian the organisation that keeps the record: a host name, as credentials have it,
	// and its ODS code where it is known.
	By           Author
	Device       string
	Custodian    string
	CustodianODS string
	// Left is what of the conversation is not among Items. The page of an upload says it; a document does not.
	Left Left
}

// Left is what of a conversation an upload leaves behind, as far as the sending device knows: numbers of messages, and of entries.
type Left struct {
	Unsigned  int // nobody signed them off there
	Elsewhere int // colleagues say that they handed them over
	Missing   int // others name them, and they had not come
	Unopened  int // entries of members whose content or key had not come, and that may belong to it
	Erased    int // erased there before they stood in the record
	Unread    int // damaged there
}

// Sources are read while resources are written, one message at a time, so that an export never holds all proofs and files at once.
type Sources struct {
	// Proof returns the proof file of a message (ledger.Proof), or ErrNoProof. nil: there are none.
	Proof func(ledger.ID) ([]byte, error)
	// Attachment returns the content of a file by the id of its message, or ErrNoContent. The caller closes it. nil: there are none.
	Attachment func(ledger.ID) (io.ReadCloser, error)
}

// item is an Item that was checked, with what its header says.
type item struct {
	*Item
	id       ledger.ID
	header   ledger.Header
	bytes    []byte // of the header
	sig      []byte
	said     time.Time // by the author's clock
	provable bool
}

// check holds an item against its signature.
func (in *Item) check() (*item, error) {
	e, err := ledger.VerifyHeader(in.Signed)
	if err != nil {
		return nil, invalid("a message does not carry its author's signature (%w); synchronise and try again", err)
	}
	it := &item{Item: in, id: e.ID(), header: e.Header}
	cut := len(in.Signed) - ledger.SignatureSize
	it.bytes, it.sig = in.Signed[:cut], in.Signed[cut:]
	it.said = time.UnixMilli(int64(e.Header.HLC >> 16)).UTC()
	if err := in.Message.Validate(); err != nil {
		return nil, invalid("message %s: %w", it.id, err)
	}
	if err := in.Author.Person.Validate(); err != nil {
		return nil, invalid("message %s: its author: %w", it.id, err)
	}
	if err := it.checkPayload(); err != nil {
		return nil, err
	}
	if in.Patient != nil {
		if err := in.Patient.check(); err != nil {
			return nil, invalid("message %s: %w", it.id, err)
		}
	}
	return it, nil
}

// checkPayload binds what was said to the signature, as far as it can be bound.
func (it *item) checkPayload() error {
	if it.Opening == nil {
		return nil
	}
	it.provable = true
	if ledger.Commitment(it.Opening, it.Payload) != it.header.Commit {
		return invalid("message %s is not what its author signed; export it as unprovable or fetch it again", it.id)
	}
	said, err := message.Encode(it.Message)
	if err != nil {
		return invalid("message %s: %w", it.id, err)
	}
	if !bytes.Equal(it.Payload, said) && (it.Reason == "" || !bytes.HasSuffix(it.Payload, said)) {
		return invalid("message %s says something else than its payload", it.id)
	}
	return nil
}

// check says what is wrong with a patient, without repeating any of it.
func (p *Attribution) check() error {
	if len(p.NHSNumber) != 10 || !message.ValidNHSNumber(p.NHSNumber) {
		return errors.New("the NHS number of the patient is wrong: its check digit does not fit; read it again from the wristband")
	}
	if p.Born != "" {
		if _, err := time.Parse(time.DateOnly, p.Born); err != nil {
			return errors.New("the date of birth of the patient is no date such as 1980-12-31")
		}
	}
	return nil
}

// Export is an incident that was checked and can be written.
type Export struct {
	in      Incident
	sources Sources
	items   []*item // by time said, then by id
	index   *index
}

// New checks an incident and makes it ready to be written. Errors match [ErrInvalid].
func New(in Incident, sources Sources) (*Export, error) {
	if in.Mode != message.Live && in.Mode != message.Exercise {
		return nil, invalid("whether the incident is live or an exercise is not said")
	}
	if in.Written.IsZero() || in.Name == "" || in.Group == [32]byte{} {
		return nil, invalid("an incident needs its group, its name and the time of the export")
	}
	if len(in.Items) == 0 {
		return nil, invalid("there is no message in it")
	}
	if len(in.Items) > MaxItems {
		return nil, invalid("%d messages are more than %d; export it in parts", len(in.Items), MaxItems)
	}
	if err := in.By.Person.Validate(); err != nil {
		return nil, invalid("who exports: %w", err)
	}
	if err := identity.CheckOrg(in.Custodian); err != nil {
		return nil, invalid("who keeps the record: %w", err)
	}
	x := &Export{in: in, sources: sources, items: make([]*item, 0, len(in.Items))}
	seen := make(map[ledger.ID]bool, len(in.Items))
	for i := range in.Items {
		it, err := in.Items[i].check()
		if err != nil {
			return nil, err
		}
		if seen[it.id] {
			return nil, invalid("message %s is in it twice", it.id)
		}
		seen[it.id] = true
		x.items = append(x.items, it)
	}
	slices.SortFunc(x.items, func(a, b *item) int {
		if c := a.said.Compare(b.said); c != 0 {
			return c
		}
		return bytes.Compare(a.id[:], b.id[:])
	})
	var err error
	x.index, err = newIndex(x)
	return x, err
}

// Exercise reports whether nothing of it ever happened.
func (x *Export) Exercise() bool { return x.in.Mode == message.Exercise }

// Messages is how many messages it holds.
func (x *Export) Messages() int { return len(x.items) }

// contentsSum names what an export is made from: the same messages, written by anybody at any time, give the same sum.
func (x *Export) contentsSum() [32]byte {
	h := sha256.New()
	h.Write(x.in.Group[:])
	for _, it := range x.items {
		h.Write(it.id[:])
	}
	return [32]byte(h.Sum(nil))
}
