package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"io"
	"net/http"
	"time"
)

// DecisionLog is a decision log to be printed: one document that needs nothing else, in which everything that the log holds
// stands with what shows where it comes from.
type DecisionLog struct {
	Title    string // of the conversation
	Incident *Incident
	Exercise bool
	Mesh     string // whose authorities vouch for the names
	Printed  time.Time
	By       string // whose device printed it
	Entries  []PrintedDecision
}

// PrintedDecision is an entry of the log; Proof is nil where none was written beside the document.
type PrintedDecision struct {
	Decision
	Proof *PrintedProof
}

// PrintedProof says what the proof of an entry shows, and where it is.
type PrintedProof struct {
	File      string    // beside the document
	SHA256    string    // of the file, hex
	Witnesses []string  // who signed for the entry, and by when
	Latest    time.Time // the entry was there by then, as the witnesses say
}

// printStyle is all that the document asks a browser to do: there is no script in it, and nothing is fetched. The margin boxes number
// the pages (CSS Paged Media level 3).
const printStyle = `
:root{color-scheme:light}
body{font:11pt/1.4 system-ui,sans-serif;color:#000;background:#fff;max-width:48rem;margin:1rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0 0 .25rem}
h2{font-size:1.1rem;margin:0}
p{margin:.25rem 0}
.exercise{border:3px solid #000;padding:.5rem;font-weight:700;text-align:center;letter-spacing:.1em}
.watermark{position:fixed;inset:0;display:grid;place-items:center;font-size:16vw;font-weight:800;color:#000;opacity:.08;transform:rotate(-30deg);pointer-events:none}
section{border-top:2px solid #000;padding:.75rem 0;break-inside:avoid}
dl{display:grid;grid-template-columns:11rem 1fr;gap:.2rem 1rem;margin:.5rem 0}
dt{font-weight:600}
dd{margin:0;white-space:pre-wrap;overflow-wrap:anywhere}
ul{margin:0;padding-left:1.2rem}
.problem{border-left:6px solid #000;padding-left:.5rem;font-weight:600}
.id{font-family:ui-monospace,monospace;font-size:8.5pt}
a{color:inherit}
footer{border-top:2px solid #000;margin-top:1rem;padding-top:.5rem;font-size:9.5pt}
@media (max-width:30rem){dl{grid-template-columns:1fr}}
@page{size:A4;margin:18mm 16mm 20mm;@bottom-left{content:"Decision log";font:9pt sans-serif}@bottom-right{content:"Page " counter(page) " of " counter(pages);font:9pt sans-serif}}
@media print{body{margin:0;padding:0;max-width:none}}
`

