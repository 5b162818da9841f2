package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"io"

	"golang.org/x/crypto/argon2"
)

const (
	keySize = 32 // AES-256, and the master key
	// sealOverhead is what sealing adds: a random nonce of 12 bytes in front
	// and a tag of 16 behind. Nonces are random and not counted, because a
	// journal restored from a backup would count them again; 2^32 seals under
	// one key is the bound of SP 800-38D.
	sealOverhead = 12 + 16

	labelJournal = "tocsin/1 vault journal"
	labelValue   = "tocsin/1 vault value"
	labelHead    = "tocsin/1 vault head"
)

// keys are the working keys of an unlocked vault, one for each purpose.
type keys struct {
	journal, value, head cipher.AEAD
}

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

// deriveKeys makes the working keys from the master key, which is uniformly
// random and therefore needs HKDF's expansion only.
func deriveKeys(master []byte) (*keys, error) {
	k := new(keys)
	for _, d := range []struct {
		label string
		to    *cipher.AEAD
	}{{labelJournal, &k.journal}, {labelValue, &k.value}, {labelHead, &k.head}} {
		raw, err := hkdf.Expand(sha256.New, master, d.label, keySize)
		if err != nil {
			return nil, fmt.Errorf("vault: %w", err)
		}
		*d.to, err = newAEAD(raw)
		clear(raw)
		if err != nil {
			return nil, err
		}
	}
	return k, nil
}

// kek turns a passphrase into the key that seals the master key.
func (h *header) kek(passphrase []byte) []byte {
	return argon2.IDKey(passphrase, h.salt[:], h.params.Time, h.params.MemoryKiB, h.params.Threads, keySize)
}

// sealMaster draws a master key and seals it into h under passphrase.
// The caller clears what is returned.
func (h *header) sealMaster(rand io.Reader, passphrase []byte) ([]byte, error) {
	master := make([]byte, keySize)
	if _, err := io.ReadFull(rand, master); err != nil {
		return nil, fmt.Errorf("vault: no randomness for the master key: %w", err)
	}
	kek := h.kek(passphrase)
	defer clear(kek)
	aead, err := newAEAD(kek)
	if err != nil {
		return nil, err
	}
	copy(h.sealed[:], aead.Seal(nil, nil, master, h.prefix()))
	return master, nil
}

// openMaster is the inverse of sealMaster. The caller clears what is returned.
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
