//go:build linux

package netns

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestOneAddress is a ward behind one address: twenty devices that reach the world
// through the NAT of one router, switched on together. All of them join through one device
// outside, which sees one address. The short form has six.
func TestOneAddress(t *testing.T) {
	needed(t)
	crowd := 6
	if all {
		crowd = 20
	}
	b := &bed{t: t}
	b.newCore(t)
	outside, ward := newSite(t, 1), newSite(t, 2)
	ward.masquerade(t)
	b.sites = []*site{outside, ward}
	for _, s := range b.sites {
		b.connect(t, s)
	}
	devices, _ := cast(t, crowd+1)
	host := up(t, devices[crowd], outside.plug(t), append(listenAll(), "--mdns=false")...)
	peers := []*peer{host}
	began := time.Now()
	for i, d := range devices[:crowd] {
		// They do not find each other: each has to come in through the one address.
		peers = append(peers, up(t, d, ward.plug(t), append(listenAll(), "--mdns=false", "--peer", host.by([]string{"quic", "tcp"}[i%2], false))...))
	}
	started := time.Since(began)
	took := until(t, time.Minute, func() string {
		found, err := host.client.Peers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		joined := map[string]bool{}
		for _, p := range found {
			if !strings.HasPrefix(p.Addr, "/ip4/192.168.2.2/") {
				t.Fatalf("a neighbour has the address %s, and not that of the router", p.Addr)
			}
			joined[p.ID] = true
		}
		if len(joined) < crowd {
			return fmt.Sprintf("%d of %d devices joined", len(joined), crowd)
		}
		return ""
	})
	t.Logf("%d devices behind one address started within %v and joined %v later", crowd, started.Round(lookEvery), took.Round(lookEvery))
	know(t, 2*time.Minute, peers)
	k := newTalk(t, peers)
	k.say(t, peers[1], "urgent", "The lift is out of order, bring the oxygen by the stairs.")
	t.Logf("a message from one of them is with all after %v", k.everything(t, contact).Round(lookEvery))
}
