package group

import (
	"crypto/sha256"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// The first byte of a body of an entry of kind epoch.
const (
	bodyWraps = 1
	bodyState = 2
	bodyOp    = 3
)

const (
	epochHeaderSize = 1 + 3*32 + 2
	pagePrefixSize  = 1 + epochHeaderSize + 1
)

// epochHeader is what every page of an announce repeats. Its hash is the
// epoch's id.
type epochHeader struct {
	salt       [32]byte
	members    [32]byte // HMAC of the sorted members under a key derived from es
	commitment [32]byte // commits to es, the salt and the announcing device
	wrapPages  uint8    // 1 to MaxWrapPages
	statePages uint8    // 1 to MaxStatePages
}

func (h *epochHeader) marshal() []byte {
	b := make([]byte, 0, epochHeaderSize)
	b = append(b, suite)
	b = append(b, h.salt[:]...)
	b = append(b, h.members[:]...)
	b = append(b, h.commitment[:]...)
	return append(b, h.wrapPages, h.statePages)
}

func (h *epochHeader) id() EpochID { return sha256.Sum256(h.marshal()) }

func readEpochHeader(s *cryptobyte.String, h *epochHeader) error {
	var version uint8
	if !s.ReadUint8(&version) || !s.CopyBytes(h.salt[:]) || !s.CopyBytes(h.members[:]) || !s.CopyBytes(h.commitment[:]) ||
		!s.ReadUint8(&h.wrapPages) || !s.ReadUint8(&h.statePages) {
		return invalid("epoch header cut short")
	}
	if version != suite {
		return invalid("epoch of suite %d; this version knows suite %d", version, suite)
	}
	if h.wrapPages == 0 || h.wrapPages > MaxWrapPages || h.statePages == 0 || h.statePages > MaxStatePages {
		return invalid("epoch of %d and %d pages; at most %d and %d", h.wrapPages, h.statePages, MaxWrapPages, MaxStatePages)
	}
	return nil
}

// page is one entry body of an announce: a page of wraps or a page of the
// sealed state.
type page struct {
	header epochHeader
	kind   uint8  // bodyWraps or bodyState
	index  uint8  // from 0 within its kind
	data   []byte // wraps, one after the other, or ciphertext
}

// prefix is what stands before the data, and the additional data of a page of
// state.
func (p *page) prefix() []byte {
	b := make([]byte, 0, pagePrefixSize)
	b = append(b, p.kind)
	b = append(b, p.header.marshal()...)
	return append(b, p.index)
}

func (p *page) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddBytes(p.prefix())
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(p.data) })
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("group: encode epoch page: %w", err)
	}
	return out, nil
}

// parsePage reads a body that starts with bodyWraps or bodyState. The data
// aliases body.
func parsePage(body []byte) (*page, error) {
	if len(body) > MaxBody {
		return nil, invalid("epoch page of %d bytes, more than %d", len(body), MaxBody)
	}
	s := cryptobyte.String(body)
	p := new(page)
	if !s.ReadUint8(&p.kind) || p.kind != bodyWraps && p.kind != bodyState {
		return nil, invalid("not an epoch page")
	}
	if err := readEpochHeader(&s, &p.header); err != nil {
		return nil, err
	}
	var data cryptobyte.String
	if !s.ReadUint8(&p.index) || !s.ReadUint16LengthPrefixed(&data) || !s.Empty() {
		return nil, invalid("epoch page cut short or too long")
	}
	p.data = data
	return p, p.check()
}

// check holds every page but the last of its kind to be full, so that one
// announce has one division into pages.
func (p *page) check() error {
	pages, unit, full := p.header.wrapPages, wrapSize, WrapsPerPage*wrapSize
	least := wrapSize
	if p.kind == bodyState {
		pages, unit, full = p.header.statePages, 1, StateChunk+gcmTag
		least = gcmTag + 1
	}
	switch n := len(p.data); {
	case p.index >= pages:
		return invalid("epoch page %d of %d", p.index, pages)
	case n < least || n > full || n%unit != 0:
		return invalid("epoch page with %d bytes of data", n)
	case p.index < pages-1 && n != full:
		return invalid("epoch page %d of %d is not full", p.index, pages)
	}
	return nil
}
