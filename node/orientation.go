package node

import (
	"bytes"
	"encoding/binary"
)

// A file can say that its picture is to be shown turned (EXIF 2.3, tag 0x0112). Who draws over a face draws on what a browser shows, so that
// black is painted only where there is no doubt how that was turned: where every browser reads the file as this device does.

// errTurned refuses to black out a picture of which it is not certain which way up people see it.
var errTurned = invalid("nothing can be blacked out in this picture: its file says that it is turned, in a way that not every program heeds, so that the black could land beside what must not be seen; save it anew as a JPEG, or send a screenshot of it")

// orientation is how the picture of a file is turned, 1 (upright) to 8; 1 where its file says nothing that can be read. It is sure
// where all browsers agree: of a JPEG with at most one plain note, and of a PNG or WebP without a note that it is turned.
func orientation(media string, data []byte) (turn int, sure bool) {
	var notes [][]byte
	whole := true
	switch media {
	case "image/jpeg":
		notes, whole = jpegNotes(data)
	case "image/png":
		notes, whole = pngNotes(data)
	default:
		notes, whole = webpNotes(data)
	}
	if len(notes) == 0 {
		return 1, whole
	}
	turn, sure = exifOrientation(notes[0])
	sure = sure && whole && len(notes) == 1 && (media == "image/jpeg" || turn == 1)
	return turn, sure
}

// exifMark is before the EXIF data of a JPEG, and of some a WebP.
var exifMark = []byte("Exif\x00\x00")

// jpegNotes returns the EXIF data before the picture itself (ITU-T T.81, B.1.1); whole is false where the segments cannot be told apart.
func jpegNotes(data []byte) (notes [][]byte, whole bool) {
	for at := 2; at+2 <= len(data); {
		marker := data[at+1]
		switch {
		case data[at] != 0xff:
			return notes, false
		case marker == 0xff: // a fill byte
			at++
			continue
		case marker == 0x01, marker >= 0xd0 && marker <= 0xd7: // without a length
			at += 2
			continue
		case marker == 0xda:
			return notes, true
		case marker == 0x00, marker == 0xd8, marker == 0xd9, at+4 > len(data):
			return notes, false
		}
		end := at + 2 + int(binary.BigEndian.Uint16(data[at+2:]))
		if end < at+4 || end > len(data) {
			return notes, false
		}
		segment := data[at+4 : end]
		if rest, ok := bytes.CutPrefix(segment, exifMark); ok && marker == 0xe1 {
			notes = append(notes, rest)
		} else if marker == 0xe1 && bytes.HasPrefix(segment, exifMark[:4]) {
			return notes, false
		}
		at = end
	}
	return notes, false
}

// pngNotes returns the eXIf chunks (PNG, third edition, 11.3.3.5), wherever they stand.
func pngNotes(data []byte) (notes [][]byte, whole bool) {
	for at := 8; at+12 <= len(data); {
		size := int64(binary.BigEndian.Uint32(data[at:]))
		if size > int64(len(data)-at-12) {
			return notes, false
		}
		body := data[at+8 : at+8+int(size)]
		switch string(data[at+4 : at+8]) {
		case "eXIf":
			notes = append(notes, body)
		case "tEXt", "zTXt", "iTXt":
			if bytes.HasPrefix(body, []byte("Raw profile type exif")) || bytes.HasPrefix(body, []byte("Raw profile type APP1")) {
				return notes, false // EXIF as it was kept before there was a chunk for it; some read it
			}
		case "IEND":
			return notes, true
		}
		at += 12 + int(size)
	}
	return notes, false
}

// webpNotes returns the EXIF chunks (RFC 9649, 2.7.1.5).
func webpNotes(data []byte) (notes [][]byte, whole bool) {
	at := 12
	for at+8 <= len(data) {
		size := int64(binary.LittleEndian.Uint32(data[at+4:]))
		if size > int64(len(data)-at-8) {
			return notes, false
		}
		if string(data[at:at+4]) == "EXIF" {
			notes = append(notes, bytes.TrimPrefix(data[at+8:at+8+int(size)], exifMark))
		}
		at += 8 + int(size+size&1)
	}
	return notes, at >= len(data)
}

// exifOrientation reads the orientation of EXIF data: 1, and sure, where the first directory has none; 1 and not sure where it
// cannot be read, or says it in another form than the one that EXIF gives.
func exifOrientation(tiff []byte) (turn int, sure bool) {
	var order binary.ByteOrder = binary.BigEndian
	switch {
	case len(tiff) < 8:
		return 1, false
	case bytes.HasPrefix(tiff, []byte("II*\x00")):
		order = binary.LittleEndian
	case !bytes.HasPrefix(tiff, []byte("MM\x00*")):
		return 1, false
	}
	at := int64(order.Uint32(tiff[4:]))
	if at+2 > int64(len(tiff)) {
		return 1, false
	}
	turn, sure = 1, true
	entries, found := tiff[at+2:], false
	for range order.Uint16(tiff[at:]) {
		if len(entries) < 12 {
			return turn, false
		}
		if order.Uint16(entries) == 0x0112 {
			value := int(order.Uint16(entries[8:]))
			plain := order.Uint16(entries[2:]) == 3 && order.Uint32(entries[4:]) == 1 && value >= 1 && value <= 8
			if plain && !found {
				turn = value
			}
			sure, found = sure && plain && !found, true
		}
		entries = entries[12:]
	}
	return turn, sure
}
