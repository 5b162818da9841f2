package record

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/message"
)

// PackageReport says what a package proves.
type PackageReport struct {
	Messages int // resources that are a message's first
	Proved   int // of them, those whose proof holds and whose resource says what was proved
	Bare     int // of them, those without a proof
	Reasons  int // of the proved ones, those to everybody, whose payload holds a reason that is not compared
	Files    int // files that are in the package and whose bytes are what a document says, proofs included
	// Exercise: every message in it is labelled as exercise (HTEST). Where some are and some are not, [Check] finds it.
	Exercise bool
	Faults   []Fault
}

// keep is what is read of a package until both sides are there.
type keep struct {
	firsts map[string]object // entry id → resource
	names  map[string]string // fullUrl or Type/id of a Binary → entry id, from the document of a proof
	data   map[string][]byte // fullUrl or Type/id of a Binary → proof
	files  map[string]string // fullUrl or Type/id of a Binary → the SHA-256 that a document says its bytes have, in hexadecimal
	sums   map[string]string // likewise → what they have
	live   bool              // a message is not labelled as exercise
	faults []Fault
}

func newKeep() *keep {
	return &keep{firsts: make(map[string]object), names: make(map[string]string), data: make(map[string][]byte),
		files: make(map[string]string), sums: make(map[string]string)}
}

// VerifyPackage reads what was exported, or what an endpoint returned of it, and holds every proof against the authorities of the
// mesh, and every resource against what was proved: one that says anything else than its author signed is a fault. The error is that of r.
func VerifyPackage(r io.Reader, trust ledger.Trust) (PackageReport, error) {
	var rep PackageReport
	k := newKeep()
	if err := readBundle(r, func(string, any) {}, k.entry); err != nil {
		return rep, err
	}
	k.compare(&rep)
	rep.Faults, rep.Exercise = k.faults, len(k.firsts) > 0 && !k.live
	proofs := make(map[string][]byte, len(k.names))
	for url, id := range k.names {
		if _, twice := proofs[id]; twice {
			rep.Faults = append(rep.Faults, Fault{RuleIdentifier, "message " + id, "two documents say that they are its proof"})
		}
		proofs[id] = k.data[url]
	}
	checker := ledger.NewProofChecker(trust) // for this package only: authorities change between two
	for id, first := range k.firsts {
		rep.Messages++
		file, ok := proofs[id]
		if !ok {
			rep.Bare++
			continue
		}
		delete(proofs, id)
		reasoned, err := verifyOne(id, first, file, checker)
		if err != nil {
			rep.Faults = append(rep.Faults, Fault{RuleProof, "message " + id, err.Error()})
			continue
		}
		rep.Proved++
		if reasoned {
			rep.Reasons++
		}
	}
	for id := range proofs {
		rep.Faults = append(rep.Faults, Fault{RuleProof, "message " + id, "its proof is there and it is not"})
	}
	slices.SortFunc(rep.Faults, func(a, b Fault) int {
		return cmp.Or(strings.Compare(a.Where, b.Where), strings.Compare(a.What, b.What))
	})
	return rep, nil
}

