package node

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tocsin/ledger/blob"
	"tocsin/node/message"
)

var updateAttachment = flag.Bool("update-attachment", false, "write testdata/attachment.txt anew")

// TestAttachmentVectors holds the sealing of chunks against fixed bytes.
func TestAttachmentVectors(t *testing.T) {
	t.Parallel()
	const file = "testdata/attachment.txt"
	var key [32]byte
	copy(key[:], fileOf(32))
	var out strings.Builder
	out.WriteString("# Chunks of attachments (ATTACHMENTS.md): key, index, piece, name, chunk; all in hex but the index.\n")
	for _, index := range []uint32{0, 1, thumbIndex} {
		piece := []byte("piece " + fmt.Sprint(index))
		name, sealed, err := sealChunk(key, index, piece)
		check(t, err)
		fmt.Fprintf(&out, "%x %d %x %x %x\n", key, index, piece, name, sealed)
	}
	if *updateAttachment {
		check(t, os.WriteFile(file, []byte(out.String()), 0o644))
	}
	want, err := os.ReadFile(file)
	check(t, err)
	if out.String() != string(want) {
		t.Errorf("the chunks changed:\n%s", out.String())
	}
}

func TestChunkOpensAsItWasSealed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.OneOf(rapid.IntRange(1, 600), rapid.IntRange(1, message.ChunkSize), rapid.Just(message.ChunkSize)).Draw(rt, "size")
		plain, key, index := fileOf(size), [32]byte{1}, rapid.Uint32().Draw(rt, "index")
		name, sealed, err := sealChunk(key, index, plain)
		check(t, err)
		if len(sealed) > blob.MaxChunk || paddedChunk(size) < size || paddedChunk(size) > max(256, size+size/8) {
			rt.Fatalf("%d bytes are sealed as %d", size, len(sealed))
		}
		if got, err := openChunk(key, index, sealed, size); err != nil || !bytes.Equal(got, plain) || name == (blob.Name{}) {
			rt.Fatalf("opened as %d bytes, %v", len(got), err)
		}
	})
}

func TestChunkRefuses(t *testing.T) {
	t.Parallel()
	key := [32]byte{1}
	plain := fileOf(1000)
	_, sealed, err := sealChunk(key, 3, plain)
	check(t, err)
	for what, open := range map[string]func() ([]byte, error){
		"another index": func() ([]byte, error) { return openChunk(key, 4, sealed, 1000) },
		"another key":   func() ([]byte, error) { return openChunk([32]byte{2}, 3, sealed, 1000) },
		"another size":  func() ([]byte, error) { return openChunk(key, 3, sealed, 2000) },
		"no size":       func() ([]byte, error) { return openChunk(key, 3, sealed, 0) },
		"bytes beyond":  func() ([]byte, error) { return openChunk(key, 3, sealed, 999) },
		"cut off":       func() ([]byte, error) { return openChunk(key, 3, sealed[:len(sealed)-1], 1000) },
	} {
		if got, err := open(); err == nil {
			t.Errorf("%s opened as %d bytes", what, len(got))
		}
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := openChunk(key, 3, bad, 1000); err == nil {
			t.Fatalf("opened with a flipped bit at %d", i)
		}
	}
	if strings.Contains(hex.EncodeToString(sealed), hex.EncodeToString(plain[:16])) {
		t.Error("the chunk holds the file in the clear")
	}
}
