package api

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/libp2p/go-libp2p/core/peer"

	"tocsin/node"
)

// crowded is a node that stands in for one with as many neighbours of as many kinds as a page has to show.
type crowded struct{ *fakeNode }

func crowdID(i int) peer.ID { return peer.ID(fmt.Sprintf("peer %02d", i)) }

func (crowded) Peers() (out []node.Peer) {
	for i := range 20 {
		p := node.Peer{ID: crowdID(i), Org: ben.Org, Transport: "quic", Since: born, Latency: 4 * time.Millisecond}
		switch i {
		case 1:
			p.Transport, p.Latency, p.Queued = "relay", 900*time.Millisecond, 5000
		case 2:
			p.Transport, p.Loss = "ws", 0.25
		}
		out = append(out, p)
	}
	return out
}

func (crowded) Cuts() []node.Cut {
	return []node.Cut{{Peer: crowdID(30), Org: "surgery.example", Reason: "flood", At: born, Until: born.Add(30 * time.Second)}}
}

// People: all neighbours but the last have a name, and one more is known who is away.
func (f crowded) People() ([]node.Person, error) {
	people, err := f.fakeNode.People()
	for i := range 19 {
		people = append(people, node.Person{Name: fmt.Sprintf("Person Number%02d", i), Org: ben.Org, PeerID: crowdID(i).String(), Reachable: true, Valid: true, Relay: i == 3})
	}
	return append(people, node.Person{Name: `<img src=x onerror="window.hacked=1">`, Org: ben.Org, PeerID: crowdID(40).String(), Valid: true}), err
}

func (f crowded) Status() node.Status {
	s := f.fakeNode.Status()
	s.Name, s.Peers, s.Addrs = amara.Name, 20, []string{"/ip4/127.0.0.1/tcp/4001", "/ip4/192.0.2.7/udp/4001/quic-v1"}
	return s
}

// TestMeshPage: two real devices that lose sight of each other, and then more neighbours than fit on one ring.
func TestMeshPage(t *testing.T) {
	amara, ben := newMachines(t)
	browser := newBrowser(t)
	must(t, amara.Unlock(t.Context(), []byte(machinePassphrase)))
	b := newTab(t, browser, ben)
	b.enter(ben)
	b.wait("the page is let in", `location.pathname === '/' && document.getElementById('who')?.textContent !== ''`)
	b.open("/mesh")
	b.wait("the neighbour has its name", `document.querySelector('#near h3')?.textContent === 'Amara Okafor' && document.querySelectorAll('#picture circle').length === 2`)
	b.wait("it says how", `document.getElementById('near').textContent.includes('directly (')`)
	if got := value[string](b, `[...document.querySelectorAll('#picture text')].map(t => t.textContent).sort().join(' ')`); got != "AO Amara Okafor BC" {
		t.Errorf("the picture says %q", got)
	}
	if _, err := amara.dial(t).SetOnline(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	b.wait("nobody is left", `document.getElementById('nobody').checkVisibility() && document.querySelector('#picture svg') === null && document.getElementById('away').textContent === 'Amara Okafor'`)
	t.Run("crowd", func(t *testing.T) { crowd(t, browser) })
}

func crowd(t *testing.T, browser context.Context) {
	dir := t.TempDir()
	server, err := New(Config{Node: crowded{newFakeNode()}, Clock: newTestClock(), Logger: slog.New(slog.DiscardHandler),
		Socket: filepath.Join(dir, "s"), TokenFile: filepath.Join(dir, "token")})
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- server.Serve(ctx) }()
	t.Cleanup(func() { stop(); must(t, <-done) })
	m := &machine{api: server}
	b := newTab(t, browser, m, chromedp.WithNewBrowserContext())
	b.enter(m)
	b.wait("the page is let in", `location.pathname === '/' && document.getElementById('who')?.textContent !== ''`)
	b.open("/mesh")
	b.wait("all twenty are there", `document.querySelectorAll('#near > li').length === 20 && document.querySelectorAll('#picture g').length === 21`)
	for expression, want := range map[string]string{
		`document.querySelectorAll('#picture rect').length`:                           "1", // the relay
		`document.querySelectorAll('#picture line.relayed').length`:                   "1",
		`document.querySelectorAll('#picture .poor').length`:                          "2",
		`document.querySelector('#near li h3').textContent`:                           "A device of ambulance.nhs.example",
		`[...document.querySelectorAll('#near .badge')].map(e => e.textContent)`:      "Poor line: slow,Poor line: loses 25 of 100 packets",
		`document.querySelectorAll('#near li')[2].textContent.includes('5 KiB wait')`: "true",
		`document.getElementById('cuts').textContent.split('.')[0]`:                   "A device of surgery",
		`document.getElementById('cuts').textContent.includes('sent more than any')`:  "true",
		`document.getElementById('warning').textContent`:                              "All neighbours are on one network.",
		`document.getElementById('addresses').textContent`:                            "/ip4/192.0.2.7/udp/4001/quic-v1",
		`document.getElementById('away').textContent.includes('<img src=x')`:          "true",
		`Boolean(window.hacked)`:                                                      "false",
		// No two of the marks touch.
		`(() => { const at = [...document.querySelectorAll('#picture circle, #picture rect')].map(e => e.getBBox()); return at.some((a, i) => at.some((b, j) => i < j
			&& Math.hypot(a.x + a.width / 2 - b.x - b.width / 2, a.y + a.height / 2 - b.y - b.height / 2) < 32)) })()`: "false",
	} {
		if got := value[string](b, "String("+expression+")"); got != want {
			t.Errorf("%s is %q, want %q", strings.Join(strings.Fields(expression), " "), got, want)
		}
	}
	b.shots("mesh", "/mesh")
	b.fits("/mesh")
	source := axeCore(t)
	for _, scheme := range []string{"light", "dark"} {
		b.scheme(scheme)
		b.open("/mesh")
		b.settled()
		b.axe(scheme, "/mesh", source)
	}
}
