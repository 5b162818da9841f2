package node

// What the journal knows of the way of messages into the record:
//
//	review/<entry id>     what a clinician made of a message; goes when the message is erased
//	recorded/<entry id>   the record's receipt for a message; stays
//	gone/<entry id>       a message that was erased, when and why; stays
//	sending/<group>       an upload that was begun and is not over
//
// All are structures in the presentation language of RFC 8446 §3:
//
//	struct { uint8 version = 1; opaque nhs<0..10>; uint8 traced; opaque family<0..255>; opaque given<0..255>; opaque born<0..10>;
//	         opaque by<1..255>; uint64 at; uint8 corrected; opaque signer<0..255>; uint64 signed; opaque refused<0..2^16-1>; } Review;
//	struct { uint8 version = 1; opaque group[32]; uint64 at; uint8 said; opaque record<1..2^16-1>; opaque location<1..2^16-1>;
//	         opaque resource_version<0..255>; opaque by<1..255>; } Recorded;
//	struct { uint8 version = 1; opaque group[32]; uint64 at; uint8 why; } Gone;
//	struct { uint8 version = 1; uint64 at; opaque by<1..255>; } Sending;
//
// Times are milliseconds since the Unix epoch; by and signer are persons, "org/regulator/number".

import (
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/group"
	"tocsin/ledger"
	"tocsin/node/record"
)

const (
	prefixReview   = "review/"
	prefixRecorded = "recorded/"
	prefixGone     = "gone/"
	prefixSending  = "sending/"
)

func reviewKey(id ledger.ID) string   { return prefixReview + id.String() }
func recordedKey(id ledger.ID) string { return prefixRecorded + id.String() }
func goneKey(id ledger.ID) string     { return prefixGone + id.String() }
func sendingKey(g group.ID) string    { return prefixSending + g.String() }

// transferVersion is of all these structures.
const transferVersion = 1

// maxWords bounds what is kept of an endpoint's words, in bytes.
const maxWords = 2000

// review is what a clinician made of one message.
type review struct {
	patient   record.Attribution // zero: about no patient in particular
	by        string
	at        time.Time
	corrected uint8 // how often it was attributed anew; 255 is that often or more
	signer    string
	signed    time.Time // zero: not signed off
	refused   string    // why the record refused it; empty once it is to be sent again
}

func (r *review) signedOff() bool { return r != nil && !r.signed.IsZero() }

func addMillis(b *cryptobyte.Builder, t time.Time) {
	if t.IsZero() {
		b.AddUint64(0)
		return
	}
	b.AddUint64(uint64(t.UnixMilli()))
}

func readMillis(s *cryptobyte.String, t *time.Time) bool {
	var ms uint64
	if !s.ReadUint64(&ms) {
		return false
	}
	*t = time.Time{}
	if ms > 0 {
		*t = time.UnixMilli(int64(ms)).UTC()
	}
	return true
}

func addShort(b *cryptobyte.Builder, s string) {
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) })
}

func readShort(s *cryptobyte.String, out *string) bool {
	var v cryptobyte.String
	ok := s.ReadUint8LengthPrefixed(&v)
	*out = string(v)
	return ok
}

func addLong(b *cryptobyte.Builder, s string) {
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) })
}

func readLong(s *cryptobyte.String, out *string) bool {
	var v cryptobyte.String
	ok := s.ReadUint16LengthPrefixed(&v)
	*out = string(v)
	return ok
}

func addBool(b *cryptobyte.Builder, v bool) {
	if v {
		b.AddUint8(1)
	} else {
		b.AddUint8(0)
	}
}

func readBool(s *cryptobyte.String, out *bool) bool {
	var v uint8
	ok := s.ReadUint8(&v) && v <= 1
	*out = v == 1
	return ok
}

func (r *review) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(transferVersion)
	addShort(&b, r.patient.NHSNumber)
	addBool(&b, r.patient.Traced)
	addShort(&b, r.patient.Family)
	addShort(&b, r.patient.Given)
	addShort(&b, r.patient.Born)
	addShort(&b, r.by)
	addMillis(&b, r.at)
	b.AddUint8(r.corrected)
	addShort(&b, r.signer)
	addMillis(&b, r.signed)
	addLong(&b, r.refused)
	return b.Bytes()
}

