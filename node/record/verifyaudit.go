package record

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"strings"
	"time"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/message"
)

// An AuditEvent has no proof of its own. One of a transfer or an export carries the signed header of its entry: the signature, the entry's id, the time,
// and whose device it was, where a proof in the package says so, are compared. Of none is the content proved; in a document its narrative has to say what
// its elements say.

// evidence is an AuditEvent, by the entry that it is of.
type evidence struct {
	entry string
	r     object
}

// hear holds the evidence of a package against its headers and itself.
func (k *keep) hear(rep *PackageReport, c *comparer, items map[ledger.ID]*item) {
	devices := make(map[string]identity.Person) // by key, from what was proved
	for _, it := range items {
		devices[fmt.Sprintf("%x", it.header.Author)] = it.Author.Person
	}
	seen := make(map[string]bool)
	for _, ev := range k.audits {
		signed, err := ev.signed(c, devices)
		if err == nil && k.kind == "document" {
			err = ev.consistent()
		}
		if err == nil && seen[ev.entry] {
			err = errors.New("two resources say that they are it")
		}
		seen[ev.entry] = true
		if err != nil {
			rep.Faults = append(rep.Faults, Fault{RuleProof, "evidence " + ev.entry, err.Error()})
			continue
		}
		if signed {
			rep.Signed++
		}
	}
}

// signed reports whether an author and a time are proved, and the error if they are others, or if the header is not what it should be.
func (ev *evidence) signed(c *comparer, devices map[string]identity.Person) (bool, error) {
	raw := ""
	for _, e := range list(ev.r, "extension") {
		if str(e, "url") == extHeader {
			raw = str(e, "valueBase64Binary")
		}
	}
	if raw == "" {
		return false, nil // what a device says of what it showed is signed together with others
	}
	bytes, err := base64.StdEncoding.DecodeString(raw)
	if err != nil {
		return false, errors.New("its signed header is no base64")
	}
	e, err := ledger.VerifyHeader(bytes)
	switch {
	case err != nil:
		return false, fmt.Errorf("its header does not carry its author's signature: %w", err)
	case e.ID().String() != ev.entry:
		return false, fmt.Errorf("its header is of entry %s", e.ID())
	}
	said := time.UnixMilli(int64(e.Header.HLC >> 16)).UTC()
	if at, err := time.Parse(time.RFC3339Nano, str(ev.r, "recorded")); err != nil || !at.Equal(said) {
		return false, errors.New("it was said at another time than was signed")
	}
	who, known := devices[fmt.Sprintf("%x", e.Header.Author)]
	if !known {
		return false, nil // nothing here says whose device it is
	}
	agents := list(ev.r, "agent")
	want, err := referenceObject((&Export{index: c.index}).staffRef(who))
	if err != nil {
		return false, err
	}
	if len(agents) != 1 || !c.same(want, agents[0]["who"]) || !c.same(want, sub(ev.r, "source")["observer"]) || str(sub(ev.r, "source"), "site") != who.Org {
		return false, errors.New("it was said by somebody else than who signed it")
	}
	return true, nil
}

// auditWords are how a narrative goes on after the number of messages, by the code of what happened.
var auditWords = map[string]string{"receive": receiptWords(message.Delivered), "access": receiptWords(message.Read), "attest": receiptWords(message.Acknowledged),
	"transmit": "stand in the medical record ", "disclose": "were exported"}

// consistent reports what a narrative says otherwise than the elements beside it.
func (ev *evidence) consistent() error {
	at, err := time.Parse(time.RFC3339Nano, str(ev.r, "recorded"))
	if err != nil {
		return errors.New("it has no time")
	}
	code := str(sub(ev.r, "type"), "code")
	words, known := auditWords[code]
	div := html.UnescapeString(str(sub(ev.r, "text"), "div"))
	said := fmt.Sprintf("): %d messages %s", len(list(ev.r, "entity")), words)
	when := fmt.Sprintf(", on %s by the device's own clock.", forPeople(at))
	if !known || !strings.Contains(div, said) || !strings.Contains(div, when) {
		return errors.New("its narrative says something else than its elements")
	}
	return nil
}

// referenceObject is a reference as it is read back.
func referenceObject(r Reference) (out object, err error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("record: a reference: %w", err)
	}
	return out, json.Unmarshal(raw, &out)
}
