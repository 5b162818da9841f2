package node

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"

	"tocsin/node/message"
)

// Regions that must not be seen are painted into the pixels as they were decoded, before the picture is turned, made smaller, encoded
// or sealed: whatever leaves, the thumbnail too, is made of what is left.

// maskBlock is the side of the squares that a region is grown to, in pixels: JPEG and WebP keep up to 16 by 16 pixels in
// one block, and a block of which a part were left would tell of the rest.
const maskBlock = 16

// blackOut paints regions of a decoded picture black. They are in pixels of the picture once it is upright; turn is its EXIF orientation.
func blackOut(img image.Image, turn int, regions []image.Rectangle) (image.Image, error) {
	if len(regions) > message.MaxBlackout {
		return nil, invalid("%d regions are to be blacked out, at most %d can be; draw larger ones", len(regions), message.MaxBlackout)
	}
	if len(regions) == 0 {
		return img, nil
	}
	b := img.Bounds()
	w, h := b.Dx(), b.Dy()
	upright := image.Rect(0, 0, w, h)
	if turn >= 5 && turn <= 8 {
		upright = image.Rect(0, 0, h, w)
	}
	canvas, err := paintable(img)
	if err != nil {
		return nil, err
	}
	for i, region := range regions {
		in := region.Intersect(upright)
		if in.Empty() {
			return nil, invalid("region %d to be blacked out lies outside the picture, which is %d by %d pixels when it is upright", i+1, upright.Dx(), upright.Dy())
		}
		at := image.Rectangle{Min: lying(turn, w, h, in.Min), Max: lying(turn, w, h, in.Max.Sub(image.Pt(1, 1)))}.Canon()
		at.Max = at.Max.Add(image.Pt(1, 1))
		paint(canvas, grown(at).Add(b.Min).Intersect(b))
	}
	return canvas, nil
}

// grown is the smallest rectangle of whole blocks that holds r.
func grown(r image.Rectangle) image.Rectangle {
	down := func(n int) int { return n / maskBlock * maskBlock }
	return image.Rect(down(r.Min.X), down(r.Min.Y), down(r.Max.X+maskBlock-1), down(r.Max.Y+maskBlock-1))
}

// paintable returns a picture of the kinds that paint knows, img itself unless its palette lacks black.
func paintable(img image.Image) (image.Image, error) {
	switch m := img.(type) {
	case *image.YCbCr, *image.NYCbCrA:
		return img, nil
	case *image.Paletted:
		black := color.RGBA{A: 255}
		if len(m.Palette) < 256 && m.Palette.Convert(black) != color.Color(black) {
			m.Palette = append(m.Palette[:len(m.Palette):len(m.Palette)], black)
		}
		return m, nil
	case draw.Image:
		return m, nil
	}
	return nil, fmt.Errorf("node: a picture of type %T cannot be painted", img)
}

// paint makes a rectangle of a paintable picture black and opaque.
func paint(img image.Image, r image.Rectangle) {
	switch m := img.(type) {
	case *image.YCbCr:
		paintYCbCr(m, r)
	case *image.NYCbCrA:
		paintYCbCr(&m.YCbCr, r)
		for y := r.Min.Y; y < r.Max.Y; y++ {
			for x := r.Min.X; x < r.Max.X; x++ {
				m.A[m.AOffset(x, y)] = 255
			}
		}
	case draw.Image:
		draw.Draw(m, r, image.Black, image.Point{}, draw.Src)
	}
}

// paintYCbCr paints all three planes: r is of whole blocks, so that no chroma sample is shared with what stays.
func paintYCbCr(m *image.YCbCr, r image.Rectangle) {
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			at, chroma := m.YOffset(x, y), m.COffset(x, y)
			m.Y[at], m.Cb[chroma], m.Cr[chroma] = 0, 128, 128
		}
	}
}
