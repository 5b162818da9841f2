package message

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// What is not seen, or looks like something else, is refused in every text; what people write in any language is not.
func TestDeceitIsRefused(t *testing.T) {
	for name, s := range map[string]string{
		"an override":               "give 5\u202e0 mg",
		"an isolate":                "\u2066x\u2069",
		"a left-to-right mark":      "5\u200e0 mg",
		"an Arabic letter mark":     "5\u061c0 mg",
		"a space without width":     "in\u200bsulin",
		"a word joiner":             "in\u2060sulin",
		"an invisible plus":         "5\u20640",
		"a filler":                  "a\u3164b",
		"a half-width filler":       "a\uffa0b",
		"an empty braille cell":     "a\u2800b",
		"a joiner of graphemes":     "a\u034fb",
		"a tag":                     "a\U000e0041",
		"a selector with a message": "a\U000e0101\U000e0102",
		"a control":                 "a\x1b[2Jb",
		"a C1 control":              "a\u0085b",
		"a deprecated format":       "a\u206ab",
		"a Cyrillic letter":         "p\u0430racetamol",
		"a Cyrillic capital":        "\u0410drenaline",
		"a Greek capital":           "\u0391drenaline",
		"an Armenian letter":        "\u0585xygen",
		"an Arabic zero":            "5\u0660 mg",
		"a Bengali four":            "\u09ea5 mg",
		"a pile of marks":           "a" + strings.Repeat("\u0301", 40),
	} {
		err := encodes(&SBAR{Situation: s, Background: "x", Assessment: "x", Recommendation: "x"})
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "(situation)") {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), s) {
			t.Errorf("%s: the error repeats what was written: %v", name, err)
		}
	}
	for name, s := range map[string]string{
		"micro, both of them":   "3 \u00b5g and 3 \u03bcg",
		"Greek in a Latin word": "IFN\u03b3, TGF\u03b2, \u03b2-blocker",
		"Ukrainian":             "\u0414\u0443\u0436\u0435 \u0431\u043e\u043b\u0438\u0442\u044c, said by the patient",
		"Greek":                 "\u039f\u03c7\u03b9 allergy",
		"Arabic":                "\u0623\u0644\u0645 \u0665\u0660",
		"Persian with a joiner": "\u0645\u06cc\u200c\u062e\u0648",
		"emoji":                 "\U0001f469\u200d\u2695\ufe0f",
		"Vietnamese":            "\u0111\u01b0\u1eddng huy\u1ebft",
		"a letter with marks":   "e\u0301\u0323",
	} {
		if err := encodes(&Text{Body: s}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every text that is accepted shows what it holds: none of its characters is hidden.
func FuzzDeceit(f *testing.F) {
	for _, s := range []string{"5\u202e0", "p\u0430r", "5\u0660", "e\u0301", "\u00b5g", "a\U000e0041"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if checkText(s, MaxText, false) != nil || s == "" {
			return
		}
		if strings.ContainsFunc(s, hidden) || disguised(s) >= 0 || !utf8.ValidString(s) {
			t.Errorf("%q was accepted", s)
		}
		if again := plain(s); again != s && checkText(again, MaxText, false) != nil {
			t.Errorf("%q is refused once it is made plain: %q", s, again)
		}
	})
}
