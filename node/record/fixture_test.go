package record

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/ledger/memstore"
	"tocsin/node/message"
)

// noon is the time at which tests take place.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// writer is a device whose log holds messages. Its keys come from its name, so that golden files stay as they are.
type writer struct {
	t     testing.TB
	who   Author
	key   ed25519.PrivateKey
	log   ledger.LogID
	chain []ledger.Verified
	after uint64             // milliseconds after noon of the last entry
	said  map[ledger.ID]Item // what its entries say
}

func newWriter(t testing.TB, who Author) *writer {
	seed := sha256.Sum256([]byte("record test device " + who.Name))
	key := ed25519.NewKeyFromSeed(seed[:])
	w := &writer{t: t, who: who, key: key, log: ledger.LogID{Author: identity.KeyOf(key)}}
	w.append(ledger.Header{Kind: ledger.KindControl}, []byte("credential of "+who.Name))
	return w
}

func (w *writer) append(h ledger.Header, body []byte) ledger.Verified {
	w.t.Helper()
	h.Seq = uint64(len(w.chain))
	if h.Seq > 0 {
		h.Prev = w.chain[h.Seq-1].Entry().ID()
	}
	h.HLC = (uint64(noon.UnixMilli()) + w.after) << 16
	v, err := ledger.Sign(w.key, h, body)
	must(w.t, err)
	w.chain = append(w.chain, v)
	return v
}

// say signs a message and returns it as a node hands it over.
func (w *writer) say(c message.Content, priority ledger.Priority) Item {
	w.t.Helper()
	w.after += 60_000
	m := message.Message{Sent: noon.Add(time.Duration(w.after) * time.Millisecond), Content: c}
	payload, err := message.Encode(m)
	must(w.t, err)
	opening := sha256.Sum256(append([]byte{byte(len(w.chain))}, payload...))
	h := ledger.Header{Kind: ledger.KindData, Priority: priority, GroupTag: [16]byte{1}, Commit: ledger.Commitment(opening[:], payload)}
	e := w.append(h, []byte("what only the group can read")).Entry()
	in := Item{Signed: e.SignedHeader(), Opening: opening[:], Payload: payload, Message: m, Author: w.who, Received: m.Sent.Add(1500 * time.Millisecond)}
	if w.said == nil {
		w.said = make(map[ledger.ID]Item)
	}
	w.said[e.ID()] = in
	return in
}

// broadcast signs a message to everybody, with its reason, as package node does.
func (w *writer) broadcast(c message.Content, reason string) Item {
	w.t.Helper()
	w.after += 60_000
	m := message.Message{Sent: noon.Add(time.Duration(w.after) * time.Millisecond), Content: c}
	said, err := message.Encode(m)
	must(w.t, err)
	payload := []byte{1, byte(len(reason) >> 8), byte(len(reason))}
	payload = append(append(payload, reason...), byte(len(said)>>8), byte(len(said)))
	return w.sealed(append(payload, said...), m, reason)
}

// sealed signs any payload to everybody, and calls it a message.
func (w *writer) sealed(payload []byte, m message.Message, reason string) Item {
	w.t.Helper()
	opening := sha256.Sum256(append([]byte{byte(len(w.chain))}, payload...))
	e := w.append(ledger.Header{Kind: ledger.KindBroadcast, Priority: ledger.Stat, Commit: ledger.Commitment(opening[:], payload)}, []byte("sealed under the mesh key")).Entry()
	in := Item{Signed: e.SignedHeader(), Opening: opening[:], Payload: payload, Message: m, Reason: reason, Author: w.who, Received: m.Sent.Add(time.Second)}
	if w.said == nil {
		w.said = make(map[ledger.ID]Item)
	}
	w.said[e.ID()] = in
	return in
}

// id is the entry id of an item.
func id(t testing.TB, in Item) ledger.ID {
	t.Helper()
	e, err := ledger.VerifyHeader(in.Signed)
	must(t, err)
	return e.ID()
}

func person(org, regulator, number string) identity.Person {
	return identity.Person{Org: org, Regulator: regulator, Number: number}
}

func amal() Author {
	return Author{Person: person("stmarys.nhs.example", "gmc", "7654321"), Name: "Amal Haddad", Roles: []string{"doctor"}, Grade: "Consultant", ODS: "RYJ01"}
}

func bryn() Author {
	return Author{Person: person("ambulance.nhs.example", "hcpc", "PA123456"), Name: "Bryn Morgan", Roles: []string{"paramedic"}}
}

var group = [32]byte(bytes.Repeat([]byte{0xab}, 32))

func incident(items ...Item) Incident {
	return Incident{Group: group, Name: "Fire at the station", Mode: message.Live, Items: items, Written: noon.Add(48 * time.Hour), By: amal(),
		Custodian: "stmarys.nhs.example", CustodianODS: "RYJ01"}
}

