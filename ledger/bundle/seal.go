package bundle

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"tocsin/crypto/identity"
)

// magic begins every bundle. The zero byte keeps text tools away.
var magic = [8]byte{'T', 'O', 'C', 'S', 'I', 'N', 0, 'B'}

const suite = 1

// labelWrap begins the HPKE info under which the file key is sealed.
const labelWrap = "tocsin/1 bundle"

func wrapInfo(nonce []byte) []byte { return append([]byte(labelWrap), nonce...) }

// clearPart makes the clear part: magic, suite, nonce and one wrap of the file
// key for each recipient. Nothing in it says who they are.
func clearPart(nonce, key []byte, recipients [][]byte) ([]byte, error) {
	if len(recipients) == 0 || len(recipients) > MaxRecipients {
		return nil, fmt.Errorf("bundle: a bundle is sealed to 1 to %d keys, not to %d", MaxRecipients, len(recipients))
	}
	out := append([]byte{}, magic[:]...)
	out = append(out, suite)
	out = append(out, nonce...)
	out = binary.BigEndian.AppendUint16(out, uint16(len(recipients)))
	for _, r := range recipients {
		if err := identity.CheckHPKEKey(r); err != nil {
			return nil, fmt.Errorf("bundle: a recipient's key: %w", err)
		}
		to, err := hpke.MLKEM768X25519().NewPublicKey(r)
		if err != nil {
			return nil, fmt.Errorf("bundle: a recipient's key: %w", err)
		}
		wrap, err := hpke.Seal(to, hpke.HKDFSHA256(), hpke.AES256GCM(), wrapInfo(nonce), key)
		if err != nil {
			return nil, fmt.Errorf("bundle: sealing to a recipient: %w", err)
		}
		if len(wrap) != wrapSize {
			return nil, fmt.Errorf("bundle: a wrap has %d bytes, not %d", len(wrap), wrapSize)
		}
		out = append(out, wrap...)
	}
	return out, nil
}

// readClear reads the clear part and finds the file key with the private keys.
func readClear(r io.Reader, keys []hpke.PrivateKey) (fileKey []byte, hash [32]byte, err error) {
	head := make([]byte, len(magic)+1+nonceSize+2)
	if _, err := io.ReadFull(r, head); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, hash, fmt.Errorf("%w: it is shorter than the beginning of one", ErrFormat)
		}
		return nil, hash, fmt.Errorf("bundle: reading: %w", err)
	}
	if [8]byte(head) != magic {
		return nil, hash, fmt.Errorf("%w: it does not begin like one", ErrFormat)
	}
	if head[8] != suite {
		return nil, hash, fmt.Errorf("%w: it uses suite %d", ErrFormat, head[8])
	}
	nonce := head[9 : 9+nonceSize]
	n := int(binary.BigEndian.Uint16(head[9+nonceSize:]))
	if n == 0 || n > MaxRecipients {
		return nil, hash, fmt.Errorf("%w: it is sealed to %d keys", ErrFormat, n)
	}
	sum := sha256.New()
	sum.Write(head)
	wrap := make([]byte, wrapSize)
	for range n {
		if _, err := io.ReadFull(r, wrap); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return nil, hash, fmt.Errorf("%w: within the list of recipients, so that nothing can be read", ErrCut)
			}
			return nil, hash, fmt.Errorf("bundle: reading: %w", err)
		}
		sum.Write(wrap)
		for _, k := range keys {
			if fileKey != nil {
				break
			}
			if key, err := hpke.Open(k, hpke.HKDFSHA256(), hpke.AES256GCM(), wrapInfo(nonce), wrap); err == nil && len(key) == keySize {
				fileKey = key
			}
		}
	}
	if fileKey == nil {
		return nil, hash, ErrNotForUs
	}
	return fileKey, [32]byte(sum.Sum(nil)), nil
}

// blocks seals and opens the blocks of one file: AES-256-GCM as in the STREAM
// construction, nonce = index ‖ final, AAD = SHA-256(clear part) ‖ index ‖ final.
type blocks struct {
	aead  cipher.AEAD
	clear [32]byte
}

func newBlocks(key []byte, clear [32]byte) (*blocks, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	return &blocks{aead, clear}, nil
}

func (b *blocks) params(index uint64, final bool) (nonce [12]byte, aad [41]byte) {
	binary.BigEndian.PutUint64(nonce[3:], index)
	if final {
		nonce[11] = 1
	}
	copy(aad[:], b.clear[:])
	copy(aad[32:], nonce[3:11])
	aad[40] = nonce[11]
	return nonce, aad
}

func (b *blocks) seal(dst []byte, index uint64, final bool, plain []byte) []byte {
	nonce, aad := b.params(index, final)
	return b.aead.Seal(dst, nonce[:], plain, aad[:])
}

func (b *blocks) open(index uint64, final bool, sealed []byte) ([]byte, bool) {
	return b.openTo(nil, index, final, sealed)
}

// openTo is open into the bytes behind dst.
func (b *blocks) openTo(dst []byte, index uint64, final bool, sealed []byte) ([]byte, bool) {
	nonce, aad := b.params(index, final)
	plain, err := b.aead.Open(dst, nonce[:], sealed, aad[:])
	return plain, err == nil
}
