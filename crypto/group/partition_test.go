package group

import (
	"crypto/sha256"
	"errors"
	"flag"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tocsin/crypto/identity"
)

// Histories of partitions. Every device keeps a copy of every log as far as it
// has come; what is in it moves only between devices of one cell, in the order
// of each log, a piece at a time. The model knows who was meant: it works out
// views from the operations alone ([naive]) and reads nothing of the keyrings.
type partitions struct {
	t       *rapid.T
	now     time.Time
	group   ID
	nodes   []*pnode
	epochs  map[EpochID]*pepoch
	sent    []*psent
	ops     map[[32]byte]*knownOp
	revoked map[identity.LogID]bool
}

type pnode struct {
	*device
	cell    int
	logs    map[identity.LogID][]pentry
	drained map[identity.LogID]int
	known   map[[32]byte]*knownOp // by the model
	prekeys map[identity.LogID]bool
	revoked map[identity.LogID]bool // what it has heard of
	waiting []*psent                // entries of epochs not held yet
	read    map[*psent]bool
	left    bool
}

type pentry struct {
	at   Place
	body []byte // a page of an announce
	keys []byte // a set of prekeys
	msg  *psent
}

// pepoch is what the model knows of an announce.
type pepoch struct {
	by      identity.LogID
	list    []identity.LogID
	reached map[identity.LogID]bool
	ops     map[[32]byte]*knownOp
	pages   int
}

type psent struct {
	sent
	epoch   EpochID
	payload string
	meant   []identity.LogID // by the model, when it was sent
}

func newPartitions(t *rapid.T) *partitions {
	p := &partitions{t: t, now: start, epochs: make(map[EpochID]*pepoch), ops: make(map[[32]byte]*knownOp), revoked: make(map[identity.LogID]bool)}
	for i := range rapid.IntRange(3, 4).Draw(t, "devices") {
		n := &pnode{device: newDevice(t, uint64(i+1)), logs: make(map[identity.LogID][]pentry), drained: make(map[identity.LogID]int), known: make(map[[32]byte]*knownOp),
			prekeys: make(map[identity.LogID]bool), revoked: make(map[identity.LogID]bool), read: make(map[*psent]bool)}
		n.k.cfg.Excluded = func(d identity.LogID) bool { return n.revoked[d] }
		p.nodes = append(p.nodes, n)
	}
	for _, n := range p.nodes {
		p.publish(n)
	}
	a := p.nodes[0]
	p.group = a.create(KindIncident, "Major incident")
	p.note(a)
	for _, o := range p.nodes[1:rapid.IntRange(2, len(p.nodes)).Draw(t, "founders")] {
		role := RoleMember
		if rapid.Bool().Draw(t, "admin") {
			role = RoleAdmin
		}
		a.add(p.group, role, o.device)
		p.note(a)
	}
	if rapid.IntRange(0, 3).Draw(t, "warm") > 0 {
		p.gossip(nil)
		p.send(a)
		p.gossip(nil)
	}
	return p
}

func (p *partitions) publish(n *pnode) {
	payload, changes, err := n.k.PreKeyUpdate(p.now)
	if err != nil {
		p.t.Fatal(err)
	}
	n.apply(changes)
	if payload != nil {
		n.append(pentry{keys: payload})
	}
	n.prekeys[n.log] = true
}

func (n *pnode) append(e pentry) {
	if e.at == (Place{}) {
		e.at = n.place()
	}
	n.logs[n.log] = append(n.logs[n.log], e)
	n.drained[n.log] = len(n.logs[n.log])
}

// note lets the model see the operations that n made itself.
func (p *partitions) note(n *pnode) {
	g, ok := n.k.groups[p.group]
	if !ok {
		return
	}
	for id, o := range g.ops {
		if o.author() == n.log {
			p.ops[id], n.known[id] = o, o
		}
	}
}

func (p *partitions) view(n *pnode) naiveView {
	if len(n.known) == 0 {
		return naiveView{}
	}
	return newNaive(n.known).view()
}

func (p *partitions) audience(n *pnode) (out []identity.LogID) {
	for who := range p.view(n).members {
		if !n.revoked[who] {
			out = append(out, who)
		}
	}
	slices.SortFunc(out, identity.LogID.Compare)
	return out
}

