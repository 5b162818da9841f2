package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"image"
	"io"
	"net/http"
	"strings"

	"tocsin/ledger/blob"
	"tocsin/node/message"
)

// AttachSpec says what to send beside the bytes of a file.
type AttachSpec struct {
	// Name is the file's; what is not safe in a name is taken out.
	Name string
	// Caption may be empty.
	Caption string
	// Priority is routine, urgent or stat, of the message; chunks are always last.
	Priority string
	// Exact sends a picture byte for byte, with all that its file holds; none of a patient.
	Exact bool
	// Shows says of a picture or film whether a patient is in it, "patient" or "no-patient"; each of them needs it, and nothing else has
	// it. With a patient go the ground of the consent ("patient", "guardian" or "best-interests"), who asked (an
	// address, this reader where it is empty), what the picture is for, and the second clinician who was there (an address).
	Shows, Consent, AskedBy, Purpose, Witness string
	// Blackout are regions to paint black, in pixels of the upright picture in its full size.
	Blackout []image.Rectangle
}

// consent puts what was said of the consent into the manifest, and refuses what lacks it. The file's media type is known by then.
func (s *AttachSpec) consent(m *message.Attachment, self string) error {
	m.Shows, m.Consent = message.Shows(s.Shows), message.Consent(s.Consent)
	m.AskedBy, m.Purpose, m.Witness = s.AskedBy, message.Clean(s.Purpose), s.Witness
	if m.Shows == message.ShowsPatient && m.AskedBy == "" {
		m.AskedBy = message.PersonAddress(self)
	}
	if n := len(s.Blackout); n > 0 {
		m.Blackout = &n
	}
	if err := m.CheckConsent(); err != nil {
		return invalid("%s", strings.TrimPrefix(err.Error(), message.ErrInvalid.Error()+": "))
	}
	ready := isPicture(m.Media) && !s.Exact
	switch {
	case m.Shows == message.ShowsPatient && s.Exact:
		return invalid("a picture of a patient is never sent with what the camera wrote into its file; send it without --as-is")
	case m.Shows == message.ShowsPatient && isFilm(m.Media):
		return invalid("a film of a patient is not sent, because place and owner cannot be taken out of it here; send pictures of what must be seen")
	case m.Shows == message.ShowsPatient && !ready:
		return invalid("a picture of a patient is sent as JPEG, PNG or WebP, so that place and owner can be taken out of it; save it as one of them")
	case len(s.Blackout) > 0 && !ready:
		return invalid("only JPEG, PNG and WebP pictures that are not sent as they are can be blacked out")
	case isFilm(m.Media) && !s.Exact:
		return invalid("a film cannot be freed of place and owner here; send a picture, or send it as it is (--as-is), with all that its file holds")
	case noted(m.Media) && !s.Exact:
		return invalid("a picture of type %s cannot be freed of place and owner here; save it as JPEG, or send it as it is (--as-is), with all that its file holds", m.Media)
	}
	return nil
}

// Attach seals a file for a group, keeps its chunks and sends the message that
// names them. It returns once both are durable here. Errors: [ErrLocked], [ErrNotFound], [ErrInvalid] also for a file that is
// empty or too large, [ErrReadOnly] also where there is no room.
func (n *Node) Attach(ctx context.Context, groupID string, spec AttachSpec, r io.Reader) (Sent, error) {
	if err := n.mayAttach(groupID); err != nil {
		return Sent{}, err
	}
	select {
	case n.attached.sending <- struct{}{}:
		defer func() { <-n.attached.sending }()
	case <-ctx.Done():
		return Sent{}, ctx.Err()
	}
	u := &upload{attachments: n.attached}
	defer u.end()
	m := message.Attachment{Name: message.CleanName(spec.Name), Caption: strings.TrimSpace(spec.Caption)}
	if err := u.seal(ctx, &m, spec, r); err != nil {
		return Sent{}, err
	}
	if err := n.attached.store.Sync(); err != nil {
		return Sent{}, storeError(err)
	}
	n.cfg.Step("attach:stored")
	return n.Send(ctx, groupID, message.NewAttachment(m, n.cfg.Clock.Now()), spec.Priority)
}

