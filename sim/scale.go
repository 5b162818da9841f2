package sim

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"tocsin/sim/model"
)

// MaxModel is how many devices a scenario may have at most; above [MaxFull] it runs on the
// scale model.
const MaxModel = model.MaxDevices

// Scaled reports whether a scenario has more devices than run as real nodes, so that the
// scale model runs in their place.
func (s *Scenario) Scaled() bool { return s.Devices() > MaxFull }

// Scale is what the scale model found, in place of deliveries one by one.
type Scale struct {
	Events, Packets, Duplicates uint64
	Bytes                       uint64
	Lost                        int // devices, for good
	Readers                     int // of all messages together
	All                         *model.Hist
	Params                      model.Params

	result *model.Result
}

// scaled adds what a scenario has that the model knows nothing of.
func (c *checker) scaled() {
	s := c.s
	const why = "is not in the scale model, on which more than %d devices run; the model has whole partitions, degrade, crash, ransomware and surge"
	for i, e := range s.Timeline {
		name, given := e.action()
		if e.Partition != nil && e.Partition.Shape != "whole" {
			c.add(fmt.Sprintf("timeline[%d].partition.shape", i), "a partition that is %s "+why, e.Partition.Shape, MaxFull)
		}
		if given == 1 && !oneOf(name, "partition", "degrade", "crash", "ransomware", "surge") {
			c.add(fmt.Sprintf("timeline[%d].%s", i, name), "it "+why, MaxFull)
		}
		if e.Degrade != nil && (e.Degrade.Link.Duplicate > 0 || e.Degrade.Link.Corrupt > 0) {
			c.add(fmt.Sprintf("timeline[%d].degrade.link", i), "that packets come twice or spoilt "+why, MaxFull)
		}
	}
	for i := range s.Adversaries {
		c.add(fmt.Sprintf("adversaries[%d]", i), "an adversary "+why, MaxFull)
	}
	for i := range s.Control {
		c.add(fmt.Sprintf("control[%d]", i), "a defence "+why, MaxFull)
	}
	for i, e := range slices.Concat(s.Expect, s.Sometimes) {
		if _, ok := scaleMeasures[e.Measure]; !ok && measures[e.Measure].of != nil {
			c.add(fmt.Sprintf("expect[%d].measure", min(i, len(s.Expect)-1)), "%s "+why, e.Measure, MaxFull)
		}
	}
	if len(c.all) > 0 {
		return
	}
	if n := s.Expected(); n > model.MaxMessages*0.9 || n*float64(s.Devices()) > model.MaxHeld*0.9 {
		c.add("workload", "about %.0f messages to %d devices are more than the scale model holds (%d messages, %d times devices): lower the rates or the time",
			n, s.Devices(), model.MaxMessages, model.MaxHeld)
	}
}

// Expected is about how many messages a scenario has.
func (s *Scenario) Expected() (n float64) {
	for _, w := range s.works() {
		n += w.PerHour * (w.To - w.From).Hours() * float64(len(s.senders(w)))
	}
	return n
}

// works are all lines of the workload, with what surges add.
func (s *Scenario) works() []Work {
	out := slices.Clone(s.Workload)
	for _, e := range s.Timeline {
		if e.Surge == nil {
			continue
		}
		for _, w := range s.Workload {
			w.From, w.To = max(w.From, e.At), min(w.To, e.Until)
			if w.From < w.To {
				w.PerHour *= e.Surge.Times - 1
				out = append(out, w)
			}
		}
	}
	return out
}

func (s *Scenario) groupOf(w Work) int {
	return slices.IndexFunc(s.Groups, func(g GroupSpec) bool { return g.Name == w.Group })
}

func (s *Scenario) senders(w Work) []int {
	if len(w.By) > 0 {
		return s.pick(w.By)
	}
	return s.pick(s.Groups[s.groupOf(w)].Members)
}

// set makes ranges of sorted devices.
func setOf(devices []int) (out model.Set) {
	for _, d := range devices {
		if n := len(out); n > 0 && out[n-1].End == d {
			out[n-1].End++
			continue
		}
		out = append(out, model.Range{First: d, End: d + 1})
	}
	return out
}

