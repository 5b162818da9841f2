package api

import (
	"context"
	"net/http"

	"tocsin/node"
)

// ImportPaper is the body of POST /v1/bundles/scan.
type ImportPaper struct {
	Codes []string `json:"codes"` // read from pictures or typed, in any order
}

func (s *Server) postExportPaper(w http.ResponseWriter, r *http.Request) error {
	var body node.PaperSpec
	if err := readJSON(r, &body); err != nil {
		return err
	}
	info, err := s.cfg.Node.ExportPaper(r.Context(), body)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, info)
	return nil
}

func (s *Server) postImportPaper(w http.ResponseWriter, r *http.Request) error {
	var body ImportPaper
	if err := readJSON(r, &body); err != nil {
		return err
	}
	report, err := s.cfg.Node.ImportPaper(r.Context(), body.Codes)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, report)
	return nil
}

// ExportPaper makes a sheet of codes that carries messages.
func (c *Client) ExportPaper(ctx context.Context, spec node.PaperSpec) (out node.PaperInfo, err error) {
	return out, c.do(ctx, "POST", "/v1/bundles/paper", spec, &out)
}

// ImportPaper takes what the codes of sheets bring.
func (c *Client) ImportPaper(ctx context.Context, codes []string) (out node.PaperReport, err error) {
	return out, c.do(ctx, "POST", "/v1/bundles/scan", ImportPaper{codes}, &out)
}
