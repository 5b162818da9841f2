package vault

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
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
	headerName  = "header"
	journalName = "journal"
	headName    = "head"
	tempName    = "journal.new"
)

// Options are the choices of Create.
type Options struct {
	// Rand makes keys and salt; nil is the system's source.
	Rand io.Reader
	// Params are the costs of argon2id; zero is DefaultParams. Lower ones are
	// taken, and recorded as chosen, for tests and simulations.
	Params Params
}

// Vault is an open vault. Its methods may be called from any goroutine.
type Vault struct {
	disk   disk
	header *header

	// write serialises everything that changes the vault or its state. Taken
	// before mu.
	write  sync.Mutex
	closed bool // write

	// mu guards the session pointer, its index and its journal's handle
	// against readers. Writers hold both locks to change them.
	mu      sync.RWMutex
	session *session // nil while locked
}

// session is what an unlocked vault holds.
type session struct {
	keys *keys

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

// Create makes a vault in dir, which is made if it is missing, with mode 0700,
// and returns it unlocked. A vault that is there already is never touched:
// errors.Is(err, fs.ErrExist).
func Create(dir string, passphrase []byte, opt Options) (*Vault, error) {
	if err := checkPassphrase(passphrase); err != nil {
		return nil, err
	}
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("vault: cannot make the folder: %w", err)
	}
	return create(osDisk{dir}, passphrase, opt)
}

func create(d disk, passphrase []byte, opt Options) (*Vault, error) {
	if opt.Rand == nil {
		opt.Rand = rand.Reader
	}
	if opt.Params == (Params{}) {
		opt.Params = DefaultParams()
	}
	if err := opt.Params.check(); err != nil {
		return nil, err
	}
	if err := refuseExisting(d); err != nil {
		return nil, err
	}
	h := &header{params: opt.Params}
	if opt.Params.Weak() {
		h.flags |= flagWeak
	}
	for _, b := range [][]byte{h.id[:], h.salt[:]} {
		if _, err := io.ReadFull(opt.Rand, b); err != nil {
			return nil, fmt.Errorf("vault: no randomness: %w", err)
		}
	}
	master, err := h.sealMaster(opt.Rand, passphrase)
	if err != nil {
		return nil, err
	}
	defer clear(master)
	k, err := deriveKeys(master)
	if err != nil {
		return nil, err
	}
	if err := writeNew(d, h, k); err != nil {
		return nil, fmt.Errorf("vault: cannot create: %w", err)
	}
	v := &Vault{disk: d, header: h}
	if v.session, err = v.load(k); err != nil {
		return nil, err
	}
	return v, nil
}

// refuseExisting refuses a folder with a vault, and one with the journal of a
// vault whose header is lost: with a backup of the header it can be read.
func refuseExisting(d disk) error {
	there, err := d.exists(headerName)
	if err != nil {
		return fmt.Errorf("vault: cannot look into the folder: %w", err)
	}
	if there {
		return fmt.Errorf("vault: there is a vault already: %w", fs.ErrExist)
	}
	f, err := d.open(journalName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("vault: cannot look into the folder: %w", err)
	}
	size, err := f.size()
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("vault: cannot look into the folder: %w", err)
	}
	if size > int64(preambleSize) {
		return fmt.Errorf("vault: there is a journal whose header is lost; restore \"header\" from a backup, or move the folder away: %w", fs.ErrExist)
	}
	return nil
}

// writeNew writes the files of an empty vault, the header last: until its
// name is there, there is no vault.
func writeNew(d disk, h *header, k *keys) error {
	c := startChain(newPreamble(h.id, 1, 1))
	if err := writeFile(d, journalName, c.preamble.marshal()); err != nil {
		return err
	}
	both := make([]byte, headFileSize)
	copy(both, c.head().seal(k, h.id))
	copy(both[headSpacing:], c.head().seal(k, h.id))
	if err := writeFile(d, headName, both); err != nil {
		return err
	}
	if err := d.syncDir(); err != nil {
		return err
	}
	if err := writeFile(d, headerName+".new", h.marshal()); err != nil {
		return err
	}
	if err := d.rename(headerName+".new", headerName); err != nil {
		return err
	}
	return d.syncDir()
}

// writeFile writes and syncs a whole new file.
func writeFile(d disk, name string, b []byte) error {
	f, err := d.create(name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.sync()
	}
	return errors.Join(err, f.Close())
}

