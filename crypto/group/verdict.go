package group

import (
	"cmp"
	"crypto/sha256"
	"slices"
)

// senior reports that a was in the group before b, who knew it or whose adder
// did.
func (m *merge) senior(a, b *standing) bool {
	if a == b || b == m.creator {
		return false
	}
	return a == m.creator || m.past[b.first].has(a.first)
}

// strikes reports that an operation takes rights away: a removal or demotion.
func (o *knownOp) strikes() bool {
	return o.op.Remove != nil || o.op.Role != nil && o.op.Role.Role != RoleAdmin
}

// strike decides the removals and demotions, those of the most senior author
// first, and strikes out what their targets did at the same time. What a senior
// has struck out strikes nothing itself.
func (m *merge) strike() {
	var strikers []int
	for i, o := range m.order {
		if o.strikes() && m.by[i] != m.about[i] && !m.senior(m.about[i], m.by[i]) {
			strikers = append(strikers, i)
		}
	}
	slices.SortStableFunc(strikers, func(a, b int) int { return cmp.Compare(m.by[a].first, m.by[b].first) })
	for _, r := range strikers {
		absolute := m.senior(m.by[r], m.about[r])
		var hit []int
		if m.spend(len(m.about[r].acts)) {
			return
		}
		for _, o := range m.about[r].acts {
			if m.concurrent(r, o) && !m.struck.has(o) && m.order[o].op.Leave == nil && (absolute || !m.order[o].strikes()) {
				hit = append(hit, o)
			}
		}
		if len(hit) > 0 && m.isGood(r) {
			m.hit(hit)
		}
	}
}

// hit strikes out operations, and forgets the verdicts that may rest on them.
func (m *merge) hit(struck []int) {
	m.hits++
	for _, o := range struck {
		m.struck.set(o)
		if m.known.has(o) && !m.good.has(o) {
			continue // it had no effect before
		}
		if m.spend(len(m.order) - o) {
			return
		}
		for i := o; i < len(m.order); i++ {
			if m.past[i].has(o) {
				m.known.put(i, false)
			}
		}
	}
}

func (m *merge) concurrent(a, b int) bool { return !m.past[a].has(b) && !m.past[b].has(a) }

// isGood returns the verdict on operation i by what is struck so far.
func (m *merge) isGood(i int) bool {
	if !m.known.has(i) && !m.spend(verdictLooks) {
		// The operation stands in the past it is judged by, where it may be about
		// its own author: it must not speak for itself.
		m.known.set(i)
		m.good.put(i, false)
		m.good.put(i, !m.struck.has(i) && m.entitled(i))
	}
	return m.good.has(i)
}

// entitled reports that the author of operation i had the right to it by the
// good operations of its past.
func (m *merge) entitled(i int) bool {
	o, author := m.order[i], m.by[i]
	switch o.op.Kind() {
	case OpCreate:
		return true
	case OpLeave:
		return m.was(author, i, false)
	case OpAppoint:
		return m.used[sha256.Sum256(o.op.Appoint.Statement)] == i && m.was(author, i, false)
	}
	return m.was(author, i, true)
}

// was reports that s was a member, or an admin, by the good operations that
// operation i of its own knew.
func (m *merge) was(s *standing, i int, admin bool) bool {
	c := &s.memo
	if len(s.cancels)+len(s.setters) < 32 { // it is sooner asked than looked up
		return m.isMember(s, m.past[i]) && (!admin || m.role(s, m.past[i]) == RoleAdmin)
	}
	m.ask(s, i)
	if !c.full {
		isIn := m.isMember(s, m.past[i])
		// What was asked meanwhile about others may have been about s too.
		m.ask(s, i)
		c.full, c.isIn, c.role = true, isIn, 0
	}
	if !admin || !c.isIn {
		return c.isIn
	}
	if c.role == 0 {
		role := m.role(s, m.past[i])
		if m.ask(s, i); !c.full {
			c.full, c.isIn = true, true
		}
		c.role = role
	}
	return c.role == RoleAdmin
}

