package message

import (
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of an attachment (design, protocol section 7).
const (
	// ChunkSize is how many bytes of a file one chunk holds; the last chunk holds the rest.
	ChunkSize = 60 << 10
	// MaxAttachment is the largest file in bytes: its manifest of 1,093 chunks fits MaxEncoded.
	MaxAttachment = 64 << 20
	// MaxName, MaxMedia and MaxCaption are the most bytes of a file's name, its media type and what is said with it.
	MaxName    = 200
	MaxMedia   = 100
	MaxCaption = 1000
	// MaxThumbSide is the longest side of a thumbnail in pixels.
	MaxThumbSide = 512
)

// Attachment is the manifest of a file: what it is, the key of its chunks and their names. Who can read the message can
// fetch and open the chunks; nobody else can, and with the message the key is erased.
type Attachment struct {
	// Name is the file's: 1 to MaxName bytes of UTF-8 that are safe as a name on every system (see CleanName).
	Name string
	// Media is the media type that the sender's device found, such as "image/jpeg". It is a claim: nothing is run or shown
	// because of it.
	Media string
	// Size is the file's length in bytes, 1 to MaxAttachment.
	Size int64
	// SHA256 is the hash of the whole file.
	SHA256 [32]byte
	// Key is random. The key of each chunk derives from it (node/ATTACHMENTS.md).
	Key [32]byte
	// Caption is what is said with it, at most MaxCaption bytes; empty for nothing.
	Caption string
	// Chunks are the names of the sealed chunks in order, SHA-256 of each: Size divided by ChunkSize, rounded up.
	Chunks [][32]byte
	// Thumb is a small picture of it, fetched before the rest; nil for none.
	Thumb *Thumb
}

// Thumb is a thumbnail: a JPEG in one chunk of its own.
type Thumb struct {
	Chunk         [32]byte // its name
	Size          int      // bytes of the JPEG, 1 to ChunkSize
	Width, Height int      // pixels, 1 to MaxThumbSide
}

// NewAttachment returns an attachment message; [Encode] checks it.
func NewAttachment(a Attachment, sent time.Time) Message {
	return Message{Kind: KindAttachment, Sent: sent, Attachment: &a}
}

// Names returns the names of all chunks, the thumbnail's first.
func (a *Attachment) Names() [][32]byte {
	out := make([][32]byte, 0, len(a.Chunks)+1)
	if a.Thumb != nil {
		out = append(out, a.Thumb.Chunk)
	}
	return append(out, a.Chunks...)
}

// ChunkLen returns how many bytes of the file chunk i holds.
func (a *Attachment) ChunkLen(i int) int {
	return int(min(a.Size-int64(i)*ChunkSize, ChunkSize))
}

// Words says what it is for a reader: name, size and caption. It is content.
func (a *Attachment) Words() string {
	w := fmt.Sprintf("Attachment: %s (%s)", a.Name, SizeWords(a.Size))
	if a.Caption != "" {
		w += "\n" + a.Caption
	}
	return w
}

// SizeWords writes a number of bytes for people, in the units of SI.
func SizeWords(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d %s", n, plural(int(n), "byte", "bytes"))
	case n < 999_500:
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	default:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
}

// LogValue implements slog.LogValuer: sizes, never the name or the key.
func (a Attachment) LogValue() slog.Value { return slog.StringValue(a.String()) }

// String describes the attachment without its content.
func (a Attachment) String() string {
	return fmt.Sprintf("attachment of %d bytes in %d chunks (content withheld)", a.Size, len(a.Chunks))
}

// GoString does the same for %#v.
func (a Attachment) GoString() string { return a.String() }

func (a *Attachment) validate() error {
	if err := checkName(a.Name); err != nil {
		return err
	}
	if !isMedia(a.Media) {
		return fmt.Errorf("%w: the media type of the file is not one; write for example application/pdf", ErrInvalid)
	}
	if a.Size < 1 || a.Size > MaxAttachment {
		return fmt.Errorf("%w: the file has %d bytes, allowed are 1 to %d; send it in parts", ErrInvalid, a.Size, MaxAttachment)
	}
	if want := (a.Size + ChunkSize - 1) / ChunkSize; int64(len(a.Chunks)) != want {
		return fmt.Errorf("%w: a file of this size has %d chunks, %d are named", ErrInvalid, want, len(a.Chunks))
	}
	if a.Key == ([32]byte{}) {
		return fmt.Errorf("%w: the attachment has no key", ErrInvalid)
	}
	if a.Caption != "" {
		if len(a.Caption) > MaxCaption {
			return fmt.Errorf("%w: the caption has %d bytes, at most %d fit; send the rest as a message", ErrInvalid, len(a.Caption), MaxCaption)
		}
		if err := (&Text{Body: a.Caption}).validate(); err != nil {
			return err
		}
	}
	if t := a.Thumb; t != nil && (t.Size < 1 || t.Size > ChunkSize || t.Width < 1 || t.Width > MaxThumbSide || t.Height < 1 || t.Height > MaxThumbSide) {
		return fmt.Errorf("%w: the thumbnail is larger than %d bytes or %d pixels", ErrInvalid, ChunkSize, MaxThumbSide)
	}
	return nil
}

// checkName refuses a name that would be another path, a hidden file, an option or another name than the one that is shown: whoever
// saves the file uses it as a name.
func checkName(name string) error {
	if name == "" || len(name) > MaxName || !utf8.ValidString(name) {
		return fmt.Errorf("%w: a file's name has 1 to %d bytes of UTF-8; give it another name", ErrInvalid, MaxName)
	}
	if name != CleanName(name) {
		return fmt.Errorf("%w: the file's name is not safe to save it under; give it a plain name", ErrInvalid)
	}
	return nil
}

// reserved are the characters that a name may not hold on some system.
const reserved = `/\:*?"<>|`

// devices are names that Windows keeps for devices, whatever their extension.
var devices = map[string]bool{"con": true, "prn": true, "aux": true, "nul": true}

// CleanName returns the name under which a file can be sent and saved anywhere: without a path, control and formatting characters (which can
// show "exe.gpj" the other way round), a dot or a hyphen at its beginning, or what some system reserves; "file" where nothing is left.
func CleanName(name string) string {
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	name = strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r):
			return -1
		case strings.ContainsRune(reserved, r):
			return '_'
		}
		return r
	}, name)
	name = strings.TrimRight(strings.TrimLeft(name, ".- "), ". ")
	base, _, _ := strings.Cut(strings.ToLower(name), ".")
	if port := strings.TrimRight(base, "0123456789"); devices[base] || len(base) == 4 && (port == "com" || port == "lpt") {
		name = "file-" + name
	}
	name = cutName(name)
	if name == "" {
		return "file"
	}
	return name
}

