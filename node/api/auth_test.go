package api

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

func (b *bench) request(t *testing.T, method, path, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, strings.TrimSuffix(b.URL(), "/")+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if method == "POST" || method == "PUT" {
		req.Header.Set("Content-Type", "application/json")
	}
	if path == "/v1/qr/read" {
		req.Header.Set("Content-Type", "image/png")
	}
	if strings.HasSuffix(path, "/attachments") {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	return req
}

func (b *bench) do(t *testing.T, req *http.Request) *http.Response {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func decode(resp *http.Response, into any) error {
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// as puts a page's credentials on a request.
func (br browser) as(req *http.Request) *http.Request {
	req.AddCookie(br.cookie)
	req.Header.Set(tokenHeader, br.token)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return req
}

// path fills in the parameters of a route.
func (rt route) example() string {
	p := strings.NewReplacer("{id}", hexGroup(1), "{hold}", hexGroup(8), "{$}", "").Replace(rt.path)
	if p == "/v1/logs/entries" {
		p += "?log=" + amara.Log
	}
	if p == "/v1/people/digits" {
		p += "?person=" + ben.Log
	}
	return p
}

// attack is a way of asking without the right to.
type attack struct {
	name string
	ask  func(req *http.Request)
	want []int
}

func (b *bench) attacks(t *testing.T) []attack {
	page, other, old := b.login(t), b.login(t), b.login(t)
	b.keys.endSession(old.cookie.Value)
	unauthorised, forbidden := []int{http.StatusUnauthorized}, []int{http.StatusForbidden}
	ours := strings.TrimSuffix(b.URL(), "/")
	bearer := func(req *http.Request) { req.Header.Set("Authorization", "Bearer "+b.token) }
	return []attack{
		{"nothing", func(*http.Request) {}, unauthorised},
		{"wrong bearer", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+strings.Repeat("0", 64)) }, unauthorised},
		{"empty bearer", func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") }, unauthorised},
		{"token as basic", func(r *http.Request) { r.SetBasicAuth("tocsin", b.token) }, unauthorised},
		{"bearer with an origin", func(r *http.Request) { bearer(r); r.Header.Set("Origin", ours) }, forbidden},
		{"bearer with a null origin", func(r *http.Request) { bearer(r); r.Header.Set("Origin", "null") }, forbidden},
		{"bearer from a page", func(r *http.Request) { bearer(r); r.Header.Set("Sec-Fetch-Site", "same-origin") }, forbidden},
		{"bearer by a navigation", func(r *http.Request) { bearer(r); r.Header.Set("Sec-Fetch-Mode", "navigate") }, forbidden},
		{"cookie alone", func(r *http.Request) { r.AddCookie(page.cookie) }, unauthorised},
		{"header token alone", func(r *http.Request) { r.Header.Set(tokenHeader, page.token) }, unauthorised},
		{"cookie as token", func(r *http.Request) { r.AddCookie(page.cookie); r.Header.Set(tokenHeader, page.cookie.Value) }, unauthorised},
		{"another session's token", func(r *http.Request) { r.AddCookie(page.cookie); r.Header.Set(tokenHeader, other.token) }, unauthorised},
		{"bearer token as session", func(r *http.Request) { r.AddCookie(page.cookie); r.Header.Set(tokenHeader, b.token) }, unauthorised},
		{"ended session", func(r *http.Request) { old.as(r) }, unauthorised},
		{"cookie by another name", func(r *http.Request) {
			page.as(r)
			r.Header.Del("Cookie")
			r.AddCookie(&http.Cookie{Name: "tocsin-1", Value: page.cookie.Value})
		}, unauthorised},
		{"another site", func(r *http.Request) { page.as(r); r.Header.Set("Sec-Fetch-Site", "cross-site") }, forbidden},
		{"another port", func(r *http.Request) { page.as(r); r.Header.Set("Sec-Fetch-Site", "same-site") }, forbidden},
		{"another origin", func(r *http.Request) {
			page.as(r)
			r.Header.Del("Sec-Fetch-Site")
			r.Header.Set("Origin", "http://127.0.0.1:1")
		}, forbidden},
	}
}

// TestEveryRouteAuthenticates tries every way in that should be shut on every route there is.
func TestEveryRouteAuthenticates(t *testing.T) {
	b := newBench(t)
	attacks := b.attacks(t)
	page := b.login(t)
	for _, rt := range b.table() {
		if rt.access == anyone {
			if rt.path != "/v1/session" {
				t.Errorf("%s %s is open to anyone", rt.method, rt.path)
			}
			continue
		}
		tries := attacks
		if rt.access == script {
			tries = append(tries[:len(tries):len(tries)], attack{"a page, on a route for scripts", func(r *http.Request) { page.as(r) }, []int{http.StatusUnauthorized}})
		}
		for _, a := range tries {
			req := b.request(t, rt.method, rt.example(), "{}")
			a.ask(req)
			b.refused(t, req, a.name, a.want)
		}
		b.tryHosts(t, rt, page)
	}
	if log := b.log.String(); strings.Contains(log, b.token) || strings.Contains(log, page.token) || strings.Contains(log, page.cookie.Value) {
		t.Error("the log holds a credential")
	}
}

func (b *bench) refused(t *testing.T, req *http.Request, name string, want []int) {
	t.Helper()
	resp := b.do(t, req)
	var body errorBody
	err := decode(resp, &body)
	for _, w := range want {
		if resp.StatusCode == w && err == nil && body.Error != nil && body.Error.Code != "" {
			return
		}
	}
	t.Errorf("%s %s, %s: answered %s (%v, %v), want %v", req.Method, req.URL.Path, name, resp.Status, body.Error, err, want)
}

// tryHosts asks with a good credential by names that are not ours: a DNS name that was rebound to this machine, mostly.
func (b *bench) tryHosts(t *testing.T, rt route, page browser) {
	t.Helper()
	port := b.URL()[strings.LastIndex(b.URL(), ":")+1 : len(b.URL())-1]
	for _, host := range []string{"evil.example", "evil.example:" + port, "localhost", "127.0.0.1", "127.0.0.1:1", "localhost.:" + port, "[::1]", "0.0.0.0:" + port} {
		req := page.as(b.request(t, rt.method, rt.example(), "{}"))
		req.Host = host
		b.refused(t, req, "host "+host, []int{http.StatusMisdirectedRequest})
		req = b.request(t, rt.method, rt.example(), "{}")
		req.Header.Set("Authorization", "Bearer "+b.token)
		req.Host = host
		b.refused(t, req, "host "+host, []int{http.StatusMisdirectedRequest})
	}
}

// TestPagesHoldTheirHostAndHeaders covers what is open to anyone.
func TestPagesHoldTheirHostAndHeaders(t *testing.T) {
	b := newBench(t)
	for _, rt := range append(b.pages(), b.table()...) {
		req := b.request(t, rt.method, rt.example(), "")
		resp := b.do(t, req)
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
			"Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s %s: %s is %q, want %q", rt.method, rt.path, name, got, want)
			}
		}
		csp := resp.Header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "require-trusted-types-for 'script'"} {
			if !strings.Contains(csp, part) {
				t.Errorf("%s %s: the policy lacks %s: %q", rt.method, rt.path, part, csp)
			}
		}
		if strings.Contains(csp, "unsafe") {
			t.Errorf("%s %s: the policy is %q", rt.method, rt.path, csp)
		}
		if rt.access == anyone && rt.method == "GET" && resp.StatusCode >= 300 {
			t.Errorf("%s: %s", rt.path, resp.Status)
		}
		req = b.request(t, rt.method, rt.example(), "")
		req.Host = "evil.example"
		if resp := b.do(t, req); resp.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("%s %s by another name: %s", rt.method, rt.path, resp.Status)
		}
	}
}

