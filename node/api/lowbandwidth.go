package api

import (
	"context"
	"net/http"

	"tocsin/node"
)

// SetLowBandwidth is the body of POST /v1/mesh/low-bandwidth.
type SetLowBandwidth struct {
	Mode string `json:"mode"` // auto, on or off
}

func (s *Server) postLowBandwidth(w http.ResponseWriter, r *http.Request) error {
	var in SetLowBandwidth
	if err := readJSON(r, &in); err != nil {
		return err
	}
	if err := s.cfg.Node.SetThrift(in.Mode); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, s.cfg.Node.Thrift())
	return nil
}

// SetLowBandwidth sets low-bandwidth mode ("auto", "on" or "off") until the node is restarted.
func (c *Client) SetLowBandwidth(ctx context.Context, mode string) (out node.ThriftState, err error) {
	return out, c.do(ctx, "POST", "/v1/mesh/low-bandwidth", SetLowBandwidth{Mode: mode}, &out)
}
