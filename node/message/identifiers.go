package message

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// What names a patient ought not to be said where initials and a bed will do. Drafts are looked through for it while they are
// written: NHS numbers by their check digit, dates of birth, postcodes and telephone numbers. Nothing is refused: a human decides.

// Identifier is a kind of data that identifies a patient.
type Identifier string

// The kinds that are noticed.
const (
	NHSNumber   Identifier = "nhs-number"
	DateOfBirth Identifier = "date-of-birth"
	Postcode    Identifier = "postcode"
	Telephone   Identifier = "telephone"
)

// Words are the kind as people read it.
func (i Identifier) Words() string {
	return map[Identifier]string{NHSNumber: "an NHS number", DateOfBirth: "a date of birth", Postcode: "a postcode", Telephone: "a telephone number"}[i]
}

// Found is an identifier in a draft: the bytes from From up to, not including, To.
type Found struct {
	Kind     Identifier
	From, To int
}

var (
	nhsNumbers = regexp.MustCompile(`\d{3}[ -]?\d{3}[ -]?\d{4}`)
	// Area, district, sector and unit as Royal Mail's PAF lays them out; the unit never holds C, I, K, M, O or V, which keeps
	// doses such as "5ml" out.
	postcodes  = regexp.MustCompile(`(?i)(?:GIR ?0AA|[A-PR-UWYZ](?:[0-9]{1,2}|[A-HK-Y][0-9]|[A-HK-Y][0-9][0-9ABEHMNPRV-Y]|[0-9][A-HJKPSTUW]) ?[0-9][ABD-HJLNP-UW-Z]{2})`)
	telephones = regexp.MustCompile(`(?:\+44[ -]?(?:\(0\)[ -]?)?|0)[1-9](?:[ -]?\d){8,9}`)
	dates      = regexp.MustCompile(`(?i)\d{1,2}[/.-]\d{1,2}[/.-]\d{4}|\d{4}-\d{2}-\d{2}|\d{1,2}(?:st|nd|rd|th)? (?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]* \d{4}`)
	ordinals   = regexp.MustCompile(`(?i)(\d)(?:st|nd|rd|th)\b`)
	birth      = regexp.MustCompile(`(?i)(?:d\.?o\.?b\.?|born|date of birth)[ :.]*(?:on )?$`)
)

// recently is how far back a date still looks like one of the case and not like one of birth.
const recently = 60 * 24 * time.Hour

// Identifiers finds what may identify a patient, in order and without overlaps. now is the device's clock: a date of the last
// weeks is taken for one of the case unless it is called a date of birth.
func Identifiers(text string, now time.Time) []Found {
	var found []Found
	add := func(kind Identifier, re *regexp.Regexp, is func(from, to int) bool) {
		for _, at := range re.FindAllStringIndex(text, -1) {
			from, to := at[0], at[1]
			overlaps := slices.ContainsFunc(found, func(f Found) bool { return from < f.To && f.From < to })
			if !overlaps && alone(text, from, to) && is(from, to) {
				found = append(found, Found{kind, from, to})
			}
		}
	}
	add(NHSNumber, nhsNumbers, func(from, to int) bool { return ValidNHSNumber(text[from:to]) })
	add(DateOfBirth, dates, func(from, to int) bool { return birthDate(text[:from], text[from:to], now) })
	add(Telephone, telephones, func(int, int) bool { return true })
	add(Postcode, postcodes, func(int, int) bool { return true })
	slices.SortFunc(found, func(a, b Found) int { return a.From - b.From })
	return found
}

// alone reports whether no letter or digit touches the match.
func alone(text string, from, to int) bool {
	word := func(c byte) bool {
		return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
	}
	return (from == 0 || !word(text[from-1])) && (to == len(text) || !word(text[to]))
}

// ValidNHSNumber reports whether s is ten digits, in groups or not, whose last is the check digit of the others (NHS Data
// Dictionary: weights 10 to 2, modulus 11; 11 counts as 0, 10 is never given out).
func ValidNHSNumber(s string) bool {
	digits := strings.NewReplacer(" ", "", "-", "").Replace(s)
	if len(digits) != 10 || strings.ContainsFunc(digits, func(r rune) bool { return r < '0' || r > '9' }) {
		return false
	}
	sum := 0
	for i := range 9 {
		sum += int(digits[i]-'0') * (10 - i)
	}
	check := (11 - sum%11) % 11
	return check != 10 && check == int(digits[9]-'0')
}

// birthDate reports whether a date is of birth: it is called so, or it is a real date that lies too far back for the case.
func birthDate(before, text string, now time.Time) bool {
	text = ordinals.ReplaceAllString(text, "$1")
	text = strings.NewReplacer(".", "/", "-", "/").Replace(text)
	for _, layout := range []string{"2/1/2006", "2006/01/02", "2 Jan 2006", "2 January 2006"} {
		t, err := time.Parse(layout, text)
		if err != nil {
			continue
		}
		return birth.MatchString(before) || t.Year() >= 1900 && t.Before(now.Add(-recently))
	}
	return false
}

// Replace puts with in the place of everything that was found, such as "initials and bed".
func Replace(text string, found []Found, with string) string {
	var b strings.Builder
	at := 0
	for _, f := range found {
		b.WriteString(text[at:f.From])
		b.WriteString(with)
		at = f.To
	}
	b.WriteString(text[at:])
	return b.String()
}
