package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"tocsin/ledger"
	"tocsin/node/message"
)

// big is an incident with some files of a size, each another, and their contents by the ids of their messages.
func big(t *testing.T, count, size int) (*Export, map[ledger.ID][]byte) {
	t.Helper()
	who := newWriter(t, amal())
	items := []Item{who.say(&message.Incident{Name: "Fire at the station", Mode: message.Live, State: message.IncidentDeclared}, ledger.Urgent)}
	contents := make(map[ledger.ID][]byte)
	for i := range count {
		content := bytes.Repeat([]byte{byte(i), 1, 2, 3, 4, 5, 6}, size/7+1)[:size]
		in := who.say(&message.Attachment{Name: fmt.Sprintf("scan %d.pdf", i), Media: "application/pdf", Size: int64(size), SHA256: sha256.Sum256(content), Key: [32]byte{1},
			Chunks: make([][32]byte, (size+61_439)/61_440)}, ledger.Routine)
		contents[id(t, in)] = content
		items = append(items, in)
	}
	x, err := New(incident(items...), Sources{Attachment: func(id ledger.ID) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(contents[id])), nil }})
	must(t, err)
	return x, contents
}

// A file is read while it is sent: the request itself holds none of it, and may be read twice.
func TestUploadStreams(t *testing.T) {
	const size = 1<<20 + 1
	x, _ := big(t, 1, size)
	u, endpoint := upload(t, x, nil), serve(t, newMemory())
	for {
		o, err := u.Next()
		must(t, err)
		if o == nil {
			break
		}
		first, err := io.ReadAll(o.Body())
		must(t, err)
		second, err := io.ReadAll(iotest.OneByteReader(io.LimitReader(o.Body(), 4096)))
		must(t, err)
		if int64(len(first)) != o.Size() || !bytes.HasPrefix(first, second) || len(first) > 4096 && len(second) != 4096 {
			t.Errorf("a request of %d bytes is said to have %d, or differs from itself", len(first), o.Size())
		}
		held := 0
		for _, p := range o.body {
			held += len(p.raw)
		}
		if held > 256<<10 {
			t.Errorf("a request of %d bytes holds %d of them in memory", len(first), held)
		}
		must(t, u.Done(o.Number, answeredBy(t, endpoint, first)))
	}
	whole(t, x, u)
	m := newMemory()
	u = upload(t, x, nil)
	must(t, sender(t, serve(t, m), &wire{}).Run(t.Context(), u))
	whole(t, x, u)
	m.census(t, x)
	if got, err := base64.StdEncoding.DecodeString(str(m.all["Binary"][0], "data")); err != nil || len(got) != size {
		t.Errorf("the record has %d of %d bytes (%v)", len(got), size, err)
	}
}

