package api

import (
	"bytes"
	"errors"
	"mime"
	"net/http"
	"strings"

	"tocsin/node"
)

func (s *Server) getStatements(w http.ResponseWriter, _ *http.Request) error {
	out := Statements{Statements: s.cfg.Node.Statements()}
	if out.Statements == nil {
		out.Statements = []node.StatementInfo{}
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// postStatement takes in what an authority signed. It needs no re-authentication and works while locked: a statement proves itself, and
// a device must be able to hear that another was stolen.
func (s *Server) postStatement(w http.ResponseWriter, r *http.Request) error {
	var body Statement
	if err := readJSON(r, &body); err != nil {
		return err
	}
	if len(body.Statement) == 0 {
		return invalid("give the statement, in base 64")
	}
	info, err := s.cfg.Node.PublishStatement(r.Context(), body.Statement)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, info)
	return nil
}

// postVerifyPerson begins a meeting in person: what it answers is for the other device to scan.
func (s *Server) postVerifyPerson(w http.ResponseWriter, r *http.Request) error {
	step, err := s.cfg.Node.VerifyPersonStart(r.Context())
	if err != nil {
		return err
	}
	return writeMeeting(w, step)
}

// postVerifyScan takes the code that the other device shows and answers with what to show next.
func (s *Server) postVerifyScan(w http.ResponseWriter, r *http.Request) error {
	var body VerifyScan
	if err := readJSON(r, &body); err != nil {
		return err
	}
	step, err := s.cfg.Node.VerifyPersonScan(r.Context(), strings.TrimSpace(body.Code))
	if err != nil {
		return err
	}
	return writeMeeting(w, step)
}

func writeMeeting(w http.ResponseWriter, step node.MeetingStep) error {
	m := Meeting{MeetingStep: step, Modules: []string{}}
	if step.Show != "" {
		var err error
		if m.Modules, err = qrModules(step.Show); err != nil {
			return err
		}
	}
	writeJSON(w, http.StatusOK, m)
	return nil
}

func (s *Server) getDigits(w http.ResponseWriter, r *http.Request) error {
	person := r.URL.Query().Get("person")
	if person == "" {
		return invalid("say whose digits: ?person=…, a log as GET /v1/people lists them")
	}
	digits, err := s.cfg.Node.PersonDigits(person)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, digits)
	return nil
}

func (s *Server) postVerifyDigits(w http.ResponseWriter, r *http.Request) error {
	var body VerifyDigits
	if err := readJSON(r, &body); err != nil {
		return err
	}
	p, err := s.cfg.Node.VerifyPersonDigits(r.Context(), body.Person, body.Digits)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, p)
	return nil
}

// qrModules returns a QR code as rows of 1 for dark and 0 for light, without the quiet zone. A page draws it: a picture could
// be loaded only by a request without the header token.
func qrModules(text string) ([]string, error) {
	c, err := encodeQR(text)
	if err != nil {
		return nil, err
	}
	rows := make([]string, c.Size)
	for y := range rows {
		row := make([]byte, c.Size)
		for x := range row {
			row[x] = '0'
			if c.Black(x, y) {
				row[x] = '1'
			}
		}
		rows[y] = string(row)
	}
	return rows, nil
}

// postReadQR looks for codes in one frame of a page's camera.
func (s *Server) postReadQR(w http.ResponseWriter, r *http.Request) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "image/jpeg" && kind != "image/png" {
		discard(r.Body)
		e := *ErrMediaType
		e.Code, e.Message, e.Hint = "no_picture", "the body of this request is a picture", "set Content-Type: image/jpeg or image/png"
		return &e
	}
	s.reading.Lock() // one at a time: each costs some memory, and a page sends one after the other
	defer s.reading.Unlock()
	texts, err := ReadQR(r.Body, maxPicture, maxPicturePixels)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, ErrNoQR):
		texts = []string{}
	case errors.As(err, &tooLarge):
		return ErrTooLarge
	case err != nil:
		return invalid("this picture cannot be read: send a PNG or JPEG of at most %d pixels", maxPicturePixels)
	}
	writeJSON(w, http.StatusOK, QRTexts{texts})
	return nil
}

func (s *Server) getRawStatements(w http.ResponseWriter, _ *http.Request) error {
	out := RawStatements{Statements: s.cfg.Node.RawStatements()}
	if out.Statements == nil {
		out.Statements = [][]byte{}
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (s *Server) postSponsorView(w http.ResponseWriter, r *http.Request) error {
	var body SponsorAsk
	if err := readJSON(r, &body); err != nil {
		return err
	}
	view, err := s.cfg.Node.SponsorView(r.Context(), body.Request)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, view)
	return nil
}

func (s *Server) postSponsor(w http.ResponseWriter, r *http.Request) error {
	var body SponsorRequest
	if err := readJSON(r, &body); err != nil {
		return err
	}
	if len(body.Request) == 0 {
		return invalid("give the request, in base 64")
	}
	answer, err := s.cfg.Node.Sponsor(r.Context(), reauth(r), bytes.Clone(body.Request), body.SponsorSpec)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, answer)
	return nil
}

func (s *Server) postSponsorRevoke(w http.ResponseWriter, r *http.Request) error {
	var body SponsorRevoke
	if err := readJSON(r, &body); err != nil {
		return err
	}
	info, err := s.cfg.Node.RevokeSponsored(r.Context(), reauth(r), body.Log)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, info)
	return nil
}
