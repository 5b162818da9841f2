package api

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"math"
	mathrand "math/rand/v2"
	"strings"
	"testing"

	"rsc.io/qr"
)

const (
	testPictureBytes  = 8 << 20
	testPicturePixels = 16 << 20
)

func read(picture []byte) ([]string, error) {
	return ReadQR(bytes.NewReader(picture), testPictureBytes, testPicturePixels)
}

// TestQRThereAndBack: what is shown is what is read, for every length that a sequence uses, as it is and as a camera sees it.
func TestQRThereAndBack(t *testing.T) {
	content := make([]byte, 500)
	if _, err := rand.Read(content); err != nil {
		t.Fatal(err)
	}
	codes, err := QRSequence(QRRequest, content)
	must(t, err)
	for _, text := range codes {
		if len(text) > 119 {
			t.Errorf("a code of %d characters", len(text))
		}
		picture, err := QRCode(text)
		must(t, err)
		for name, seen := range map[string][]byte{"as it is": picture, "by a camera": photograph(t, picture)} {
			got, err := read(seen)
			if err != nil || len(got) != 1 || got[0] != text {
				t.Errorf("%s: %q, %v, want %q", name, got, err, text)
			}
		}
	}
}

// photograph is what a camera makes of a code on a screen: turned by some degrees, small in a grey scene, noisy, uneven in light, JPEG.
func photograph(t *testing.T, picture []byte) []byte {
	t.Helper()
	code, err := png.Decode(bytes.NewReader(picture))
	must(t, err)
	const side = 900
	scene := image.NewRGBA(image.Rect(0, 0, side, side))
	noise := mathrand.New(mathrand.NewPCG(1, 2))
	sin, cos := math.Sincos(0.12)
	size := float64(code.Bounds().Dx())
	for y := range side {
		for x := range side {
			dx, dy := float64(x-side/2)*size/600, float64(y-side/2)*size/600
			u, v := int(dx*cos-dy*sin+size/2), int(dx*sin+dy*cos+size/2)
			bright := 150.0
			if image.Pt(u, v).In(code.Bounds()) {
				bright = 40 + 180*float64(color.GrayModel.Convert(code.At(u, v)).(color.Gray).Y)/255
			}
			bright *= 0.7 + 0.3*float64(x)/side
			bright += noise.Float64()*30 - 15
			g := uint8(min(max(bright, 0), 255))
			scene.SetRGBA(x, y, color.RGBA{g, g, g, 255})
		}
	}
	var out bytes.Buffer
	must(t, jpeg.Encode(&out, scene, &jpeg.Options{Quality: 80}))
	return out.Bytes()
}

// TestQRSheet: several codes on one picture are all read, and a large picture is shrunk first.
func TestQRSheet(t *testing.T) {
	codes, err := QRSequence(QRAnswer, bytes.Repeat([]byte("abc"), 60))
	must(t, err)
	sheet := image.NewGray(image.Rect(0, 0, 3300, 1200))
	draw.Draw(sheet, sheet.Bounds(), image.White, image.Point{}, draw.Src)
	for i, text := range codes {
		picture, err := QRCode(text)
		must(t, err)
		img, err := png.Decode(bytes.NewReader(picture))
		must(t, err)
		draw.Draw(sheet, img.Bounds().Add(image.Pt(100+1100*i, 100)), img, image.Point{}, draw.Src)
	}
	var out bytes.Buffer
	must(t, png.Encode(&out, sheet))
	got, err := read(out.Bytes())
	must(t, err)
	var c QRCollector
	for _, text := range got {
		must(t, c.Add(text))
	}
	if missing, count := c.Missing(); count != len(codes) || len(missing) > 0 {
		t.Errorf("%d codes on the sheet, %v are missing of %d", len(codes), missing, count)
	}
}

func TestBadPictures(t *testing.T) {
	var blank, huge bytes.Buffer
	must(t, png.Encode(&blank, image.NewGray(image.Rect(0, 0, 40, 30))))
	must(t, png.Encode(&huge, image.NewGray(image.Rect(0, 0, 5000, 5000))))
	code, err := QRCode("TOCSIN")
	must(t, err)
	for name, c := range map[string]struct {
		picture []byte
		want    string
	}{
		"nothing":        {nil, "no PNG or JPEG"},
		"text":           {[]byte("a request"), "no PNG or JPEG"},
		"no code":        {blank.Bytes(), "no QR code"},
		"too many":       {huge.Bytes(), "over the limit"},
		"too long":       {make([]byte, testPictureBytes+1), "larger than"},
		"cut short":      {code[:len(code)/2], "damaged"},
		"a lying header": {lyingPNG(t, code), "over the limit"},
	} {
		if _, err := read(c.picture); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := read(blank.Bytes()); !errors.Is(err, ErrNoQR) {
		t.Errorf("no code: %v", err)
	}
}

// lyingPNG claims to be 30,000 pixels wide and high, with a checksum that fits.
func lyingPNG(t *testing.T, picture []byte) []byte {
	t.Helper()
	out := bytes.Clone(picture)
	copy(out[16:24], []byte{0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30})
	sum := binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(out[12:29]))
	copy(out[29:33], sum)
	return out
}

