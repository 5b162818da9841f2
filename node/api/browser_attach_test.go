package api

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strconv"

	cdp "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// attachment: a picture is sent with what was written beside it, its thumbnail and state come to stand on the other page, and saving it there
// gives a picture of the same size.
func (b *tab) attachment(other *tab) {
	b.t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, 640, 200))
	for x := range 640 {
		for y := range 200 {
			img.Set(x, y, color.RGBA{uint8(x), uint8(y), 90, 255})
		}
	}
	var data bytes.Buffer
	must(b.t, png.Encode(&data, img))
	path := filepath.Join(b.t.TempDir(), "north stair.png")
	must(b.t, os.WriteFile(path, data.Bytes(), 0o600))
	b.do("attaching", chromedp.SendKeys("#text", "Blocked here"), chromedp.SetUploadFiles("#file", []string{path}))
	b.consent()
	for _, page := range []*tab{b, other} {
		page.shows("Blocked here")
		page.wait("the file is here", `document.querySelector('.attachment .filename')?.textContent === 'north stair.png' && document.querySelector('.attachment').dataset.state === 'here'`)
		page.wait("its small picture is shown", `document.querySelector('.attachment img')?.naturalWidth === 320`)
	}
	b.wait("the composer is empty", `document.getElementById('text').value === '' && document.getElementById('attaching').textContent === ''`)
	other.shotsHere("attachment")
	got := other.saves(".attachment .save", "north stair.png")
	sent, err := png.Decode(bytes.NewReader(got))
	must(other.t, err)
	if size := sent.Bounds().Size(); size != image.Pt(640, 200) {
		other.t.Errorf("saved is a picture of %v", size)
	}
	if r, g, blue, _ := sent.At(300, 100).RGBA(); r|g|blue != 0 {
		other.t.Errorf("what was blacked out holds %x %x %x", r, g, blue)
	}
	if _, _, blue, _ := sent.At(20, 20).RGBA(); blue == 0 {
		other.t.Error("what was not blacked out is black")
	}
	other.wait("it says who agreed", `document.querySelector('.attachment').textContent.includes('A patient is in it. A parent or guardian agreed, asked by Amara Okafor with Ben Carter present') && document.querySelector('.attachment').textContent.includes('Opinion of a surgeon') && document.querySelector('.attachment').textContent.includes('1 part is blacked out')`)
	if said := value[string](other, `document.querySelector('.attachment .doubt').textContent`); said != "" {
		other.t.Errorf("it says %q", said)
	}
	// An empty file is refused in words, and the page goes on.
	empty := filepath.Join(b.t.TempDir(), "empty.txt")
	must(b.t, os.WriteFile(empty, nil, 0o600))
	b.do("attaching nothing", chromedp.SetUploadFiles("#file", []string{empty}))
	b.wait("it is refused", `document.getElementById('send-error').textContent === 'empty.txt was not sent. It is empty.'`)
}

// consent goes through what is asked before a picture is sent: nothing goes without the answers, and a box is drawn with the keyboard and
// another, taken away again, with the mouse.
func (b *tab) consent() {
	b.t.Helper()
	b.wait("it asks", `document.querySelector('dialog.photo canvas')?.width === 640`)
	refused := func(what, words string) {
		b.t.Helper()
		b.press("dialog.photo button[type=submit]")
		b.wait(what, `document.getElementById('photo-error').textContent === `+strconv.Quote(words))
	}
	refused("whether a patient is in it", "Say whether a patient is in it.")
	b.press("dialog.photo input[value=patient][name=shows]")
	refused("who agreed", "Say who agreed to it.")
	b.press("dialog.photo input[value=guardian]")
	refused("what for", "Say what it is for.")
	b.do("what for", chromedp.SendKeys("#photo-purpose", "Opinion of a surgeon"))
	refused("the second clinician", "Say which second clinician was present.")
	value[bool](b, `(s => { s.selectedIndex = 1; s.dispatchEvent(new Event('change', { bubbles: true })); return s.options.length === 2; })(document.getElementById('photo-witness'))`)
	b.press("dialog.photo .masks > .row button")
	b.do("moving the box", chromedp.KeyEvent(kb.ArrowLeft))
	value[bool](b, `(c => { const r = c.getBoundingClientRect(); const at = (type, x, y) => c.dispatchEvent(new PointerEvent(type, { clientX: r.left + x, clientY: r.top + y, pointerId: 1, bubbles: true }));
		c.setPointerCapture = () => {}; at('pointerdown', 5, 5); at('pointermove', 60, 40); at('pointerup', 60, 40); return true; })(document.querySelector('dialog.photo canvas'))`)
	b.wait("two boxes", `document.querySelectorAll('dialog.photo .chosen li').length === 2`)
	b.shotsHere("photo")
	b.press("dialog.photo .chosen li:nth-child(2) button:last-child")
	b.wait("one is left", `document.querySelectorAll('dialog.photo .chosen li').length === 1`)
	b.press("dialog.photo button[type=submit]")
}

// saves presses a button that saves a file, and returns what was saved.
func (b *tab) saves(selector, name string) []byte {
	b.t.Helper()
	dir := b.t.TempDir()
	b.do("allowing downloads", chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, cdp.SetDownloadBehavior, cdp.SetDownloadBehaviorParams{Behavior: cdp.SetDownloadBehaviorBehaviorAllow, DownloadPath: dir})
		return err
	}))
	b.press(selector)
	saved := filepath.Join(dir, name)
	eventually(b.t, func() string { return name + " is saved\n" + b.look() }, func() bool { _, err := os.Stat(saved); return err == nil })
	data, err := os.ReadFile(saved)
	must(b.t, err)
	return data
}
