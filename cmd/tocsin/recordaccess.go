package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"tocsin/node"
	"tocsin/node/api"
)

// accessFlags are what a request for access says.
type accessFlags struct {
	spec     node.AccessSpec
	file     string
	out      string
	find     bool
	from, to string
	redact   []string
	why      string
}

// maxSpec bounds the file of a request: as many redactions as one may have.
const maxSpec = 4 << 20

func (a *app) recordAccess() *cobra.Command {
	var f accessFlags
	cmd := a.guardedCommand("sar", "Answer a request for access: what was said by or about somebody, with third parties blacked out",
		"  tocsin record sar --reference SAR-2026-17 --nhs-number 9990000018 --find\n  tocsin record sar --file request.json --out SAR-2026-17", args(0, 0),
		func(ctx context.Context, client *api.Client, again func() (string, error), _ []string) error {
			spec, err := a.accessSpec(&f)
			if err != nil {
				return err
			}
			for i, name := range spec.Groups {
				g, err := a.findGroup(ctx, client, name)
				if err != nil {
					return err
				}
				spec.Groups[i] = g.ID
			}
			token, err := again()
			if err != nil {
				return err
			}
			if f.find {
				found, err := client.AccessFind(ctx, token, spec)
				if err != nil {
					return err
				}
				return a.emit(found, func() { a.sayFound(found) })
			}
			made, err := client.AccessExport(ctx, token, spec)
			if err != nil {
				return err
			}
			return a.writeAccess(f.out, spec, made)
		})
	cmd.Long = `Answer a request for access (a person's own data, freedom of information, a court): what was
said by or about somebody, in the groups of this device and the time that is asked for.

First with --find: it shows what would be disclosed, what answers it or is answered by it
and may belong to it, and words that may name third parties. Nothing is disclosed by that.
Then without: two files are written that say the same, a page to read and print and JSON for
programs; what is blacked out is in neither. That it was made stands in every group
concerned, for all to see.

--file reads the whole request as JSON, with the fields that 'tocsin guide record' lists;
flags add to it. Without a subject everything in the groups and the time is found.`
	flags := cmd.Flags()
	flags.StringVar(&f.file, "file", "", "read the request from this `file` (JSON); - is standard input")
	flags.StringVar(&f.out, "out", "", "write `NAME`.html and NAME.json (default: the reference)")
	flags.BoolVar(&f.find, "find", false, "only show what would be disclosed")
	flags.StringVar(&f.spec.Reference, "reference", "", "the organisation's `number` for the request")
	flags.StringVar(&f.spec.Basis, "basis", "", "subject-access, freedom-of-information, court or other (default: subject-access)")
	flags.StringArrayVar(&f.spec.Groups, "group", nil, "look in this `group` only (may be repeated)")
	flags.StringArrayVar(&f.spec.People, "person", nil, "what this clinician said, or who is named: org/regulator/number (may be repeated)")
	flags.StringArrayVar(&f.spec.NHSNumbers, "nhs-number", nil, "what is about the patient of this `number` (may be repeated)")
	flags.StringArrayVar(&f.spec.Tags, "tag", nil, "what is about the casualty of this `tag` (may be repeated)")
	flags.StringArrayVar(&f.spec.Words, "word", nil, "what else the subject is known by: a name, initials and bed (may be repeated)")
	flags.StringVar(&f.from, "from", "", "what was said from this `time` on, such as 2026-01-31 or 2026-01-31T08:00:00Z")
	flags.StringVar(&f.to, "to", "", "what was said before this `time`")
	flags.StringArrayVar(&f.spec.Include, "include", nil, "a message to add, by its whole `id` (may be repeated)")
	flags.StringArrayVar(&f.spec.Exclude, "exclude", nil, "a message to leave out, by its whole `id` (may be repeated)")
	flags.StringArrayVar(&f.redact, "redact", nil, "black these `words` out wherever they stand (may be repeated)")
	flags.StringVar(&f.why, "why", "third party", "what stands in the place of what --redact blacks out")
	return cmd
}

