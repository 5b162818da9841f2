package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"syscall"

	"tocsin/node"
)

// Attach sends a file to a group. It returns when its chunks and the message are durable on this device.
func (c *Client) Attach(ctx context.Context, group string, spec node.AttachSpec, file io.Reader) (out node.Sent, err error) {
	q := url.Values{"name": {spec.Name}, "caption": {spec.Caption}, "priority": {spec.Priority}, "exact": {strconv.FormatBool(spec.Exact)}}
	for name, value := range map[string]string{"shows": spec.Shows, "consent": spec.Consent, "asked_by": spec.AskedBy, "purpose": spec.Purpose, "witness": spec.Witness} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for _, r := range spec.Blackout {
		q.Add("blackout", fmt.Sprintf("%d,%d,%d,%d", r.Min.X, r.Min.Y, r.Dx(), r.Dy()))
	}
	req, err := http.NewRequestWithContext(ctx, "POST", "http://tocsin"+groupPath(group, "/attachments?"+q.Encode()), file)
	if err != nil {
		return out, err
	}
	req.Header.Set("Content-Type", fileType)
	// A node that refuses the file says so before it has read all of it.
	req.Header.Set("Expect", "100-continue")
	resp, err := c.http.Do(req)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return out, ErrNoNode
	}
	if err != nil {
		return out, fmt.Errorf("api: the node does not answer: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return out, readError(resp)
	}
	return out, readAnswer(resp, &out)
}

// Attachments lists the attachments of a group, or of all where it is empty.
func (c *Client) Attachments(ctx context.Context, group string) ([]node.AttachmentInfo, error) {
	var out Attachments
	err := c.do(ctx, "GET", "/v1/attachments?"+url.Values{"group": {group}}.Encode(), nil, &out)
	return out.Attachments, err
}

// FetchAttachment has the node fetch the whole of an attachment.
func (c *Client) FetchAttachment(ctx context.Context, id string) (out node.AttachmentInfo, err error) {
	return out, c.do(ctx, "POST", attachmentPath(id)+"/fetch", nil, &out)
}

// ReadAttachment copies the file of an attachment to w. After an error what was written must not be used.
func (c *Client) ReadAttachment(ctx context.Context, id string, w io.Writer) error {
	resp, err := c.send(ctx, "GET", attachmentPath(id)+"/content", nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("api: the attachment did not come whole: %w", err)
	}
	return nil
}

func attachmentPath(id string) string { return "/v1/attachments/" + url.PathEscape(id) }