func parseReview(raw []byte) (*review, error) {
	var r review
	var version uint8
	s := cryptobyte.String(raw)
	if !s.ReadUint8(&version) || version != transferVersion || !readShort(&s, &r.patient.NHSNumber) || !readBool(&s, &r.patient.Traced) ||
		!readShort(&s, &r.patient.Family) || !readShort(&s, &r.patient.Given) || !readShort(&s, &r.patient.Born) || !readShort(&s, &r.by) ||
		!readMillis(&s, &r.at) || !s.ReadUint8(&r.corrected) || !readShort(&s, &r.signer) || !readMillis(&s, &r.signed) || !readLong(&s, &r.refused) || !s.Empty() {
		return nil, errRecord
	}
	return &r, nil
}

// recorded is the record's receipt for one message.
type recorded struct {
	group    group.ID
	at       time.Time
	said     bool   // a message to the group says so
	record   string // URL of the endpoint
	location string // Type/id there
	version  string
	by       string
}

func (r *recorded) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(transferVersion)
	b.AddBytes(r.group[:])
	addMillis(&b, r.at)
	addBool(&b, r.said)
	addLong(&b, r.record)
	addLong(&b, r.location)
	addShort(&b, r.version)
	addShort(&b, r.by)
	return b.Bytes()
}

func parseRecorded(raw []byte) (*recorded, error) {
	var r recorded
	var version uint8
	s := cryptobyte.String(raw)
	if !s.ReadUint8(&version) || version != transferVersion || !s.CopyBytes(r.group[:]) || !readMillis(&s, &r.at) || !readBool(&s, &r.said) ||
		!readLong(&s, &r.record) || !readLong(&s, &r.location) || !readShort(&s, &r.version) || !readShort(&s, &r.by) || !s.Empty() {
		return nil, errRecord
	}
	return &r, nil
}

// goneWhy is why a message was erased.
type goneWhy uint8

const (
	goneByHand    goneWhy = 1
	goneRetention goneWhy = 2
	goneOrdered   goneWhy = 3
)

// gone is a message that was erased here.
type gone struct {
	group group.ID
	at    time.Time
	why   goneWhy
}

func (g *gone) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(transferVersion)
	b.AddBytes(g.group[:])
	addMillis(&b, g.at)
	b.AddUint8(uint8(g.why))
	return b.Bytes()
}

func parseGone(raw []byte) (*gone, error) {
	var g gone
	var version, why uint8
	s := cryptobyte.String(raw)
	if !s.ReadUint8(&version) || version != transferVersion || !s.CopyBytes(g.group[:]) || !readMillis(&s, &g.at) || !s.ReadUint8(&why) || !s.Empty() {
		return nil, errRecord
	}
	if g.why = goneWhy(why); g.why < goneByHand || g.why > goneOrdered {
		return nil, errRecord
	}
	return &g, nil
}

// sending is an upload that was begun and is not over.
type sending struct {
	at time.Time
	by string
}

func (s *sending) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(transferVersion)
	addMillis(&b, s.at)
	addShort(&b, s.by)
	return b.Bytes()
}

func parseSending(raw []byte) (*sending, error) {
	var out sending
	var version uint8
	s := cryptobyte.String(raw)
	if !s.ReadUint8(&version) || version != transferVersion || !readMillis(&s, &out.at) || !readShort(&s, &out.by) || !s.Empty() {
		return nil, errRecord
	}
	return &out, nil
}

// queue is what a session knows of the way of messages into the record. Node.mu guards it.
type queue struct {
	reviews  map[ledger.ID]*review
	recorded map[ledger.ID]*recorded
	gone     map[ledger.ID]*gone
	sending  map[group.ID]*sending
}

// loadQueue reads it from the journal.
func (n *Node) loadQueue() (*queue, error) {
	q := &queue{reviews: make(map[ledger.ID]*review), recorded: make(map[ledger.ID]*recorded), gone: make(map[ledger.ID]*gone), sending: make(map[group.ID]*sending)}
	err := scanTransfer(n, prefixReview, ledger.ParseID, parseReview, q.reviews)
	if err == nil {
		err = scanTransfer(n, prefixRecorded, ledger.ParseID, parseRecorded, q.recorded)
	}
	if err == nil {
		err = scanTransfer(n, prefixGone, ledger.ParseID, parseGone, q.gone)
	}
	if err == nil {
		err = scanTransfer(n, prefixSending, parseGroupID, parseSending, q.sending)
	}
	return q, err
}

func scanTransfer[K comparable, V any](n *Node, prefix string, name func(string) (K, error), parse func([]byte) (*V, error), into map[K]*V) error {
	return n.cfg.Vault.Scan(prefix, func(key string, value []byte) error {
		k, err := name(key[len(prefix):])
		if err != nil {
			return fmt.Errorf("%w: %s", errRecord, key)
		}
		v, err := parse(value)
		if err != nil {
			return fmt.Errorf("%w: %s", err, key)
		}
		into[k] = v
		return nil
	})
}