// printPolicy lets the document apply its one style, and nothing else.
var printPolicy = func() string {
	sum := sha256.Sum256([]byte(printStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; form-action 'none'; base-uri 'none'"
}()

var decisionPage = template.Must(template.New("decisions").Funcs(template.FuncMap{
	"when": func(t time.Time) string { return t.UTC().Format("2 January 2006 15:04:05 UTC") },
}).Parse(`<!doctype html>
<html lang="en-GB">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{.Policy}}">
<meta name="viewport" content="width=device-width">
<meta name="referrer" content="no-referrer">
<title>{{if .Log.Exercise}}EXERCISE {{end}}Decision log</title>
<style>` + printStyle + `</style>
</head>
<body>
{{with .Log}}{{if .Exercise}}<div class="watermark" aria-hidden="true">EXERCISE</div>
<p class="exercise">EXERCISE EXERCISE EXERCISE</p>
{{end}}<header>
<h1>Decision log</h1>
<p>{{.Title}}</p>
{{with .Incident}}<p>Incident: {{.Name}}, {{.State}} since {{when .Since}}, {{if .Exercise}}EXERCISE{{else}}live{{end}}</p>
{{end}}<p>{{len .Entries}} {{if eq (len .Entries) 1}}entry{{else}}entries{{end}}. Printed {{when .Printed}} on the device of {{.By}}. Names are those of credentials of the mesh “{{.Mesh}}”.</p>
</header>
{{$total := len .Entries}}{{$exercise := .Exercise}}{{range .Entries}}<section id="no-{{.Number}}">
<h2>{{if $exercise}}EXERCISE · {{end}}Entry {{.Number}} of {{$total}}{{if .Corrects}} · corrects <a href="#no-{{.Corrects}}">entry {{.Corrects}}</a>{{end}}{{if .CorrectedBy}} · corrected by <a href="#no-{{.CorrectedBy}}">entry {{.CorrectedBy}}</a>{{end}}</h2>
{{range .Problems}}<p class="problem">{{.}}</p>
{{end}}{{if .Late}}<p class="problem">entered long after the decision</p>
{{end}}<dl>
<dt>Decision</dt><dd>{{.Decision.Decision}}</dd>
<dt>Rationale</dt><dd>{{.Rationale}}</dd>
<dt>Options considered</dt><dd><ul>{{range .Options}}<li>{{.}}</li>{{end}}</ul></dd>
<dt>Decided by</dt><dd>{{.Decider.Words}} ({{.Decider.Address}})</dd>
<dt>Loggist</dt><dd>{{with .Loggist}}{{.Words}} ({{.Address}}){{else}}the decider{{end}}</dd>
<dt>Time of the decision</dt><dd>{{when .At}}</dd>
<dt>Time of the entry</dt><dd>{{when .Entered}}, by the clock of the device of {{.Message.From.Name}}</dd>
<dt>Follows</dt><dd>{{if .Gap}}an entry that is not here{{else if .After}}<a href="#no-{{.After}}">entry {{.After}}</a>{{else}}nothing: it begins the log{{end}}</dd>
<dt>Entry in the mesh</dt><dd class="id">{{.Message.ID}}
log {{.Message.Log}}, place {{.Message.Seq}}</dd>
<dt>Proof</dt><dd>{{with .Proof}}{{.File}}
<span class="id">SHA-256 {{.SHA256}}</span>
{{range .Witnesses}}{{.}}
{{end}}Check: tocsin verify {{.File}}{{else}}tocsin log prove <span class="id">{{.Message.ID}}</span>{{end}}</dd>
</dl>
</section>
{{else}}<p>Nothing was entered.</p>
{{end}}<footer>
<p>Each entry was signed by its author’s device and names the one before it. Nothing is taken out of the log: corrections are entries of their own, and a gap says that an entry is missing. Entries are numbered in the one order in which every device puts them.</p>
{{if .Exercise}}<p class="exercise">EXERCISE EXERCISE EXERCISE</p>
{{end}}</footer>{{end}}
</body>
</html>
`))

// WriteHTML writes the document.
func (l DecisionLog) WriteHTML(w io.Writer) error {
	return decisionPage.Execute(w, struct {
		Policy string
		Log    DecisionLog
	}{printPolicy, l})
}

// NewDecisionLog makes the document of a board without proofs.
func NewDecisionLog(title, mesh, by string, b Board, printed time.Time) DecisionLog {
	l := DecisionLog{Title: title, Incident: b.Incident, Exercise: b.Exercise, Mesh: mesh, Printed: printed, By: by}
	for _, d := range b.Decisions {
		l.Entries = append(l.Entries, PrintedDecision{Decision: d})
	}
	return l
}

// getDecisionsPrint hands out the document of a conversation. Each proof is asked for apart.
func (s *Server) getDecisionsPrint(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	b, err := s.cfg.Node.Board(id)
	if err != nil {
		return err
	}
	title, err := s.titleFor(id)
	if err != nil {
		return err
	}
	status := s.cfg.Node.Status()
	var page bytes.Buffer
	if err := NewDecisionLog(title, status.Mesh, status.Name, boardOf(b), s.cfg.Clock.Now()).WriteHTML(&page); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", printPolicy+"; frame-ancestors 'none'; sandbox")
	_, _ = w.Write(page.Bytes()) // an error means that the client has gone
	return nil
}

// titleFor is what a conversation is called on this device.
func (s *Server) titleFor(id string) (string, error) {
	all, err := s.cfg.Node.Conversations()
	if err != nil {
		return "", err
	}
	self := s.cfg.Node.Status().Log
	for _, c := range all {
		if g := groupOf(c, self); g.ID == id {
			return g.Title, nil
		}
	}
	return "", errNoGroup
}
