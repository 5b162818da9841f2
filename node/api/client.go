package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"

	"tocsin/node"
)

// Client speaks to a running node over its socket, for the command line. Its methods return *Error when the node
// answered with one, and ErrNoNode when none answers.
type Client struct {
	http *http.Client
}

// ErrNoNode: nothing answers on the socket.
var ErrNoNode = errors.New("api: no node is running with this data directory: start it with `tocsin up`")

// Dial returns a client for the socket of a node, once the node has answered.
func Dial(socket string) (*Client, error) {
	c := &Client{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}}
	if err := c.do(context.Background(), "GET", "/healthz", nil, &Health{}); err != nil {
		return nil, err
	}
	return c, nil
}

// Close gives the connections back.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Status says what the node says of itself.
func (c *Client) Status(ctx context.Context) (out node.Status, err error) {
	return out, c.do(ctx, "GET", "/v1/status", nil, &out)
}

// Unlock unlocks the device. A wrong passphrase is ErrPassphrase.
func (c *Client) Unlock(ctx context.Context, passphrase string) (out node.Status, err error) {
	return out, c.do(ctx, "POST", "/v1/unlock", Unlock{Passphrase: passphrase}, &out)
}

// Lock locks the device.
func (c *Client) Lock(ctx context.Context) (out node.Status, err error) {
	return out, c.do(ctx, "POST", "/v1/lock", nil, &out)
}

// SetOnline switches the mesh on or off.
func (c *Client) SetOnline(ctx context.Context, online bool) (out node.Status, err error) {
	return out, c.do(ctx, "POST", "/v1/mesh", Mesh{&online}, &out)
}

// Peers lists the direct neighbours.
func (c *Client) Peers(ctx context.Context) ([]Peer, error) {
	var out Peers
	err := c.do(ctx, "GET", "/v1/peers", nil, &out)
	return out.Peers, err
}

// People lists every device whose credential is known.
func (c *Client) People(ctx context.Context) ([]node.Person, error) {
	var out People
	err := c.do(ctx, "GET", "/v1/people", nil, &out)
	return out.People, err
}

// Groups lists the conversations, the most recent first.
func (c *Client) Groups(ctx context.Context) ([]Group, error) {
	var out Groups
	err := c.do(ctx, "GET", "/v1/groups", nil, &out)
	return out.Groups, err
}

// Group returns one conversation.
func (c *Client) Group(ctx context.Context, id string) (out Group, err error) {
	return out, c.do(ctx, "GET", groupPath(id, ""), nil, &out)
}

// CreateGroup makes a conversation.
func (c *Client) CreateGroup(ctx context.Context, spec node.GroupSpec) (out Group, err error) {
	return out, c.do(ctx, "POST", "/v1/groups", spec, &out)
}

// AddMember adds every device of a person to a conversation.
func (c *Client) AddMember(ctx context.Context, group, member string) (out Group, err error) {
	return out, c.do(ctx, "POST", groupPath(group, "/members"), AddMember{member}, &out)
}

// Messages returns messages from position after on; a negative after counts from the end. limit is 1 to 500.
func (c *Client) Messages(ctx context.Context, group string, after, limit int) (out Messages, err error) {
	q := url.Values{"after": {strconv.Itoa(after)}, "limit": {strconv.Itoa(limit)}}
	return out, c.do(ctx, "GET", groupPath(group, "/messages?"+q.Encode()), nil, &out)
}

// Send saves a text and sends it. It returns when the message is durable on this device.
func (c *Client) Send(ctx context.Context, group string, m SendText) (out node.Sent, err error) {
	return out, c.do(ctx, "POST", groupPath(group, "/messages"), m, &out)
}

// MarkRead notes that the user has seen the messages of a conversation.
func (c *Client) MarkRead(ctx context.Context, group string) error {
	return c.do(ctx, "POST", groupPath(group, "/read"), nil, nil)
}

// Logs lists the logs that the node holds.
func (c *Client) Logs(ctx context.Context) ([]node.LogInfo, error) {
	var out Logs
	err := c.do(ctx, "GET", "/v1/logs", nil, &out)
	return out.Logs, err
}

