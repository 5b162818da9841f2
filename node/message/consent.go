package message

import (
	"fmt"
	"strings"
)

// A picture, a film too, says whether a patient is in it, and if so what the patient was asked: no device sends one that does not, and none shows
// one that came without.

// Shows is whether a patient can be seen in a picture.
type Shows string

// The values of Shows. Nobody is taken for no patient because somebody forgot to say.
const (
	ShowsPatient   Shows = "patient"
	ShowsNoPatient Shows = "no-patient"
)

func showsChoices() []Choice {
	return []Choice{{string(ShowsPatient), "A patient, or part of one"}, {string(ShowsNoPatient), "No patient"}}
}

// Consent is on what a clinical picture rests.
type Consent string

// The grounds (General Medical Council, "Making and using visual and audio recordings of patients"; Mental Capacity Act 2005 section 4).
const (
	ConsentPatient       Consent = "patient"
	ConsentGuardian      Consent = "guardian"
	ConsentBestInterests Consent = "best-interests"
)

func consentChoices() []Choice {
	return []Choice{{string(ConsentPatient), "The patient agreed"}, {string(ConsentGuardian), "A parent, guardian or attorney agreed"},
		{string(ConsentBestInterests), "The patient cannot decide; it is in their best interests"}}
}

// Words are the ground as people read it.
func (c Consent) Words() string { return label(consentChoices(), string(c)) }

// MaxBlackout is the most regions of a picture that are painted black.
const MaxBlackout = 64

// IsPicture reports whether a media type is a picture's, still or moving.
func IsPicture(media string) bool {
	return strings.HasPrefix(media, "image/") || strings.HasPrefix(media, "video/")
}

// CheckConsent reports what is not said of a picture that must be; it holds before the picture itself is sealed, too.
func (a *Attachment) CheckConsent() error {
	switch {
	case !IsPicture(a.Media):
		if a.Shows != "" || a.Consent != "" || a.AskedBy != "" || a.Purpose != "" || a.Witness != "" || a.Blackout != nil {
			return fmt.Errorf("%w: consent and blackout belong to pictures; leave them out", ErrInvalid)
		}
		return nil
	case a.Shows == "":
		return lacks("Is a patient in the picture?", "shows", "say patient or no-patient")
	case a.Shows == ShowsNoPatient:
		if a.Consent != "" || a.AskedBy != "" || a.Purpose != "" || a.Witness != "" {
			return fmt.Errorf("%w: consent is recorded where a patient is in the picture; say so, or leave it out", ErrInvalid)
		}
		return nil
	case a.Consent == "":
		return lacks("Consent", "consent", "ask the patient before a picture is taken or sent, and say on what it rests")
	case a.Purpose == "":
		return lacks("What it is for", "purpose", "say what the patient was told that it is for")
	}
	return a.checkPresent()
}

// checkPresent holds who asked, and who else was there.
func (a *Attachment) checkPresent() error {
	asked, ok := PersonOf(a.AskedBy)
	if !ok {
		return lacks("Asked by", "asked-by", "name the person who asked, such as person:nhs.example/gmc/7654321")
	}
	second, ok := PersonOf(a.Witness)
	if !ok {
		return lacks("Second clinician present", "witness", "name the clinician who was in the room, such as person:nhs.example/gmc/7654321")
	}
	if asked == second {
		return fmt.Errorf("%w: the field %q (witness) must name somebody else than who asked", ErrInvalid, "Second clinician present")
	}
	return nil
}

func lacks(label, name, what string) error {
	return fmt.Errorf("%w: the field %q (%s) is missing; %s", ErrInvalid, label, name, what)
}

// ConsentWords says in a line what was recorded with the picture of a patient.
func (a *Attachment) ConsentWords() string {
	return fmt.Sprintf("Consent: %s; for: %s; asked by %s, with %s present", a.Consent.Words(), a.Purpose, addressWords(a.AskedBy), addressWords(a.Witness))
}