// check holds a keyring to the model's view.
func (p *partitions) check(n *pnode) {
	v, ok := n.k.Group(p.group)
	if ok != (len(n.known) > 0) {
		p.t.Fatalf("group known: %v; the model has %d operations", ok, len(n.known))
	}
	if !ok {
		return
	}
	p.view(n).compare(p.t, &v)
	if got := n.k.Audience(p.group); !slices.Equal(got, p.audience(n)) || n.k.AudienceSize(p.group) != len(got) {
		p.t.Fatalf("audience %v, the model's %v", got, p.audience(n))
	}
}

func (p *partitions) pick(what string) *pnode {
	return p.nodes[rapid.IntRange(0, len(p.nodes)-1).Draw(p.t, what)]
}

// act lets a device change the group, if its keyring says that it may.
func (p *partitions) act(t *rapid.T) {
	n, who := p.pick("by"), p.pick("who")
	if n.left {
		t.Skip("has left")
	}
	var payload []byte
	var err error
	kind := rapid.SampledFrom([]OpKind{OpAdd, OpAdd, OpRemove, OpRemove, OpRole, OpLeave, OpRetention, OpState}).Draw(t, "op")
	switch kind {
	case OpAdd:
		payload, err = n.k.AddOp(p.group, who.log, Role(rapid.IntRange(1, 2).Draw(t, "role")))
	case OpRemove:
		payload, err = n.k.RemoveOp(p.group, who.log)
	case OpRole:
		payload, err = n.k.RoleOp(p.group, who.log, Role(rapid.IntRange(1, 2).Draw(t, "role")))
	case OpLeave:
		p.leave(n)
		return
	case OpRetention:
		payload, err = n.k.RetentionOp(p.group, uint16(rapid.IntRange(0, 2).Draw(t, "days")))
	case OpState:
		payload, err = n.k.StateOp(p.group, GroupState(rapid.IntRange(1, 2).Draw(t, "state")))
	}
	role, member := p.view(n).members[n.log]
	if allowed := member && role == RoleAdmin; err == nil && !allowed {
		t.Fatalf("%s by one who is no admin", kind)
	} else if err != nil {
		t.Skip(err.Error())
	}
	n.learnOp(payload)
	p.note(n)
	p.check(n)
}

func (p *partitions) leave(n *pnode) {
	payload, err := n.k.LeaveOp(p.group)
	if err != nil {
		p.t.Skip(err.Error())
	}
	out, changes, err := n.k.Farewell(n.signOp(payload), p.now)
	if err != nil {
		p.t.Fatal(err)
	}
	n.apply(changes)
	p.note(n)
	for _, a := range out {
		p.announced(n, a, p.audience(n))
	}
	n.left = true
	p.check(n)
}

// announced tells the model of an announce and appends its pages.
func (p *partitions) announced(n *pnode, a *Announce, list []identity.LogID) {
	e := &pepoch{by: n.log, list: list, reached: make(map[identity.LogID]bool), ops: maps.Clone(n.known), pages: len(a.Pages)}
	for _, m := range list {
		if n.prekeys[m] == slices.Contains(a.Missing, m) {
			p.t.Fatalf("missing %v", a.Missing)
		}
		e.reached[m] = n.prekeys[m]
	}
	p.epochs[a.Epoch] = e
	for _, page := range a.Pages {
		n.append(pentry{body: page})
	}
}

func (p *partitions) sendOne(t *rapid.T) { p.send(p.pick("sender")) }

// send is what a node does: announce where that is due, then seal.
func (p *partitions) send(n *pnode) {
	list := p.audience(n)
	if !slices.Contains(list, n.log) {
		if _, err := n.k.Seal(p.group, n.place(), nil, p.now); err == nil {
			p.t.Fatal("sealed without being a member")
		}
		if n.k.NeedsEpoch(p.group, p.now) {
			p.t.Fatal("a stranger needs no epoch")
		}
		return
	}
	if n.k.NeedsEpoch(p.group, p.now) {
		out, err := n.k.AnnounceAll(p.group, p.now)
		if err != nil || len(out) != 1 {
			p.t.Fatal(out, err)
		}
		p.announced(n, out[0], list)
		n.apply(out[0].Changes)
	}
	if n.k.NeedsEpoch(p.group, p.now) {
		p.t.Fatal("an epoch is due right after one was announced")
	}
	text := string(rune('a' + len(p.sent)%26))
	m := &psent{sent: n.seal(p.group, text, p.now), payload: text, meant: list}
	m.epoch = m.s.Epoch
	e := p.epochs[m.epoch]
	if e == nil || !slices.Equal(e.list, list) {
		p.t.Fatalf("sent to %v under an epoch for %v", list, e)
	}
	for id := range n.known {
		if e.ops[id] == nil {
			p.t.Fatal("sent under an epoch that does not know every operation")
		}
	}
	for _, m := range list {
		if n.prekeys[m] && !e.reached[m] {
			p.t.Fatal("sent under an epoch that leaves out one who can be reached")
		}
	}
	p.sent = append(p.sent, m)
	n.read[m] = true
	n.append(pentry{at: m.at, msg: m})
}

