package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"tocsin/ledger/blob"
	"tocsin/node/message"
)

// read returns what one chunk of an attachment holds.
func (a *attachments) read(m *message.Attachment, index uint32, name blob.Name, size int) ([]byte, error) {
	sealed, err := a.store.Get(name)
	if errors.Is(err, blob.ErrNotFound) {
		a.lost(name, true)
		return nil, fmt.Errorf("%w: a part of this attachment is not here; it is fetched now, try again in a moment", ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return openChunk(m.Key, index, sealed, size)
}

// OpenAttachment returns an attachment's file, which must be here whole. Reading it opens one
// chunk after another and ends with an error where the device is locked meanwhile or the file is not what the
// message says: nothing that was read then may be used. Errors: [ErrLocked], [ErrNotFound] also where it is not
// here yet, [ErrInvalid].
func (n *Node) OpenAttachment(_ context.Context, id string) (AttachmentInfo, io.ReadCloser, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	info, m, err := n.attachmentOf(id)
	if err != nil {
		return info, nil, err
	}
	if info.Have < info.Chunks {
		return info, nil, fmt.Errorf("%w: %d of %d parts of this attachment are here; wait until it is fetched", ErrNotFound, info.Have, info.Chunks)
	}
	return info, &attachmentReader{node: n, session: n.open, m: m, sum: sha256.New()}, nil
}

// attachmentReader reads a file chunk by chunk.
type attachmentReader struct {
	node    *Node
	session *session // it belongs to: another unlock is another session
	m       *message.Attachment
	sum     hash.Hash
	next    int
	buffer  []byte
	err     error
}

// Read implements io.Reader.
func (r *attachmentReader) Read(p []byte) (int, error) {
	for len(r.buffer) == 0 && r.err == nil {
		r.buffer, r.err = r.chunk()
	}
	if len(r.buffer) == 0 {
		return 0, r.err
	}
	n := copy(p, r.buffer)
	r.buffer = r.buffer[n:]
	return n, nil
}

// chunk returns the next chunk, and io.EOF with the last where all is well.
func (r *attachmentReader) chunk() ([]byte, error) {
	r.node.mu.Lock()
	open := r.node.open == r.session
	r.node.mu.Unlock()
	if !open {
		return nil, ErrLocked
	}
	plain, err := r.node.attached.read(r.m, uint32(r.next), r.m.Chunks[r.next], r.m.ChunkLen(r.next))
	if err != nil {
		return nil, err
	}
	r.sum.Write(plain)
	if r.next++; r.next < len(r.m.Chunks) {
		return plain, nil
	}
	if [32]byte(r.sum.Sum(nil)) != r.m.SHA256 {
		return nil, fmt.Errorf("%w: the file is not the one that the message names; its sender's device made it wrongly", ErrInvalid)
	}
	return plain, io.EOF
}

// Close implements io.Closer.
func (r *attachmentReader) Close() error {
	r.err, r.buffer = io.ErrClosedPipe, nil
	return nil
}
