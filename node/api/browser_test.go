package api

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// hostile is what a message must not be able to do: run, load, or change the page.
const hostile = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script><a href="javascript:window.hacked=1">x</a>`

// A browser now and then gives no answer at all. Each step is bounded, and a question is asked again.
const (
	stepPatience = 2 * time.Minute
	askPatience  = 20 * time.Second
)

// tab is one page of a real browser.
type tab struct {
	t    *testing.T
	ctx  context.Context
	home string // address of the node's page, without the slash

	mu       sync.Mutex
	problems []string // what the console complained about
}

// newBrowser starts a headless browser, or skips the test where there is none.
func newBrowser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed, so the page was not tried in a browser: apt-get install chromium")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 6*patience) // outlives the test's own, to end the browser in order
	t.Cleanup(cancel)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.UserDataDir(t.TempDir()),
		// A camera that looks at a QR code all the time, and a person who lets the page use it.
		chromedp.Flag("use-fake-device-for-media-stream", true), chromedp.Flag("use-fake-ui-for-media-stream", true),
		chromedp.Flag("use-file-for-fake-video-capture", film(t)))
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	must(t, chromedp.Do(ctx, chromedp.Navigate("about:blank"))) // starts it
	t.Cleanup(func() { must(t, chromedp.Cancel(ctx)) })         // waits for its end
	return ctx
}

// newTab opens a tab for the page of a machine. options may ask for a browser context of its own, which shares nothing.
func newTab(t *testing.T, browser context.Context, m *machine, options ...chromedp.ContextOption) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, options...)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx, home: strings.TrimSuffix(m.api.URL(), "/")}
	messages := chromedp.Console(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			// A refused request is an answer like another, and what a test asks for.
			if m.Type == chromedp.ConsoleException || m.Type == chromedp.ConsoleError && m.Source != "network" {
				b.mu.Lock()
				b.problems = append(b.problems, m.String())
				b.mu.Unlock()
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		for _, p := range b.problems {
			t.Errorf("the console says: %s", p)
		}
	})
	return b
}

func (b *tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepPatience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%s: %v\n%s", what, err, b.look())
	}
}

// look describes the page, for a failure.
func (b *tab) look() string {
	ctx, cancel := context.WithTimeout(b.ctx, askPatience)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + '\n' + (document.body ? document.body.innerText : '')`))
	if err != nil {
		return err.Error()
	}
	return text
}

// wait waits until an expression is true in the page. Between two pages there is nothing to ask, so errors are asked again.
func (b *tab) wait(what, expression string) {
	b.t.Helper()
	var last error
	eventually(b.t, func() string { return fmt.Sprintf("%s (%v)\n%s", what, last, b.look()) }, func() bool {
		ctx, cancel := context.WithTimeout(b.ctx, askPatience)
		defer cancel()
		var ok bool
		ok, last = chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		return last == nil && ok
	})
}

