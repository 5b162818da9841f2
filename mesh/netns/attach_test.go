//go:build linux

package netns

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"tocsin/mesh/netns/link"
)

// TestAttachment is an attachment of 20 MB over a link that drops every five
// seconds: every connection over it is torn then. Two devices hold the attachment
// on the other side; the receiver is killed when it has half of it, goes on where
// it was, and ends with the bytes that were sent. The short form has 2 MB.
func TestAttachment(t *testing.T) {
	needed(t)
	alongside(t)
	size, rate := 2_000_000, int64(2_000_000)
	if all {
		size, rate = 20_000_000, 8_000_000
	}
	a, b, l := newLinkedSites(t, link.Shape{Rate: rate, Delay: 10 * time.Millisecond, Loss: 0.001})
	devices, _ := cast(t, 3)
	sender := up(t, devices[0], a.plug(t), listenTCP()...)
	second := up(t, devices[1], a.plug(t), append(listenTCP(), "--peer", sender.by("tcp", false))...)
	holders := []string{"--peer", sender.by("tcp", false), "--peer", second.by("tcp", false)}
	far := b.plug(t)
	receiver := up(t, devices[2], far, append(listenTCP(), holders...)...)
	peers := []*peer{sender, second, receiver}
	know(t, time.Minute, peers)
	k := newTalk(t, peers)

	// The receiver is away until both hold it: else it may have it before.
	receiver.kill(t)
	content := make([]byte, size)
	if _, err := rand.Read(content); err != nil {
		t.Fatal(err)
	}
	scan := filepath.Join(sender.dir, "scan.bin")
	if err := os.WriteFile(scan, content, 0o600); err != nil {
		t.Fatal(err)
	}
	var sent struct{ ID string }
	sender.tocsin(t, &sent, "attach", scan, "--group", k.group)
	t.Logf("the second holder has it after %v", until(t, 2*time.Minute, func() string { return second.lacks(t, sent.ID, 1) }).Round(lookEvery))

	b.router.count(t, sender.at, second.at)
	stop := a.dropEvery(t, 5*time.Second, time.Second)
	began := time.Now()
	receiver = up(t, devices[2], far, append(listenTCP(), holders...)...)
	half := until(t, 5*time.Minute, func() string { return receiver.lacks(t, sent.ID, 0.5) })
	receiver.kill(t)
	receiver = up(t, devices[2], far, append(listenTCP(), holders...)...)
	if missing := receiver.lacks(t, sent.ID, 0.4); missing != "" {
		t.Errorf("after the restart: %s", missing)
	}
	until(t, 5*time.Minute, func() string { return receiver.lacks(t, sent.ID, 1) })
	took := time.Since(began)
	drops := stop()
	forth, back := l.Counts()
	t.Logf("half of it came in %v, all of it in %v, restart and %d drops included; the link carried %d bytes there and %d back",
		half.Round(lookEvery), took.Round(lookEvery), drops, forth.Bytes, back.Bytes)
	if drops == 0 && all {
		t.Error("the link never dropped")
	}

	saved := filepath.Join(receiver.dir, "saved.bin")
	receiver.tocsin(t, nil, "attachments", "save", sent.ID, saved)
	if got, err := os.ReadFile(saved); err != nil || !bytes.Equal(got, content) {
		t.Errorf("what was saved has %d bytes and is not what was sent (%v)", len(got), err)
	}
	came := b.router.counted(t)
	t.Logf("%d bytes came from the sender and %d from the second holder", came[0], came[1])
	if len(came) != 2 || min(came[0], came[1]) < size/20 {
		t.Errorf("it did not come from two holders: %v bytes", came)
	}
}

// tocsin runs a command on a peer's data directory, as its user would.
func (p *peer) tocsin(t *testing.T, out any, args ...string) {
	t.Helper()
	m, err := founded()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.run(out, append(args, "--data", p.dir)...); err != nil {
		t.Fatal(err)
	}
}

// lacks says how much a peer holds of an attachment, where that is less than a
// share of it.
func (p *peer) lacks(t *testing.T, id string, share float64) string {
	t.Helper()
	list, err := p.client.Attachments(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		switch {
		case a.ID != id:
		case a.State == "here", share < 1 && a.Chunks > 0 && float64(a.Have) >= share*float64(a.Chunks):
			return ""
		default:
			return fmt.Sprintf("%s has %d of %d chunks (%s)", p.first(), a.Have, a.Chunks, a.State)
		}
	}
	return fmt.Sprintf("%s does not know of the attachment", p.first())
}

// listenTCP are the flags to listen by TCP only, whose connections do not outlive a
// reset.
func listenTCP() []string {
	return []string{"--listen", fmt.Sprintf("/ip4/0.0.0.0/tcp/%d", tcpPort), "--listen", fmt.Sprintf("/ip6/::/tcp/%d", tcpPort)}
}

// count has a router count the bytes that come from each of some machines.
func (s *space) count(t *testing.T, from ...*machine) {
	t.Helper()
	counters, rules := "", ""
	for i, m := range from {
		counters += fmt.Sprintf("counter from%d { }\n", i)
		rules += fmt.Sprintf("ip saddr %s counter name from%d\nip6 saddr %s counter name from%d\n", m.ip4(), i, m.ip6(), i)
	}
	s.nft(t, counters+"chain forward { type filter hook forward priority 0\n"+rules+"}")
}

// counted returns what count has counted.
func (s *space) counted(t *testing.T) (bytes []int) {
	t.Helper()
	out, err := s.output("", "nft", "list", "counters")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`bytes (\d+)`).FindAllStringSubmatch(out, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		bytes = append(bytes, n)
	}
	return bytes
}

// dropEvery has the router of a site tear everything that crosses its link: every
// period for a while, connections are reset and packets dropped. stop ends that
// and returns how often it was done.
func (s *site) dropEvery(t *testing.T, period, lasts time.Duration) (stop func() int) {
	t.Helper()
	end, ended := make(chan struct{}), make(chan int)
	go func() {
		drops := 0
		defer func() { ended <- drops }()
		for {
			select {
			case <-end:
				return
			case <-time.After(period - lasts):
			}
			if err := s.router.rules(`chain forward { type filter hook forward priority 0
  oifname "wan" meta l4proto tcp reject with tcp reset
  iifname "wan" meta l4proto tcp reject with tcp reset
  oifname "wan" drop
  iifname "wan" drop
}`); err != nil {
				t.Error(err)
			}
			drops++
			select {
			case <-end:
			case <-time.After(lasts):
			}
			if err := s.router.rules(""); err != nil {
				t.Error(err)
			}
		}
	}()
	done := false
	stop = func() int {
		if done {
			return 0
		}
		done = true
		close(end)
		return <-ended
	}
	t.Cleanup(func() { stop() })
	return stop
}