func TestQRSequenceInAnyOrder(t *testing.T) {
	content := make([]byte, 10*qrPart+1)
	if _, err := rand.Read(content); err != nil {
		t.Fatal(err)
	}
	codes, err := QRSequence(QRAnswer, content)
	must(t, err)
	var c QRCollector
	if _, _, err := c.Content(); !errors.Is(err, ErrNoQR) {
		t.Errorf("nothing seen: %v", err)
	}
	for _, i := range []int{3, 3, 10, 0, 1} {
		must(t, c.Add(codes[i]))
	}
	if _, _, err := c.Content(); err == nil || !strings.Contains(err.Error(), "7 of 11 QR codes are missing: 3, 5 to 10") {
		t.Errorf("some seen: %v", err)
	}
	for _, text := range codes {
		must(t, c.Add(text))
	}
	if kind, got, err := c.Content(); err != nil || kind != QRAnswer || !bytes.Equal(got, content) {
		t.Errorf("kind %c, %d bytes, %v", kind, len(got), err)
	}
	other, err := QRSequence(QRAnswer, content[1:])
	must(t, err)
	if err := c.Add(other[0]); err == nil || !strings.Contains(err.Error(), "two sequences") {
		t.Errorf("another sequence: %v", err)
	}
}

// TestQRSequenceRefuses: a code that was changed is refused, or the whole is.
func TestQRSequenceRefuses(t *testing.T) {
	codes, err := QRSequence(QRRequest, bytes.Repeat([]byte{7}, 2*qrPart))
	must(t, err)
	head := codes[0][:qrHead]
	for name, text := range map[string]string{
		"empty": "", "another": "HTTPS://EXAMPLE.ORG", "cut short": head, "index 0": head[:15] + "000002" + codes[0][qrHead:],
		"past its end": head[:15] + "003002" + codes[0][qrHead:], "too many": head[:15] + "001999" + codes[0][qrHead:],
		"no number": head[:15] + "+01002" + codes[0][qrHead:], "small letters": strings.ToLower(codes[0]),
		"a short middle": head + "00", "not base 45": head + strings.Repeat(":", 96), "a small kind": "T1r" + codes[0][3:],
	} {
		var c QRCollector
		if err := c.Add(text); err == nil {
			t.Errorf("%s: taken: %q", name, text)
		}
	}
	var c QRCollector
	must(t, c.Add(codes[0]))
	forged, err := QRSequence(QRRequest, bytes.Repeat([]byte{8}, 2*qrPart))
	must(t, err)
	must(t, c.Add(head[:15]+"002002"+forged[1][qrHead:]))
	if _, _, err := c.Content(); err == nil || !strings.Contains(err.Error(), "do not belong together") {
		t.Errorf("a part of another content: %v", err)
	}
	if err := c.Add(codes[1]); err == nil {
		t.Error("two parts at one place")
	}
	for _, content := range [][]byte{nil, make([]byte, maxQRCodes*qrPart+1)} {
		if _, err := QRSequence(QRRequest, content); err == nil {
			t.Errorf("%d bytes made a sequence", len(content))
		}
	}
}

// TestBase45 holds the encoding against the examples of RFC 9285 §4.3 and §4.4.
func TestBase45(t *testing.T) {
	for plain, want := range map[string]string{"AB": "BB8", "Hello!!": "%69 VD92EX0", "base-45": "UJCLQE7W581", "ietf!": "QED8WEX0"} {
		if got := base45([]byte(plain)); got != want {
			t.Errorf("%q: %q, want %q", plain, got, want)
		}
		if got, err := parseBase45(want); err != nil || string(got) != plain {
			t.Errorf("%q: %q, %v", want, got, err)
		}
	}
	for _, bad := range []string{":::", "GGW", "A", "ZZ", "ab8"} {
		if got, err := parseBase45(bad); err == nil {
			t.Errorf("%q gives %x", bad, got)
		}
	}
}

// TestQRText: what is drawn in a terminal is the code, with its quiet zone.
func TestQRText(t *testing.T) {
	const text = "TOCSIN"
	drawn, err := QRText(text, false)
	must(t, err)
	lines := strings.Split(strings.TrimSuffix(drawn, "\n"), "\n")
	c, err := qr.Encode(text, qr.M)
	must(t, err)
	dark := func(x, y int) bool {
		if y/2 >= len(lines) {
			return true
		}
		r := []rune(lines[y/2])[x]
		return r == ' ' || y%2 == 0 && r == '▄' || y%2 == 1 && r == '▀'
	}
	for y := range c.Size + 8 {
		for x := range c.Size + 8 {
			want := x >= 4 && y >= 4 && x < c.Size+4 && y < c.Size+4 && c.Black(x-4, y-4)
			if dark(x, y) != want {
				t.Fatalf("module %d, %d is drawn wrong:\n%s", x, y, drawn)
			}
		}
	}
	if coloured, err := QRText(text, true); err != nil || strings.Count(coloured, "\x1b[0m") != len(lines) {
		t.Errorf("colour is not put back at the end of every line: %v", err)
	}
}

// FuzzReadQR: whatever a picture holds, reading it ends in texts or an error.
func FuzzReadQR(f *testing.F) {
	code, err := QRCode("TOCSIN")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(code)
	f.Add([]byte("\xff\xd8\xff"))
	f.Fuzz(func(t *testing.T, picture []byte) {
		texts, err := ReadQR(bytes.NewReader(picture), 64<<10, 1<<18)
		if (err == nil) != (len(texts) > 0) {
			t.Errorf("%q, %v", texts, err)
		}
	})
}

// FuzzQRSequence: a code is taken or refused, and what is taken is written again in the same way.
func FuzzQRSequence(f *testing.F) {
	codes, err := QRSequence(QRRequest, []byte("hello"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(codes[0])
	f.Fuzz(func(t *testing.T, text string) {
		var c QRCollector
		if c.Add(text) != nil {
			return
		}
		kind, content, err := c.Content()
		if err != nil {
			return
		}
		if again, err := QRSequence(kind, content); err != nil || len(again) != 1 || again[0] != text {
			t.Errorf("%q became %q, %v", text, again, err)
		}
	})
}
