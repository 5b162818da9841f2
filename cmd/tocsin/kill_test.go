package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"

	"tocsin/node"
	"tocsin/node/api"
)

// killRounds is how many rounds TestKillLoop plays; TOCSIN_KILL_ROUNDS=100 is the
// long form.
func killRounds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("TOCSIN_KILL_ROUNDS")
	if text == "" {
		return 5
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("TOCSIN_KILL_ROUNDS=%q is no number of rounds", text)
	}
	return n
}

// senders is how many messages are on their way at once.
const senders = 3

// killer is the state of the loop: what was ever acknowledged, and what was ever
// seen in the log.
type killer struct {
	*demo
	victim, witness *clinician
	texts           map[string]string // acknowledged, by entry id
	places          map[uint64]string // entry id by sequence number
}

// TestKillLoop kills a node with SIGKILL while it is saving messages as fast as
// it can, again and again. No acknowledged entry may be missing, no sequence
// number be used twice, and a witness that ran all the time must have seen
// every message once, and no fork.
func TestKillLoop(t *testing.T) {
	t.Parallel()
	k := &killer{demo: enrolled(t, 2), texts: make(map[string]string), places: make(map[uint64]string)}
	k.victim, k.witness = k.cast[0], k.cast[1]
	k.start(t, k.witness)
	k.start(t, k.victim)
	ctx := t.Context()
	must(t, k.until(ctx, func(ctx context.Context) (string, error) { return k.strangersAmong(ctx, k.cast) }))
	g, err := k.victim.node.client.CreateGroup(ctx, node.GroupSpec{Kind: "team", Name: "Load", Members: []string{k.witness.person()}})
	must(t, err)
	k.group = g.ID
	rounds := killRounds(t)
	for round := range rounds {
		before := len(k.texts)
		k.load(t, round, senders+rand.IntN(60))
		k.checkDisk(t, round)
		if rounds > 10 && round%10 == 9 {
			t.Logf("round %d: %d acknowledged so far, %d in this round", round+1, len(k.texts), len(k.texts)-before)
		}
		k.start(t, k.victim)
	}
	k.checkReaders(t)
}

// load sends from several goroutines until so many messages are acknowledged,
// and kills the node while others are on their way.
func (k *killer) load(t *testing.T, round, acknowledged int) {
	t.Helper()
	acks := make(chan [2]string, senders)
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for n := 0; ; n++ {
				text := fmt.Sprintf("round %d sender %d message %d", round, s, n)
				sent, err := k.victim.node.client.Send(context.WithoutCancel(t.Context()), k.group, api.SendText{Text: text})
				if err != nil {
					return // the node is dead
				}
				acks <- [2]string{sent.ID, text}
			}
		})
	}
	go func() { wg.Wait(); close(acks) }()
	count := 0
	for ack := range acks { // to the end: what was acknowledged before the kill counts
		k.texts[ack[0]] = ack[1]
		if count++; count == acknowledged {
			if err := k.victim.node.cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	<-k.victim.node.ended
	must(t, k.victim.node.release())
	k.victim.node = nil
	if count < acknowledged {
		t.Fatalf("round %d: only %d messages were acknowledged before the node failed", round, count)
	}
}

// checkDisk reads the dead node's directory.
func (k *killer) checkDisk(t *testing.T, round int) {
	t.Helper()
	ctx := t.Context()
	r, err := k.openOfflineLogs(ctx, dataDir(k.victim.dir))
	must(t, err)
	defer func() { must(t, r.close()) }()
	v, err := r.verify(ctx, func(uint64, uint64) {})
	must(t, err)
	if !v.Valid || v.Forks > 0 {
		t.Fatalf("round %d: the logs do not verify: %+v", round, v)
	}
	logs, err := r.logs(ctx)
	must(t, err)
	own, err := findLog(logs, "own")
	must(t, err)
	held := make(map[string]bool)
	for from := uint64(0); ; {
		entries, err := r.entries(ctx, own, from, 1000)
		must(t, err)
		for _, e := range entries {
			if e.Seq != from {
				t.Fatalf("round %d: entry %d stands where %d should", round, e.Seq, from)
			}
			if was, ok := k.places[e.Seq]; ok && was != e.ID {
				t.Fatalf("round %d: the sequence number %d was used twice", round, e.Seq)
			}
			k.places[e.Seq] = e.ID
			held[e.ID] = true
			from++
		}
		if len(entries) < 1000 {
			break
		}
	}
	for id, text := range k.texts {
		if !held[id] {
			t.Fatalf("round %d: %q was acknowledged as %s and is missing", round, text, id)
		}
	}
}

// checkReaders demands every acknowledged message, once, of both nodes.
func (k *killer) checkReaders(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	for _, c := range k.cast {
		must(t, k.until(ctx, func(ctx context.Context) (string, error) { return k.incomplete(ctx, c) }))
		v, err := c.node.client.VerifyLogs(ctx)
		must(t, err)
		if !v.Valid || v.Forks > 0 {
			t.Fatalf("%s: %+v", c.name, v)
		}
	}
	t.Logf("%d messages acknowledged in %d entries", len(k.texts), len(k.places))
}

// incomplete says what c is not shown yet; an error is what it should never be
// shown.
func (k *killer) incomplete(ctx context.Context, c *clinician) (string, error) {
	shown := make(map[string]string)
	byText := make(map[string]bool)
	for at := 0; ; at += 500 {
		page, err := c.node.client.Messages(ctx, k.group, at, 500)
		if err != nil {
			return "", err
		}
		for _, m := range page.Messages {
			if _, twice := shown[m.ID]; twice || byText[m.Text] {
				return "", fmt.Errorf("%s was shown %q twice", c.name, m.Text)
			}
			shown[m.ID], byText[m.Text] = m.Text, true
		}
		if len(page.Messages) < 500 {
			break
		}
	}
	missing, example := 0, ""
	for id, text := range k.texts {
		if shown[id] == "" {
			missing, example = missing+1, text
		} else if shown[id] != text {
			return "", fmt.Errorf("%s was shown %q instead of %q", c.name, shown[id], text)
		}
	}
	if missing > 0 {
		st, err := c.node.client.Status(ctx)
		return fmt.Sprintf("%s does not have %d messages of %d, such as %q; it holds %d entries, %d wait for an epoch, %d peers",
			c.name, missing, len(k.texts), example, st.Entries, st.Waiting, st.Peers), err
	}
	return "", nil
}
