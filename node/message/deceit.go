package message

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// What a reader cannot see, or would take for something else, is refused in every text: a dose must not change by a mark that nobody
// sees, and a name must not be another one's in other letters. The tables are those of Unicode (UAX #9, UAX #44, UTS #39).

// maxMarks is the most marks that one letter may carry: more than any language needs, and too few to write over the lines around.
const maxMarks = 8

// hidden finds characters that act on a screen or on the text around them and are not seen: controls, marks that turn the
// direction of writing, separators that end a line, spaces without width, fillers, and the tags of U+E0000. The two joiners stay, which
// letters and emoji need, and so do the signs of Arabic that are seen though Unicode counts them among formats.
func hidden(r rune) bool {
	switch {
	case r == '\n' || r == '\t' || r == 0x200C || r == 0x200D:
		return false
	case unicode.IsControl(r), r == 0x2028, r == 0x2029:
		return true
	case unicode.Is(unicode.Cf, r):
		return !unicode.Is(unicode.Prepended_Concatenation_Mark, r)
	case unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r), r == 0x2800: // the braille cell without dots
		return true
	}
	return r >= 0xE0100 && r <= 0xE01EF || r >= 0x180B && r <= 0x180D // selectors that no picture needs, and that carry words unseen
}

// disguised finds a character that stands among others as one of theirs and is of another alphabet, -1 for none: a Cyrillic letter in a
// Latin word, a Greek capital that looks Latin, a digit of another script beside ASCII ones, or marks piled on one letter. µg, IFNγ
// and whole words of any alphabet are left alone.
func disguised(s string) int {
	latin, other, marks := false, -1, 0
	var digit rune
	for i, r := range s {
		switch {
		case unicode.Is(unicode.Nd, r):
			if digit != 0 && (digit < utf8.RuneSelf) != (r < utf8.RuneSelf) {
				return i
			}
			digit = r
			continue
		case unicode.Is(unicode.M, r):
			if marks++; marks > maxMarks {
				return i
			}
			continue
		}
		digit, marks = 0, 0
		switch {
		case !unicode.IsLetter(r):
			latin, other = false, -1
		case unicode.Is(unicode.Latin, r):
			latin = true
		case other < 0 && looksLatin(r):
			other = i
		}
		if latin && other >= 0 {
			return other
		}
	}
	return -1
}

// looksLatin reports whether a letter is of an alphabet many of whose letters are drawn as Latin ones are, or one of the Greek that
// are.
func looksLatin(r rune) bool {
	return unicode.In(r, unicode.Cyrillic, unicode.Armenian, unicode.Cherokee, unicode.Lisu, unicode.Coptic) ||
		strings.ContainsRune("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧοϲϳ", r)
}

func visible(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) }

// Clean makes a text that was pasted fit to send, as [NewText] does, and takes the space off both ends.
func Clean(s string) string { return strings.TrimSpace(plain(s)) }

// plain turns line ends of other systems into a plain new line and leaves out hidden characters that carry no meaning; the rules
// of a text refuse them. What is not UTF-8 stays as it is, to be refused.
func plain(s string) string {
	if !utf8.ValidString(s) {
		return s
	}
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u2028", "\n", "\u2029", "\n", "\u00a0", " ").Replace(s)
	s = strings.Map(func(r rune) rune {
		if hidden(r) && !unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
	return s
}
