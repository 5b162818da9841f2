package api

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"

	cdp "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
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
	for _, page := range []*tab{b, other} {
		page.shows("Blocked here")
		page.wait("the file is here", `document.querySelector('.attachment .filename')?.textContent === 'north stair.png' && document.querySelector('.attachment').dataset.state === 'here'`)
		page.wait("its small picture is shown", `document.querySelector('.attachment img')?.naturalWidth === 320`)
	}
	b.wait("the composer is empty", `document.getElementById('text').value === '' && document.getElementById('attaching').textContent === ''`)
	dir := other.t.TempDir()
	other.do("allowing downloads", chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, cdp.SetDownloadBehavior, cdp.SetDownloadBehaviorParams{Behavior: cdp.SetDownloadBehaviorBehaviorAllow, DownloadPath: dir})
		return err
	}))
	other.do("saving", chromedp.Click(".attachment .save"))
	saved := filepath.Join(dir, "north stair.png")
	eventually(other.t, func() string { return "the file is saved\n" + other.look() }, func() bool { _, err := os.Stat(saved); return err == nil })
	got, err := os.ReadFile(saved)
	must(other.t, err)
	if c, err := png.DecodeConfig(bytes.NewReader(got)); err != nil || c.Width != 640 || c.Height != 200 {
		other.t.Errorf("saved is a picture of %d by %d, %v", c.Width, c.Height, err)
	}
	if said := value[string](other, `document.querySelector('.attachment .doubt').textContent`); said != "" {
		other.t.Errorf("it says %q", said)
	}
	// An empty file is refused in words, and the page goes on.
	empty := filepath.Join(b.t.TempDir(), "empty.txt")
	must(b.t, os.WriteFile(empty, nil, 0o600))
	b.do("attaching nothing", chromedp.SetUploadFiles("#file", []string{empty}))
	b.wait("it is refused", `document.getElementById('send-error').textContent === 'empty.txt was not sent. It is empty.'`)
}
