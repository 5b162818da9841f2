package sim

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The colours of the plots: apart for the colour-blind (Okabe and Ito 2008).
var (
	blue   = color.NRGBA{0x00, 0x72, 0xb2, 0xff}
	orange = color.NRGBA{0xd5, 0x5e, 0x00, 0xff}
	green  = color.NRGBA{0x00, 0x9e, 0x73, 0xff}
	shade  = color.NRGBA{0x99, 0x99, 0x99, 0x30}
)

const (
	plotWidth  = 18 * vg.Centimeter
	plotHeight = 7 * vg.Centimeter
)

// newPlot makes an empty plot over the minutes of the story, with its faults shaded.
func (r *Result) newPlot(y string) *plot.Plot {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "minutes", y
	p.X.Min, p.Y.Min = 0, 0
	p.Add(plotter.NewGrid())
	return p
}

// shadeFaults is drawn first, once the plot knows how high it is.
func (r *Result) shadeFaults(p *plot.Plot) error {
	for _, f := range r.Faults {
		a, b, top := f.From.Minutes(), f.To.Minutes(), p.Y.Max
		box, err := plotter.NewPolygon(plotter.XYs{{X: a, Y: 0}, {X: a, Y: top}, {X: b, Y: top}, {X: b, Y: 0}})
		if err != nil {
			return err
		}
		box.Color, box.LineStyle.Width = shade, 0
		p.Add(box)
	}
	return nil
}

// drawing returns a plot as SVG to stand within a page.
func drawing(p *plot.Plot, words string) (template.HTML, error) {
	c := vgsvg.New(plotWidth, plotHeight)
	p.Draw(draw.New(c))
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return "", err
	}
	text := b.String()
	begin := strings.Index(text, "<svg")
	if begin < 0 {
		return "", fmt.Errorf("sim: the plot of %s is no SVG", words)
	}
	text = strings.Replace(text[begin:], "<svg", `<svg role="img" aria-label="`+template.HTMLEscapeString(words)+`"`, 1)
	return template.HTML(text), nil // made here of numbers and our own words
}

// line draws points.
func line(p *plot.Plot, name string, c color.Color, at plotter.XYs) error {
	if len(at) == 0 {
		return nil
	}
	l, err := plotter.NewLine(at)
	if err != nil {
		return err
	}
	l.Color, l.Width = c, vg.Points(1.5)
	p.Add(l)
	if name != "" {
		p.Legend.Add(name, l)
		p.Legend.Top = true
	}
	return nil
}

// latencyPlot is the share of messages that had arrived after so many seconds.
func (r *Result) latencyPlot() (template.HTML, error) {
	if r.Scale != nil {
		return r.scaleLatency()
	}
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "seconds after sending", "share of messages, %"
	p.Add(plotter.NewGrid())
	all := float64(len(r.Deliveries))
	var at plotter.XYs
	took := r.latencies(Expect{})
	last := 0.0
	for i, d := range took {
		x := max(d.Seconds(), 0.001)
		if i == len(took)-1 || x > last*1.02 || i%max(1, len(took)/500) == 0 {
			at = append(at, plotter.XY{X: x, Y: 100 * float64(i+1) / all})
			last = x
		}
	}
	if len(at) == 0 {
		return "", nil
	}
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Y.Min, p.Y.Max = 0, 100
	if err := line(p, "", blue, at); err != nil {
		return "", err
	}
	p.X.Min, p.X.Max = at[0].X, max(at[len(at)-1].X, at[0].X*10)
	return drawing(p, "How long messages took")
}

// coveragePlot is, over time, how many messages had been sent to readers and had arrived.
func (r *Result) coveragePlot() (template.HTML, error) {
	p := r.newPlot("messages to readers")
	end := r.Duration
	for _, s := range r.Samples {
		end = max(end, s.At)
	}
	const steps = 200
	sent, come := make([]int, steps+1), make([]int, steps+1)
	slot := func(at time.Duration) int { return min(steps, int(float64(at)/float64(end)*steps)) }
	for _, d := range r.Deliveries {
		sent[slot(d.Sent)]++
		if d.Arrived {
			come[slot(d.Sent+d.Took)]++
		}
	}
	r.Scale.cover(slot, sent, come)
	var a, b plotter.XYs
	x, y := 0, 0
	for i := range sent {
		x, y = x+sent[i], y+come[i]
		m := end.Minutes() * float64(i) / steps
		a, b = append(a, plotter.XY{X: m, Y: float64(x)}), append(b, plotter.XY{X: m, Y: float64(y)})
	}
	p.Y.Max = float64(max(x, 1)) * 1.05
	p.X.Max = end.Minutes()
	if err := r.shadeFaults(p); err != nil {
		return "", err
	}
	if err := line(p, "sent", orange, a); err != nil {
		return "", err
	}
	if err := line(p, "arrived", blue, b); err != nil {
		return "", err
	}
	p.Legend.Left = true
	return drawing(p, "Messages sent and arrived over time")
}

// meshPlot is, over time, how many devices ran and how many neighbours they had.
func (r *Result) meshPlot() (template.HTML, error) {
	p := r.newPlot("devices, neighbours")
	var running, near plotter.XYs
	top := 1.0
	for _, s := range r.Samples {
		m := s.At.Minutes()
		running = append(running, plotter.XY{X: m, Y: float64(s.Running)})
		if s.Running > 0 {
			near = append(near, plotter.XY{X: m, Y: float64(s.Neighbours) / float64(s.Running)})
		}
		top, p.X.Max = max(top, float64(s.Running)), max(p.X.Max, m)
	}
	p.Y.Max = top * 1.1
	if err := r.shadeFaults(p); err != nil {
		return "", err
	}
	if err := line(p, "devices that run", green, running); err != nil {
		return "", err
	}
	if err := line(p, "neighbours of each", blue, near); err != nil {
		return "", err
	}
	return drawing(p, "Devices and neighbours over time")
}

// trafficPlot is, over time, what each device sent a second.
func (r *Result) trafficPlot() (template.HTML, error) {
	if r.Scale != nil {
		return "", nil // the model has messages only
	}
	p := r.newPlot("kB a second and device")
	var at plotter.XYs
	for i := 1; i < len(r.Samples); i++ {
		a, b := r.Samples[i-1], r.Samples[i]
		if s := (b.At - a.At).Seconds(); s > 0 && b.Running > 0 {
			at = append(at, plotter.XY{X: b.At.Minutes(), Y: float64(b.Sent-a.Sent) / 1000 / s / float64(b.Running)})
			p.Y.Max, p.X.Max = max(p.Y.Max, at[len(at)-1].Y*1.1), max(p.X.Max, b.At.Minutes())
		}
	}
	if len(at) == 0 {
		return "", nil
	}
	if err := r.shadeFaults(p); err != nil {
		return "", err
	}
	if err := line(p, "", orange, at); err != nil {
		return "", err
	}
	return drawing(p, "Traffic over time")
}
