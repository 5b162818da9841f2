package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
	"tocsin/node/record"
)

// declared makes an incident of nodes that says whether it is live.
func declared(t testing.TB, mode message.Mode, nodes ...*Node) string {
	t.Helper()
	g := makeGroup(t, nodes...)
	speak(t, nodes[0], g, &message.Incident{Name: "Bus crash", Mode: mode, State: message.IncidentDeclared})
	return g
}

func speak(t testing.TB, n *Node, g string, c message.Content) Sent {
	t.Helper()
	s, err := n.Send(t.Context(), g, message.Message{Content: c}, "routine")
	check(t, err)
	return s
}

// queueOf is a conversation's row of the queue.
func queueOf(t testing.TB, n *Node, g string) TransferGroup {
	t.Helper()
	all, err := n.TransferQueue()
	check(t, err)
	i := slices.IndexFunc(all, func(one TransferGroup) bool { return one.Group == g })
	if i < 0 {
		t.Fatal("the conversation is not in the queue")
	}
	return all[i]
}

func rowOf(t testing.TB, n *Node, g, id string) TransferItem {
	t.Helper()
	all, err := n.TransferMessages(g, TransferFilter{})
	check(t, err)
	i := slices.IndexFunc(all, func(one TransferItem) bool { return one.ID == id })
	if i < 0 {
		t.Fatalf("message %s is not in the queue", id)
	}
	return all[i]
}

// ids are the messages of a conversation in one state.
func idsIn(t testing.TB, n *Node, g, state string) (out []string) {
	t.Helper()
	all, err := n.TransferMessages(g, TransferFilter{State: state})
	check(t, err)
	for _, it := range all {
		out = append(out, it.ID)
	}
	return out
}

// reviewAll looks at everything, about nobody in particular, and signs it off.
func reviewAll(t testing.TB, n *Node, g string) {
	t.Helper()
	_, err := n.Attribute(g, Patient{}, idsIn(t, n, g, TransferWaiting)...)
	check(t, err)
	_, err = n.SignOff(token(t, n), g)
	check(t, err)
}

// send sends what is signed off and waits for the end.
func send(t testing.TB, n *Node, g string) TransferProgress {
	t.Helper()
	_, err := n.SendRecord(token(t, n), g)
	check(t, err)
	return uploaded(t, n, g)
}

// TestTransfer: messages wait until a clinician has looked at them, said which patient they are about and signed; what the record returned is said to
// the group, and counts on every member's device.
func TestTransfer(t *testing.T) {
	t.Parallel()
	w, e := newWorld(t), newEndpoint(t)
	a := w.enrol("Amal", orgHospital).start(t, recordAt(e))
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a), recordAt(e))
	ready(t, 1, a, b)
	g := declared(t, message.Live, a, b)
	inGroup(t, g, b)
	text := say(t, a, g, "Potassium is 6.1")
	casualty := speak(t, b, g, &message.Casualty{Tag: "A-017", Triage: message.P1})
	eventually(t, "all is here", func() bool { return queueOf(t, a, g).Waiting == 3 && queueOf(t, b, g).Waiting == 3 })
	if s := a.Status().Transfer; s == nil || s.Waiting != 3 {
		t.Errorf("the status counts %+v", s)
	}
	patient := Patient{NHSNumber: "943 476 5919", Family: "Fisher", Born: "1951-02-03"}
	if _, err := a.Attribute(g, Patient{NHSNumber: "9434765918"}, text.ID); !errors.Is(err, ErrInvalid) {
		t.Errorf("a wrong number: %v", err)
	}
	if _, err := a.SignOff(token(t, a), g, text.ID); !errors.Is(err, ErrInvalid) {
		t.Errorf("signed off unseen: %v", err)
	}
	_, err := a.Attribute(g, patient, text.ID)
	check(t, err)
	if _, err := a.Attribute(g, Patient{NHSNumber: "9434765919", Family: "Foster"}, casualty.ID); !errors.Is(err, ErrInvalid) {
		t.Errorf("one number, two names: %v", err)
	}
	if _, err := a.SignOff("no token", g); !errors.Is(err, ErrReauth) {
		t.Errorf("signed off without the passphrase: %v", err)
	}
	c, err := a.SignOff(token(t, a), g)
	check(t, err)
	if c.SignedOff != 1 || c.Waiting != 2 {
		t.Errorf("counts: %+v", c)
	}
	// A correction takes the signature back.
	_, err = a.Attribute(g, Patient{NHSNumber: "9990000018", Traced: true}, text.ID)
	check(t, err)
	it := rowOf(t, a, g, text.ID)
	if it.State != TransferReviewed || it.Corrected != 1 || it.Patient == nil || it.Patient.Words != "999 000 0018" || !it.SignedOffAt.IsZero() {
		t.Errorf("a corrected message: %+v", it)
	}
	reviewAll(t, a, g)
	if p := send(t, a, g); p.State != UploadDone || p.Transferred < 3 || len(p.Refused) > 0 {
		t.Fatalf("the upload: %+v", p)
	}
	it = rowOf(t, a, g, text.ID)
	if it.State != TransferDone || it.Location == "" || it.TransferredBy != a.cred.Person.String() || it.SignedOffBy != a.cred.Person.String() {
		t.Errorf("a message in the record: %+v", it)
	}
	if got := e.entries(); got[text.ID] != 1 || got[casualty.ID] != 1 || len(e.twice()) > 0 {
		t.Errorf("the record holds %v, twice %v", got, e.twice())
	}
	if _, err := a.Attribute(g, patient, text.ID); !errors.Is(err, ErrInvalid) {
		t.Errorf("changed after it stands in the record: %v", err)
	}
	eventually(t, "the other device knows", func() bool { return queueOf(t, b, g).Transferred == 3 })
	if it := rowOf(t, b, g, text.ID); it.TransferredBy != a.cred.Person.String() || it.Record != e.url {
		t.Errorf("on the other device: %+v", it)
	}
	if _, err := b.SendRecord(token(t, b), g); !errors.Is(err, ErrInvalid) {
		t.Errorf("sent again by another: %v", err)
	}
}

