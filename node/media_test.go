package node

import (
	"strings"
	"testing"

	"tocsin/node/message"
)

// TestMediaOf: whatever a telephone or a camera writes is known for a picture or a film, and a document is not.
func TestMediaOf(t *testing.T) {
	t.Parallel()
	packet := "G" + strings.Repeat("\x00", 187)
	for head, want := range map[string]string{
		"\x00\x00\x00\x18ftypheic":                    "image/heic",
		"\x00\x00\x00\x18ftyphevm":                    "image/heic",
		"\x00\x00\x00\x18ftypavif":                    "image/avif",
		"\x00\x00\x00\x18ftypcrx ":                    "image/x-canon-cr3",
		"\x00\x00\x00\x14ftypqt  ":                    "video/quicktime",
		"\x00\x00\x00\x18ftypisom":                    "video/mp4",
		"\x00\x00\x00\x18ftyp3gp5":                    "video/mp4",
		"\x00\x00\x00\x18ftypwhat":                    "video/mp4",
		"\x00\x00\x00\x18ftypM4A ":                    "audio/mp4",
		"\x00\x00\x00\x08wide\x00\x00":                "video/quicktime",
		"\x00\x00\x00\x0cJXL \r\n\x87\n":              "image/jxl",
		"\xff\x0a\x00":                                "image/jxl",
		"\x00\x00\x00\x0cjP  \r\n\x87\n":              "image/jp2",
		"\xff\x4f\xff\x51\x00":                        "image/jp2",
		"II*\x00":                                     "image/tiff",
		"MM\x00*":                                     "image/tiff",
		"FUJIFILMCCD-RAW 0201":                        "image/x-raw",
		"\x1a\x45\xdf\xa3":                            "video/webm",
		"RIFF\x00\x00\x00\x00AVI LIST":                "video/avi",
		"\x00\x00\x01\xba":                            "video/mpeg",
		packet + packet + packet:                      "video/mp2t",
		"0000" + packet + "0000" + packet + "0000G00": "video/mp2t",
		"GIF89a":        "image/gif",
		"The free ride": "text/plain",
		"Good morning":  "text/plain",
		"%PDF-1.7":      "application/pdf",
		"PK\x03\x04":    "application/zip",
	} {
		got := mediaOf([]byte(head + strings.Repeat("\x00", max(0, 16-len(head)))))
		if strings.HasPrefix(want, "text/") {
			got = mediaOf([]byte(head))
		}
		if got != want {
			t.Errorf("%.24q is %s, want %s", head, got, want)
		}
		if visual := strings.HasPrefix(want, "image/") || strings.HasPrefix(want, "video/"); visual != message.IsPicture(got) || visual && got != "image/gif" && !noted(got) {
			t.Errorf("%s passes without a question", got)
		}
	}
}