func (l Link) scale() model.Link {
	return model.Link{Latency: l.Latency, Jitter: l.Jitter, Loss: l.Loss, Rate: l.Rate}
}

// priorities are the kinds of message as the model carries them.
var priorities = []string{"routine", "urgent", "stat"}

// scale makes the model's form of a scenario, and says which of its faults stands for which
// line of the timeline; -1 is none.
func (s *Scenario) scale(seed uint64) (*model.Spec, []int) {
	m := &model.Spec{
		Seed: seed, Near: s.Mesh.Near.scale(), Far: s.Mesh.Far.scale(), CPU: s.Mesh.CPU, Duration: s.Duration, Heal: s.Heal,
		Params: fitted(), Every: sampleEvery,
	}
	for _, site := range s.Mesh.Sites {
		m.Sites = append(m.Sites, site.Devices)
	}
	for _, g := range s.Groups {
		m.Groups = append(m.Groups, setOf(s.pick(g.Members)))
	}
	r := rand.New(rand.NewPCG(seed, 2))
	for _, w := range s.works() {
		g, kind, mean := s.groupOf(w), slices.Index(priorities, w.Priority), float64(time.Hour)/w.PerHour
		for _, d := range s.senders(w) {
			for at := w.From; ; {
				if at += time.Duration(r.ExpFloat64() * mean); at >= w.To {
					break
				}
				m.Messages = append(m.Messages, model.Message{At: at, From: d, Group: g, Bytes: frameBytes(w.Bytes), Kind: kind})
			}
		}
	}
	slices.SortStableFunc(m.Messages, func(a, b model.Message) int { return cmp.Compare(a.At, b.At) })
	lines := make([]int, len(s.Timeline))
	for i, e := range s.Timeline {
		lines[i] = -1
		f, ok := s.scaleFault(e)
		if ok {
			lines[i] = len(m.Faults)
			m.Faults = append(m.Faults, f)
		}
	}
	return m, lines
}

func (s *Scenario) scaleFault(e Event) (model.Fault, bool) {
	f := model.Fault{From: e.At, To: e.Until}
	switch {
	case e.Partition != nil:
		f.Kind = model.Cut
		for _, p := range e.Partition.Parts {
			f.Parts = append(f.Parts, setOf(s.pick(p)))
		}
	case e.Degrade != nil:
		f.Kind, f.Change = model.Degrade, e.Degrade.Link.scale()
		f.Parts = []model.Set{setOf(s.pick(e.Degrade.Between)), setOf(s.pick(e.Degrade.And))}
	case e.Crash != nil:
		f.Kind, f.Every, f.Parts = model.Crash, e.Crash.Every, []model.Set{setOf(s.pick(e.Crash.Devices))}
	case e.Ransomware != nil:
		f.Kind, f.Every, f.Share = model.Ransomware, e.Ransomware.Every, e.Ransomware.Share
		f.Parts = []model.Set{setOf(s.pick(e.Ransomware.Devices))}
	default:
		return f, false
	}
	return f, true
}