// TestDeliveryGoesToTheRecord: what other devices said of a message goes along with it.
func TestDeliveryGoesToTheRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	ready(t, 1, a, b)
	g := declared(t, message.Live, a, b)
	inGroup(t, g, b)
	text := say(t, a, g, "Potassium is 6.1")
	eventually(t, "it is delivered", func() bool { return len(itemFrom(t, a, text.ID).Delivered) > 0 })
	var file bytes.Buffer
	out, err := a.ExportRecord(t.Context(), token(t, a), g, &file)
	check(t, err)
	var doc struct {
		Entry []struct {
			FullURL  string
			Resource struct {
				ResourceType string
				Identifier   any
				Type         struct{ Code string }
				Entity       []struct{ What struct{ Reference string } }
			}
		}
	}
	check(t, json.Unmarshal(file.Bytes(), &doc))
	url, told := "", false
	for _, e := range doc.Entry {
		if holds(e.Resource.Identifier, "value", "https://tocsin.example/fhir/entry|"+text.ID) {
			url = e.FullURL
		}
	}
	for _, e := range doc.Entry {
		for _, of := range e.Resource.Entity {
			told = told || e.Resource.ResourceType == "AuditEvent" && e.Resource.Type.Code == "receive" && of.What.Reference == url
		}
	}
	faults, err := record.Check(bytes.NewReader(file.Bytes()))
	check(t, err)
	if url == "" || !told || len(faults) > 0 {
		t.Errorf("the delivery of the message is not in the file of %d messages (%v)", out.Messages, faults)
	}
	said, ok := itemFrom(t, a, out.Entries[0]).Message.Content.(*message.Disclosed)
	if !ok || len(said.Entries) != 2 {
		t.Errorf("the group was told of %d messages", len(said.Entries))
	}
}

