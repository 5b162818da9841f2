package record

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"tocsin/node/message"
)

// How words and numbers of a request are compared with what was written. Both sides are in Unicode normalisation form C (UAX 15), so that
// one letter is one letter however a keyboard made it; case, the kind and number of spaces, and the kind of hyphens and apostrophes make no
// difference; nor does how the digits of a number are grouped, nor of which script they are.

const (
	gap   = `[\s\p{Z}]+`         // between words: no-break spaces are not in \s
	apart = `[^\p{L}\p{N}]*`     // what may stand between the digits of one number
	dash  = `[\p{Pd}\x{2212}]`   // hyphens, dashes and the minus sign
	tick  = `['’‘ʼ\x{2032}\x60]` // apostrophes and what is typed for one
)

var (
	gaps = regexp.MustCompile(gap)
	// longNumbers are six digits or more, however they are grouped: a date, a telephone, an NHS number. Shorter ones are words: "A-017".
	longNumbers = regexp.MustCompile(`\p{Nd}(?:` + apart + `\p{Nd}){5,}`)
	dashes      = regexp.MustCompile(`^` + dash + `$`)
	ticks       = regexp.MustCompile(`^` + tick + `$`)
	// digits are the expressions of 0 to 9, each in every script.
	digits = digitClasses()
)

func normal(s string) string { return norm.NFC.String(s) }

// asPattern is the expression that finds words in every spelling, in a text that is [normal].
func asPattern(words string) string {
	words = strings.TrimSpace(normal(words))
	var b strings.Builder
	from := 0
	for _, at := range longNumbers.FindAllStringIndex(words, -1) {
		b.WriteString(literal(words[from:at[0]]))
		var number []string
		for _, r := range words[at[0]:at[1]] {
			if value, ok := message.DigitOf(r); ok {
				number = append(number, digits[value])
			}
		}
		b.WriteString(strings.Join(number, apart))
		from = at[1]
	}
	b.WriteString(literal(words[from:]))
	return b.String()
}

// literal is the expression of words without a long number.
func literal(s string) string {
	parts := gaps.Split(s, -1)
	for i, part := range parts {
		var b strings.Builder
		for _, r := range part {
			value, digit := message.DigitOf(r)
			switch one := string(r); {
			case digit:
				b.WriteString(digits[value])
			case dashes.MatchString(one):
				b.WriteString(dash)
			case ticks.MatchString(one):
				b.WriteString(tick)
			default:
				b.WriteString(regexp.QuoteMeta(one))
			}
		}
		parts[i] = b.String()
	}
	return strings.Join(parts, gap)
}

func digitClasses() (out [10]string) {
	for _, in := range unicode.Nd.R16 {
		for r := rune(in.Lo); r <= rune(in.Hi); r++ {
			value, _ := message.DigitOf(r)
			out[value] += fmt.Sprintf(`\x{%x}`, r)
		}
	}
	for _, in := range unicode.Nd.R32 {
		for r := rune(in.Lo); r <= rune(in.Hi); r++ {
			value, _ := message.DigitOf(r)
			out[value] += fmt.Sprintf(`\x{%x}`, r)
		}
	}
	for i := range out {
		out[i] = "[" + out[i] + "]"
	}
	return out
}

func isDigit(r rune) bool {
	_, ok := message.DigitOf(r)
	return ok
}

// numberAt is an NHS number in a text.
type numberAt struct {
	from, to int
	number   string // ten digits, 0 to 9
}

// nhsNumbersIn finds every run of ten digits that is an NHS number by its check digit, whatever stands between the digits but letters, and
// whatever number stands before or after it: "Bed 3 943 476 5919". No digit touches it. Numbers may overlap.
func nhsNumbersIn(s string) []numberAt {
	var out []numberAt
	before := false
	for i, r := range s {
		touched := before
		if before = isDigit(r); !before || touched {
			continue
		}
		to, number := tenDigits(s, i)
		if after, _ := utf8.DecodeRuneInString(s[to:]); to > 0 && !isDigit(after) && message.ValidNHSNumber(number) {
			out = append(out, numberAt{i, to, number})
		}
	}
	return out
}

// tenDigits reads ten digits from a place; to is 0 if a letter or the end comes first.
func tenDigits(s string, from int) (to int, number string) {
	var got []byte
	for i, r := range s[from:] {
		value, digit := message.DigitOf(r)
		switch {
		case digit:
			if got = append(got, '0'+byte(value)); len(got) == 10 {
				return from + i + utf8.RuneLen(r), string(got)
			}
		case unicode.IsLetter(r) || unicode.IsNumber(r):
			return 0, ""
		}
	}
	return 0, ""
}