// sync moves a piece of the logs from one device to another of its cell.
func (p *partitions) sync(t *rapid.T) {
	from, to := p.pick("from"), p.pick("to")
	if from == to || from.cell != to.cell {
		t.Skip("out of reach")
	}
	for range rapid.IntRange(1, 4).Draw(t, "pieces") {
		log := p.pick("log").log
		p.pull(from, to, log, rapid.IntRange(1, 6).Draw(t, "entries"))
	}
	for who := range from.revoked {
		p.tell(to, who)
	}
}

func (p *partitions) pull(from, to *pnode, log identity.LogID, most int) bool {
	have, there := len(to.logs[log]), len(from.logs[log])
	if there <= have {
		return false
	}
	to.logs[log] = append(to.logs[log], from.logs[log][have:min(there, have+most)]...)
	p.drain(to, log)
	return true
}

func (p *partitions) tell(n *pnode, who identity.LogID) {
	if !n.revoked[who] {
		n.revoked[who] = true
		n.k.Reexamine()
		p.check(n)
	}
}

// drain is what a node does with what has come.
func (p *partitions) drain(n *pnode, log identity.LogID) {
	for ; n.drained[log] < len(n.logs[log]); n.drained[log]++ {
		switch e := n.logs[log][n.drained[log]]; {
		case e.keys != nil:
			changes, err := n.k.LearnPreKeys(log, e.keys, p.now)
			if err != nil {
				p.t.Fatal(err)
			}
			n.apply(changes)
			n.prekeys[log] = true
		case e.body != nil:
			p.learn(n, e)
		case e.msg != nil:
			p.open(n, e.msg)
		}
	}
}

func (p *partitions) learn(n *pnode, e pentry) {
	l, changes, err := n.k.LearnEpoch(e.at, sha256.Sum256(e.body), e.body, p.now)
	if err != nil {
		p.t.Fatal(err)
	}
	n.apply(changes)
	model := p.epochs[must(parsePage(e.body)).header.id()]
	if l.NotOurs != (!model.reached[n.log] && len(changes) == 0) && l.NotOurs == model.reached[n.log] {
		p.t.Fatalf("not ours: %v, reached by the model: %v", l.NotOurs, model.reached[n.log])
	}
	if !l.Complete {
		return
	}
	if !model.reached[n.log] || !slices.Contains(model.list, n.log) {
		p.t.Fatal("took an epoch that was not for it")
	}
	if !n.revoked[model.by] || len(n.known) == 0 {
		maps.Copy(n.known, model.ops)
	}
	p.check(n)
	waiting := n.waiting
	n.waiting = nil
	for _, m := range waiting {
		p.open(n, m)
	}
}

func (p *partitions) open(n *pnode, m *psent) {
	_, members := p.view(n).members[m.at.Log]
	o, err := n.device.open(m.sent, p.now)
	held := n.k.epochs[m.epoch] != nil
	switch {
	case !held:
		if !errors.Is(err, ErrUnknownTag) {
			p.t.Fatalf("opened without the epoch: %v", err)
		}
		n.waiting = append(n.waiting, m)
		return
	case err != nil:
		p.t.Fatal(err)
	case !p.epochs[m.epoch].reached[n.log] || !slices.Contains(m.meant, n.log):
		p.t.Fatalf("%s read what was not meant for it", name(n.device))
	case n.read[m] || string(o.Payload) != m.payload || o.Removed == members:
		p.t.Fatalf("read %q again, or flagged %v", o.Payload, o.Removed)
	}
	n.read[m] = true
}

// split cuts the devices into cells anew, or joins them.
func (p *partitions) split(t *rapid.T) {
	for _, n := range p.nodes {
		n.cell = rapid.IntRange(0, 1).Draw(t, "cell")
	}
}