// TestTransferInterrupted: an upload that is refused before or after any request was carried out goes on where it ended, after a restart too, and
// everything is there once; nothing counts as transferred without the record's receipt.
func TestTransferInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.enrol("Amal", orgHospital)
	whole := newEndpoint(t)
	var g string
	n := 0
	t.Run("whole", func(t *testing.T) {
		a := m.start(t, m.onDisk(t), recordAt(whole))
		g = declared(t, message.Live, a)
		for i := range 6 {
			say(t, a, g, fmt.Sprint("message ", i))
		}
		reviewAll(t, a, g)
		// Another endpoint takes everything, so that the requests are known.
		if p := send(t, a, g); p.State != UploadDone {
			t.Fatalf("%+v", p)
		}
		n = whole.asks()
	})
	if n < 4 {
		t.Fatalf("%d requests are too few to interrupt", n)
	}
	for _, after := range []bool{false, true} {
		for k := 1; k <= n; k++ {
			t.Run(fmt.Sprintf("request %d, after %v", k, after), func(t *testing.T) {
				e, one := newEndpoint(t), w.enrol(fmt.Sprintf("Amal%d%v", k, after), orgHospital)
				var g string
				t.Run("first", func(t *testing.T) {
					a := one.start(t, one.onDisk(t), recordAt(e))
					g = declared(t, message.Live, a)
					for i := range 6 {
						say(t, a, g, fmt.Sprint("message ", i))
					}
					reviewAll(t, a, g)
					e.set(func(e *endpoint) {
						e.at = func(number int, done bool) int {
							if number >= k && done == after {
								return http.StatusUnauthorized
							}
							return 0
						}
					})
					p := send(t, a, g)
					if p.State != UploadStopped || p.Stopped == "" {
						t.Fatalf("it did not stop: %+v", p)
					}
					for _, id := range idsIn(t, a, g, TransferDone) {
						if e.entries()[id] != 1 {
							t.Errorf("message %s counts as transferred and is not there", id)
						}
					}
				})
				e.set(func(e *endpoint) { e.at = nil })
				a := one.start(t, one.onDisk(t), recordAt(e)) // and it goes on by itself
				eventually(t, "it goes on", func() bool { return queueOf(t, a, g).Open() == 0 })
				if p := uploaded(t, a, g); p.State != UploadDone {
					t.Errorf("%+v", p)
				}
				if twice := e.twice(); len(twice) > 0 || len(e.entries()) < 7 {
					t.Errorf("there twice: %v; %d messages", twice, len(e.entries()))
				}
			})
		}
	}
}

// TestTransferRefused: what the record does not take is shown with its words, holds nothing else up, and can be sent again.
func TestTransferRefused(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	a := newWorld(t).enrol("Amal", orgHospital).start(t, recordAt(e))
	g := declared(t, message.Live, a)
	bad, good := say(t, a, g, "the record dislikes this"), say(t, a, g, "and takes this")
	reviewAll(t, a, g)
	e.set(func(e *endpoint) {
		e.fail = func(r map[string]any) int {
			if r["resourceType"] == "Communication" && strings.Contains(fmt.Sprint(r["payload"]), "dislikes") {
				return http.StatusUnprocessableEntity
			}
			return 0
		}
	})
	if p := send(t, a, g); p.State != UploadDone || len(p.Refused) != 1 || p.Refused[0].ID != bad.ID {
		t.Fatalf("the upload: %+v", p)
	}
	if it := rowOf(t, a, g, bad.ID); it.State != TransferRefused || !strings.Contains(it.Refused, "422") {
		t.Errorf("the refused message: %+v", it)
	}
	if it := rowOf(t, a, g, good.ID); it.State != TransferDone {
		t.Errorf("the other message: %+v", it)
	}
	check(t, a.Lock())
	check(t, a.Unlock(t.Context(), []byte(passphrase)))
	if it := rowOf(t, a, g, bad.ID); it.State != TransferRefused || it.Refused == "" {
		t.Errorf("after an unlock: %+v", it)
	}
	e.set(func(e *endpoint) { e.fail = nil })
	if p := send(t, a, g); p.State != UploadDone || len(p.Refused) > 0 {
		t.Fatalf("the second upload: %+v", p)
	}
	if it := rowOf(t, a, g, bad.ID); it.State != TransferDone || it.Refused != "" {
		t.Errorf("sent again: %+v", it)
	}
	if twice := e.twice(); len(twice) > 0 {
		t.Errorf("there twice: %v", twice)
	}
}

