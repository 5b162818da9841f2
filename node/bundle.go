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
	"crypto/hpke"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

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
		o.Recipients = append(o.Recipients, c.Claims.Bundle)
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

// wholeFrontier is up to where this device holds every log with its bodies: a
// bundle that comes back is made from it, and a frontier that counted headers
// would leave out the bodies that are missing below.
func (n *Node) wholeFrontier(ctx context.Context) (ledger.Frontier, error) {
	for !n.scannedAbsent() {
		if err := n.scanAbsent(ctx); err != nil {
			return nil, err
		}
	}
	lost := make(map[identity.LogID]uint64)
	for _, w := range n.logs.Lost() {
		if first, ok := lost[w.Log]; !ok || w.From < first {
			lost[w.Log] = w.From
		}
	}
	var whole ledger.Frontier
	for _, head := range n.logs.Frontier() {
		lowest := head.Next
		if first, ok := lost[head.Log]; ok {
			lowest = min(lowest, first)
		}
		n.sync.bodies(func(a *ledger.Absence) {
			for _, w := range a.Of(head.Log) {
				lowest = min(lowest, w.From)
			}
		})
		if lowest == 0 {
			continue
		}
		if lowest < head.Next {
			e, err := n.logs.Entry(ctx, head.Log, lowest-1)
			if errors.Is(err, ledger.ErrDamaged) || errors.Is(err, ledger.ErrNotFound) {
				continue // nothing of it is claimed
			}
			if err != nil {
				return nil, fmt.Errorf("node: up to where a log is whole: %w", err)
			}
			head.Next, head.ID = lowest, e.ID()
		}
		whole = append(whole, head)
	}
	return whole, nil
}

// scannedAbsent reports whether every log was looked through for absent bodies.
func (n *Node) scannedAbsent() bool {
	n.sync.scanMu.Lock()
	defer n.sync.scanMu.Unlock()
	return n.sync.scanned
}

// frontierDir holds the frontiers that bundles have told us, by creator.
const frontierDir = "frontiers"

func (n *Node) frontierFile(author identity.Key) string {
	return filepath.Join(n.cfg.Dir, frontierDir, author.String()+".bin")
}

// rememberFrontier keeps what the creator of a bundle held when it made it.
func (n *Node) rememberFrontier(author identity.Key, f ledger.Frontier) error {
	raw, err := f.Marshal()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(n.cfg.Dir, frontierDir), 0o700); err != nil {
		return err
	}
	return writeFile(n.frontierFile(author), raw)
}

// knownFrontier is what every reader is known to hold: for each log the least of
// what their bundles said. A reader of whom nothing is known makes it empty.
func (n *Node) knownFrontier(readers []*identity.Credential) (ledger.Frontier, error) {
	var common ledger.Frontier
	for i, c := range readers {
		raw, err := os.ReadFile(n.frontierFile(c.SigningKey))
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		f, err := ledger.ParseFrontier(raw)
		if err != nil {
			n.log.Warn("what a bundle said of its creator's logs cannot be read; the next one goes out whole", "err", err)
			return nil, nil
		}
		if i == 0 {
			common = f
			continue
		}
		common = leastOf(common, f)
	}
	return common, nil
}

// leastOf keeps the logs that are in both, at the lower place.
func leastOf(a, b ledger.Frontier) ledger.Frontier {
	held := make(map[identity.LogID]ledger.Head, len(b))
	for _, h := range b {
		held[h.Log] = h
	}
	out := a[:0]
	for _, h := range a {
		other, ok := held[h.Log]
		if !ok {
			continue
		}
		if other.Next < h.Next {
			h = other
		}
		out = append(out, h)
	}
	return out
}

// BundleReport says what a bundle brought.
type BundleReport struct {
	Creator    string    `json:"creator"` // who made it, as their credential says; empty if not known
	Created    time.Time `json:"created"`
	New        uint64    `json:"new"`        // entries that were not held
	Filled     uint64    `json:"filled"`     // bodies of entries whose header was held
	Known      uint64    `json:"known"`      // held already
	Waiting    uint64    `json:"waiting"`    // ahead of a gap, of an unknown author, or over a budget
	Refused    uint64    `json:"refused"`    // that do not verify
	Unsaved    uint64    `json:"unsaved"`    // that this device could not save
	Statements uint64    `json:"statements"` // of authorities, that were not known
	Cut        bool      `json:"cut,omitempty"`
	Damaged    uint64    `json:"damaged,omitempty"`   // blocks of the file that cannot be read
	NotThere   uint64    `json:"not_there,omitempty"` // what its maker planned and had no room for
	Words      string    `json:"words"`
}