func num(n int) *int { return &n }

// file is the content of the attachment in scenes.
var file = bytes.Repeat([]byte("a scan of the ward list\n"), 40)

func attachment() *message.Attachment {
	return &message.Attachment{Name: "ward list.pdf", Media: "application/pdf", Size: int64(len(file)), SHA256: sha256.Sum256(file), Key: [32]byte{1},
		Chunks: [][32]byte{{2}}, Caption: "Who is where"}
}

// scene is one message of every kind and form, with everything that later messages can do to earlier ones.
func scene(t testing.TB) []Item {
	a, b := newWriter(t, amal()), newWriter(t, bryn())
	return scenes(t, a, b)
}

func scenes(t testing.TB, a, b *writer) []Item {
	t.Helper()
	registrar, bryn := message.RoleAddress("medical-registrar"), message.PersonAddress("ambulance.nhs.example/hcpc/PA123456")
	var all []Item
	say := func(w *writer, c message.Content, p ledger.Priority) ledger.ID {
		in := w.say(c, p)
		all = append(all, in)
		return id(t, in)
	}
	at := func() *Item { return &all[len(all)-1] }
	say(a, &message.Incident{Name: "Fire at the station", Mode: message.Live, State: message.IncidentDeclared}, ledger.Urgent)
	first := say(b, &message.METHANE{Major: message.DeclaredYes, Location: "Platform 2 <north end>", Type: "Fire", Hazards: "Smoke & gas", Access: "Station Road",
		Casualties: "About 20", Emergency: "Fire service present"}, ledger.Urgent)
	say(b, &message.METHANE{Major: message.DeclaredYes, Location: "Platform 2", Type: "Fire", Hazards: "Smoke", Access: "Station Road", Casualties: "34",
		Emergency: "All present", Supersedes: first}, ledger.Urgent)
	text := say(a, &message.Text{Body: "Bay 4 is clear.\nSend the next two."}, ledger.Routine)
	say(b, &message.Text{Body: "On our way", ReplyTo: text}, ledger.Routine)
	say(a, &message.Text{Body: "Mr F in bed 7: potassium 6.1"}, ledger.Urgent)
	at().Patient = &Attribution{NHSNumber: "9434765919", Family: "Fisher", Given: "John Paul", Born: "1951-02-03"}
	say(a, &message.SBAR{Situation: "Short of breath", Background: "COPD", Assessment: "Type 2 failure", Recommendation: "NIV now"}, ledger.Urgent)
	say(b, &message.ATMIST{Age: "about 40", Sex: message.SexFemale, Time: "11:40", Mechanism: "Fall", Injuries: "Left femur", Signs: "HR 120", Treatment: "Splint",
		ETA: num(12), Requirements: "Trauma team", CallSign: "A12", Tag: "A-017"}, ledger.Urgent)
	say(b, &message.Casualty{Tag: "A-017", Triage: message.P1, Age: "40s", Sex: message.SexFemale, Location: "Triage", Injuries: "Femur", Going: "Resus", Note: "Allergic to latex"}, ledger.Urgent)
	out := say(a, &message.CallOut{Question: "Can you come in?", Place: "Control room", Skills: []string{"theatre nurse", "anaesthetist"}, When: noon.Add(time.Hour), Needed: num(12)}, ledger.Urgent)
	at().Standing.Ended = true
	say(b, &message.CallOutAnswer{CallOut: out, Answer: message.AnswerComing, ETA: num(25), Skill: "anaesthetist"}, ledger.Routine)
	say(a, &message.CallOutClose{CallOut: out, Note: "Thank you"}, ledger.Routine)
	task := say(a, &message.Task{What: "Clear the recovery area", To: registrar, Due: noon.Add(2 * time.Hour), Note: "Six beds"}, ledger.Routine)
	at().Standing.Task = message.TaskDone
	say(b, &message.TaskUpdate{Task: task, State: message.TaskDone, Note: "Done at 13:10"}, ledger.Routine)
	alert := say(a, &message.Alert{What: "Cardiac arrest", Where: "Bay 4", To: []string{registrar, bryn}, After: num(3)}, ledger.Stat)
	at().Standing.Cancelled = true
	say(a, &message.Escalation{Alert: alert, Step: num(1)}, ledger.Stat)
	say(a, &message.AlertCancel{Alert: alert, Reason: "False alarm"}, ledger.Stat)
	decided := say(a, &message.Decision{Decision: "Stop elective surgery", Rationale: "Theatres are needed", Decider: message.PersonAddress(amal().Person.String()),
		Loggist: bryn, Options: []string{"do nothing", "stop electives"}, At: noon.Add(10 * time.Minute)}, ledger.Urgent)
	say(a, &message.Decision{Decision: "Stop elective surgery from 14:00", Rationale: "Two cases are on the table", Decider: message.PersonAddress(amal().Person.String()),
		Loggist: bryn, Options: []string{"do nothing", "stop now", "stop at 14:00"}, At: noon.Add(20 * time.Minute), Corrects: decided}, ledger.Urgent)
	say(a, &message.Briefing{Information: "Fire", Intent: "Save life", Method: "Silver at the scene", Administration: "Log everything", Risk: "Smoke",
		Communications: "Tocsin", Humanitarian: "Rest centre"}, ledger.Routine)
	say(a, &message.Role{Role: "medical-registrar", Action: message.RoleTake, Until: noon.Add(8 * time.Hour)}, ledger.Routine)
	at().Standing.Until = noon.Add(3 * time.Hour)
	say(a, &message.Role{Role: "medical-registrar", Action: message.RoleHandOver, To: bryn}, ledger.Routine)
	wrong := say(a, &message.Text{Body: "Give 50 mg"}, ledger.Routine)
	slip := len(all) - 1
	all[slip].Standing.RetractedBy = say(a, &message.Retract{Entry: wrong, Reason: "Meant 5 mg"}, ledger.Urgent)
	say(a, attachment(), ledger.Routine)
	say(b, &message.Receipt{State: message.Acknowledged, Entries: []message.EntryID{alert}}, ledger.Routine)
	say(b, &message.Receipt{State: message.Read, Entries: sorted(first, text)}, ledger.Routine)
	say(a, &message.Transferred{Entries: []message.EntryID{first}, Record: "https://record.nhs.example/fhir", Receipt: "Communication/1/_history/1"}, ledger.Routine)
	hold := say(b, &message.Hold{Basis: message.HoldInquiry, Reason: "Public inquiry: keep everything"}, ledger.Routine)
	say(b, &message.HoldEnd{Hold: hold, Reason: "The inquiry has reported"}, ledger.Routine)
	say(a, &message.Erase{Entries: []message.EntryID{wrong}, Reason: "About a person who asked for it"}, ledger.Routine)
	say(a, &message.Disclosed{Basis: message.DisclosedSubjectAccess, Reference: "SAR-2026-041", Entries: sorted(first, text), Sums: []string{strings.Repeat("0a", 32)}}, ledger.Routine)
	return all
}