// TestTransferStopsWhenLocked: a locked device holds nothing that was said, and so sends nothing; it goes on once it is unlocked.
func TestTransferStopsWhenLocked(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	gate := make(chan struct{})
	e.gate = gate
	a := newWorld(t).enrol("Amal", orgHospital).start(t, recordAt(e))
	g := declared(t, message.Live, a)
	say(t, a, g, "x")
	reviewAll(t, a, g)
	_, err := a.SendRecord(token(t, a), g)
	check(t, err)
	if it := queueOf(t, a, g); it.Sending != 2 {
		t.Errorf("while it is sent: %+v", it)
	}
	if _, err := a.SendRecord(token(t, a), g); !errors.Is(err, ErrInvalid) {
		t.Errorf("begun twice: %v", err)
	}
	check(t, a.Lock())
	eventually(t, "it stops", func() bool {
		p := a.transfers.progress(mustGroup(t, g))
		return p.State == UploadStopped
	})
	e.set(func(e *endpoint) { e.gate = nil })
	close(gate)
	check(t, a.Unlock(t.Context(), []byte(passphrase)))
	eventually(t, "it goes on", func() bool { return queueOf(t, a, g).Open() == 0 })
	if twice := e.twice(); len(twice) > 0 {
		t.Errorf("there twice: %v", twice)
	}
}

// TestTransferStopsByHand: it does not go on by itself then.
func TestTransferStopsByHand(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	e.gate = make(chan struct{})
	a := newWorld(t).enrol("Amal", orgHospital).start(t, recordAt(e))
	g := declared(t, message.Live, a)
	reviewAll(t, a, g)
	if err := a.StopTransfer(g); !errors.Is(err, ErrInvalid) {
		t.Errorf("nothing to stop: %v", err)
	}
	_, err := a.SendRecord(token(t, a), g)
	check(t, err)
	check(t, a.StopTransfer(g))
	if p := uploaded(t, a, g); p.State != UploadStopped {
		t.Errorf("%+v", p)
	}
	check(t, a.Lock())
	check(t, a.Unlock(t.Context(), []byte(passphrase)))
	if q := queueOf(t, a, g); q.Sending != 0 || q.SignedOff != 1 {
		t.Errorf("after an unlock: %+v", q)
	}
}

func mustGroup(t testing.TB, g string) [32]byte {
	t.Helper()
	id, err := parseGroupID(g)
	check(t, err)
	return id
}

// TestExerciseNeverSent: it is refused before a byte leaves, and marked on every resource of a file.
func TestExerciseNeverSent(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	a := newWorld(t).enrol("Amal", orgHospital).start(t, recordAt(e))
	g := declared(t, message.Exercise, a)
	text := say(t, a, g, "not real")
	_, err := a.Attribute(g, Patient{}, text.ID)
	check(t, err)
	if _, err := a.SignOff(token(t, a), g, text.ID); !errors.Is(err, ErrInvalid) || !errors.Is(err, record.ErrExercise) {
		t.Errorf("signed off: %v", err)
	}
	if _, err := a.SendRecord(token(t, a), g); !errors.Is(err, ErrInvalid) || !errors.Is(err, record.ErrExercise) {
		t.Errorf("sent: %v", err)
	}
	if e.asks() != 0 {
		t.Error("something left")
	}
	if q := queueOf(t, a, g); q.Exercise != 2 || q.Open() != 0 || !strings.HasPrefix(q.Words, "EXERCISE") {
		t.Errorf("the queue: %+v", q)
	}
	var file bytes.Buffer
	out, err := a.ExportRecord(t.Context(), token(t, a), g, &file)
	check(t, err)
	faults, err := record.Check(bytes.NewReader(file.Bytes()))
	check(t, err)
	if !out.Exercise || len(faults) > 0 || strings.Count(file.String(), `"HTEST"`) < out.Messages*2 {
		t.Errorf("the file: %+v, %v, %d labels", out, faults, strings.Count(file.String(), `"HTEST"`))
	}
}