// importBatch is how many entries of a bundle share one write.
const importBatch = 64

// importer carries one import.
type importer struct {
	n       *Node
	rep     BundleReport
	frames  [][]byte // whole entries: the first of logs, and bodies joined to their headers
	headers [][]byte
	first   bool // frames holds the first entry of a log
	tables  [][]byte
	tabled  int // bytes in tables
}

// ImportBundle takes what a bundle brings. It is idempotent: after a crash, a
// cut or a full disk the same file is imported again. A file that was cut or
// damaged is used as far as it can be read, and Words says so. Errors:
// [ErrLocked] (the key is in the vault), [ErrInvalid] for a file that is no bundle
// or not for this device, [ErrReadOnly] when this device can save nothing.
func (n *Node) ImportBundle(ctx context.Context, path string, progress func(done uint64)) (BundleReport, error) {
	key, err := n.bundleKey()
	if err != nil {
		return BundleReport{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return BundleReport{}, invalid("the bundle cannot be opened: %v", err)
	}
	defer f.Close()
	r, err := bundle.NewReader(f, key)
	if err != nil {
		return BundleReport{}, bundleError(err)
	}
	m := r.Manifest()
	if m.Mesh != n.trust.MeshID() {
		return BundleReport{}, invalid("this bundle is of another mesh, %s", m.Mesh)
	}
	im := &importer{n: n, rep: BundleReport{Created: m.Created}}
	err = im.run(ctx, r, progress)
	im.conclude(r.Report())
	if err != nil {
		return im.rep, err
	}
	if n.createdBy(m) {
		im.rep.Creator = n.people.credential(m.Creator.Author).Claims.Name
		if err := n.rememberFrontier(m.Creator.Author, m.Frontier); err != nil {
			n.log.Warn("what the bundle's creator holds could not be noted; the next bundle back goes out whole", "err", err)
		}
	}
	return im.rep, nil
}

// createdBy reports whether the manifest is signed by the witness key of the
// device that it names.
func (n *Node) createdBy(m *bundle.Manifest) bool {
	c := n.people.credential(m.Creator.Author)
	return c != nil && c.Claims.Witness == m.Witness
}

func (n *Node) bundleKey() (hpke.PrivateKey, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return nil, ErrLocked
	}
	return n.open.keys.Bundle, nil
}

func bundleError(err error) error {
	if errors.Is(err, bundle.ErrNotForUs) {
		return invalid("this bundle is sealed to other devices: ask its maker to name this one")
	}
	return invalid("%v", err)
}

// run takes records until the end of what can be read. Its error is this
// device's; what is wrong with the file stands in the reader's report.
func (im *importer) run(ctx context.Context, r *bundle.Reader, progress func(uint64)) error {
	for {
		rec, err := r.Next()
		if err != nil {
			return errors.Join(im.flush(ctx), im.testify(ctx), mediumError(err))
		}
		if err := im.take(ctx, rec); err != nil {
			return err
		}
		if progress != nil {
			progress(r.Report().Read.Bytes)
		}
	}
}

// mediumError passes on what is neither the end nor a fault of the file.
func mediumError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, bundle.ErrCut) || errors.Is(err, bundle.ErrDamaged) {
		return nil
	}
	return err
}

func (im *importer) take(ctx context.Context, rec bundle.Record) error {
	switch rec.Type {
	case bundle.Statement:
		info, err := im.n.PublishStatement(ctx, rec.Data)
		if err != nil {
			im.rep.Refused++
			im.n.log.Info("a statement in a bundle was not taken", "err", err)
		} else if info.New {
			im.rep.Statements++
		}
	case bundle.Table: // of logs that come behind it
		if im.tabled += len(rec.Data); im.tabled <= maxBundleTables {
			im.tables = append(im.tables, rec.Data)
		}
	case bundle.Entry:
		im.frames, im.first = append(im.frames, rec.Data), true
	case bundle.Header:
		if im.first { // what follows in a log needs its first entry
			if err := im.flush(ctx); err != nil {
				return err
			}
		}
		im.headers = append(im.headers, headerFrame(rec.Data))
	case bundle.Body:
		if err := im.join(ctx, rec); err != nil {
			return err
		}
	case bundle.Evidence: // behind everything
		if err := im.takeEvidence(ctx, rec.Data); err != nil {
			return err
		}
	}
	if len(im.frames)+len(im.headers) >= importBatch {
		return im.flush(ctx)
	}
	return nil
}

