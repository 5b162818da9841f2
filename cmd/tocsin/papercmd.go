package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"html/template"
	"strings"

	"github.com/spf13/cobra"

	"tocsin/node"
	"tocsin/node/api"
)

func (a *app) bundlePaper() *cobra.Command {
	var spec node.PaperSpec
	var show showFlags
	var page string
	cmd := a.clientCommand("paper", "Print urgent messages as a sheet of codes",
		"  tocsin bundle paper --page sheet.html\n  tocsin bundle paper --hours 6 --to \"Ben Okafor\" --page sheet.html\n  tocsin bundle paper --message 3f9c… --qr",
		args(0, 0), func(ctx context.Context, client *api.Client, _ []string) error {
			info, err := client.ExportPaper(ctx, spec)
			if err != nil {
				return err
			}
			if page != "" {
				text, err := paperPage(info.Codes, when(a.now()))
				if err != nil {
					return err
				}
				if err := writeFile(page, text, 0o600); err != nil {
					return err
				}
			}
			if show.dir != "" {
				if err := a.writeCodes(show.dir, info.Codes); err != nil {
					return err
				}
			}
			if err := a.showPaper(info, page, page == "" && show.dir == "" && !show.screen); err != nil || !show.screen {
				return err
			}
			return a.playCodes(ctx, info.Codes)
		})
	cmd.Long = `Print urgent messages as a sheet of QR codes, for when not even a stick can be had:
--page writes a page for a printer, with each code as a picture and as text that can be
typed; without any of --page, --qr and --qr-dir the codes are written as text.

The sheet is sealed for the clinicians of this mesh: whoever finds it learns nothing. The
reader needs the groups' keys, which are renewed daily where a group is in use: a group message is
readable by those who were in reach of the group since then, a broadcast by everyone.

Without --message it carries the urgent and stat messages of the last hours, also of others.
--hours says how long ago the readers were last in reach; what is older they are taken to
hold. The device must be unlocked.`
	f := cmd.Flags()
	f.StringSliceVar(&spec.Messages, "message", nil, "carry the message with this `id`; may be given again")
	f.IntVar(&spec.Hours, "hours", 24, "the readers were last in reach this many `hours` ago")
	f.StringSliceVar(&spec.To, "to", nil, "for whom, as in 'bundle export': their last bundle says what they hold")
	f.IntVar(&spec.Codes, "codes", 48, "at most this many `codes`; 24 fill a page")
	f.StringVar(&page, "page", "", "write a page for the printer to this `file` (HTML)")
	show.add(f)
	return cmd
}

func (a *app) showPaper(info node.PaperInfo, page string, text bool) error {
	return a.emit(info, func() {
		if text {
			for _, code := range info.Codes {
				a.say("%s", grouped(code))
			}
		}
		a.note("%s for %s.", plural(len(info.Codes), "code"), plural(info.Messages, "message"))
		if info.Left > 0 {
			a.note("%s did not fit: the most urgent went first. Allow more --codes, or make a second sheet of them with --message.", plural(info.Left, "message"))
		}
		if page != "" {
			a.note("Print %s. It can be read from photographs or typed: tocsin bundle scan.", page)
		}
	})
}

// grouped writes a code for people who type it: in fives.
func grouped(code string) string {
	var out []string
	for len(code) > 5 {
		out, code = append(out, code[:5]), code[5:]
	}
	return strings.Join(append(out, code), " ")
}

// paperTemplate is the page: nothing on it but the codes and how to read them.
var paperTemplate = template.Must(template.New("sheet").Parse(`<!doctype html>
<html lang="en-GB"><head><meta charset="utf-8"><title>Tocsin sheet {{.ID}}</title><style>
@page { size: A4; margin: 12mm }
body { font: 10pt sans-serif; color: #000; background: #fff; margin: 0 }
main { display: grid; grid-template-columns: repeat(4, 1fr); gap: 3mm 6mm }
figure { margin: 0; break-inside: avoid }
img { width: 100%; image-rendering: pixelated }
figcaption { font: 6pt monospace; overflow-wrap: anywhere }
figcaption b { font: bold 9pt sans-serif }
</style></head><body>
<p><b>Tocsin sheet {{.ID}}</b>, {{len .Codes}} codes, made {{.When}}. Hand it to any clinician of the mesh. To read it, photograph every
code and run <code>tocsin bundle scan</code> with the pictures, or type the text under the codes into a file, in any order.</p>
<main>
{{range $i, $c := .Codes}}<figure><img src="{{$c.Picture}}" alt="code {{$c.Number}}"><figcaption><b>{{$c.Number}}</b> {{$c.Text}}</figcaption></figure>
{{end}}</main></body></html>
`))