func (p *partitions) revoke(t *rapid.T) {
	if len(p.revoked) == 1 {
		t.Skip("one is enough")
	}
	n, who := p.pick("where"), p.pick("whom")
	if n == who {
		t.Skip("not by itself")
	}
	p.revoked[who.log] = true
	p.tell(n, who.log)
}

func (p *partitions) restart(t *rapid.T) {
	n := p.pick("device")
	k, err := Load(n.k.cfg, scanner(n.disk))
	if err != nil {
		t.Fatal(err)
	}
	n.k = k
}

func (p *partitions) wait(t *rapid.T) {
	p.now = p.now.Add(time.Duration(rapid.IntRange(1, 30).Draw(t, "hours")) * time.Hour)
	for _, n := range p.nodes {
		n.apply(n.k.Expire(p.now, 0))
		p.publish(n)
	}
}

// gossip carries everything everywhere, but not to or from out.
func (p *partitions) gossip(out *pnode) {
	for moved := true; moved; {
		moved = false
		for _, to := range p.nodes {
			for _, from := range p.nodes {
				if from == to || from == out || to == out {
					continue
				}
				for who := range from.revoked {
					p.tell(to, who)
				}
				for _, log := range p.nodes {
					moved = p.pull(from, to, log.log, 1000) || moved
				}
			}
		}
	}
}

// end heals everything and lets everyone send until nobody has news: then all
// who count each other as members see one group, and everyone has read all that
// was meant for him.
func (p *partitions) end() {
	for range 8 {
		p.gossip(nil)
		quiet := true
		for _, n := range p.nodes {
			if n.k.NeedsEpoch(p.group, p.now) {
				quiet = false
				p.send(n)
				p.gossip(nil)
			}
		}
		if quiet {
			break
		}
	}
	for _, a := range p.nodes {
		p.check(a)
		a.checkDiskOf(p.t)
		if a.k.NeedsEpoch(p.group, p.now) {
			p.t.Fatal("the epochs never come to rest")
		}
		for _, b := range p.nodes {
			if a.left || b.left || !listed(a.k.Audience(p.group), b.log) || !listed(b.k.Audience(p.group), a.log) {
				continue // one who left could not tell those whose prekeys he did not know
			}
			x, _ := a.k.Group(p.group)
			y, _ := b.k.Group(p.group)
			if !slices.Equal(x.Members, y.Members) || !slices.Equal(x.Void, y.Void) || !slices.Equal(x.Heads, y.Heads) || x.Retention != y.Retention || x.State != y.State {
				p.t.Fatalf("two members see two groups:\n%+v\n%+v", x, y)
			}
		}
	}
	for _, m := range p.sent {
		for _, n := range p.nodes {
			if want := n.log == m.at.Log || p.epochs[m.epoch].reached[n.log]; n.read[m] != want {
				p.t.Fatalf("%s has read a message: %v, should have: %v", name(n.device), n.read[m], want)
			}
		}
	}
}

// checkDiskOf holds memory to the disk: a keyring loaded has the same records.
func (n *pnode) checkDiskOf(t *rapid.T) {
	got := dump(t, n.k)
	if len(got) != len(n.disk) {
		t.Fatalf("%d records in memory, %d on disk", len(got), len(n.disk))
	}
}

// TestPartitionHistories runs a few histories, or as many as TOCSIN_HISTORIES
// says: `TOCSIN_HISTORIES=10000 go test ./crypto/group -run
// TestPartitionHistories -rapid.seed=1 -timeout 30m`.
func TestPartitionHistories(t *testing.T) {
	t.Parallel()
	if n := os.Getenv("TOCSIN_HISTORIES"); n != "" {
		held := flag.Lookup("rapid.checks").Value.String()
		if err := flag.Set("rapid.checks", n); err != nil {
			t.Fatal(err)
		}
		defer flag.Set("rapid.checks", held)
	}
	rapid.Check(t, func(t *rapid.T) {
		p := newPartitions(t)
		actions := map[string]func(*rapid.T){
			"act1": p.act, "act2": p.act, "act3": p.act, "send1": p.sendOne, "send2": p.sendOne, "split": p.split,
			"revoke": p.revoke, "restart": p.restart, "wait": p.wait,
		}
		for _, i := range []string{"1", "2", "3", "4", "5"} {
			actions["sync"+i] = p.sync
		}
		t.Repeat(actions)
		p.end()
	})
}
