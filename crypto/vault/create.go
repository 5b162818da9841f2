package vault

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"tocsin/crypto/slots"
)

// Options are the choices of Create.
type Options struct {
	// Rand makes keys and salt; nil is the system's source.
	Rand io.Reader
	// Params are the costs of argon2id; zero is DefaultParams. Lower ones are
	// taken, and recorded as chosen, for tests and simulations.
	Params Params
}

// Create makes a vault in dir, which is made if it is missing, with mode 0700,
// and returns it unlocked. A vault that is there already is never touched:
// errors.Is(err, fs.ErrExist). What a wipe left is cleared away first.
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
	if err := clearWiped(d); err != nil {
		return nil, err
	}
	if err := refuseExisting(d); err != nil {
		return nil, err
	}
	h, master, err := newHeader(passphrase, opt)
	if err != nil {
		return nil, err
	}
	defer clear(master)
	k, err := deriveKeys(master)
	if err != nil {
		return nil, err
	}
	if err := writeNew(d, h, k, opt.Rand); err != nil {
		k.destroy()
		return nil, fmt.Errorf("vault: cannot create: %w", err)
	}
	v := &Vault{disk: d, id: h.id, rand: opt.Rand, headers: headers{current: h, settled: true}}
	if v.session, err = v.load(k); err != nil {
		return nil, err
	}
	return v, nil
}

// newHeader draws a master key and seals it. The caller clears it.
func newHeader(passphrase []byte, opt Options) (*header, []byte, error) {
	h := &header{params: opt.Params}
	if opt.Params.Weak() {
		h.flags |= flagWeak
	}
	master := make([]byte, keySize)
	for _, b := range [][]byte{h.id[:], master} {
		if _, err := io.ReadFull(opt.Rand, b); err != nil {
			return nil, nil, fmt.Errorf("vault: no randomness: %w", err)
		}
	}
	if err := h.seal(opt.Rand, passphrase, master); err != nil {
		clear(master)
		return nil, nil, err
	}
	return h, master, nil
}

// clearWiped finishes a wipe and takes its mark away, so that the folder can
// be used anew.
func clearWiped(d disk) error {
	there, err := d.exists(wipedName)
	if err != nil {
		return fmt.Errorf("vault: cannot look into the folder: %w", err)
	}
	if !there {
		return nil
	}
	if err := wipeFiles(d, rand.Reader); err != nil {
		return err
	}
	if err := errors.Join(d.remove(wipedName), d.syncDir()); err != nil {
		return fmt.Errorf("vault: cannot clear away what a wipe left: %w", err)
	}
	return nil
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
func writeNew(d disk, h *header, k *keys, random io.Reader) error {
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
	if err := writeFile(d, triesName, new(tries).marshalFile()); err != nil {
		return err
	}
	if err := writeNewSlots(d, random); err != nil {
		return err
	}
	if err := d.syncDir(); err != nil {
		return err
	}
	if err := writeFile(d, newHeaderName, h.marshalFile()); err != nil {
		return err
	}
	if err := d.rename(newHeaderName, headerName); err != nil {
		return err
	}
	return d.syncDir()
}

func writeNewSlots(d disk, random io.Reader) error {
	f, err := d.create(slotsName)
	if err != nil {
		return err
	}
	s, err := slots.CreateOn(slotFile{f}, random)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return s.Close()
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

// slotFile hands a file of the vault to the slots.
type slotFile struct{ file }

func (f slotFile) Size() (int64, error) { return f.size() }
func (f slotFile) Sync() error          { return f.sync() }
