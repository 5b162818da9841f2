package api

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"tocsin/node"
)

// sse is an open stream, read line by line.
type sse struct {
	t     *testing.T
	resp  *http.Response
	lines *bufio.Scanner
	close context.CancelFunc
}

// open starts a stream with the credentials that ask puts on.
func (b *bench) open(t *testing.T, lastID string, ask func(*http.Request)) *sse {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req := b.request(t, "GET", "/v1/events", "").WithContext(ctx)
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	ask(req)
	resp := b.do(t, req)
	return &sse{t, resp, bufio.NewScanner(resp.Body), cancel}
}

func (b *bench) bearer(req *http.Request) { req.Header.Set("Authorization", "Bearer "+b.token) }

// next returns the id and name of the next event, and false at the end of the stream.
func (s *sse) next() (id, name, data string, ok bool) {
	for s.lines.Scan() {
		key, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch key {
		case "id":
			id = value
		case "event":
			name = value
		case "data":
			data = value
		case "":
			if name != "" {
				return id, name, data, true
			}
		}
	}
	return "", "", "", false
}

func (s *sse) want(name string) (id, data string) {
	s.t.Helper()
	id, got, data, ok := s.next()
	if !ok || got != name {
		s.t.Fatalf("event %q (%v), want %q", got, ok, name)
	}
	return id, data
}

func TestEventsHoldNoContent(t *testing.T) {
	b := newBench(t)
	stream := b.open(t, "", b.bearer)
	if kind := stream.resp.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Errorf("content type %q", kind)
	}
	stream.want("ready")
	id := b.node.say(ben, "CANARY-patient", "stat")
	_, data := stream.want("message")
	if !strings.Contains(data, hexGroup(1)) || strings.Contains(data, "CANARY") || strings.Contains(data, ben.Name) {
		t.Errorf("event %x: %s", id, data)
	}
}

// TestEventsGoOn: a stream that broke goes on where it stopped, and is told when it cannot.
func TestEventsGoOn(t *testing.T) {
	b := newBench(t)
	first := b.open(t, "", b.bearer)
	start, _ := first.want("ready")
	b.node.say(ben, "one", "routine")
	one, _ := first.want("message")
	first.close()
	b.node.say(ben, "two", "routine")
	b.node.say(ben, "three", "routine")

	// Another stream shows when the feed has taken all of them in.
	all := b.open(t, start, b.bearer)
	all.want("ready")
	for range 3 {
		all.want("message")
	}

	again := b.open(t, one, b.bearer)
	if id, _ := again.want("ready"); id != one {
		t.Errorf("goes on from %s, not from %s", id, one)
	}
	again.want("message")
	again.want("message")
	for _, id := range []string{"elsewhere-1", "nonsense", b.events.run + "-999", b.events.run + "-"} {
		b.open(t, id, b.bearer).want("gap")
	}
}

// TestEventsLost: a stream that falls too far behind is told once, and goes on with what is new.
func TestEventsLost(t *testing.T) {
	f := &feed{run: "r", next: 1, grown: make(chan struct{})}
	for range eventsKept + 10 {
		f.add(node.Event{Type: node.EventMessage})
	}
	if _, _, gap, _, _ := f.after(1); !gap {
		t.Error("no gap after too many events")
	}
	events, first, gap, _, _ := f.after(11)
	if gap || len(events) != eventsKept || first != 11 {
		t.Errorf("%d events from %d, gap %v", len(events), first, gap)
	}
	if from, gap := f.position("r-" + "10"); from != 11 || gap {
		t.Errorf("position %d, gap %v", from, gap)
	}
	if events, _, gap, more, ended := f.after(f.next); len(events) != 0 || gap || more == nil || ended {
		t.Errorf("at the end: %d events, gap %v, ended %v", len(events), gap, ended)
	}
}

func TestEventsNeedAPage(t *testing.T) {
	b := newBench(t)
	page := b.login(t)
	stream := b.open(t, "", func(r *http.Request) { page.as(r) })
	stream.want("ready")
	for _, site := range []string{"", "none", "same-site", "cross-site"} {
		req := page.as(b.request(t, "GET", "/v1/events", ""))
		req.Header.Set("Sec-Fetch-Site", site)
		if site == "" {
			req.Header.Del("Sec-Fetch-Site")
		}
		b.refused(t, req, "Sec-Fetch-Site "+site, []int{http.StatusForbidden})
	}
}

// TestEventsEndWithTheSession: whoever is logged out hears nothing more.
func TestEventsEndWithTheSession(t *testing.T) {
	b := newBench(t)
	page := b.login(t)
	stream := b.open(t, "", func(r *http.Request) { page.as(r) })
	stream.want("ready")
	if resp := b.do(t, page.as(b.request(t, "DELETE", "/v1/session", ""))); resp.StatusCode != http.StatusNoContent {
		t.Fatal(resp.Status)
	}
	if _, name, _, ok := stream.next(); ok {
		t.Errorf("heard %s after logging out", name)
	}

	page = b.login(t)
	stream = b.open(t, "", func(r *http.Request) { page.as(r) })
	stream.want("ready")
	b.clock.waits(2) // one for each stream
	b.clock.move(sessionLife)
	if _, name, _, ok := stream.next(); ok {
		t.Errorf("heard %s after the session ran out", name)
	}
}

// TestStreamKeepsSession: a page that only listens is in use.
func TestStreamKeepsSession(t *testing.T) {
	b := newBench(t)
	page := b.login(t)
	stream := b.open(t, "", func(r *http.Request) { page.as(r) })
	stream.want("ready")
	for i := range 4 {
		b.clock.waits(i + 1)
		b.clock.move(sessionIdle - time.Minute)
		for stream.lines.Scan() && !strings.HasPrefix(stream.lines.Text(), ": ") {
		}
	}
	if resp := b.do(t, page.as(b.request(t, "GET", "/v1/status", ""))); resp.StatusCode != http.StatusOK {
		t.Errorf("a page that listened for hours: %s", resp.Status)
	}
}

func TestTooManyStreams(t *testing.T) {
	b := newBench(t)
	var streams []*sse
	for range maxStreams {
		s := b.open(t, "", b.bearer)
		s.want("ready")
		streams = append(streams, s)
	}
	req := b.request(t, "GET", "/v1/events", "")
	b.bearer(req)
	b.refused(t, req, "one stream too many", []int{http.StatusServiceUnavailable})
	streams[0].close()
	for { // the place is given back once the server notices
		s := b.open(t, "", b.bearer)
		if s.resp.StatusCode == http.StatusOK {
			s.want("ready")
			return
		}
		s.close()
	}
}

func TestClientEvents(t *testing.T) {
	b := newBench(t)
	c := b.dial(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	for e, err := range c.Events(ctx, "") {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			break
		}
		got = append(got, string(e.Type))
		switch len(got) {
		case 1:
			b.node.say(ben, "hello", "routine")
		case 2:
			if e.ID == "" || e.Group != hexGroup(1) {
				t.Errorf("event %+v", e)
			}
			cancel()
		}
	}
	if strings.Join(got, " ") != "ready message" {
		t.Errorf("events %v", got)
	}
}
