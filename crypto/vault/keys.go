package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"golang.org/x/crypto/argon2"

	"tocsin/crypto/slots"
)

const (
	keySize = 32 // AES-256, and the master key
	// sealOverhead is what sealing adds: a random nonce of 12 bytes in front
	// and a tag of 16 behind. Nonces are random and not counted, because a
	// journal restored from a backup would count them again; 2^32 seals under
	// one key is the bound of SP 800-38D.
	sealOverhead = 12 + 16

	labelJournal  = "tocsin/1 vault journal"
	labelValue    = "tocsin/1 vault value"
	labelHead     = "tocsin/1 vault head"
	labelErasable = "tocsin/1 vault erasable"
	labelOwn      = "tocsin/1 vault own key"
	labelWarm     = "tocsin/1 vault warm slot"
)

// keys are the working keys of an unlocked vault, one for each purpose, and
// the master key, which a lock seals under the PIN.
type keys struct {
	journal, value, head cipher.AEAD
	// page holds the master key and the secret half of the keys of erasable
	// values, in memory that is not swapped out where the system allows it.
	page *page
}

func (k *keys) master() []byte   { return k.page.b[:keySize] }
func (k *keys) erasable() []byte { return k.page.b[keySize : 2*keySize] }

// destroy overwrites the keys that are ours to overwrite.
func (k *keys) destroy() { k.page.destroy() }

// newAEAD returns AES-256-GCM that draws its own nonces and puts them in
// front of what it seals.
func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("vault: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("vault: %w", err)
	}
	return aead, nil
}

// expand is HKDF-Expand (RFC 5869) to the one block that a key takes, written
// over dst. The standard library's leaves a copy of the key in the heap.
func expand(dst *[keySize]byte, prk []byte, label string) {
	mac := hmac.New(sha256.New, prk)
	mac.Write([]byte(label))
	mac.Write([]byte{1})
	mac.Sum(dst[:0])
}

// deriveKeys makes the working keys from the master key, which is uniformly
// random and therefore needs HKDF's expansion only.
func deriveKeys(master []byte) (*keys, error) {
	k := new(keys)
	var raw [keySize]byte
	defer clear(raw[:])
	for _, d := range []struct {
		label string
		to    *cipher.AEAD
	}{{labelJournal, &k.journal}, {labelValue, &k.value}, {labelHead, &k.head}} {
		expand(&raw, master, d.label)
		var err error
		if *d.to, err = newAEAD(raw[:]); err != nil {
			return nil, err
		}
	}
	var err error
	if k.page, err = newPage(); err != nil {
		return nil, err
	}
	copy(k.master(), master)
	expand((*[keySize]byte)(k.erasable()), master, labelErasable)
	return k, nil
}

// own returns the cipher of one erasable value. Its key is HKDF of the slot's
// with ours as salt, so that neither the disk without the passphrase nor the
// passphrase without the slot opens the value.
func (k *keys) own(slotKey *[slots.KeySize]byte) (cipher.AEAD, error) {
	var prk, raw [keySize]byte
	defer func() { clear(prk[:]); clear(raw[:]) }()
	mac := hmac.New(sha256.New, k.erasable())
	mac.Write(slotKey[:])
	mac.Sum(prk[:0])
	expand(&raw, prk[:], labelOwn)
	return newAEAD(raw[:])
}

// valueAAD binds a sealed value to where it stands.
func valueAAD(key string, version uint64) []byte {
	return appendAAD(make([]byte, 0, len(key)+8), key, version)
}

func appendAAD(b []byte, key string, version uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, key...), version)
}

// kek turns a passphrase into the key that seals the master key.
func (h *header) kek(passphrase []byte) []byte {
	return h.params.stretch(passphrase, h.salt[:])
}

func (p Params) stretch(secret, salt []byte) []byte {
	return argon2.IDKey(secret, salt, p.Time, p.MemoryKiB, p.Threads, keySize)
}

// seal draws a salt and seals master into h under passphrase.
func (h *header) seal(rand io.Reader, passphrase, master []byte) error {
	if _, err := io.ReadFull(rand, h.salt[:]); err != nil {
		return fmt.Errorf("vault: no randomness for a salt: %w", err)
	}
	kek := h.kek(passphrase)
	defer clear(kek)
	aead, err := newAEAD(kek)
	if err != nil {
		return err
	}
	copy(h.sealed[:], aead.Seal(nil, nil, master, h.prefix()))
	return nil
}

// openMaster returns the master key. The caller clears it.
func (h *header) openMaster(passphrase []byte) ([]byte, error) {
	kek := h.kek(passphrase)
	defer clear(kek)
	aead, err := newAEAD(kek)
	if err != nil {
		return nil, err
	}
	master, err := aead.Open(nil, nil, h.sealed[:], h.prefix())
	if err != nil {
		return nil, ErrPassphrase
	}
	return master, nil
}
