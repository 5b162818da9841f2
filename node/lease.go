package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"tocsin/crypto/identity"
)

// The ticket is the lease of protocol §1: each unlock renews it, and so does a
// device that stays unlocked once it is a day old; neighbours refuse a device
// whose ticket has run out, and the device itself takes no PIN any more.
const (
	ticketLife = 7 * 24 * time.Hour
	ticketAge  = 24 * time.Hour
	ticketFile = "ticket.bin"
)

func (n *Node) renewTicket() error {
	now := n.cfg.Clock.Now()
	notAfter := now.Add(ticketLife)
	t, err := identity.NewTicketWith(n.open.keys.Signing, n.cfg.Relay.PeerID(), now, notAfter, n.cfg.Credential)
	if err != nil {
		return fmt.Errorf("node: ticket: %w", err)
	}
	if err := writeFile(filepath.Join(n.cfg.Dir, ticketFile), t); err != nil {
		return fmt.Errorf("node: saving the ticket: %w", err)
	}
	n.ticket.Store(&t)
	return nil
}

// lease is for how long a locked device may still be opened by its PIN. All of
// it is guarded by Node.mu.
type lease struct {
	until time.Time     // by the wall clock
	run   time.Duration // of this process since the lease began
	ended bool
}

// renewLease begins a new one: the device was unlocked, or stays so. It does not
// ask whether a new ticket could be written: neighbours care for that.
func (n *Node) renewLease() {
	n.lease = lease{until: n.cfg.Clock.Now().Add(ticketLife)}
	n.lockSoon()
}

// loadTicket reads the ticket of an earlier unlock, so that a device that was
// restarted and is still locked can relay.
func (n *Node) loadTicket() error {
	t, err := os.ReadFile(filepath.Join(n.cfg.Dir, ticketFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("node: reading the ticket: %w", err)
	}
	n.ticket.Store(&t)
	n.lease.until = n.ticketNotAfter()
	return nil
}

// ticketNotAfter is when the lease of this device ends; zero when it was never
// unlocked.
func (n *Node) ticketNotAfter() time.Time {
	t := n.currentTicket()
	if t == nil {
		return time.Time{}
	}
	notAfter, err := identity.TicketNotAfter(t)
	if err != nil {
		n.log.Warn("the ticket on disk cannot be read; the next unlock writes a new one", "err", err)
	}
	return notAfter
}

// left is what remains by the wall clock and by the time that this process has
// run since, whichever ends first: setting the clock back lengthens nothing.
func (l *lease) left(now time.Time) time.Duration {
	return min(l.until.Sub(now), ticketLife-l.run)
}

// endLease locks a device whose lease has ended, so that only the passphrase
// opens it (protocol §9). It erases nothing: an outage is when the data is
// needed. n.mu is held.
func (n *Node) endLease() {
	if n.lease.ended {
		return
	}
	n.lease.ended = true
	n.log.Warn("this device was not unlocked for as long as its lease: only its passphrase opens it now")
	n.closeSession()
	if n.cfg.Vault != nil {
		n.cfg.Vault.LockHard()
	}
	n.events.publish(Event{Type: EventLock})
}
