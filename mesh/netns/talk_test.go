//go:build linux

package netns

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"tocsin/node"
	"tocsin/node/api"
)

// talk is one conversation of some peers and what was said in it.
type talk struct {
	group string
	admin *peer             // who made the group
	peers []*peer           // who run and read
	said  map[string]string // words by id of the message
}

// know waits until each of the peers can seal to each other.
func know(t *testing.T, limit time.Duration, peers []*peer) time.Duration {
	t.Helper()
	return until(t, limit, func() string {
		for _, p := range peers {
			people, err := p.client.People(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ready := map[string]bool{}
			for _, q := range people {
				if q.Valid && (q.Ready || q.Self) {
					ready[q.Org+"/"+q.Regulator+"/"+q.Number] = true
				}
			}
			for _, other := range peers {
				if !ready[other.person] {
					return fmt.Sprintf("%s does not know %s", p.first(), other.first())
				}
			}
		}
		return ""
	})
}

// newTalk has the last of the peers make a group of all of them.
func newTalk(t *testing.T, peers []*peer) *talk {
	t.Helper()
	last := len(peers) - 1
	spec := node.GroupSpec{Kind: "incident", Name: "Flood, lower town"}
	for _, p := range peers[:last] {
		spec.Members = append(spec.Members, p.person)
	}
	g, err := peers[last].client.CreateGroup(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	k := &talk{group: g.ID, admin: peers[last], peers: append([]*peer(nil), peers...), said: map[string]string{}}
	until(t, startTime, func() string {
		for _, p := range peers {
			if !k.member(t, p) {
				return fmt.Sprintf("%s does not know the group", p.first())
			}
		}
		return ""
	})
	return k
}

// member reports whether a peer knows that it is in the group.
func (k *talk) member(t *testing.T, p *peer) bool {
	t.Helper()
	_, err := p.client.Group(t.Context(), k.group)
	if err != nil && !errors.Is(err, api.ErrNotFound) {
		t.Fatalf("%s: %v", p.first(), err)
	}
	return err == nil
}

// counts reports whether a peer knows that another one is in the group.
func (k *talk) counts(t *testing.T, p, other *peer) bool {
	t.Helper()
	roster, err := p.client.Roster(t.Context(), k.group)
	if err != nil && !errors.Is(err, api.ErrNotFound) {
		t.Fatalf("%s: %v", p.first(), err)
	}
	return slices.ContainsFunc(roster, func(m node.Member) bool {
		return m.Org+"/"+m.Regulator+"/"+m.Number == other.person
	})
}

// say has a peer say something, which is saved on its disk when this returns.
func (k *talk) say(t *testing.T, p *peer, priority, text string) string {
	t.Helper()
	sent, err := p.client.Send(t.Context(), k.group, api.SendText{Text: text, Priority: priority})
	if err != nil {
		t.Fatalf("%s could not send: %v", p.first(), err)
	}
	k.said[sent.ID] = text
	return sent.ID
}

// total returns how many messages a peer shows; 0 while it does not know the
// group.
func (k *talk) total(ctx context.Context, p *peer) (int, error) {
	page, err := p.client.Messages(ctx, k.group, -1, 1)
	if errors.Is(err, api.ErrNotFound) {
		return 0, nil
	}
	return page.Total, err
}

// messages returns everything that a peer shows.
func (k *talk) messages(t *testing.T, p *peer) []api.Message {
	t.Helper()
	var all []api.Message
	for {
		page, err := p.client.Messages(t.Context(), k.group, len(all), 500)
		if errors.Is(err, api.ErrNotFound) {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Messages...)
		if len(page.Messages) == 0 || len(all) >= page.Total {
			return all
		}
	}
}

// shows returns a message as a peer shows it.
func (k *talk) shows(t *testing.T, p *peer, id string) (m api.Message, ok bool) {
	t.Helper()
	for _, m := range k.messages(t, p) {
		if m.ID == id {
			return m, true
		}
	}
	return m, false
}

// everything waits until each peer shows all that was said, and looks at it: each
// message once, in the words that were said, from a verified sender.
func (k *talk) everything(t *testing.T, limit time.Duration) time.Duration {
	t.Helper()
	return k.everythingAt(t, limit, k.peers...)
}

func (k *talk) everythingAt(t *testing.T, limit time.Duration, peers ...*peer) time.Duration {
	t.Helper()
	took := until(t, limit, func() string {
		for _, p := range peers {
			n, err := k.total(t.Context(), p)
			if err != nil {
				t.Fatalf("%s: %v", p.first(), err)
			}
			if n < len(k.said) {
				return fmt.Sprintf("%s shows %d of %d messages; %s", p.first(), n, len(k.said), neighbours(t, peers))
			}
		}
		return ""
	})
	for _, p := range peers {
		shown := map[string]bool{}
		for _, m := range k.messages(t, p) {
			if k.said[m.ID] != m.Text || shown[m.ID] || !m.From.Verified || !m.Provable {
				t.Fatalf("%s shows %+v where %q was said", p.first(), m, k.said[m.ID])
			}
			shown[m.ID] = true
		}
		if len(shown) != len(k.said) {
			t.Fatalf("%s shows %d of %d messages", p.first(), len(shown), len(k.said))
		}
	}
	return took
}

// reach waits until what was said in k is shown to all of its peers, who may have
// read other things before that.
func (k *talk) reach(t *testing.T, limit time.Duration) time.Duration {
	t.Helper()
	return until(t, limit, func() string {
		for _, p := range k.peers {
			shown := 0
			for _, m := range k.messages(t, p) {
				if text, ours := k.said[m.ID]; ours && text == m.Text {
					shown++
				}
			}
			if shown < len(k.said) {
				return fmt.Sprintf("%s shows %d of %d messages; %s", p.first(), shown, len(k.said), neighbours(t, k.peers))
			}
		}
		return ""
	})
}

// neighbours says how many neighbours each peer has.
func neighbours(t *testing.T, peers []*peer) string {
	t.Helper()
	text := "neighbours:"
	for _, p := range peers {
		st, err := p.client.Status(t.Context())
		if err != nil {
			return err.Error()
		}
		text += fmt.Sprintf(" %s %d", p.first(), st.Peers)
	}
	return text
}

// ahead counts the routine messages that a peer had before one that could not wait,
// and says how long after the first of them that came.
func (k *talk) ahead(t *testing.T, p *peer, stat string, backlog map[string]bool) (n int, after time.Duration) {
	t.Helper()
	m, ok := k.shows(t, p, stat)
	if !ok {
		t.Fatalf("%s does not show the message of priority stat", p.first())
	}
	first := m.Received
	for _, other := range k.messages(t, p) {
		if backlog[other.ID] && other.Received.Before(m.Received) {
			n++
			if other.Received.Before(first) {
				first = other.Received
			}
		}
	}
	return n, m.Received.Sub(first)
}
