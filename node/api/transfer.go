package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"tocsin/node"
)

// Transfers is what the API needs of a node for the medical record: what is handed over, and how long anything is kept.
// The errors are those of Node. Whatever hands messages out, releases or erases them asks for a token of Reauth.
type Transfers interface {
	TransferQueue() ([]node.TransferGroup, error)
	TransferMessages(group string, q node.TransferFilter) ([]node.TransferItem, error)
	// Attribute says which patient messages are about; a Patient without a number: about none.
	Attribute(group string, p node.Patient, ids ...string) (node.TransferCounts, error)
	// SignOff releases messages for the record, without ids all that were reviewed; WithdrawSignOff takes that back until they are sent.
	SignOff(token, group string, ids ...string) (node.TransferCounts, error)
	WithdrawSignOff(group string, ids ...string) (node.TransferCounts, error)
	// ExportRecord writes a whole conversation. After an error what was written must not be used.
	ExportRecord(ctx context.Context, token, group string, w io.Writer) (node.RecordExport, error)
	// SendRecord begins to send in the background what was signed off.
	SendRecord(token, group string) (node.TransferProgress, error)
	TransferProgress(group string) (node.TransferProgress, error)
	StopTransfer(group string) error

	Retention(group string) (node.RetentionView, error)
	SetRetention(ctx context.Context, token, group string, days int) error
	Holds(group string) ([]node.HoldView, error)
	PlaceHold(ctx context.Context, token, group, basis, reason string) (node.Sent, error)
	EndHold(ctx context.Context, token, group, hold, reason string) (node.Sent, error)
	// OrderErasure has every member's device erase messages, once they are in the record and nothing holds them.
	OrderErasure(ctx context.Context, token, group, reason string, ids ...string) (node.Sent, error)
	// SettleIncident says for good whether an incident is live or an exercise, where those who run it say both.
	SettleIncident(ctx context.Context, token, group, mode, reason string) (node.Sent, error)
	// Retain erases now what is due.
	Retain(ctx context.Context) (node.Erased, error)
}

// transferTable lists the routes of the record.
func (s *Server) transferTable() []route {
	return []route{
		{"GET", "/v1/transfer", user, s.getTransferQueue},
		{"GET", "/v1/groups/{id}/transfer", user, s.getTransferMessages},
		{"POST", "/v1/groups/{id}/transfer/attribute", user, s.deed(s.postAttribute)},
		{"POST", "/v1/groups/{id}/transfer/sign-off", user, s.deed(s.postSignOff)},
		{"POST", "/v1/groups/{id}/transfer/withdraw", user, s.deed(s.postWithdrawSignOff)},
		{"POST", "/v1/groups/{id}/transfer/export", user, s.deed(s.postExportRecord)},
		{"POST", "/v1/groups/{id}/transfer/send", user, s.deed(s.postSendRecord)},
		{"GET", "/v1/groups/{id}/transfer/send", user, s.getTransferProgress},
		{"DELETE", "/v1/groups/{id}/transfer/send", user, s.deed(s.deleteTransfer)},

		{"GET", "/v1/groups/{id}/retention", user, s.getRetention},
		{"PUT", "/v1/groups/{id}/retention", user, s.deed(s.putRetention)},
		{"GET", "/v1/groups/{id}/holds", user, s.getHolds},
		{"POST", "/v1/groups/{id}/holds", user, s.deed(s.postHold)},
		{"POST", "/v1/groups/{id}/holds/{hold}/end", user, s.deed(s.postEndHold)},
		{"POST", "/v1/groups/{id}/erasure", user, s.deed(s.postErasure)},
		{"POST", "/v1/groups/{id}/incident/settle", user, s.deed(s.postSettle)},
		{"POST", "/v1/retention", script, s.deed(s.postRetain)},
	}
}

type (
	// TransferQueue answers GET /v1/transfer.
	TransferQueue struct {
		Groups []node.TransferGroup `json:"groups"`
		// Record is where the node sends to, empty where no endpoint is set.
		Record string `json:"record"`
	}
	// TransferMessages answers GET /v1/groups/{id}/transfer.
	TransferMessages struct {
		Messages []node.TransferItem `json:"messages"`
	}
	// Attribute is the body of POST /v1/groups/{id}/transfer/attribute. Without a patient the messages are about no single one.
	Attribute struct {
		Messages []string      `json:"messages"`
		Patient  *node.Patient `json:"patient"`
	}
	// SignOff is the body of the routes that sign off and take that back. Without messages: all that were reviewed.
	SignOff struct {
		Messages []string `json:"messages"`
	}
)

