package api

import (
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"

	"tocsin/node/inbox"
	"tocsin/node/message"
)

func (s *Server) getKinds(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, Kinds{each(message.Kinds(), kindOf)})
	return nil
}

// content makes what is to be sent from a body: a text, or the form of a kind.
func (m SendText) content(s *Server) (message.Message, error) {
	now := s.cfg.Clock.Now()
	if m.Kind == "" || m.Kind == string(message.KindText) && len(m.Fields) == 0 {
		out := message.NewText(m.Text, now)
		out.For = m.For
		if m.ReplyTo != "" {
			if err := message.Fill(out.Content, map[string][]string{"reply-to": {m.ReplyTo}}); err != nil {
				return out, invalid("reply_to is the id of a message: 64 hex digits")
			}
		}
		return out, nil
	}
	out := message.Message{Sent: now, Content: message.New(message.Kind(m.Kind)), For: m.For}
	switch {
	case out.Content == nil:
		return out, invalid("there is no kind of message called %q; GET /v1/kinds lists them", m.Kind)
	case m.Text != "" || m.ReplyTo != "":
		return out, invalid("a message of kind %s says everything in its fields; leave text and reply_to out", m.Kind)
	case message.Kind(m.Kind).Made() && m.Kind != string(message.KindReceipt):
		return out, invalid("messages of kind %s are made by devices", m.Kind)
	case m.Kind == string(message.KindAttachment):
		return out, invalid("send the file itself to /v1/groups/{id}/attachments")
	}
	if i, ok := out.Content.(*message.Incident); ok {
		if err := message.Fill(out.Content, m.Fields); err != nil {
			return out, broken(err)
		}
		if len(i.Overrules) > 0 {
			return out, invalid("whether an incident is live or an exercise is settled at /v1/groups/{id}/incident/settle")
		}
		return out, nil
	}
	return out, broken(message.Fill(out.Content, m.Fields))
}

// broken is an error of the message package without its prefix, for people.
func broken(err error) error {
	if err == nil {
		return nil
	}
	return invalid("%s", strings.TrimPrefix(err.Error(), message.ErrInvalid.Error()+": "))
}

func (s *Server) postAcknowledge(w http.ResponseWriter, r *http.Request) error {
	sent, err := s.cfg.Node.Acknowledge(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, sent)
	return nil
}

func (s *Server) getBoard(w http.ResponseWriter, r *http.Request) error {
	b, err := s.cfg.Node.Board(r.PathValue("id"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, boardOf(b))
	return nil
}

// maxFound is how many messages a search finds at most.
const maxFound = 500

func (s *Server) getSearch(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	query := inbox.Query{Words: q.Get("words"), Person: q.Get("person"), Kind: message.Kind(q.Get("kind")), Tag: q.Get("tag"), Limit: 100}
	if g := q.Get("group"); g != "" {
		raw, err := hex.DecodeString(g)
		if err != nil || len(raw) != len(inbox.GroupID{}) {
			return invalid("group is the id of a conversation: 64 hex digits")
		}
		query.Group = (*inbox.GroupID)(raw)
	}
	if l := q.Get("limit"); l != "" {
		n, err := strconv.Atoi(l)
		if err != nil || n < 1 || n > maxFound {
			return invalid("limit is a number from 1 to %d", maxFound)
		}
		query.Limit = n
	}
	found, err := s.cfg.Node.Search(query)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, Found{each(found, messageOf)})
	return nil
}

// postDraft looks at a text that is being written; it keeps nothing of it.
func (s *Server) postDraft(w http.ResponseWriter, r *http.Request) error {
	var body Draft
	if err := readJSON(r, &body); err != nil {
		return err
	}
	found := s.cfg.Node.Draft(body.Text)
	out := DraftView{Found: each(found, func(f message.Found) Identifier {
		return Identifier{Kind: string(f.Kind), Words: f.Kind.Words(), From: f.From, To: f.To}
	}), Replaced: message.Replace(body.Text, found, body.With)}
	writeJSON(w, http.StatusOK, out)
	return nil
}
