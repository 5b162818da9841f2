package message

import (
	"strings"
	"unicode"
)

// DigitOf returns the value of a decimal digit of any script, full-width ones too (Unicode category Nd, whose digits stand in runs from 0 to 9);
// false for everything else.
func DigitOf(r rune) (value int, ok bool) {
	if r < 0x80 {
		return int(r - '0'), r >= '0' && r <= '9'
	}
	if !unicode.Is(unicode.Nd, r) {
		return 0, false
	}
	for _, in := range unicode.Nd.R16 {
		if lo, hi := rune(in.Lo), rune(in.Hi); r >= lo && r <= hi {
			return int(r-lo) % 10, true
		}
	}
	for _, in := range unicode.Nd.R32 {
		if lo, hi := rune(in.Lo), rune(in.Hi); r >= lo && r <= hi {
			return int(r-lo) % 10, true
		}
	}
	return 0, false
}

// FoldDigits writes every decimal digit of a text as one of 0 to 9. Nothing else changes.
func FoldDigits(s string) string {
	return strings.Map(func(r rune) rune {
		if value, ok := DigitOf(r); ok {
			return '0' + rune(value)
		}
		return r
	}, s)
}
