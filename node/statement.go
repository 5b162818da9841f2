package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"tocsin/crypto/identity"
)

// StatementInfo is one statement of trust, for people.
type StatementInfo struct {
	Hash    string    `json:"hash"` // SHA-256 of its bytes, hex
	Kind    string    `json:"kind"`
	Issuer  string    `json:"issuer"` // organisation
	Time    time.Time `json:"time"`   // when it was signed, as it says
	Words   string    `json:"words"`
	Carried bool      `json:"carried"`       // it stands in a log that is held here
	New     bool      `json:"new,omitempty"` // not known before this call
}

// PublishStatement takes a statement that came in a file: it is checked, kept
// and acted on at once, also while locked, and carried in this device's log from
// the next unlock on unless another device carries it by then. Errors:
// [ErrInvalid] with the reason; a statement that is known already is none.
func (n *Node) PublishStatement(ctx context.Context, raw []byte) (StatementInfo, error) {
	eff, err := n.take(raw, false)
	switch {
	case errors.Is(err, identity.ErrPostDated):
		if !n.keepLater(deferred{raw: raw}) {
			return StatementInfo{}, invalid("%v; too many wait for their date already: publish it again when the clock is right", err)
		}
		return StatementInfo{}, invalid("%v; it is tried again every hour", err)
	case errors.Is(err, identity.ErrEarly):
		return StatementInfo{}, invalid("this statement waits for a trust bundle that has not come: publish that too: %v", err)
	case err != nil:
		return StatementInfo{}, invalid("%v", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.writable() == nil {
		if err := n.publishPending(ctx); err != nil {
			return StatementInfo{}, err
		}
	}
	known := eff.Known
	if known {
		if eff, err = n.reread(raw); err != nil {
			return StatementInfo{}, invalid("%v", err)
		}
	}
	info := n.statementInfo(raw, eff)
	info.New = !known
	return info, nil
}

// publishPending carries the statements that no log carries yet. n.mu is held
// and the device is unlocked.
func (n *Node) publishPending(ctx context.Context) error {
	n.keeper.mu.Lock()
	pending := slices.Clone(n.keeper.pending)
	n.keeper.mu.Unlock()
	for _, raw := range pending {
		if _, err := n.take(raw, false); err != nil {
			n.keeper.drop(raw, err)
			continue
		}
		if err := n.commitControl(ctx, controlStatement, raw); err != nil {
			return err
		}
	}
	return nil
}

// publishUncarried carries what is in force and stands in no log, such as what
// an enrolment brought. n.mu is held and the device is unlocked.
func (n *Node) publishUncarried(ctx context.Context) error {
	for _, raw := range n.trust.Statements() {
		n.keeper.mu.Lock()
		_, carried := n.keeper.carried[sha256.Sum256(raw)]
		n.keeper.mu.Unlock()
		if carried {
			continue
		}
		if err := n.commitControl(ctx, controlStatement, raw); err != nil {
			return err
		}
	}
	return nil
}

// Statements returns the statements in force. It works while locked.
func (n *Node) Statements() []StatementInfo {
	var out []StatementInfo
	fresh, err := identity.NewTrustStore(n.trust.Genesis())
	if err != nil {
		n.log.Error("the genesis bundle cannot be read again", "err", err)
		return nil
	}
	for _, raw := range n.trust.Statements() {
		eff, err := fresh.Take(raw, n.cfg.Clock.Now())
		if err != nil {
			n.log.Error("a statement in force is refused now", "err", err)
			continue
		}
		out = append(out, n.statementInfo(raw, eff))
	}
	return out
}

// reread reads a statement that was taken before, of which the store says no
// more than that it is known: with the bundles in force and nothing else.
func (n *Node) reread(raw []byte) (identity.Effect, error) {
	fresh, err := identity.NewTrustStore(n.trust.Genesis())
	if err != nil {
		return identity.Effect{}, err
	}
	for _, st := range n.trust.Statements() {
		if kind, err := identity.StatementKind(st); err != nil || kind != identity.KindBundle {
			continue
		}
		if _, err := fresh.Take(st, n.cfg.Clock.Now()); err != nil {
			return identity.Effect{}, err
		}
	}
	return fresh.Take(raw, n.cfg.Clock.Now())
}

// RawStatements returns the statements in force as they were signed.
func (n *Node) RawStatements() [][]byte { return n.trust.Statements() }

func (n *Node) statementInfo(raw []byte, e identity.Effect) StatementInfo {
	hash := sha256.Sum256(raw)
	n.keeper.mu.Lock()
	_, carried := n.keeper.carried[hash]
	n.keeper.mu.Unlock()
	return StatementInfo{
		Hash: hex.EncodeToString(hash[:]), Kind: e.Kind.String(), Issuer: e.Org, Time: e.Time,
		Words: statementWords(e), Carried: carried,
	}
}

// statementWords is a statement in one sentence.
func statementWords(e identity.Effect) string {
	by := e.Org
	if e.Registrar {
		by = "a registrar of " + e.Org
	}
	when := e.Time.UTC().Format("2 January 2006 15:04 MST")
	switch {
	case e.Wipe != nil && e.Wipe.RevokesOnly:
		return fmt.Sprintf("%s revoked a device on %s (its order to erase came late, or was beyond five a day).", by, when)
	case e.Wipe != nil:
		return fmt.Sprintf("%s ordered a device to destroy its keys on %s.", by, when)
	case e.Receipt != nil:
		return fmt.Sprintf("The device %s says that it destroyed its keys on %s.", e.Receipt.Device, when)
	case e.Incident != nil && e.Incident.Declared:
		return fmt.Sprintf("%s declared the incident “%s” on %s.", by, e.Incident.Name, when)
	case e.Incident != nil:
		return fmt.Sprintf("%s stood the incident “%s” down on %s.", by, e.Incident.Name, when)
	case e.Bundle != nil:
		return fmt.Sprintf("Trust bundle %d came into force, dated %s.", e.Bundle.Number(), when)
	case e.MeshKey != nil:
		return fmt.Sprintf("%s sealed broadcast key %d to its devices on %s.", by, e.MeshKey.Number, when)
	case e.Admin != nil:
		return fmt.Sprintf("%s named an admin for a group that had none on %s.", by, when)
	case len(e.Revoked) > 0:
		return fmt.Sprintf("%s revoked %d devices on %s.", by, len(e.Revoked), when)
	}
	return fmt.Sprintf("%s signed a statement (%s) on %s.", by, e.Kind, when)
}
