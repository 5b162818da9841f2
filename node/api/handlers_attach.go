package api

import (
	"bufio"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"

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
	return &Attached{
		Name: m.Name, Media: m.Media, Size: m.Size, SizeWords: message.SizeWords(m.Size), Caption: m.Caption,
		State: held.State, StateWords: held.Words(), Have: held.Have, Chunks: held.Chunks, Thumb: held.Thumb,
	}
}

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
	spec := node.AttachSpec{Name: q.Get("name"), Caption: q.Get("caption"), Priority: q.Get("priority"), Exact: exact}
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
