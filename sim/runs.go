package sim

import (
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"math"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// The files of a sweep, a soak and a comparison, beside the reports of their runs.
const (
	RunsJSON    = "runs.json"
	RunsHTML    = "runs.html"
	CompareJSON = "compare.json"
	CompareHTML = "compare.html"
)

// Runs are several runs together: of a sweep or a soak.
type Runs struct {
	Title   string
	Command string // how to run them again
	Partial bool   // it was stopped before its end
	Runs    []Summary
}

// ReadRuns reads the runs that were written to a folder. The error matches [InputError] where
// they cannot be read.
func ReadRuns(dir string) (*Runs, error) {
	raw, err := os.ReadFile(filepath.Join(dir, RunsJSON))
	if err != nil {
		return nil, badInput("there are no runs in %s: %v", dir, err)
	}
	r := new(Runs)
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, badInput("%s of %s cannot be read: %v", RunsJSON, dir, err)
	}
	return r, nil
}

// Verdict is that of all runs together.
func (r *Runs) Verdict() Verdict { return Worst(r.Runs) }

// Sentence is what all runs come to.
func (r *Runs) Sentence() string { return fmt.Sprintf("%d runs: %s.", len(r.Runs), tally(r.Runs)) }

// Spreads are all measures over the runs.
func (r *Runs) Spreads() []Spread { return Spreads(r.Runs) }

// Write writes the runs to a folder, as JSON and as one page.
func (r *Runs) Write(dir string) error {
	return writePage(dir, RunsJSON, RunsHTML, "runs.html", r, r)
}

// Write writes the comparison to a folder, as JSON and as one page. command is how it is made
// again.
func (c *Comparison) Write(dir, command string) error {
	picture, err := c.plot()
	if err != nil {
		return fmt.Errorf("sim: drawing a comparison: %w", err)
	}
	return writePage(dir, CompareJSON, CompareHTML, "compare.html", c, struct {
		*Comparison
		Plot    template.HTML
		Command string
	}{c, picture, command})
}

func writePage(dir, jsonName, pageName, templateName string, data, page any) error {
	t, err := template.New(templateName).Funcs(template.FuncMap{"unit": inUnit, "signed": signed}).ParseFS(reportFiles, templateName, "style.html")
	if err != nil {
		return err
	}
	err = writeWhole(filepath.Join(dir, jsonName), func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", " ")
		return e.Encode(data)
	})
	if err == nil {
		err = writeWhole(filepath.Join(dir, pageName), func(w io.Writer) error { return t.Execute(w, page) })
	}
	if err != nil {
		return fmt.Errorf("sim: writing to %s: %w", dir, err)
	}
	return nil
}

// signed is a difference in its unit.
func signed(v float64, unit string) string {
	switch {
	case math.IsInf(v, 0):
		return "unknown"
	case v > 0:
		return "+" + inUnit(v, unit)
	case v < 0:
		return "−" + inUnit(-v, unit)
	}
	return inUnit(0, unit)
}

// plot draws every difference with its interval, in percent of A.
func (c *Comparison) plot() (template.HTML, error) {
	p := plot.New()
	p.X.Label.Text = "difference, % of " + c.A
	p.Add(plotter.NewGrid())
	var names []string
	most := 1.0
	for _, r := range c.Rows {
		if r.MeanA == 0 || math.IsInf(r.Low, 0) {
			continue
		}
		y, share := float64(len(names)), 100/math.Abs(r.MeanA)
		bar, err := plotter.NewLine(plotter.XYs{{X: r.Low * share, Y: y}, {X: r.High * share, Y: y}})
		if err != nil {
			return "", err
		}
		dot, err := plotter.NewScatter(plotter.XYs{{X: r.Diff * share, Y: y}})
		if err != nil {
			return "", err
		}
		bar.Color, bar.Width, dot.Color, dot.Radius = blue, vg.Points(2), blue, vg.Points(3)
		if r.Differ {
			bar.Color, dot.Color = orange, orange
		}
		p.Add(bar, dot)
		names = append(names, r.Measure)
		most = max(most, math.Abs(r.Low*share), math.Abs(r.High*share))
	}
	if len(names) == 0 {
		return "", nil
	}
	zero, err := plotter.NewLine(plotter.XYs{{X: 0, Y: -0.5}, {X: 0, Y: float64(len(names)) - 0.5}})
	if err != nil {
		return "", err
	}
	p.Add(zero)
	p.NominalY(names...)
	p.X.Min, p.X.Max = -most*1.05, most*1.05
	return drawing(p, "Differences with their intervals")
}