// TestUnknownModeNeverSent: an incident of which the message that says whether it is an exercise has not arrived could be one.
func TestUnknownModeNeverSent(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	a := newWorld(t).enrol("Amal", orgHospital).start(t, recordAt(e))
	g := makeGroup(t, a)
	say(t, a, g, "x")
	reviewAll(t, a, g)
	if _, err := a.SendRecord(token(t, a), g); !errors.Is(err, ErrInvalid) {
		t.Errorf("sent: %v", err)
	}
	if _, err := a.ExportRecord(t.Context(), token(t, a), g, &bytes.Buffer{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("exported: %v", err)
	}
	if q := queueOf(t, a, g); q.Mode != modeUnknown || e.asks() != 0 {
		t.Errorf("the queue: %+v", q)
	}
}

// TestExportRecordIsLogged: a file is faultless, its messages are proved where witnesses signed, and the group was told before it was written.
func TestExportRecordIsLogged(t *testing.T) {
	t.Parallel()
	a := newWorld(t).enrol("Amal", orgHospital).start(t)
	g := declared(t, message.Live, a)
	text := say(t, a, g, "Potassium is 6.1")
	_, err := a.Attribute(g, Patient{NHSNumber: "9434765919"}, text.ID)
	check(t, err)
	if _, err := a.ExportRecord(t.Context(), "", g, &bytes.Buffer{}); !errors.Is(err, ErrReauth) {
		t.Errorf("without the passphrase: %v", err)
	}
	before := len(texts(t, a, g))
	if _, err := a.ExportRecord(t.Context(), token(t, a), g, failing{}); err == nil {
		t.Error("a full disk passed in silence")
	}
	if len(texts(t, a, g)) != before+1 {
		t.Error("the group was not told before the first byte")
	}
	var file bytes.Buffer
	out, err := a.ExportRecord(t.Context(), token(t, a), g, &file)
	check(t, err)
	faults, err := record.Check(bytes.NewReader(file.Bytes()))
	check(t, err)
	if len(faults) > 0 || len(out.Entries) != 1 || !strings.Contains(file.String(), "9434765919") {
		t.Errorf("the file: %+v, %v", out, faults)
	}
	it := itemFrom(t, a, out.Entries[0])
	said, ok := it.Message.Content.(*message.Disclosed)
	if !ok || said.Basis != message.DisclosedRecord || !slices.Contains(said.Entries, mustID(t, text.ID)) {
		t.Errorf("the group was told: %s", message.Words(it.Message.Content))
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("the disk is full") }

func mustID(t testing.TB, s string) [32]byte {
	t.Helper()
	id, err := ledger.ParseID(s)
	check(t, err)
	return id
}

func itemFrom(t testing.TB, n *Node, id string) inbox.Item {
	t.Helper()
	it, err := n.message(id)
	check(t, err)
	return it
}

// TestQueueSaysWhatIsMissing: a message that others name and that is not here, one that was erased before it was handed over, a clock that was
// wrong and a device that was cloned.
func TestQueueSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	a := newWorld(t).enrol("Amal", orgHospital).start(t)
	g := declared(t, message.Live, a)
	speak(t, a, g, &message.Text{Body: "answer", ReplyTo: message.EntryID{7}})
	gone := say(t, a, g, "erased too early")
	if q := queueOf(t, a, g); q.Missing != 1 || q.Erased != 0 || !strings.Contains(q.Words, "not here") {
		t.Errorf("half-arrived: %+v", q)
	}
	out, err := a.EraseMessages(t.Context(), token(t, a), g, gone.ID)
	check(t, err)
	if !strings.Contains(out.Words, "did not stand in the record") {
		t.Errorf("erasing said: %s", out.Words)
	}
	for range 2 { // after an unlock as well
		if q := queueOf(t, a, g); q.Erased != 1 || !strings.Contains(q.Words, "erased here before") {
			t.Errorf("erased before the transfer: %+v", q)
		}
		check(t, a.Lock())
		check(t, a.Unlock(t.Context(), []byte(passphrase)))
	}
	it := inbox.Item{Forked: true, Provable: true, Sent: time.Unix(2000, 0).Add(time.Hour), Received: time.Unix(2000, 0)}
	notes := strings.Join((&tracker{}).notes(&it), "\n")
	for _, want := range []string{"two things at one place", "clock was wrong", "did not count"} {
		if !strings.Contains(notes, want) {
			t.Errorf("the reviewer is not told %q:\n%s", want, notes)
		}
	}
}

// TestNoRecordIsSet: the queue works, and sending says what to do.
func TestNoRecordIsSet(t *testing.T) {
	t.Parallel()
	a := newWorld(t).enrol("Amal", orgHospital).start(t)
	g := declared(t, message.Live, a)
	reviewAll(t, a, g)
	if _, err := a.SendRecord(token(t, a), g); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "settings") {
		t.Errorf("sent: %v", err)
	}
	check(t, a.Lock())
	if _, err := a.TransferQueue(); !errors.Is(err, ErrLocked) {
		t.Errorf("the queue of a locked device: %v", err)
	}
	if a.Status().Transfer != nil {
		t.Error("a locked device counts messages")
	}
}
