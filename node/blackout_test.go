package node

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/color/palette"
	"image/jpeg"
	"image/png"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"tocsin/node/inbox"
	"tocsin/node/message"
)

// noisy is a picture of noise drawn by seed; within is drawn by another one.
func noisy(w, h int, within image.Rectangle, secret uint64) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	open, hidden := rand.New(rand.NewPCG(1, 1)), rand.New(rand.NewPCG(secret, 2))
	for y := range h {
		for x := range w {
			a, b := open.Uint32(), hidden.Uint32()
			if image.Pt(x, y).In(within) {
				a = b
			}
			img.SetRGBA(x, y, color.RGBA{byte(a), byte(a >> 8), byte(a >> 16), 255})
		}
	}
	return img
}

// TestBlackoutLeavesNothing: of two pictures that differ under the mask and nowhere else, everything that leaves is the same, byte for
// byte, the thumbnail too: whoever has it cannot tell which of them was sent.
func TestBlackoutLeavesNothing(t *testing.T) {
	t.Parallel()
	mask := image.Rect(37, 21, 90, 55)
	encode := map[string]func(img image.Image, turn int) (string, []byte){
		"jpeg": func(img image.Image, turn int) (string, []byte) {
			return "image/jpeg", exif(jpegOf(t, inverse(img.(*image.RGBA), turn)), binary.BigEndian, uint16(turn))
		},
		"grey jpeg": func(img image.Image, turn int) (string, []byte) {
			grey := image.NewGray(img.Bounds())
			for y := range img.Bounds().Dy() {
				for x := range img.Bounds().Dx() {
					grey.Set(x, y, img.At(x, y))
				}
			}
			return "image/jpeg", jpegOf(t, grey)
		},
		"png": func(img image.Image, _ int) (string, []byte) { return "image/png", pngOf(t, img) },
		"palette": func(img image.Image, _ int) (string, []byte) {
			return "image/png", pngOf(t, paletted(img, palette.Plan9[100:140]))
		},
		"full palette": func(img image.Image, _ int) (string, []byte) {
			return "image/png", pngOf(t, paletted(img, palette.Plan9))
		},
	}
	for name, enc := range encode {
		for turn := 1; turn <= 8; turn++ {
			if name != "jpeg" && turn > 1 {
				continue // only a JPEG says how it was held
			}
			var sent []*picture
			for secret := range uint64(2) {
				media, data := enc(noisy(160, 96, mask, secret+7), turn)
				p, err := readyPicture(media, data, []image.Rectangle{mask})
				check(t, err)
				sent = append(sent, p)
				if left, err := readyPicture(media, data, nil); err != nil || bytes.Equal(left.data, p.data) {
					t.Fatalf("%s: nothing was blacked out, %v", name, err)
				}
			}
			if !bytes.Equal(sent[0].data, sent[1].data) || !bytes.Equal(sent[0].thumb, sent[1].thumb) {
				t.Errorf("%s, turn %d: what lay under the mask can be told from what was sent", name, turn)
			}
			isBlack(t, sent[0].data, image.Rect(40, 24, 88, 52))
		}
	}
}

// isBlack holds that a picture is black within r and not outside of the blocks around it.
func isBlack(t *testing.T, data []byte, r image.Rectangle) {
	t.Helper()
	img, _, err := decodeAny(data)
	check(t, err)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			if red, green, blue, _ := img.At(x, y).RGBA(); red+green+blue > 0x3000 {
				t.Fatalf("at %d, %d stands %v", x, y, img.At(x, y))
			}
		}
	}
	var light int
	for x := range img.Bounds().Dx() {
		red, green, blue, _ := img.At(x, img.Bounds().Dy()-2).RGBA()
		if red+green+blue > 0x3000 {
			light++
		}
	}
	if light < img.Bounds().Dx()/2 {
		t.Errorf("the rest of the picture is dark, too: %d of %d", light, img.Bounds().Dx())
	}
}

func decodeAny(data []byte) (image.Image, string, error) {
	if img, err := jpeg.Decode(bytes.NewReader(data)); err == nil {
		return img, "jpeg", nil
	}
	img, err := png.Decode(bytes.NewReader(data))
	return img, "png", err
}

func paletted(img image.Image, p color.Palette) image.Image {
	out := image.NewPaletted(img.Bounds(), p)
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			out.Set(x, y, img.At(x, y))
		}
	}
	return out
}

// TestBlackoutOfALargePicture: the region is of the picture as it was, and is painted before the picture is made smaller.
func TestBlackoutOfALargePicture(t *testing.T) {
	t.Parallel()
	mask := image.Rect(1000, 100, 2000, 200)
	var sent [][]byte
	for secret := range uint64(2) {
		p, err := readyPicture("image/jpeg", jpegOf(t, noisy(3200, 400, mask, secret+3)), []image.Rectangle{mask})
		check(t, err)
		sent = append(sent, p.data, p.thumb)
	}
	if !bytes.Equal(sent[0], sent[2]) || !bytes.Equal(sent[1], sent[3]) {
		t.Error("what lay under the mask can be told from what was sent")
	}
	isBlack(t, sent[0], image.Rect(805, 85, 1595, 155)) // 0.8 of its size
}

