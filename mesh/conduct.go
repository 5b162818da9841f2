package mesh

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Cut is one neighbour that was cut off, and why.
type Cut struct {
	Peer peer.ID
	// Org is of its admission chain; empty where it was not connected any more.
	Org string
	// Reason is the word that weighed most against it.
	Reason string
	// At and Until are by our clock; until then it is neither dialled nor let in.
	At, Until time.Time
}

// Words for which the mesh itself blames a neighbour.
const (
	blameMalformed = "malformed"   // gossip that is no gossip
	blameRejected  = "rejected"    // frames that are invalid for everybody
	blameFlood     = "flood"       // over a budget of gossip
	blameTopic     = "wrong-topic" // a frame in a topic that is not its own
	blameSync      = "sync"        // broke the rules of synchronisation
	blameRestless  = "restless"    // comes and goes more often than visits allows
)

// blamePoints is what each word weighs; any other weighs defaultBlame. cutAt
// points within minutes cut a neighbour off: five malformed RPCs, a hundred
// over a budget. A few invalid frames do not: gossipsub's score makes us deaf to
// gossip from there, and synchronisation, which checks by itself, stays.
var blamePoints = map[string]float64{
	blameMalformed: 20, blameRejected: 15, blameFlood: 1, blameTopic: 15, blameSync: 5, blameRestless: 5,
}

const (
	defaultBlame = 10
	cutAt        = 100
	// blameFades is how many points a minute are forgiven.
	blameFades = 10
)

// mark is what is held against one neighbour.
type mark struct {
	points float64
	at     time.Time
	words  map[string]float64 // points by word
}

// ban is a neighbour that was cut off.
type ban struct {
	at  time.Time
	d   time.Duration // how long it lasts
	cut int           // how often it was cut, within banMemory of the time before
}

// conduct keeps what is held against neighbours. It is bounded: a neighbour must
// hold an admitted key to enter, and the least to blame is forgotten first.
type conduct struct {
	mu    sync.Mutex
	marks map[peer.ID]*mark
	bans  map[peer.ID]ban
	cuts  []Cut // newest last
}

func newConduct() *conduct {
	return &conduct{marks: make(map[peer.ID]*mark), bans: make(map[peer.ID]ban)}
}

// fade forgives what time has forgiven. A clock that was stepped back forgives nothing.
func (m *mark) fade(now time.Time) {
	before := m.points
	if d := now.Sub(m.at); d > 0 {
		m.points = max(m.points-d.Minutes()*blameFades, 0)
	}
	m.at = now
	if m.points == 0 {
		clear(m.words)
		return
	}
	for w := range m.words {
		m.words[w] *= m.points / before
	}
}

// blame adds what word weighs, and reports whether that cuts p off.
func (c *conduct) blame(p peer.ID, org, word string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.marks[p]
	if m == nil {
		c.makeRoom(now)
		m = &mark{at: now, words: make(map[string]float64)}
		c.marks[p] = m
	}
	m.fade(now)
	points, ok := blamePoints[word]
	if !ok {
		points = defaultBlame
	}
	m.points += points
	if _, known := m.words[word]; known || len(m.words) < maxBlameWords {
		m.words[word] += points
	}
	if m.points < cutAt || c.banned(p, now) {
		return false
	}
	c.cut(p, org, heaviest(m.words), now)
	return true
}

// heaviest returns the word with the most points, the first of equals.
func heaviest(words map[string]float64) string {
	best := ""
	for _, w := range slices.Sorted(maps.Keys(words)) {
		if best == "" || words[w] > words[best] {
			best = w
		}
	}
	return best
}

// cut bans p: for banMin, doubling each time up to banMax. c.mu is held.
func (c *conduct) cut(p peer.ID, org, reason string, now time.Time) {
	b := c.bans[p]
	if now.Sub(b.at).Abs() > banMemory {
		b.cut = 0
	}
	b.at, b.d = now, min(banMin<<min(b.cut, 16), banMax)
	b.cut++
	if _, ok := c.bans[p]; !ok && len(c.bans) >= maxMarked {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(c.bans)), func(x, y peer.ID) int {
			return c.bans[x].at.Compare(c.bans[y].at)
		})
		delete(c.bans, oldest)
	}
	c.bans[p] = b
	delete(c.marks, p)
	if len(c.cuts) >= maxCuts {
		c.cuts = slices.Delete(c.cuts, 0, 1)
	}
	c.cuts = append(c.cuts, Cut{Peer: p, Org: org, Reason: reason, At: now, Until: now.Add(b.d)})
}

// banned reports whether p is cut off now. c.mu is held.
func (c *conduct) banned(p peer.ID, now time.Time) bool {
	b, ok := c.bans[p]
	// Where the clock was stepped back the ban is over, rather than long.
	return ok && now.Sub(b.at) >= 0 && now.Sub(b.at) < b.d
}

// barred is banned for those who do not hold the lock.
func (c *conduct) barred(p peer.ID, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.banned(p, now)
}

// makeRoom forgets the least to blame. c.mu is held.
func (c *conduct) makeRoom(now time.Time) {
	if len(c.marks) < maxMarked {
		return
	}
	for _, m := range c.marks {
		m.fade(now)
	}
	least := slices.MinFunc(slices.Collect(maps.Keys(c.marks)), func(x, y peer.ID) int {
		return cmp.Compare(c.marks[x].points, c.marks[y].points)
	})
	delete(c.marks, least)
}

// score is what p's conduct costs it in gossipsub's scoring: 0 or less.
func (c *conduct) score(p peer.ID, now time.Time) float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.marks[p]
	if m == nil {
		return 0
	}
	m.fade(now)
	return -m.points
}

// list returns the cuts, newest first.
func (c *conduct) list() []Cut {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := slices.Clone(c.cuts)
	slices.Reverse(out)
	return out
}
