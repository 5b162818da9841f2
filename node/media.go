package node

import (
	"bytes"
	"net/http"
	"strings"

	"tocsin/node/message"
)

// What a file is decides whether anybody is asked about a patient, so that nothing that shows one may pass for a document: every form
// that telephones and cameras write is known by what it begins with, whatever its name says.

// beginnings are of forms that [http.DetectContentType] does not know.
var beginnings = []struct{ begin, media string }{
	{"II*\x00", "image/tiff"}, {"MM\x00*", "image/tiff"}, // and most raw pictures of cameras
	{"II+\x00", "image/tiff"}, {"MM\x00+", "image/tiff"},
	{"IIU\x00", "image/x-raw"}, {"IIRO", "image/x-raw"}, {"IIRS", "image/x-raw"}, {"FUJIFILMCCD-RAW", "image/x-raw"},
	{"II\xbc\x01", "image/jxr"},
	{"\xff\x0a", "image/jxl"}, {"\x00\x00\x00\x0cJXL \r\n\x87\n", "image/jxl"},
	{"\xff\x4f\xff\x51", "image/jp2"}, {"\x00\x00\x00\x0cjP  \r\n\x87\n", "image/jp2"},
	{"8BPS", "image/vnd.adobe.photoshop"},
	{"\x00\x00\x01\xba", "video/mpeg"}, {"\x00\x00\x01\xb3", "video/mpeg"},
	{"FLV\x01", "video/x-flv"}, {"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-asf"},
}

// mediaOf is the media type of a file that begins so.
func mediaOf(head []byte) string {
	if media := boxMedia(head); media != "" {
		return media
	}
	for _, f := range beginnings {
		if bytes.HasPrefix(head, []byte(f.begin)) {
			return f.media
		}
	}
	for _, first := range []int{0, 4} { // packets of a transport stream, in cameras with a time before each
		if packet := 188 + first; len(head) > first+2*packet && head[first] == 'G' && head[first+packet] == 'G' && head[first+2*packet] == 'G' {
			return "video/mp2t"
		}
	}
	media, _, _ := strings.Cut(http.DetectContentType(head), ";")
	return media
}

// boxMedia is the media type of a file of boxes (ISO/IEC 14496-12, and QuickTime before it); empty for what is none. What its brand does
// not tell to be something else is taken for a film.
func boxMedia(head []byte) string {
	if len(head) < 12 || head[0] > 4 { // the first box of a file that can be sent is shorter than 80 MiB; and no text begins so
		return ""
	}
	switch string(head[4:8]) {
	case "ftyp":
	case "moov", "mdat", "wide", "free", "skip", "pnot":
		return "video/quicktime"
	default:
		return ""
	}
	switch brand := string(head[8:12]); brand {
	case "heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs", "mif1", "mif2", "msf1", "mif3", "miaf", "1pic":
		return "image/heic"
	case "avif", "avis":
		return "image/avif"
	case "jxl ":
		return "image/jxl"
	case "jp2 ", "jpx ", "jpm ", "mjp2":
		return "image/jp2"
	case "crx ":
		return "image/x-canon-cr3"
	case "M4A ", "M4B ", "M4P ":
		return "audio/mp4"
	case "qt  ":
		return "video/quicktime"
	}
	return "video/mp4"
}

// noted reports whether files of a media type may hold what a camera noted, and are not made ready here.
func noted(media string) bool {
	switch media {
	case "image/gif", "image/bmp", "image/x-icon":
		return false // no camera writes them
	}
	return message.IsPicture(media) && !isPicture(media)
}

// isFilm reports whether a media type is a film's.
func isFilm(media string) bool { return strings.HasPrefix(media, "video/") }
