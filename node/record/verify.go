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
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/ledger"
	"tocsin/node/message"
)

// PackageReport says what a package proves.
type PackageReport struct {
	Messages int // resources that are a message's first
	Proved   int // of them, those whose proof holds and whose resource says what was proved
	Bare     int // of them, those without a proof
	Reasons  int // of the proved ones, those to everybody, whose reason was compared too
	// Rewritten are those of the proved ones whose narrative, which people read, is not the one that was exported: an endpoint may write
	// and remove narratives. In a document as it was exported that is a fault.
	Rewritten int
	Audits    int // AuditEvents: evidence of delivery, reading, transfer and export, which has no proof of its own
	// Signed are those of them that carry the signed header of their entry, by a device of somebody of whom there is a proof: who said it and when are
	// compared. What it says of which messages, and all that the others say, is not: nothing in a package proves it.
	Signed int
	Files  int // files that are in the package and whose bytes are what a document says, proofs included
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

	kind        string            // of the Bundle
	provenances map[string]object // entry id → Provenance
	proofs      map[string]object // entry id → document of its proof
	resources   map[string]*known // fullUrl or Type/id → resource
	urns        map[string]string // the name that a message's first resource is exported under → entry id
	audits      []evidence
}

// known is what references to a resource need to know of it.
type known struct {
	entry string   // of the first resource of a message: its id
	are   []string // the names that it is exported under, from its identifiers
	r     object   // of a person in their post: who and where
}

func newKeep() *keep {
	return &keep{firsts: make(map[string]object), names: make(map[string]string), data: make(map[string][]byte),
		files: make(map[string]string), sums: make(map[string]string), provenances: make(map[string]object), proofs: make(map[string]object),
		resources: make(map[string]*known), urns: make(map[string]string)}
}

// VerifyPackage reads what was exported, or what an endpoint returned of it, and holds every proof against the authorities of the
// mesh, and every resource against what was proved: one that says anything else than its author signed is a fault (MAPPING.md, "What is
// compared"). The error is that of r.
func VerifyPackage(r io.Reader, trust ledger.Trust) (PackageReport, error) {
	var rep PackageReport
	k := newKeep()
	head := func(name string, v any) {
		if name == "type" {
			k.kind, _ = v.(string)
		}
	}
	if err := readBundle(r, head, k.entry); err != nil {
		return rep, err
	}
	k.compare(&rep)
	k.posts()
	rep.Faults, rep.Exercise, rep.Audits = k.faults, len(k.firsts) > 0 && !k.live, len(k.audits)
	k.prove(&rep, trust)
	slices.SortFunc(rep.Faults, func(a, b Fault) int {
		return cmp.Or(strings.Compare(a.Where, b.Where), strings.Compare(a.What, b.What))
	})
	return rep, nil
}

// prove checks all proofs first: what one message says of another can be compared once both are proved.
func (k *keep) prove(rep *PackageReport, trust ledger.Trust) {
	files := make(map[string][]byte, len(k.names))
	for url, id := range k.names {
		if _, twice := files[id]; twice {
			rep.Faults = append(rep.Faults, Fault{RuleIdentifier, "message " + id, "two documents say that they are its proof"})
		}
		files[id] = k.data[k.named(url)]
	}
	fault := func(id string, err error) {
		rep.Faults = append(rep.Faults, Fault{RuleProof, "message " + id, err.Error()})
	}
	checker := ledger.NewProofChecker(trust) // for this package only: authorities change between two
	items := make(map[ledger.ID]*item, len(k.firsts))
	for id, first := range k.firsts {
		rep.Messages++
		k.urns[urn(str(first, "resourceType"), id)] = id
		file, ok := files[id]
		if !ok {
			rep.Bare++
			continue
		}
		it, err := proved(id, file, checker)
		if err != nil {
			fault(id, err)
			continue
		}
		items[it.id] = it
	}
	c := newComparer(k, items)
	for _, it := range items {
		rewritten, err := c.message(it, files[it.id.String()])
		if err != nil {
			fault(it.id.String(), err)
			continue
		}
		rep.Proved++
		if it.Reason != "" {
			rep.Reasons++
		}
		if rewritten {
			rep.Rewritten++
		}
	}
	k.hear(rep, c, items)
	for id := range files {
		if k.firsts[id] == nil {
			rep.Faults = append(rep.Faults, Fault{RuleProof, "message " + id, "its proof is there and it is not"})
		}
	}
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
	for _, name := range []string{"identifier", "practitioner", "organization"} {
		if err := decodeInto(ids, r, name); err != nil {
			return err
		}
	}
	if err := k.tagged(kind, e["resource"], r["meta"], ids); err != nil {
		return err
	}
	k.note(kind, plainString(e["fullUrl"]), plainString(r["id"]), ids)
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
			var document object
			if err := json.Unmarshal(e["resource"], &document); err != nil {
				return err
			}
			k.proofs[entry] = document
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
		switch got, ok := k.sums[k.named(url)]; {
		case ok && got == want:
			rep.Files++
		case got == notBase64: // that was said already
		case ok:
			k.faults = append(k.faults, Fault{RuleContent, url, "its bytes are not those that its document was written for"})
		default:
			k.faults = append(k.faults, Fault{RuleContent, url, "a document names this file, and it is not in the package"})
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
		k.sums[fullURL], k.sums["Binary/"+id] = notBase64, notBase64
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

// notBase64 stands in the place of the SHA-256 of a file that cannot be read.
const notBase64 = "no base64"

// proofBegins is how the data of every proof begins: "tocsin-proof" in base64, which has no remainder.
const proofBegins = "dG9jc2luLXByb29m"

// proved is a message as its proof has it. Nothing counts as proved before what was said can be compared.
func proved(id string, file []byte, checker *ledger.ProofChecker) (*item, error) {
	if file == nil {
		return nil, errors.New("the file of its proof is missing")
	}
	p, rep, err := checker.Check(file)
	if err != nil {
		return nil, err
	}
	if rep.ID.String() != id {
		return nil, fmt.Errorf("the proof is of entry %s", rep.ID)
	}
	if rep.Payload == nil {
		return nil, errors.New("its proof does not show what was said: there is nothing to compare the resource with")
	}
	reason, payload := "", rep.Payload
	if rep.Header.Kind == ledger.KindBroadcast {
		if reason, payload, err = splitBroadcast(rep.Payload); err != nil {
			return nil, err
		}
	}
	m, err := message.Decode(payload)
	if err != nil {
		return nil, errors.New("its proof holds what this version cannot read as a message: there is nothing to compare the resource with")
	}
	return &item{id: rep.ID, header: rep.Header, bytes: p.Header, sig: p.Signature[:], said: rep.Claimed, provable: true,
		Item: &Item{Message: m, Reason: reason, Payload: p.Payload, Opening: p.Opening, Author: Author{Person: rep.Author.Person, Name: rep.Author.Claims.Name}}}, nil
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

// asObject is a resource as it is read back.
func asObject(r Resource) (object, error) {
	raw, err := encode(r)
	if err != nil {
		return nil, err
	}
	var out object
	return out, json.Unmarshal(raw, &out)
}
