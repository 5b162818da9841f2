package api

import (
	_ "embed"
	"encoding/hex"
	"net/http"
	"strconv"

	"tocsin/node"
)

//go:embed openapi.yaml
var description []byte

func (s *Server) getDescription(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(description) // an error means that the client has gone
	return nil
}

// getHealth answers as long as the process does.
func (s *Server) getHealth(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, Health{"ok"})
	return nil
}

// getReady says whether messages can be read and sent.
func (s *Server) getReady(w http.ResponseWriter, _ *http.Request) error {
	status := s.cfg.Node.Status()
	switch {
	case status.Locked:
		writeJSON(w, http.StatusServiceUnavailable, Health{"locked"})
	case status.Problem != "":
		writeJSON(w, http.StatusServiceUnavailable, Health{"problem"})
	default:
		writeJSON(w, http.StatusOK, Health{"ready"})
	}
	return nil
}

func (s *Server) getStatus(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, s.cfg.Node.Status())
	return nil
}

func (s *Server) postMesh(w http.ResponseWriter, r *http.Request) error {
	var body Mesh
	if err := readJSON(r, &body); err != nil {
		return err
	}
	if body.Online == nil {
		return invalid("say whether the mesh is to be on: {\"online\": true} or {\"online\": false}")
	}
	if err := s.cfg.Node.SetOnline(*body.Online); err != nil {
		return err
	}
	return s.getStatus(w, r)
}

func (s *Server) getPeople(w http.ResponseWriter, _ *http.Request) error {
	people, err := s.cfg.Node.People()
	if err != nil {
		return err
	}
	if people == nil {
		people = []node.Person{}
	}
	writeJSON(w, http.StatusOK, People{people})
	return nil
}

