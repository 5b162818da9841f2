package mesh

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"golang.org/x/sys/unix"
)

// The long form of the adversaries (TOCSIN_ADVERSARY): the honest stations are a
// process on one core and the adversary is another on another core, so that what is
// measured is what it does to them and not what it costs itself. Calm and attack
// alternate, so that whatever else the machine does meets both alike. Both processes
// are this test binary, told by siegeRole who they are.

const (
	siegeRole = "TOCSIN_ADVERSARY_ROLE"
	// siegeProfile names a directory for CPU profiles of the honest process.
	siegeProfile = "TOCSIN_ADVERSARY_PROFILE"

	siegeAttack = 20 * time.Second // an attack at most, before the next calm spell
	siegePace   = 10 * time.Millisecond
	// siegePatience is how long a process may take for what it is told, beyond the time that
	// it is told to take: a bound for hanging, no measure.
	siegePatience = 4 * time.Minute
)

// siegeForm is how a siege is played and judged.
type siegeForm struct {
	last   time.Duration // of attack
	calm   time.Duration // a calm spell
	settle time.Duration // after an attack, before it counts as calm again
	// late and kept are what honest delivery may take and the process hold however little
	// that was in calm: in a short siege a few frames decide, on a machine with other work.
	late time.Duration
	kept uint64
	// first: the honest process comes before all other work, or the siege is not played.
	first bool
}

// formOf is the form for attacks that last so long: from a minute on, what is measured
// counts in docs/performance.md.
func formOf(last time.Duration) siegeForm {
	if last < time.Minute {
		return siegeForm{last: last, calm: 1500 * time.Millisecond, settle: 250 * time.Millisecond, late: 25 * time.Millisecond, kept: 128 << 20}
	}
	return siegeForm{last: last, calm: 8 * time.Second, settle: time.Second, first: true}
}

// nobody does nothing: what a siege looks like without an adversary.
func nobody() villainy {
	return villainy{name: "nobody", attack: func(ctx context.Context, _ host.Host, _ prey) { <-ctx.Done() }}
}

// siegeIntro is what an adversary is told of its victim, and what it shows.
type siegeIntro struct {
	Key, Chain, Ticket []byte
	Tag                [tagSize]byte
	ID                 string
	Addrs              []string
	Topic              string
}

// siegeOrder has a process do something for a time. From is the number of the first
// honest frame of it.
type siegeOrder struct {
	Attack bool
	Lasts  time.Duration
	Settle time.Duration // before it begins
	From   int
}

// siegeReport is what the honest process saw of one spell.
type siegeReport struct {
	Took           []time.Duration // of each honest frame
	Resident, Anon uint64          // the most, in bytes
	Heap           uint64          // with stacks
	Goroutines     int
	Told           bool
	Tale           string
	Cut            int
	CPU            time.Duration
}

// besiege plays each adversary for so long, or is one of the processes of that.
func besiege(t *testing.T, last time.Duration) {
	switch role, name, _ := strings.Cut(os.Getenv(siegeRole), ":"); role {
	case "":
		form, all := formOf(last), villainies()
		if form.first {
			all = append(all, nobody())
		}
		for _, a := range all {
			t.Run(a.name, func(t *testing.T) { siege(t, a, form) })
		}
	case "honest":
		siegeHonest(t, villainyOf(t, name))
	case "villain":
		siegeVillain(t, villainyOf(t, name))
	default:
		t.Fatalf("%s: %q", siegeRole, role)
	}
}

func villainyOf(t *testing.T, name string) villainy {
	all := append(villainies(), nobody())
	i := slices.IndexFunc(all, func(a villainy) bool { return a.name == name })
	if i < 0 {
		t.Fatalf("no adversary is called %q", name)
	}
	return all[i]
}

