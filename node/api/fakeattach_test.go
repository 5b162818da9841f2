package api

import (
	"bytes"
	"context"
	"io"

	"tocsin/node"
)

// fakeFile is the one attachment of a fake node.
var fakeFile = node.AttachmentInfo{ID: "cc", Group: hexGroup(1), From: ben.Name, Name: "plan.pdf", Media: "application/pdf", Size: 6,
	SHA256: "00", Sent: "2026-03-04T09:30:00Z", State: "here", Have: 1, Chunks: 1}

func (f *fakeNode) Attach(_ context.Context, group string, spec node.AttachSpec, r io.Reader) (node.Sent, error) {
	f.mu.Lock()
	f.attached = spec
	f.mu.Unlock()
	if _, err := io.Copy(io.Discard, r); err != nil {
		return node.Sent{}, err
	}
	return node.Sent{ID: "cc", Log: amara.Log, Time: born, State: "saved"}, f.failure()
}

func (f *fakeNode) Attachments(string) ([]node.AttachmentInfo, error) {
	return []node.AttachmentInfo{fakeFile}, f.failure()
}

func (f *fakeNode) FetchAttachment(context.Context, string) (node.AttachmentInfo, error) {
	return fakeFile, f.failure()
}

func (f *fakeNode) OpenAttachment(context.Context, string) (node.AttachmentInfo, io.ReadCloser, error) {
	return fakeFile, io.NopCloser(bytes.NewReader([]byte("a file"))), f.failure()
}

func (f *fakeNode) AttachmentThumb(context.Context, string) ([]byte, error) {
	return []byte("a picture"), f.failure()
}
