package sim

import (
	"embed"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"strings"

	"tocsin/mesh"
)

//go:embed report.html runs.html compare.html style.html
var reportFiles embed.FS

// The files of a report, in the order in which they are written: the page comes last, so
// that where it is all of it is.
const (
	JSONFile  = "result.json"
	JUnitFile = "junit.xml"
	HTMLFile  = "report.html"
)

// Prepare makes the folder of a report and tries whether it can be written to, before a
// run that would be in vain.
func Prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return badInput("the folder for the report cannot be made: %v; name another one with -o", err)
	}
	f, err := os.CreateTemp(dir, ".try-*")
	if err != nil {
		return badInput("nothing can be written to %s: %v; name another folder with -o", dir, err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// Write writes the report to a folder. command is how the run is repeated.
func (r *Result) Write(dir, command string) error {
	for _, f := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{JSONFile, r.WriteJSON},
		{JUnitFile, r.WriteJUnit},
		{HTMLFile, func(w io.Writer) error { return r.WriteHTML(w, command) }},
	} {
		if err := writeWhole(filepath.Join(dir, f.name), f.write); err != nil {
			return fmt.Errorf("sim: writing %s: %w", f.name, err)
		}
	}
	return nil
}

// writeWhole writes a file under another name and gives it its own once it is whole.
func writeWhole(name string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".part-*")
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// WriteJSON writes all that the run found.
func (r *Result) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(reported{r, r.measured()})
}

