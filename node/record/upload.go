package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"tocsin/ledger"
	"tocsin/node/message"
)

// Upload is the sending of one export: a state machine without socket, goroutine or clock. Whoever drives it asks [Upload.Next] for
// requests, sends them, hands every answer to [Upload.Done], and keeps what [Upload.News] returns after each: with that, another Upload of
// the same messages goes on where this one ended. It is not safe for concurrent use.
//
// Nothing is believed: a message counts as transferred once the endpoint said that it stored it *and* returned it as it was sent. An
// answer that was lost costs a repetition and makes nothing twice.
type Upload struct {
	x        *Export
	batch    int
	units    []*unit
	low      int               // every unit below is done or refused
	resolved map[string]string // fullUrl → Type/id, of first resources
	open     map[int]*Order
	serial   int
	checks   []*Order // accepted, to be read back
	receipts map[ledger.ID]Receipt
	news     []Receipt // not yet asked for
	wait     time.Duration
	stopped  error
}

// PlanOptions say how an endpoint is sent to.
type PlanOptions struct {
	// Batch is the most resources of one transaction; zero is [DefaultBatch]. Endpoints differ in what they take.
	Batch int
}

// Receipt says that one message stands in the record: it was read back from there.
type Receipt struct {
	Entry    ledger.ID `json:"entry"`
	Location string    `json:"location"`          // Type/id at the endpoint
	Version  string    `json:"version,omitempty"` // of the resource there
}

// Order is one request to send.
type Order struct {
	Number int
	// Reading reports whether it only reads back what was stored.
	Reading bool

	body    parts
	units   []*unit
	entries []expected
}

// Size is the length of the request in bytes.
func (o *Order) Size() int64 { return o.body.size() }

// Body is the whole transaction or batch, in JSON, from its beginning. Files are read on the way, so that it takes little memory; one that
// is not what its message says ends it with an error, and it is then not to be taken for whole. The caller closes it.
func (o *Order) Body() io.ReadCloser { return o.body.open() }

// expected is one entry of a request and what is known of its answer.
type expected struct {
	unit   *unit
	url    string // fullUrl
	kind   string
	once   bool   // made only where the record does not have it yet
	sent   object // as sent, but for a Binary's data
	file   content
	stored stored
}

// Upload begins, or goes on after the receipts that are there already. An exercise is refused with [ErrExercise].
func (x *Export) Upload(o PlanOptions, done []Receipt) (*Upload, error) {
	if x.Exercise() {
		return nil, ErrExercise
	}
	if o.Batch == 0 {
		o.Batch = DefaultBatch
	}
	if o.Batch < 1 || o.Batch > MaxBatch {
		return nil, fmt.Errorf("record: batches of %d resources: choose 1 to %d", o.Batch, MaxBatch)
	}
	units, err := x.plan()
	if err != nil {
		return nil, err
	}
	u := &Upload{x: x, batch: o.Batch, units: units, resolved: make(map[string]string), open: make(map[int]*Order), receipts: make(map[ledger.ID]Receipt)}
	for _, r := range done {
		u.receipts[r.Entry] = r
	}
	for _, one := range units {
		if r, ok := u.receipts[one.id]; ok {
			one.state = unitDone
			u.resolved[one.key] = r.Location
		}
	}
	u.reopen()
	return u, nil
}

// reopen sends again what later messages changed since it was transferred: a task that moved on, a message that was retracted. It is
// replaced where it stands.
func (u *Upload) reopen() {
	duty := false
	for _, one := range u.units {
		if one.state == unitDone || one.id.IsZero() {
			continue
		}
		switch u.x.index.items[one.id].Message.Content.(type) {
		case *message.Retract, *message.TaskUpdate, *message.CallOutClose, *message.AlertCancel, *message.Receipt:
			for _, n := range one.needs {
				if to := u.units[n]; !to.id.IsZero() && changes(u.x.index.items[to.id]) {
					to.state = unitWaiting
				}
			}
		case *message.Role:
			duty = true
		}
	}
	for _, one := range u.units {
		if it := u.x.index.items[one.id]; duty && it != nil && firstKind(it.Message.Content) == "PractitionerRole" {
			one.state = unitWaiting
		}
	}
}

