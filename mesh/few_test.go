package mesh

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// A device that is to have few neighbours dials no more once it has those and the spare ones,
// whatever was planned before; those of the configuration and the one that is dialled at random
// are dialled all the same, and when there are too few everybody is again.
func TestFewNeighbours(t *testing.T) {
	f := newBook(t)
	f.want, f.spare = (&Config{Neighbours: 4}).neighbours()
	at := []ma.Multiaddr{addr(t, "/ip4/10.0.0.1/tcp/1")}
	static, random := testPeerID(t, 100), testPeerID(t, 101)
	f.learn(static, at, foundStatic, func(c *contact) { c.fixed = true })
	var others []peer.ID
	for n := range byte(10) {
		others = append(others, testPeerID(t, n+1))
		f.learn(others[n], at, foundExchange, nil)
	}
	f.learn(random, at, foundExchange, nil)
	for _, p := range dialsDue(f, redialMax) {
		f.enqueue(p)
	}
	if len(f.queue) != 12 {
		t.Fatalf("%d dials wait, not 12", len(f.queue))
	}
	for n := range byte(f.want + f.spare) {
		f.up(testPeerID(t, n+150), false)
	}
	f.book[random].explored = true
	var dialled []peer.ID
	for p, c := f.next(); c != nil; p, c = f.next() {
		dialled = append(dialled, p)
	}
	if len(dialled) != 2 || dialled[0] != static || dialled[1] != random {
		t.Errorf("dialled %v", dialled)
	}
	for n := range byte(f.spare + 1) {
		f.down(testPeerID(t, n+150))
	}
	due := make(map[peer.ID]bool)
	for _, p := range dialsDue(f, redialMax) {
		due[p] = true
	}
	for _, p := range others {
		if !due[p] {
			t.Errorf("%s is not dialled although there are too few neighbours", p)
		}
	}
}

// Strangers, who may be anybody's invention, take half of what few neighbours are looked for.
func TestFewStrangers(t *testing.T) {
	f := newBook(t)
	f.want, f.spare = (&Config{Neighbours: 6}).neighbours()
	at := []ma.Multiaddr{addr(t, "/ip4/10.0.0.1/tcp/1")}
	for n := range byte(10) {
		f.learn(testPeerID(t, n+1), at, foundExchange, nil)
	}
	for _, p := range dialsDue(f, redialMax) {
		f.enqueue(p)
	}
	for _, c := f.next(); c != nil; _, c = f.next() {
		f.dialing++
		f.strange++
	}
	if f.strange != 3 {
		t.Errorf("%d strangers are dialled at once", f.strange)
	}
}

// How many neighbours are looked for has bounds, and the word for none is the default.
func TestNeighboursConfig(t *testing.T) {
	if want, spare := (&Config{}).neighbours(); want != wantPeers || spare != sparePeers {
		t.Errorf("%d and %d", want, spare)
	}
	w := newWorld(t)
	for _, n := range []int{-1, MaxNeighbours + 1} {
		cfg, _ := w.config(t, w.member(t), quicCarrier)
		if cfg.Neighbours = n; cfg.validate() == nil {
			t.Errorf("%d neighbours are looked for", n)
		}
	}
}
