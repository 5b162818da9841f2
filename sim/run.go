package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"tocsin/node"
)

// Options are how a scenario is run.
type Options struct {
	// Dir is an empty folder for the vaults of the devices; the caller removes it.
	Dir string
	// Seed, if above 0, is used in place of the scenario's.
	Seed uint64
	// Without switches defences off, for a control run that must fail.
	Without []Defence
	// Logger gets what the devices log.
	Logger *slog.Logger
	// Progress, if set, is told how far the run is, in virtual time.
	Progress func(done, total time.Duration, doing string)
	// Trace, if set, gets every step of the run: see trace. It makes a run slower, for all
	// promises are then looked at every virtual second.
	Trace io.Writer
	// Stopped, if set, is asked every virtual second whether to end early.
	Stopped func() bool
}

// runner is one run of a scenario, in a bubble.
type runner struct {
	s     *Scenario
	o     Options
	world *World
	rng   *rand.Rand
	watch *watch
	trace *trace
	seen  *history
	res   *Result

	groups  []group
	begun   time.Time // of the story
	agenda  []todo
	events  []*eventState
	enemies []*hostile
	copies  []*Device // of disks, at work beside their originals
	forked  []string  // logs with two entries at one place
	// expelled is when the partner's authority was taken out of the mesh; zero for never.
	expelled time.Time

	sends   sync.WaitGroup
	follows sync.WaitGroup
}

// group is a conversation as it was made.
type group struct {
	id      string
	members []int
}

// todo is something that is due.
type todo struct {
	at time.Duration
	do func(ctx context.Context) error
}

// How long the mesh may take to form.
const (
	gatherFor = 10 * time.Minute
	lookEvery = time.Second
	// sampleEvery is how often the state of all devices is looked at.
	sampleEvery = 10 * time.Second
)

// ErrStopped: the run was ended early; its result is partial.
var ErrStopped = errors.New("sim: the run was stopped before its end")

// Run runs a scenario. It must be called in a bubble of virtual time: [Bubble].
// The result is partial where the error matches [ErrStopped], nil with others.
func (s *Scenario) Run(ctx context.Context, o Options) (*Result, error) {
	r, err := s.newRunner(ctx, o)
	if err != nil {
		return nil, err
	}
	err = r.story(ctx)
	if err == nil || errors.Is(err, ErrStopped) {
		r.finish()
	}
	err = errors.Join(err, r.close())
	if err != nil && !errors.Is(err, ErrStopped) {
		return nil, err
	}
	return r.res, err
}

// newRunner makes an empty world.
func (s *Scenario) newRunner(ctx context.Context, o Options) (*runner, error) {
	seed := s.Seed
	if o.Seed > 0 {
		seed = o.Seed
	}
	w, err := newWorld(ctx, worldSpec{
		Start: s.Start, Dir: o.Dir, Seed: seed, Logger: o.Logger, Near: s.Mesh.Near, Far: s.Mesh.Far, CPU: s.Mesh.CPU,
		Neighbours: s.Mesh.Neighbours, Directory: s.Mesh.Directory,
	})
	if err != nil {
		return nil, err
	}
	t := newTrace(o.Trace, w.clock)
	w.net.trace = t
	return &runner{
		trace: t,
		s:     s, o: o, world: w, rng: rand.New(rand.NewPCG(seed, 2)), watch: newWatch(w.clock, t), seen: newHistory(), res: newResult(s, o, seed),
	}, nil
}

// close ends everybody and waits.
func (r *runner) close() error {
	var err error
	for _, h := range r.enemies {
		err = errors.Join(err, h.stop())
	}
	for _, d := range r.copies {
		err = errors.Join(err, d.stop())
	}
	r.sends.Wait()
	err = errors.Join(err, r.world.close())
	r.follows.Wait()
	return errors.Join(err, r.trace.close())
}

