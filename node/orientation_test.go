package node

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"image"
	"image/png"
	"slices"
	"testing"
)

// exifBody is the EXIF data with an orientation, without what marks it in a JPEG.
func exifBody(turn uint16) []byte {
	segment := exif([]byte{0xff, 0xd8}, binary.BigEndian, turn)
	return segment[6+len(exifMark):]
}

// pngWith puts a chunk behind the header of a PNG.
func pngWith(data []byte, kind string, body []byte) []byte {
	const head = 8 + 25
	chunk := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	chunk = append(append(chunk, kind...), body...)
	chunk = binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[4:]))
	return slices.Concat(data[:head], chunk, data[head:])
}

// webpWith is a WebP picture, 1 pixel without loss, with a chunk of EXIF behind it.
func webpWith(t testing.TB, body []byte) []byte {
	t.Helper()
	pixel, err := hex.DecodeString("2f00000010071011118888fe07")
	check(t, err)
	var out []byte
	chunk := func(kind string, body []byte) {
		out = binary.LittleEndian.AppendUint32(append(out, kind...), uint32(len(body)))
		out = append(out, body...)
		if len(body)%2 == 1 {
			out = append(out, 0)
		}
	}
	chunk("VP8X", []byte{0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	chunk("VP8L", pixel)
	if body != nil {
		chunk("EXIF", body)
	}
	return slices.Concat([]byte("RIFF"), binary.LittleEndian.AppendUint32(nil, uint32(4+len(out))), []byte("WEBP"), out)
}

// TestBlackoutOnlyWhereTheTurnIsSure: where programs differ in which way up they show a file, a region drawn on what one of them shows is
// another place of the picture, and nothing is sent. Without regions every form arrives upright.
func TestBlackoutOnlyWhereTheTurnIsSure(t *testing.T) {
	t.Parallel()
	plain := quarters(64, 32)
	asJPEG, asPNG := jpegOf(t, plain), pngOf(t, plain)
	filled := exif(asJPEG, binary.BigEndian, 3)
	filled = slices.Concat(filled[:2], []byte{0xff, 0xff}, filled[2:])
	wide := exif(asJPEG, binary.BigEndian, 3)
	wide[bytes.Index(wide, []byte{0x01, 0x12, 0, 3})+3] = 4 // a LONG
	for name, c := range map[string]struct {
		media string
		data  []byte
		turn  int
		sure  bool
	}{
		"jpeg without":          {"image/jpeg", asJPEG, 1, true},
		"jpeg turned":           {"image/jpeg", exif(asJPEG, binary.LittleEndian, 6), 6, true},
		"jpeg with fill bytes":  {"image/jpeg", filled, 3, true},
		"jpeg, two notes":       {"image/jpeg", exif(exif(asJPEG, binary.BigEndian, 1), binary.BigEndian, 3), 3, false},
		"jpeg, another form":    {"image/jpeg", wide, 1, false},
		"jpeg, no such turn":    {"image/jpeg", exif(asJPEG, binary.BigEndian, 9), 1, false},
		"png without":           {"image/png", asPNG, 1, true},
		"png upright":           {"image/png", pngWith(asPNG, "eXIf", exifBody(1)), 1, true},
		"png upside down":       {"image/png", pngWith(asPNG, "eXIf", exifBody(3)), 3, false},
		"png on its side":       {"image/png", pngWith(asPNG, "eXIf", exifBody(6)), 6, false},
		"png, an old note":      {"image/png", pngWith(asPNG, "tEXt", []byte("Raw profile type exif\x00…")), 1, false},
		"png, a damaged note":   {"image/png", pngWith(asPNG, "eXIf", []byte("MM\x00*")), 1, false},
		"webp without":          {"image/webp", webpWith(t, nil), 1, true},
		"webp upright":          {"image/webp", webpWith(t, exifBody(1)), 1, true},
		"webp upside down":      {"image/webp", webpWith(t, exifBody(3)), 3, false},
		"webp marked as a JPEG": {"image/webp", webpWith(t, slices.Concat(exifMark, exifBody(6))), 6, false},
	} {
		if turn, sure := orientation(c.media, c.data); turn != c.turn || sure != c.sure {
			t.Errorf("%s: turned %d, sure %v, want %d, %v", name, turn, sure, c.turn, c.sure)
		}
		_, err := readyPicture(c.media, c.data, []image.Rectangle{image.Rect(0, 0, 8, 8)})
		if c.sure && err != nil || !c.sure && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: a region is painted: %v", name, err)
		}
	}
	for turn := 1; turn <= 8; turn++ {
		p, err := readyPicture("image/png", pngWith(pngOf(t, inverse(plain, turn)), "eXIf", exifBody(uint16(turn))), nil)
		check(t, err)
		got, err := png.Decode(bytes.NewReader(p.data))
		check(t, err)
		if got.Bounds().Size() != image.Pt(64, 32) || !alike(got.At(8, 8), plain.At(8, 8)) || !alike(got.At(56, 8), plain.At(56, 8)) || !alike(got.At(8, 24), plain.At(8, 24)) {
			t.Errorf("a PNG turned %d arrives lying", turn)
		}
	}
}
