package message

import (
	"errors"
	"fmt"
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
	private
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
	// Shows is whether a patient can be seen in a picture; empty for what is none. Consent is then recorded with it.
	Shows   Shows
	Consent Consent
	AskedBy string // address of the person who asked; with Consent
	Purpose string // what the picture is for, as the patient was told; with Consent
	Witness string // address of the second clinician who was there; with Consent
	// Blackout is how many regions its sender's device has painted black, 0 to MaxBlackout.
	Blackout *int
}

// Thumb is a thumbnail: a JPEG in one chunk of its own.
type Thumb struct {
	Chunk         [32]byte // its name
	Size          int      // bytes of the JPEG, 1 to ChunkSize
	Width, Height int      // pixels, 1 to MaxThumbSide
}

// NewAttachment returns an attachment message; [Encode] checks it.
func NewAttachment(a Attachment, sent time.Time) Message {
	return Message{Sent: sent, Content: &a}
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

// Words says what it is for a reader: name, size and caption, and the consent where a patient is in it. It is content.
func (a *Attachment) Words() string {
	w := a.Summary()
	if a.Shows == ShowsPatient {
		w += "\n" + a.ConsentWords()
	}
	return w
}

// Summary is the file's name, size and caption.
func (a *Attachment) Summary() string {
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

func (a *Attachment) Kind() Kind { return KindAttachment }

// Fields are a person's (name and caption) and those that a device fills in.
func (a *Attachment) Fields() []Field {
	return []Field{
		{Number: 0, Name: "name", Label: "Name", Required: true, value: shapedValue{line(&a.Name, MaxName), checkName}},
		{Number: 1, Name: "media", Label: "Media type", Required: true, value: shapedValue{line(&a.Media, MaxMedia), checkMedia}},
		{Number: 2, Name: "size", Label: "Size in bytes", Required: true, value: sizeValue{&a.Size, MaxAttachment}},
		{Number: 3, Name: "sha256", Label: "SHA-256", Required: true, value: entry(&a.SHA256)},
		{Number: 4, Name: "key", Label: "Key", Required: true, value: secretValue{entry(&a.Key)}},
		{Number: 5, Name: "chunks", Label: "Chunks", Required: true, value: chunksValue{&a.Chunks}},
		{Number: 6, Name: "caption", Label: "Caption", value: prose(&a.Caption, MaxCaption)},
		{Number: 7, Name: "thumb", Label: "Thumbnail", value: thumbValue{&a.Thumb}},
		{Number: 8, Name: "shows", Label: "Is a patient in the picture?", value: choice(&a.Shows, showsChoices()...)},
		{Number: 9, Name: "consent", Label: "Consent", value: choice(&a.Consent, consentChoices()...)},
		{Number: 10, Name: "asked-by", Label: "Asked by", value: address(&a.AskedBy)},
		{Number: 11, Name: "purpose", Label: "What it is for", value: line(&a.Purpose, MaxLine)},
		{Number: 12, Name: "witness", Label: "Second clinician present", value: address(&a.Witness)},
		{Number: 13, Name: "blackout", Label: "Regions blacked out", value: number(&a.Blackout, 1, MaxBlackout, "")},
	}
}

func (a *Attachment) rules() error {
	if want := (a.Size + ChunkSize - 1) / ChunkSize; int64(len(a.Chunks)) != want {
		return fmt.Errorf("%w: a file of this size has %d chunks, %d are named", ErrInvalid, want, len(a.Chunks))
	}
	return a.CheckConsent()
}

// checkName refuses a name that would be another path, a hidden file, an option or another name than the one that is shown: whoever
// saves the file uses it as a name.
func checkName(name string) error {
	if name != CleanName(name) {
		return errors.New("is not safe to save a file under; give it a plain name")
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
		case r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || hidden(r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r):
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
	name = undisguised(cutName(name))
	if !strings.ContainsFunc(name, visible) {
		return "file"
	}
	return name
}

// undisguised puts a line in the place of every character that looks like its neighbours and is none.
func undisguised(name string) string {
	for i := disguised(name); i >= 0; i = disguised(name) {
		_, size := utf8.DecodeRuneInString(name[i:])
		name = name[:i] + "_" + name[i+size:]
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

// checkMedia refuses what is no media type without parameters, in lower case (RFC 6838 section 4.2).
func checkMedia(s string) error {
	kind, sub, ok := strings.Cut(s, "/")
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$&-^_.+", r)
	}
	if !ok || kind == "" || sub == "" || strings.ContainsFunc(kind, odd) || strings.ContainsFunc(sub, odd) {
		return errors.New("is no media type; write for example application/pdf")
	}
	return nil
}