func sorted(ids ...ledger.ID) []message.EntryID {
	var out []message.EntryID
	for _, v := range ids {
		out = append(out, v)
	}
	if len(out) == 2 && bytes.Compare(out[0][:], out[1][:]) > 0 {
		out[0], out[1] = out[1], out[0]
	}
	return out
}

// files are sources without proofs.
func files() Sources {
	return Sources{Attachment: func(ledger.ID) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(file)), nil }}
}

// written is the document of an incident; it fails the test if our own checks find anything.
func written(t testing.TB, x *Export) []byte {
	t.Helper()
	var b bytes.Buffer
	_, err := x.Document(&b)
	must(t, err)
	faultless(t, b.Bytes())
	return b.Bytes()
}

func faultless(t testing.TB, bundle []byte) {
	t.Helper()
	faults, err := Check(bytes.NewReader(bundle))
	must(t, err)
	for _, f := range faults {
		t.Errorf("our own check: %s", f)
	}
}

func indented(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := encode(v)
	must(t, err)
	var b bytes.Buffer
	must(t, json.Indent(&b, raw, "", "  "))
	return append(b.Bytes(), '\n')
}

// world is a mesh of two organisations with real credentials, logs, trees and witnesses: its proofs are real.
type world struct {
	t           testing.TB
	trust       *identity.TrustStore
	bundle      *identity.Bundle
	authorities map[string]*identity.Authority
	credentials map[identity.Key][]byte
	orgs        map[identity.Key]string
	nodes       []*holder
}

// holder is a device with its own copy of all logs.
type holder struct {
	*writer
	witness    ed25519.PrivateKey
	credential []byte
	logs       *ledger.Logs
	trees      *ledger.Trees
	table      *ledger.WitnessTable
}

type anyone struct{}

func (anyone) Known(identity.Key) bool   { return true }
func (anyone) Admit(*ledger.Entry) error { return nil }
func (w *world) Witness(k identity.Key) (string, bool) {
	org, ok := w.orgs[k]
	return org, ok
}