func (s *Server) getTransferQueue(w http.ResponseWriter, _ *http.Request) error {
	groups, err := s.cfg.Node.TransferQueue()
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, TransferQueue{each(groups, groupForPeople), s.cfg.Record})
	return nil
}

func groupForPeople(g node.TransferGroup) node.TransferGroup {
	if g.Progress != nil {
		p := forPeople(*g.Progress)
		g.Progress = &p
	}
	return g
}

// forPeople takes the name of a package off what is said to people.
func forPeople(p node.TransferProgress) node.TransferProgress {
	p.Stopped = strings.TrimPrefix(p.Stopped, "record: ")
	return p
}

func (s *Server) getTransferMessages(w http.ResponseWriter, r *http.Request) error {
	limit, err := number(r, "limit", maxMessages)
	if err != nil || limit < 1 || limit > maxMessages {
		return invalid("limit is a number from 1 to %d", maxMessages)
	}
	q := r.URL.Query()
	items, err := s.cfg.Node.TransferMessages(r.PathValue("id"), node.TransferFilter{State: q.Get("state"), NHSNumber: q.Get("nhs_number"), Tag: q.Get("tag"), Limit: limit, After: q.Get("after")})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, TransferMessages{append([]node.TransferItem{}, items...)})
	return nil
}

func (s *Server) postAttribute(w http.ResponseWriter, r *http.Request) error {
	var body Attribute
	if err := readJSON(r, &body); err != nil {
		return err
	}
	if len(body.Messages) == 0 {
		return invalid("name the messages that were reviewed")
	}
	var p node.Patient
	if body.Patient != nil {
		p = *body.Patient
	}
	counts, err := s.cfg.Node.Attribute(r.PathValue("id"), p, body.Messages...)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, counts)
	return nil
}

func (s *Server) postSignOff(w http.ResponseWriter, r *http.Request) error {
	var body SignOff
	if err := readJSON(r, &body); err != nil {
		return err
	}
	counts, err := s.cfg.Node.SignOff(reauth(r), r.PathValue("id"), body.Messages...)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, counts)
	return nil
}

func (s *Server) postWithdrawSignOff(w http.ResponseWriter, r *http.Request) error {
	var body SignOff
	if err := readJSON(r, &body); err != nil {
		return err
	}
	if len(body.Messages) == 0 {
		return invalid("name the messages whose sign-off is withdrawn")
	}
	counts, err := s.cfg.Node.WithdrawSignOff(r.PathValue("id"), body.Messages...)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, counts)
	return nil
}

// FHIR's media type, and the trailer in which an export says what it was.
const (
	fhirType      = "application/fhir+json"
	exportTrailer = "Tocsin-Export"
)

// exportWriter puts off the headers of an answer until there is something to answer with, so that what fails before says why.
type exportWriter struct {
	w     http.ResponseWriter
	begun bool
}

func (e *exportWriter) Write(p []byte) (int, error) {
	if !e.begun {
		e.begun = true
		h := e.w.Header()
		h.Set("Content-Type", fhirType)
		h.Set("Content-Disposition", `attachment; filename="incident.json"`)
		h.Set("Trailer", exportTrailer)
	}
	return e.w.Write(p)
}

// postExportRecord streams the document. What fails in the middle ends the connection, so that nobody takes half a document for a whole one.
func (s *Server) postExportRecord(w http.ResponseWriter, r *http.Request) error {
	if err := s.longer(w, fileTimeout); err != nil {
		return err
	}
	out := &exportWriter{w: w}
	made, err := s.cfg.Node.ExportRecord(r.Context(), reauth(r), r.PathValue("id"), out)
	if err != nil && !out.begun {
		return err
	}
	if err != nil {
		s.cfg.Logger.Warn("an export to the record ended in the middle", "err", err)
		if err := http.NewResponseController(w).Flush(); err != nil {
			return nil // the client has gone
		}
		panic(http.ErrAbortHandler) // net/http's word for ending the connection
	}
	said, err := json.Marshal(made)
	if err != nil {
		return err
	}
	w.Header().Set(exportTrailer, string(said))
	return nil
}

func (s *Server) postSendRecord(w http.ResponseWriter, r *http.Request) error {
	p, err := s.cfg.Node.SendRecord(reauth(r), r.PathValue("id"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusAccepted, forPeople(p))
	return nil
}

func (s *Server) getTransferProgress(w http.ResponseWriter, r *http.Request) error {
	p, err := s.cfg.Node.TransferProgress(r.PathValue("id"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, forPeople(p))
	return nil
}

func (s *Server) deleteTransfer(w http.ResponseWriter, r *http.Request) error {
	if err := s.cfg.Node.StopTransfer(r.PathValue("id")); err != nil {
		return err
	}
	return s.getTransferProgress(w, r)
}
