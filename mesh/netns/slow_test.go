//go:build linux

package netns

import (
	"fmt"
	"testing"
	"time"

	"tocsin/mesh/netns/link"
)

// badLink is what a link has to be at worst for Tocsin to work over it: 64 kb/s, a
// packet in ten lost, and a round trip of 800 ms. What waits before it waits two
// seconds at most.
var badLink = link.Shape{Rate: 64_000, Delay: 400 * time.Millisecond, Loss: 0.1, Queue: 16 << 10}

// newLinkedSites makes two sites whose routers are joined by one link, and
// nothing else.
func newLinkedSites(t *testing.T, shape link.Shape) (a, b *site, l *link.Link) {
	t.Helper()
	a, b = newSite(t, 1), newSite(t, 2)
	l = joinByLink(t, 99, a.router, "wan", b.router, "wan", shape, shape)
	a.router.ip(t, "route add default dev wan", "route add ::/0 dev wan")
	b.router.ip(t, "route add default dev wan", "route add ::/0 dev wan")
	return a, b, l
}

// TestBadLink: over a bad link two sites meet, everything that is said arrives, in
// time for its priority, also by a device that knew nothing of the other side
// before.
func TestBadLink(t *testing.T) {
	needed(t)
	alongside(t)
	backlog := 20
	if all {
		backlog = 120
	}
	a, b, l := newLinkedSites(t, badLink)
	devices, _ := cast(t, 3)
	amina := up(t, devices[0], a.plug(t), listenAll()...)
	chidi := up(t, devices[2], a.plug(t), append(listenAll(), "--peer", amina.by("tcp", false))...)
	ben := up(t, devices[1], b.plug(t), append(listenAll(), "--peer", amina.by("tcp", false), "--peer", amina.by("quic", false))...)
	peers := []*peer{amina, chidi, ben}
	t.Logf("they know each other after %v", know(t, 2*time.Minute, peers).Round(lookEvery))
	k := newTalk(t, peers)

	k.say(t, amina, "urgent", "Can you take the red casualties?")
	t.Logf("an urgent message takes %v", k.everything(t, time.Minute).Round(lookEvery))
	before, _ := l.Counts()
	behind := map[string]bool{}
	for i := range backlog {
		behind[k.say(t, amina, "routine", fmt.Sprintf("Note %d of the ward round, which can wait for a better hour.", i))] = true
	}
	began := time.Now()
	stats := []string{k.say(t, amina, "stat", "Clear the ground floor now."), k.say(t, chidi, "stat", "And the cellar.")}
	for i, whose := range []string{"their author", "another author"} {
		until(t, time.Minute, func() string {
			if _, ok := k.shows(t, ben, stats[i]); ok {
				return ""
			}
			return "what cannot wait has not arrived"
		})
		m, _ := k.shows(t, ben, stats[i])
		ahead, _ := k.ahead(t, ben, stats[i], behind)
		t.Logf("behind %d routine messages one of priority stat by %s takes %v; %d came before it", backlog, whose, m.Received.Sub(began).Round(lookEvery), ahead)
		// What is under way when it is said cannot be passed: a window of 8 KiB and the
		// router's buffer of 16 KB, of messages that take 1 KB and more on the line.
		if all && ahead > (8+16)*1024/1000 {
			t.Errorf("%d of %d routine messages came before the one of priority stat by %s", ahead, backlog, whose)
		}
	}
	rest := k.everything(t, 5*time.Minute)
	then, _ := l.Counts()
	t.Logf("all of them are there %v later; that took %d bytes in %d packets, %d of them lost", rest.Round(lookEvery),
		then.Bytes-before.Bytes, then.Delivered-before.Delivered, then.Lost-before.Lost)
	k.say(t, ben, "urgent", "Cleared.")
	t.Logf("an answer takes %v", k.everything(t, time.Minute).Round(lookEvery))
	if lost := then.Lost + then.Overflown; lost == 0 {
		t.Error("the link lost nothing, so that nothing was shown")
	}
}
