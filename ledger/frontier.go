package ledger

import (
	"crypto/sha256"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// Frontier is the heads of all logs that a node holds, in the order of
// [identity.LogID.Compare], each log once.
type Frontier []Head

// Marshal returns the encoding of f: Head heads<0..2^24-1> (FORMAT.md). It
// fails if f is not sorted, names a log twice or holds more than
// [MaxFrontierLogs].
func (f Frontier) Marshal() ([]byte, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	b := cryptobyte.NewFixedBuilder(make([]byte, 0, 3+len(f)*HeadSize))
	b.AddUint24LengthPrefixed(func(c *cryptobyte.Builder) {
		for i := range f {
			id := f[i].Log.Bytes()
			c.AddBytes(id[:])
			c.AddUint64(f[i].Next)
			c.AddBytes(f[i].ID[:])
		}
	})
	return b.Bytes()
}

// ParseFrontier reads one encoded frontier, all of b.
func ParseFrontier(b []byte) (Frontier, error) {
	s := cryptobyte.String(b)
	var heads cryptobyte.String
	if !s.ReadUint24LengthPrefixed(&heads) || !s.Empty() || len(heads)%HeadSize != 0 {
		return nil, fmt.Errorf("ledger: a frontier of %d bytes has the wrong length", len(b))
	}
	if len(heads)/HeadSize > MaxFrontierLogs {
		return nil, fmt.Errorf("ledger: a frontier of %d logs; at most %d are allowed", len(heads)/HeadSize, MaxFrontierLogs)
	}
	f := make(Frontier, len(heads)/HeadSize)
	for i := range f {
		h := &f[i]
		if !heads.CopyBytes(h.Log.Author[:]) || !heads.ReadUint32(&h.Log.Incarnation) ||
			!heads.ReadUint64(&h.Next) || !heads.CopyBytes(h.ID[:]) {
			return nil, fmt.Errorf("ledger: a frontier is cut short at log %d", i)
		}
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	return f, nil
}

// check holds the rules that make a frontier's encoding the only one.
func (f Frontier) check() error {
	if len(f) > MaxFrontierLogs {
		return fmt.Errorf("ledger: a frontier of %d logs; at most %d are allowed", len(f), MaxFrontierLogs)
	}
	for i := range f {
		if i > 0 && f[i-1].Log.Compare(f[i].Log) >= 0 {
			return fmt.Errorf("ledger: the logs of a frontier must rise strictly, and do not at %d", i)
		}
		if f[i].Next == 0 || f[i].Next > MaxSeq+1 {
			return fmt.Errorf("ledger: a frontier says that log %d has %d entries", i, f[i].Next)
		}
	}
	return nil
}

// Hash returns SHA-256("tocsin/frontier/v1\0" ‖ heads), heads being each head's
// encoding. Two nodes with equal hashes hold the same entries.
func (f Frontier) Hash() [32]byte {
	h := sha256.New()
	h.Write([]byte("tocsin/frontier/v1\x00"))
	var n [8]byte
	for i := range f {
		id := f[i].Log.Bytes()
		h.Write(id[:])
		for j := range n {
			n[j] = byte(f[i].Next >> (56 - 8*j))
		}
		h.Write(n[:])
		h.Write(f[i].ID[:])
	}
	return [32]byte(h.Sum(nil))
}