// Open opens the vault in dir, locked. Where there is none,
// errors.Is(err, fs.ErrNotExist).
func Open(dir string) (*Vault, error) { return open(osDisk{dir}) }

func open(d disk) (*Vault, error) {
	f, err := d.open(headerName)
	if err != nil {
		return nil, fmt.Errorf("vault: cannot open: %w", err)
	}
	b := make([]byte, headerSize+1) // one more, to see that there is no more
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(fmt.Errorf("vault: cannot read the header: %w", err), f.Close())
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("vault: cannot read the header: %w", err)
	}
	h, err := parseHeader(b[:n])
	if err != nil {
		return nil, err
	}
	return &Vault{disk: d, header: h}, nil
}

// Unlock opens the vault with its passphrase and checks every record of the
// journal. It takes about 150 ms and 64 MiB for argon2id with the default
// costs. On an unlocked vault it checks the passphrase and changes nothing.
func (v *Vault) Unlock(passphrase []byte) error {
	v.write.Lock()
	defer v.write.Unlock()
	if v.closed {
		return errClosed
	}
	if len(passphrase) > MaxPassphrase {
		return ErrPassphrase
	}
	master, err := v.header.openMaster(passphrase)
	if err != nil {
		return err
	}
	defer clear(master)
	if v.session != nil {
		return nil
	}
	k, err := deriveKeys(master)
	if err != nil {
		return err
	}
	s, err := v.load(k)
	if err != nil {
		return err
	}
	v.mu.Lock()
	v.session = s
	v.mu.Unlock()
	return nil
}

var errClosed = fmt.Errorf("vault: %w", fs.ErrClosed)

// Lock forgets the keys and the index, after which nothing can be read until
// the next Unlock. A locked vault stays locked.
func (v *Vault) Lock() {
	v.write.Lock()
	defer v.write.Unlock()
	// Every commit is durable already: all that a failed close could have to
	// say is said by the next Unlock.
	_ = v.endSession()
}

// endSession drops the session. The caller holds write.
func (v *Vault) endSession() error {
	v.mu.Lock()
	s := v.session
	v.session = nil
	v.mu.Unlock()
	if s == nil {
		return nil
	}
	err := s.close()
	*s = session{}
	return err
}

// close syncs the head, so that a cut is noticed after a power cut too, and
// closes the files.
func (s *session) close() error {
	err := s.headFile.sync()
	if s.journal != nil { // nil after a compaction that failed half-way
		err = errors.Join(err, s.journal.Close())
	}
	return errors.Join(err, s.headFile.Close())
}

// Locked reports whether the vault is locked.
func (v *Vault) Locked() bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.session == nil
}

// Close locks the vault for good.
func (v *Vault) Close() error {
	v.write.Lock()
	defer v.write.Unlock()
	v.closed = true
	if err := v.endSession(); err != nil {
		return fmt.Errorf("vault: closing: %w", err)
	}
	return nil
}

// Params returns the costs of argon2id that the vault was made with.
func (v *Vault) Params() Params { return v.header.params }

// Get returns a copy of the value of key, and whether there is one.
func (v *Vault) Get(key string) ([]byte, bool, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	s := v.session
	if s == nil {
		return nil, false, ErrLocked
	}
	r, ok := s.index.get(key)
	if !ok {
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
	return openValue(s.keys, sealed, key, r.version)
}

// Scan calls fn for every key that begins with prefix, in key order, with a
// copy of its value, until fn returns an error, which it passes on. fn may use
// the vault. A key that is deleted before its turn is left out, one that is
// changed comes with the new value, one that is added may be missed.
func (v *Vault) Scan(prefix string, fn func(key string, value []byte) error) error {
	v.mu.RLock()
	if v.session == nil {
		v.mu.RUnlock()
		return ErrLocked
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
	Records  uint64 // in the journal
	Bytes    int64  // of the journal
	Live     int64  // bytes of the journal that are still needed
	TornTail bool   // opening cut off an append that a crash had interrupted
	Compact  error  // why the last compaction failed, nil if it did not
}

// Stats returns figures of an unlocked vault.
func (v *Vault) Stats() (Stats, error) {
	v.write.Lock()
	defer v.write.Unlock()
	s := v.session
	if s == nil {
		return Stats{}, ErrLocked
	}
	return Stats{Keys: s.index.n, Records: s.chain.count, Bytes: s.chain.offset, Live: s.index.live,
		TornTail: s.torn, Compact: s.compactErr}, nil
}