// value evaluates an expression.
func value[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepPatience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// at waits until the page of a path is there and its module has run.
func (b *tab) at(path string) {
	b.t.Helper()
	b.wait("at "+path, fmt.Sprintf(`document.readyState === 'complete' && location.pathname.startsWith(%q)`, path))
}

func (b *tab) open(path string) {
	b.t.Helper()
	b.do("opening "+path, chromedp.Navigate(b.home+path))
}

// enter uses a one-time code as `tocsin open` does.
func (b *tab) enter(m *machine) {
	b.t.Helper()
	url, err := m.api.OpenURL()
	must(b.t, err)
	b.open(strings.TrimPrefix(url, b.home))
	b.wait("the code has left the address", `location.hash === ''`)
}

// shows waits until a message with this text is in the conversation.
func (b *tab) shows(text string) {
	b.t.Helper()
	quoted, err := json.Marshal(text)
	must(b.t, err)
	b.wait("shows "+text, fmt.Sprintf(`[...document.querySelectorAll('.message .text')].some(p => p.textContent === %s)`, quoted))
}

// TestBrowser is the way of two clinicians through the page, on two real nodes.
func TestBrowser(t *testing.T) {
	browser := newBrowser(t)
	amara, ben := newMachines(t)
	a, b := newTab(t, browser, amara), newTab(t, browser, ben)

	a.unlock(amara)
	b.enter(ben)
	b.at("/")
	a.wait("the strip says who is in reach", `document.getElementById('reach').textContent === 'In reach: Ben Carter.'`)

	a.startConversation()
	b.wait("the conversation is on the other page", `document.querySelector('#list a .name')?.textContent === 'Ward 5 evacuation'`)
	b.press("#list a")
	b.at("/c/")
	b.wait("the conversation is named", `document.getElementById('title').textContent === 'Ward 5 evacuation'`)

	a.sendByMouse("Two patients to Ward 7, please confirm.", "urgent")
	b.shows("Two patients to Ward 7, please confirm.")
	b.wait("it is marked urgent in words", `document.querySelector('.message .flag.urgent')?.textContent === 'Urgent'`)
	a.wait("the sender sees that it was read", `document.querySelector('.message.own .state')?.textContent === 'Read'`)

	a.sendByMouse(hostile, "routine")
	b.shows(hostile)
	for _, page := range []*tab{a, b} {
		if value[bool](page, `Boolean(window.hacked) || document.querySelector('.message img, .message script, .message a') !== null`) {
			t.Error("a message became more than text")
		}
	}

	b.keyboardAt320("Confirmed. Bed ready.")
	a.shows("Confirmed. Bed ready.")
	a.wait("a screen reader is told", `document.getElementById('news').textContent === 'New message from Ben Carter'`)

	a.attachment(b)
	titles(t, a, b)
	secondTab(t, browser, amara, func() { b.sendByMouse("One more thing.", "routine") })
	a.shows("One more thing.")
	stranger(t, browser, amara)
	for _, page := range []*tab{a, b} {
		page.fits(allPages...)
	}
	t.Run("axe", func(t *testing.T) { accessible(t, a, b) })
	a.lock(b)
}

// unlock goes from a locked device to the list: code, wrong passphrase, passphrase.
func (b *tab) unlock(m *machine) {
	b.t.Helper()
	b.open("/")
	b.wait("without a session the page asks for a code", `location.pathname === '/unlock' && !document.getElementById('code-form')?.hidden`)
	b.do("a wrong code", chromedp.SendKeys("#code", "wrong-code1\r"))
	b.wait("a wrong code is said to be wrong", `document.getElementById('code-error').textContent.startsWith('This code is wrong')`)
	b.enter(m)
	b.wait("a locked device asks for the passphrase", `!document.getElementById('unlock-form').hidden`)
	b.do("a wrong passphrase", chromedp.SendKeys("#passphrase", "no such passphrase at all\r"))
	b.wait("a wrong passphrase is said to be wrong", `document.getElementById('passphrase-error').textContent.startsWith('This is not the passphrase')`)
	b.do("the passphrase", chromedp.SetValue("#passphrase", machinePassphrase))
	b.press("#unlock-form button")
	b.at("/")
	b.wait("the list is empty", `location.pathname === '/' && document.getElementById('empty')?.hidden === false`)
}

// startConversation fills in the form for a new one.
func (b *tab) startConversation() {
	b.t.Helper()
	b.press(".heading a")
	b.at("/new")
	b.settled()
	b.press("#new button[type=submit]")
	b.wait("what is missing is said", `document.getElementById('name-error').textContent !== ''`)
	b.do("filling it in", chromedp.SendKeys("#name", "Ward 5 evacuation"))
	b.press("label.person")
	b.press("#new button[type=submit]")
	b.at("/c/")
	b.wait("the conversation is named", `document.getElementById('title').textContent === 'Ward 5 evacuation'`)
}

func (b *tab) sendByMouse(text, priority string) {
	b.t.Helper()
	b.do("sending", chromedp.SendKeys("#text", text))
	b.press(fmt.Sprintf("input[name=priority][value=%s]", priority))
	b.press("#send")
	b.shows(text)
	b.wait("the composer is empty and back at routine", `document.getElementById('text').value === '' && document.querySelector('input[value=routine]').checked`)
}

// keyboardAt320 answers with nothing but keys on a screen of 320 pixels, from the top of the page.
func (b *tab) keyboardAt320(text string) {
	b.t.Helper()
	b.do("a small screen", chromedp.EmulateViewport(320, 640), chromedp.Reload())
	b.wait("loaded", `document.readyState === 'complete' && document.querySelectorAll('.message').length === 2`)
	for range 60 {
		b.do("tab", chromedp.KeyEvent(kb.Tab))
		if !value[bool](b, `(() => { const s = getComputedStyle(document.activeElement); return document.activeElement.matches('input[type=radio]') || s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2; })()`) {
			b.t.Errorf("the focus is not to be seen on %s", value[string](b, `document.activeElement.outerHTML`))
		}
		if value[bool](b, `document.activeElement.id === 'text'`) {
			b.do("typing", chromedp.KeyEvent(text))
			b.do("sending with the keyboard", chromedp.KeyEvent(kb.Enter, chromedp.KeyModifiers(chromedp.ModifierCtrl)))
			b.shows(text)
			return
		}
	}
	b.t.Fatalf("the composer is not reached with the keyboard\n%s", b.look())
}

// fits checks pages, and the one it is on, at 320 pixels: nothing to scroll sideways, and targets of 48 pixels.
func (b *tab) fits(paths ...string) {
	b.t.Helper()
	here := value[string](b, `location.pathname`)
	b.do("a small screen", chromedp.EmulateViewport(320, 640))
	for _, path := range append([]string{here}, paths...) {
		b.open(path)
		b.settled()
		if wide := value[int](b, `document.documentElement.scrollWidth`); wide > 320 {
			b.t.Errorf("%s is %d pixels wide on a screen of 320", path, wide)
		}
		small := value[[]string](b, `[...document.querySelectorAll('button, .button, input:not([type=checkbox]), select, textarea, summary, .places a, .entry, label.person, .back, .brand')]
			.filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 47.5).map(e => e.outerHTML)`)
		for _, html := range small {
			b.t.Errorf("%s: too small to hit: %s", path, html)
		}
	}
	b.do("a desk", chromedp.EmulateViewport(1280, 800))
	b.open(here)
	b.settled()
}

// allPages are those that every clinician has, besides the conversation.
var allPages = []string{"/", "/new", "/people", "/verify", "/safety", "/search", "/everybody", "/transfer", "/mesh"}

// settled waits until the page shows its data.
func (b *tab) settled() {
	b.t.Helper()
	b.wait("settled", `document.readyState === 'complete' && document.getElementById('who')?.textContent !== ''
		&& document.querySelectorAll('#list a, .person, .message, .person-card, #person option:nth-child(2), #facts dt, #reason, #board > *, .fields > *, .formlist, #groups > *, #steps > *, #near > *').length > 0`)
}

// titles holds that nothing but four fixed words ever stands in a window's title.
func titles(t *testing.T, tabs ...*tab) {
	t.Helper()
	for _, b := range tabs {
		if got := value[string](b, `document.title`); got != "Conversation – Tocsin" {
			t.Errorf("the title of the window is %q", got)
		}
	}
}

// secondTab: another tab of the same browser is let in by the first, and hears what happens from whichever tab holds the stream.
func secondTab(t *testing.T, browser context.Context, m *machine, happen func()) {
	t.Helper()
	c := newTab(t, browser, m)
	c.open("/")
	c.at("/")
	c.settled()
	if held := value[int](c, `navigator.locks.query().then(q => q.held.length + 10 * q.pending.length)`); held != 11 {
		t.Errorf("the two tabs hold and wait for the stream as %d, want one each", held)
	}
	happen()
	c.wait("the second tab shows it", `document.querySelector('#list .summary').textContent.endsWith('One more thing.')`)
}

// stranger: another browser on the same machine sees a form and no word of content, whatever it asks for.
func stranger(t *testing.T, browser context.Context, m *machine) {
	t.Helper()
	c := newTab(t, browser, m, chromedp.WithNewBrowserContext())
	c.open("/")
	c.wait("a stranger is asked for a code", `location.pathname === '/unlock' && document.getElementById('code-form')?.hidden === false`)
	if text := c.look(); strings.Contains(text, "Ward 5") || strings.Contains(text, "Amara") {
		t.Errorf("a stranger sees: %s", text)
	}
}

// lock: the button empties the page, another tab of the device is emptied too, and the other device is not.
func (b *tab) lock(other *tab) {
	b.t.Helper()
	b.press("#lock")
	b.wait("the page asks for the passphrase", `location.pathname === '/unlock' && document.getElementById('unlock-form')?.hidden === false`)
	if text := b.look(); strings.Contains(text, "Ward") {
		b.t.Errorf("a locked page shows: %s", text)
	}
	if path := value[string](other, `location.pathname`); !strings.HasPrefix(path, "/c/") {
		b.t.Errorf("locking one device sent another to %s", path)
	}
}

// axeCore is axe-core, or skips the test.
func axeCore(t *testing.T) string {
	t.Helper()
	path := os.Getenv("TOCSIN_AXE")
	if path == "" {
		t.Skip("axe-core was not run: set TOCSIN_AXE to the path of axe.min.js (npm install axe-core)")
	}
	axe, err := os.ReadFile(path)
	must(t, err)
	return string(axe)
}

// accessible runs axe-core over every page, light and dark.
func accessible(t *testing.T, tabs ...*tab) {
	axe := axeCore(t)
	for _, b := range tabs {
		outer := b.t
		b.t = t
		b.accessible(axe)
		b.t = outer
	}
}

func (b *tab) accessible(axe string) {
	b.t.Helper()
	here := value[string](b, `location.pathname`)
	for _, scheme := range []string{"light", "dark"} {
		b.scheme(scheme)
		for _, path := range append([]string{here}, allPages...) {
			b.open(path)
			b.settled()
			b.axe(scheme, path, axe)
		}
	}
	// Both forms of the way in, in a tab that has no session. It is the same shell for everybody.
	b.do("the way in", chromedp.Navigate(b.home+"/openapi.yaml"), chromedp.Navigate(b.home+"/unlock#code=wrong"))
	b.wait("the unlock page", `document.readyState === 'complete' && document.getElementById('code-form')?.hidden === false && document.getElementById('code-error').textContent !== ''`)
	value[bool](b, `(document.getElementById('unlock-form').hidden = document.getElementById('pin-form').hidden = document.getElementById('wiped').hidden = false, true)`)
	b.axe("dark", "/unlock", axe)
	b.open(here)
	b.settled()
}

func (b *tab) axe(scheme, path, source string) {
	b.t.Helper()
	value[int](b, source+";0")
	found := value[string](b, `axe.run(document).then(r => JSON.stringify({passes: r.passes.length, violations: r.violations.map(v => [v.id, v.help, v.nodes.map(n => n.html + ' ' + n.failureSummary)])}, null, ' '))`)
	var result struct {
		Passes     int
		Violations []any
	}
	must(b.t, json.Unmarshal([]byte(found), &result))
	if result.Passes == 0 {
		b.t.Errorf("%s (%s): axe-core found nothing to look at", path, scheme)
	}
	if len(result.Violations) > 0 {
		b.t.Errorf("%s (%s): %s", path, scheme, found)
	}
}
