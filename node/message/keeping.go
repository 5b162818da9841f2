package message

import (
	"encoding/hex"
	"fmt"
)

// What is said about keeping: that messages must stay, that they are to go, and that some of them were shown to somebody outside.

// HoldBasis is why messages must stay.
type HoldBasis string

// The bases.
const (
	HoldLegal    HoldBasis = "legal"
	HoldClinical HoldBasis = "clinical"
	HoldInquiry  HoldBasis = "inquiry"
)

// Hold keeps everything of its group from being erased, until it is ended.
type Hold struct {
	private
	Basis  HoldBasis
	Reason string
}

func holdChoices() []Choice {
	return []Choice{{string(HoldLegal), "Legal"}, {string(HoldClinical), "Clinical"}, {string(HoldInquiry), "Inquiry"}}
}

func (h *Hold) Kind() Kind { return KindHold }
func (h *Hold) Summary() string {
	return "Hold, nothing is erased: " + joined(" · ", label(holdChoices(), string(h.Basis)), h.Reason)
}
func (h *Hold) Fields() []Field {
	return []Field{
		{Number: 0, Name: "basis", Label: "Basis", Required: true, value: choice(&h.Basis, holdChoices()...)},
		{Number: 1, Name: "reason", Label: "Reason", Required: true, value: prose(&h.Reason, MaxProse)},
	}
}

// HoldEnd ends a hold.
type HoldEnd struct {
	private
	Hold   EntryID
	Reason string
}

func (h *HoldEnd) Kind() Kind      { return KindHoldEnd }
func (h *HoldEnd) Summary() string { return "Hold ended: " + h.Reason }
func (h *HoldEnd) Fields() []Field {
	return []Field{
		{Number: 0, Name: "hold", Label: "Hold", Required: true, value: entry(&h.Hold)},
		{Number: 1, Name: "reason", Label: "Reason", Required: true, value: prose(&h.Reason, MaxProse)},
	}
}

// MaxErase is the most messages of one order.
const MaxErase = 512

// Erase orders every member's device to erase messages of the group. A device does so once they stand in the record and no hold is in
// force; what is left of them is said in docs/data-protection.md.
type Erase struct {
	private
	Entries []EntryID
	Reason  string
}

func (e *Erase) Kind() Kind { return KindErase }
func (e *Erase) Summary() string {
	return fmt.Sprintf("Order to erase %d %s: %s", len(e.Entries), plural(len(e.Entries), "message", "messages"), e.Reason)
}
func (e *Erase) Fields() []Field {
	return []Field{
		{Number: 0, Name: "entries", Label: "Messages", Required: true, value: entries(&e.Entries, MaxErase)},
		{Number: 1, Name: "reason", Label: "Reason", Required: true, value: prose(&e.Reason, MaxProse)},
	}
}

// DisclosedBasis is why messages were exported.
type DisclosedBasis string

// The bases.
const (
	DisclosedSubjectAccess DisclosedBasis = "subject-access"
	DisclosedFOI           DisclosedBasis = "freedom-of-information"
	DisclosedCourt         DisclosedBasis = "court"
	DisclosedRecord        DisclosedBasis = "record-file" // the whole group, for the medical record, to a file
	DisclosedOther         DisclosedBasis = "other"
)

const (
	// MaxDisclosed is the most messages that one message says were exported.
	MaxDisclosed = 512
	maxSums      = 2
	sumLength    = 64
)

// Disclosed says that messages of the group were exported, so that every member knows. It does not say about whom.
type Disclosed struct {
	private
	Basis     DisclosedBasis
	Reference string // the organisation's number for the request
	Entries   []EntryID
	// Sums are the SHA-256 of the files that were written, in hexadecimal.
	Sums []string
}

func disclosedChoices() []Choice {
	return []Choice{{string(DisclosedSubjectAccess), "Subject access"}, {string(DisclosedFOI), "Freedom of information"}, {string(DisclosedCourt), "Court"},
		{string(DisclosedRecord), "Record, to a file"}, {string(DisclosedOther), "Other"}}
}

func (d *Disclosed) Kind() Kind { return KindDisclosed }
func (d *Disclosed) Summary() string {
	return fmt.Sprintf("Exported %d %s: %s · %s", len(d.Entries), plural(len(d.Entries), "message", "messages"), label(disclosedChoices(), string(d.Basis)), d.Reference)
}
func (d *Disclosed) Fields() []Field {
	sums := list(&d.Sums, maxSums, sumLength)
	sums.shape = checkSum
	return []Field{
		{Number: 0, Name: "basis", Label: "Basis", Required: true, value: choice(&d.Basis, disclosedChoices()...)},
		{Number: 1, Name: "reference", Label: "Reference", Required: true, value: line(&d.Reference, MaxLine)},
		{Number: 2, Name: "entries", Label: "Messages", Required: true, value: entries(&d.Entries, MaxDisclosed)},
		{Number: 3, Name: "sums", Label: "SHA-256 of the files", value: sums},
	}
}

func checkSum(s string) error {
	if raw, err := hex.DecodeString(s); err != nil || hex.EncodeToString(raw) != s || len(s) != sumLength {
		return fmt.Errorf("is no SHA-256: 64 hexadecimal characters")
	}
	return nil
}
