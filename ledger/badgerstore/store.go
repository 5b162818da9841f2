package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"

	"tocsin/crypto/slots"
	"tocsin/ledger"
)

// indexName is Badger's directory.
const indexName = "index"

// Store is a ledger.Store in a directory. It is safe for concurrent use.
type Store struct {
	dir   string
	files files
	opt   Options
	lock  *os.File
	db    *badger.DB

	useMu  sync.Mutex // guards closed and the first Add of uses
	closed bool
	uses   sync.WaitGroup // operations under way

	own journal
	in  journal // others' records

	indexMu sync.Mutex // held for each write to Badger; taken after journal.mu
	heads   heads      // guarded by indexMu

	suspects []ledger.LogID     // logs that opening found fault with
	notes    []string           // what opening found and repaired
	fresh    map[place]struct{} // while opening: single records that a wal had
	ballast  ballast
	erased   erasures
	segment  int64 // from this length on own.wal becomes a segment
	scrub    fileScrub

	pendMu sync.RWMutex // guards fault and journal.pending; taken last
	fault  error        // set once it is no longer known what Badger wrote
}

// journal is a write-ahead log, the keys of the bodies in it, and what Badger
// does not have of it.
type journal struct {
	mu         sync.Mutex // guards wal, and keeps commits in order
	wal        *wal
	slotsName  string
	placesName string
	keys       *slots.Slots
	places     *places       // which entry each slot was taken for
	slotEnd    atomic.Uint64 // no slot from here on was ever used
	use        slotUse       // while opening: what its records say of keys
	pending    *pending      // guarded by Store.pendMu
}

// Open opens the store in dir, and creates it if there is none. Errors that
// callers branch on: [ErrInUse], ledger.ErrDamaged, ledger.ErrReadOnly.
func Open(dir string, opt Options) (*Store, error) {
	return open(dir, opt, osFiles{dir})
}

// open takes the place of own.wal and in.wal apart, for tests.
func open(dir string, opt Options, walDir files) (_ *Store, err error) {
	if err := opt.validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, indexName), 0o700); err != nil {
		return nil, fmt.Errorf("badgerstore: cannot make the data directory: %w", err)
	}
	s := &Store{dir: dir, files: walDir, opt: opt, segment: segmentSize, fresh: make(map[place]struct{}),
		erased: erasures{seqs: make(map[ledger.LogID][]uint64)}}
	for name, j := range map[string]*journal{"own": &s.own, "in": &s.in} {
		j.slotsName, j.placesName, j.pending, j.use.dead = name+".slots", name+".places", newPending(), make(map[uint64]struct{})
	}
	if s.lock, err = acquire(filepath.Join(dir, "lock")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.release())
		}
	}()
	// Badger writes at opening too, but reading must stay possible for longer
	// than writing.
	if err := s.checkSpace(opt.MinFree / 2); err != nil {
		return nil, err
	}
	if err := s.openFiles(walDir); err != nil {
		return nil, err
	}
	if opt.Unsafe.LoseOwnEntriesWhenKilled {
		s.own.wal.unsafeHold = true
		opt.Logger.Warn("UNSAFE: own entries are kept in memory only and are LOST if this process is killed; never use this with real messages")
	}
	return s, nil
}

// openFiles opens what is in the directory, in this order: the index, the keys
// of bodies, the copy of the heads, the wals, which bring the index up to date;
// then index and heads are compared, and erasures completed.
func (s *Store) openFiles(dir files) (err error) {
	defer damagedIndex(&err)
	if err := s.openIndex(); err != nil {
		return err
	}
	created := true
	var missing []string
	for _, j := range []*journal{&s.own, &s.in} {
		keys, isNew, err := openSlots(dir, j.slotsName)
		if err != nil {
			return err
		}
		j.keys = keys
		if j.places, err = openPlaces(dir, j.placesName, s.opt.Key); err != nil {
			return err
		}
		if created = created && isNew; isNew {
			missing = append(missing, j.slotsName)
		}
	}
	if err := errors.Join(s.openHeads(dir), s.openGone(dir)); err != nil {
		return err
	}
	if err := s.judgeComplete(dir, created); err != nil {
		return err
	}
	if err := s.openOwn(dir); err != nil {
		return err
	}
	if err := s.openIn(dir); err != nil {
		return err
	}
	for _, name := range missing {
		if s.heads.known || s.own.use.end > 0 || s.in.use.end > 0 {
			s.note(name + " was missing, which has the keys of bodies: those that were held are lost until other devices bring them again")
		}
	}
	if err := s.settleHeads(dir); err != nil {
		return err
	}
	if err := s.settlePlaces(); err != nil {
		return err
	}
	for _, j := range []*journal{&s.own, &s.in} {
		if err := j.claim(); err != nil {
			return err
		}
		j.slotEnd.Store(j.use.end)
	}
	s.fresh = nil
	s.openBallast()
	return nil
}

