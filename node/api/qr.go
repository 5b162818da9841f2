package api

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/jpeg" // decoders of what cameras and scanners write
	_ "image/png"
	"io"

	"github.com/makiuchi-d/gozxing"
	multi "github.com/makiuchi-d/gozxing/multi/qrcode"
	single "github.com/makiuchi-d/gozxing/qrcode"
	"rsc.io/qr"
)

// QR codes carry what two devices show each other when there is nothing between them but light. Codes are encoded and decoded in this
// process: browsers on Linux have no decoder, and a decoder from elsewhere would be somebody else's code in the page.

// ErrNoQR: there is no QR code to be seen in a picture.
var ErrNoQR = errors.New("api: no QR code is to be seen in the picture: hold the camera still, closer, and without glare")

// QRCode returns the PNG of a code that holds text. Upper-case letters, digits and $%*+-./: give the smallest codes.
func QRCode(text string) ([]byte, error) {
	c, err := encodeQR(text)
	if err != nil {
		return nil, err
	}
	return c.PNG(), nil
}

func encodeQR(text string) (*qr.Code, error) {
	c, err := qr.Encode(text, qr.M)
	if err != nil {
		return nil, fmt.Errorf("api: %d characters do not fit into a QR code: %w", len(text), err)
	}
	c.Scale = qrScale
	return c, nil
}

// QRText draws a code with half blocks, two rows of modules a line, with the quiet zone that readers need. It is meant for a terminal
// with any background: the light modules are drawn too, where colour is true by escape sequences of their own.
func QRText(text string, colour bool) (string, error) {
	c, err := encodeQR(text)
	if err != nil {
		return "", err
	}
	before, after := "", ""
	if colour {
		before, after = "\x1b[38;5;231;48;5;16m", "\x1b[0m" // white on black, whatever the terminal's own are
	}
	const quiet = 4 // modules, ISO/IEC 18004 §6.3.8
	var b bytes.Buffer
	light := func(x, y int) bool { return x < 0 || y < 0 || x >= c.Size || y >= c.Size || !c.Black(x, y) }
	for y := -quiet; y < c.Size+quiet; y += 2 {
		b.WriteString(before)
		for x := -quiet; x < c.Size+quiet; x++ {
			switch top, bottom := light(x, y), light(x, y+1) && y+1 < c.Size+quiet; {
			case top && bottom:
				b.WriteString("█")
			case top:
				b.WriteString("▀")
			case bottom:
				b.WriteString("▄")
			default:
				b.WriteString(" ")
			}
		}
		b.WriteString(after + "\n")
	}
	return b.String(), nil
}

// ReadQR returns the texts of the QR codes in a PNG or JPEG picture, at least one, or ErrNoQR. The size of the picture is looked at
// before it is decoded: at most maxBytes bytes and maxPixels pixels are taken.
func ReadQR(picture io.Reader, maxBytes int64, maxPixels int) (texts []string, err error) {
	raw, err := io.ReadAll(io.LimitReader(picture, maxBytes+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > maxBytes {
		return nil, fmt.Errorf("api: the picture is larger than %d bytes: take a smaller one", maxBytes)
	}
	size, _, err := image.DecodeConfig(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("api: this is no PNG or JPEG picture: %w", err)
	}
	if size.Width < 1 || size.Height < 1 || size.Width > maxPixels/size.Height {
		return nil, fmt.Errorf("api: a picture of %d by %d pixels is over the limit of %d: take a smaller one", size.Width, size.Height, maxPixels)
	}
	img, _, err := image.Decode(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("api: the picture is damaged: %w", err)
	}
	return findCodes(img)
}

// findCodes looks for codes. The decoder is not ours and meets pictures that anybody may have made, so a panic in it is an answer
// like any other: no code.
func findCodes(img image.Image) (texts []string, err error) {
	defer func() {
		if r := recover(); r != nil {
			texts, err = nil, ErrNoQR
		}
	}()
	for _, side := range []int{qrSide, qrSide / 2} {
		source := gozxing.NewLuminanceSourceFromImage(shrink(img, side))
		bitmap, err := gozxing.NewBinaryBitmap(gozxing.NewHybridBinarizer(source))
		if err != nil {
			return nil, err
		}
		hints := map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_TRY_HARDER: true}
		if found, err := multi.NewQRCodeMultiReader().DecodeMultiple(bitmap, hints); err == nil {
			for _, r := range found {
				texts = append(texts, r.GetText())
			}
			if len(texts) > 0 {
				return texts, nil
			}
		}
		if r, err := single.NewQRCodeReader().Decode(bitmap, hints); err == nil {
			return []string{r.GetText()}, nil
		}
	}
	return nil, ErrNoQR
}

// shrink makes a grey picture whose longer side is at most most pixels, each the mean of those it stands for.
func shrink(img image.Image, most int) *image.Gray {
	b := img.Bounds()
	k := (max(b.Dx(), b.Dy()) + most - 1) / most
	out := image.NewGray(image.Rect(0, 0, max(1, b.Dx()/k), max(1, b.Dy()/k)))
	grey := greyOf(img)
	for y := range out.Rect.Dy() {
		for x := range out.Rect.Dx() {
			sum, n := 0, 0
			for v := y * k; v < min((y+1)*k, b.Dy()); v++ {
				for u := x * k; u < min((x+1)*k, b.Dx()); u++ {
					sum += int(grey(b.Min.X+u, b.Min.Y+v))
					n++
				}
			}
			out.Pix[y*out.Stride+x] = uint8(sum / n)
		}
	}
	return out
}

// greyOf returns how bright a pixel is. What a camera writes has that as it is. What is transparent is taken as white, as on paper.
func greyOf(img image.Image) func(x, y int) uint8 {
	switch p := img.(type) {
	case *image.YCbCr:
		return func(x, y int) uint8 { return p.Y[p.YOffset(x, y)] }
	case *image.Gray:
		return func(x, y int) uint8 { return p.GrayAt(x, y).Y }
	}
	return func(x, y int) uint8 {
		r, g, b, a := img.At(x, y).RGBA()
		white := 0xffff - a
		return color.GrayModel.Convert(color.RGBA64{R: uint16(r + white), G: uint16(g + white), B: uint16(b + white), A: 0xffff}).(color.Gray).Y
	}
}