// RunModel runs a scenario on the scale model, whatever its size. It needs no bubble and no
// folder. The result is partial where the error matches [ErrStopped], nil with others.
func (s *Scenario) RunModel(ctx context.Context, o Options) (*Result, error) {
	seed := s.Seed
	if o.Seed > 0 {
		seed = o.Seed
	}
	spec, lines := s.scale(seed)
	found, err := model.Run(ctx, spec, model.Options{Progress: func(done, _ time.Duration, _ uint64) bool {
		if o.Progress != nil {
			o.Progress(done, s.Duration+s.Heal, "the model")
		}
		return o.Stopped == nil || !o.Stopped()
	}})
	if err != nil {
		return nil, fmt.Errorf("sim: the scale model: %w", err)
	}
	res := newResult(s, o, seed)
	res.Start, res.HealBegan, res.Healed, res.Partial = s.Start, found.HealBegan, found.Healed, found.Stopped
	res.Scale = &Scale{
		Events: found.Events, Packets: found.Packets, Duplicates: found.Duplicates, Bytes: found.Bytes, Lost: found.Lost,
		Readers: found.Readers(), All: found.All(), Params: spec.Params, result: found,
	}
	for _, m := range found.Messages {
		if m.NearReaders+m.AwayReaders > 0 {
			res.Messages++
		}
	}
	for _, p := range found.Samples {
		res.Samples = append(res.Samples, Sample{At: p.At, Running: p.Running, Neighbours: p.Neighbours, Bytes: p.Bytes, Sent: p.Bytes, Packets: p.Packets})
	}
	for i, e := range s.Timeline {
		f := FaultResult{Words: e.Words(), From: e.At, To: e.Until, Bit: 1} // a surge of the workload always bites
		f.Name, _ = e.action()
		if lines[i] >= 0 {
			f.Bit = found.Bit[lines[i]]
		}
		res.Faults = append(res.Faults, f)
	}
	for _, e := range s.Expect {
		res.Objectives = append(res.Objectives, res.judge(e))
	}
	for _, e := range s.Sometimes {
		res.Sometimes = append(res.Sometimes, res.judge(e))
	}
	if res.Verdict, res.Why = res.verdict(); res.Verdict == Passed {
		res.Why = fmt.Sprintf("All %d objectives were met, by the scale model. It cannot tell whether the promises hold.", len(res.Objectives))
	}
	if res.Partial {
		return res, ErrStopped
	}
	return res, nil
}

// measure is what was measured of a name, and false where there was nothing to measure.
func (r *Result) measure(name string, e Expect) (float64, bool) {
	if r.Scale == nil {
		return measures[name].of(r, e)
	}
	of, ok := scaleMeasures[name]
	if !ok {
		return 0, false
	}
	return of(r, e)
}

// scaleMeasures are those that the model has, of its own form of deliveries.
var scaleMeasures = map[string]func(*Result, Expect) (float64, bool){
	"delivery": func(r *Result, e Expect) (float64, bool) {
		h, readers, _ := r.Scale.some(e)
		if readers == 0 {
			return 0, false
		}
		came := h.N
		if e.Within > 0 {
			came -= h.Above(e.Within)
		}
		return float64(came) / float64(readers), true
	},
	"p50": scaleQuantile(0.50),
	"p90": scaleQuantile(0.90),
	"p99": scaleQuantile(0.99),
	"late": func(r *Result, e Expect) (float64, bool) {
		h, _, _ := r.Scale.some(e)
		return float64(h.Above(late)) / float64(max(h.N, 1)), h.N > 0
	},
	"messages": func(r *Result, e Expect) (float64, bool) {
		_, _, n := r.Scale.some(e)
		return float64(n), true
	},
	"heal":       measureHeal,
	"running":    measureRunning,
	"neighbours": measureNeighbours,
}

func scaleQuantile(q float64) func(*Result, Expect) (float64, bool) {
	return func(r *Result, e Expect) (float64, bool) {
		h, _, _ := r.Scale.some(e)
		return h.Quantile(q).Seconds(), h.N > 0
	}
}

// some are the messages that an objective is about: how long they took, to how many readers
// they went, and how many there are.
func (s *Scale) some(e Expect) (h *model.Hist, readers, messages int) {
	if e.Priority == "" && e.Scope == "" && e.From == 0 && e.To == 0 {
		for i := range s.result.Messages {
			if m := &s.result.Messages[i]; m.NearReaders+m.AwayReaders > 0 {
				messages++
			}
		}
		return s.All, s.Readers, messages
	}
	h = &model.Hist{}
	for i := range s.result.Messages {
		m := &s.result.Messages[i]
		if e.Priority != "" && priorities[m.Kind] != e.Priority || m.At < e.From || e.To > 0 && m.At >= e.To {
			continue
		}
		before := readers
		readers += m.NearReaders
		h.Merge(&m.Near)
		if e.Scope != "site" {
			readers += m.AwayReaders
			h.Merge(&m.Away)
		}
		if readers > before {
			messages++
		}
	}
	return h, readers, messages
}
