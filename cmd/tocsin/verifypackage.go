package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"tocsin/crypto/identity"
	"tocsin/node/record"
)

// maxPackage bounds a package that verify reads: the largest that is exported has 150 MB.
const maxPackage = 1 << 30

// packageReport is the JSON of verify for a package.
type packageReport struct {
	Messages int `json:"messages"`
	Proved   int `json:"proved"`
	Bare     int `json:"without_proof"`
	// Reasons are those of the proved ones that were sent to everybody, and whose reason was compared too.
	Reasons int `json:"reasons_compared"`
	// Rewritten are those of the proved ones whose narrative is not the one that was exported. Audits is evidence whose content is proved by nothing;
	// Signed is that of it of which who said it and when are compared with a signature.
	Rewritten int  `json:"narratives_not_compared"`
	Audits    int  `json:"evidence_not_compared"`
	Signed    int  `json:"evidence_signed"`
	Files     int  `json:"files"`
	Exercise  bool `json:"exercise"`
	// Returned: it is no document as it was exported, but what an endpoint returned.
	Returned bool     `json:"returned"`
	Faults   []string `json:"faults"`
}

// isPackage reports whether a file is JSON, which no proof is.
func isPackage(path string) (bool, error) {
	if path == "-" {
		return false, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return false, nil // whoever reads it says why it cannot be read
	}
	defer f.Close()
	head := make([]byte, 512)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, fail(exitInput, "Check the file and its disk.", "%s cannot be read: %w", path, err)
	}
	for _, c := range head[:n] {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c == '{', nil
		}
	}
	return false, nil
}

// verifyPackage checks an incident that was exported, or what an endpoint returned of it: every proof, every resource against what was proved, and
// every file against what its message says.
func (a *app) verifyPackage(path string, trust *identity.TrustStore) error {
	f, err := os.Open(path)
	if err != nil {
		return fail(exitInput, "Check the path and its permissions.", "the package cannot be read: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() > maxPackage {
		return errors.Join(err, fail(exitInput, "Export the incident in parts.", "%s is larger than %s", path, size(maxPackage)))
	}
	report, err := checkPackage(f, trust)
	if err != nil {
		return fail(exitVerify, "Ask whoever gave it to you for the file again.", "%s is no package that can be read: %w", path, err)
	}
	if err := a.emit(report, func() { a.sayPackage(path, report) }); err != nil {
		return err
	}
	switch {
	case len(report.Faults) > 0:
		return fail(exitVerify, "Do not rely on it; ask whoever gave it to you for the file again.", "%s does not verify: %s", path, plural(len(report.Faults), "fault"))
	case report.Messages == 0:
		return fail(exitVerify, "Check that it is the right file.", "%s holds no message of Tocsin: it proves nothing", path)
	case report.Proved == 0:
		return fail(exitVerify, "Export it again once two other devices have signed for its messages.", "nothing in %s is proved: it holds no proof", path)
	}
	return nil
}

func checkPackage(f io.ReadSeeker, trust *identity.TrustStore) (packageReport, error) {
	out := packageReport{Faults: []string{}}
	faults, err := record.Check(f)
	if err != nil {
		return out, err
	}
	out.Returned = slices.ContainsFunc(faults, func(x record.Fault) bool { return x.Rule == record.RuleDocument && x.Where == "the Bundle" })
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return out, err
	}
	rep, err := record.VerifyPackage(f, trust)
	if err != nil && len(faults) == 0 {
		return out, err
	}
	out.Messages, out.Proved, out.Bare, out.Reasons, out.Files, out.Exercise = rep.Messages, rep.Proved, rep.Bare, rep.Reasons, rep.Files, rep.Exercise
	out.Rewritten, out.Audits, out.Signed = rep.Rewritten, rep.Audits, rep.Signed
	for _, x := range append(rep.Faults, faults...) {
		if out.Returned && ofEndpoint(x.Rule) {
			continue
		}
		if s := x.String(); !slices.Contains(out.Faults, s) {
			out.Faults = append(out.Faults, s)
		}
	}
	return out, nil
}

// ofEndpoint are the rules that an endpoint need not keep: it names resources as it likes, and writes and removes narratives.
func ofEndpoint(rule string) bool {
	return slices.Contains([]string{record.RuleDocument, record.RuleFullURL, record.RuleReference, record.RuleNarrative, record.RuleProvenance, record.RuleRequest}, rule)
}

func (a *app) sayPackage(path string, r packageReport) {
	what := "as it was exported"
	if r.Returned {
		what = "as an endpoint returned it"
	}
	a.say("%s%s: %s, %s.", exercise(r.Exercise), path, plural(r.Messages, "message"), what)
	a.say("%d proved: signed by a clinician of this mesh, witnessed, and the resource says who signed it, when, and what was signed.", r.Proved)
	if r.Bare > 0 {
		a.say("%d without a proof: too few witnesses had signed when it was written. Nothing is shown of %s.", r.Bare, map[bool]string{true: "it", false: "them"}[r.Bare == 1])
	}
	if r.Reasons > 0 {
		a.say("%d of them went to everybody; the reason for it is the one that was signed.", r.Reasons)
	}
	if r.Rewritten > 0 {
		a.say("%s shown to people in words that are not those of the export, and were not compared: read the fields, not the narrative.", map[bool]string{true: "1 of them is", false: fmt.Sprintf("%d of them are", r.Rewritten)}[r.Rewritten == 1])
	}
	if r.Audits > 0 {
		a.say("%s of delivery, reading, transfer and export: nothing here proves what it says. Of %d, who said it and when is signed.", map[bool]string{true: "1 piece of evidence", false: fmt.Sprintf("%d pieces of evidence", r.Audits)}[r.Audits == 1], r.Signed)
	}
	if r.Proved > 0 {
		a.say("Not signed with a message, and so not compared: whether it was withdrawn, done or acknowledged; the patient it was attributed to; when it arrived; notes about its author; the page that lists it.")
	}
	for _, f := range r.Faults {
		a.say("%s %s", a.style().red("FAULT"), printable(f))
	}
	if len(r.Faults) == 0 && r.Messages > 0 {
		a.say("%s", a.style().bold(fmt.Sprintf("No fault was found in what is proved: %d of %s.", r.Proved, plural(r.Messages, "message"))))
	}
}