// entry takes one entry of the package. Most of a package is not looked into any further than its first level.
func (k *keep) entry(raw json.RawMessage) error {
	e := members(raw)
	r := members(e["resource"])
	kind := plainString(r["resourceType"])
	if kind == "Binary" {
		k.binary(plainString(e["fullUrl"]), plainString(r["id"]), r["data"])
		return nil
	}
	ids := make(object)
	if err := decodeInto(ids, r, "identifier"); err != nil {
		return err
	}
	proved := "" // the entry that the document is the proof of
	for _, id := range list(ids, "identifier") {
		system, value := str(id, "system"), str(id, "value")
		if system == SystemEntry {
			if _, twice := k.firsts[value]; twice {
				k.faults = append(k.faults, Fault{RuleIdentifier, "message " + value, "two resources say that they are it"})
				continue
			}
			var first object
			if err := json.Unmarshal(e["resource"], &first); err != nil {
				return err
			}
			k.firsts[value] = first
			k.live = k.live || !marked(sub(first, "meta"))
		}
		if entry, ok := strings.CutSuffix(value, "-proof"); ok && system == SystemPart && kind == "DocumentReference" {
			proved = entry
		}
	}
	if kind != "DocumentReference" {
		return nil
	}
	if err := decodeInto(ids, r, "content"); err != nil {
		return err
	}
	for _, c := range list(ids, "content") {
		at := sub(c, "attachment")
		url := str(at, "url")
		if url == "" {
			continue // the file is not in the package, and it says so
		}
		if proved != "" {
			k.names[url] = proved
		}
		for _, x := range list(at, "extension") {
			if str(x, "url") == extSHA256 {
				k.files[url] = str(x, "valueString")
			}
		}
	}
	return nil
}

// compare holds the bytes of every file against what its document says.
func (k *keep) compare(rep *PackageReport) {
	for url, want := range k.files {
		switch got, ok := k.sums[url]; {
		case ok && got == want:
			rep.Files++
		case ok:
			k.faults = append(k.faults, Fault{RuleContent, url, "its bytes are not those that its document was written for"})
		}
	}
}

// binary notes the SHA-256 of a file, and keeps it if it is a proof. What is no base64 is no file: a document that names it has no proof
// then.
func (k *keep) binary(fullURL, id string, value []byte) {
	text := base64In(value)
	var file bytes.Buffer
	sum := sha256.New()
	to := io.Writer(sum)
	if bytes.HasPrefix(text, []byte(proofBegins)) {
		file.Grow(base64.StdEncoding.DecodedLen(len(text)))
		to = io.MultiWriter(sum, &file)
	}
	if _, err := io.Copy(to, base64.NewDecoder(base64.StdEncoding, bytes.NewReader(text))); err != nil {
		k.faults = append(k.faults, Fault{RuleContent, "Binary " + id, "its data is no base64"})
		return
	}
	for _, name := range []string{fullURL, "Binary/" + id} {
		if had, twice := k.sums[name]; twice && had != hex.EncodeToString(sum.Sum(nil)) && name != "" && name != "Binary/" {
			k.faults = append(k.faults, Fault{RuleFullURL, name, "two files of one name differ"})
		}
		k.sums[name] = hex.EncodeToString(sum.Sum(nil))
		if file.Len() > 0 {
			k.data[name] = file.Bytes()
		}
	}
}

// proofBegins is how the data of every proof begins: "tocsin-proof" in base64, which has no remainder.
const proofBegins = "dG9jc2luLXByb29m"

// verifyOne holds one resource against its proof: nothing is proved before what was said was compared.
func verifyOne(id string, first object, file []byte, checker *ledger.ProofChecker) (reasoned bool, err error) {
	if file == nil {
		return false, errors.New("the file of its proof is missing")
	}
	p, rep, err := checker.Check(file)
	if err != nil {
		return false, err
	}
	if rep.ID.String() != id {
		return false, fmt.Errorf("the proof is of entry %s", rep.ID)
	}
	if rep.Payload == nil {
		return false, errors.New("its proof does not show what was said: there is nothing to compare the resource with")
	}
	reason, payload := "", rep.Payload
	if rep.Header.Kind == ledger.KindBroadcast {
		if reason, payload, err = splitBroadcast(rep.Payload); err != nil {
			return false, err
		}
	}
	m, err := message.Decode(payload)
	if err != nil {
		return false, errors.New("its proof holds what this version cannot read as a message: there is nothing to compare the resource with")
	}
	return reason != "", sameWords(first, m, reason, p, rep)
}

