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
			p, err := readyPicture("image/jpeg", exif(jpegOf(t, lying), order, turn), nil)
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
	p, err := readyPicture("image/png", pngOf(t, quarters(3000, 100)), nil)
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
		"png":     func() error { _, err := readyPicture("image/png", bomb, nil); return err },
		"jpeg":    func() error { _, err := readyPicture("image/jpeg", wide, nil); return err },
		"cut off": func() error { _, err := readyPicture("image/png", pngOf(t, quarters(64, 64))[:60], nil); return err },
		"webp": func() error {
			_, err := readyPicture("image/webp", []byte("RIFF\x10\x00\x00\x00WEBPVP8 "), nil)
			return err
		},
		"a thumb":  func() error { _, err := redrawThumb(jpegOf(t, quarters(600, 10))); return err },
		"no thumb": func() error { _, err := redrawThumb([]byte("<svg onload=alert(1)>")); return err },
	} {
		if err := f(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestPictureMemory: what counts is what the decoder takes at its peak, and not what the picture takes afterwards.
func TestPictureMemory(t *testing.T) {
	t.Parallel()
	photo := jpegOf(t, quarters(16, 16)) // 4:2:0
	full := bytes.Clone(photo)
	at := bytes.Index(photo, []byte{0xff, 0xc0})
	full[at+11] = 0x11 // 4:4:4
	kind := func(data []byte, marker byte) []byte {
		data = bytes.Clone(data)
		data[at+1] = marker
		return data
	}
	sized := func(data []byte, w, h uint16) []byte {
		data = bytes.Clone(data)
		binary.BigEndian.PutUint16(data[at+5:], h)
		binary.BigEndian.PutUint16(data[at+7:], w)
		return data
	}
	// A restart marker has no length: whoever reads one after it, and passes over so many bytes, comes upon a small frame
	// within a comment, and not upon the large one that the decoder finds.
	hiding := []byte{0xff, 0xd8, 0xff, 0xd0, 0xff, 0xfe, 0, 100}
	hiding = append(append(hiding, make([]byte, 98)...), 0xff, 0xfe, 0xff, 0xff)
	hiding = append(append(hiding, make([]byte, 2+2+0xfffe-len(hiding))...), full[at:at+19]...)
	hiding = append(append(hiding, make([]byte, 106+2+0xffff-len(hiding))...), sized(kind(full, 0xc2), 7000, 7000)[2:]...)
	adobe := append(append([]byte{0xff, 0xd8, 0xff, 0xee, 0, 14}, "Adobe\x00\x64\x00\x00\x00\x00\x00"...), sized(full, 7000, 7000)[2:]...)
	webp := func(flags byte, side int, chunks ...string) []byte {
		out := append([]byte("RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00"), flags, 0, 0, 0)
		for range 2 {
			out = append(out, byte(side-1), byte((side-1)>>8), byte((side-1)>>16))
		}
		for _, c := range chunks {
			out = append(append(out, c...), 2, 0, 0, 0, 0, 0)
		}
		binary.LittleEndian.PutUint32(out[4:], uint32(len(out)-8))
		return out
	}
	for what, c := range map[string]struct {
		media string
		data  []byte
		fits  bool
	}{
		"a photo of 100 million pixels":            {"image/jpeg", sized(photo, 10000, 10000), true},
		"49 million, full colour":                  {"image/jpeg", sized(full, 7000, 7000), true},
		"the same, progressive":                    {"image/jpeg", sized(kind(full, 0xc2), 7000, 7000), false},
		"a progressive photo of 20 million":        {"image/jpeg", sized(kind(photo, 0xc2), 5000, 4000), true},
		"a progressive photo of 25 million":        {"image/jpeg", sized(kind(photo, 0xc2), 5000, 5000), false},
		"the same, behind a marker without length": {"image/jpeg", hiding, false},
		"49 million, to be made RGB":               {"image/jpeg", adobe, false},
		"lossy with transparency, 25 million":      {"image/webp", webp(0x10, 5000, "ALPH"), false},
		"lossless that is not said, 25 million":    {"image/webp", webp(0, 5000, "ICCP", "VP8L"), false},
		"lossy, 36 million":                        {"image/webp", webp(0, 6000, "ICCP", "VP8 "), true},
	} {
		err := checkPicture(c.media, c.data)
		if c.fits && err != nil || !c.fits && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	grey := pngOf(t, image.NewGray(image.Rect(0, 0, 1, 1)))
	if one, two := pngMemory(grey, color.GrayModel, 100), pngMemory(append(grey, "tRNS"...), color.GrayModel, 100); one != 100 || two != 400 {
		t.Errorf("%d and %d bytes for 100 grey pixels", one, two)
	}
	grey[28] = 1
	if n := pngMemory(grey, color.NRGBA64Model, 100); n != 1200 {
		t.Errorf("%d bytes for 100 deep interlaced pixels", n)
	}
}

func FuzzOrientation(f *testing.F) {
	data := jpegOf(f, quarters(8, 8))
	for turn := range uint16(10) {
		f.Add(exif(data, binary.BigEndian, turn))
		f.Add(exif(data, binary.LittleEndian, turn))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, media := range []string{"image/jpeg", "image/png", "image/webp"} {
			if turn, _ := orientation(media, data); turn < 1 || turn > 8 {
				t.Errorf("orientation %d", turn)
			}
		}
		if jpegMemory(data, 1) < 0 || webpMemory(data) < 1 {
			t.Error("decoding takes less than nothing")
		}
	})
}
