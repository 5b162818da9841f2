package main

import (
	"bytes"
	"strings"
	"testing"

	"tocsin/node"
	"tocsin/node/api"
)

// TestSpoilersAreNamed: as far as they are known, with nothing in their names that
// the terminal would obey.
func TestSpoilersAreNamed(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	a := &app{out: &output{w: &out}}
	a.showSpoilers([]node.Spoiler{
		{Peer: "12D3KooWa", Name: "Ben\x1b[2J Okafor", Org: "ambulance.nhs.example", Entries: 3, Missing: 1},
		{Peer: "12D3KooWb", Entries: 1},
	})
	got := out.String()
	for _, want := range []string{"Okafor", "ambulance.nhs.example", "3 entries", "1 of them still missing", "A neighbour (12D3KooWb) handed on 1 entry "} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
	if strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
}

// TestPeersAreNamed: by the credential behind a peer id, where it is known.
func TestPeersAreNamed(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	a := &app{out: &output{w: &out}}
	a.showPeers(api.Peers{
		Peers: []api.Peer{{ID: "12D3KooWa", Org: "ambulance.nhs.example", Transport: "quic"}, {ID: "12D3KooWb", Org: "surgery.example", Transport: "relay"}},
		Cuts:  []api.Cut{{ID: "12D3KooWa", Words: "sent more than any device should"}},
	}, []node.Person{{Name: "Ben\x1b[2J Okafor", PeerID: "12D3KooWa"}, {Name: "Nobody"}})
	lines := strings.Split(out.String(), "\n")
	if len(lines) != 7 || !strings.Contains(lines[1], "Okafor") || !strings.HasPrefix(lines[2], "(not known yet)") || !strings.Contains(lines[5], "Okafor") {
		t.Errorf("%q", out.String())
	}
	if strings.Contains(out.String(), "\x1b") || strings.Contains(out.String(), "Nobody") {
		t.Errorf("%q", out.String())
	}
}
