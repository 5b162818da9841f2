package api

import (
	"context"
	"net/http"

	"tocsin/node"
)

// Forks answers GET /v1/forks: logs whose author signed two entries at one place, with both branches.
type Forks struct {
	Forks []node.Fork `json:"forks"`
}

func (s *Server) getForks(w http.ResponseWriter, r *http.Request) error {
	forks, err := s.cfg.Node.Forks(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, Forks{forks})
	return nil
}

// Forks lists the logs whose author signed two entries at one place, with both branches.
func (c *Client) Forks(ctx context.Context) ([]node.Fork, error) {
	var out Forks
	err := c.do(ctx, "GET", "/v1/forks", nil, &out)
	return out.Forks, err
}