// siege plays one adversary.
func siege(t *testing.T, a villainy, form siegeForm) {
	cores := siegeCores(t)
	good := siegeStart(t, "honest:"+a.name, cores[0], form.first)
	var intro siegeIntro
	good.hear(t, 0, &intro)
	bad := siegeStart(t, "villain:"+a.name, cores[1], form.first)
	bad.tell(t, intro)

	var calm, attack siegeReport
	for left, first := form.last, true; left > 0; first = false {
		var r siegeReport
		good.tell(t, siegeOrder{Lasts: form.calm, Settle: form.settle})
		good.hear(t, form.calm+form.settle, &r)
		if calm.Took = append(calm.Took, r.Took...); first {
			// Later calm spells still hold what an attack has left behind.
			calm.Resident, calm.Anon, calm.Heap, calm.Goroutines = r.Resident, r.Anon, r.Heap, r.Goroutines
		}
		calm.CPU += r.CPU
		spell := min(left, siegeAttack)
		left -= spell
		from := len(calm.Took) + len(attack.Took)
		bad.tell(t, siegeOrder{Attack: true, Lasts: spell, From: from})
		good.tell(t, siegeOrder{Attack: true, Lasts: spell, From: from})
		r = siegeReport{}
		good.hear(t, spell, &r)
		var done bool
		bad.hear(t, spell, &done)
		took := append(attack.Took, r.Took...)
		r.Resident, r.Anon, r.Heap = max(r.Resident, attack.Resident), max(r.Anon, attack.Anon), max(r.Heap, attack.Heap)
		r.Goroutines, r.CPU = max(r.Goroutines, attack.Goroutines), r.CPU+attack.CPU
		attack = r
		attack.Took = took
	}
	bad.end(t)
	good.end(t)
	siegeJudge(t, form, calm, attack)
}

// siegeJudge logs a row of docs/performance.md and holds it against the aim.
func siegeJudge(t *testing.T, form siegeForm, calm, attack siegeReport) {
	p50, p99 := siegeQuantile(calm.Took, 50), siegeQuantile(calm.Took, 99)
	a50, a99 := siegeQuantile(attack.Took, 50), siegeQuantile(attack.Took, 99)
	ratio := float64(a99) / float64(p99)
	memory := float64(attack.Resident) / float64(calm.Resident)
	mib := func(n uint64) float64 { return float64(n) / (1 << 20) }
	t.Logf("row | %s | p50 %v → %v | p99 %v → %v | %.2f× | resident %.1f → %.1f MiB | %.2f× | anonymous %.1f → %.1f | heap and stacks %.1f → %.1f | goroutines %d → %d | %d and %d frames | CPU %v → %v",
		t.Name(), p50.Round(time.Microsecond), a50.Round(time.Microsecond), p99.Round(time.Microsecond), a99.Round(time.Microsecond), ratio,
		mib(calm.Resident), mib(attack.Resident), memory, mib(calm.Anon), mib(attack.Anon), mib(calm.Heap), mib(attack.Heap),
		calm.Goroutines, attack.Goroutines, len(calm.Took), len(attack.Took), calm.CPU.Round(time.Millisecond), attack.CPU.Round(time.Millisecond))
	t.Logf("counters: %s", attack.Tale)
	if ratio > 2 && a99 > form.late {
		t.Errorf("p99 of honest delivery: %v, %.2f times that in calm, at most 2 is allowed, or %v", a99, ratio, form.late)
	}
	if memory > 2 && attack.Resident > form.kept {
		t.Errorf("memory: %d bytes, %.2f times that in calm, at most 2 is allowed, or %d bytes", attack.Resident, memory, form.kept)
	}
	if !attack.Told {
		t.Errorf("the counters do not tell: %s", attack.Tale)
	}
}

func siegeQuantile(took []time.Duration, percent int) time.Duration {
	slices.Sort(took)
	return took[min(len(took)*percent/100, len(took)-1)]
}

// siegeCores returns the cores of the honest process and of the adversary.
func siegeCores(t *testing.T) (cores []int) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	for i := range 1024 {
		if set.IsSet(i) {
			cores = append(cores, i)
		}
	}
	if len(cores) < 2 {
		t.Fatal("this test needs two cores: one for the honest stations and one for the adversary")
	}
	return cores
}

// siegeProcess is one of the two processes: JSON goes in by its standard input and
// comes out by a pipe of its own.
type siegeProcess struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	pipe *os.File
	out  *json.Decoder
	log  bytes.Buffer
}

