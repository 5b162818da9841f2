package api

import (
	"context"
	"errors"
	"io"

	"tocsin/node"
)

// fakeTransfers is what the fake node was asked about the record, and what it does. The node's mutex guards it.
type fakeTransfers struct {
	attributed node.Patient    // by the last Attribute
	named      []string        // messages of the last request that names some
	breaks     bool            // ExportRecord fails in the middle
	days       int             // of the last SetRetention
	settled    string          // the mode of the last SettleIncident
	asked      node.AccessSpec // of the last request for access
}

var bay = node.TransferGroup{Group: hexGroup(1), Name: "Ward 5 evacuation", Kind: "incident", Mode: "live", State: "declared", Words: "One message waits.",
	TransferCounts: node.TransferCounts{Waiting: 1}, Progress: &node.TransferProgress{Group: hexGroup(1), State: "done", Started: born, Ended: born}}

// queuedItem is one message in the queue, as full as one can be.
var queuedItem = node.TransferItem{ID: hexGroup(9), Group: hexGroup(1), Kind: "text", Summary: "Lift B is out", From: "Ben Carter", Person: ben.Person, Sent: born, Received: born,
	Priority: "urgent", Tag: "A-003", State: node.TransferDone, Patient: &node.Patient{NHSNumber: "9990000018", Words: "999 000 0018"}, ReviewedBy: amara.Person, ReviewedAt: born,
	Corrected: 1, SignedOffBy: amara.Person, SignedOffAt: born, Refused: "no", Record: "https://record.nhs.example", Location: "Communication/7", TransferredAt: born,
	TransferredBy: amara.Person, Notes: []string{"its author's clock was wrong"}}

func (f *fakeNode) TransferQueue() ([]node.TransferGroup, error) {
	return []node.TransferGroup{bay}, f.failure()
}

func (f *fakeNode) TransferMessages(_ string, q node.TransferFilter) ([]node.TransferItem, error) {
	if err := f.failure(); err != nil || q.State == node.TransferWaiting {
		return nil, err
	}
	return []node.TransferItem{queuedItem}, nil
}

func (f *fakeNode) Attribute(_ string, p node.Patient, ids ...string) (node.TransferCounts, error) {
	f.set(func() { f.transfers.attributed, f.transfers.named = p, ids })
	return node.TransferCounts{Reviewed: 1}, f.failure()
}

func (f *fakeNode) SignOff(token, _ string, ids ...string) (node.TransferCounts, error) {
	f.set(func() { f.transfers.named = ids })
	return node.TransferCounts{SignedOff: 1}, errors.Join(f.failure(), f.spend(token))
}

func (f *fakeNode) WithdrawSignOff(_ string, ids ...string) (node.TransferCounts, error) {
	f.set(func() { f.transfers.named = ids })
	return node.TransferCounts{Reviewed: 1}, f.failure()
}

func (f *fakeNode) ExportRecord(_ context.Context, token, _ string, w io.Writer) (node.RecordExport, error) {
	if err := errors.Join(f.failure(), f.spend(token)); err != nil {
		return node.RecordExport{}, err
	}
	const document = `{"resourceType":"Bundle","type":"document","entry":[]}`
	var breaks bool
	f.set(func() { breaks = f.transfers.breaks })
	if breaks {
		_, err := io.WriteString(w, document[:20])
		return node.RecordExport{}, errors.Join(err, errors.New("the disk is gone"))
	}
	_, err := io.WriteString(w, document)
	return node.RecordExport{Messages: 1, Bytes: int64(len(document))}, err
}

func (f *fakeNode) SendRecord(token, group string) (node.TransferProgress, error) {
	return node.TransferProgress{Group: group, State: "running", Messages: 1, Refused: []node.RefusedMessage{{ID: hexGroup(9), Reason: "no"}}}, errors.Join(f.failure(), f.spend(token))
}

func (f *fakeNode) TransferProgress(group string) (node.TransferProgress, error) {
	return *bay.Progress, f.failure()
}

func (f *fakeNode) StopTransfer(string) error { return f.failure() }

func (f *fakeNode) Retention(string) (node.RetentionView, error) {
	return node.RetentionView{Days: 30, Source: "default", Words: "Kept for 30 days after the incident's end.", Kept: []string{"1 message is not in the record"}}, f.failure()
}

var held = node.HoldView{ID: hexGroup(8), Basis: "inquiry", Reason: "Inquiry", By: "Amara Okafor", Person: amara.Person, At: born, Ended: true, EndedBy: "Amara Okafor", EndedAt: born, EndReason: "closed"}

func (f *fakeNode) SetRetention(_ context.Context, token, _ string, days int) error {
	f.set(func() { f.transfers.days = days })
	return errors.Join(f.failure(), f.spend(token))
}

func (f *fakeNode) Holds(string) ([]node.HoldView, error) { return []node.HoldView{held}, f.failure() }

func (f *fakeNode) PlaceHold(_ context.Context, token, _, _, _ string) (node.Sent, error) {
	return node.Sent{ID: hexGroup(7), State: "saved"}, errors.Join(f.failure(), f.spend(token))
}

func (f *fakeNode) EndHold(_ context.Context, token, _, _, _ string) (node.Sent, error) {
	return node.Sent{ID: hexGroup(7), State: "saved"}, errors.Join(f.failure(), f.spend(token))
}

func (f *fakeNode) SettleIncident(_ context.Context, token, _, mode, _ string) (node.Sent, error) {
	f.set(func() { f.transfers.settled = mode })
	return node.Sent{ID: hexGroup(7), State: "saved"}, errors.Join(f.failure(), f.spend(token))
}

func (f *fakeNode) OrderErasure(_ context.Context, token, _, _ string, ids ...string) (node.Sent, error) {
	f.set(func() { f.transfers.named = ids })
	return node.Sent{ID: hexGroup(7), State: "saved"}, errors.Join(f.failure(), f.spend(token))
}

func (f *fakeNode) Retain(context.Context) (node.Erased, error) {
	return node.Erased{Words: "Nothing is due."}, f.failure()
}

func (f *fakeNode) AccessFind(_ context.Context, spec node.AccessSpec) (node.AccessFound, error) {
	f.set(func() { f.transfers.asked = spec })
	return node.AccessFound{Searched: 3, Found: 1, Messages: []node.AccessMessage{{ID: hexGroup(9), Group: hexGroup(1), Name: "Ward 5 evacuation", Kind: "text", Sent: born}},
		Related: []node.AccessRelated{{AccessMessage: node.AccessMessage{ID: hexGroup(6), Sent: born}, To: hexGroup(9)}}, Suggestions: []node.AccessSuggestion{{Entry: hexGroup(9), Words: "JS", Kind: "initials"}}}, f.failure()
}

func (f *fakeNode) AccessExport(_ context.Context, token string, spec node.AccessSpec) (node.AccessExport, error) {
	f.set(func() { f.transfers.asked = spec })
	return node.AccessExport{Page: []byte("<p>"), Machine: []byte("{}"), Messages: 1, Entries: []string{hexGroup(7)}}, errors.Join(f.failure(), f.spend(token))
}

func (f *fakeNode) Confirm(token string) error { return errors.Join(f.failure(), f.spend(token)) }
