package node

import (
	"context"
	"crypto/hpke"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"tocsin/ledger"
	"tocsin/ledger/bundle"
)

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