// LogEntries lists the headers of entries of a log. limit is 1 to 1000.
func (c *Client) LogEntries(ctx context.Context, log string, from uint64, limit int) ([]node.EntryInfo, error) {
	q := url.Values{"log": {log}, "from": {strconv.FormatUint(from, 10)}, "limit": {strconv.Itoa(limit)}}
	var out LogEntries
	err := c.do(ctx, "GET", "/v1/logs/entries?"+q.Encode(), nil, &out)
	return out.Entries, err
}

// VerifyLogs has the node check every entry that it holds, which may take minutes.
func (c *Client) VerifyLogs(ctx context.Context) (out Verified, err error) {
	return out, c.do(ctx, "POST", "/v1/logs/verify", nil, &out)
}

// WebCode makes a one-time code for a browser.
func (c *Client) WebCode(ctx context.Context) (out Code, err error) {
	return out, c.do(ctx, "POST", "/v1/web/code", nil, &out)
}

// Metrics returns the node's metrics in the text format of Prometheus.
func (c *Client) Metrics(ctx context.Context) (string, error) {
	resp, err := c.send(ctx, "GET", "/metrics", nil, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// StreamEvent is one event of the node's stream with its id, which a later call continues from.
type StreamEvent struct {
	ID string
	node.Event
}

// Events yields the node's events from lastID on, or from now on when it is empty. The first is of type "ready", or "gap" when
// events were missed; a gap later on says the same: load anew. It ends with an error when the node or ctx ends.
func (c *Client) Events(ctx context.Context, lastID string) iter.Seq2[StreamEvent, error] {
	return func(yield func(StreamEvent, error) bool) {
		header := http.Header{}
		if lastID != "" {
			header.Set("Last-Event-ID", lastID)
		}
		resp, err := c.send(ctx, "GET", "/v1/events", nil, header)
		if err != nil {
			yield(StreamEvent{}, err)
			return
		}
		defer resp.Body.Close()
		if err := readStream(resp.Body, func(e StreamEvent) bool { return yield(e, nil) }); err != nil {
			yield(StreamEvent{}, err)
		}
	}
}

// readStream parses server-sent events as this API writes them: id, event and one line of data.
func readStream(r io.Reader, each func(StreamEvent) bool) error {
	var e StreamEvent
	var data string
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "id":
			e.ID = value
		case "data":
			data = value
		case "":
			if data == "" {
				continue // a comment
			}
			if err := json.Unmarshal([]byte(data), &e.Event); err != nil {
				return fmt.Errorf("api: an event cannot be read: %w", err)
			}
			if !each(e) {
				return nil
			}
			e, data = StreamEvent{}, ""
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}

func groupPath(id, rest string) string { return "/v1/groups/" + url.PathEscape(id) + rest }

// do sends one request and reads its answer into out, which may be nil.
func (c *Client) do(ctx context.Context, method, path string, body, out any) error {
	return c.doAs(ctx, "", method, path, body, out)
}

// doAs is do with the token of a Reauth, where there is one.
func (c *Client) doAs(ctx context.Context, token, method, path string, body, out any) error {
	header := http.Header{}
	if token != "" {
		header.Set(reauthHeader, token)
	}
	resp, err := c.send(ctx, method, path, body, header)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		discard(resp.Body)
		return nil
	}
	return readAnswer(resp, out)
}

func readAnswer(resp *http.Response, out any) error {
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("api: the node's answer cannot be read: %w", err)
	}
	return nil
}

// send returns the response of a request that succeeded; the caller closes its body.
func (c *Client) send(ctx context.Context, method, path string, body any, header http.Header) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://tocsin"+path, content)
	if err != nil {
		return nil, err
	}
	if header != nil {
		req.Header = header
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, ErrNoNode
		}
		return nil, fmt.Errorf("api: the node does not answer: %w", err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, readError(resp)
}

func readError(resp *http.Response) error {
	var body errorBody
	err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&body)
	if err != nil || body.Error == nil {
		return fmt.Errorf("api: the node answered %s", resp.Status)
	}
	body.Error.Status = resp.StatusCode
	return body.Error
}
