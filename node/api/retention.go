package api

import (
	"net/http"
	"strings"

	"tocsin/node"
)

type (
	// SetRetention is the body of PUT /v1/groups/{id}/retention.
	SetRetention struct {
		Days *int `json:"days"` // 0: kept until somebody erases them
	}
	// Holds answers GET /v1/groups/{id}/holds.
	Holds struct {
		Holds []node.HoldView `json:"holds"`
	}
	// PlaceHold is the body of POST /v1/groups/{id}/holds.
	PlaceHold struct {
		Basis  string `json:"basis"` // legal, clinical or inquiry
		Reason string `json:"reason"`
	}
	// EndHold is the body of POST /v1/groups/{id}/holds/{hold}/end.
	EndHold struct {
		Reason string `json:"reason"`
	}
	// SettleIncident is the body of POST /v1/groups/{id}/incident/settle.
	SettleIncident struct {
		Mode   string `json:"mode"` // live or exercise
		Reason string `json:"reason"`
	}
	// OrderErasure is the body of POST /v1/groups/{id}/erasure.
	OrderErasure struct {
		Messages []string `json:"messages"`
		Reason   string   `json:"reason"`
	}
)

func (s *Server) getRetention(w http.ResponseWriter, r *http.Request) error {
	v, err := s.cfg.Node.Retention(r.PathValue("id"))
	if err != nil {
		return err
	}
	v.Kept = append([]string{}, v.Kept...)
	writeJSON(w, http.StatusOK, v)
	return nil
}

func (s *Server) putRetention(w http.ResponseWriter, r *http.Request) error {
	var body SetRetention
	if err := readJSON(r, &body); err != nil {
		return err
	}
	if body.Days == nil || *body.Days < 0 {
		return invalid("say for how many days the messages are kept: {\"days\": 30}; 0 keeps them until somebody erases them")
	}
	if err := s.cfg.Node.SetRetention(r.Context(), reauth(r), r.PathValue("id"), *body.Days); err != nil {
		return err
	}
	return s.getRetention(w, r)
}

func (s *Server) getHolds(w http.ResponseWriter, r *http.Request) error {
	holds, err := s.cfg.Node.Holds(r.PathValue("id"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, Holds{append([]node.HoldView{}, holds...)})
	return nil
}

// reason demands one: it stands in the log for ever.
func reason(given, of string) (string, error) {
	said := strings.TrimSpace(given)
	if said == "" {
		return "", invalid("say why %s: the reason stands in the log", of)
	}
	return said, nil
}

func (s *Server) postHold(w http.ResponseWriter, r *http.Request) error {
	var body PlaceHold
	if err := readJSON(r, &body); err != nil {
		return err
	}
	why, err := reason(body.Reason, "the messages are held")
	if err != nil {
		return err
	}
	sent, err := s.cfg.Node.PlaceHold(r.Context(), reauth(r), r.PathValue("id"), body.Basis, why)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, sent)
	return nil
}

func (s *Server) postEndHold(w http.ResponseWriter, r *http.Request) error {
	var body EndHold
	if err := readJSON(r, &body); err != nil {
		return err
	}
	why, err := reason(body.Reason, "the hold ends")
	if err != nil {
		return err
	}
	sent, err := s.cfg.Node.EndHold(r.Context(), reauth(r), r.PathValue("id"), r.PathValue("hold"), why)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, sent)
	return nil
}

func (s *Server) postSettle(w http.ResponseWriter, r *http.Request) error {
	var body SettleIncident
	if err := readJSON(r, &body); err != nil {
		return err
	}
	why, err := reason(body.Reason, "it is the one and not the other")
	if err != nil {
		return err
	}
	sent, err := s.cfg.Node.SettleIncident(r.Context(), reauth(r), r.PathValue("id"), body.Mode, why)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, sent)
	return nil
}

// postErasure orders every member's device to erase messages.
func (s *Server) postErasure(w http.ResponseWriter, r *http.Request) error {
	var body OrderErasure
	if err := readJSON(r, &body); err != nil {
		return err
	}
	if len(body.Messages) < 1 || len(body.Messages) > maxErase {
		return invalid("name 1 to %d messages to erase", maxErase)
	}
	why, err := reason(body.Reason, "the messages are erased")
	if err != nil {
		return err
	}
	sent, err := s.cfg.Node.OrderErasure(r.Context(), reauth(r), r.PathValue("id"), why, body.Messages...)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, sent)
	return nil
}

// postRetain does now what the node does every hour by itself.
func (s *Server) postRetain(w http.ResponseWriter, r *http.Request) error {
	erased, err := s.cfg.Node.Retain(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, erased)
	return nil
}
