package api

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"tocsin/node"
)

func (f *fakeNode) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// TestPINAnswers: what a wrong PIN costs is said in numbers, and when it is used up the passphrase is asked for.
func TestPINAnswers(t *testing.T) {
	b := newBench(t)
	c, ctx := b.dial(t), t.Context()
	if _, err := c.UnlockPIN(ctx, "271828"); !errors.Is(err, ErrNoPIN) {
		t.Errorf("without a PIN: %v", err)
	}
	b.node.set(func() { b.node.pin, b.node.pinLeft, b.node.locked = "271828", 6, true })
	wrong := func(left, wait int, says string) {
		t.Helper()
		status, e := b.ask(t, "POST", "/v1/unlock", `{"pin":"111111"}`)
		if status != http.StatusUnauthorized || e.Code != "wrong_pin" || e.AttemptsLeft == nil || *e.AttemptsLeft != left || e.RetryAfter != wait || !strings.Contains(e.Hint, says) {
			t.Errorf("%d %+v, want %d left and a wait of %d", status, e, left, wait)
		}
	}
	wrong(5, 0, "5 tries are left")
	wrong(4, 30, "4 tries are left; wait 30 seconds")
	req := b.request(t, "POST", "/v1/unlock", `{"pin":"271828"}`)
	b.bearer(req)
	resp := b.do(t, req)
	var e errorBody
	must(t, decode(resp, &e))
	if resp.StatusCode != http.StatusTooManyRequests || e.Error.Code != "back_off" || resp.Header.Get("Retry-After") != "90" || e.Error.RetryAfter != 90 {
		t.Errorf("too soon: %s %+v", resp.Status, e.Error)
	}
	b.node.set(func() { b.node.pinLeft = 1 })
	wrong(0, 0, "unlock with the passphrase; no message is lost")
	if _, err := c.UnlockPIN(ctx, "271828"); !errors.Is(err, ErrNoPIN) {
		t.Errorf("used up: %v", err)
	}
	b.node.set(func() { b.node.pinLeft = 10 })
	if st, err := c.UnlockPIN(ctx, " 271828\n"); err != nil || st.Locked {
		t.Errorf("the PIN: %+v, %v", st, err)
	}
}

// TestOneSecret: a request that names two secrets, or none, opens nothing and costs no try.
func TestOneSecret(t *testing.T) {
	b := newBench(t)
	b.node.set(func() { b.node.pin, b.node.pinLeft, b.node.locked = "271828", 10, true })
	for _, path := range []string{"/v1/unlock", "/v1/reauth"} {
		for _, body := range []string{`{}`, `{"passphrase":" ","pin":""}`, `{"passphrase":"correct horse battery staple","pin":"271828"}`} {
			if status, e := b.ask(t, "POST", path, body); status != http.StatusBadRequest || e.Code != "invalid" {
				t.Errorf("%s %s: %d %+v", path, body, status, e)
			}
		}
	}
	if !b.node.Status().Locked || b.node.pinLeft != 10 || b.node.unlocks != 0 {
		t.Error("a secret was tried")
	}
}

// TestSensitiveRoutesAskAgain: each of them refuses without a token, with a wrong one, and with one that was used.
func TestSensitiveRoutesAskAgain(t *testing.T) {
	b := newBench(t)
	c, ctx := b.dial(t), t.Context()
	sensitive := map[string]bool{
		"PUT /v1/pin": true, "DELETE /v1/pin": true, "POST /v1/wipe": true, "POST /v1/sponsor": true, "POST /v1/sponsor/revoke": true,
		"POST /v1/groups/{id}/erase": true, "POST /v1/groups/{id}/transfer/sign-off": true, "POST /v1/groups/{id}/transfer/export": true,
		"POST /v1/groups/{id}/transfer/send": true, "PUT /v1/groups/{id}/retention": true, "POST /v1/groups/{id}/holds": true,
		"POST /v1/groups/{id}/holds/{hold}/end": true, "POST /v1/groups/{id}/erasure": true, "POST /v1/groups/{id}/incident/settle": true, "POST /v1/access": true, "POST /v1/access/find": true,
	}
	for _, rt := range b.table() {
		name := rt.method + " " + rt.path
		if !sensitive[name] {
			continue
		}
		delete(sensitive, name)
		granted, err := c.Reauth(ctx, Unlock{Passphrase: b.node.passphrase})
		must(t, err)
		for _, try := range []struct {
			name, token string
			want        int
		}{{"no token", "", 403}, {"a wrong token", "guess", 403}, {"the token", granted.Token, 200}, {"the token again", granted.Token, 403}} {
			req := b.request(t, rt.method, rt.example(), bodies[name])
			b.bearer(req)
			if try.token != "" {
				req.Header.Set(reauthHeader, try.token)
			}
			resp := b.do(t, req)
			if ok := resp.StatusCode < 300; ok != (try.want == 200) || !ok && resp.StatusCode != try.want {
				t.Errorf("%s, %s: %s", name, try.name, resp.Status)
			}
		}
	}
	if len(sensitive) > 0 {
		t.Errorf("there are no routes %v", sensitive)
	}
	if _, err := c.Reauth(ctx, Unlock{Passphrase: "wrong"}); !errors.Is(err, ErrPassphrase) {
		t.Errorf("a wrong passphrase: %v", err)
	}
	if status, _ := b.ask(t, "POST", "/v1/wipe", `{"confirm":"yes"}`); status != http.StatusBadRequest {
		t.Errorf("a wipe without its word: %d", status)
	}
}

