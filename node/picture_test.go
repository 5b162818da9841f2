package node

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"testing"
)

// quarters is a picture whose left top corner is red, the right top green, the left bottom blue
// and the right bottom white.
func quarters(w, h int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := color.RGBA{255, 0, 0, 255}
			switch {
			case x >= w/2 && y >= h/2:
				c = color.RGBA{255, 255, 255, 255}
			case x >= w/2:
				c = color.RGBA{0, 255, 0, 255}
			case y >= h/2:
				c = color.RGBA{0, 0, 255, 255}
			}
			img.SetRGBA(x, y, c)
		}
	}
	return img
}

func jpegOf(t testing.TB, img image.Image) []byte {
	t.Helper()
	var out bytes.Buffer
	check(t, jpeg.Encode(&out, img, &jpeg.Options{Quality: 95}))
	return out.Bytes()
}

// exif puts an EXIF segment with an orientation and a place into a JPEG.
func exif(data []byte, order binary.ByteOrder, turn uint16) []byte {
	mark := "MM"
	if order == binary.LittleEndian {
		mark = "II"
	}
	tiff := append([]byte(mark), 0, 0, 0, 0, 0, 0)
	order.PutUint16(tiff[2:], 42)
	order.PutUint32(tiff[4:], 8)
	entry := func(tag, kind uint16, count, value uint32) {
		e := make([]byte, 12)
		order.PutUint16(e, tag)
		order.PutUint16(e[2:], kind)
		order.PutUint32(e[4:], count)
		order.PutUint32(e[8:], value)
		if kind == 3 {
			order.PutUint16(e[8:], uint16(value))
		}
		tiff = append(tiff, e...)
	}
	n := make([]byte, 2)
	order.PutUint16(n, 2)
	tiff = append(tiff, n...)
	entry(0x010f, 2, 4, 0)
	entry(0x0112, 3, 1, uint32(turn))
	tiff = append(tiff, "GPS-51.5007N-0.1246W"...)
	segment := append([]byte("Exif\x00\x00"), tiff...)
	head := []byte{0xff, 0xd8, 0xff, 0xe1, 0, 0}
	binary.BigEndian.PutUint16(head[4:], uint16(len(segment)+2))
	return append(append(head, segment...), data[2:]...)
}

// TestPictureIsUprightAndBare: for each of the eight orientations the corners come to stand where they
// belong, and nothing that the camera wrote is left.
func TestPictureIsUprightAndBare(t *testing.T) {
	t.Parallel()
	plain := quarters(64, 32)
	for turn := uint16(1); turn <= 8; turn++ {
		for _, order := range []binary.ByteOrder{binary.BigEndian, binary.LittleEndian} {
			lying := inverse(plain, int(turn))
			p, err := readyPicture("image/jpeg", exif(jpegOf(t, lying), order, turn))
			check(t, err)
			if bytes.Contains(p.data, []byte("GPS")) || bytes.Contains(p.data, []byte("Exif")) || bytes.Contains(p.thumb, []byte("GPS")) {
				t.Errorf("turn %d: the place is still there", turn)
			}
			got, err := jpeg.Decode(bytes.NewReader(p.data))
			check(t, err)
			if got.Bounds().Size() != image.Pt(64, 32) {
				t.Fatalf("turn %d: %v", turn, got.Bounds())
			}
			for _, at := range []image.Point{{8, 8}, {56, 8}, {8, 24}, {56, 24}} {
				if !alike(got.At(at.X, at.Y), plain.At(at.X, at.Y)) {
					t.Errorf("turn %d: at %v stands %v, want %v", turn, at, got.At(at.X, at.Y), plain.At(at.X, at.Y))
				}
			}
		}
	}
}

// inverse is the picture as a camera would have stored it with an orientation.
func inverse(img *image.RGBA, turn int) image.Image {
	switch turn {
	case 6:
		return upright(img, 8)
	case 8:
		return upright(img, 6)
	}
	return upright(img, turn) // the others undo themselves
}

func alike(a, b color.Color) bool {
	ar, ag, ab, _ := a.RGBA()
	br, bg, bb, _ := b.RGBA()
	near := func(x, y uint32) bool { return max(x, y)-min(x, y) < 0x3000 }
	return near(ar, br) && near(ag, bg) && near(ab, bb)
}

func TestPictureIsMadeSmaller(t *testing.T) {
	t.Parallel()
	p, err := readyPicture("image/png", pngOf(t, quarters(3000, 100)))
	check(t, err)
	c, err := png.DecodeConfig(bytes.NewReader(p.data))
	check(t, err)
	if c.Width != pictureSide || c.Height != 85 || p.media != "image/png" || p.side != image.Pt(320, 10) {
		t.Errorf("%d by %d %s, thumbnail %v", c.Width, c.Height, p.media, p.side)
	}
	if _, err := redrawThumb(p.thumb); err != nil {
		t.Errorf("the thumbnail: %v", err)
	}
}

func pngOf(t testing.TB, img image.Image) []byte {
	t.Helper()
	var out bytes.Buffer
	check(t, png.Encode(&out, img))
	return out.Bytes()
}

// TestPictureBombs: a small file that claims a picture as large as the memory is refused before anything is decoded.
func TestPictureBombs(t *testing.T) {
	t.Parallel()
	bomb := pngOf(t, image.NewGray(image.Rect(0, 0, 1, 1)))
	binary.BigEndian.PutUint32(bomb[16:], 60000)
	binary.BigEndian.PutUint32(bomb[20:], 60000)
	binary.BigEndian.PutUint32(bomb[29:], crc32.ChecksumIEEE(bomb[12:29]))
	wide := jpegOf(t, image.NewGray(image.Rect(0, 0, 8, 8)))
	at := bytes.Index(wide, []byte{0xff, 0xc0})
	binary.BigEndian.PutUint16(wide[at+5:], 65535)
	binary.BigEndian.PutUint16(wide[at+7:], 65535)
	for what, f := range map[string]func() error{
		"png":      func() error { _, err := readyPicture("image/png", bomb); return err },
		"jpeg":     func() error { _, err := readyPicture("image/jpeg", wide); return err },
		"cut off":  func() error { _, err := readyPicture("image/png", pngOf(t, quarters(64, 64))[:60]); return err },
		"webp":     func() error { _, err := readyPicture("image/webp", []byte("RIFF\x10\x00\x00\x00WEBPVP8 ")); return err },
		"a thumb":  func() error { _, err := redrawThumb(jpegOf(t, quarters(600, 10))); return err },
		"no thumb": func() error { _, err := redrawThumb([]byte("<svg onload=alert(1)>")); return err },
	} {
		if err := f(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzOrientation(f *testing.F) {
	data := jpegOf(f, quarters(8, 8))
	for turn := range uint16(10) {
		f.Add(exif(data, binary.BigEndian, turn))
		f.Add(exif(data, binary.LittleEndian, turn))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if turn := orientation(data); turn < 1 || turn > 8 {
			t.Errorf("orientation %d", turn)
		}
	})
}
