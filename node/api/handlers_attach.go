package api

import (
	"bufio"
	"errors"
	"image"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"tocsin/node"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

type (
	// Attachments answers GET /v1/attachments.
	Attachments struct {
		Attachments []node.AttachmentInfo `json:"attachments"`
	}
	// Attached is what a message of kind attachment says of its file.
	Attached struct {
		Name       string `json:"name"`
		Media      string `json:"media"`
		Size       int64  `json:"size"`
		SizeWords  string `json:"size_words"`
		Caption    string `json:"caption,omitempty"`
		State      string `json:"state"` // listed, fetching, here or no-room
		StateWords string `json:"state_words"`
		Have       int    `json:"have"`   // parts on this device
		Chunks     int    `json:"chunks"` // of so many
		Thumb      bool   `json:"thumb"`  // a thumbnail can be shown
		// Of pictures: whether a patient is in it, what was recorded of the consent, and how many regions were blacked out.
		Shows        string `json:"shows,omitempty"`
		Consent      string `json:"consent,omitempty"`
		ConsentWords string `json:"consent_words,omitempty"`
		AskedBy      string `json:"asked_by,omitempty"`
		Purpose      string `json:"purpose,omitempty"`
		Witness      string `json:"witness,omitempty"`
		Blackout     int    `json:"blackout,omitempty"`
	}
)

// attachedOf is nil for messages of other kinds.
func attachedOf(it inbox.Item) *Attached {
	m, ok := it.Message.Content.(*message.Attachment)
	if !ok {
		return nil
	}
	held := inbox.Held{State: inbox.HeldListed, Chunks: len(m.Names())}
	if it.Held != nil {
		held = *it.Held
	}
	out := &Attached{
		Name: m.Name, Media: m.Media, Size: m.Size, SizeWords: message.SizeWords(m.Size), Caption: m.Caption,
		State: held.State, StateWords: held.Words(), Have: held.Have, Chunks: held.Chunks, Thumb: held.Thumb,
		Shows: string(m.Shows), Consent: string(m.Consent), AskedBy: m.AskedBy, Purpose: m.Purpose, Witness: m.Witness,
	}
	if m.Shows == message.ShowsPatient {
		out.ConsentWords = m.ConsentWords()
	}
	if m.Blackout != nil {
		out.Blackout = *m.Blackout
	}
	return out
}

// ParseRegion reads a region of a picture, "x,y,width,height" in whole pixels.
func ParseRegion(s string) (image.Rectangle, error) {
	var n [4]int
	parts := strings.Split(s, ",")
	ok := len(parts) == len(n)
	for i := 0; ok && i < len(n); i++ {
		v, err := strconv.Atoi(strings.TrimSpace(parts[i]))
		n[i], ok = v, err == nil && v >= 0 && v <= maxSide
	}
	if !ok || n[2] == 0 || n[3] == 0 {
		return image.Rectangle{}, invalid("a region to black out is x,y,width,height in whole pixels of the upright picture")
	}
	return image.Rect(n[0], n[1], n[0]+n[2], n[1]+n[3]), nil
}

// maxSide is more pixels than a picture has on a side.
const maxSide = 1 << 20

// fileType is the one media type of files on their way in and out: what a file claims to be is never taken up.
const fileType = "application/octet-stream"

// postAttachment takes a file as the body of the request.
func (s *Server) postAttachment(w http.ResponseWriter, r *http.Request) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != fileType {
		discard(r.Body)
		return ErrFileType
	}
	q := r.URL.Query()
	exact, err := flag(q.Get("exact"))
	if err != nil {
		return err
	}
	spec := node.AttachSpec{Name: q.Get("name"), Caption: q.Get("caption"), Priority: q.Get("priority"), Exact: exact,
		Shows: q.Get("shows"), Consent: q.Get("consent"), AskedBy: q.Get("asked_by"), Purpose: q.Get("purpose"), Witness: q.Get("witness")}
	for _, region := range q["blackout"] {
		r, err := ParseRegion(region)
		if err != nil {
			return err
		}
		spec.Blackout = append(spec.Blackout, r)
	}
	if spec.Priority == "" {
		spec.Priority = "routine"
	}
	control := http.NewResponseController(w)
	if err := errors.Join(control.SetReadDeadline(s.cfg.Clock.Now().Add(fileTimeout)), s.longer(w, fileTimeout)); err != nil {
		return err
	}
	sent, err := s.cfg.Node.Attach(r.Context(), r.PathValue("id"), spec, r.Body)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, sent)
	return nil
}

func flag(given string) (bool, error) {
	if given == "" {
		return false, nil
	}
	on, err := strconv.ParseBool(given)
	if err != nil {
		return false, invalid("exact is true or false")
	}
	return on, nil
}

func (s *Server) getAttachments(w http.ResponseWriter, r *http.Request) error {
	all, err := s.cfg.Node.Attachments(r.URL.Query().Get("group"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, Attachments{all})
	return nil
}

func (s *Server) postFetchAttachment(w http.ResponseWriter, r *http.Request) error {
	info, err := s.cfg.Node.FetchAttachment(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, info)
	return nil
}

// getAttachmentContent hands out the file. Its type is never the one that it claims, and it is for saving,
// not for showing: a page of ours that showed what a colleague sent would run it.
func (s *Server) getAttachmentContent(w http.ResponseWriter, r *http.Request) error {
	info, file, err := s.cfg.Node.OpenAttachment(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	defer file.Close()
	// The first part shows whether it can be read at all.
	in := bufio.NewReaderSize(file, message.ChunkSize)
	if _, err := in.Peek(1); err != nil {
		return err
	}
	if err := s.longer(w, fileTimeout); err != nil {
		return err
	}
	w.Header().Set("Content-Type", fileType)
	w.Header().Set("Content-Length", strconv.FormatInt(info.Size, 10))
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": info.Name}))
	// After an error fewer bytes go out than were announced, which the client sees.
	if _, err := io.Copy(w, in); err != nil && r.Context().Err() == nil {
		s.cfg.Logger.Warn("an attachment could not be handed out whole", "err", err)
	}
	return nil
}

func (s *Server) getAttachmentThumb(w http.ResponseWriter, r *http.Request) error {
	picture, err := s.cfg.Node.AttachmentThumb(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "image/jpeg")
	_, _ = w.Write(picture) // an error means that the client has gone
	return nil
}
