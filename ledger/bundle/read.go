package bundle

import (
	"bufio"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"tocsin/ledger"
)

// Reader reads one bundle as a stream. It is not safe for concurrent use.
type Reader struct {
	r     *bufio.Reader
	open  *blocks
	index uint64

	sealed []byte // the block as read
	buf    []byte // what is left of it, opened

	partial []byte // a record that continues in the next block
	final   bool   // the last block was read
	report  Report
	man     *Manifest
	ended   bool
	err     error // what ended the reading
}

// Report says what reading found.
type Report struct {
	Manifest *Manifest
	Read     Counts // what was handed out
	Held     Counts // what the end says the file holds; zero where the end is missing
	Blocks   uint64 // that were read
	Damaged  uint64 // blocks that do not authenticate, of which First are named
	First    []uint64
	Skipped  uint64 // records of types that this version does not know
	Cut      bool   // the end is missing
}

// NewReader reads the clear part and the manifest with its frontier. keys are
// private bundle keys, of which one must fit. Errors: [ErrFormat],
// [ErrNotForUs], [ErrCut] and [ErrDamaged] where nothing can be read at all.
func NewReader(r io.Reader, keys ...hpke.PrivateKey) (*Reader, error) {
	br := bufio.NewReaderSize(r, BlockSize+tagSize)
	key, clear, err := readClear(br, keys)
	if err != nil {
		return nil, err
	}
	return newReader(br, key, clear)
}

func newReader(br *bufio.Reader, key []byte, clear [32]byte) (*Reader, error) {
	open, err := newBlocks(key, clear)
	if err != nil {
		return nil, err
	}
	b := &Reader{r: br, open: open}
	if err := b.readManifest(keyCommitment(key)); err != nil {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: it has no manifest", ErrDamaged)
		}
		return nil, err
	}
	return b, nil
}

// readManifest reads the first records. A block lost here leaves nothing that
// says whose bundle this is, so that the whole is refused.
func (r *Reader) readManifest(commitment [32]byte) error {
	t, raw, err := r.next()
	if err != nil {
		return err
	}
	if t != typeManifest || r.report.Damaged > 0 {
		return fmt.Errorf("%w: its first block cannot be read, which says whose it is", ErrDamaged)
	}
	m, logs, hash, err := readManifest(raw)
	if err != nil {
		return err
	}
	if m.clear != r.open.clear || m.commitment != commitment {
		return fmt.Errorf("%w: the manifest is that of another file", ErrDamaged)
	}
	heads := make([]byte, 3, 3+min(int(logs), frontierPart)*ledger.HeadSize)
	for len(heads)-3 < int(logs)*ledger.HeadSize {
		t, raw, err := r.next()
		if err != nil {
			return err
		}
		if t != typeFrontier || len(raw) == 0 || len(raw) > frontierPart*ledger.HeadSize {
			return fmt.Errorf("%w: its frontier cannot be read", ErrDamaged)
		}
		heads = append(heads, raw...)
	}
	n := len(heads) - 3
	heads[0], heads[1], heads[2] = byte(n>>16), byte(n>>8), byte(n)
	if sha256.Sum256(heads) != hash {
		return fmt.Errorf("%w: its frontier is not the one that was signed", ErrDamaged)
	}
	if m.Frontier, err = ledger.ParseFrontier(heads); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	r.man, r.report.Manifest = m, m
	return nil
}

// Manifest is what the bundle says of itself. Its signature was checked.
func (r *Reader) Manifest() *Manifest { return r.man }

// Report says what was found so far; it is complete once Next returned an
// error.
func (r *Reader) Report() Report { return r.report }

// Next returns the next record that can be read. At the end it returns io.EOF
// for a whole file, else [ErrCut] or [ErrDamaged], which say that everything
// readable has been handed out. Other errors are the medium's.
func (r *Reader) Next() (Record, error) {
	for {
		t, raw, err := r.next()
		if err != nil {
			return Record{}, err
		}
		switch {
		case t == Statement || t == Table || t == Header || t == Entry || t == Evidence:
			r.report.Read.add(t, len(raw))
			return Record{Type: t, Data: raw}, nil
		case t == Body:
			rec, err := decodeBody(raw)
			if err != nil {
				return rec, r.stop(err)
			}
			r.report.Read.add(t, len(raw))
			return rec, nil
		case t == typeEnd:
			if err := r.end(raw); err != nil {
				return Record{}, r.stop(err)
			}
		case t >= optional:
			r.report.Skipped++
		default:
			return Record{}, r.stop(fmt.Errorf("%w: a record of type %d has no place here", ErrDamaged, t))
		}
	}
}

