package node

import (
	"bytes"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"

	"golang.org/x/image/draw"
	"golang.org/x/image/webp"

	"tocsin/node/message"
)

// Limits of pictures.
const (
	// maxPictureFile is the longest file that is looked at as a picture, in bytes.
	maxPictureFile = 32 << 20
	// maxPictureMemory is how many bytes decoding a picture may take (picturememory.go): 53 million pixels of a JPEG
	// with full colour, 111 million with the usual half, and a fifth of that where it is progressive.
	maxPictureMemory = 160 << 20
	// pictureSide is the longest side of a picture that is sent, thumbSide of its thumbnail.
	pictureSide = 2560
	thumbSide   = 320

	pictureQuality, thumbQuality = 85, 70
)

// picture is a picture made ready to be sent: upright, and without what the camera wrote into its file.
type picture struct {
	data  []byte
	media string
	thumb []byte
	side  image.Point // of the thumbnail
}

// isPicture reports whether files of a media type are made ready as pictures.
func isPicture(media string) bool {
	return media == "image/jpeg" || media == "image/png" || media == "image/webp"
}

// decoders by media type. They are called by what the bytes begin with, so that no decoder is
// registered for the whole program.
func decodePicture(media string, data []byte) (image.Image, error) {
	r := bytes.NewReader(data)
	switch media {
	case "image/jpeg":
		return jpeg.Decode(r)
	case "image/png":
		return png.Decode(r)
	default:
		return webp.Decode(r)
	}
}

func pictureConfig(media string, data []byte) (image.Config, error) {
	r := bytes.NewReader(data)
	switch media {
	case "image/jpeg":
		return jpeg.DecodeConfig(r)
	case "image/png":
		return png.DecodeConfig(r)
	default:
		return webp.DecodeConfig(r)
	}
}

// checkPicture looks at the measures before anything is decoded: a small file can
// claim a picture that fills the memory.
func checkPicture(media string, data []byte) error {
	c, err := pictureConfig(media, data)
	if err != nil {
		return invalid("the picture is damaged: %v; send it as it is if it must go (--as-is), with all that its file holds", err)
	}
	if c.Width < 1 || c.Height < 1 || pictureMemory(media, data, c) > maxPictureMemory {
		return invalid("the picture claims %d by %d pixels, which is too large; make it smaller, or send it as it is (--as-is)", c.Width, c.Height)
	}
	return nil
}

// readyPicture decodes a picture, paints the regions black, turns it upright, makes it at most pictureSide long and encodes it anew: what
// the camera noted of place, time and owner stays behind. Regions are in pixels of the upright picture in its full size.
func readyPicture(media string, data []byte, regions []image.Rectangle) (*picture, error) {
	if err := checkPicture(media, data); err != nil {
		return nil, err
	}
	img, err := decodePicture(media, data)
	if err != nil {
		return nil, invalid("the picture is damaged: %v; send it as it is if it must go (--as-is), with all that its file holds", err)
	}
	turn, sure := orientation(media, data)
	if len(regions) > 0 && !sure {
		return nil, errTurned
	}
	if img, err = blackOut(img, turn, regions); err != nil {
		return nil, err
	}
	img = upright(shrink(img, pictureSide), turn)
	p := &picture{media: media}
	var out bytes.Buffer
	if media == "image/png" {
		err = png.Encode(&out, img)
	} else {
		p.media = "image/jpeg"
		err = jpeg.Encode(&out, onWhite(img), &jpeg.Options{Quality: pictureQuality})
	}
	if err != nil {
		return nil, fmt.Errorf("node: the picture cannot be encoded: %w", err)
	}
	p.data = out.Bytes()
	p.thumb, p.side, err = thumbnail(img)
	return p, err
}

// thumbnail encodes a small picture of img.
func thumbnail(img image.Image) ([]byte, image.Point, error) {
	small := shrink(img, thumbSide)
	var out bytes.Buffer
	if err := jpeg.Encode(&out, onWhite(small), &jpeg.Options{Quality: thumbQuality}); err != nil {
		return nil, image.Point{}, fmt.Errorf("node: the thumbnail cannot be encoded: %w", err)
	}
	if out.Len() > message.ChunkSize { // 320 by 320 pixels of noise take a third of it
		return nil, image.Point{}, fmt.Errorf("node: the thumbnail has %d bytes", out.Len())
	}
	return out.Bytes(), small.Bounds().Size(), nil
}

// redrawThumb decodes a thumbnail that came from another device and encodes it
// anew, so that what a page shows was made here.
func redrawThumb(data []byte) ([]byte, error) {
	c, err := jpeg.DecodeConfig(bytes.NewReader(data))
	if err != nil || c.Width > message.MaxThumbSide || c.Height > message.MaxThumbSide {
		return nil, invalid("the thumbnail is none")
	}
	img, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, invalid("the thumbnail is damaged")
	}
	out, _, err := thumbnail(img)
	return out, err
}

// shrink makes the longer side of img at most side pixels.
func shrink(img image.Image, side int) image.Image {
	size := img.Bounds().Size()
	long := max(size.X, size.Y)
	if long <= side {
		return img
	}
	to := image.Rect(0, 0, max(size.X*side/long, 1), max(size.Y*side/long, 1))
	small := image.NewRGBA(to)
	draw.ApproxBiLinear.Scale(small, to, img, img.Bounds(), draw.Src, nil)
	return small
}

// onWhite lays a picture with transparent parts on white, which JPEG cannot hold.
func onWhite(img image.Image) image.Image {
	if o, ok := img.(interface{ Opaque() bool }); ok && o.Opaque() {
		return img
	}
	out := image.NewRGBA(image.Rectangle{Max: img.Bounds().Size()})
	draw.Draw(out, out.Bounds(), image.White, image.Point{}, draw.Src)
	draw.Draw(out, out.Bounds(), img, img.Bounds().Min, draw.Over)
	return out
}

// upright turns a picture by its EXIF orientation, 1 to 8.
func upright(img image.Image, turn int) image.Image {
	if turn < 2 || turn > 8 {
		return img
	}
	b := img.Bounds()
	w, h := b.Dx(), b.Dy()
	size := image.Rect(0, 0, w, h)
	if turn >= 5 {
		size = image.Rect(0, 0, h, w)
	}
	out := image.NewRGBA(size)
	for y := range size.Dy() {
		for x := range size.Dx() {
			from := lying(turn, w, h, image.Pt(x, y))
			out.Set(x, y, img.At(b.Min.X+from.X, b.Min.Y+from.Y))
		}
	}
	return out
}

// lying returns where a pixel of the upright picture lies in one of w by h pixels that is turned so.
func lying(turn, w, h int, p image.Point) image.Point {
	switch turn {
	case 2:
		return image.Pt(w-1-p.X, p.Y)
	case 3:
		return image.Pt(w-1-p.X, h-1-p.Y)
	case 4:
		return image.Pt(p.X, h-1-p.Y)
	case 5:
		return image.Pt(p.Y, p.X)
	case 6:
		return image.Pt(p.Y, h-1-p.X)
	case 7:
		return image.Pt(w-1-p.Y, h-1-p.X)
	case 8:
		return image.Pt(w-1-p.Y, p.X)
	}
	return p
}
