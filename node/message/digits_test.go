package message

import (
	"testing"
	"unicode"
)

func TestDigits(t *testing.T) {
	for s, want := range map[string]string{
		"０１２３４５６７８９":          "0123456789", // full-width
		"٠١٢٣٤٥٦٧٨٩":          "0123456789", // Arabic-Indic
		"۰۱۲۳۴۵۶۷۸۹":          "0123456789", // Persian
		"०१२३४५६७८९":          "0123456789", // Devanagari
		"𝟎𝟏𝟐𝟗𝟘𝟡𝟶𝟿":            "01290909",   // mathematical
		"A-017 é ² ½ Ⅷ x\xff": "A-017 é ² ½ Ⅷ x\ufffd",
	} {
		if got := FoldDigits(s); got != want {
			t.Errorf("%q is %q, want %q", s, got, want)
		}
	}
}

// Unicode gives every script its ten digits in a row, and so does the table that DigitOf counts by.
func TestDigitsStandInRuns(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		value, ok := DigitOf(r)
		if ok != unicode.Is(unicode.Nd, r) {
			t.Fatalf("%U: a digit: %v", r, ok)
		}
		if ok && value > 0 {
			if before, _ := DigitOf(r - 1); before != value-1 {
				t.Fatalf("%U is %d, and the one before %d", r, value, before)
			}
		}
	}
}
