package group

import (
	"crypto/sha256"
	"fmt"

	"strings"
	"unsafe"
)

// The epoch protocol as symbols: three devices, of which 0 is the admin, two
// partitions, a network that the attacker reads, and a closure of what he can
// derive from what he has (Dolev and Yao: he breaks no primitive). The checker
// walks every interleaving of its actions up to a depth and compares, for every
// message, what the keys give away with what the claims of protocol §4 allow.
// The two are worked out apart: knowledge from keys, the allowance from who
// was meant and what was stolen when.

const (
	symDevices = 3
	symEpochs  = 8
	symMsgs    = 8
	symItems   = 16
	symOps     = 2
	never      = 255
)

// flaws are the planted errors, each of which the checker must find.
type flaws struct {
	keepSecret  bool // es is not destroyed
	keepPreKeys bool // private prekeys are not destroyed
	noRatchet   bool // chain keys do not move
	sealRemoved bool // wraps for everybody who ever was a member
	anyEpoch    bool // sends under an epoch whose list is not the view
	noSignature bool // an author is believed for knowing the chain
}

type symEpoch struct {
	by, list, ops, week uint8
	evil                bool // made by the attacker with a stolen signing key
}

type symMsg struct{ epoch, by, gen, to uint8 }

type symDev struct {
	ops, held, kept uint8 // how many of the admin's operations it knows; epochs held; secrets kept by a flaw
	pos             [symEpochs][symDevices]uint8
	cur             [symDevices]uint8 // items of each log it has processed
}

// sym is one state. It has no pointers, so that its bytes name it.
type sym struct {
	week, link, steals uint8
	nops, ne, nm       uint8
	ops                [symOps]uint8 // 1, 2: device removed; 5, 6: added
	ep                 [symEpochs]symEpoch
	msg                [symMsgs]symMsg
	log                [symDevices][symItems]uint8
	nlog               [symDevices]uint8
	dev                [symDevices]symDev
	// What the attacker has.
	sig, es uint8
	sk      [symDevices]uint8 // weeks, one bit each
	ck      [symEpochs][symDevices]uint8
	// What the claims allow him to have, by device stolen from.
	mayWeeks [symDevices]uint8
	mayFrom  [symDevices][symEpochs][symDevices]uint8
}

// firstState is a group of all three with an epoch that everyone holds.
func firstState() sym {
	var s sym
	s.ne = 1
	s.ep[0] = symEpoch{by: 0, list: 7}
	s.append(0, 0x10)
	for d := range s.dev {
		s.dev[d].held = 1
		s.dev[d].cur[0] = 1
		for e := range s.mayFrom[d] {
			s.mayFrom[d][e] = [symDevices]uint8{never, never, never}
		}
	}
	for e := range s.ck {
		s.ck[e] = [symDevices]uint8{never, never, never}
	}
	return s
}

func (s *sym) append(d int, item uint8) {
	s.log[d][s.nlog[d]] = item
	s.nlog[d]++
	s.dev[d].cur[d] = s.nlog[d]
}

func (s *sym) key() [16]byte {
	raw := unsafe.Slice((*byte)(unsafe.Pointer(s)), unsafe.Sizeof(*s))
	sum := sha256.Sum256(raw)
	return [16]byte(sum[:16])
}

func bit(n int) uint8 { return 1 << n }

// view is the list of members after the admin's first n operations.
func (s *sym) view(n uint8) uint8 {
	v := uint8(7)
	for _, op := range s.ops[:n] {
		if op > 4 {
			v |= bit(int(op - 4))
		} else {
			v &^= bit(int(op))
		}
	}
	return v
}

func (s *sym) linked(a, b int) bool {
	side := [...]uint8{0, 4, 1}[s.link] // the devices cut off from the others
	return (side>>a)&1 == (side>>b)&1
}

// action is one step. kind: s send, n announce, o operation, d deliver, l link,
// w week, t steal everything, r steal ratchets, x an announce by the attacker.
type action struct {
	kind byte
	a, b int
}

func (a action) String() string {
	return fmt.Sprintf("%s(%d,%d)", map[byte]string{'s': "send", 'n': "announce", 'o': "op", 'd': "deliver", 'l': "link", 'w': "week",
		't': "steal", 'r': "steal-ratchets", 'x': "attacker-announces"}[a.kind], a.a, a.b)
}

