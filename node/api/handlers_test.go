package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"tocsin/node"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// ask sends a request as a script and returns the status and the error code, if any.
func (b *bench) ask(t *testing.T, method, path, body string) (int, *Error) {
	t.Helper()
	req := b.request(t, method, path, body)
	b.bearer(req)
	resp := b.do(t, req)
	var e errorBody
	if resp.StatusCode >= 300 {
		if err := decode(resp, &e); err != nil || e.Error == nil {
			t.Fatalf("%s %s: %s without an error (%v)", method, path, resp.Status, err)
		}
	}
	return resp.StatusCode, e.Error
}

func TestErrorsOfTheNode(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		err    error
		status int
		code   string
		says   string
	}{
		{node.ErrLocked, 423, "locked", "locked"},
		{fmt.Errorf("%w: no such group here", node.ErrNotFound), 404, "not_found", "no such group here"},
		{fmt.Errorf("%w: give it a name", node.ErrInvalid), 400, "invalid", "give it a name"},
		{fmt.Errorf("%w: the disk is full", node.ErrReadOnly), 507, "read_only", "the disk is full"},
		{node.ErrReadOnly, 507, "read_only", "nothing can be saved"},
		{context.Canceled, 503, "stopping", "stopping"},
		{errors.New("CANARY in /secret/path"), 500, "internal", "went wrong"},
	} {
		b.node.mu.Lock()
		b.node.err = c.err
		b.node.mu.Unlock()
		status, e := b.ask(t, "GET", "/v1/groups", "")
		if status != c.status || e.Code != c.code || !strings.Contains(e.Message, c.says) || strings.Contains(e.Message, "CANARY") {
			t.Errorf("%v: %d %+v", c.err, status, e)
		}
	}
}

func TestBadParameters(t *testing.T) {
	b := newBench(t)
	g := "/v1/groups/" + hexGroup(1)
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", g + "/messages?after=x", "", 400},
		{"GET", g + "/messages?limit=0", "", 400},
		{"GET", g + "/messages?limit=501", "", 400},
		{"GET", g + "/messages?after=99999999999", "", 400},
		{"GET", "/v1/groups/" + hexGroup(9), "", 404},
		{"GET", "/v1/groups/nonsense", "", 404},
		{"GET", "/v1/groups/" + hexGroup(9) + "/messages", "", 404},
		{"POST", g + "/messages", `{"text":""}`, 400},
		{"POST", g + "/messages", `{"text":"a\u001bb"}`, 400},
		{"POST", g + "/messages", `{"text":"a","reply_to":"12"}`, 400},
		{"POST", "/v1/groups/" + hexGroup(9) + "/messages", `{"text":"a"}`, 404},
		{"POST", "/v1/groups", `{}`, 400},
		{"GET", "/v1/logs/entries", "", 400},
		{"GET", "/v1/logs/entries?log=aa/0&from=-1", "", 400},
		{"GET", "/v1/logs/entries?log=aa/0&limit=5000", "", 400},
		{"GET", "/v1/logs/entries?log=zz", "", 404},
		{"POST", "/v1/unlock", `{"passphrase":"wrong"}`, 401},
		{"DELETE", "/v1/session", "", 400},
	} {
		if status, e := b.ask(t, c.method, c.path, c.body); status != c.status || e == nil || e.Message == "" {
			t.Errorf("%s %s %s: %d %+v, want %d", c.method, c.path, c.body, status, e, c.status)
		}
	}
}

func TestMessagesPaging(t *testing.T) {
	b := newBench(t)
	for i := range 250 {
		b.node.say(ben, fmt.Sprint(i), "routine")
	}
	c := b.dial(t)
	for _, want := range []struct{ after, limit, first, count int }{
		{-100, 100, 151, 100}, {0, 10, 0, 10}, {240, 100, 240, 11}, {-1000, 500, 0, 251}, {251, 5, 251, 0},
	} {
		got, err := c.Messages(t.Context(), hexGroup(1), want.after, want.limit)
		if err != nil || got.First != want.first || len(got.Messages) != want.count || got.Total != 251 {
			t.Errorf("after %d, limit %d: %d messages from %d of %d, %v", want.after, want.limit, len(got.Messages), got.First, got.Total, err)
		}
	}
}