func (s *Server) getGroups(w http.ResponseWriter, _ *http.Request) error {
	conversations, err := s.cfg.Node.Conversations()
	if err != nil {
		return err
	}
	self := s.cfg.Node.Status().Log
	out := Groups{Groups: make([]Group, 0, len(conversations))}
	for _, c := range conversations {
		out.Groups = append(out.Groups, groupOf(c, self))
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// group finds one conversation by its id.
func (s *Server) group(id string) (Group, error) {
	conversations, err := s.cfg.Node.Conversations()
	if err != nil {
		return Group{}, err
	}
	for _, c := range conversations {
		if hex.EncodeToString(c.ID[:]) == id {
			return groupOf(c, s.cfg.Node.Status().Log), nil
		}
	}
	return Group{}, errNoGroup
}

var errNoGroup = &Error{Status: http.StatusNotFound, Code: ErrNotFound.Code, Message: "this device is in no such group", Hint: "list its groups with `tocsin groups`"}

func (s *Server) getGroup(w http.ResponseWriter, r *http.Request) error {
	g, err := s.group(r.PathValue("id"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, g)
	return nil
}

func (s *Server) postGroup(w http.ResponseWriter, r *http.Request) error {
	var spec node.GroupSpec
	if err := readJSON(r, &spec); err != nil {
		return err
	}
	c, err := s.cfg.Node.CreateGroup(r.Context(), spec)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, groupOf(c, s.cfg.Node.Status().Log))
	return nil
}

func (s *Server) postMember(w http.ResponseWriter, r *http.Request) error {
	var body AddMember
	if err := readJSON(r, &body); err != nil {
		return err
	}
	if err := s.cfg.Node.AddMember(r.Context(), r.PathValue("id"), body.Member); err != nil {
		return err
	}
	return s.getGroup(w, r)
}

// getMessages answers with the end of the conversation unless after says otherwise.
func (s *Server) getMessages(w http.ResponseWriter, r *http.Request) error {
	after, err := number(r, "after", -100)
	if err != nil {
		return err
	}
	limit, err := number(r, "limit", 100)
	if err != nil || limit < 1 || limit > maxMessages {
		return invalid("limit is a number from 1 to %d", maxMessages)
	}
	items, err := s.cfg.Node.Messages(r.PathValue("id"), after, limit)
	if err != nil {
		return err
	}
	g, err := s.group(r.PathValue("id"))
	if err != nil {
		return err
	}
	first := after
	if after < 0 {
		first = max(0, g.Count+after)
	}
	out := Messages{Messages: make([]Message, 0, len(items)), First: first, Total: g.Count}
	for _, it := range items {
		out.Messages = append(out.Messages, messageOf(it))
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (s *Server) postMessage(w http.ResponseWriter, r *http.Request) error {
	var body SendText
	if err := readJSON(r, &body); err != nil {
		return err
	}
	if body.Priority == "" {
		body.Priority = "routine"
	}
	m, err := body.content(s)
	if err != nil {
		return err
	}
	if err := broken(m.Validate()); err != nil {
		return err
	}
	sent, err := s.cfg.Node.Send(r.Context(), r.PathValue("id"), m, body.Priority)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, sent)
	return nil
}

func (s *Server) postRead(w http.ResponseWriter, r *http.Request) error {
	if err := s.cfg.Node.MarkRead(r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) getLogs(w http.ResponseWriter, _ *http.Request) error {
	logs, err := s.cfg.Node.Logs()
	if err != nil {
		return err
	}
	if logs == nil {
		logs = []node.LogInfo{}
	}
	writeJSON(w, http.StatusOK, Logs{logs})
	return nil
}

func (s *Server) getLogEntries(w http.ResponseWriter, r *http.Request) error {
	log := r.URL.Query().Get("log")
	if log == "" {
		return invalid("say which log: ?log=…, as GET /v1/logs lists them")
	}
	from, err := number(r, "from", 0)
	if err != nil || from < 0 {
		return invalid("from is a sequence number, 0 or more")
	}
	limit, err := number(r, "limit", 100)
	if err != nil || limit < 1 || limit > maxLogEntries {
		return invalid("limit is a number from 1 to %d", maxLogEntries)
	}
	entries, err := s.cfg.Node.LogEntries(r.Context(), log, uint64(from), limit)
	if err != nil {
		return err
	}
	if entries == nil {
		entries = []node.EntryInfo{}
	}
	writeJSON(w, http.StatusOK, LogEntries{entries})
	return nil
}

// number reads a query parameter.
func number(r *http.Request, name string, otherwise int) (int, error) {
	given := r.URL.Query().Get(name)
	if given == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(given, 10, 32)
	if err != nil {
		return 0, invalid("%s is a whole number", name)
	}
	return int(n), nil
}

// postVerify reads every entry that is held, which may take minutes; the request's end stops it.
func (s *Server) postVerify(w http.ResponseWriter, r *http.Request) error {
	if err := s.longer(w, verifyTimeout); err != nil {
		return err
	}
	report, err := s.cfg.Node.VerifyLogs(r.Context(), func(uint64, uint64) {})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, VerifiedOf(report))
	return nil
}

func (s *Server) postCode(w http.ResponseWriter, _ *http.Request) error {
	code, ends, err := s.keys.newCode()
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, Code{Code: code, URL: s.codeURL(code), Ends: ends.UTC()})
	return nil
}

// postSession lets a browser in for a one-time code. It authenticates by the code itself; a page of another origin
// is stopped by the guard before it can try one.
func (s *Server) postSession(w http.ResponseWriter, r *http.Request) error {
	var body TakeCode
	if err := readJSON(r, &body); err != nil {
		return err
	}
	cookie, token, ends, err := s.keys.redeem(body.Code)
	if err != nil {
		return err
	}
	http.SetCookie(w, &http.Cookie{
		Name: s.cookie, Value: cookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode,
		MaxAge: int(sessionLife.Seconds()),
	})
	writeJSON(w, http.StatusCreated, Session{Token: token, Ends: ends.UTC()})
	return nil
}

// deleteSession logs the browser out.
func (s *Server) deleteSession(w http.ResponseWriter, r *http.Request) error {
	cookie, err := r.Cookie(s.cookie)
	if err != nil || passOf(r.Context()).via != viaSession {
		return invalid("only a browser has a session to end")
	}
	s.keys.endSession(cookie.Value)
	http.SetCookie(w, &http.Cookie{Name: s.cookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, MaxAge: -1})
	w.WriteHeader(http.StatusNoContent)
	return nil
}