// TestLetIn is the other side of the matrix: the credentials that open do open, on TCP and on the socket.
func TestLetIn(t *testing.T) {
	b := newBench(t)
	page := b.login(t)
	for _, rt := range b.table() {
		if rt.path == "/v1/events" || rt.path == "/v1/session" || strings.HasPrefix(rt.path, "/v1/lock") {
			continue // tested on their own: they stream, end the session, lock
		}
		body := bodies[rt.method+" "+rt.path]
		byToken := b.request(t, rt.method, rt.example(), body)
		byToken.Header.Set("Authorization", "Bearer "+b.token)
		requests := []*http.Request{byToken}
		if rt.access == user {
			requests = append(requests, page.as(b.request(t, rt.method, rt.example(), body)))
		}
		for _, req := range requests {
			b.again(req)
			if resp := b.do(t, req); resp.StatusCode >= 300 {
				text, _ := io.ReadAll(resp.Body)
				t.Errorf("%s %s: %s: %s", rt.method, rt.path, resp.Status, text)
			}
		}
	}
}

// bodies are what routes take, where they take something.
var bodies = map[string]string{
	"POST /v1/unlock":               `{"passphrase":"correct horse battery staple"}`,
	"POST /v1/mesh":                 `{"online":true}`,
	"POST /v1/mesh/low-bandwidth":   `{"mode":"on"}`,
	"POST /v1/groups":               `{"kind":"team","name":"Bay 3","members":["bb/0"]}`,
	"POST /v1/groups/{id}/members":  `{"member":"bb/0"}`,
	"POST /v1/groups/{id}/messages": `{"text":"hello","priority":"stat"}`,
	"POST /v1/session":              `{"code":"00000-00000"}`,
	"POST /v1/bundles/paper":        `{"hours":12,"codes":24}`,
	"POST /v1/bundles/scan":         `{"codes":["TP1X"]}`,
	"POST /v1/drafts":               `{"text":"NHS 943 476 5919","with":"JS, bed 4"}`,
	"POST /v1/bundles/export":       `{"path":"/media/stick/x.tocsin","to":["bb/0"],"days":7}`,
	"POST /v1/bundles/import":       `{"path":"/media/stick/x.tocsin"}`,
	"POST /v1/proofs":               `{"id":"00"}`,
	"PUT /v1/cards":                 `{"text":"role: all\ntitle: Everybody\n- Wear your badge\n"}`,

	"POST /v1/groups/{id}/attachments": "a file",

	"POST /v1/reauth":                         `{"passphrase":"correct horse battery staple"}`,
	"PUT /v1/pin":                             `{"pin":"271828"}`,
	"POST /v1/passphrase":                     `{"old":"correct horse battery staple","new":"correct horse battery staple"}`,
	"POST /v1/wipe":                           `{"confirm":"WIPE"}`,
	"POST /v1/people/verify/scan":             `{"code":"THEIRS"}`,
	"POST /v1/people/verify/digits":           `{"person":"bb/0","digits":"12345 67890"}`,
	"POST /v1/qr/read":                        pictureOf("TOCSIN"),
	"POST /v1/statements":                     `{"statement":"YSBzdGF0ZW1lbnQ="}`,
	"POST /v1/sponsor/view":                   `{"request":"YSByZXF1ZXN0"}`,
	"POST /v1/sponsor":                        `{"request":"YSByZXF1ZXN0","kind":"own-device","scanned":true}`,
	"POST /v1/sponsor/revoke":                 `{"log":"bb/0"}`,
	"POST /v1/groups/{id}/members/remove":     `{"member":"bb/0"}`,
	"POST /v1/groups/{id}/role":               `{"member":"bb/0","role":"admin"}`,
	"POST /v1/groups/{id}/hand-over":          `{"member":"bb/0"}`,
	"POST /v1/groups/{id}/erase":              `{"messages":["` + strings.Repeat("0", 64) + `"]}`,
	"POST /v1/groups/{id}/transfer/attribute": `{"messages":["` + hexGroup(9) + `"],"patient":{"nhs_number":"9990000018"}}`,
	"POST /v1/groups/{id}/transfer/sign-off":  `{"messages":[]}`,
	"POST /v1/groups/{id}/transfer/withdraw":  `{"messages":["` + hexGroup(9) + `"]}`,
	"PUT /v1/groups/{id}/retention":           `{"days":60}`,
	"POST /v1/groups/{id}/holds":              `{"basis":"inquiry","reason":"Inquiry 2026/17"}`,
	"POST /v1/groups/{id}/incident/settle":    `{"mode":"live","reason":"The bus came"}`,
	"POST /v1/groups/{id}/holds/{hold}/end":   `{"reason":"closed"}`,
	"POST /v1/groups/{id}/erasure":            `{"messages":["` + hexGroup(9) + `"],"reason":"sent to the wrong group"}`,
	"POST /v1/access/find":                    `{"reference":"SAR-17","basis":"subject-access","nhs_numbers":["9990000018"]}`,
	"POST /v1/access":                         `{"reference":"SAR-17","basis":"subject-access","tags":["A-003"],"redactions":[{"words":"JS","why":"third party"}]}`,
	"POST /v1/broadcast":                      `{"text":"Take shelter.","priority":"stat","reason":"a gas leak"}`,
}

