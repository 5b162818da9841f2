package main

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tocsin/ledger/bundle"
	"tocsin/node"
	"tocsin/node/api"
)

// testPaper carries an urgent message on paper between two processes: as pictures
// of the codes, one of them missing first, and one typed.
func (d *demo) testPaper(t *testing.T, amina, ben *clinician) {
	ctx := t.Context()
	var sent node.Sent
	must(t, d.run(ctx, amina.secret, &sent, "send", "--data", amina.dir, "--priority", "stat", "Bus crash A6", "Evacuate ward 7"))
	dir := t.TempDir()
	stick := filepath.Join(dir, "back.tocsin") // says what Ben holds
	must(t, d.run(ctx, ben.secret, nil, "bundle", "export", "--data", ben.dir, stick, "--to", amina.name))
	must(t, d.run(ctx, amina.secret, nil, "bundle", "import", "--data", amina.dir, stick))
	pictures, page := filepath.Join(dir, "codes"), filepath.Join(dir, "sheet.html")
	var info node.PaperInfo
	must(t, d.run(ctx, amina.secret, &info, "bundle", "paper", "--data", amina.dir, "--to", ben.name, "--qr-dir", pictures, "--page", page, "--message", sent.ID))
	html, err := os.ReadFile(page)
	must(t, err)
	if info.Messages != 1 || bytes.Contains(html, []byte("Evacuate")) || bytes.Count(html, []byte("<img ")) != len(info.Codes) {
		t.Fatalf("%+v, a page with %d codes", info, bytes.Count(html, []byte("<img ")))
	}
	files, err := filepath.Glob(filepath.Join(pictures, "*.png"))
	must(t, err)
	scan := append([]string{"bundle", "scan"}, files[1:]...)
	if code, text := d.outcome(ctx, ben, scan...); code != exitInput || !strings.Contains(text, "are missing: 1.") {
		t.Fatalf("a code is missing: %d: %s", code, text)
	}
	typed := filepath.Join(dir, "typed.txt")
	right := strings.ToLower(grouped(info.Codes[0]))
	wrong := []byte(right)
	wrong[61] = map[bool]byte{true: '8', false: '9'}[wrong[61] == '9']
	must(t, os.WriteFile(typed, []byte("# typed by hand\n"+string(wrong[:60])+"\n"+string(wrong[60:])+"\n"), 0o600))
	if code, text := d.outcome(ctx, ben, append(scan, typed)...); code != exitInput || !strings.Contains(text, "a character of it is wrong") {
		t.Fatalf("a code is mistyped: %d: %s", code, text)
	}
	must(t, os.WriteFile(typed, []byte("# typed by hand\n"+right[:60]+"\n"+right[60:]+"\n"), 0o600))
	if code, text := d.outcome(ctx, ben, append(scan, typed)...); code != exitOK || !strings.Contains(text, "Everything on paper was taken") {
		t.Fatalf("%d: %s", code, text)
	}
	d.read(t, ben, "Evacuate ward 7")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"bundle", "scan", typed + ".gone"}, exitNotFound, "does not exist"},
		{[]string{"bundle", "scan", page}, exitInput, "not everything could be taken"},
		{[]string{"bundle", "paper", "--codes", "1000"}, exitInput, "1 to 240 codes"},
		{[]string{"bundle", "paper", "--message", "zz"}, exitInput, "64 hexadecimal"},
	} {
		if code, text := d.outcome(ctx, ben, c.args...); code != c.code || !strings.Contains(text, c.want) {
			t.Errorf("%q: exit code %d, not %d, or it does not say %q:\n%s", c.args, code, c.code, c.want, text)
		}
	}
}

// Every code of a page can be read from its picture, and says what stands under
// it; there is nothing else on the page that could run or be fetched.
func TestPaperPage(t *testing.T) {
	t.Parallel()
	codes, err := bundle.PaperCodes(bytes.Repeat([]byte("sealed"), 70))
	must(t, err)
	page, err := paperPage(codes, "2026-11-22 12:00:00")
	must(t, err)
	if bytes.Contains(page, []byte("<script")) || bytes.Contains(page, []byte("http")) {
		t.Error("the page fetches or runs something")
	}
	pictures := regexp.MustCompile(`src="data:image/png;base64,([^"]*)"`).FindAllSubmatch(page, -1)
	texts := regexp.MustCompile(`</b> ([0-9A-Z ]+)</figcaption>`).FindAllSubmatch(page, -1)
	if len(pictures) != len(codes) || len(texts) != len(codes) {
		t.Fatalf("%d pictures and %d texts of %d codes", len(pictures), len(texts), len(codes))
	}
	for i, code := range codes {
		raw, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(string(pictures[i][1]), "&#43;", "+"))
		must(t, err)
		seen, err := api.ReadQR(bytes.NewReader(raw), api.MaxQRBytes, api.MaxQRPixels)
		must(t, err)
		if len(seen) != 1 || seen[0] != code || bundle.CleanCode(string(texts[i][1])) != code {
			t.Errorf("code %d reads %q", i+1, seen)
		}
	}
}

func TestTypedCodes(t *testing.T) {
	t.Parallel()
	got := typedCodes("# ward 7\n\ntp1aa bb\ncc dd\n\nTP1X\n  t p1y\nzz\nrubbish\n\nstray\n")
	want := []string{"tp1aa bbcc dd", "TP1X", "t p1yzzrubbish", "stray"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
