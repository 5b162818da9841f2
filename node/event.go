package node

import (
	"context"
	"sync"
)

// EventType says what changed.
type EventType string

// The types of event.
const (
	EventMessage    EventType = "message"    // a message was opened, or sent by this device
	EventDelivery   EventType = "delivery"   // the delivery state of a message moved
	EventGroup      EventType = "group"      // a group appeared or its members changed
	EventPeople     EventType = "people"     // a credential was learnt
	EventPeers      EventType = "peers"      // a neighbour came or went, or the mesh was switched on or off
	EventLock       EventType = "lock"       // the device was locked
	EventUnlock     EventType = "unlock"     // the device was unlocked
	EventTrust      EventType = "trust"      // a statement took effect: people and status have changed
	EventErased     EventType = "erased"     // a message was erased here
	EventFork       EventType = "fork"       // a log was found to be forked, or more of its branches came: forks and people have changed
	EventAttachment EventType = "attachment" // more of an attachment is here, or there is no room for it
	EventThrift     EventType = "thrift"     // low-bandwidth mode was switched on or off: the status has changed
	EventStat       EventType = "stat"       // something urgent came while the device is locked
	EventWiped      EventType = "wiped"      // this device has wiped itself
	EventTransfer   EventType = "transfer"   // the way of a conversation's messages into the record, or an upload of them, moved
	EventGap        EventType = "gap"        // this subscriber was too slow and missed events: reload
)

// Event tells that something changed. It names what to fetch and carries no
// content, so that it can pass through places that must not hold any.
type Event struct {
	Type  EventType `json:"type"`
	Group string    `json:"group,omitempty"` // group id, hex
	ID    string    `json:"id,omitempty"`    // entry id, hex

	// Of messages: how urgent one is, empty for routine; whether it is of an exercise, which every notification says; and whether it is
	// for this device's reader, by role or in person.
	Priority string `json:"priority,omitempty"`
	Exercise bool   `json:"exercise,omitempty"`
	ForMe    bool   `json:"for_me,omitempty"`
}

// eventQueue is how many events a subscriber may fall behind.
const eventQueue = 256

// hub hands events to subscribers and never waits for one.
type hub struct {
	mu   sync.Mutex
	subs map[*subscriber]struct{} // guarded by mu; nil once closed
}

type subscriber struct {
	ch     chan Event
	missed bool // guarded by hub.mu: a gap event is owed
}

func newHub() *hub { return &hub{subs: make(map[*subscriber]struct{})} }

func (h *hub) publish(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		s.offer(e)
	}
}

// offer keeps one place free for the gap event, so that a reader who fell
// behind always learns that it did.
func (s *subscriber) offer(e Event) {
	if len(s.ch) < cap(s.ch)-1 {
		s.missed = false
		s.ch <- e
		return
	}
	if !s.missed {
		s.missed = true
		s.ch <- Event{Type: EventGap}
	}
}

// subscribe returns a channel of events that is closed when ctx ends or the
// hub closes.
func (h *hub) subscribe(ctx context.Context) <-chan Event {
	s := &subscriber{ch: make(chan Event, eventQueue)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs == nil {
		close(s.ch)
		return s.ch
	}
	h.subs[s] = struct{}{}
	context.AfterFunc(ctx, func() { h.drop(s) })
	return s.ch
}

func (h *hub) drop(s *subscriber) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.subs[s]; ok {
		delete(h.subs, s)
		close(s.ch)
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		close(s.ch)
	}
	h.subs = nil
}