// judgeComplete decides whether the opening sees every record that was ever
// acknowledged. If a file is missing or cut it does not, and somebody may bring
// that file back: then no key may be destroyed that a record in it may name, at
// this opening or a later one. So all slots there are count as used, and this is
// durable before any file is made in the place of the one that is missing:
// heads.wal says so at once, or, if it is not to be trusted, stays untrusted
// until it is made anew.
func (s *Store) judgeComplete(dir files, created bool) error {
	complete := s.heads.trusted && (s.heads.known || created)
	for _, name := range []string{ownWAL.name, inWAL.name} {
		there, err := has(dir, name)
		if err != nil {
			return err
		}
		complete = complete && (there || !s.heads.known)
	}
	for _, j := range []*journal{&s.own, &s.in} {
		if !complete {
			j.use.end = max(j.use.end, uint64(j.keys.Stats().Slots))
		}
		j.slotEnd.Store(j.use.end)
	}
	if !s.heads.trusted || complete && s.heads.known {
		return nil
	}
	payload, err := (&headsRecord{ownSlots: s.own.use.end, inSlots: s.in.use.end}).marshal()
	if err == nil {
		_, err = s.heads.wal.append(payload)
	}
	return err
}

// note keeps a sentence about what opening found, and logs it.
func (s *Store) note(sentence string) {
	s.notes = append(s.notes, sentence)
	s.opt.Logger.Error(sentence)
}

// openIndex opens Badger.
func (s *Store) openIndex() (err error) {
	dir := filepath.Join(s.dir, indexName)
	if err := guardManifest(dir); err != nil {
		return err
	}
	if err := checkTables(dir, &s.opt); err != nil {
		return err
	}
	if s.db, err = badger.Open(badgerOptions(dir, &s.opt)); err != nil {
		s.db = nil
		if errors.Is(err, badger.ErrEncryptionKeyMismatch) {
			return errKey
		}
		return fmt.Errorf("%w: %s", diskError("cannot open the index", err), indexAdvice)
	}
	value, err := s.value(keyFormat)
	if errors.Is(err, ledger.ErrNotFound) {
		err := s.db.Update(func(txn *badger.Txn) error { return txn.Set(keyFormat, []byte{formatVersion}) })
		if err != nil {
			return diskError("cannot write the index", err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if len(value) != 1 || value[0] != formatVersion {
		return fmt.Errorf("badgerstore: the data directory has format %x and this program reads %d: use a newer tocsin", value, formatVersion)
	}
	return nil
}

// guardManifest refuses a database whose MANIFEST is gone: Badger would take
// its tables for garbage and delete them.
func guardManifest(dir string) error {
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		return fmt.Errorf("badgerstore: cannot list the index: %w", err)
	}
	_, err = os.Stat(filepath.Join(dir, badger.ManifestFilename))
	ok, err := exists(err)
	if err != nil {
		return fmt.Errorf("badgerstore: cannot read the index: %w", err)
	}
	if !ok && len(tables) > 0 {
		return fmt.Errorf("%w: %s has %d tables and no %s: restore that file, or %s",
			ledger.ErrDamaged, dir, len(tables), badger.ManifestFilename, indexAdvice)
	}
	return nil
}

// begin starts an operation; the caller calls s.uses.Done when it succeeded.
func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.useMu.Lock()
	defer s.useMu.Unlock()
	if s.closed {
		return ledger.ErrClosed
	}
	s.uses.Add(1)
	return nil
}

// Close implements ledger.Store: it refuses new operations, waits for those
// under way, brings the index up to date so that the next opening is quick, and
// closes the files, the index and the lock, in this order.
func (s *Store) Close() error {
	s.useMu.Lock()
	if s.closed {
		s.useMu.Unlock()
		return ledger.ErrClosed
	}
	s.closed = true
	s.useMu.Unlock()
	s.uses.Wait()
	if err := s.settle(); err != nil {
		// Nothing is lost: the next opening reads it from the files.
		s.opt.Logger.Warn("the index was not brought up to date at closing", "error", err)
	}
	return s.release()
}

// settle gives the index all that is pending and empties in.wal.
func (s *Store) settle() error {
	if err := s.checkSpace(s.opt.MinFree); err != nil {
		return err
	}
	for s.unindexed() {
		if err := s.index(); err != nil {
			return err
		}
	}
	return s.emptyIn()
}

func (s *Store) unindexed() bool {
	s.pendMu.RLock()
	defer s.pendMu.RUnlock()
	return len(s.in.pending.batches) > 0 || len(s.own.pending.batches) > 0 && !s.opt.Unsafe.LoseOwnEntriesWhenKilled
}

// release closes whatever is open.
func (s *Store) release() error {
	var errs []error
	for _, j := range []*journal{&s.own, &s.in} {
		if j.wal != nil {
			errs = append(errs, j.wal.close())
		}
		if j.keys != nil {
			errs = append(errs, j.keys.Close())
		}
		if j.places != nil {
			errs = append(errs, j.places.f.Close())
		}
	}
	for _, w := range []*wal{s.heads.wal, s.heads.gone} {
		if w != nil {
			errs = append(errs, w.close())
		}
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	errs = append(errs, s.lock.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("badgerstore: closing: %w", err)
	}
	return nil
}