func TestReady(t *testing.T) {
	b := newBench(t)
	for _, locked := range []bool{false, true} {
		b.node.mu.Lock()
		b.node.locked = locked
		b.node.mu.Unlock()
		req := b.request(t, "GET", "/readyz", "")
		b.bearer(req)
		resp := b.do(t, req)
		var h Health
		if err := decode(resp, &h); err != nil {
			t.Fatal(err)
		}
		if want := map[bool]string{false: "ready", true: "locked"}[locked]; h.Status != want || (resp.StatusCode == http.StatusOK) == locked {
			t.Errorf("%s %s, want %s", resp.Status, h.Status, want)
		}
	}
}

// TestMetricsNameNobody: labels are routes, codes and reasons; no person, organisation, log, group or address.
func TestMetricsNameNobody(t *testing.T) {
	b := newBench(t)
	b.ask(t, "GET", "/v1/groups/"+hexGroup(1), "")
	b.ask(t, "GET", "/v1/groups/"+hexGroup(9), "")
	text, err := b.dial(t).Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`tocsin_api_requests_total{route="GET /v1/groups/{id}"} 2`, `tocsin_api_failures_total{code="not_found",route="GET /v1/groups/{id}"} 1`,
		"tocsin_messages_opened_total 7", "tocsin_peers 1", "tocsin_locked 0", `tocsin_mesh_refused_total{reason="foreign"} 2`, "go_goroutines",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	for _, name := range []string{amara.Name, ben.Name, amara.Org, amara.Log, hexGroup(1), hexGroup(9), "Ward 5", "127.0.0.1"} {
		if strings.Contains(text, name) {
			t.Errorf("the metrics name %s", name)
		}
	}
}

// TestLogHoldsNoContent runs every route with a canary in whatever it takes, and looks for it in the log.
func TestLogHoldsNoContent(t *testing.T) {
	b := newBench(t)
	const canary = "CANARY"
	b.node.say(ben, canary, "routine")
	for name, body := range map[string]string{
		"POST /v1/unlock": `{"passphrase":"CANARY"}`, "POST /v1/groups": `{"kind":"team","name":"CANARY","members":["CANARY"]}`,
		"POST /v1/groups/" + hexGroup(1) + "/messages": `{"text":"CANARY"}`, "GET /v1/groups/" + hexGroup(1) + "/messages": "",
		"POST /v1/session": `{"code":"CANARY"}`, "POST /v1/mesh": `{"CANARY":1}`, "GET /v1/groups/CANARY": "", "GET /CANARY": "",
	} {
		method, path, _ := strings.Cut(name, " ")
		req := b.request(t, method, path, body)
		b.bearer(req)
		b.do(t, req)
	}
	b.node.mu.Lock()
	b.node.err = fmt.Errorf("unforeseen")
	b.node.mu.Unlock()
	b.ask(t, "POST", "/v1/groups/"+hexGroup(1)+"/messages", `{"text":"CANARY"}`)
	log := b.log.String()
	if strings.Contains(log, canary) {
		t.Errorf("the log holds content: %s", log)
	}
	if !strings.Contains(log, "unforeseen") {
		t.Errorf("the log lacks what went wrong: %s", log)
	}
}

