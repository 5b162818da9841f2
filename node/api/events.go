package api

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"tocsin/node"
)

// feed numbers the node's events and keeps the last few, so that a stream that broke goes on where it stopped. Ids are
// "<run>-<number>": run is drawn anew at each start, so that an id of an earlier run is known to be one.
type feed struct {
	run string

	mu    sync.Mutex
	next  uint64        // number of the next event, from 1
	last  []node.Event  // the last eventsKept events; the newest has number next-1
	grown chan struct{} // closed and replaced with each event
	ended bool          // the node's subscription is over
}

func newFeed(k *keeper) (*feed, error) {
	run, _, err := k.secret(6, hex.EncodeToString)
	if err != nil {
		return nil, err
	}
	return &feed{run: run, next: 1, grown: make(chan struct{})}, nil
}

// follow takes the node's events in until they end.
func (f *feed) follow(ctx context.Context, events <-chan node.Event) {
	for {
		select {
		case <-ctx.Done():
			f.end()
			return
		case e, ok := <-events:
			if !ok {
				f.end()
				return
			}
			f.add(e)
		}
	}
}

func (f *feed) add(e node.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.last) == eventsKept {
		f.last = append(f.last[:0], f.last[1:]...)
	}
	f.last = append(f.last, e)
	f.next++
	f.wake()
}

func (f *feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	f.wake()
}

// wake tells every stream to look again. f.mu is held.
func (f *feed) wake() {
	close(f.grown)
	f.grown = make(chan struct{})
}

// position turns a Last-Event-ID into the number of the event to go on with. gap: events were missed.
func (f *feed) position(lastID string) (from uint64, gap bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if lastID == "" {
		return f.next, false
	}
	run, number, _ := strings.Cut(lastID, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || run != f.run || n >= f.next {
		return f.next, true
	}
	return n + 1, false
}

// after returns the events from number from on, and a channel that is closed when there are more. gap: some
// of them are no longer kept.
func (f *feed) after(from uint64) (events []node.Event, first uint64, gap bool, more <-chan struct{}, ended bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	oldest := f.next - uint64(len(f.last))
	if from < oldest {
		return nil, f.next, true, f.grown, f.ended
	}
	return append([]node.Event(nil), f.last[from-oldest:]...), from, false, f.grown, f.ended
}

func (f *feed) id(number uint64) string { return f.run + "-" + strconv.FormatUint(number, 10) }

// getEvents streams events, which hold types and ids and never content. The first tells where the stream begins: "ready",
// or "gap" when events were missed since Last-Event-ID and what is shown must be loaded anew.
func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) error {
	p := passOf(r.Context())
	// A page always says so; what does not is no page, whatever it holds.
	if p.via == viaSession && r.Header.Get("Sec-Fetch-Site") != "same-origin" {
		return ErrForbidden
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		return ErrStreams
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	st := &stream{s: s, w: w, rc: http.NewResponseController(w), session: p.session}
	st.serve(r.Context(), r.Header.Get("Last-Event-ID"))
	return nil
}

// stream is one open event stream.
type stream struct {
	s       *Server
	w       http.ResponseWriter
	rc      *http.ResponseController
	session *session // nil off the browser
}

// serve writes events until the client goes, the session ends, or the server stops. It returns no error: the answer has begun, and
// whoever listens finds out by the end of the stream.
func (st *stream) serve(ctx context.Context, lastID string) {
	feed := st.s.events
	next, gap := feed.position(lastID)
	first := "ready"
	if gap {
		first = string(node.EventGap)
	}
	if st.write(first, feed.id(next-1), node.Event{Type: node.EventType(first)}) != nil {
		return
	}
	var ended <-chan struct{}
	if st.session != nil {
		ended = st.session.ended
	}
	for {
		events, from, missed, more, over := feed.after(next)
		if missed && st.write(string(node.EventGap), feed.id(from-1), node.Event{Type: node.EventGap}) != nil {
			return
		}
		for i, e := range events {
			if st.write(string(e.Type), feed.id(from+uint64(i)), e) != nil {
				return
			}
		}
		next = from + uint64(len(events))
		if over {
			return
		}
		select {
		case <-more:
		case <-st.s.cfg.Clock.After(heartbeat):
			if st.session != nil && !st.s.keys.inUse(st.session) {
				return
			}
			if st.send(": still here\n\n") != nil {
				return
			}
		case <-ended:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (st *stream) write(name, id string, e node.Event) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return st.send(fmt.Sprintf("id: %s\nevent: %s\ndata: %s\n\n", id, name, data))
}

func (st *stream) send(text string) error {
	if err := st.rc.SetWriteDeadline(st.s.cfg.Clock.Now().Add(streamWrite)); err != nil {
		return err
	}
	if _, err := st.w.Write([]byte(text)); err != nil {
		return err
	}
	return st.rc.Flush()
}

// longer gives a request that reads a lot more time to answer.
func (s *Server) longer(w http.ResponseWriter, d time.Duration) error {
	return http.NewResponseController(w).SetWriteDeadline(s.cfg.Clock.Now().Add(d))
}
