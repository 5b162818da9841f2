package record

import (
	"fmt"
	"html"
	"strings"
)

// page builds the narrative of a resource: XHTML of paragraphs and one table of terms, with nothing that runs or is fetched
// (hl7.org/fhir/R4/narrative.html). Everything that somebody wrote is escaped.
type page struct {
	b        strings.Builder
	exercise bool
}

const divOpen = `<div xmlns="http://www.w3.org/1999/xhtml">`

// newPage begins with the word that must not be missed.
func newPage(exercise bool) *page {
	p := &page{exercise: exercise}
	p.b.WriteString(divOpen)
	if exercise {
		p.b.WriteString("<p><b>EXERCISE EXERCISE EXERCISE: not a real event</b></p>")
	}
	return p
}

// line adds a paragraph.
func (p *page) line(format string, args ...any) {
	p.b.WriteString("<p>" + lines(fmt.Sprintf(format, args...)) + "</p>")
}

func (p *page) bold(s string) { p.b.WriteString("<p><b>" + lines(s) + "</b></p>") }

// terms adds a table of names and values, two strings for each row; rows without a value are left out.
func (p *page) terms(pairs ...string) {
	p.b.WriteString("<table><tbody>")
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			p.b.WriteString("<tr><th>" + lines(pairs[i]) + "</th><td>" + lines(pairs[i+1]) + "</td></tr>")
		}
	}
	p.b.WriteString("</tbody></table>")
}

// list adds a list.
func (p *page) list(items []string) {
	p.b.WriteString("<ul>")
	for _, s := range items {
		p.b.WriteString("<li>" + lines(s) + "</li>")
	}
	p.b.WriteString("</ul>")
}

// done is the narrative.
func (p *page) done() *Narrative {
	return &Narrative{Status: "generated", Div: p.b.String() + "</div>"}
}

// lines escapes a text and keeps its line ends.
func lines(s string) string {
	return strings.ReplaceAll(html.EscapeString(s), "\n", "<br/>")
}
