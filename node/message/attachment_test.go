package message

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// file is the manifest of a file of so many bytes.
func file(size int64) Attachment {
	a := Attachment{Name: "plan.pdf", Media: "application/pdf", Size: size, SHA256: id(1), Key: id(2)}
	for i := range (size + ChunkSize - 1) / ChunkSize {
		a.Chunks = append(a.Chunks, id(byte(10+i)))
	}
	return a
}

func photo() Attachment {
	a := file(5)
	a.Name, a.Media, a.Caption = "ward 5.jpg", "image/jpeg", "The north stair\nis blocked"
	a.Thumb = &Thumb{Chunk: id(9), Size: 4000, Width: 320, Height: 240}
	a.Shows, a.Consent, a.Purpose, a.Blackout = ShowsPatient, ConsentPatient, "Advice on the wound from plastics", num(2)
	a.AskedBy, a.Witness = PersonAddress("nhs.example/gmc/7654321"), PersonAddress("nhs.example/nmc/01A0001E")
	return a
}

func drawFile(t *rapid.T, caption string) Attachment {
	a := file(rapid.Int64Range(1, 20*ChunkSize).Draw(t, "size"))
	a.Name = CleanName(rapid.String().Draw(t, "name"))
	if rapid.Bool().Draw(t, "thumb") {
		a.Thumb = &Thumb{Chunk: id(7), Size: rapid.IntRange(1, ChunkSize).Draw(t, "thumb size"), Width: MaxThumbSide, Height: 1}
	}
	if len(caption) <= MaxCaption {
		a.Caption = caption
	}
	return a
}

func TestLargestAttachmentFits(t *testing.T) {
	a := file(MaxAttachment)
	a.Name, a.Media = strings.Repeat("n", MaxName), "image/"+strings.Repeat("m", MaxMedia-6)
	a.Shows, a.Consent, a.Purpose, a.Blackout = ShowsPatient, ConsentBestInterests, strings.Repeat("p", MaxLine), num(MaxBlackout)
	a.AskedBy, a.Witness = "person:"+strings.Repeat("a", MaxAddress-11)+"/b/c", "person:"+strings.Repeat("b", MaxAddress-11)+"/b/c"
	a.Caption, a.Thumb = strings.Repeat("c", MaxCaption), &Thumb{Size: ChunkSize, Width: MaxThumbSide, Height: MaxThumbSide}
	if b, err := Encode(NewAttachment(a, sent)); err != nil {
		t.Errorf("%d bytes: %v", len(b), err)
	}
}

func TestAttachmentRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Attachment){
		"no name":          func(a *Attachment) { a.Name = "" },
		"a path":           func(a *Attachment) { a.Name = "../x" },
		"hidden":           func(a *Attachment) { a.Name = ".profile" },
		"an option":        func(a *Attachment) { a.Name = "-rf" },
		"turned round":     func(a *Attachment) { a.Name = "photo\u202egpj.exe" },
		"control in name":  func(a *Attachment) { a.Name = "a\x1bb" },
		"a device":         func(a *Attachment) { a.Name = "NUL.txt" },
		"long name":        func(a *Attachment) { a.Name = strings.Repeat("x", MaxName+1) },
		"no media":         func(a *Attachment) { a.Media = "" },
		"media with more":  func(a *Attachment) { a.Media = "text/html; charset=utf-8" },
		"media in capital": func(a *Attachment) { a.Media = "Text/html" },
		"empty":            func(a *Attachment) { a.Size, a.Chunks = 0, nil },
		"too large":        func(a *Attachment) { *a = file(MaxAttachment + 1) },
		"a chunk too few":  func(a *Attachment) { a.Chunks = nil },
		"a chunk too many": func(a *Attachment) { a.Chunks = append(a.Chunks, id(1)) },
		"no key":           func(a *Attachment) { a.Key = [32]byte{} },
		"long caption":     func(a *Attachment) { a.Caption = strings.Repeat("x", MaxCaption+1) },
		"escape":           func(a *Attachment) { a.Caption = "a\x1b[2J" },
		"empty thumb":      func(a *Attachment) { a.Thumb.Size = 0 },
		"large thumb":      func(a *Attachment) { a.Thumb.Width = MaxThumbSide + 1 },
	} {
		a := photo()
		spoil(&a)
		if _, err := Encode(NewAttachment(a, sent)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCleanName(t *testing.T) {
	for given, want := range map[string]string{
		"a.pdf": "a.pdf", "/etc/passwd": "passwd", `C:\Users\x\b.doc`: "b.doc", "..": "file", ".bashrc": "bashrc", "-rf": "rf",
		"con": "file-con", "LPT1.txt": "file-LPT1.txt", "compost": "compost", "a?b*": "a_b_", "x\u202egpj.exe": "xgpj.exe", "a. .": "a", "Ward 5 – plan.odt": "Ward 5 – plan.odt",
		strings.Repeat("é", 150) + ".jpeg": strings.Repeat("é", 97) + ".jpeg",
	} {
		if got := CleanName(given); got != want {
			t.Errorf("%q becomes %q, want %q", given, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		name := CleanName(rapid.StringN(0, 300, -1).Draw(t, "name"))
		if again := CleanName(name); again != name || len(name) > MaxName || !utf8.ValidString(name) {
			t.Fatalf("%q is cleaned to %q", name, again)
		}
	})
}

func TestAttachmentWords(t *testing.T) {
	if got := NewAttachment(photo(), sent).Summary(); got != "Attachment: ward 5.jpg (5 bytes) The north stair is blocked" {
		t.Errorf("summary %q", got)
	}
	for n, want := range map[int64]string{1: "1 byte", 999: "999 bytes", 20_480: "20 kB", 999_500: "1.0 MB", 20_000_000: "20.0 MB"} {
		if got := SizeWords(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