// siegeStart starts one, on one core. strict: the test fails where the honest process
// cannot be put before other work.
func siegeStart(t *testing.T, role string, core int, strict bool) *siegeProcess {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &siegeProcess{cmd: exec.Command(self, "-test.run", "^TestAdversaries$", "-test.v", "-test.timeout", "60m")}
	p.cmd.Env = append(os.Environ(), siegeRole+"="+role)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.ExtraFiles, p.pipe, p.out = []*os.File{w}, r, json.NewDecoder(r)
	started := make(chan error)
	go func() {
		started <- siegePinned(core, strings.HasPrefix(role, "honest"), func(err error) error {
			if err != nil && strict {
				return fmt.Errorf("coming before other work needs root: %w", err)
			}
			if err != nil {
				t.Logf("%s: other work may keep it waiting: %v", role, err)
			}
			return p.cmd.Start()
		})
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() {
		p.in.Close()
		r.Close()
		if p.cmd.ProcessState == nil {
			p.cmd.Process.Kill()
			p.cmd.Wait()
		}
		if t.Failed() {
			t.Logf("%s: %s", role, p.log.String())
		}
	})
	return p
}

// siegePinned calls start on a thread that may use one core only, which a process
// that it starts inherits. One that comes first is not kept waiting by what else the
// machine does on that core: that is not to be measured. start is told why not, if so.
func siegePinned(core int, first bool, start func(error) error) error {
	runtime.LockOSThread() // and never unlocked: the thread ends with its goroutine
	var one unix.CPUSet
	one.Set(core)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return err
	}
	if !first {
		return start(nil)
	}
	realtime := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}
	return start(unix.SchedSetAttr(0, &realtime, 0))
}

func (p *siegeProcess) tell(t *testing.T, v any) {
	t.Helper()
	if err := json.NewEncoder(p.in).Encode(v); err != nil {
		t.Fatalf("%v; it said: %s", err, p.log.String())
	}
}

// hear waits for what the process says of something that takes so long.
func (p *siegeProcess) hear(t *testing.T, lasts time.Duration, v any) {
	t.Helper()
	err := p.pipe.SetReadDeadline(time.Now().Add(lasts + siegePatience))
	if err == nil {
		err = p.out.Decode(v)
	}
	if err == nil {
		return
	}
	p.cmd.Process.Kill() // it may hang
	p.cmd.Wait()
	t.Fatalf("%v; it said: %s", err, p.log.String())
}

// end closes the process's input, upon which it ends.
func (p *siegeProcess) end(t *testing.T) {
	t.Helper()
	p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("%v; it said: %s", err, p.log.String())
	}
}

// siegeOrders calls obey with each order that comes, and tells what it returns.
func siegeOrders(t *testing.T, in *json.Decoder, out *json.Encoder, obey func(siegeOrder) any) {
	for {
		var o siegeOrder
		switch err := in.Decode(&o); {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			t.Fatal(err)
		}
		if err := out.Encode(obey(o)); err != nil {
			t.Fatal(err)
		}
	}
}

// siegeHonest is the process of the honest stations: one sends, and the victim
// receives.
func siegeHonest(t *testing.T, a villainy) {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.NewFile(3, "out"))
	if dir := os.Getenv(siegeProfile); dir != "" {
		f, err := os.Create(filepath.Join(dir, strings.ReplaceAll(a.name, " ", "-")+".prof"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			t.Fatal(err)
		}
		defer pprof.StopCPUProfile()
	}
	w := newWorld(t)
	arrivals := &arrivals{at: map[int]time.Time{}}
	listen := siegeListen(t)
	victim, friend := friends(t, w, func(cfg *Config) {
		authored(cfg)
		cfg.Listen, cfg.Logger = listen, slog.New(slog.DiscardHandler) // the test's log would grow with time
	})
	victim.store.bound(siegeKeep, arrivals.note)
	friend.store.bound(siegeKeep, nil)
	c, addrs := w.villain(t), []string(nil)
	for _, a := range victim.prey().addrs {
		addrs = append(addrs, a.String())
	}
	err := out.Encode(siegeIntro{
		Key: c.key, Chain: c.chain, Ticket: c.ticket, Tag: c.tag, ID: victim.ID().String(), Addrs: addrs, Topic: victim.prey().topic,
	})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	siegeOrders(t, in, out, func(o siegeOrder) any {
		r := siegeSpell(t, friend, victim, arrivals, o, n)
		n += len(r.Took)
		s := victim.Stats()
		r.Told, r.Tale, r.Cut = a.told == nil || a.told(s), tale(s), len(s.Cut)
		return r
	})
}

// siegeListen returns where the honest stations listen: not on loopback, of whose
// addresses connections are not counted.
func siegeListen(t *testing.T) []string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && ip.IP.IsGlobalUnicast() {
			return []string{fmt.Sprintf("/ip4/%s/tcp/0", ip.IP)}
		}
	}
	t.Fatal("this test needs an IPv4 address that is not loopback, as connections of loopback are not counted")
	return nil
}