// accessSpec joins the file of a request with what flags add to it.
func (a *app) accessSpec(f *accessFlags) (node.AccessSpec, error) {
	var spec node.AccessSpec
	if f.file != "" {
		text, err := a.readInput(f.file, "request", maxSpec)
		if err != nil {
			return spec, err
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&spec); err != nil || d.More() {
			return spec, fail(exitInput, "'tocsin guide record' lists the fields of a request.", "%s is no request in JSON: %w", f.file, err)
		}
	}
	if f.spec.Reference != "" {
		spec.Reference = f.spec.Reference
	}
	if f.spec.Basis != "" {
		spec.Basis = f.spec.Basis
	}
	if spec.Basis == "" {
		spec.Basis = "subject-access"
	}
	spec.Groups, spec.People = append(spec.Groups, f.spec.Groups...), append(spec.People, f.spec.People...)
	spec.NHSNumbers, spec.Tags = append(spec.NHSNumbers, f.spec.NHSNumbers...), append(spec.Tags, f.spec.Tags...)
	spec.Words = append(spec.Words, f.spec.Words...)
	spec.Include, spec.Exclude = append(spec.Include, f.spec.Include...), append(spec.Exclude, f.spec.Exclude...)
	for _, words := range f.redact {
		spec.Redactions = append(spec.Redactions, node.AccessRedaction{Words: words, Why: f.why})
	}
	var err error
	if f.from != "" {
		if spec.From, err = parseDay("--from", f.from); err != nil {
			return spec, err
		}
	}
	if f.to != "" {
		if spec.To, err = parseDay("--to", f.to); err != nil {
			return spec, err
		}
	}
	return spec, nil
}

// parseDay reads a time, or the beginning of a day where this machine is.
func parseDay(flag, s string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	t, err := time.ParseInLocation(time.DateOnly, s, time.Local)
	if err != nil {
		return t, usage("Write a day such as 2026-01-31, or a time such as 2026-01-31T08:00:00Z.", "%s does not know %q", flag, s)
	}
	return t, nil
}

func (a *app) sayFound(f node.AccessFound) {
	a.say("%d of %s would be disclosed.", f.Found, plural(f.Searched, "message"))
	if f.Words != "" {
		a.say("%s", printable(f.Words))
	}
	a.section("MESSAGES", []string{"ID", "SAID", "BY", "GROUP", "BECAUSE", "MESSAGE"}, rowsOf(f.Messages, func(m node.AccessMessage) []string {
		return []string{m.ID, clock(m.Sent), printable(m.From), printable(m.Name), m.Because, clip(printable(m.Summary), 60)}
	}))
	a.section("TO DECIDE ON: ANSWERS, AND WHAT THEY ANSWER (--include)", []string{"ID", "BELONGS TO", "MESSAGE"}, rowsOf(f.Related, func(r node.AccessRelated) []string {
		return []string{r.ID, short(r.To), clip(printable(r.Summary), 60)}
	}))
	a.section("MAY NAME OTHERS (--redact)", []string{"IN", "WHAT", "WORDS"}, rowsOf(f.Suggestions, func(s node.AccessSuggestion) []string {
		return []string{short(s.Entry), s.Kind, printable(s.Words)}
	}))
}

// fileName is what a reference becomes as the name of a file.
func fileName(reference string) string {
	return regexp.MustCompile(`[^A-Za-z0-9._-]+`).ReplaceAllString(reference, "-")
}

func (a *app) writeAccess(out string, spec node.AccessSpec, made node.AccessExport) error {
	if out == "" {
		out = fileName(spec.Reference)
	}
	page, machine := out+".html", out+".json"
	if err := errors.Join(writeFile(page, made.Page, 0o600), writeFile(machine, made.Machine, 0o600)); err != nil {
		return err
	}
	return a.emit(map[string]any{"page": page, "machine": machine, "messages": made.Messages, "redacted": made.Redacted,
		"page_sha256": made.PageSHA256, "machine_sha256": made.MachineSHA256, "entries": made.Entries}, func() {
		a.say("%s and %s: %s, %s blacked out.", page, filepath.Base(machine), plural(made.Messages, "message"), strconv.Itoa(made.Redacted))
		if made.Words != "" {
			a.say("%s", printable(made.Words))
		}
	})
}
