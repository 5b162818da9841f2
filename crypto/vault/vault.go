package vault

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"tocsin/crypto/slots"
)

// Errors that callers branch on. All others are sentences for people.
var (
	// ErrLocked is returned by whatever needs an unlocked vault.
	ErrLocked = errors.New("vault: locked; unlock it with the passphrase first")
	// ErrPassphrase is returned by Unlock for a wrong passphrase.
	ErrPassphrase = errors.New("vault: wrong passphrase")
	// ErrDamaged is wrapped by errors about files that are not what was
	// written. Nothing was changed on disk when it is returned.
	ErrDamaged = errors.New("vault: the vault is damaged")
	// ErrBroken is wrapped when a disk failed so that it is not known what
	// it holds. Reading goes on; commits are refused until the vault is locked
	// and unlocked, which reads everything afresh.
	ErrBroken = errors.New("vault: not writable since a disk error")
)

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s; keep the folder as it is, and put an archive of the whole folder back or enrol this device anew", ErrDamaged, fmt.Sprintf(format, args...))
}

// The files of a vault.
const (
	headerName    = "header"
	newHeaderName = "header.new"
	journalName   = "journal"
	tempName      = "journal.new"
	headName      = "head"
	slotsName     = "slots"
	triesName     = "tries"
	wipedName     = "wiped"
)

// Vault is an open vault. Its methods may be called from any goroutine.
type Vault struct {
	disk disk
	id   [idSize]byte
	rand io.Reader // of salts

	// write serialises everything that changes the vault or its state. Taken
	// before mu.
	write    sync.Mutex
	headers  headers   // write
	tries    tries     // write
	warm     *warmSlot // write; nil where no PIN opens the locked vault
	pinErr   error     // write; what PINState tells
	raise    Params    // write; zero raises nothing
	raiseErr error     // write; what Stats tells
	closed   bool      // write
	wiped    bool      // both

	// mu guards the session pointer, its index and its journal's handle
	// against readers. Writers hold both locks to change them.
	mu      sync.RWMutex
	session *session // nil while locked
}

// session is what an unlocked vault holds.
type session struct {
	keys  *keys
	slots *slots.Slots

	journal file  // Vault.mu
	index   index // Vault.mu

	// Fields of the holder of Vault.write.
	headFile   file
	slot       int // of the newest head
	chain      chain
	broken     error
	torn       bool  // opening cut a torn tail
	compactErr error // why the last compaction failed
	retryAt    int64 // size at which a failed compaction is tried again
}

// Open opens the vault in dir, locked. Where there is none,
// errors.Is(err, fs.ErrNotExist). A wipe that was interrupted is finished, and
// a vault that was wiped is [ErrWiped].
func Open(dir string) (*Vault, error) { return open(osDisk{dir}) }

func open(d disk) (*Vault, error) {
	wiped, err := d.exists(wipedName)
	if err != nil {
		return nil, fmt.Errorf("vault: cannot look into the folder: %w", err)
	}
	if wiped {
		return nil, errors.Join(ErrWiped, wipeFiles(d, rand.Reader))
	}
	hs, err := readHeaders(d)
	if err != nil {
		return nil, err
	}
	v := &Vault{disk: d, id: hs.current.id, rand: rand.Reader, headers: hs}
	// A counter that cannot be read costs the PIN and no more.
	v.tries, v.pinErr = readTries(d)
	return v, nil
}

var errClosed = fmt.Errorf("vault: %w", fs.ErrClosed)

// lockedErr says why a vault without a session can do nothing. The caller
// holds mu or write.
func (v *Vault) lockedErr() error {
	if v.wiped {
		return ErrWiped
	}
	return ErrLocked
}

// Get returns a copy of the value of key, and whether there is one.
func (v *Vault) Get(key string) ([]byte, bool, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	s := v.session
	if s == nil {
		return nil, false, v.lockedErr()
	}
	r, ok := s.index.get(key)
	if !ok || key == pinKey {
		return nil, false, nil
	}
	value, err := s.read(key, r)
	if err != nil {
		return nil, false, err
	}
	return value, true, nil
}

// read opens one value. The caller holds mu.
func (s *session) read(key string, r ref) ([]byte, error) {
	if s.journal == nil {
		return nil, fmt.Errorf("%w: the journal is not open", ErrBroken)
	}
	sealed := make([]byte, r.size)
	if err := readAt(s.journal, sealed, r.offset); err != nil {
		return nil, err
	}
	return s.openValue(sealed, key, r)
}

// Scan calls fn for every key that begins with prefix, in key order, with a
// copy of its value, until fn returns an error, which it passes on. fn may use
// the vault. A key that is deleted before its turn is left out, one that is
// changed comes with the new value, one that is added may be missed.
func (v *Vault) Scan(prefix string, fn func(key string, value []byte) error) error {
	v.mu.RLock()
	if v.session == nil {
		defer v.mu.RUnlock()
		return v.lockedErr()
	}
	keys := v.session.index.prefixed(prefix)
	v.mu.RUnlock()
	for _, key := range keys {
		value, ok, err := v.Get(key)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := fn(key, value); err != nil {
			return err
		}
	}
	return nil
}

// Stats describes an unlocked vault.
type Stats struct {
	Keys     int    // values held
	Erasable int    // of them under keys of their own
	Records  uint64 // in the journal
	Bytes    int64  // of the journal
	Live     int64  // bytes of the journal that are still needed
	TornTail bool   // opening cut off an append that a crash had interrupted
	Compact  error  // why the last compaction failed, nil if it did not
	Raise    error  // why the costs of the passphrase could not be raised, see Raise
}

// Stats returns figures of an unlocked vault.
func (v *Vault) Stats() (Stats, error) {
	v.write.Lock()
	defer v.write.Unlock()
	s := v.session
	if s == nil {
		return Stats{}, v.lockedErr()
	}
	st := Stats{Keys: s.index.n, Records: s.chain.count, Bytes: s.chain.offset, Live: s.index.live,
		TornTail: s.torn, Compact: s.compactErr, Raise: v.raiseErr}
	for range s.index.slots {
		st.Erasable++
	}
	if v.pinSet() { // ours, and no value of the caller's
		st.Keys, st.Erasable = st.Keys-1, st.Erasable-1
	}
	return st, nil
}