func TestBlackoutRefuses(t *testing.T) {
	t.Parallel()
	data := jpegOf(t, quarters(64, 32))
	for what, regions := range map[string][]image.Rectangle{
		"outside":  {image.Rect(64, 0, 80, 10)},
		"nothing":  {image.Rect(3, 3, 3, 9)},
		"too many": make([]image.Rectangle, message.MaxBlackout+1),
		"negative": {image.Rect(-20, -20, -1, -1)},
	} {
		if _, err := readyPicture("image/jpeg", data, regions); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := readyPicture("image/jpeg", data, []image.Rectangle{image.Rect(-5, -5, 9, 9), image.Rect(60, 30, 999, 999)}); err != nil {
		t.Errorf("what lies partly outside is cut: %v", err)
	}
}

// TestClinicalPhotoNeedsConsent: the node itself seals no picture of which it was not said whether a patient is in it, and none
// of a patient without consent, and keeps nothing of what it refuses.
func TestClinicalPhotoNeedsConsent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amara Okafor", orgHospital).start(t)
	b := w.enrol("Ben Carter", orgAmbulance).start(t, knows(a))
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	mask := image.Rect(16, 16, 64, 64)
	photo := exif(jpegOf(t, noisy(320, 160, mask, 9)), binary.BigEndian, 1)
	witness := message.PersonAddress(b.cred.Person.String())
	good := AttachSpec{Name: "wound.jpg", Priority: "routine", Shows: "patient", Consent: "patient", Purpose: "Advice from plastics", Witness: witness,
		Blackout: []image.Rectangle{mask}}
	change := func(f func(*AttachSpec)) AttachSpec { s := good; f(&s); return s }
	heic := append([]byte("\x00\x00\x00\x18ftypheic"), make([]byte, 600)...)
	film := append([]byte("\x00\x00\x00\x14ftypqt  "), make([]byte, 600)...)
	for what, c := range map[string]struct {
		spec AttachSpec
		data []byte
		want string
	}{
		"not said what it shows": {AttachSpec{Name: "x.jpg", Priority: "routine"}, photo, "(shows) is missing"},
		"no consent":             {change(func(s *AttachSpec) { s.Consent = "" }), photo, "(consent) is missing"},
		"no purpose":             {change(func(s *AttachSpec) { s.Purpose = " " }), photo, "(purpose) is missing"},
		"nobody else there":      {change(func(s *AttachSpec) { s.Witness = "" }), photo, "(witness) is missing"},
		"only who asked there":   {change(func(s *AttachSpec) { s.Witness = message.PersonAddress(a.cred.Person.String()) }), photo, "somebody else"},
		"as it is":               {change(func(s *AttachSpec) { s.Exact, s.Blackout = true, nil }), photo, "never sent with what the camera wrote"},
		"of another form":        {change(func(s *AttachSpec) { s.Blackout = nil }), heic, "save it as one of them"},
		"nobody in another form": {AttachSpec{Name: "x.heic", Priority: "routine", Shows: "no-patient"}, heic, "cannot be freed of place"},
		"a scan":                 {AttachSpec{Name: "x.tif", Priority: "routine"}, append([]byte("II*\x00"), make([]byte, 600)...), "(shows) is missing"},
		"a document blacked out": {AttachSpec{Name: "x.pdf", Priority: "routine", Blackout: good.Blackout}, []byte("%PDF-1.7"), "belong to pictures"},
		"a film":                 {AttachSpec{Name: "x.mov", Priority: "routine"}, film, "(shows) is missing"},
		"a film of a patient":    {change(func(s *AttachSpec) { s.Blackout = nil }), film, "a film of a patient is not sent"},
		"a film as it is":        {change(func(s *AttachSpec) { s.Exact, s.Blackout = true, nil }), film, "never sent with what the camera wrote"},
		"a film of nobody":       {AttachSpec{Name: "x.mov", Priority: "routine", Shows: "no-patient"}, film, "cannot be freed of place"},
		"a new form":             {AttachSpec{Name: "x.jxl", Priority: "routine"}, append([]byte{0xff, 0x0a}, make([]byte, 600)...), "(shows) is missing"},
		"a region outside":       {change(func(s *AttachSpec) { s.Blackout = []image.Rectangle{image.Rect(900, 900, 999, 999)} }), photo, "outside the picture"},
	} {
		if _, err := a.Attach(t.Context(), g, c.spec, bytes.NewReader(c.data)); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
	if left := a.attached.store.Kept(); len(left) != 0 {
		t.Errorf("%d chunks of what was refused are left", len(left))
	}
	s, err := a.Attach(t.Context(), g, good, bytes.NewReader(photo))
	check(t, err)
	eventually(t, "the picture is here", func() bool {
		info, ok := attachment(t, b, s.ID)
		return ok && info.State == inbox.HeldHere && info.Thumb
	})
	_, r, err := b.OpenAttachment(t.Context(), s.ID)
	check(t, err)
	got, err := io.ReadAll(r)
	check(t, err)
	isBlack(t, got, mask)
	thumb, err := b.AttachmentThumb(t.Context(), s.ID)
	check(t, err)
	isBlack(t, thumb, image.Rect(18, 18, 62, 62))
	if bytes.Contains(got, []byte("GPS")) {
		t.Error("the place came with it")
	}
	it, err := b.message(s.ID)
	check(t, err)
	m := it.Message.Content.(*message.Attachment)
	if m.AskedBy != message.PersonAddress(a.cred.Person.String()) || m.Witness != witness || m.Purpose != good.Purpose || *m.Blackout != 1 {
		t.Errorf("recorded: asked by %s, with %s, for %s", m.AskedBy, m.Witness, m.Purpose)
	}
}