// mayAttach says early what Send would say late.
func (n *Node) mayAttach(groupID string) error {
	id, err := parseGroupID(groupID)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.writable(); err != nil {
		return err
	}
	if _, ok := n.open.keyring.Group(id); !ok {
		return noGroup(id)
	}
	return nil
}

// upload is a file on its way into chunks.
type upload struct {
	*attachments
	names []blob.Name
}

// end lets go of the chunks: those that no message has come to name are removed.
func (u *upload) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.store.Remove(u.unname(u.names)...); err != nil {
		u.node.log.Error("chunks of a file that was not sent could not be removed; the next unlock does", "err", err)
	}
}

// sniff is how many bytes tell a media type.
const sniff = 512

// seal cuts the file into chunks and fills in the manifest.
func (u *upload) seal(ctx context.Context, m *message.Attachment, spec AttachSpec, r io.Reader) error {
	if _, err := io.ReadFull(u.node.rand, m.Key[:]); err != nil {
		return fmt.Errorf("node: the key of an attachment: %w", err)
	}
	head := make([]byte, sniff)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return unread(err)
	}
	if n == 0 {
		return invalid("the file is empty")
	}
	head = head[:n]
	m.Media = mediaOf(head)
	if err := spec.consent(m, u.node.cred.Person.String()); err != nil {
		return err
	}
	r = io.MultiReader(bytes.NewReader(head), r)
	if isPicture(m.Media) && !spec.Exact {
		if r, err = u.picture(m, r, spec.Blackout); err != nil {
			return err
		}
	}
	return u.chunks(ctx, m, r)
}

// unread is the error of a file that the caller could not give us whole.
func unread(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return tooLong()
	}
	return fmt.Errorf("node: the file cannot be read: %w", err)
}

func tooLong() error {
	return invalid("the file is larger than %d MiB; send it in parts", message.MaxAttachment>>20)
}

// picture makes a picture ready and stores its thumbnail.
func (u *upload) picture(m *message.Attachment, r io.Reader, regions []image.Rectangle) (io.Reader, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxPictureFile+1))
	if err != nil {
		return nil, unread(err)
	}
	if len(data) > maxPictureFile {
		return nil, invalid("the picture is larger than %d MiB; make it smaller, or send it as it is (--as-is)", maxPictureFile>>20)
	}
	p, err := readyPicture(m.Media, data, regions)
	if err != nil {
		return nil, err
	}
	if m.Media != p.media {
		m.Media, m.Name = p.media, message.CleanName(m.Name+".jpg")
	}
	name, err := u.put(m.Key, thumbIndex, p.thumb)
	m.Thumb = &message.Thumb{Chunk: name, Size: len(p.thumb), Width: p.side.X, Height: p.side.Y}
	return bytes.NewReader(p.data), err
}

// chunks seals and stores the file.
func (u *upload) chunks(ctx context.Context, m *message.Attachment, r io.Reader) error {
	sum := sha256.New()
	buffer := make([]byte, message.ChunkSize)
	for {
		n, err := io.ReadFull(r, buffer)
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return unread(err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if n > 0 {
			if m.Size += int64(n); m.Size > message.MaxAttachment {
				return tooLong()
			}
			sum.Write(buffer[:n])
			name, err := u.put(m.Key, uint32(len(m.Chunks)), buffer[:n])
			if err != nil {
				return err
			}
			m.Chunks = append(m.Chunks, name)
		}
		if last {
			m.SHA256 = [32]byte(sum.Sum(nil))
			return nil
		}
	}
}

// put seals and stores one chunk.
func (u *upload) put(key [32]byte, index uint32, plain []byte) (blob.Name, error) {
	name, sealed, err := sealChunk(key, index, plain)
	if err != nil {
		return name, err
	}
	// Named before it is stored: a sweep in between would remove it.
	u.mu.Lock()
	u.named[name]++
	u.names = append(u.names, name)
	u.mu.Unlock()
	err = u.store.Put(name, sealed, true)
	if errors.Is(err, blob.ErrFull) {
		return name, fmt.Errorf("%w: there is no room for the attachment: erase messages with attachments, or give them more room (attachments.keep): %w", ErrReadOnly, err)
	}
	if err != nil {
		return name, storeError(err)
	}
	return name, nil
}