func TestClient(t *testing.T) {
	b := newBench(t)
	c, ctx := b.dial(t), t.Context()
	if s, err := c.Status(ctx); err != nil || s.Name != amara.Name || s.Refused["foreign"] != 2 {
		t.Errorf("%+v, %v", s, err)
	}
	if groups, err := c.Groups(ctx); err != nil || len(groups) != 1 || groups[0].Last == nil || groups[0].Unread != 1 || groups[0].Last.Priority != "urgent" {
		t.Errorf("%+v, %v", groups, err)
	}
	if g, err := c.CreateGroup(ctx, node.GroupSpec{Kind: "direct", Members: []string{"bb/0"}}); err != nil || g.Title != ben.Name {
		t.Errorf("%+v, %v", g, err)
	}
	if g, err := c.AddMember(ctx, hexGroup(1), "bb/0"); err != nil || g.ID != hexGroup(1) {
		t.Errorf("%+v, %v", g, err)
	}
	if s, err := c.Send(ctx, hexGroup(1), SendText{Text: "Coming.", Priority: "stat"}); err != nil || s.State != "saved" {
		t.Errorf("%+v, %v", s, err)
	}
	m, err := c.Messages(ctx, hexGroup(1), -1, 1)
	if err != nil || len(m.Messages) != 1 || m.Messages[0].Text != "Coming." || m.Messages[0].Priority != "stat" || m.Messages[0].StateWords != "Saved on this device" {
		t.Errorf("%+v, %v", m, err)
	}
	if p, err := c.Neighbours(ctx); err != nil || len(p.Cuts) != 1 || p.Cuts[0].Words != "sent more than any device should" || p.Warning == "" {
		t.Errorf("neighbours: %+v, %v", p, err)
	}
	if p, err := c.Peers(ctx); err != nil || len(p) != 1 || p[0].LatencyMS != 1.5 {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := c.People(ctx); err != nil || len(p) != 2 {
		t.Errorf("%+v, %v", p, err)
	}
	if l, err := c.Logs(ctx); err != nil || len(l) != 1 {
		t.Errorf("%+v, %v", l, err)
	}
	if e, err := c.LogEntries(ctx, amara.Log, 3, 1); err != nil || len(e) != 1 || e[0].Seq != 3 {
		t.Errorf("%+v, %v", e, err)
	}
	if v, err := c.VerifyLogs(ctx); err != nil || !v.Valid || v.Entries != 4 {
		t.Errorf("%+v, %v", v, err)
	}
	if err := c.MarkRead(ctx, hexGroup(1)); err != nil {
		t.Error(err)
	}
	if s, err := c.SetOnline(ctx, false); err != nil || s.Online {
		t.Errorf("%+v, %v", s, err)
	}
	if code, err := c.WebCode(ctx); err != nil || !strings.HasPrefix(code.URL, b.URL()+"unlock#code=") || !strings.HasSuffix(code.URL, code.Code) {
		t.Errorf("%+v, %v", code, err)
	}
	if s, err := c.Lock(ctx); err != nil || !s.Locked {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := c.Groups(ctx); !errors.Is(err, ErrLocked) {
		t.Errorf("locked: %v", err)
	}
	if _, err := c.Unlock(ctx, "wrong"); !errors.Is(err, ErrPassphrase) {
		t.Errorf("wrong passphrase: %v", err)
	}
	if s, err := c.Unlock(ctx, b.node.passphrase); err != nil || s.Locked {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := c.Group(ctx, "../status"); !errors.Is(err, ErrNotFound) {
		t.Errorf("an id with a path in it: %v", err)
	}
}

func TestMessageOf(t *testing.T) {
	newer := messageOf(inbox.Item{Message: message.Message{Content: &message.Unknown{Named: "ward-round", Raw: []byte{1}}}})
	if newer.Text != message.NewerKind || newer.Kind != "ward-round" {
		t.Errorf("%+v", newer)
	}
	m := message.NewText("Yes.", born)
	m.Content.(*message.Text).ReplyTo = [32]byte{31: 7}
	if got := messageOf(inbox.Item{Message: m}); got.ReplyTo != strings.Repeat("0", 63)+"7" {
		t.Errorf("reply to %q", got.ReplyTo)
	}
}

func TestTitles(t *testing.T) {
	who := func(names ...string) (out []inbox.Author) {
		for _, n := range names {
			out = append(out, inbox.Author{Log: n, Name: n})
		}
		return out
	}
	for want, members := range map[string][]inbox.Author{
		"Only you": who("me"), "A": who("A", "me"), "A and B": who("A", "B", "me"), "A and 2 others": who("A", "B", "C", "me"),
	} {
		if got := titleOf(members, "me"); got != want {
			t.Errorf("%d members: %q, want %q", len(members), got, want)
		}
	}
}