// changes reports whether later messages change the resource of a message.
func changes(it *item) bool {
	switch it.Message.Content.(type) {
	case *message.Task, *message.CallOut, *message.Alert:
		return true
	}
	return !it.Standing.RetractedBy.IsZero()
}

// Next returns a request that may be sent now, nil if there is none: because [InFlight] are under way, because the rest waits for them,
// or because it is over.
func (u *Upload) Next() (*Order, error) {
	if u.stopped != nil || len(u.open) >= InFlight {
		return nil, u.stopped
	}
	if len(u.checks) > 0 {
		o := u.checks[0]
		u.checks = u.checks[1:]
		return u.send(o), nil
	}
	for {
		chosen := u.choose()
		if len(chosen) == 0 {
			return nil, nil
		}
		o, err := u.order(chosen)
		if err != nil {
			return nil, err
		}
		if o != nil {
			return u.send(o), nil
		}
	}
}

func (u *Upload) send(o *Order) *Order {
	u.serial++
	o.Number = u.serial
	u.open[o.Number] = o
	return o
}

// choose takes units in order, as many as fit, whose needs are met: by what the endpoint holds, or in the same transaction.
func (u *Upload) choose() []*unit {
	for u.low < len(u.units) && (u.units[u.low].state == unitDone || u.units[u.low].state == unitRefused) {
		u.low++
	}
	var out []*unit
	size, content := 0, int64(0)
	chosen := make(map[int]bool)
	for i := u.low; i < len(u.units) && size < u.batch; i++ {
		one := u.units[i]
		full := one.alone || size+one.size > u.batch || one.bytes > 0 && content+one.bytes > batchContent
		if one.state != unitWaiting || !u.ready(one, chosen) || len(out) > 0 && full {
			continue
		}
		chosen[i] = true
		out = append(out, one)
		size, content = size+one.size, content+one.bytes
		if one.alone {
			break
		}
	}
	return out
}

// ready reports whether everything that a unit points at was read back from the endpoint, or is in the same transaction. Who and where is
// read back before any message is sent: a patient who turns out to be another must not have received anything by then.
func (u *Upload) ready(one *unit, chosen map[int]bool) bool {
	if one.last && slices.ContainsFunc(u.units, func(o *unit) bool { return o != one && o.state != unitDone && o.state != unitRefused }) {
		return false
	}
	for _, n := range one.needs {
		need := u.units[n]
		if need.state != unitDone && (one.alone || !chosen[n] || need.id.IsZero() != one.id.IsZero()) {
			return false
		}
	}
	return true
}

// order builds the transaction of units; nil if none of them can be written. What cannot be written is refused by itself: a file that was
// erased here or does not fit its message.
func (u *Upload) order(units []*unit) (*Order, error) {
	o := &Order{}
	t := newTransaction()
	for _, one := range units {
		entries, err := one.make()
		if err == nil {
			err = t.add(entries)
		}
		if err != nil {
			u.drop(one, err.Error())
			continue
		}
		o.units = append(o.units, one)
		for _, e := range entries {
			o.entries = append(o.entries, expected{unit: one, url: e.FullURL, kind: e.Resource.Kind(), once: e.Request.IfNoneExist != "", file: e.content})
		}
	}
	if len(o.units) == 0 {
		return nil, nil
	}
	var err error
	if o.body, err = t.body(u.resolved); err != nil {
		return nil, err
	}
	at := 0
	err = readBundle(bytes.NewReader(o.body.light()), func(string, any) {}, func(raw json.RawMessage) error {
		var e object
		err := json.Unmarshal(raw, &e)
		one := &o.entries[at]
		if one.sent = sub(e, "resource"); one.kind == "Binary" {
			delete(one.sent, "data") // its file is compared
		}
		at++
		return err
	})
	for _, one := range o.units {
		one.state = unitSent
	}
	return o, err
}

// Done takes the answer to a request of [Upload.Next]. Whatever it says, nothing is lost and nothing is done twice.
func (u *Upload) Done(number int, a Answer) error {
	o, ok := u.open[number]
	if !ok {
		return fmt.Errorf("record: request %d is not under way", number)
	}
	delete(u.open, number)
	u.wait = max(0, min(a.RetryAfter, time.Hour))
	if a.Status != http.StatusOK && a.Status != http.StatusCreated {
		u.failed(o, a)
		return nil
	}
	u.wait = 0
	got, err := responses(a.Body, len(o.entries))
	if err != nil {
		u.again(o, err.Error())
		return nil
	}
	if o.Reading {
		u.read(o, got)
	} else {
		u.accepted(o, got)
	}
	return nil
}