// newWorld enrols Amal, Bryn and one more of each organisation.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, authorities: make(map[string]*identity.Authority), credentials: make(map[identity.Key][]byte), orgs: make(map[identity.Key]string)}
	for _, org := range []string{"stmarys.nhs.example", "ambulance.nhs.example"} {
		a, err := identity.NewAuthority(org, "Authority of "+org, noon.Add(-time.Hour), 365*24*time.Hour, rand.Reader)
		must(t, err)
		w.authorities[org] = a
	}
	var err error
	w.bundle, err = identity.NewBundle("Test mesh", noon, w.authorities["stmarys.nhs.example"].Certificate(), w.authorities["ambulance.nhs.example"].Certificate())
	must(t, err)
	w.trust, err = identity.NewTrustStore(w.bundle)
	must(t, err)
	for _, who := range []Author{amal(), bryn(), {Person: person("stmarys.nhs.example", "nmc", "12A3456B"), Name: "Cara Osei", Roles: []string{"nurse"}},
		{Person: person("ambulance.nhs.example", "hcpc", "PA654321"), Name: "Dee Ali", Roles: []string{"paramedic"}}} {
		w.enrol(who)
	}
	return w
}

func (w *world) enrol(who Author) {
	relay, err := identity.NewRelayKeys(rand.Reader)
	must(w.t, err)
	keys, err := identity.NewVaultKeys(rand.Reader)
	must(w.t, err)
	req, err := identity.NewRequest(identity.Wish{Person: who.Person, Claims: identity.Claims{Name: who.Name, Roles: who.Roles}}, relay, keys)
	must(w.t, err)
	e, err := w.authorities[who.Person.Org].Issue(req, identity.Grant{Now: noon, Validity: 30 * 24 * time.Hour, Roles: who.Roles, Bundle: w.bundle, MeshKey: [32]byte{7}})
	must(w.t, err)
	n := &holder{witness: relay.Witness, credential: e.Credential}
	n.writer = &writer{t: w.t, who: who, key: keys.Signing, log: ledger.LogID{Author: identity.KeyOf(keys.Signing)}}
	n.append(ledger.Header{Kind: ledger.KindControl}, e.Credential)
	w.credentials[identity.KeyOf(relay.Witness)], w.orgs[identity.KeyOf(relay.Witness)] = e.Credential, who.Person.Org
	n.logs, err = ledger.Open(context.Background(), ledger.Config{Store: memstore.New(), Authors: anyone{}, Limits: ledger.Limits{DayHeaders: 1 << 20, DayBytes: 1 << 40}})
	must(w.t, err)
	n.trees = ledger.NewTrees(n.logs)
	n.table, err = ledger.NewWitnessTable(ledger.WitnessConfig{Logs: n.logs, Trees: n.trees, Mesh: w.trust.MeshID(), Key: relay.Witness, Witnesses: w})
	must(w.t, err)
	w.nodes = append(w.nodes, n)
}

// witnessed spreads the logs of the first two, has everyone cosign them, and returns the sources of their proofs.
func (w *world) witnessed() Sources {
	w.t.Helper()
	ctx := context.Background()
	place := make(map[ledger.ID]func() ([]byte, error))
	first := w.nodes[0]
	for _, author := range w.nodes[:2] {
		for _, n := range w.nodes {
			for part := author.chain; len(part) > 0; part = part[min(len(part), 512):] {
				_, err := n.logs.AppendBatch(ctx, part[:min(len(part), 512)], noon)
				must(w.t, err)
			}
		}
		size := uint64(len(author.chain))
		root, err := first.trees.Root(ctx, author.log, size)
		must(w.t, err)
		cp, err := ledger.SignCheckpoint(author.key, w.trust.MeshID(), author.log, size, root)
		must(w.t, err)
		for i, n := range w.nodes {
			results, err := n.table.Cosign(ctx, noon.Add(time.Duration(i+1)*time.Minute+24*time.Hour), cp)
			must(w.t, err)
			if n != first {
				_, err = first.table.Take(ctx, [][]byte{ledger.MarshalTestimony(results[0].Cosigned)})
				must(w.t, err)
			}
		}
		for seq, v := range author.chain {
			place[v.Entry().ID()] = w.prover(author, uint64(seq))
		}
	}
	s := files()
	s.Proof = func(id ledger.ID) ([]byte, error) {
		prove, ok := place[id]
		if !ok {
			return nil, ErrNoProof
		}
		return prove()
	}
	return s
}

func (w *world) prover(author *holder, seq uint64) func() ([]byte, error) {
	return sync.OnceValues(func() ([]byte, error) {
		in := author.said[author.chain[seq].Entry().ID()]
		p, err := ledger.Prove(context.Background(), ledger.ProveRequest{Logs: w.nodes[0].logs, Trees: w.nodes[0].trees, Table: w.nodes[0].table, Trust: w.trust,
			Log: author.log, Seq: seq, Opening: in.Opening, Payload: in.Payload, Credential: author.credential,
			Of: func(k identity.Key) ([]byte, bool) { raw, ok := w.credentials[k]; return raw, ok }})
		if err != nil {
			return nil, err
		}
		return p.Marshal()
	})
}

func opener(content []byte) func(ledger.ID) (io.ReadCloser, error) {
	return func(ledger.ID) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
}
