package group

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

func (o *knownOp) change() (Change, error) {
	var b cryptobyte.Builder
	b.AddUint8(recordFormat)
	addLogID(&b, o.proof.Place.Log)
	b.AddUint64(o.proof.Place.Seq)
	addSignedOp(&b, &o.sealed)
	value, err := b.Bytes()
	if err != nil {
		return Change{}, fmt.Errorf("group: encode operation record: %w", err)
	}
	return Change{Key: opKey(o.op.Group, o.proof.ID), Value: value}, nil
}

func (b *batch) addOp(rest string, value []byte) error {
	n, err := names(rest, 32, 32)
	if err != nil {
		return err
	}
	if value == nil {
		return errors.New("operations live as long as their group")
	}
	s := cryptobyte.String(value)
	o := &knownOp{proof: OpProof{ID: [32]byte(n[1])}}
	var format uint8
	if !s.ReadUint8(&format) || format != recordFormat || !readLogID(&s, &o.proof.Place.Log) || !s.ReadUint64(&o.proof.Place.Seq) {
		return errRecord
	}
	sealed, err := readSignedOp(&s)
	if err != nil || !s.Empty() {
		return errRecord
	}
	o.sealed = *sealed
	o.proof.Commit = Commit(sealed.Opening, sealed.Payload)
	if o.op, err = ParseOp(sealed.Payload); err != nil {
		return err
	}
	if o.op.Group != ID(n[0]) {
		return errRecord
	}
	g := b.group(o.op.Group)
	g.ops[o.proof.ID] = o
	g.digests[sealed.digest()] = o
	return nil
}

// digest names a signed operation by all its bytes, so that one that is known
// need not be verified again.
func (o *SignedOp) digest() [32]byte {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(o.SignedHeader))))
	h.Write(o.SignedHeader)
	h.Write(o.Opening[:])
	h.Write(o.Payload)
	return [32]byte(h.Sum(nil))
}