// story is everything in its order.
func (r *runner) story(ctx context.Context) error {
	for _, step := range []func(context.Context) error{r.gather, r.form, r.disarm, r.tell, r.heal} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// gather starts every device and waits until each knows all that it will write to.
func (r *runner) gather(ctx context.Context) error {
	for _, site := range r.s.Mesh.Sites {
		for i := range site.Devices {
			if _, err := r.world.add(fmt.Sprintf("%s/%d", site.Name, i+1), site.Name); err != nil {
				return err
			}
		}
	}
	for i, d := range r.world.devices {
		for _, k := range r.rng.Perm(i)[:min(i, r.s.Mesh.Knows)] {
			d.cfg.Static = append(d.cfg.Static, r.world.devices[k].addr())
		}
		d.cfg.WitnessPause, d.cfg.TestimonyPause = r.s.Mesh.Testimony, r.s.Mesh.Testimony
		if err := r.start(ctx, d); err != nil {
			return err
		}
	}
	return r.until(ctx, "the devices meet", func() (bool, error) {
		for _, d := range r.world.devices {
			people, err := d.node.People()
			if err != nil {
				return false, err
			}
			ready := 0
			for _, p := range people {
				if p.Ready && !p.Self {
					ready++
				}
			}
			if ready < len(r.world.devices)-1 {
				return false, nil
			}
		}
		return true, nil
	})
}

// start runs a device and watches it.
func (r *runner) start(ctx context.Context, d *Device) error {
	if d.lost || d.node != nil {
		return nil
	}
	if err := d.run(ctx); err != nil {
		return err
	}
	r.watch.follow(d, &r.follows, d.node.Subscribe(context.Background()))
	r.watch.doubtful(d.index) // what it showed while it was unlocked had no event that was heard
	r.lookAfresh()
	return nil
}

// disarm starts every device again without the defences that a control run does
// without: it differs from the true one in the story alone.
func (r *runner) disarm(ctx context.Context) error {
	if r.unsafe() == (node.Unsafe{}) || r.res.Unformed != "" {
		return nil // the devices are as they are
	}
	for _, d := range r.world.devices {
		if err := d.stop(); err != nil {
			return err
		}
		d.cfg.Unsafe = r.unsafe()
	}
	for _, d := range r.world.devices {
		if err := r.start(ctx, d); err != nil {
			return err
		}
	}
	return r.until(ctx, "the devices meet again", func() (bool, error) {
		for _, d := range r.world.devices {
			if len(d.node.Peers()) < min(r.s.Mesh.Knows, len(r.world.devices)-1) {
				return false, nil
			}
		}
		return true, nil
	})
}

// unsafe is what devices do without.
func (r *runner) unsafe() node.Unsafe {
	return node.Unsafe{
		NoSync: r.without(DefenceSync), NoAdmission: r.without(DefenceAdmission), NoConduct: r.without(DefenceConduct),
		NoRelay: r.without(DefenceRelay), NoHybrid: r.without(DefenceHybrid),
	}
}

// form makes the groups.
func (r *runner) form(ctx context.Context) error {
	if r.res.Unformed != "" {
		return nil
	}
	for _, g := range r.s.Groups {
		members := r.s.pick(g.Members)
		first := r.world.devices[members[0]]
		var others []string
		for _, m := range members[1:] {
			others = append(others, r.world.devices[m].log)
		}
		c, err := first.node.CreateGroup(ctx, node.GroupSpec{Kind: "incident", Name: g.Name, Members: others})
		if err != nil {
			return fmt.Errorf("sim: making the group %q: %w", g.Name, err)
		}
		r.groups = append(r.groups, group{fmt.Sprintf("%x", c.ID[:]), members})
	}
	return r.until(ctx, "the groups form", func() (bool, error) {
		for _, g := range r.groups {
			for _, m := range g.members {
				roster, err := r.world.devices[m].node.Roster(g.id)
				if errors.Is(err, node.ErrNotFound) || err == nil && len(roster) < len(g.members) {
					return false, nil
				}
				if err != nil {
					return false, err
				}
			}
		}
		return true, nil
	})
}

// until waits for the mesh to get somewhere, before the story begins.
func (r *runner) until(ctx context.Context, what string, done func() (bool, error)) error {
	for waited := time.Duration(0); ; waited += lookEvery {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if waited >= gatherFor {
			r.res.Unformed = what
			return nil
		}
		r.progress(0, what)
		if r.stopped() {
			return ErrStopped
		}
		if err := sleep(ctx, r.world.clock, lookEvery); err != nil {
			return err
		}
	}
}

// without reports whether a defence is off.
func (r *runner) without(d Defence) bool { return slices.Contains(r.o.Without, d) }

func (r *runner) stopped() bool { return r.o.Stopped != nil && r.o.Stopped() }

func (r *runner) progress(done time.Duration, doing string) {
	if r.o.Progress != nil {
		r.o.Progress(done, r.s.Duration+r.s.Heal, doing)
	}
}

// tell runs the timeline and the workload.
func (r *runner) tell(ctx context.Context) error {
	if r.res.Unformed != "" {
		return nil // what follows would say nothing
	}
	r.begun = r.world.clock.Now()
	r.res.begin(r)
	r.trace.begin()
	r.plan()
	for _, w := range r.s.Workload {
		r.planWork(w)
	}
	for at := time.Duration(0); at <= r.s.Duration; at += sampleEvery {
		r.due(at, r.sample)
	}
	r.due(0, r.toil)
	return r.work(ctx, r.s.Duration, "the story")
}

// due puts something on the agenda.
func (r *runner) due(at time.Duration, do func(context.Context) error) {
	i, _ := slices.BinarySearchFunc(r.agenda, at, func(t todo, at time.Duration) int {
		return cmp.Or(cmp.Compare(t.at, at), -1) // after what is due at the same time
	})
	r.agenda = slices.Insert(r.agenda, i, todo{at, do})
}

// elapsed is how far the story is.
func (r *runner) elapsed() time.Duration { return r.world.clock.Now().Sub(r.begun) }

// work does what is due until end.
func (r *runner) work(ctx context.Context, end time.Duration, doing string) error {
	shown := time.Duration(-1)
	for {
		next := end
		if len(r.agenda) > 0 {
			next = min(end, r.agenda[0].at)
		}
		now := r.elapsed()
		if now < next {
			if err := sleep(ctx, r.world.clock, min(next-now, lookEvery)); err != nil {
				return err
			}
		}
		if now = r.elapsed(); now-shown >= lookEvery {
			r.step(now)
			shown = now
			r.progress(now, doing)
			if r.stopped() {
				return ErrStopped
			}
		}
		for len(r.agenda) > 0 && r.agenda[0].at <= now {
			t := r.agenda[0]
			r.agenda = r.agenda[1:]
			if err := t.do(ctx); err != nil {
				return err
			}
		}
		if now >= end {
			return nil
		}
	}
}

// toilEvery is how often the work of validation is charged to the devices' processors, which
// in virtual time would cost nothing.
const toilEvery = 200 * time.Millisecond

// toil charges what was judged since the last time, and comes again.
func (r *runner) toil(context.Context) error {
	for _, d := range r.world.devices {
		if d.node == nil {
			d.judged = 0
			continue
		}
		judged := d.node.Judged()
		if judged > d.judged {
			r.world.net.charge(d.ip, time.Duration(judged-d.judged)*r.s.Mesh.Validation)
		}
		d.judged = judged
	}
	if at := r.elapsed() + toilEvery; at < r.s.Duration {
		r.due(at, r.toil)
	}
	return nil
}

// planWork draws when who sends.
func (r *runner) planWork(w Work) {
	g := slices.IndexFunc(r.s.Groups, func(g GroupSpec) bool { return g.Name == w.Group })
	by := r.groups[g].members
	if len(w.By) > 0 {
		by = r.s.pick(w.By)
	}
	mean := float64(time.Hour) / w.PerHour
	for _, d := range by {
		var next func(at time.Duration)
		next = func(at time.Duration) {
			at += time.Duration(r.rng.ExpFloat64() * mean)
			if at >= w.To {
				return
			}
			r.due(at, func(ctx context.Context) error {
				r.send(ctx, d, g, w)
				next(at)
				return nil
			})
		}
		next(w.From)
	}
}

// send has a device say something, and does not wait for it.
func (r *runner) send(ctx context.Context, d, g int, w Work) {
	from := r.world.devices[d]
	if from.node == nil {
		return // who is off says nothing
	}
	r.sendFrom(ctx, from, g, w)
}

// heal ends all that is wrong and waits until the honest devices agree.
func (r *runner) heal(ctx context.Context) error {
	if r.res.Unformed != "" {
		return nil
	}
	for _, e := range r.events {
		if err := e.end(ctx); err != nil {
			return err
		}
	}
	for _, h := range r.enemies {
		if err := h.stop(); err != nil {
			return err
		}
	}
	if len(r.enemies) > 0 {
		runtime.GC() // what the hostile devices held is not to be counted as that of the others
	}
	healed := r.elapsed()
	r.res.HealBegan = healed
	end := healed + r.s.Heal
	for at := healed; at < end; at += sampleEvery {
		r.due(at, r.sample)
	}
	for r.elapsed() < end {
		if err := r.work(ctx, min(r.elapsed()+lookEvery, end), "healing"); err != nil {
			return err
		}
		same, err := r.agree()
		if err != nil {
			return err
		}
		if same && r.everythingShown() {
			took := r.elapsed() - healed
			r.res.Healed = &took
			return r.sample(ctx)
		}
	}
	return r.sample(ctx)
}

// honest are the devices that run.
func (r *runner) honest() (out []*Device) {
	for _, d := range r.world.devices {
		if d.node != nil && d.counts() {
			out = append(out, d)
		}
	}
	return out
}

// sample looks at every device.
func (r *runner) sample(context.Context) error {
	p := Sample{At: r.elapsed(), HeapBytes: heapBytes()}
	for _, d := range r.honest() {
		peers := d.node.Peers()
		p.Running++
		p.Neighbours += len(peers)
		for _, peer := range peers {
			p.Queued = max(p.Queued, peer.Queued)
		}
		if err := r.seen.look(d); err != nil {
			return err
		}
	}
	for _, h := range r.enemies {
		if !h.ended.Load() {
			p.Hostile++
		}
	}
	for _, d := range r.copies {
		if d.node != nil {
			p.Hostile++
		}
	}
	t := r.world.net.traffic()
	p.Bytes, p.Packets = t.Bytes, t.Packets
	for _, d := range r.world.devices {
		sent, _ := r.world.net.bytes(d.ip)
		p.Sent += sent
	}
	p.Outsiders, p.Intruders = r.outsiders(), r.intruders()
	r.res.Samples = append(r.res.Samples, p)
	return nil
}

// outsiders is how many devices without a credential somebody has as a neighbour.
func (r *runner) outsiders() (n int) {
	if len(r.enemies) == 0 {
		return 0
	}
	ids := make(map[string]bool)
	for _, h := range r.enemies {
		if h.outsider {
			ids[h.peer.String()] = true
		}
	}
	met := make(map[string]bool)
	for _, d := range r.honest() {
		for _, p := range d.node.Peers() {
			if id := p.ID.String(); ids[id] {
				met[id] = true
			}
		}
	}
	return len(met)
}
