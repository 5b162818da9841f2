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
	size, rate := 2_000_000, int64(2_000_000)
	if all {
		size, rate = 20_000_000, 8_000_000
	}
	a, b, l := newLinkedSites(t, link.Shape{Rate: rate, Delay: 10 * time.Millisecond, Loss: 0.001})
	devices, _ := cast(t, 3)
	sender := up(t, devices[0], a.plug(t), listenAll()...)
	second := up(t, devices[1], a.plug(t), append(listenAll(), "--peer", sender.by("tcp", false))...)
	holders := []string{"--peer", sender.by("tcp", false), "--peer", second.by("tcp", false)}
	far := b.plug(t)
	receiver := up(t, devices[2], far, append(listenAll(), holders...)...)
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

	stop := a.dropEvery(t, 5*time.Second, time.Second)
	began := time.Now()
	receiver = up(t, devices[2], far, append(listenAll(), holders...)...)
	half := until(t, 5*time.Minute, func() string { return receiver.lacks(t, sent.ID, 0.5) })
	receiver.kill(t)
	receiver = up(t, devices[2], far, append(listenAll(), holders...)...)
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
	for _, p := range []*peer{sender, second} {
		if n := p.metric(t, "tocsin_attachment_bytes_out"); n < float64(size)/20 {
			t.Errorf("%s gave %.0f bytes of it: it did not come from two holders", p.first(), n)
		}
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
	var list struct {
		Attachments []struct {
			ID, State    string
			Have, Chunks int
		}
	}
	p.tocsin(t, &list, "attachments", "list")
	for _, a := range list.Attachments {
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

// metric returns the sum of a metric of a peer over its labels.
func (p *peer) metric(t *testing.T, name string) float64 {
	t.Helper()
	text, err := p.client.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^`+name+`(?:\{[^}]*\})? (\S+)$`).FindAllStringSubmatch(text, -1)
	if len(found) == 0 {
		t.Fatalf("%s has no metric %s", p.first(), name)
	}
	sum := 0.0
	for _, m := range found {
		v, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += v
	}
	return sum
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