// JUnit's form, as build servers read it.
type (
	junitSuite struct {
		XMLName  xml.Name    `xml:"testsuite"`
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Failure *junitFailure `xml:"failure"`
		Skipped *junitFailure `xml:"skipped"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
	}
)

// WriteJUnit writes every objective and invariant as a test case. Those of a run that says
// nothing are skipped.
func (r *Result) WriteJUnit(w io.Writer) error {
	s := junitSuite{Name: r.Scenario, Time: fmt.Sprintf("%.0f", r.Duration.Seconds())}
	add := func(kind, name string, good bool, words string) {
		c := junitCase{Class: r.Scenario + "." + kind, Name: name}
		switch {
		case r.Verdict == Inconclusive && kind != "invariant":
			c.Skipped = &junitFailure{r.Why}
			s.Skipped++
		case !good:
			c.Failure = &junitFailure{words}
			s.Failures++
		}
		s.Cases = append(s.Cases, c)
	}
	for _, i := range r.Invariants {
		add("invariant", i.Words, i.Held, strings.Join(i.Broke, "; "))
	}
	for _, o := range r.Objectives {
		add("objective", o.Words, o.Met, "found: "+o.Found)
	}
	s.Tests = len(s.Cases)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", " ")
	return errors.Join(e.Encode(s), e.Close())
}

// page is what the HTML report shows.
type page struct {
	*Result
	Sentence string
	Colour   string
	Command  string
	Told     string
	Weak     []weakness
	Plots    []figure
	Figures  []row
	Limits   []string
}

type figure struct {
	Title, Words string
	SVG          template.HTML
}

type row struct{ Name, Value string }

// weakness is something to act on.
type weakness struct{ What, Action string }

// WriteHTML writes the report as one page that needs no network.
func (r *Result) WriteHTML(w io.Writer, command string) error {
	t, err := template.New("report.html").Funcs(template.FuncMap{"minutes": minutes}).ParseFS(reportFiles, "report.html", "style.html")
	if err != nil {
		return err
	}
	p := page{Result: r, Sentence: r.sentence(), Colour: string(r.Verdict), Command: command, Weak: r.weaknesses(),
		Figures: r.figures(), Limits: limitsOfModel(r.scenario, r.Scale), Told: r.scenario.Explain()}
	for _, f := range []struct {
		title, words string
		draw         func() (template.HTML, error)
	}{
		{"How long messages took", "The share of all messages to readers that had arrived so long after they were sent. It ends below 100 % where some never came.", r.latencyPlot},
		{"What was sent and what arrived", "The gap is what was under way, or waited for a way. Faults are shaded.", r.coveragePlot},
		{"The mesh", "How many devices ran, and how many neighbours each had in the mean.", r.meshPlot},
		{"Traffic", "What each device sent, with all that its network added.", r.trafficPlot},
		{"The model beside real nodes", "How long messages take on a calm day: as the model says for so many devices, and as runs of real nodes were.", r.fitPlot},
	} {
		svg, err := f.draw()
		if err != nil {
			return fmt.Errorf("sim: drawing %q: %w", f.title, err)
		}
		if svg != "" {
			p.Plots = append(p.Plots, figure{f.title, f.words, svg})
		}
	}
	return t.Execute(w, p)
}

// sentence is the verdict as a board reads it.
func (r *Result) sentence() string {
	switch r.Verdict {
	case Passed:
		return "Passed. " + r.Why
	case Missed:
		return "Not passed. " + r.Why
	case Broken:
		return "Broken. " + r.Why
	}
	return "Inconclusive. " + r.Why
}

// weaknesses are what fell short, each with what to do.
func (r *Result) weaknesses() (out []weakness) {
	for _, i := range r.Invariants {
		if !i.Held {
			out = append(out, weakness{i.Words + ": " + strings.Join(i.Broke, "; "),
				"This is a fault of the program, not of your plan. Keep this report and hand it to its makers before you rely on it."})
		}
	}
	actions := map[string]string{
		"delivery":   "Look at the plot of what arrived: where the gap stays open, give the parts another way to each other (a relay, a stick carried between sites).",
		"p50":        "Most messages were slow: bring more bandwidth to the site, or write less during a surge.",
		"p90":        "One in ten was slow: see which fault stood at the time, and whether those readers had a second neighbour.",
		"p99":        "The slowest waited for a fault to end: give those devices a second way, or plan for telling them otherwise.",
		"late":       "Agree what is told by other means while the network is cut.",
		"heal":       "Plan for this long a gap after the network is back before all boards agree.",
		"running":    "Keep spare devices that are switched off and apart until they are needed.",
		"unsaved":    "Messages were not saved: look at the list below for the reason.",
		"outsiders":  "Admission was broken or off: do not use the mesh.",
		"memory":     "Use devices with more memory, or smaller groups.",
		"traffic":    "Use low-bandwidth mode, or smaller groups.",
		"neighbours": "Let devices know more addresses of others, or place a relay.",
		"messages":   "Too few messages were sent to say anything: raise the workload.",
	}
	for i, o := range r.Objectives {
		if !o.Met {
			out = append(out, weakness{fmt.Sprintf("%s; found: %s", o.Words, o.Found), actions[r.scenario.Expect[i].Measure]})
		}
	}
	return out
}

// figures are the numbers of every run.
func (r *Result) figures() (out []row) {
	add := func(name, format string, args ...any) { out = append(out, row{name, fmt.Sprintf(format, args...)}) }
	add("Devices", "%d", r.Devices)
	readers := len(r.Deliveries)
	if r.Scale != nil {
		readers = r.Scale.Readers
	}
	add("Messages sent", "%d, to %d readers in all", r.Messages, readers)
	for _, m := range []string{"delivery", "p50", "p90", "p99", "heal", "memory", "traffic", "neighbours"} {
		value := "nothing to measure"
		if v, ok := r.measure(m, Expect{}); ok {
			value = inUnit(v, measures[m].unit)
		}
		out = append(out, row{strings.ToUpper(m[:1]) + m[1:] + " — " + measures[m].words, value})
	}
	if r.Scale != nil {
		add("Events of the model", "%d, for %d packets with messages, %d of which their receivers had already", r.Scale.Events, r.Scale.Packets, r.Scale.Duplicates)
		return out
	}
	if b, ok := r.batteryRow(); ok {
		out = append(out, b)
	}
	n := r.Network
	add("Packets", "%d sent, %d lost by the line, %d cut, %d dropped by full queues, %d twice, %d spoilt, %d replayed",
		n.Packets, n.Lost, n.Cut, n.Overflowed, n.Duplicated, n.Corrupted, n.Replayed)
	return out
}

// limitsOfModel is what a run does not show.
func limitsOfModel(s *Scenario, scale *Scale) []string {
	if scale != nil {
		return limitsOfScale()
	}
	words := []string{
		"The program is the real one: nodes, mesh, ledger and cryptography, over QUIC. The network is a model: TCP, Wi-Fi, radio and the machine's own network stack are not in it. Packets arrive at whole milliseconds.",
		fmt.Sprintf("A processor is modelled as %s for each packet received, one after the other. What a device computes of itself costs no time, so a busy device looks faster than it is.", s.Mesh.CPU),
		fmt.Sprintf("Devices witness each other's logs every %s, where the program does so every 5 s: that makes runs affordable, and makes traffic and processor time look lower.", s.Mesh.Testimony),
		"The battery is a model of its own: what the mean device did is from the run, what that draws is assumed and stands beside it.",
		"Disks are in memory, and fail only where the scenario says so. People are random: they write at random times and read nothing.",
		"A message counts as delivered when its reader's device shows it. Whether anybody looks is not in the model.",
		"Messages of devices that were lost or revoked are not counted: nobody can be held to what they still sent.",
		"The seed fixes the scenario's own choices; how the machine schedules work is not fixed, so two runs differ a little. Compare several seeds before you conclude anything from a small difference.",
	}
	if n := s.Mesh.Neighbours; n > 0 {
		words = append(words, fmt.Sprintf("Devices look for %d neighbours, where the program looks for 32: that makes traffic, memory and processor time look lower, and attacks by neighbours and the loss of some easier.", n))
	}
	if s.Mesh.Directory == mesh.DHTOff && s.Devices() > allNeighbours {
		words = append(words, "Devices use no directory, where the program uses one from 100 known devices on: they hear of each other by exchange alone, and have fewer connections.")
	}
	return words
}
