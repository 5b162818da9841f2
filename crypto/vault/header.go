package vault

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// Params are the costs of argon2id (RFC 9106). They are recorded in the
// header, so that raising the default leaves older vaults readable.
type Params struct {
	MemoryKiB uint32 // memory in KiB
	Time      uint32 // passes over it
	Threads   uint8  // lanes
}

// raised returns p with the memory and the passes of to where those are
// higher, and whether anything was.
func (p Params) raised(to Params) (Params, bool) {
	up := p
	up.MemoryKiB, up.Time = max(p.MemoryKiB, to.MemoryKiB), max(p.Time, to.Time)
	return up, up != p
}

// DefaultParams returns the costs of the design: 64 MiB, 3 passes, 4 lanes
// (RFC 9106's second recommended option). They are the floor too: a header
// below them is refused unless Create was told to go lower.
func DefaultParams() Params { return Params{MemoryKiB: 64 << 10, Time: 3, Threads: 4} }

// Weak reports whether p is below the floor in memory or passes. Vaults of
// tests and simulations are; a clinician's must not be.
func (p Params) Weak() bool {
	floor := DefaultParams()
	return p.MemoryKiB < floor.MemoryKiB || p.Time < floor.Time
}

// check refuses costs that argon2id does not define and costs that no vault
// of ours has.
func (p Params) check() error {
	switch {
	case p.Time < 1 || p.Time > maxTime:
		return fmt.Errorf("vault: %d passes of argon2id; 1 to %d are allowed", p.Time, maxTime)
	case p.Threads < 1 || p.Threads > maxThreads:
		return fmt.Errorf("vault: %d lanes of argon2id; 1 to %d are allowed", p.Threads, maxThreads)
	case p.MemoryKiB < 8*uint32(p.Threads) || p.MemoryKiB > maxMemoryKiB:
		return fmt.Errorf("vault: %d KiB for argon2id; 8 for each lane to %d are allowed", p.MemoryKiB, maxMemoryKiB)
	}
	return nil
}

const (
	headerMagic   = "tocsin vault\r\n\x1a\x00" // 16 bytes; line ends show a copy made as text
	headerVersion = 2
	headerSuite   = 1

	// flagWeak says that Create was asked for costs below the floor. Without
	// it such costs in a header are damage.
	flagWeak = 1

	idSize   = 16
	saltSize = 32
	// sealedMasterSize is the master key with its nonce and tag.
	sealedMasterSize = keySize + sealOverhead
	headerSize       = len(headerMagic) + 3 + 4 + 4 + 1 + idSize + 8 + saltSize + sealedMasterSize + sha256.Size
	// The file holds the header twice, a page apart, so that it can be
	// overwritten in place and yet never be lost to a crash.
	headerSpacing  = 4096
	headerFileSize = headerSpacing + headerSize
)

// header is what turns a passphrase into the master key:
//
//	struct {
//	    opaque magic[16]; uint8 version = 2; uint8 suite = 1; uint8 flags;
//	    uint32 memory_kib; uint32 time; uint8 threads;
//	    opaque vault_id[16]; uint64 generation; opaque salt[32];
//	    opaque sealed_master[60];   /* nonce ‖ AES-256-GCM, AAD: all before it */
//	    opaque checksum[32];        /* SHA-256 of all before it */
//	} Header;
//
// It stands at 0 and at 4096 of its file; see [headers] for when the two
// differ. generation counts the changes of passphrase or costs. The checksum is
// no protection. It tells a damaged header from a wrong passphrase, which need
// different advice.
type header struct {
	params     Params
	flags      uint8
	id         [idSize]byte
	generation uint64
	salt       [saltSize]byte
	sealed     [sealedMasterSize]byte
}

var errHeader = fmt.Errorf("%w: the header is not as it was written; put the file \"header\" of the vault back from an archive, with the passphrase of its day", ErrDamaged)

// prefix returns the bytes before the sealed master key, its associated data.
func (h *header) prefix() []byte {
	b := cryptobyte.NewFixedBuilder(make([]byte, 0, headerSize))
	b.AddBytes([]byte(headerMagic))
	b.AddUint8(headerVersion)
	b.AddUint8(headerSuite)
	b.AddUint8(h.flags)
	b.AddUint32(h.params.MemoryKiB)
	b.AddUint32(h.params.Time)
	b.AddUint8(h.params.Threads)
	b.AddBytes(h.id[:])
	b.AddUint64(h.generation)
	b.AddBytes(h.salt[:])
	return b.BytesOrPanic()
}

func (h *header) marshal() []byte {
	out := append(h.prefix(), h.sealed[:]...)
	sum := sha256.Sum256(out)
	return append(out, sum[:]...)
}

// parseHeader reads what marshal wrote and refuses all else.
func parseHeader(b []byte) (*header, error) {
	if len(b) != headerSize || !bytes.HasPrefix(b, []byte(headerMagic)) {
		return nil, errHeader
	}
	if v := b[len(headerMagic)]; v != headerVersion {
		return nil, fmt.Errorf("vault: the vault has format %d and this program reads %d; use a newer tocsin", v, headerVersion)
	}
	body, sum := b[:headerSize-sha256.Size], b[headerSize-sha256.Size:]
	if want := sha256.Sum256(body); !bytes.Equal(sum, want[:]) {
		return nil, errHeader
	}
	h := new(header)
	var suite uint8
	s := cryptobyte.String(body[len(headerMagic)+1:])
	if !s.ReadUint8(&suite) || !s.ReadUint8(&h.flags) ||
		!s.ReadUint32(&h.params.MemoryKiB) || !s.ReadUint32(&h.params.Time) || !s.ReadUint8(&h.params.Threads) ||
		!s.CopyBytes(h.id[:]) || !s.ReadUint64(&h.generation) || !s.CopyBytes(h.salt[:]) || !s.CopyBytes(h.sealed[:]) || !s.Empty() {
		return nil, errHeader
	}
	if suite != headerSuite || h.flags&^flagWeak != 0 {
		return nil, errHeader
	}
	if err := h.params.check(); err != nil {
		return nil, errors.Join(errHeader, err)
	}
	if h.params.Weak() != (h.flags&flagWeak != 0) {
		return nil, fmt.Errorf("%w (argon2id costs below the floor)", errHeader)
	}
	return h, nil
}