func pictureOf(text string) string {
	picture, err := QRCode(text)
	if err != nil {
		panic(err) // a short text fits into a code
	}
	return string(picture)
}

// again puts a fresh token of Reauth on a request.
func (b *bench) again(req *http.Request) {
	b.node.mu.Lock()
	defer b.node.mu.Unlock()
	b.node.token = "again"
	req.Header.Set(reauthHeader, b.node.token)
}

func TestCodeWorksOnce(t *testing.T) {
	b := newBench(t)
	try := func(code string) *http.Response {
		return b.do(t, b.request(t, "POST", "/v1/session", fmt.Sprintf(`{"code":%q}`, code)))
	}
	code, _, err := b.keys.newCode()
	if err != nil {
		t.Fatal(err)
	}
	typed := strings.ToUpper(strings.ReplaceAll(code, "-", " "))
	if resp := try(typed); resp.StatusCode != http.StatusCreated {
		t.Errorf("typed as %q: %s", typed, resp.Status)
	}
	if resp := try(code); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a second time: %s", resp.Status)
	}
	code, _, err = b.keys.newCode()
	if err != nil {
		t.Fatal(err)
	}
	b.clock.move(codeLife)
	if resp := try(code); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("too late: %s", resp.Status)
	}
	// Another site's page, even one that knows a code.
	code, _, err = b.keys.newCode()
	if err != nil {
		t.Fatal(err)
	}
	req := b.request(t, "POST", "/v1/session", fmt.Sprintf(`{"code":%q}`, code))
	req.Header.Set("Sec-Fetch-Site", "same-site")
	b.refused(t, req, "another port", []int{http.StatusForbidden})
	if resp := try(code); resp.StatusCode != http.StatusCreated {
		t.Errorf("a refused page used the code up: %s", resp.Status)
	}
}

