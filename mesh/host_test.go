package mesh

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
)

// A hospital behind one address gets in, all at once; one address that only
// knocks does not take everybody's place.
func TestManyBehindOneAddress(t *testing.T) {
	for _, c := range []struct {
		nat, other string
		limit      int
	}{
		{"/ip4/198.51.100.7/tcp/40000", "/ip4/198.51.100.8/tcp/40000", connsPerIPv4},
		{"/ip6/2001:db8::7/tcp/40000", "/ip6/2001:db8:1::7/tcp/40000", connsPerIPv6},
	} {
		rm, err := newResources(false)
		if err != nil {
			t.Fatal(err)
		}
		open := 0
		for range 2 * c.limit {
			if s, err := rm.OpenConnection(network.DirInbound, false, addr(t, c.nat)); err == nil {
				defer s.Done()
				open++
			}
		}
		if open != c.limit {
			t.Errorf("%d connections from %s, want %d", open, c.nat, c.limit)
		}
		s, err := rm.OpenConnection(network.DirInbound, false, addr(t, c.other))
		if err != nil {
			t.Errorf("a neighbour is shut out: %v", err)
		} else {
			s.Done()
		}
		if err := rm.Close(); err != nil {
			t.Error(err)
		}
	}
}
