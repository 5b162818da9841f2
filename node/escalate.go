package node

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"tocsin/node/inbox"
	"tocsin/node/message"
)

// Alerts that nobody acknowledges call the next of their list. No server keeps
// the time: every member's device does, and they take turns, so that as a rule
// one raises the step and the others hear of it before it is theirs. In each
// partition somebody raises it; equal steps count once when they meet.

const (
	// turnGap is between the turns of two devices: a gossiped entry has long
	// arrived by then. After turnCount turns the rest share turnRest.
	turnGap   = 2 * time.Second
	turnCount = 15
	turnRest  = 30 * time.Second
	// escalateIdle bounds how long the loop sleeps when no alert sounds.
	escalateIdle = time.Hour
)

// turn is how long a device waits, once a step is due, before it raises it: all
// devices work out the same order, another one for each step.
func turn(e *inbox.Escalation, self string) time.Duration {
	mine := lot(e, self)
	rank := 0
	for _, m := range e.Members {
		if other := lot(e, m); m != self && bytes.Compare(other[:], mine[:]) < 0 {
			rank++
		}
	}
	if rank < turnCount {
		return time.Duration(rank) * turnGap
	}
	return turnCount*turnGap + time.Duration(binary.BigEndian.Uint32(mine[4:8]))%turnRest
}

// lot is what a device's place in the order of a step is drawn by.
func lot(e *inbox.Escalation, log string) [32]byte {
	return sha256.Sum256(slices.Concat(e.Content.Alert[:], binary.BigEndian.AppendUint32(nil, uint32(*e.Content.Step)), []byte(log)))
}

// escalateSoon has the loop look at the alerts again; it never blocks.
func (n *Node) escalateSoon() {
	select {
	case n.alerts <- struct{}{}:
	default:
	}
}

// escalateLoop raises what is this device's turn.
func (n *Node) escalateLoop() {
	defer n.wg.Done()
	for {
		rest := n.escalate()
		select {
		case <-n.ctx.Done():
			return
		case <-n.alerts:
		case <-n.cfg.Clock.After(rest):
		}
	}
}

// escalate raises every step whose turn has come, and returns when to look
// again.
func (n *Node) escalate() time.Duration {
	if n.cfg.Unsafe.NoEscalation {
		return escalateIdle
	}
	var all []inbox.Escalation
	err := n.reads(func(in *inbox.Inbox) error {
		all = in.Escalations()
		return nil
	})
	if err != nil {
		return escalateIdle // locked: it is looked at again at unlock
	}
	now, rest, self := n.cfg.Clock.Now(), escalateIdle, n.selfLog().String()
	for i := range all {
		if !slices.Contains(all[i].Members, self) {
			continue // said to everybody, or in a group that this device has left: it is for others to raise
		}
		at := all[i].At.Add(turn(&all[i], self))
		if wait := at.Sub(now); wait > 0 {
			rest = min(rest, wait)
			continue
		}
		content := all[i].Content
		group := hex.EncodeToString(all[i].Group[:])
		_, err := n.Send(n.ctx, group, message.Message{Content: &content}, "stat")
		if errors.Is(err, ErrInvalid) || errors.Is(err, ErrNotFound) {
			continue // it ended, or the group did, meanwhile: whatever changes that wakes this loop
		}
		if err != nil && n.ctx.Err() == nil {
			n.log.Warn("an alert that nobody acknowledged could not be escalated; it is tried again", "err", err)
			rest = min(rest, turnRest)
		}
	}
	return rest
}
