package api

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"tocsin/crypto/identity"
)

// TestTrustPages goes through the pages of trust on two real nodes: a PIN is set, used and used up; two people verify each other
// with codes and with digits; a list of revoked devices comes and says who is out.
func TestTrustPages(t *testing.T) {
	browser := newBrowser(t)
	amara, ben := newMachines(t)
	a, b := newTab(t, browser, amara), newTab(t, browser, ben)
	a.unlock(amara)
	b.enter(ben)
	b.at("/")
	a.wait("Ben is in reach", `document.getElementById('reach').textContent === 'In reach: Ben Carter.'`)
	a.wait("nothing is known of revocations", `document.getElementById('age').textContent === 'Revocations: not heard yet.'`)

	people(t, a)
	meet(t, a, b)
	compareDigits(t, b)
	setPIN(t, a)
	a.shots("safety", "/safety")
	a.shots("people", "/people")
	usePIN(t, a, amara)
	useUpPIN(t, a, amara)
	lockByKeyboard(t, a)
	a.unlockAgain()
	idleNotice(t, a)
	revoke(t, a, amara, ben)
}

// people: who is known, found by a word, with badges in words.
func people(t *testing.T, a *tab) {
	t.Helper()
	a.open("/people")
	a.settled()
	a.wait("both are listed", `document.querySelectorAll('.person-card').length === 2`)
	a.wait("the badge is in words", `[...document.querySelectorAll('.badge')].some(b => b.textContent === 'Verified by their organisation')`)
	a.do("finding Ben", chromedp.SendKeys("#find", "param"))
	a.wait("only he is left", `document.querySelectorAll('.person-card').length === 1 && document.querySelector('.person-card .name').textContent === 'Ben Carter'`)
	a.wait("a screen reader hears how many", `document.getElementById('found').textContent === '1 found'`)
	a.press(".person-card summary")
	a.wait("his registration", `document.querySelector('.person-card .facts').textContent.includes('GMC 7654321')`)
}

// meet: what one screen shows is scanned by the other, as a picture of it, three times.
func meet(t *testing.T, a, b *tab) {
	t.Helper()
	for _, p := range []*tab{a, b} {
		p.open("/verify")
		p.settled()
	}
	a.press("#show")
	b.scan(a)
	b.wait("an answer is shown", `!document.getElementById('code').hidden`)
	a.shotsHere("verify")
	a.scan(b)
	a.wait("the last code is shown", `document.getElementById('show').textContent.startsWith('The other screen')`)
	b.scan(a)
	b.wait("Ben's side is done", `!document.getElementById('done').hidden && document.getElementById('done-words').textContent.startsWith('Amara Okafor is verified')`)
	a.press("#show")
	a.wait("Amara's side is done", `document.getElementById('done-words').textContent.startsWith('Ben Carter is verified')`)
	a.press("#done a")
	a.at("/people")
	a.wait("it stands with his name", `[...document.querySelectorAll('[data-log]')].some(c => c.textContent.includes('Ben Carter') && c.textContent.includes('Verified in person'))`)
	camera(t, a)
	a.open("/verify")
	a.settled()
	a.do("something that is no code", chromedp.SetUploadFiles("#picture", []string{blankPicture(t)}))
	a.wait("is said to be none", `document.getElementById('error').textContent.startsWith('No code is to be seen')`)
}

// film writes what the camera of the tests sees: a code, as a sequence of JPEG pictures.
func film(t *testing.T) string {
	t.Helper()
	code, err := QRCode("NO MEETING")
	must(t, err)
	frame := photograph(t, code)
	path := filepath.Join(t.TempDir(), "film.mjpeg")
	must(t, os.WriteFile(path, bytes.Repeat(frame, 3), 0o600))
	return path
}

// camera: the page looks through a camera, and what it sees comes to the node; the code that it sees here is of no meeting. No other
// page may look.
func camera(t *testing.T, a *tab) {
	t.Helper()
	a.open("/verify")
	a.settled()
	a.press("#camera")
	a.wait("what is seen was read and refused", `document.getElementById('video').videoWidth > 0 && document.getElementById('error').textContent !== ''`)
	if text := value[string](a, `document.getElementById('error').textContent`); strings.Contains(text, "camera") {
		t.Errorf("the page says: %s", text)
	}
	a.press("#camera")
	a.wait("the camera is off", `document.getElementById('video').srcObject === null && document.getElementById('scan').hidden`)
	allowed := func() bool { return value[bool](a, `document.featurePolicy.allowsFeature('camera')`) }
	if !allowed() {
		t.Error("the page does not say that it may use the camera")
	}
	a.open("/people")
	a.settled()
	if allowed() {
		t.Error("another page may use the camera")
	}
}