func (r *Reader) end(raw []byte) error {
	if len(raw) != endSize || r.ended {
		return fmt.Errorf("%w: its end cannot be read", ErrDamaged)
	}
	r.ended = true
	for i, n := range r.report.Held.list() {
		*n = binary.BigEndian.Uint64(raw[8*i:])
	}
	if r.report.Damaged == 0 && r.report.Held != r.report.Read && r.report.Skipped == 0 {
		return fmt.Errorf("%w: its end counts other records than it holds", ErrDamaged)
	}
	return nil
}

func (r *Reader) stop(err error) error {
	if r.err == nil {
		r.err = err
	}
	return r.err
}

// next returns the next record of any type, from blocks that authenticate.
func (r *Reader) next() (Type, []byte, error) {
	for r.err == nil {
		if t, data, ok, err := r.parse(); err != nil || ok {
			if err != nil {
				return 0, nil, r.stop(err)
			}
			if r.ended {
				return 0, nil, r.stop(fmt.Errorf("%w: records follow its end", ErrDamaged))
			}
			return t, data, nil
		}
		if r.final {
			return 0, nil, r.stop(r.conclude())
		}
		if err := r.block(); err != nil {
			return 0, nil, r.stop(err)
		}
	}
	return 0, nil, r.err
}

// conclude says how the file ended, after its last block.
func (r *Reader) conclude() error {
	switch {
	case r.report.Cut:
		return fmt.Errorf("%w, or its last block is damaged: %d blocks before it were read", ErrCut, r.report.Blocks-r.report.Damaged)
	case r.report.Damaged > 0:
		return fmt.Errorf("%w: %d of its %d blocks cannot be read", ErrDamaged, r.report.Damaged, r.report.Blocks)
	case len(r.partial) > 0 || !r.ended:
		return fmt.Errorf("%w: it has no end", ErrDamaged)
	}
	return io.EOF
}

// parse takes one record from the bytes at hand; ok is false where it goes on
// in the next block.
func (r *Reader) parse() (t Type, data []byte, ok bool, err error) {
	have := r.buf
	if len(r.partial) > 0 {
		have = append(r.partial, r.buf...) // partial is a copy of its own
	}
	if len(have) >= recordHead {
		n := int(have[1])<<16 | int(have[2])<<8 | int(have[3])
		if n > MaxRecord {
			return 0, nil, false, fmt.Errorf("%w: a record of %d bytes", ErrDamaged, n)
		}
		if len(have) >= recordHead+n {
			data = have[recordHead : recordHead+n : recordHead+n] // of a buffer that is not used again
			r.buf, r.partial = have[recordHead+n:], nil
			return Type(have[0]), data, true, nil
		}
	}
	r.partial, r.buf = append([]byte{}, have...), nil
	return 0, nil, false, nil
}

// block reads and opens the next block. One that does not authenticate is
// counted, and what hung over from the one before is given up: reading goes on
// where the next good block says that a record begins.
func (r *Reader) block() error {
	if r.sealed == nil {
		r.sealed = make([]byte, BlockSize+tagSize)
	}
	n, err := io.ReadFull(r.r, r.sealed)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("bundle: reading: %w", err)
	}
	if n == 0 {
		r.final, r.report.Cut = true, true
		return nil
	}
	sealed := r.sealed[:n]
	r.report.Blocks++
	index := r.index
	r.index++
	last := n < BlockSize+tagSize || r.atEnd()
	plain, ok := r.open.open(index, last, sealed)
	if !ok && last {
		// A file cut exactly behind a block ends in one that was not the last.
		if plain, ok = r.open.open(index, false, sealed); ok {
			r.report.Cut = true
		}
	}
	r.final = last
	if !ok || len(plain) < offsetSize {
		r.lost(index, last && n < BlockSize+tagSize)
		return nil
	}
	return r.resume(plain)
}

// lost counts a block that cannot be opened. One that is short and the last is
// what a cut leaves behind.
func (r *Reader) lost(index uint64, short bool) {
	r.partial, r.buf = nil, nil
	if short {
		r.report.Cut = true
		r.report.Blocks--
		return
	}
	r.report.Damaged++
	if len(r.report.First) < maxDamagedListed {
		r.report.First = append(r.report.First, index)
	}
}

// resume joins an opened block to what hung over from the one before, or
// begins with its first record where that was lost.
func (r *Reader) resume(plain []byte) error {
	offset := int(binary.BigEndian.Uint16(plain))
	none := offset == 1<<16-1
	if !none && (offset < offsetSize || offset > len(plain)) {
		return fmt.Errorf("%w: a block says that a record begins beyond it", ErrDamaged)
	}
	switch {
	case len(r.partial) > 0:
		r.buf = plain[offsetSize:]
	case none:
		r.buf = nil
	default:
		r.buf = plain[offset:]
	}
	return nil
}

func (r *Reader) atEnd() bool {
	_, err := r.r.Peek(1)
	return errors.Is(err, io.EOF)
}
