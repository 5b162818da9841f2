package record

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

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
	Faults   []Fault
}

// keep is what is read of a package until both sides are there.
type keep struct {
	firsts map[string]object // entry id → resource
	names  map[string]string // fullUrl or Type/id of a Binary → entry id, from the document of a proof
	data   map[string][]byte // fullUrl or Type/id of a Binary → proof
}

// VerifyPackage reads what was exported, or what an endpoint returned of it, and holds every proof against the authorities of the
// mesh, and every resource against what was proved: one that says anything else than its author signed is a fault. The error is that of r.
func VerifyPackage(r io.Reader, trust ledger.Trust) (PackageReport, error) {
	var rep PackageReport
	k := keep{firsts: make(map[string]object), names: make(map[string]string), data: make(map[string][]byte)}
	if err := readBundle(r, func(string, any) {}, k.entry); err != nil {
		return rep, err
	}
	trust = &remembered{Trust: trust, read: make(map[[32]byte]*identity.Credential)}
	proofs := make(map[string][]byte, len(k.names))
	for url, id := range k.names {
		proofs[id] = k.data[url]
	}
	for id, first := range k.firsts {
		rep.Messages++
		file, ok := proofs[id]
		if !ok {
			rep.Bare++
			continue
		}
		delete(proofs, id)
		reasoned, err := verifyOne(id, first, file, trust)
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
	slices.SortFunc(rep.Faults, func(a, b Fault) int { return strings.Compare(a.Where, b.Where) })
	return rep, nil
}

func (k *keep) entry(raw json.RawMessage) error {
	var e object
	if err := json.Unmarshal(raw, &e); err != nil {
		return err
	}
	r := sub(e, "resource")
	kind := str(r, "resourceType")
	for _, id := range list(r, "identifier") {
		system, value := str(id, "system"), str(id, "value")
		if system == SystemEntry {
			k.firsts[value] = r
		}
		if entry, ok := strings.CutSuffix(value, "-proof"); ok && system == SystemPart && kind == "DocumentReference" {
			for _, c := range list(r, "content") {
				k.names[str(sub(c, "attachment"), "url")] = entry
			}
		}
	}
	if kind != "Binary" {
		return nil
	}
	data, err := base64.StdEncoding.DecodeString(str(r, "data"))
	if err != nil || !strings.HasPrefix(string(data[:min(len(data), 16)]), "tocsin-proof/") {
		return nil // another file, or none: a document that names it has no proof then
	}
	k.data[str(e, "fullUrl")] = data
	k.data["Binary/"+str(r, "id")] = data
	return nil
}

// verifyOne holds one resource against its proof.
func verifyOne(id string, first object, file []byte, trust ledger.Trust) (reasoned bool, err error) {
	if file == nil {
		return false, fmt.Errorf("the file of its proof is missing")
	}
	p, err := ledger.ParseProof(file)
	if err != nil {
		return false, err
	}
	rep, err := p.Verify(trust)
	if err != nil {
		return false, err
	}
	if len(rep.Witnesses) < ledger.DefaultWitnesses {
		return false, fmt.Errorf("%d witnesses have signed for it, %d are needed", len(rep.Witnesses), ledger.DefaultWitnesses)
	}
	if rep.ID.String() != id {
		return false, fmt.Errorf("the proof is of entry %s", rep.ID)
	}
	m, err := message.Decode(rep.Payload)
	if err != nil {
		return true, nil // to everybody: the payload begins with the reason
	}
	return false, sameWords(first, m, p, rep)
}

// said are the elements of a resource that hold what was said, and nothing that later messages change or a server adds.
var saidIn = map[string][]string{
	"Communication": {"payload", "category"}, "CommunicationRequest": {"payload", "category"}, "Task": {"description", "code"},
	"Observation": {"valueCodeableConcept", "component"}, "DocumentReference": {"description", "type"}, "PractitionerRole": {"code"},
}

// sameWords maps the proved message again and compares.
func sameWords(first object, m message.Message, p *ledger.Proof, rep *ledger.ProofReport) error {
	it := &item{id: rep.ID, header: rep.Header, bytes: p.Header, sig: p.Signature[:], said: rep.Claimed, provable: true,
		Item: &Item{Message: m, Payload: p.Payload, Opening: p.Opening, Author: Author{Person: rep.Author.Person, Name: rep.Author.Claims.Name}, Received: rep.Claimed}}
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
	// Of a file it is the name, type, size and SHA-256 that were signed; where its bytes are is the endpoint's.
	if !within(again["content"], first["content"]) {
		return errors.New("the resource says something else than was signed: the file is another")
	}
	return sameTime(kind, first, rep.Claimed)
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

// remembered reads each credential once: the proofs of an incident repeat those of a few people.
type remembered struct {
	ledger.Trust
	read map[[32]byte]*identity.Credential
}

// maxRemembered bounds what is remembered: a package can name anybody.
const maxRemembered = 4096

// ReadCredential implements ledger.Trust. What was refused is read again.
func (r *remembered) ReadCredential(raw []byte) (*identity.Credential, error) {
	sum := sha256.Sum256(raw)
	if c, ok := r.read[sum]; ok {
		return c, nil
	}
	c, err := r.Trust.ReadCredential(raw)
	if err == nil && len(r.read) < maxRemembered {
		r.read[sum] = c
	}
	return c, err
}
