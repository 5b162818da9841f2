package message

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/fxamacker/cbor/v2"
)

// The fields of an attachment that a device fills in. No form sets them.

// InputMade is a field that the sender's device fills in.
const InputMade Input = "made"

var errMade = errors.New("is filled in by the device, not by hand")

// sizeValue is a length in bytes, 1 to max.
type sizeValue struct {
	p   *int64
	max int64
}

func (v sizeValue) Input() Input      { return InputMade }
func (v sizeValue) Choices() []Choice { return nil }
func (v sizeValue) Zero() bool        { return *v.p == 0 }
func (v sizeValue) Human() string     { return SizeWords(*v.p) }
func (v sizeValue) Values() []string  { return []string{strconv.FormatInt(*v.p, 10)} }
func (v sizeValue) set([]string) error {
	return errMade
}
func (v sizeValue) check() error {
	if *v.p < 1 || *v.p > v.max {
		return fmt.Errorf("is %d bytes, allowed are 1 to %d; send the file in parts", *v.p, v.max)
	}
	return nil
}
func (v sizeValue) encode() any                               { return *v.p }
func (v sizeValue) decode(c modes, raw cbor.RawMessage) error { return c.read(raw, v.p) }

// secretValue is 32 bytes that nobody is shown.
type secretValue struct{ entryValue }

func (v secretValue) Input() Input       { return InputMade }
func (v secretValue) Human() string      { return withheld }
func (v secretValue) Values() []string   { return []string{withheld} }
func (v secretValue) set([]string) error { return errMade }

// chunksValue is the names of chunks, one after another in one string of bytes.
type chunksValue struct{ p *[][32]byte }

func (v chunksValue) Input() Input      { return InputMade }
func (v chunksValue) Choices() []Choice { return nil }
func (v chunksValue) Zero() bool        { return len(*v.p) == 0 }
func (v chunksValue) Human() string     { return strconv.Itoa(len(*v.p)) }
func (v chunksValue) Values() []string  { return []string{v.Human()} }
func (v chunksValue) set([]string) error {
	return errMade
}
func (v chunksValue) check() error { return nil }
func (v chunksValue) encode() any {
	b := make([]byte, 0, 32*len(*v.p))
	for _, c := range *v.p {
		b = append(b, c[:]...)
	}
	return b
}
func (v chunksValue) decode(c modes, raw cbor.RawMessage) error {
	var b []byte
	if err := c.read(raw, &b); err != nil {
		return err
	}
	if len(b)%32 != 0 {
		return errors.New("holds a name that has not 32 bytes")
	}
	*v.p = make([][32]byte, 0, len(b)/32)
	for ; len(b) > 0; b = b[32:] {
		*v.p = append(*v.p, [32]byte(b))
	}
	return nil
}

// thumbValue is a thumbnail's name and measures.
type thumbValue struct{ p **Thumb }

type wireThumb struct {
	Chunk  []byte `cbor:"0,keyasint"`
	Size   int    `cbor:"1,keyasint"`
	Width  int    `cbor:"2,keyasint"`
	Height int    `cbor:"3,keyasint"`
}

func (v thumbValue) Input() Input      { return InputMade }
func (v thumbValue) Choices() []Choice { return nil }
func (v thumbValue) Zero() bool        { return *v.p == nil }
func (v thumbValue) Human() string {
	return fmt.Sprintf("%d by %d pixels", (*v.p).Width, (*v.p).Height)
}
func (v thumbValue) Values() []string { return []string{v.Human()} }
func (v thumbValue) set([]string) error {
	return errMade
}
func (v thumbValue) check() error {
	t := *v.p
	if t.Size < 1 || t.Size > ChunkSize || t.Width < 1 || t.Width > MaxThumbSide || t.Height < 1 || t.Height > MaxThumbSide {
		return fmt.Errorf("is empty, or larger than %d bytes or %d pixels", ChunkSize, MaxThumbSide)
	}
	return nil
}
func (v thumbValue) encode() any {
	t := *v.p
	return wireThumb{Chunk: t.Chunk[:], Size: t.Size, Width: t.Width, Height: t.Height}
}
func (v thumbValue) decode(c modes, raw cbor.RawMessage) error {
	var w wireThumb
	if err := c.read(raw, &w); err != nil {
		return err
	}
	chunk, err := entryID(w.Chunk)
	*v.p = &Thumb{Chunk: chunk, Size: w.Size, Width: w.Width, Height: w.Height}
	return err
}