// answeredBy is an endpoint's answer to a request.
func answeredBy(t *testing.T, endpoint string, body []byte) Answer {
	t.Helper()
	resp, err := http.Post(endpoint, "application/fhir+json", bytes.NewReader(body))
	must(t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must(t, err)
	return Answer{Status: resp.StatusCode, Body: bytes.NewReader(raw)}
}

// Many files do not go into one transaction, whatever the batch allows: the endpoint may return all of it. One that is larger by itself does.
func TestUploadBoundsFiles(t *testing.T) {
	for _, c := range []struct{ count, size, most int }{{4, batchContent / 3, 3}, {3, batchContent + 1, 1}} {
		x, _ := big(t, c.count, c.size)
		u, err := x.Upload(PlanOptions{Batch: MaxBatch}, nil)
		must(t, err)
		for _, one := range u.units {
			if one.id.IsZero() && !one.last {
				one.state = unitDone // who and where stands in the record already
			}
		}
		files, most := 0, 0
		for chosen := u.choose(); len(chosen) > 0; chosen = u.choose() {
			together := 0
			for _, one := range chosen {
				if one.state = unitDone; one.bytes > 0 {
					together++
				}
			}
			files, most = files+together, max(most, together)
		}
		if files != c.count || most != c.most {
			t.Errorf("%d files of %d bytes: %d were sent, at most %d together, want %d", c.count, c.size, files, most, c.most)
		}
	}
}

// A file that changes after it was looked at never becomes whole at the endpoint, and holds up nothing else.
func TestUploadChangedMeanwhile(t *testing.T) {
	const size = 200 << 10
	x, contents := big(t, 2, size)
	var victim ledger.ID
	for id := range contents {
		victim = id
		break
	}
	reads := 0
	honest := x.sources.Attachment
	x.sources.Attachment = func(id ledger.ID) (io.ReadCloser, error) {
		if id != victim {
			return honest(id)
		}
		if reads++; reads < 3 { // whether it is held, and what it is
			return honest(id)
		}
		return io.NopCloser(bytes.NewReader(append([]byte{9}, contents[id][1:]...))), nil
	}
	m := newMemory()
	u := upload(t, x, nil)
	must(t, sender(t, serve(t, m), &wire{}).Run(t.Context(), u))
	s := u.Status()
	if len(s.Refused) != 1 || s.Refused[0].Entry != victim || !strings.Contains(s.Refused[0].Reason, "not what its message says") || s.Transferred != x.Messages()-1 {
		t.Errorf("%+v", s)
	}
	if len(m.all["Binary"]) != 1 || reads < 4 {
		t.Errorf("the endpoint holds %d files after %d reads", len(m.all["Binary"]), reads)
	}
}

// An endpoint that returns another file than it was sent gets no receipt for it.
func TestUploadOtherFile(t *testing.T) {
	x, contents := big(t, 1, 100<<10)
	var sent string
	for _, c := range contents {
		sent = base64.StdEncoding.EncodeToString(c)
	}
	m := newMemory()
	for what, other := range map[string]string{"a byte": "B" + sent[1:], "nothing": "", "no base64": "*"} {
		u := upload(t, x, nil)
		w := &wire{next: spoiling{from: `"data":"` + sent, to: `"data":"` + other}}
		must(t, sender(t, serve(t, m), w).Run(t.Context(), u))
		if s := u.Status(); len(s.Refused) != 1 || !strings.Contains(s.Refused[0].Reason, "data is not what was sent") {
			t.Errorf("%s: %+v", what, s)
		}
	}
}

// spoiling changes every answer.
type spoiling struct{ from, to string }

func (s spoiling) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.ContentLength = -1
	return edited(s.from, s.to)(resp)
}

// What is read of a content is its base64, in whatever portions it is read, and only if it is what its message says.
func TestContentReader(t *testing.T) {
	for _, size := range []int{0, 1, 2, 3, contentChunk - 1, contentChunk, contentChunk + 1, 3*contentChunk + 2} {
		raw := bytes.Repeat([]byte{1, 2, 3, 4, 5}, size/5+1)[:size]
		c := bytesContent(raw)
		for name, read := range map[string]func(io.Reader) io.Reader{"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader, "by halves": iotest.HalfReader} {
			c.open = func() (io.ReadCloser, error) { return io.NopCloser(read(bytes.NewReader(raw))), nil }
			f, err := c.reader()
			must(t, err)
			got, err := io.ReadAll(read(f))
			must(t, err)
			if string(got) != base64.StdEncoding.EncodeToString(raw) {
				t.Errorf("%d bytes, %s: the base64 is another", size, name)
			}
			must(t, f.Close())
		}
		for name, other := range map[string][]byte{"longer": append(bytes.Clone(raw), 1), "shorter": raw[:max(size-1, 0)], "another": append([]byte{7}, raw[min(1, size):]...)} {
			if bytes.Equal(other, raw) {
				continue
			}
			c.open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(other)), nil }
			if err := c.check(); !errors.Is(err, ErrInvalid) {
				t.Errorf("%d bytes, %s: %v", size, name, err)
			}
		}
		c.open = func() (io.ReadCloser, error) { return io.NopCloser(iotest.ErrReader(errCut)), nil }
		if err := c.check(); !errors.Is(err, ErrInvalid) || !errors.Is(err, errCut) {
			t.Errorf("a file that cannot be read: %v", err)
		}
	}
}