// siegeSpell sends a frame every siegePace while a spell lasts, whether those before it
// have arrived or not, and waits for the last of them.
func siegeSpell(t *testing.T, from, to *station, arrivals *arrivals, o siegeOrder, first int) (r siegeReport) {
	if o.Settle > 0 {
		pause(t.Context(), o.Settle)
	}
	ctx, cancel := context.WithTimeout(t.Context(), o.Lasts)
	defer cancel()
	tick := time.NewTicker(siegePace)
	defer tick.Stop()
	cpu := siegeCPU(t)
	var sent []time.Time
	for ; ctx.Err() == nil; <-tick.C {
		n := first + len(sent)
		sent = append(sent, time.Now())
		from.say(t, siegeFrame(n))
		if len(sent)%20 == 1 {
			r.look(t)
		}
	}
	awaited := func() bool { return arrivals.count(first, first+len(sent)) == len(sent) }
	for wait := 0; !awaited() && wait < 3000; wait++ {
		pause(t.Context(), siegePace)
	}
	if !awaited() {
		t.Fatalf("honest frames never came: %+v; sender %+v", to.Stats(), from.Stats())
	}
	r.CPU = siegeCPU(t) - cpu
	for i, at := range sent {
		r.Took = append(r.Took, arrivals.take(first+i).Sub(at))
	}
	return r
}

const siegePrefix = "honest "

// siegeKeep is how many frames each honest station remembers, so that no memory of the
// test's own grows with time.
const siegeKeep = 2048

func siegeFrame(n int) string { return siegePrefix + strconv.Itoa(n) }

// look takes what the process uses now.
func (r *siegeReport) look(t *testing.T) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r.Heap, r.Goroutines = max(r.Heap, m.HeapAlloc+m.StackInuse), max(r.Goroutines, runtime.NumGoroutine())
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	field := func(name string) uint64 {
		_, rest, _ := strings.Cut(string(status), name+":")
		var kib uint64
		if _, err := fmt.Sscan(rest, &kib); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return kib << 10
	}
	r.Resident, r.Anon = max(r.Resident, field("VmRSS")), max(r.Anon, field("RssAnon"))
}

func siegeCPU(t *testing.T) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// arrivals keeps when honest frames arrived.
type arrivals struct {
	mu   sync.Mutex
	at   map[int]time.Time
	next int // those before it were taken
}

func (a *arrivals) note(frame []byte) {
	text, ok := strings.CutPrefix(string(frame), siegePrefix)
	n, err := strconv.Atoi(text)
	if !ok || err != nil {
		return // the adversary's
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, again := a.at[n]; !again && n >= a.next {
		a.at[n] = time.Now()
	}
}

func (a *arrivals) count(from, to int) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := from; i < to; i++ {
		if _, ok := a.at[i]; ok {
			n++
		}
	}
	return n
}

func (a *arrivals) take(n int) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := a.at[n]
	delete(a.at, n)
	a.next = n + 1
	return at
}

// siegeVillain is the process of the adversary.
func siegeVillain(t *testing.T, a villainy) {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.NewFile(3, "out"))
	var intro siegeIntro
	if err := in.Decode(&intro); err != nil {
		t.Fatal(err)
	}
	id, err := peer.Decode(intro.ID)
	if err != nil {
		t.Fatal(err)
	}
	victim := prey{id: id, topic: intro.Topic}
	for _, s := range intro.Addrs {
		victim.addrs = append(victim.addrs, ma.StringCast(s))
	}
	v := villainHost(t, card{key: ed25519.PrivateKey(intro.Key), chain: intro.Chain, ticket: intro.Ticket, tag: intro.Tag})
	defer v.Close()
	siegeOrders(t, in, out, func(o siegeOrder) any {
		begun := time.Now()
		victim.ids = func() (ids []string) {
			// What the victim has been sent lately, as its frames are numbered.
			last := o.From + int(time.Since(begun)/siegePace)
			for n := max(last-1000, 0); n <= last; n++ {
				id := sha256.Sum256([]byte(siegeFrame(n)))
				ids = append(ids, string(id[:]))
			}
			return ids
		}
		ctx, cancel := context.WithTimeout(t.Context(), o.Lasts)
		defer cancel()
		a.attack(ctx, v, victim)
		return true
	})
}
