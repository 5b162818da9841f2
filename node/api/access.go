package api

import (
	"context"
	"net/http"

	"tocsin/node"
)

// Accesses is what the API needs of a node for requests for access: a person's own data, freedom of information, a court.
type Accesses interface {
	// Confirm spends a token of Reauth.
	Confirm(token string) error
	// AccessFind says what a request would disclose, and writes nothing.
	AccessFind(ctx context.Context, spec node.AccessSpec) (node.AccessFound, error)
	// AccessExport makes the disclosure, once an entry in every group concerned says so. It needs a token of Reauth.
	AccessExport(ctx context.Context, token string, spec node.AccessSpec) (node.AccessExport, error)
}

// accessTable lists the routes of requests for access.
func (s *Server) accessTable() []route {
	return []route{
		{"POST", "/v1/access/find", user, s.deed(s.postAccessFind)},
		{"POST", "/v1/access", user, s.deed(s.postAccessExport)},
	}
}

func (s *Server) postAccessFind(w http.ResponseWriter, r *http.Request) error {
	var body node.AccessSpec
	if err := readJSON(r, &body); err != nil {
		return err
	}
	// It looks through everything that was ever said here, for whoever asks.
	if err := s.cfg.Node.Confirm(reauth(r)); err != nil {
		return err
	}
	found, err := s.cfg.Node.AccessFind(r.Context(), body)
	if err != nil {
		return err
	}
	found.Messages = append([]node.AccessMessage{}, found.Messages...)
	found.Related = append([]node.AccessRelated{}, found.Related...)
	found.Suggestions = append([]node.AccessSuggestion{}, found.Suggestions...)
	writeJSON(w, http.StatusOK, found)
	return nil
}

// postAccessExport answers with both forms, which say the same, once the log says that they were made.
func (s *Server) postAccessExport(w http.ResponseWriter, r *http.Request) error {
	var body node.AccessSpec
	if err := readJSON(r, &body); err != nil {
		return err
	}
	if err := s.longer(w, fileTimeout); err != nil {
		return err
	}
	made, err := s.cfg.Node.AccessExport(r.Context(), reauth(r), body)
	if err != nil {
		return err
	}
	made.Entries = append([]string{}, made.Entries...)
	writeJSON(w, http.StatusCreated, made)
	return nil
}