func TestCodeGuessing(t *testing.T) {
	b := newBench(t)
	try := func(code string) int {
		return b.do(t, b.request(t, "POST", "/v1/session", fmt.Sprintf(`{"code":%q}`, code))).StatusCode
	}
	for i := range triesPerMinute {
		if got := try("00000-00000"); got != http.StatusUnauthorized {
			t.Errorf("try %d: %d", i, got)
		}
	}
	code, _, err := b.keys.newCode()
	if err != nil {
		t.Fatal(err)
	}
	if got := try(code); got != http.StatusTooManyRequests {
		t.Errorf("after %d wrong codes: %d", triesPerMinute, got)
	}
	b.clock.move(time.Minute)
	if got := try(code); got != http.StatusCreated {
		t.Errorf("a minute later: %d", got)
	}
}

func TestPassphraseGuessing(t *testing.T) {
	b := newBench(t)
	try := func(phrase string) int {
		req := b.request(t, "POST", "/v1/unlock", fmt.Sprintf(`{"passphrase":%q}`, phrase))
		req.Header.Set("Authorization", "Bearer "+b.token)
		return b.do(t, req).StatusCode
	}
	for i := range triesPerMinute {
		if got := try("wrong"); got != http.StatusUnauthorized {
			t.Errorf("try %d: %d", i, got)
		}
	}
	if got := try(b.node.passphrase); got != http.StatusTooManyRequests {
		t.Errorf("after %d wrong passphrases: %d", triesPerMinute, got)
	}
	if b.node.unlocks != triesPerMinute {
		t.Errorf("the vault was tried %d times", b.node.unlocks)
	}
	b.clock.move(time.Minute)
	if got := try(" " + b.node.passphrase + "\n"); got != http.StatusOK {
		t.Errorf("a minute later: %d", got)
	}
}