// splitBroadcast parts the payload of a message to everybody, which is
//
//	struct { uint8 version = 1; opaque reason<1..2^16-1>; opaque message<1..2^16-1>; } Broadcast;
//
// as package node writes it.
func splitBroadcast(raw []byte) (reason string, payload []byte, err error) {
	s := cryptobyte.String(raw)
	var version uint8
	var r, p cryptobyte.String
	if !s.ReadUint8(&version) || version != 1 || !s.ReadUint16LengthPrefixed(&r) || !s.ReadUint16LengthPrefixed(&p) || !s.Empty() || len(r) == 0 {
		return "", nil, errors.New("its proof is of a message to everybody, whose reason cannot be read: there is nothing to compare the resource with")
	}
	return string(r), p, nil
}

// said are the elements of a resource that hold what was said, and nothing that later messages change or a server adds.
var saidIn = map[string][]string{
	"Communication": {"payload", "category"}, "CommunicationRequest": {"payload", "category"}, "Task": {"description", "code"},
	"Observation": {"valueCodeableConcept", "component"}, "DocumentReference": {"description", "type"}, "PractitionerRole": {"code"},
}

// sameWords maps the proved message again and compares.
func sameWords(first object, m message.Message, reason string, p *ledger.Proof, rep *ledger.ProofReport) error {
	it := &item{id: rep.ID, header: rep.Header, bytes: p.Header, sig: p.Signature[:], said: rep.Claimed, provable: true,
		Item: &Item{Message: m, Reason: reason, Payload: p.Payload, Opening: p.Opening, Author: Author{Person: rep.Author.Person, Name: rep.Author.Claims.Name}, Received: rep.Claimed}}
	x := &Export{in: Incident{Mode: message.Live, Custodian: rep.Author.Person.Org, Written: rep.Claimed},
		index: &index{group: strings.Repeat("0", 64), items: map[ledger.ID]*item{rep.ID: it}, named: map[identity.Person]Author{}, known: map[string]*patient{}}}
	if key := x.index.patientKey(it); key != "" {
		x.index.known[key] = &patient{}
	}
	unit, err := x.unit(it)
	if err != nil {
		return err
	}
	kind := unit[0].Resource.Kind()
	if kind != str(first, "resourceType") {
		return fmt.Errorf("the resource is a %s, and what was said makes a %s", str(first, "resourceType"), kind)
	}
	raw, err := encode(unit[0].Resource)
	if err != nil {
		return err
	}
	var again object
	if err := json.Unmarshal(raw, &again); err != nil {
		return err
	}
	for _, name := range saidIn[kind] {
		if !reflect.DeepEqual(again[name], first[name]) {
			return fmt.Errorf("the resource says something else than was signed: %s differs", name)
		}
	}
	if !sameReason(first, reason) {
		return errors.New("the resource gives another reason for sending it to everybody than was signed")
	}
	// Of a file it is the name, type, size and SHA-256 that were signed; where its bytes are is the endpoint's.
	if !within(again["content"], first["content"]) {
		return errors.New("the resource says something else than was signed: the file is another")
	}
	return sameTime(kind, first, rep.Claimed)
}

// sameReason compares why a message went to everybody, wherever a resource says so: nowhere, if it did not.
func sameReason(first object, reason string) bool {
	var said []string
	for _, e := range list(first, "extension") {
		if str(e, "url") == extReason {
			said = append(said, str(e, "valueString"))
		}
	}
	for _, c := range list(first, "reasonCode") {
		said = append(said, str(c, "text"))
	}
	return !slices.ContainsFunc(said, func(s string) bool { return s != reason }) && (reason == "") == (len(said) == 0)
}

// sameTime compares the time at which it was said.
func sameTime(kind string, first object, said time.Time) error {
	name := map[string]string{"Communication": "sent", "CommunicationRequest": "authoredOn", "Task": "authoredOn", "Observation": "effectiveDateTime", "DocumentReference": "date"}[kind]
	if name == "" {
		return nil
	}
	t, err := time.Parse(time.RFC3339Nano, str(first, name))
	if err != nil || !t.Equal(said.Truncate(time.Millisecond)) {
		return fmt.Errorf("the resource has another time than was signed: %s differs", name)
	}
	return nil
}
