package api

import (
	"encoding/hex"
	"net/http"
	"strings"

	"tocsin/node"
	"tocsin/node/message"
)

func (s *Server) postRemoveMember(w http.ResponseWriter, r *http.Request) error {
	var body AddMember
	if err := readJSON(r, &body); err != nil {
		return err
	}
	if err := s.cfg.Node.RemoveMember(r.Context(), r.PathValue("id"), body.Member); err != nil {
		return err
	}
	return s.getGroup(w, r)
}

func (s *Server) postRole(w http.ResponseWriter, r *http.Request) error {
	var body SetRole
	if err := readJSON(r, &body); err != nil {
		return err
	}
	if err := s.cfg.Node.SetRole(r.Context(), r.PathValue("id"), body.Member, body.Role); err != nil {
		return err
	}
	return s.getRoster(w, r)
}

func (s *Server) postLeave(w http.ResponseWriter, r *http.Request) error {
	if err := s.cfg.Node.LeaveGroup(r.Context(), r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) getRoster(w http.ResponseWriter, r *http.Request) error {
	members, err := s.cfg.Node.Roster(r.PathValue("id"))
	if err != nil {
		return err
	}
	if members == nil {
		members = []node.Member{}
	}
	writeJSON(w, http.StatusOK, Roster{members})
	return nil
}

func (s *Server) postHandOver(w http.ResponseWriter, r *http.Request) error {
	var body HandOver
	if err := readJSON(r, &body); err != nil {
		return err
	}
	n, err := s.cfg.Node.HandOver(r.Context(), r.PathValue("id"), body.Member, body.Since)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, HandedOver{n})
	return nil
}

// postErase destroys the keys of messages on this device.
func (s *Server) postErase(w http.ResponseWriter, r *http.Request) error {
	var body Erase
	if err := readJSON(r, &body); err != nil {
		return err
	}
	if len(body.Messages) < 1 || len(body.Messages) > maxErase {
		return invalid("name 1 to %d messages to erase", maxErase)
	}
	for _, id := range body.Messages {
		if b, err := hex.DecodeString(id); err != nil || len(b) != 32 {
			return invalid("each of the messages is an id: 64 hex digits")
		}
	}
	erased, err := s.cfg.Node.EraseMessages(r.Context(), reauth(r), r.PathValue("id"), body.Messages...)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, erased)
	return nil
}

// postBroadcast sends to everybody admitted, past all groups.
func (s *Server) postBroadcast(w http.ResponseWriter, r *http.Request) error {
	var body Broadcast
	if err := readJSON(r, &body); err != nil {
		return err
	}
	if strings.TrimSpace(body.Reason) == "" {
		return invalid("say why everybody must have this: the reason stands with the message for ever")
	}
	if body.Priority == "" {
		body.Priority = "routine"
	}
	m := message.NewText(body.Text, s.cfg.Clock.Now())
	if err := m.Validate(); err != nil {
		return invalid("%s", strings.TrimPrefix(err.Error(), message.ErrInvalid.Error()+": "))
	}
	sent, err := s.cfg.Node.Broadcast(r.Context(), m, body.Priority, strings.TrimSpace(body.Reason))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, sent)
	return nil
}