// failed handles an answer that is no answer to the entries.
func (u *Upload) failed(o *Order, a Answer) {
	words := outcomeOf(a.Body)
	switch {
	case a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden:
		u.stop(o, fmt.Errorf("record: the endpoint does not let us in (HTTP %d): renew the token or the client certificate, then go on", a.Status))
	case a.Status == http.StatusNotFound || a.Status == http.StatusMethodNotAllowed || a.Status == http.StatusUnsupportedMediaType:
		u.stop(o, fmt.Errorf("record: there is no FHIR endpoint that takes transactions at this address (HTTP %d): check the URL", a.Status))
	case a.Status >= 300 && a.Status < 400:
		u.stop(o, fmt.Errorf("record: the endpoint sends us elsewhere (HTTP %d); patient data goes only where it was told to: check the URL", a.Status))
	case retryable(a.Status):
		reason := fmt.Sprintf("the endpoint answers HTTP %d", a.Status)
		if a.Status == 0 {
			reason = "the endpoint gave no answer"
			if a.Err != nil {
				reason += ": " + cut(a.Err.Error(), 200)
			}
		}
		u.again(o, strings.TrimSuffix(reason+"; "+words, "; "))
	default:
		u.refuse(o, fmt.Sprintf("the endpoint refuses it (HTTP %d): %s", a.Status, words))
	}
}

// stop ends the upload until somebody did something. Everything under way is tried again next time.
func (u *Upload) stop(o *Order, err error) {
	u.back(o)
	u.stopped = err
}

// back puts what a request held into the queue again. What was only being read back is sent again: that makes nothing twice.
func (u *Upload) back(o *Order) {
	for _, one := range o.units {
		if one.state == unitSent || one.state == unitAccepted {
			one.state = unitWaiting
			u.low = 0
		}
	}
}

// again tries a request once more, a few times.
func (u *Upload) again(o *Order, reason string) {
	tries := 0
	for _, one := range o.units {
		one.tries++
		tries = max(tries, one.tries)
	}
	if tries >= maxTries {
		u.stop(o, fmt.Errorf("record: given up for now after %d tries: %s. Nothing was lost: go on when the endpoint is well", tries, reason))
		return
	}
	u.wait = max(u.wait, time.Second<<min(tries-1, 6))
	u.back(o)
}

// refuse handles what would be refused again. The units of a batch are tried one by one, so that one bad message holds up no other.
func (u *Upload) refuse(o *Order, reason string) {
	u.back(o)
	if len(o.units) > 1 {
		for _, one := range o.units {
			one.alone = true
		}
		return
	}
	u.drop(o.units[0], reason)
}

// drop refuses a unit and everything that points at it.
func (u *Upload) drop(one *unit, reason string) {
	one.state, one.reason = unitRefused, reason
	at := slices.Index(u.units, one)
	for _, other := range u.units {
		if other.state == unitWaiting && slices.Contains(other.needs, at) {
			u.drop(other, "it points at something that was not taken: "+reason)
		}
	}
}

// accepted takes what the endpoint says that it stored, and asks for it.
func (u *Upload) accepted(o *Order, got []stored) {
	bad := make(map[*unit]string)
	retry := false
	for i := range o.entries {
		e, s := &o.entries[i], got[i]
		e.stored = s
		kind, _, _ := strings.Cut(s.location, "/")
		switch {
		case s.status/100 == 2 && kind == e.kind:
		case s.status/100 == 2:
			bad[e.unit] = "the endpoint says that it stored something and not where, or as another type"
		case s.status == http.StatusPreconditionFailed:
			bad[e.unit] = "the record holds more than one " + e.kind + " of this identifier (HTTP 412): have them merged there, then send it again"
		case retryable(s.status):
			retry = true
		default:
			bad[e.unit] = fmt.Sprintf("the endpoint refuses its %s (HTTP %d): %s", e.kind, s.status, s.outcome)
		}
	}
	if retry {
		u.again(o, "the endpoint failed in the middle of a batch")
		return
	}
	if len(bad) > 0 {
		u.part(o, bad)
		return
	}
	for i := range o.entries {
		e := &o.entries[i]
		e.unit.state = unitAccepted
		if e.url == e.unit.key {
			u.resolved[e.url] = e.stored.location
		}
	}
	if check, err := reading(o); err != nil {
		u.again(o, err.Error())
	} else {
		u.checks = append(u.checks, check)
	}
}

