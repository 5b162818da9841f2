package bundle

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// Options say what a bundle is and for whom.
type Options struct {
	Rand       io.Reader          // required: crypto/rand.Reader
	Mesh       identity.MeshID    // the mesh whose entries it carries
	Recipients [][]byte           // HPKE bundle keys of devices or sites, [identity.BundleKeySize] bytes each
	Creator    identity.LogID     // this device's log
	Witness    ed25519.PrivateKey // signs the manifest
	Created    time.Time
	Expires    time.Time // zero: never
	Planned    Counts    // what is to be written, as far as it fits
	Frontier   ledger.Frontier
	// Limit is the largest size of the file in bytes; 0 means no limit. Records
	// that would not fit are refused with [ErrFull].
	Limit int64
}

func (o *Options) validate() error {
	switch {
	case o.Rand == nil || len(o.Witness) != ed25519.PrivateKeySize:
		return errors.New("bundle: Options need Rand and a witness key")
	case o.Created.UnixMilli() < 0 || o.Created.UnixMilli() > maxTime:
		return errors.New("bundle: the time of making cannot be written: set this device's clock")
	case !o.Expires.IsZero() && (o.Expires.Before(o.Created) || o.Expires.UnixMilli() > maxTime):
		return errors.New("bundle: it would expire before it is made")
	case o.Limit < 0:
		return errors.New("bundle: a negative size")
	}
	return nil
}

// Writer writes one bundle as a stream. It is not safe for concurrent use.
type Writer struct {
	w      io.Writer
	seal   *blocks
	limit  int64
	index  uint64
	buf    []byte // the block that is being filled, with its offset field
	begun  bool   // a record begins in buf
	sealed []byte
	counts Counts
	size   int64 // bytes written, and those of buf once sealed
	err    error // what ended the writing
	key    []byte
}

// NewWriter begins a bundle on w with its clear part and manifest.
func NewWriter(w io.Writer, o Options) (*Writer, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	secret := make([]byte, nonceSize+keySize)
	if _, err := io.ReadFull(o.Rand, secret); err != nil {
		return nil, fmt.Errorf("bundle: no randomness: %w", err)
	}
	nonce, key := secret[:nonceSize], secret[nonceSize:]
	clear, err := clearPart(nonce, key, o.Recipients)
	if err != nil {
		return nil, err
	}
	seal, err := newBlocks(key, sha256.Sum256(clear))
	if err != nil {
		return nil, err
	}
	b := &Writer{w: w, seal: seal, limit: o.Limit, key: key, size: int64(len(clear)) + tagSize}
	b.reset()
	if _, err := w.Write(clear); err != nil {
		return nil, fmt.Errorf("bundle: writing: %w", err)
	}
	if err := b.manifest(&o); err != nil {
		return nil, err
	}
	return b, nil
}

func (w *Writer) manifest(o *Options) error {
	m := Manifest{
		Mesh: o.Mesh, Creator: o.Creator, Witness: identity.KeyOf(o.Witness), Created: o.Created, Expires: o.Expires,
		Planned: o.Planned, Frontier: o.Frontier, clear: w.seal.clear, commitment: keyCommitment(w.key),
	}
	raw, err := m.marshal()
	if err != nil {
		return err
	}
	if err := w.put(typeManifest, append(raw, identity.Sign(o.Witness, Domain, raw)...)); err != nil {
		return err
	}
	heads, err := o.Frontier.Marshal()
	if err != nil {
		return err
	}
	for heads = heads[3:]; len(heads) > 0; {
		n := min(len(heads), frontierPart*ledger.HeadSize)
		if err := w.put(typeFrontier, heads[:n]); err != nil {
			return err
		}
		heads = heads[n:]
	}
	return nil
}

// Put writes a Statement, Table, Header, Entry or Evidence. [ErrFull] means that it does not fit
// and that the bundle is whole without it: go on with something smaller, or
// Close. After any other error the file is worth nothing.
func (w *Writer) Put(t Type, data []byte) error {
	if t != Statement && t != Table && t != Header && t != Entry && t != Evidence {
		return fmt.Errorf("bundle: records of type %d are not written with Put", t)
	}
	return w.record(t, data)
}

// Body writes the body of the entry at a place, whose header was written
// before. Errors are those of Put.
func (w *Writer) Body(id ledger.LogID, seq uint64, body []byte) error {
	return w.record(Body, encodeBody(id, seq, body))
}

func (w *Writer) record(t Type, data []byte) error {
	if len(data) > MaxRecord {
		return fmt.Errorf("bundle: a record of %d bytes is longer than %d", len(data), MaxRecord)
	}
	if w.err == nil && w.limit > 0 && w.size+w.cost(recordHead+len(data))+w.cost(recordHead+endSize) > w.limit {
		return ErrFull
	}
	if err := w.put(t, data); err != nil {
		return err
	}
	w.counts.add(t, len(data))
	return nil
}

// cost bounds what n bytes of records add to the file: themselves and what the
// blocks that they fill up cost.
func (w *Writer) cost(n int) int64 {
	return int64(n + (n/BlockSize+1)*(tagSize+offsetSize))
}

// put appends a record to the stream, sealing blocks as they fill.
func (w *Writer) put(t Type, data []byte) error {
	if w.err != nil {
		return w.err
	}
	head := [recordHead]byte{byte(t), byte(len(data) >> 16), byte(len(data) >> 8), byte(len(data))}
	if len(w.buf) == BlockSize {
		w.flush(false)
	}
	if !w.begun {
		binary.BigEndian.PutUint16(w.buf, uint16(len(w.buf)))
		w.begun = true
	}
	w.fill(head[:])
	w.fill(data)
	return w.err
}

func (w *Writer) fill(data []byte) {
	for len(data) > 0 && w.err == nil {
		if len(w.buf) == BlockSize {
			w.flush(false)
		}
		n := min(len(data), BlockSize-len(w.buf))
		w.buf = append(w.buf, data[:n]...)
		w.size += int64(n)
		data = data[n:]
	}
}

// flush seals and writes the block in buf and begins the next.
func (w *Writer) flush(final bool) {
	if w.err != nil {
		return
	}
	w.sealed = w.seal.seal(w.sealed[:0], w.index, final, w.buf)
	if _, err := w.w.Write(w.sealed); err != nil {
		w.err = fmt.Errorf("bundle: writing: %w", err)
		return
	}
	w.index++
	w.size += tagSize
	w.reset()
}

func (w *Writer) reset() {
	if w.buf == nil {
		w.buf = make([]byte, 0, BlockSize)
	}
	w.buf = append(w.buf[:0], 0xff, 0xff) // no record begins here
	w.begun = false
	w.size += offsetSize
}

// Close writes the end of the bundle, which says how much it holds. It does not
// close the underlying writer.
func (w *Writer) Close() (Counts, error) {
	if w.err == nil {
		end := make([]byte, 0, endSize)
		for _, n := range w.counts.list() {
			end = binary.BigEndian.AppendUint64(end, *n)
		}
		w.put(typeEnd, end)
	}
	w.flush(true)
	if w.err != nil {
		return w.counts, w.err
	}
	w.err = errors.New("bundle: closed")
	return w.counts, nil
}