func traceString(trace []action) string {
	var out []string
	for _, a := range trace {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

// actions lists what may happen next.
func (s *sym) actions() (out []action) {
	for d := range symDevices {
		member := s.view(s.dev[d].ops)&bit(d) != 0
		if member && s.nm < symMsgs && s.ne < symEpochs {
			out = append(out, action{'s', d, 0}, action{'n', d, 0})
		}
		for other := range symDevices {
			if other != d && s.linked(d, other) && s.dev[other].cur[d] < s.nlog[d] {
				out = append(out, action{'d', d, other})
			}
		}
		if s.steals == 0 {
			out = append(out, action{'t', d, 0}, action{'r', d, 0})
		}
		if s.sig&bit(d) != 0 && s.steals == 1 && s.ne < symEpochs {
			for n := range int(s.nops) + 1 {
				out = append(out, action{'x', d, n})
			}
		}
	}
	if s.nops < symOps {
		for _, who := range []int{1, 2} {
			if s.view(s.nops)&bit(who) != 0 {
				out = append(out, action{'o', who, 0})
			} else {
				out = append(out, action{'o', who + 4, 0})
			}
		}
	}
	for l := range 3 {
		if uint8(l) != s.link {
			out = append(out, action{'l', l, 0})
		}
	}
	if s.week < 2 {
		out = append(out, action{'w', 0, 0})
	}
	return out
}

// usable lists the epochs that d may send under.
func (s *sym) usable(d int, f flaws) (out []int) {
	v := s.view(s.dev[d].ops)
	for e := range int(s.ne) {
		if s.dev[d].held&bit(e) == 0 {
			continue
		}
		ep := s.ep[e]
		if f.anyEpoch && ep.list&bit(d) != 0 || v&bit(int(ep.by)) != 0 && ep.list == v && ep.ops == s.dev[d].ops {
			out = append(out, e)
		}
	}
	return out
}

// step returns the states that an action may lead to.
func (s *sym) step(a action, f flaws) []sym {
	n := *s
	switch a.kind {
	case 's':
		if use := s.usable(a.a, f); len(use) > 0 {
			var out []sym
			for _, e := range use {
				n := *s
				n.send(a.a, e)
				out = append(out, n)
			}
			return out
		}
		n.announce(a.a, f)
		n.send(a.a, int(n.ne)-1)
	case 'n':
		n.announce(a.a, f)
	case 'o':
		n.ops[n.nops] = uint8(a.a)
		n.nops++
		n.dev[0].ops = n.nops
	case 'd':
		n.deliver(a.a, a.b, f)
	case 'l':
		n.link = uint8(a.a)
	case 'w': // 36 days: the prekeys and epochs of before are destroyed, new prekeys made
		n.week++
		for d := range n.dev {
			n.dev[d].held, n.dev[d].pos = 0, [symEpochs][symDevices]uint8{}
		}
	case 't':
		n.steal(a.a, f, true)
	case 'r':
		n.steal(a.a, f, false)
	case 'x':
		n.steals = 2 // one is enough
		n.ep[n.ne] = symEpoch{by: uint8(a.a), list: n.view(uint8(a.b)), ops: uint8(a.b), week: n.week, evil: true}
		n.append(a.a, 0x10|n.ne)
		n.ne++
	}
	return []sym{n}
}

func (s *sym) announce(d int, f flaws) {
	dev := &s.dev[d]
	e := int(s.ne)
	s.ep[e] = symEpoch{by: uint8(d), list: s.view(dev.ops), ops: dev.ops, week: s.week}
	s.ne++
	s.append(d, 0x10|uint8(e))
	dev.held |= bit(e)
	if f.keepSecret {
		dev.kept |= bit(e)
	}
}

func (s *sym) send(d, e int) {
	dev := &s.dev[d]
	s.msg[s.nm] = symMsg{epoch: uint8(e), by: uint8(d), gen: dev.pos[e][d], to: s.view(dev.ops)}
	s.append(d, 0x20|s.nm)
	s.nm++
	dev.pos[e][d]++
}

// deliver brings to up to date with from's log, and opens what waited.
func (s *sym) deliver(from, to int, f flaws) {
	dev := &s.dev[to]
	for ; dev.cur[from] < s.nlog[from]; dev.cur[from]++ {
		item := s.log[from][dev.cur[from]]
		if e := int(item & 15); item&0x10 != 0 && s.accepts(to, e) {
			dev.held |= bit(e)
			dev.ops = max(dev.ops, s.ep[e].ops)
			if f.keepSecret {
				dev.kept |= bit(e)
			}
		}
	}
	for by := range symDevices {
		for _, item := range s.log[by][:dev.cur[by]] {
			if m := s.msg[item&15]; item&0x20 != 0 && dev.held&bit(int(m.epoch)) != 0 && s.ep[m.epoch].list&bit(by) != 0 {
				dev.pos[m.epoch][by] = max(dev.pos[m.epoch][by], m.gen+1)
			}
		}
	}
}

func (s *sym) accepts(d, e int) bool {
	ep := s.ep[e]
	return ep.list&bit(d) != 0 && ep.list&bit(int(ep.by)) != 0 && ep.week == s.week && s.dev[d].held&bit(e) == 0
}

func (s *sym) steal(d int, f flaws, all bool) {
	s.steals = 1
	for e := range int(s.ne) {
		if s.dev[d].held&bit(e) == 0 {
			continue
		}
		for by := range symDevices {
			if s.ep[e].list&bit(by) == 0 {
				continue
			}
			pos := s.dev[d].pos[e][by]
			s.mayFrom[d][e][by] = min(s.mayFrom[d][e][by], pos)
			if f.noRatchet {
				pos = 0
			}
			s.ck[e][by] = min(s.ck[e][by], pos)
		}
	}
	s.es |= s.dev[d].kept
	if !all {
		return
	}
	s.sig |= bit(d)
	s.mayWeeks[d] |= bit(int(s.week))
	s.sk[d] |= bit(int(s.week))
	if f.keepPreKeys {
		s.sk[d] |= bit(int(s.week)+1) - 1
	}
}

// secretKnown is the closure up to epoch secrets: from the attacker's own, from
// one that was kept, or from a wrap on the network and the prekey it is for.
func (s *sym) secretKnown(e int, f flaws) bool {
	if s.ep[e].evil || s.es&bit(e) != 0 {
		return true
	}
	wrapped := s.ep[e].list
	if f.sealRemoved {
		wrapped = 7
	}
	for d := range symDevices {
		if wrapped&bit(d) != 0 && s.sk[d]&bit(int(s.ep[e].week)) != 0 {
			return true
		}
	}
	return false
}

func (s *sym) known(m symMsg, f flaws) bool {
	return s.secretKnown(int(m.epoch), f) || s.ck[m.epoch][m.by] <= m.gen
}

// allowed is the claim: who has a device's state may read what was meant for
// it, if the prekeys stolen were of the week it was announced in, or if it was not
// yet read, or announced in that device's name.
func (s *sym) allowed(m symMsg) bool {
	ep := s.ep[m.epoch]
	if ep.evil && m.to&bit(int(ep.by)) != 0 {
		return true
	}
	for d := range symDevices {
		if m.to&bit(d) != 0 && (s.mayWeeks[d]&bit(int(ep.week)) != 0 || s.mayFrom[d][m.epoch][m.by] <= m.gen) {
			return true
		}
	}
	return false
}

// tally counts the questions that were put, so that none is empty.
type tally struct{ secrecy, forward, healing, removal, authentication, read int }

// verdict checks every message of a state, and every author's name.
func (s *sym) verdict(f flaws, count *tally) error {
	for i, m := range s.msg[:s.nm] {
		known, may := s.known(m, f), s.allowed(m)
		if known != may {
			return fmt.Errorf("message %d of device %d under epoch %d: known to the attacker %v, allowed %v", i, m.by, m.epoch, known, may)
		}
		s.classify(m, known, count)
	}
	for e := range int(s.ne) {
		for by := range symDevices {
			knows := s.secretKnown(e, f) || s.ck[e][by] != never
			if !knows || s.ep[e].list&bit(by) == 0 || s.sig&bit(by) != 0 {
				continue
			}
			count.authentication++ // he has the chain of one whose signing key he has not
			if f.noSignature {
				return fmt.Errorf("the attacker speaks as device %d in epoch %d", by, e)
			}
		}
	}
	return nil
}

func (s *sym) classify(m symMsg, known bool, count *tally) {
	if s.steals == 0 {
		count.secrecy++
		return
	}
	if known {
		count.read++
		return
	}
	for d := range symDevices {
		stolen := s.sig&bit(d) != 0 || s.mayFrom[d] != firstStateFrom
		switch {
		case !stolen:
		case m.to&bit(d) == 0:
			count.removal++
		case s.mayFrom[d][m.epoch][m.by] != never || s.mayWeeks[d] > bit(int(s.ep[m.epoch].week)):
			count.forward++
		default:
			count.healing++
		}
	}
}

var firstStateFrom = firstState().mayFrom[0]

// explorer walks depth first; a state is walked again only with more depth
// left than before.
type explorer struct {
	flaws  flaws
	depth  int
	seen   map[[16]byte]int8
	states int
	steps  int
	count  tally
	trace  []action
}

func (x *explorer) walk(s *sym, left int) error {
	key := s.key()
	if before, ok := x.seen[key]; ok && int(before) >= left {
		return nil
	} else if !ok {
		x.states++
		if err := s.verdict(x.flaws, &x.count); err != nil {
			return fmt.Errorf("%w, after %s", err, traceString(x.trace))
		}
	}
	x.seen[key] = int8(left)
	if left == 0 {
		return nil
	}
	for _, a := range s.actions() {
		for _, next := range s.step(a, x.flaws) {
			x.steps++
			x.trace = append(x.trace, a)
			err := x.walk(&next, left-1)
			if x.trace = x.trace[:len(x.trace)-1]; err != nil {
				return err
			}
		}
	}
	return nil
}
