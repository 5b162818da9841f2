package api

import (
	"context"
	"net/http"
	"time"

	"tocsin/node"
)

// Peers answers GET /v1/peers: the devices this one is connected to, and those
// that were cut off.
type Peers struct {
	Peers []Peer `json:"peers"`
	// Warning is empty, or one sentence on what all neighbours have in common.
	Warning string `json:"warning,omitempty"`
	// Cuts are the last neighbours that were cut off, newest first.
	Cuts []Cut `json:"cuts"`
}

// Peer is a device that this one is connected to.
type Peer struct {
	ID        string    `json:"id"`
	Org       string    `json:"org"`
	Addr      string    `json:"addr"`
	Transport string    `json:"transport"`
	Inbound   bool      `json:"inbound"`
	Since     time.Time `json:"since"`
	LatencyMS float64   `json:"latency_ms"` // 0 while not measured
	Goodput   float64   `json:"goodput"`    // bytes a second while it was busy; 0 where it was not in the last two minutes
	Loss      float64   `json:"loss"`       // share of packets lost; 0 where not known
	Queued    int       `json:"queued"`     // bytes that wait to be sent to it
	Score     float64   `json:"score"`      // 0 for a good neighbour, below for a bad one
	Found     string    `json:"found"`      // how it was found; empty if it came to us
}

// Cut is a device that was cut off for a while.
type Cut struct {
	ID     string    `json:"id"`
	Org    string    `json:"org"`
	Reason string    `json:"reason"`
	Words  string    `json:"words"` // the reason, for people
	At     time.Time `json:"at"`
	Until  time.Time `json:"until"`
}

// cutWords say why a neighbour was cut off.
var cutWords = map[string]string{
	"malformed":   "sent what is no message of the mesh",
	"rejected":    "sent entries with wrong signatures",
	"wrong-topic": "sent routine messages as urgent ones",
	"flood":       "sent more than any device should",
	"restless":    "came and went without end",
	"sync":        "broke the rules of synchronisation",
	"spoiled":     "handed on entries that it had spoilt",
	"wrong-bytes": "answered with other bytes than asked for",
	"blob":        "answered with other bytes than asked for",
}

func wordsOfCut(reason string) string {
	if w, ok := cutWords[reason]; ok {
		return w
	}
	return "broke the rules of the mesh"
}

func (s *Server) getPeers(w http.ResponseWriter, _ *http.Request) error {
	out := Peers{Peers: []Peer{}, Cuts: []Cut{}, Warning: s.cfg.Node.PeersWarning()}
	for _, p := range s.cfg.Node.Peers() {
		out.Peers = append(out.Peers, peerOf(p))
	}
	for _, c := range s.cfg.Node.Cuts() {
		out.Cuts = append(out.Cuts, Cut{
			ID: c.Peer.String(), Org: c.Org, Reason: c.Reason, Words: wordsOfCut(c.Reason), At: c.At.UTC(), Until: c.Until.UTC(),
		})
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func peerOf(p node.Peer) Peer {
	return Peer{
		ID: p.ID.String(), Org: p.Org, Addr: p.Addr, Transport: p.Transport, Inbound: p.Inbound, Since: p.Since.UTC(),
		LatencyMS: float64(p.Latency.Microseconds()) / 1000,
		Goodput:   p.Goodput, Loss: p.Loss, Queued: p.Queued, Score: p.Score, Found: p.Found,
	}
}

// Neighbours lists the direct neighbours and those that were cut off.
func (c *Client) Neighbours(ctx context.Context) (out Peers, err error) {
	return out, c.do(ctx, "GET", "/v1/peers", nil, &out)
}