// part drops the units that were refused and sends the others again.
func (u *Upload) part(o *Order, bad map[*unit]string) {
	u.back(o)
	for _, one := range o.units {
		if reason, ok := bad[one]; ok {
			u.drop(one, reason)
		}
	}
}

// reading builds the batch that asks for everything a transaction stored.
func reading(o *Order) (*Order, error) {
	b := Bundle{Common: Common{Type: "Bundle"}, BundleType: "batch"}
	for _, e := range o.entries {
		b.Entry = append(b.Entry, Entry{Request: &Request{Method: "GET", URL: e.stored.location}})
	}
	raw, err := encode(b)
	return &Order{body: parts{{raw: raw}}, Reading: true, units: o.units, entries: o.entries}, err
}

// read holds what was read back against what was sent.
func (u *Upload) read(o *Order, got []stored) {
	bad := make(map[*unit]string)
	for i := range o.entries {
		e, s := &o.entries[i], got[i]
		if s.resource == nil {
			u.again(o, fmt.Sprintf("the endpoint says that it stored a %s and does not return it", e.kind))
			return
		}
		sent := e.sent
		if there := e.once && e.stored.status == http.StatusOK; there && e.unit.last {
			sent = samePage(sent) // of the same messages, put there before
		} else if there {
			sent = sameMessage(sent)
		}
		err := sameStored(sent, s.resource, e.stored.location, e.stored.status == http.StatusOK)
		if err == nil && e.kind == "Binary" && s.data != e.file.sum {
			err = errors.New("its data is not what was sent")
		}
		if errors.Is(err, errOtherPatient) {
			bad[e.unit] = err.Error()
		} else if err != nil {
			bad[e.unit] = fmt.Sprintf("the endpoint stored its %s as something else: %v", e.kind, err)
		}
		if v := str(sub(s.resource, "meta"), "versionId"); v != "" {
			e.stored.version = v
		}
	}
	for _, one := range o.units {
		if reason, ok := bad[one]; ok {
			delete(u.resolved, one.key)
			u.drop(one, reason)
			continue
		}
		one.state = unitDone
	}
	for _, e := range o.entries {
		if e.url == e.unit.key && e.unit.state == unitDone && !e.unit.id.IsZero() {
			r := Receipt{Entry: e.unit.id, Location: e.stored.location, Version: e.stored.version}
			u.receipts[e.unit.id] = r
			u.news = append(u.news, r)
		}
	}
}

// News are the receipts since it was last asked, to be kept. They hold nothing that was said.
func (u *Upload) News() []Receipt {
	news := u.news
	u.news = nil
	return news
}

// Wait is how long the next request should wait, as the last answers have it.
func (u *Upload) Wait() time.Duration { return u.wait }

// Refused is one message that the endpoint does not take, and why, in words for who sends it. It may repeat what the endpoint says: it
// goes to no log.
type Refused struct {
	Entry  ledger.ID `json:"entry"`
	Reason string    `json:"reason"`
}

// Status says how far an upload is.
type Status struct {
	Messages    int       `json:"messages"`    // to be transferred
	Transferred int       `json:"transferred"` // stored and read back
	UnderWay    int       `json:"under_way"`
	Refused     []Refused `json:"refused,omitempty"`
	// Stopped says why it cannot go on by itself, empty if it can.
	Stopped string `json:"stopped,omitempty"`
	Over    bool   `json:"over"` // there is nothing left to do
}

// Status says how far it is.
func (u *Upload) Status() Status {
	s := Status{Over: len(u.open) == 0 && len(u.checks) == 0}
	if u.stopped != nil {
		s.Stopped = u.stopped.Error()
	}
	for _, one := range u.units {
		s.Over = s.Over && (one.state == unitDone || one.state == unitRefused)
		if one.id.IsZero() {
			continue
		}
		s.Messages++
		switch one.state {
		case unitDone:
			s.Transferred++
		case unitSent, unitAccepted:
			s.UnderWay++
		case unitRefused:
			s.Refused = append(s.Refused, Refused{one.id, one.reason})
		}
	}
	return s
}