// testify takes the testimony that the bundle brought.
func (im *importer) testify(ctx context.Context) error {
	for _, data := range im.tables {
		err := im.n.acceptRecords(ctx, data)
		if errors.Is(err, ledger.ErrTestimony) {
			im.rep.Refused++
		} else if err != nil {
			return storeError(err)
		}
	}
	return nil
}

// headerFrame is [ledger.Entry.HeaderFrame] of a signed header.
func headerFrame(signed []byte) []byte {
	f := append(make([]byte, 0, 3+len(signed)), byte(len(signed)>>8), byte(len(signed)))
	return append(append(f, signed...), 0)
}

// flush appends what was gathered: headers first, whose bodies may be among the
// frames.
func (im *importer) flush(ctx context.Context) error {
	if len(im.headers) > 0 {
		results, _ := im.n.acceptHeaders(ctx, im.headers...)
		im.tally(results)
	}
	if len(im.frames) > 0 {
		results := im.n.acceptBy(ctx, brought, im.frames...)
		im.tally(results)
		im.n.sync.bodies(func(a *ledger.Absence) {
			for _, r := range results {
				if r.outcome == ledger.Filled {
					a.Remove(r.entry.Header.Log(), r.entry.Header.Seq)
				}
			}
		})
	}
	im.frames, im.headers, im.first = im.frames[:0], im.headers[:0], false
	if im.rep.Unsaved > 0 {
		return fmt.Errorf("%w: the import stopped: make room or look at the disk, and import the same file again", ErrReadOnly)
	}
	return ctx.Err()
}

func (im *importer) tally(results []received) {
	for _, r := range results {
		switch {
		case r.entry == nil:
			im.rep.Refused++
		case r.outcome == 0:
			im.rep.Unsaved++
		case r.outcome == ledger.Appended || r.outcome == ledger.Restored:
			im.rep.New++
		case r.outcome == ledger.Filled:
			im.rep.Filled++
		case r.outcome == ledger.Known:
			im.rep.Known++
		default:
			im.rep.Waiting++
		}
	}
}

// join makes a whole entry of a body and the header that came before it.
func (im *importer) join(ctx context.Context, rec bundle.Record) error {
	e, err := im.n.headerOf(ctx, rec.Log, rec.Seq, rec.Data)
	if (errors.Is(err, ledger.ErrNotFound) || err == nil && !hasBody(e, rec.Data)) && len(im.headers) > 0 {
		if err := im.flush(ctx); err != nil {
			return err
		}
		e, err = im.n.headerOf(ctx, rec.Log, rec.Seq, rec.Data)
	}
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		im.rep.Waiting++ // its header is ahead of a gap: another carrier brings both
	case err != nil:
		return storeError(err)
	case !e.Absent:
		im.rep.Known++
	default:
		im.frames = append(im.frames, wholeFrame(e.SignedHeader(), rec.Data))
	}
	return nil
}

// conclude says in words how the import ended.
func (im *importer) conclude(r bundle.Report) {
	rep := &im.rep
	rep.Cut, rep.Damaged = r.Cut, r.Damaged
	left := r.Manifest.Planned.Sub(r.Read)
	rep.NotThere = left.Headers + left.Bodies
	switch {
	case rep.Cut:
		rep.Words = fmt.Sprintf("The file was cut short: %d records of its plan are missing. What could be read was taken; ask for the rest.", rep.NotThere)
	case rep.Damaged > 0:
		rep.Words = fmt.Sprintf("%d blocks of the file cannot be read, and %d records of its plan are missing. What could be read was taken; ask for the rest, on another stick.", rep.Damaged, rep.NotThere)
	case rep.NotThere > 0:
		rep.Words = fmt.Sprintf("Everything in the file was taken. Its maker had no room for %d records more.", rep.NotThere)
	default:
		rep.Words = "Everything in the file was taken."
	}
}
