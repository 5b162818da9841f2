package sim

import (
	"context"
	"fmt"
	"html/template"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"tocsin/sim/model"
)

// limitsOfScale is what a run of the scale model does not show.
func limitsOfScale() []string {
	return []string{
		"This is a model of the mesh, not the program: packets with messages, the lines and processors that they wait for, neighbours, and what is fetched after a cut. No promise is checked.",
		"Left out: keys, groups and epochs, entries and their order, receipts, admission, discovery, neighbours that come and go on a calm day, the precedence of what is stat, batteries, and every adversary.",
		"It was fitted to real nodes on a calm day at one site of 50 and 100 devices; the plot above shows both. Cuts, crashes and thin lines follow the program's own waits and were not fitted.",
		"Beyond 500 devices no real run stands beside it: what it says there is the same rules carried on, not a measurement.",
		"What devices say to each other when nobody writes is not in it, so it tells nothing of traffic or batteries.",
	}
}

// cover adds what was sent and what arrived to slots of time.
func (s *Scale) cover(slot func(time.Duration) int, sent, come []int) {
	if s == nil {
		return
	}
	for i := range s.result.Messages {
		m := &s.result.Messages[i]
		sent[slot(m.At)] += m.NearReaders + m.AwayReaders
		for _, h := range []*model.Hist{&m.Near, &m.Away} {
			h.Each(func(took time.Duration, n uint64) { come[slot(m.At+took)] += int(n) })
		}
	}
}

// scaleLatency is the share of messages that had arrived after so many seconds.
func (r *Result) scaleLatency() (template.HTML, error) {
	var at plotter.XYs
	n := uint64(0)
	r.Scale.All.Each(func(took time.Duration, more uint64) {
		n += more
		at = append(at, plotter.XY{X: max(took.Seconds(), 0.0001), Y: 100 * float64(n) / float64(max(r.Scale.Readers, 1))})
	})
	if len(at) == 0 {
		return "", nil
	}
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "seconds after sending", "share of messages, %"
	p.Add(plotter.NewGrid())
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Y.Min, p.Y.Max = 0, 100
	if err := line(p, "", blue, at); err != nil {
		return "", err
	}
	p.X.Min, p.X.Max = at[0].X, max(at[len(at)-1].X, at[0].X*10)
	return drawing(p, "How long messages took")
}

// calm runs the model on its calibration.
func calm(ctx context.Context, devices int) (p50, p99 time.Duration, err error) {
	spec, _ := Calibration(devices).scale(1)
	found, err := model.Run(ctx, spec, model.Options{})
	if err != nil {
		return 0, 0, err
	}
	all := found.All()
	return all.Quantile(0.50), all.Quantile(0.99), nil
}

// fitPlot draws what the model says of a calm day over the number of devices, with the runs of
// real nodes as points. It is of reports of the model only.
func (r *Result) fitPlot() (template.HTML, error) {
	if r.Scale == nil {
		return "", nil
	}
	var half, most, realHalf, realMost plotter.XYs
	for _, n := range []int{20, 50, 100, 200, 500, 2000, 10_000} {
		p50, p99, err := calm(context.Background(), n)
		if err != nil {
			return "", err
		}
		half = append(half, plotter.XY{X: float64(n), Y: p50.Seconds() * 1000})
		most = append(most, plotter.XY{X: float64(n), Y: p99.Seconds() * 1000})
	}
	top := most[len(most)-1].Y
	for _, p := range points {
		realHalf = append(realHalf, plotter.XY{X: float64(p.devices), Y: p.p50.Seconds() * 1000})
		realMost = append(realMost, plotter.XY{X: float64(p.devices), Y: p.p99.Seconds() * 1000})
		top = max(top, p.p99.Seconds()*1000)
	}
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "devices", "milliseconds"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Add(plotter.NewGrid())
	if err := line(p, "p99, model", orange, most); err != nil {
		return "", err
	}
	if err := line(p, "p50, model", blue, half); err != nil {
		return "", err
	}
	for _, s := range []struct {
		name  string
		at    plotter.XYs
		shape draw.GlyphDrawer
	}{{"p99, real nodes", realMost, draw.PyramidGlyph{}}, {"p50, real nodes", realHalf, draw.CircleGlyph{}}} {
		if len(s.at) == 0 {
			continue
		}
		dots, err := plotter.NewScatter(s.at)
		if err != nil {
			return "", fmt.Errorf("sim: the points of the plot: %w", err)
		}
		dots.Shape, dots.Radius, dots.Color = s.shape, vg.Points(4), green
		p.Add(dots)
		p.Legend.Add(s.name, dots)
	}
	p.Legend.Top, p.Legend.Left = true, true
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = half[0].X, half[len(half)-1].X, 0, top*1.3
	return drawing(p, "The model beside real nodes")
}