// TestReauthGuessing: the second door is limited as the first is, and together with it.
func TestReauthGuessing(t *testing.T) {
	b := newBench(t)
	for range triesPerMinute / 2 {
		b.ask(t, "POST", "/v1/unlock", `{"passphrase":"wrong"}`)
		b.ask(t, "POST", "/v1/reauth", `{"passphrase":"wrong"}`)
	}
	for path, body := range map[string]string{"/v1/reauth": `{"passphrase":"correct horse battery staple"}`, "/v1/passphrase": bodies["POST /v1/passphrase"]} {
		if status, _ := b.ask(t, "POST", path, body); status != http.StatusTooManyRequests {
			t.Errorf("%s after %d wrong passphrases: %d", path, triesPerMinute, status)
		}
	}
}

// TestIdleClock: what a page asks for by itself does not keep a device unlocked; what a person does is a touch.
func TestIdleClock(t *testing.T) {
	b := newBench(t)
	for _, rt := range b.table() {
		name := rt.method + " " + rt.path
		if rt.path == "/v1/events" || rt.access != user {
			continue
		}
		b.node.set(func() { b.node.touched = 0 })
		req := b.request(t, rt.method, rt.example(), bodies[name])
		b.bearer(req)
		b.again(req)
		b.do(t, req)
		quiet := rt.method == "GET" || map[string]bool{
			"POST /v1/lock": true, "POST /v1/lock/hard": true, "POST /v1/wipe": true, "POST /v1/groups/{id}/read": true, "POST /v1/qr/read": true,
			"POST /v1/statements": true, "POST /v1/logs/verify": true, "DELETE /v1/session": true,
		}[name]
		if touched := b.node.touched > 0; touched == quiet {
			t.Errorf("%s: a touch is %v", name, touched)
		}
	}
}

func TestWiped(t *testing.T) {
	b := newBench(t)
	b.node.set(func() { b.node.err = node.ErrWiped })
	if status, e := b.ask(t, "GET", "/v1/groups", ""); status != http.StatusGone || e.Code != "wiped" {
		t.Errorf("%d %+v", status, e)
	}
}

// TestReadQR: a frame of a camera is looked at, and what is no picture, too large a one or without a code is answered as such.
func TestReadQR(t *testing.T) {
	b := newBench(t)
	ask := func(body, kind string) (int, []string) {
		req := b.request(t, "POST", "/v1/qr/read", body)
		b.bearer(req)
		req.Header.Set("Content-Type", kind)
		resp := b.do(t, req)
		var out QRTexts
		if resp.StatusCode == http.StatusOK {
			must(t, decode(resp, &out))
		}
		return resp.StatusCode, out.Texts
	}
	code := pictureOf("TOCSIN")
	if status, texts := ask(code, "image/png"); status != 200 || len(texts) != 1 || texts[0] != "TOCSIN" {
		t.Errorf("%d %v", status, texts)
	}
	for name, c := range map[string]struct {
		body, kind string
		status     int
	}{
		"no picture": {"hello", "image/png", 400}, "cut short": {code[:100], "image/png", 400}, "another type": {code, "application/json", 415},
		"too long": {code + strings.Repeat("\x00", maxPicture), "image/png", 413},
	} {
		if status, _ := ask(c.body, c.kind); status != c.status {
			t.Errorf("%s: %d, want %d", name, status, c.status)
		}
	}
}