// ask prepares the memo of s for the question about operation i, and empties it
// unless it is the one that was asked last. Operation i, which may be about its own
// author, has no part in it.
func (m *merge) ask(s *standing, i int) {
	c, past := &s.memo, m.past[i]
	if c.about == nil {
		c.about, c.asked = make(bitset, len(m.order)/64+1), make(bitset, len(m.order)/64+1)
		for _, list := range [][]int{s.grants, s.cancels, s.setters} {
			for _, at := range list {
				c.about.set(at)
			}
		}
	}
	m.spend(len(c.about) / wordLook)
	for w := range c.about {
		var now uint64
		if w < len(past) {
			now = c.about[w] & past[w]
		}
		if w == i/64 {
			now &^= 1 << (i % 64)
		}
		if c.asked[w] != now {
			c.asked[w], c.full = now, false
		}
	}
	if c.hits != m.hits {
		c.hits, c.full = m.hits, false
	}
}

// What costs more or less than a look at one operation.
const (
	verdictLooks = 16 // a verdict on an operation, besides the looks it takes
	wordLook     = 4  // words of a bitset to one look
)

// isMember reports that a good adding of s stands among the operations of
// within.
func (m *merge) isMember(s *standing, within bitset) bool {
	for _, g := range slices.Backward(s.grants) {
		if m.spend(1) {
			return false
		}
		if within.has(g) && !m.cancelled(s, g, within) && m.isGood(g) {
			return true
		}
	}
	return false
}

// cancelled reports that a good removal of s ends grant g: one that knew it, or
// one at the same time unless a senior of its author did the adding.
func (m *merge) cancelled(s *standing, g int, within bitset) bool {
	for n, t := range slices.Backward(s.cancels) {
		if !within.has(t) || m.past[g].has(t) || !m.past[t].has(g) && m.senior(m.by[g], m.by[t]) {
			continue
		}
		if m.isGood(t) {
			m.spend(len(s.cancels) - n)
			return true
		}
	}
	m.spend(len(s.cancels))
	return false
}

// roleOf returns the role that operation i gives.
func (m *merge) roleOf(i int) Role {
	switch o := m.order[i].op; {
	case o.Add != nil:
		return o.Add.Role
	case o.Role != nil:
		return o.Role.Role
	}
	return RoleAdmin
}

// role returns the role of s by the operations of within: what was said last
// counts; of what was said at the same time, a senior's word, and among equals the
// lower role.
func (m *merge) role(s *standing, within bitset) Role {
	role := RoleAdmin
	for _, i := range m.last(s.setters, within, func(i int) bool {
		return m.order[i].op.Add == nil && m.order[i].op.Create == nil || !m.cancelled(s, i, within)
	}) {
		role = min(role, m.roleOf(i))
	}
	return role
}

// few is how many operations are held to each other one by one; for more, sets
// of positions are sooner.
const few = 8

// last returns, of the good operations at these positions, those that no
// other of them knew, without those by a junior of another's author.
func (m *merge) last(positions []int, within bitset, counts func(i int) bool) []int {
	var kept []int
	var past bitset // of what is kept, where that is more than a few
	known := func(i int) bool {
		return past.has(i) || past == nil && slices.ContainsFunc(kept, func(k int) bool { return m.past[k].has(i) })
	}
	for _, i := range slices.Backward(positions) {
		if m.spend(1) {
			return nil
		}
		if !within.has(i) || known(i) || !m.isGood(i) || !counts(i) {
			continue
		}
		if kept = append(kept, i); len(kept) == few {
			past = make(bitset, len(within))
			for _, k := range kept {
				past.or(m.past[k])
			}
		}
		if past != nil {
			past.or(m.past[i])
			m.spend(len(m.past[i]) / wordLook)
		}
	}
	if len(kept) < few {
		return m.seniors(kept)
	}
	firsts := make(bitset, len(m.order)/64+1)
	for _, i := range kept {
		firsts.set(m.by[i].first)
	}
	return slices.DeleteFunc(kept, func(i int) bool { return m.outranked(m.by[i], firsts) })
}

// seniors leaves out those operations whose author is junior to another's.
func (m *merge) seniors(kept []int) (out []int) {
	for _, i := range kept {
		if !slices.ContainsFunc(kept, func(k int) bool { return m.senior(m.by[k], m.by[i]) }) {
			out = append(out, i)
		}
	}
	return out
}

// outranked reports that a device with one of these first addings is senior to
// s.
func (m *merge) outranked(s *standing, firsts bitset) bool {
	if s == m.creator {
		return false
	}
	past := m.past[s.first]
	m.spend(len(past) / wordLook)
	for w, word := range past {
		if w == s.first/64 {
			word &^= 1 << (s.first % 64)
		}
		if word&firsts[w] != 0 {
			return true
		}
	}
	return firsts.has(m.creator.first)
}
