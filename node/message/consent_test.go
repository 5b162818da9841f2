package message

import (
	"errors"
	"strings"
	"testing"
)

// No picture can be said without what is in it, and none of a patient without consent: not even by a device that does not ask.
func TestPictureNeedsConsent(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Attachment)
		want   string // part of the refusal, empty for none
	}{
		"all that is asked":       {func(*Attachment) {}, ""},
		"no patient":              {func(a *Attachment) { *a = scene() }, ""},
		"nothing said":            {func(a *Attachment) { *a = scene(); a.Shows = "" }, "(shows) is missing"},
		"something else said":     {func(a *Attachment) { a.Shows = "maybe" }, "(shows)"},
		"no consent":              {func(a *Attachment) { a.Consent = "" }, "(consent) is missing"},
		"consent of another kind": {func(a *Attachment) { a.Consent = "implied" }, "(consent)"},
		"no purpose":              {func(a *Attachment) { a.Purpose = "" }, "(purpose) is missing"},
		"nobody asked":            {func(a *Attachment) { a.AskedBy = "" }, "(asked-by) is missing"},
		"a role asked":            {func(a *Attachment) { a.AskedBy = RoleAddress("nurse") }, "(asked-by)"},
		"nobody else there":       {func(a *Attachment) { a.Witness = "" }, "(witness) is missing"},
		"a role there":            {func(a *Attachment) { a.Witness = RoleAddress("nurse") }, "(witness)"},
		"who asked was there":     {func(a *Attachment) { a.Witness = a.AskedBy }, "somebody else"},
		"consent for no patient":  {func(a *Attachment) { a.Shows = ShowsNoPatient }, "consent is recorded where"},
		"consent for a document":  {func(a *Attachment) { a.Media = "application/pdf" }, "belong to pictures"},
		"too many regions":        {func(a *Attachment) { a.Blackout = num(MaxBlackout + 1) }, "(blackout)"},
		"a film":                  {func(a *Attachment) { *a = scene(); a.Media, a.Shows = "video/mp4", "" }, "(shows) is missing"},
		"a picture of a new form": {func(a *Attachment) { *a = scene(); a.Media, a.Shows = "image/heic", "" }, "(shows) is missing"},
	} {
		a := photo()
		c.change(&a)
		_, err := Encode(NewAttachment(a, sent))
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	a := photo()
	if w := a.Words(); !strings.Contains(w, "The patient agreed") || !strings.Contains(w, "nhs.example/nmc/01A0001E present") {
		t.Errorf("the consent is not said: %q", w)
	}
}

// scene is a picture with nobody in it.
func scene() Attachment {
	a := photo()
	a.Shows, a.Consent, a.Purpose, a.AskedBy, a.Witness = ShowsNoPatient, "", "", "", ""
	return a
}