// scan takes a picture of the code on another screen and chooses it here.
func (b *tab) scan(other *tab) {
	b.t.Helper()
	other.wait("a code is to be seen", `document.querySelector('#code svg') !== null && !document.getElementById('code').hidden`)
	picture, err := chromedp.Run(other.ctx, chromedp.ScreenshotScale("#code", 2))
	must(b.t, err)
	path := filepath.Join(b.t.TempDir(), "code.png")
	must(b.t, os.WriteFile(path, picture, 0o600))
	b.do("choosing the picture", chromedp.SetUploadFiles("#picture", []string{path}))
	b.wait("it was read", `document.getElementById('picture').value === '' && document.getElementById('error').textContent === ''`)
}

func blankPicture(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "icon.png")
	must(t, os.WriteFile(path, []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\b\x00\x00\x00\x00:~\x9bU\x00\x00\x00\nIDATx\x9cc`\x00\x00\x00\x02\x00\x01H\xaf\xa4q\x00\x00\x00\x00IEND\xaeB`\x82"), 0o600))
	return path
}

// compareDigits: without a camera both sides show the same, and one says so.
func compareDigits(t *testing.T, b *tab) {
	t.Helper()
	b.open("/verify")
	b.settled()
	value[bool](b, `(p => { p.selectedIndex = 1; p.dispatchEvent(new Event('change')); return true; })(document.getElementById('person'))`)
	b.wait("sixty digits", `/^[0-9]{60}$/.test(document.getElementById('digits').textContent)`)
	b.press("#agree")
	b.wait("done", `!document.getElementById('done').hidden`)
}

const testPIN = "274951"

// confirm answers the dialogue that asks who is there.
func (b *tab) confirm(secret string) {
	b.t.Helper()
	b.wait("it asks who is there", `document.querySelector('dialog[open] #again') !== null`)
	b.do("answering", chromedp.SetValue("#again", secret))
	b.press("dialog button.main")
}

// setPIN: two that differ, a wrong passphrase, then the PIN is set.
func setPIN(t *testing.T, a *tab) {
	t.Helper()
	a.open("/safety")
	a.settled()
	a.wait("no PIN", `document.getElementById('pin-state').textContent.startsWith('No PIN is set')`)
	a.do("two that differ", chromedp.SetValue("#pin", testPIN), chromedp.SetValue("#pin-again", "274952"))
	a.press("#pin-set")
	a.wait("is said", `document.getElementById('pin-error').textContent === 'The two are not the same.'`)
	a.do("the same", chromedp.SetValue("#pin-again", testPIN))
	a.press("#pin-set")
	a.confirm("no such passphrase at all")
	a.wait("a wrong passphrase", `document.getElementById('again-error').textContent.startsWith('This is not the passphrase')`)
	a.confirm(machinePassphrase)
	a.wait("the PIN is set", `document.getElementById('pin-state').textContent.startsWith('A PIN is set')`)
}

// usePIN: lock now, one wrong PIN, the right one.
func usePIN(t *testing.T, a *tab, m *machine) {
	t.Helper()
	a.open("/safety")
	a.settled()
	a.press("#lock-now")
	a.at("/unlock")
	a.wait("the PIN is asked for", `!document.getElementById('pin-form')?.hidden && document.activeElement.id === 'pin'`)
	a.shotsHere("lock")
	a.do("a wrong PIN", chromedp.SendKeys("#pin", "111222\r"))
	a.wait("is said to be wrong, with what is left", `document.getElementById('pin-error').textContent === 'This is not the PIN.' && document.getElementById('pin-hint').textContent.startsWith('9 tries are left')`)
	a.do("the PIN", chromedp.SetValue("#pin", testPIN))
	a.press("#pin-form button.main")
	a.at("/safety")
	if m.Status().Locked {
		t.Error("the PIN did not unlock")
	}
}

// useUpPIN: ten wrong PINs leave the passphrase only, and cost nothing. The clock is put forward past the waits between them.
func useUpPIN(t *testing.T, a *tab, m *machine) {
	t.Helper()
	must(t, m.Lock())
	a.wait("the page has left", `location.pathname === '/unlock' && document.getElementById('pin-form')?.hidden === false`)
	c, ctx := m.dial(t), t.Context()
	waited := false
	for left := 9; left > 0; left-- {
		_, err := c.UnlockPIN(ctx, "111222")
		var e *Error
		if !errors.As(err, &e) || e.Code != "wrong_pin" || e.AttemptsLeft == nil || *e.AttemptsLeft != left {
			t.Fatalf("with %d left: %v", left, err)
		}
		if e.RetryAfter > 0 && !waited {
			waited = true
			if _, err := c.UnlockPIN(ctx, testPIN); !errors.Is(err, ErrBackOff) {
				t.Errorf("too soon: %v", err)
			}
			a.waits()
		}
		m.clock.ahead.Add(int64(e.RetryAfter) * int64(time.Second))
	}
	if !waited {
		t.Error("no wrong PIN cost a wait")
	}
	a.do("again", chromedp.Reload())
	a.wait("one try is left", `document.getElementById('pin-hint')?.textContent.startsWith('1 try is left')`)
	a.do("the tenth wrong PIN", chromedp.SendKeys("#pin", "333444\r"))
	a.wait("only the passphrase is left", `document.getElementById('pin-form').hidden && !document.getElementById('unlock-form').hidden
		&& document.getElementById('unlock-why').textContent === 'The PIN is used up, so only the passphrase opens it. No message is lost.'`)
	if _, err := c.UnlockPIN(ctx, testPIN); !errors.Is(err, ErrNoPIN) {
		t.Errorf("the right PIN after ten wrong ones: %v", err)
	}
	a.unlockAgain()
}

// waits: a page that tries too soon counts down and lets nobody press.
func (b *tab) waits() {
	b.t.Helper()
	b.do("too soon on the page", chromedp.SendKeys("#pin", testPIN+"\r"))
	b.wait("the button says how long", `(button => button.disabled && button.textContent.startsWith('Wait '))(document.querySelector('#pin-form button.main'))`)
}

func (b *tab) unlockAgain() {
	b.t.Helper()
	b.wait("the passphrase is asked for", `location.pathname === '/unlock' && (document.getElementById('unlock-form')?.hidden === false || document.getElementById('pin-form')?.hidden === false)`)
	value[bool](b, `(document.getElementById('unlock-form').hidden && document.getElementById('use-passphrase').click(), true)`)
	b.do("the passphrase", chromedp.SetValue("#passphrase", machinePassphrase))
	b.press("#unlock-form button.main")
	b.wait("let in", `location.pathname !== '/unlock' && document.getElementById('who')?.textContent !== ''`)
}

// lockByKeyboard reaches "Lock now" with nothing but the tab key on a small screen, and sees where it is all the way.
func lockByKeyboard(t *testing.T, a *tab) {
	t.Helper()
	a.do("a small screen", chromedp.EmulateViewport(320, 640))
	a.open("/safety")
	a.settled()
	for range 40 {
		a.do("tab", chromedp.KeyEvent(kb.Tab))
		if !value[bool](a, `(s => s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2)(getComputedStyle(document.activeElement))`) {
			t.Errorf("the focus is not to be seen on %s", value[string](a, `document.activeElement.outerHTML`))
		}
		if value[bool](a, `document.activeElement.id === 'lock-now'`) {
			a.do("pressing it", chromedp.KeyEvent(kb.Enter))
			a.at("/unlock")
			a.do("a desk", chromedp.EmulateViewport(1280, 800))
			return
		}
	}
	t.Fatalf("Lock now is not reached with the keyboard\n%s", a.look())
}

// idleNotice: the page says when the device locks itself, and warns shortly before.
func idleNotice(t *testing.T, a *tab) {
	t.Helper()
	a.open("/safety")
	a.settled()
	a.wait("when it locks itself", `document.getElementById('idle').textContent.startsWith('This device locks itself when nobody has touched it for 5 minutes')`)
	// As if it were so long until it locks: said again and again, because the page asks the node now and then.
	limit := func(seconds int) string {
		return fmt.Sprintf(`import('/assets/idle.js').then(m => m.start(%d)), `, seconds)
	}
	a.wait("a warning", limit(29)+`!document.getElementById('soon').hidden && document.getElementById('soon').textContent.includes('locks in a moment')`)
	a.wait("no warning", limit(300)+`document.getElementById('soon').hidden`)
}

// revoke: the authority's list makes the strip fresh, and says who is out, at once and without a reload.
func revoke(t *testing.T, a *tab, amara, ben *machine) {
	t.Helper()
	a.open("/people")
	a.settled()
	st := ben.Status()
	id, err := identity.ParseLogID(st.Log)
	must(t, err)
	now := amara.clock.Now()
	var mesh identity.MeshID
	fmt.Sscanf(amara.Status().MeshID, "%x", (*hexBytes)(&mesh))
	raw, err := amara.authority.CRL(mesh, identity.CRL{Number: 1, Time: now, Revoked: []identity.Revoked{{Key: identity.TicketKey(id.Author), Since: now}}})
	must(t, err)
	info, err := amara.dial(t).PublishStatement(t.Context(), raw)
	if err != nil || info.Kind != "crl" || !info.New {
		t.Fatalf("%+v, %v", info, err)
	}
	if _, err := amara.dial(t).PublishStatement(t.Context(), raw[:40]); !errors.Is(err, ErrInvalid) {
		t.Errorf("half a statement: %v", err)
	}
	a.wait("Ben is shown as revoked", `[...document.querySelectorAll('[data-log]')].some(c => c.textContent.includes('Ben Carter') && c.querySelector('.badge.bad')?.textContent.startsWith('Revoked'))`)
	a.wait("the strip says how old it is", `document.getElementById('age').textContent === 'Revocations: as of today.'`)
	eventually(t, say("the connection is cut"), func() bool { return amara.Status().Peers == 0 })
	a.open("/safety")
	a.settled()
	a.wait("the safety page too", `document.querySelector('#ages .badge')?.textContent === 'Fresh'`)
	if got := value[string](a, `document.title`); got != "Safety – Tocsin" {
		t.Errorf("the title of the window is %q", got)
	}
}

// hexBytes scans 32 bytes of hexadecimal digits.
type hexBytes [32]byte

func (h *hexBytes) Scan(state fmt.ScanState, _ rune) error {
	token, err := state.Token(true, nil)
	if err != nil {
		return err
	}
	var b []byte
	if _, err := fmt.Sscanf(string(token), "%x", &b); err != nil || len(b) != len(h) {
		return errors.New("not 32 bytes of hexadecimal digits")
	}
	copy(h[:], b)
	return nil
}

// shots takes pictures of a page, small and large, light and dark, where TOCSIN_SHOTS names a directory: for people to look at.
func (b *tab) shots(name, path string) {
	b.t.Helper()
	if os.Getenv("TOCSIN_SHOTS") == "" {
		return
	}
	for _, scheme := range []string{"light", "dark"} {
		for _, size := range [][2]int64{{320, 640}, {1280, 800}} {
			b.scheme(scheme)
			b.do("size", chromedp.EmulateViewport(size[0], size[1]))
			b.open(path)
			b.settled()
			b.shot(fmt.Sprintf("%s-%d", name, size[0]), scheme)
		}
	}
	b.scheme("light")
}

// shotsHere does so with the page as it is.
func (b *tab) shotsHere(name string) {
	b.t.Helper()
	if os.Getenv("TOCSIN_SHOTS") == "" {
		return
	}
	for _, scheme := range []string{"dark", "light"} {
		for _, size := range [][2]int64{{320, 640}, {1280, 800}} {
			b.scheme(scheme)
			b.do("size", chromedp.EmulateViewport(size[0], size[1]))
			b.shot(fmt.Sprintf("%s-%d", name, size[0]), scheme)
		}
	}
}

func (b *tab) scheme(scheme string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
	must(b.t, err)
}

// shot takes one picture of the whole page as it is, of a conversation what is on the screen.
func (b *tab) shot(name, scheme string) {
	b.t.Helper()
	dir := os.Getenv("TOCSIN_SHOTS")
	if dir == "" {
		return
	}
	take := chromedp.FullScreenshot(100)
	if strings.HasPrefix(name, "conversation") { // which has parts that stick to its edges
		take = chromedp.CaptureScreenshot()
	}
	picture, err := chromedp.Run(b.ctx, take)
	must(b.t, err)
	must(b.t, os.WriteFile(filepath.Join(dir, strings.Join([]string{name, scheme}, "-")+".png"), picture, 0o600))
}
