package api

import (
	"net/http"
	"path/filepath"

	"tocsin/node"
)

// The bodies of requests about what is carried by hand. Paths are on the node's own machine: these routes are for the command line and for
// scripts, never for a page.
type (
	// ExportBundle is the body of POST /v1/bundles/export.
	ExportBundle struct {
		Path string `json:"path"` // absolute; what is there is replaced
		node.BundleSpec
	}
	// ImportBundle is the body of POST /v1/bundles/import.
	ImportBundle struct {
		Path string `json:"path"` // absolute
	}
	// Prove is the body of POST /v1/proofs.
	Prove struct {
		ID string `json:"id"` // of a message
	}
	// Proof answers it.
	Proof struct {
		Proof []byte `json:"proof"` // the file, base64
	}
)

// absolute refuses paths that would mean another file here than where they were typed.
func absolute(path string) error {
	if !filepath.IsAbs(path) {
		return invalid("the path must be absolute")
	}
	return nil
}

func (s *Server) postExportBundle(w http.ResponseWriter, r *http.Request) error {
	var body ExportBundle
	if err := readJSON(r, &body); err != nil {
		return err
	}
	if err := absolute(body.Path); err != nil {
		return err
	}
	if err := s.longer(w, verifyTimeout); err != nil {
		return err
	}
	info, err := s.cfg.Node.ExportBundle(r.Context(), body.Path, body.BundleSpec, nil)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, info)
	return nil
}

func (s *Server) postImportBundle(w http.ResponseWriter, r *http.Request) error {
	var body ImportBundle
	if err := readJSON(r, &body); err != nil {
		return err
	}
	if err := absolute(body.Path); err != nil {
		return err
	}
	if err := s.longer(w, verifyTimeout); err != nil {
		return err
	}
	report, err := s.cfg.Node.ImportBundle(r.Context(), body.Path, nil)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, report)
	return nil
}

func (s *Server) postProof(w http.ResponseWriter, r *http.Request) error {
	var body Prove
	if err := readJSON(r, &body); err != nil {
		return err
	}
	proof, err := s.cfg.Node.Prove(r.Context(), body.ID)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, Proof{proof})
	return nil
}