// cutName shortens a name to what fits, and keeps its extension.
func cutName(name string) string {
	const most = MaxName
	if len(name) <= most {
		return name
	}
	ext := ""
	if i := strings.LastIndexByte(name, '.'); i > 0 && len(name)-i <= 12 {
		ext = name[i:]
	}
	cut := name[:most-len(ext)]
	for !utf8.ValidString(cut) {
		cut = cut[:len(cut)-1]
	}
	return strings.TrimRight(cut, ". ") + ext
}

// isMedia reports whether s is a media type without parameters, in lower case (RFC 6838 section 4.2).
func isMedia(s string) bool {
	kind, sub, ok := strings.Cut(s, "/")
	if !ok || kind == "" || sub == "" || len(s) > MaxMedia {
		return false
	}
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$&-^_.+", r)
	}
	return !strings.ContainsFunc(kind, odd) && !strings.ContainsFunc(sub, odd)
}

// wireAttachment is the content of KindAttachment; the names of the chunks stand one after another in one string.
type wireAttachment struct {
	Name    string     `cbor:"0,keyasint"`
	Media   string     `cbor:"1,keyasint"`
	Size    int64      `cbor:"2,keyasint"`
	SHA256  []byte     `cbor:"3,keyasint"`
	Key     []byte     `cbor:"4,keyasint"`
	Chunks  []byte     `cbor:"5,keyasint"`
	Caption string     `cbor:"6,keyasint,omitempty"`
	Thumb   *wireThumb `cbor:"7,keyasint,omitempty"`
}

type wireThumb struct {
	Chunk  []byte `cbor:"0,keyasint"`
	Size   int    `cbor:"1,keyasint"`
	Width  int    `cbor:"2,keyasint"`
	Height int    `cbor:"3,keyasint"`
}

func attachmentToWire(a *Attachment) wireAttachment {
	w := wireAttachment{
		Name: a.Name, Media: a.Media, Size: a.Size, SHA256: a.SHA256[:], Key: a.Key[:], Caption: a.Caption,
		Chunks: make([]byte, 0, 32*len(a.Chunks)),
	}
	for _, c := range a.Chunks {
		w.Chunks = append(w.Chunks, c[:]...)
	}
	if t := a.Thumb; t != nil {
		w.Thumb = &wireThumb{Chunk: t.Chunk[:], Size: t.Size, Width: t.Width, Height: t.Height}
	}
	return w
}

func attachmentFromWire(m *Message, w wireAttachment) error {
	if len(w.SHA256) != 32 || len(w.Key) != 32 || len(w.Chunks)%32 != 0 || w.Thumb != nil && len(w.Thumb.Chunk) != 32 {
		return fmt.Errorf("%w: a hash or the key of the attachment has not 32 bytes", ErrInvalid)
	}
	a := &Attachment{
		Name: w.Name, Media: w.Media, Size: w.Size, SHA256: [32]byte(w.SHA256), Key: [32]byte(w.Key), Caption: w.Caption,
		Chunks: make([][32]byte, 0, len(w.Chunks)/32),
	}
	for c := w.Chunks; len(c) > 0; c = c[32:] {
		a.Chunks = append(a.Chunks, [32]byte(c))
	}
	if t := w.Thumb; t != nil {
		a.Thumb = &Thumb{Chunk: [32]byte(t.Chunk), Size: t.Size, Width: t.Width, Height: t.Height}
	}
	m.Attachment = a
	return nil
}
