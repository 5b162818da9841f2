package api

import (
	"time"

	"tocsin/node"
)

// The bodies of what concerns locks, trust and groups. Bytes are base 64, as encoding/json writes them.
type (
	// Unlock is the body of POST /v1/unlock and POST /v1/reauth: exactly one of the two.
	Unlock struct {
		Passphrase string `json:"passphrase,omitempty"`
		PIN        string `json:"pin,omitempty"`
	}
	// SetPIN is the body of PUT /v1/pin.
	SetPIN struct {
		PIN string `json:"pin"`
	}
	// ChangePassphrase is the body of POST /v1/passphrase.
	ChangePassphrase struct {
		Old string `json:"old"`
		New string `json:"new"`
	}
	// Wipe is the body of POST /v1/wipe. Confirm is the word WIPE.
	Wipe struct {
		Confirm string `json:"confirm"`
	}

	// Statements answers GET /v1/statements.
	Statements struct {
		Statements []node.StatementInfo `json:"statements"`
	}
	// RawStatements answers GET /v1/statements/raw: each as it was signed.
	RawStatements struct {
		Statements [][]byte `json:"statements"`
	}
	// SponsorAsk is the body of POST /v1/sponsor/view.
	SponsorAsk struct {
		Request []byte `json:"request"`
	}
	// Statement is the body of POST /v1/statements.
	Statement struct {
		Statement []byte `json:"statement"`
	}

	// VerifyScan is the body of POST /v1/people/verify/scan: the code that the other device shows.
	VerifyScan struct {
		Code string `json:"code"`
	}
	// Meeting answers POST /v1/people/verify and …/scan: the code to show now, also as rows of 1 (dark) and 0, and what to do.
	Meeting struct {
		node.MeetingStep
		Modules []string `json:"modules"`
	}
	// VerifyDigits is the body of POST /v1/people/verify/digits: both screens show these.
	VerifyDigits struct {
		Person string `json:"person"`
		Digits string `json:"digits"`
	}
	// SponsorRevoke is the body of POST /v1/sponsor/revoke: the log of the device.
	SponsorRevoke struct {
		Log string `json:"log"`
	}
	// QRTexts answers POST /v1/qr/read; empty when no code is to be seen.
	QRTexts struct {
		Texts []string `json:"texts"`
	}
	// SponsorRequest is the body of POST /v1/sponsor.
	SponsorRequest struct {
		Request []byte `json:"request"`
		node.SponsorSpec
	}

	// SetRole is the body of POST /v1/groups/{id}/role: admin or member.
	SetRole struct {
		Member string `json:"member"`
		Role   string `json:"role"`
	}
	// Roster answers GET /v1/groups/{id}/roster.
	Roster struct {
		Members []node.Member `json:"members"`
	}
	// HandOver is the body of POST /v1/groups/{id}/hand-over: messages since then, all when it is left out.
	HandOver struct {
		Member string    `json:"member"`
		Since  time.Time `json:"since,omitzero"`
	}
	// HandedOver answers it.
	HandedOver struct {
		Messages int `json:"messages"`
	}
	// Erase is the body of POST /v1/groups/{id}/erase.
	Erase struct {
		Messages []string `json:"messages"`
	}
	// Broadcast is the body of POST /v1/broadcast. An empty priority is routine; a reason is required.
	Broadcast struct {
		Text     string `json:"text"`
		Priority string `json:"priority"`
		Reason   string `json:"reason"`
	}
)