// paperPage writes the codes of a sheet as a page for a printer.
func paperPage(codes []string, when string) ([]byte, error) {
	type figure struct {
		Number  int
		Text    string
		Picture template.URL
	}
	page := struct {
		ID, When string
		Codes    []figure
	}{ID: codes[0][3:11], When: when}
	for i, code := range codes {
		picture, err := api.QRCode(code)
		if err != nil {
			return nil, err
		}
		url := template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(picture))
		page.Codes = append(page.Codes, figure{i + 1, grouped(code), url})
	}
	var out bytes.Buffer
	if err := paperTemplate.Execute(&out, page); err != nil {
		return nil, fmt.Errorf("the page cannot be made: %w", err)
	}
	return out.Bytes(), nil
}

// maxTypedSheet bounds a file of typed codes, in bytes.
const maxTypedSheet = 2 << 20

func (a *app) bundleScan() *cobra.Command {
	cmd := a.clientCommand("scan FILE...", "Take what printed sheets bring, from photographs or typed text",
		"  tocsin bundle scan photo-*.jpg\n  tocsin bundle scan typed.txt photo-7.jpg\n  tocsin bundle scan -", args(1, -1),
		func(ctx context.Context, client *api.Client, files []string) error {
			codes, err := a.paperCodes(files)
			if err != nil {
				return err
			}
			report, err := client.ImportPaper(ctx, codes)
			if err != nil {
				return err
			}
			return a.showScan(report)
		})
	cmd.Long = `Take what printed sheets bring: pictures (PNG or JPEG) of their codes, or text files with
the codes as they were typed ("-" is standard input), mixed, in any order, as often as it
takes, of several sheets at once. Small letters, spaces and dashes do not matter; a line
that does not begin with TP1 goes on with the code before it.

What is missing or mistyped is named. Name all files of a sheet again with the rest: nothing
is kept of a sheet that is not whole. Every entry passes the checks that one from the network
passes. The device must be unlocked.`
	return cmd
}

// paperCodes reads the codes of pictures and text files.
func (a *app) paperCodes(files []string) ([]string, error) {
	var codes []string
	strange := 0
	for _, path := range files {
		picture := false
		var err error
		if path != "-" {
			if picture, err = isPicture(path); err != nil {
				return nil, err
			}
		}
		if !picture {
			text, err := a.readInput(path, "text file", maxTypedSheet)
			if err != nil {
				return nil, err
			}
			codes = append(codes, typedCodes(string(text))...)
			continue
		}
		texts, err := readPicture(path)
		if err != nil {
			a.note("%v", err)
			continue
		}
		for _, t := range texts {
			if !isPaperCode(t) {
				strange++
				continue
			}
			codes = append(codes, t)
		}
	}
	if strange > 0 {
		a.note("%s of something else than a sheet: left out.", plural(strange, "QR code"))
	}
	if len(codes) == 0 {
		return nil, fail(exitInput, "Photograph the codes straight on, near, without glare, or type the text under them.", "no code of a sheet was found")
	}
	return codes, nil
}

// isPaperCode reports whether a text begins like a code of a sheet.
func isPaperCode(text string) bool {
	return strings.HasPrefix(strings.ToUpper(strings.Join(strings.Fields(text), "")), "TP1")
}

// typedCodes finds the codes in what was typed: each begins a line, and may go on
// in the lines behind it up to an empty one.
func typedCodes(text string) (codes []string) {
	within := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
			within = false
		case isPaperCode(line):
			codes, within = append(codes, line), true
		case within:
			codes[len(codes)-1] += line
		default:
			codes = append(codes, line) // it is named as wrong
		}
	}
	return codes
}

func (a *app) showScan(r node.PaperReport) error {
	whole := true
	err := a.emit(r, func() {
		for _, w := range r.Wrong {
			a.say("Code %d, which begins %s: %s.", w.Number, printable(w.Begins), w.Words)
		}
		for _, s := range r.Sheets {
			a.say("Sheet %s: %s.", s.ID, s.Words)
		}
		a.say("%s new, %s filled in, %s known.", plural(r.New, "entry"), plural(r.Filled, "message"), plural(r.Known, "entry"))
		if r.Waiting > 0 {
			a.say("%s for what is missing before them.", waiting(r.Waiting))
		}
		if r.Refused > 0 {
			a.say("%s refused: they do not verify. Tell your security staff who gave you this sheet.", plural(r.Refused, "record"))
		}
		a.say("%s", r.Words)
	})
	for _, s := range r.Sheets {
		whole = whole && s.Taken
	}
	if err == nil && (!whole || len(r.Wrong) > 0) {
		return fail(exitInput, "Give what is missing or wrong again, with the rest of its sheet.", "not everything could be taken")
	}
	return err
}
