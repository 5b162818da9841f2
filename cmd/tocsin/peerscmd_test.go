package main

import (
	"bytes"
	"strings"
	"testing"

	"tocsin/node"
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
