package node

// Bundles: entries that cross an air gap in a file (protocol §8). What a bundle
// brings passes the same functions as what a neighbour brings.
//
//	ExportBundle   what the readers lack, as far as their frontiers are known
//	ImportBundle   statements → take; headers, bodies and whole entries → accept
//
// A bundle names its creator's frontier. It is remembered, so that the stick
// that goes back carries exactly the difference.

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"slices"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/ledger/bundle"
)

// BundleSpec says what a bundle is to hold and for whom.
type BundleSpec struct {
	// To names devices, persons, organisations, or sites by their ODS code. Empty
	// means every device that is known.
	To []string `json:"to,omitempty"`
	// Everything carries all that is held, also what the readers are known to hold.
	Everything bool `json:"everything,omitempty"`
	// Limit is the largest size in bytes; 0 means no limit. What is urgent goes
	// first.
	Limit int64 `json:"limit,omitempty"`
	// Days after which a courier may throw the file away; 0 means never.
	Days int `json:"days,omitempty"`
}

// BundleInfo says what was written.
type BundleInfo struct {
	Path       string `json:"path"`
	Recipients int    `json:"recipients"` // devices that can open it
	Entries    uint64 `json:"entries"`
	Bodies     uint64 `json:"bodies"`
	Statements uint64 `json:"statements"`
	Left       uint64 `json:"left"` // bodies and headers for which there was no room
	Bytes      int64  `json:"bytes"`
}

// maxBundleDays bounds BundleSpec.Days.
const maxBundleDays = 3650

// ExportBundle writes a bundle to path and reads it back from the medium. It
// works on a locked device and on a relay: nothing is opened. progress, if set,
// is called with bytes of records written and planned.
func (n *Node) ExportBundle(ctx context.Context, path string, spec BundleSpec, progress func(done, total uint64)) (BundleInfo, error) {
	if spec.Days < 0 || spec.Days > maxBundleDays || spec.Limit < 0 {
		return BundleInfo{}, invalid("a bundle is kept for 0 to %d days and has a size of 0 or more", maxBundleDays)
	}
	readers, err := n.bundleReaders(spec.To)
	if err != nil {
		return BundleInfo{}, err
	}
	var theirs ledger.Frontier
	if !spec.Everything {
		if theirs, err = n.knownFrontier(readers); err != nil {
			return BundleInfo{}, err
		}
	}
	tables, err := n.bundleTables(ctx, theirs)
	if err != nil {
		return BundleInfo{}, err
	}
	plan, err := bundle.NewPlan(ctx, n.logs, theirs, n.trust.Statements(), tables)
	if err != nil {
		return BundleInfo{}, err
	}
	if err := n.bundleEvidence(ctx, plan); err != nil {
		return BundleInfo{}, err
	}
	o := n.bundleOptions(plan, readers, spec)
	if o.Frontier, err = n.wholeFrontier(ctx); err != nil {
		return BundleInfo{}, err
	}
	total := plan.Counts().Bytes
	written, err := bundle.WriteFile(path, o, func(w *bundle.Writer) error {
		return plan.Write(ctx, n.logs, w, func(done uint64) {
			if progress != nil {
				progress(done, total)
			}
		})
	})
	if err != nil {
		return BundleInfo{}, invalid("the bundle could not be written: %v", err)
	}
	return bundleInfo(path, len(readers), plan.Counts(), written)
}

// maxBundleTables bounds the testimony in one bundle, and what an import keeps
// of it until the logs that it is about have come.
const maxBundleTables = 8 << 20

// bundleTables is the testimony about the logs of which the readers lack
// something.
func (n *Node) bundleTables(ctx context.Context, theirs ledger.Frontier) ([][]byte, error) {
	held := make(map[ledger.LogID]uint64, len(theirs))
	for _, h := range theirs {
		held[h.Log] = h.Next
	}
	var tables [][]byte
	total := 0
	for _, h := range n.logs.Frontier() {
		if held[h.Log] >= h.Next {
			continue
		}
		data, err := n.records(ctx, h.Log)
		if err != nil {
			return nil, fmt.Errorf("node: testimony for a bundle: %w", err)
		}
		if total += len(data); total > maxBundleTables {
			break
		}
		if len(data) > 0 {
			tables = append(tables, data)
		}
	}
	return tables, nil
}

func (n *Node) bundleOptions(plan *bundle.Plan, readers []*identity.Credential, spec BundleSpec) bundle.Options {
	now := n.cfg.Clock.Now()
	o := bundle.Options{
		Rand: rand.Reader, Mesh: n.trust.MeshID(), Creator: n.selfLog(), Witness: n.cfg.Relay.Witness,
		Created: now, Planned: plan.Counts(), Limit: spec.Limit,
	}
	if spec.Days > 0 {
		o.Expires = now.AddDate(0, 0, spec.Days)
	}
	for _, c := range readers {
		o.Recipients = append(o.Recipients, []byte(c.Claims.Bundle))
	}
	return o
}

func bundleInfo(path string, readers int, planned, written bundle.Counts) (BundleInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return BundleInfo{}, err
	}
	left := planned.Sub(written)
	return BundleInfo{
		Path: path, Recipients: readers, Entries: written.Headers, Bodies: written.Bodies, Statements: written.Statements,
		Left: left.Headers + left.Bodies, Bytes: info.Size(),
	}, nil
}

// bundleReaders finds the devices that a bundle is sealed to. Revoked ones are
// left out.
func (n *Node) bundleReaders(to []string) ([]*identity.Credential, error) {
	var readers []*identity.Credential
	found := make([]bool, len(to))
	for _, d := range n.people.devices() {
		c := n.people.credential(d.log.Author)
		if c == nil || d.log.Author == n.cred.SigningKey || n.excluded(d.log) {
			continue
		}
		wanted := len(to) == 0
		for i, name := range to {
			if bundleFor(name, c, d.log) {
				wanted, found[i] = true, true
			}
		}
		if wanted {
			readers = append(readers, c)
		}
	}
	for i, name := range to {
		if !found[i] {
			return nil, fmt.Errorf("%w: no device, person, organisation or site is known as %q: see `tocsin people`", ErrNotFound, name)
		}
	}
	if len(readers) == 0 {
		return nil, fmt.Errorf("%w: no other device is known, so that nobody could open the bundle", ErrNotFound)
	}
	if len(readers) > bundle.MaxRecipients {
		return nil, invalid("a bundle is for at most %d devices, and these are %d: name an organisation or a site", bundle.MaxRecipients, len(readers))
	}
	return readers, nil
}

func bundleFor(name string, c *identity.Credential, log identity.LogID) bool {
	return name != "" && slices.Contains([]string{log.String(), c.Device, c.Person.String(), c.Person.Org, c.Claims.Name, c.Claims.ODS}, name)
}
