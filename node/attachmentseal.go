package node

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"tocsin/ledger/blob"
	"tocsin/node/message"
)

// Sealing of chunks (ATTACHMENTS.md).

// chunkLabel is the label of a chunk's key and nonce (crypto/doc.go).
const chunkLabel = "tocsin/1 attachment chunk"

// thumbIndex is the index of the thumbnail's chunk.
const thumbIndex = 1<<32 - 1

var errChunk = errors.New("node: a chunk of the attachment does not open: the sender's device made it wrongly")

// chunkSealer returns the AEAD and nonce of one chunk. The key of an attachment
// is random and each index is sealed once under it, so that the nonce may be derived.
func chunkSealer(key [32]byte, index uint32) (cipher.AEAD, []byte, error) {
	info := binary.BigEndian.AppendUint32([]byte(chunkLabel), index)
	out, err := hkdf.Expand(sha256.New, key[:], string(info), 32+12)
	if err != nil {
		return nil, nil, fmt.Errorf("node: the key of a chunk: %w", err)
	}
	block, err := aes.NewCipher(out[:32])
	if err != nil {
		return nil, nil, fmt.Errorf("node: the key of a chunk: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	return aead, out[32:], err
}

// sealChunk seals 1 to message.ChunkSize bytes, padded, and returns the chunk
// and its name.
func sealChunk(key [32]byte, index uint32, plain []byte) (blob.Name, []byte, error) {
	aead, nonce, err := chunkSealer(key, index)
	if err != nil {
		return blob.Name{}, nil, err
	}
	padded := make([]byte, paddedChunk(len(plain)), paddedChunk(len(plain))+aead.Overhead())
	copy(padded, plain)
	sealed := aead.Seal(padded[:0], nonce, padded, []byte(chunkLabel))
	return sha256.Sum256(sealed), sealed, nil
}

// openChunk is the inverse: it returns the size bytes that a chunk holds. Padding that
// is not zeros, or not as long as it must be, is an error.
func openChunk(key [32]byte, index uint32, sealed []byte, size int) ([]byte, error) {
	aead, nonce, err := chunkSealer(key, index)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nonce, sealed, []byte(chunkLabel))
	if err != nil || size < 1 || len(plain) != paddedChunk(size) {
		return nil, errChunk
	}
	for _, b := range plain[size:] {
		if b != 0 {
			return nil, errChunk
		}
	}
	return plain[:size], nil
}

// paddedChunk is the length to which n bytes are padded: PADMÉ (Nikitin et al. 2019), at least 256 bytes and at
// most a whole chunk, as the padding of messages is.
func paddedChunk(n int) int {
	if n <= 256 {
		return 256
	}
	e := bits.Len(uint(n)) - 1
	last := e - bits.Len(uint(e))
	mask := 1<<last - 1
	return min((n+mask)&^mask, message.ChunkSize)
}
