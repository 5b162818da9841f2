package api

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"tocsin/node"
	"tocsin/node/message"
)

// TestAttachmentIsForSaving: what a colleague's file claims to be is never what a browser takes it for.
func TestAttachmentIsForSaving(t *testing.T) {
	b := newBench(t)
	req := b.request(t, "GET", "/v1/attachments/cc/content", "")
	b.bearer(req)
	resp := b.do(t, req)
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "a file" || resp.ContentLength != fakeFile.Size {
		t.Errorf("%q of %d, %v", body, resp.ContentLength, err)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/octet-stream", "Content-Disposition": `attachment; filename=plan.pdf`, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestAttachmentUploadRefuses(t *testing.T) {
	b := newBench(t)
	path := "/v1/groups/" + hexGroup(1) + "/attachments"
	for what, c := range map[string]struct {
		kind, query string
		body        string
		want        int
	}{
		"JSON":     {"application/json", "?name=x", "{}", http.StatusUnsupportedMediaType},
		"a form":   {"multipart/form-data; boundary=x", "?name=x", "--x--", http.StatusUnsupportedMediaType},
		"exactly?": {"application/octet-stream", "?name=x&exact=maybe", "x", http.StatusBadRequest},
		"good":     {"application/octet-stream", "?name=x&exact=true&caption=c&priority=urgent", "x", http.StatusCreated},
	} {
		req := b.request(t, "POST", path+c.query, c.body)
		req.Header.Set("Content-Type", c.kind)
		b.bearer(req)
		if resp := b.do(t, req); resp.StatusCode != c.want {
			t.Errorf("%s: %s", what, resp.Status)
		}
	}
	// Without a credential nothing of the body is read.
	req := b.request(t, "POST", path+"?name=x", "x")
	if resp := b.do(t, req); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a credential: %s", resp.Status)
	}
}

// TestAttachmentOverTheSocket sends and saves a file as the command line does, between two real nodes; one that is too large is refused in words.
func TestAttachmentOverTheSocket(t *testing.T) {
	amara, ben := newMachines(t)
	a, b := amara.dial(t), ben.dial(t)
	ctx := t.Context()
	for _, m := range []struct {
		c *Client
		m *machine
	}{{a, amara}, {b, ben}} {
		if _, err := m.c.Unlock(ctx, machinePassphrase); err != nil {
			t.Fatal(err)
		}
	}
	var g Group
	eventually(t, func() string { return "the other device is known" }, func() bool {
		var err error
		g, err = a.CreateGroup(ctx, node.GroupSpec{Kind: "team", Name: "Bay 3", Members: []string{"Ben Carter"}})
		return err == nil
	})
	data := bytes.Repeat([]byte("0123456789"), 30_000)
	sent, err := a.Attach(ctx, g.ID, node.AttachSpec{Name: "<img src=x>.html", Priority: "routine"}, bytes.NewReader(data))
	must(t, err)
	eventually(t, func() string { return "it is here" }, func() bool {
		all, err := b.Attachments(ctx, g.ID)
		return err == nil && len(all) == 1 && all[0].State == "here" && all[0].ID == sent.ID && all[0].Name == "_img src=x_.html"
	})
	var out bytes.Buffer
	must(t, b.ReadAttachment(ctx, sent.ID, &out))
	if !bytes.Equal(out.Bytes(), data) {
		t.Errorf("%d bytes came", out.Len())
	}
	page, err := b.Messages(ctx, g.ID, -10, 10)
	must(t, err)
	if len(page.Messages) != 1 || page.Messages[0].Attachment == nil || page.Messages[0].Attachment.StateWords != "On this device" {
		t.Errorf("%+v", page.Messages)
	}
	if _, err := b.FetchAttachment(ctx, sent.ID); err != nil {
		t.Errorf("asked for once more: %v", err)
	}
	if err := b.ReadAttachment(ctx, strings.Repeat("0", 64), io.Discard); !errors.Is(err, ErrNotFound) {
		t.Errorf("an unknown one: %v", err)
	}
	large := io.LimitReader(zeros{}, message.MaxAttachment+1)
	if _, err := a.Attach(ctx, g.ID, node.AttachSpec{Name: "large", Priority: "routine"}, large); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "larger than 64 MiB") {
		t.Errorf("too large: %v", err)
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
