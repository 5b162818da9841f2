package node

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
)

// What decoding takes, in bytes a pixel, where a file does not say enough to tell it better.
const (
	// worstJPEG: four components, progressive (one byte of picture and four of coefficients
	// each), and the picture that is put together of them.
	worstJPEG = 4*(1+4) + 4
	// worstWebP: a lossless plane that is unpacked from a palette (two copies of 4), the
	// transparency taken from it, and the colours.
	worstWebP = 4 + 4 + 1 + 2
	// lossyWebP: 4:2:0, with room for the blocks at the edges.
	lossyWebP = 2
)

// pictureMemory is about how many bytes the decoder takes at its peak for a picture, never much less: by what
// the headers claim, before anything is decoded.
func pictureMemory(media string, data []byte, c image.Config) int64 {
	pixels := int64(c.Width) * int64(c.Height)
	switch media {
	case "image/jpeg":
		return jpegMemory(data, pixels)
	case "image/png":
		return pngMemory(data, c.ColorModel, pixels)
	default:
		return webpMemory(data) * pixels
	}
}

// jpegMemory goes by the frame header (ITU-T T.81, B.2.2): how finely each component is sampled, and whether the
// picture is progressive, for then every coefficient is held in 4 bytes until the end. Where the segments before it
// are not in plain order, the worst is taken.
func jpegMemory(data []byte, pixels int64) int64 {
	marker, frame := jpegFrame(data)
	if len(frame) < 6 || len(frame) != 6+3*int(frame[5]) {
		return worstJPEG * pixels
	}
	h0, v0, samples := int64(1), int64(1), int64(1)
	if frame[5] > 1 { // of one component there is one sample a pixel, whatever it says
		h0, v0, samples = int64(frame[7]>>4), int64(frame[7]&15), 0
		for i := range int(frame[5]) {
			samples += int64(frame[7+3*i]>>4) * int64(frame[7+3*i]&15)
		}
	}
	if h0 == 0 || v0 == 0 {
		return worstJPEG * pixels
	}
	height, width := int64(binary.BigEndian.Uint16(frame[1:])), int64(binary.BigEndian.Uint16(frame[3:]))
	units := (width + 8*h0 - 1) / (8 * h0) * ((height + 8*v0 - 1) / (8 * v0))
	need := units * 64 * samples
	if marker == sofProgressive {
		need *= 1 + 4
	}
	// RGB and CMYK are put together into a picture of their own. Which they are may be
	// said after the frame.
	if frame[5] == 4 || frame[5] == 3 && (frame[6] == 'R' || bytes.Contains(data, []byte("Adobe"))) {
		need += 4 * pixels
	}
	return need
}

// sofProgressive is the marker of the frame header of a progressive JPEG, after those of the two
// other kinds that can be decoded.
const (
	sofBaseline    = 0xc0
	sofProgressive = 0xc2
)

// jpegFrame returns the frame header and its marker; nil where anything but plain segments comes before it.
func jpegFrame(data []byte) (marker byte, frame []byte) {
	for at := 2; at+4 <= len(data) && data[at] == 0xff; {
		marker, length := data[at+1], int(binary.BigEndian.Uint16(data[at+2:]))
		if length < 2 || at+2+length > len(data) {
			return 0, nil
		}
		switch {
		case marker >= sofBaseline && marker <= sofProgressive:
			return marker, data[at+4 : at+2+length]
		case marker >= 0xe0 && marker <= 0xef, marker == 0xfe, marker == 0xc4, marker == 0xdb, marker == 0xdd:
			at += 2 + length
		default:
			return 0, nil
		}
	}
	return 0, nil
}

// pngMemory goes by the colour model, and by whether the picture is interlaced: then passes of up to half of it
// are decoded apart.
func pngMemory(data []byte, m color.Model, pixels int64) int64 {
	perPixel := int64(4)
	switch m {
	case color.GrayModel:
		if perPixel = 1; bytes.Contains(data, []byte("tRNS")) { // a shade that is transparent
			perPixel = 4
		}
	case color.Gray16Model, color.RGBA64Model, color.NRGBA64Model:
		perPixel = 8
	}
	const interlace = 28 // of the file, in the header (PNG, 11.2.1)
	if len(data) > interlace && data[interlace] != 0 {
		return perPixel * pixels * 3 / 2
	}
	return perPixel * pixels
}

// webpMemory returns bytes a pixel, by which chunks come before the picture: the header alone does not tell
// whether it is lossless.
func webpMemory(data []byte) int64 {
	for at := int64(12); at+8 <= int64(len(data)); {
		switch string(data[at : at+4]) {
		case "VP8 ":
			return lossyWebP
		case "ALPH", "VP8L":
			return worstWebP
		}
		size := int64(binary.LittleEndian.Uint32(data[at+4:]))
		at += 8 + size + size&1
	}
	return worstWebP
}