func TestSessionEnds(t *testing.T) {
	b := newBench(t)
	status := func(page browser) int {
		return b.do(t, page.as(b.request(t, "GET", "/v1/status", ""))).StatusCode
	}
	page := b.login(t)
	b.clock.move(sessionIdle - time.Second)
	if got := status(page); got != http.StatusOK {
		t.Errorf("just before it idles out: %d", got)
	}
	b.clock.move(sessionIdle)
	if got := status(page); got != http.StatusUnauthorized {
		t.Errorf("idle: %d", got)
	}
	page = b.login(t)
	for range int(sessionLife/sessionIdle)*2 - 1 {
		b.clock.move(sessionIdle / 2)
		if got := status(page); got != http.StatusOK {
			t.Fatalf("in use: %d", got)
		}
	}
	b.clock.move(sessionIdle / 2)
	if got := status(page); got != http.StatusUnauthorized {
		t.Errorf("after its whole life: %d", got)
	}
	page = b.login(t)
	if resp := b.do(t, page.as(b.request(t, "DELETE", "/v1/session", ""))); resp.StatusCode != http.StatusNoContent {
		t.Errorf("ending it: %s", resp.Status)
	}
	if got := status(page); got != http.StatusUnauthorized {
		t.Errorf("after it was ended: %d", got)
	}
}

func TestManySessionsAndCodes(t *testing.T) {
	b := newBench(t)
	first := b.login(t)
	for range maxSessions {
		b.clock.move(time.Second)
		b.login(t)
	}
	if len(b.keys.sessions) > maxSessions {
		t.Errorf("%d sessions", len(b.keys.sessions))
	}
	if resp := b.do(t, first.as(b.request(t, "GET", "/v1/status", ""))); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the oldest session: %s", resp.Status)
	}
	for range 3 * maxCodes {
		if _, _, err := b.keys.newCode(); err != nil {
			t.Fatal(err)
		}
	}
	if len(b.keys.codes) > maxCodes {
		t.Errorf("%d codes", len(b.keys.codes))
	}
}

func TestCookie(t *testing.T) {
	b := newBench(t)
	c := b.login(t).cookie
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("cookie %+v", c)
	}
	if port := b.URL()[strings.LastIndex(b.URL(), ":")+1 : len(b.URL())-1]; c.Name != "tocsin-"+port {
		t.Errorf("the cookie is called %s: nodes on one machine would overwrite each other's", c.Name)
	}
}

func TestFilesArePrivate(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{b.cfg.Socket, b.cfg.TokenFile} {
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
	}
}

func TestSmallRequests(t *testing.T) {
	b := newBench(t)
	ask := func(body, contentType string) (int, string) {
		req := b.request(t, "POST", "/v1/mesh", body)
		req.Header.Set("Authorization", "Bearer "+b.token)
		req.Header.Set("Content-Type", contentType)
		resp := b.do(t, req)
		var e errorBody
		if err := decode(resp, &e); err != nil || e.Error == nil {
			return resp.StatusCode, ""
		}
		return resp.StatusCode, e.Error.Code
	}
	for _, c := range []struct {
		name, body, kind string
		status           int
		code             string
	}{
		{"too large", `{"online":` + strings.Repeat(" ", maxBody) + `true}`, "application/json", 413, "too_large"},
		{"a form", `online=true`, "application/x-www-form-urlencoded", 415, "not_json"},
		{"no type", `{"online":true}`, "", 415, "not_json"},
		{"not JSON", `online`, "application/json", 400, "invalid"},
		{"misspelt", `{"online":true,"onlin":true}`, "application/json", 400, "invalid"},
		{"wrong type", `{"online":"yes"}`, "application/json", 400, "invalid"},
		{"two objects", `{"online":true}{"online":false}`, "application/json", 400, "invalid"},
		{"nothing said", `{}`, "application/json", 400, "invalid"},
	} {
		if status, code := ask(c.body, c.kind); status != c.status || code != c.code {
			t.Errorf("%s: %d %s, want %d %s", c.name, status, code, c.status, c.code)
		}
	}
}
