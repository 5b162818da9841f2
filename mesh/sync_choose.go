package mesh

import (
	"slices"
	"time"
)

// minPeers is how many neighbours are asked in one round, where there are as
// many: one alone could hold something back unseen.
const minPeers = 2

// candidate is a neighbour whose pull is due.
type candidate struct {
	// news: it said that it has something, or was met just now.
	news bool
	// stranger: it was met just now and not asked yet, and nothing that it wrote itself is held
	// here. Often nobody else has that either, and where many come at once the last of them
	// would wait for all others.
	stranger bool
	// waited is how long ago it was asked last.
	waited time.Duration
	// failures counts the pulls in a row that failed and brought nothing.
	failures int
}

// choose returns which candidates to pull from now, best first: at most free,
// the slots that are left, but never so few that fewer than minPeers are asked
// at once where there are as many. Up to strange strangers go first, then those with news, then
// who waited longest. Who failed goes behind all others until it has waited a round for
// each failure, so that bad neighbours cannot keep good ones waiting and are
// not given up either. It is pure.
func choose(cs []candidate, round time.Duration, running, free, strange int) []int {
	ranks, order := make([]int, len(cs)), make([]int, len(cs))
	for i, c := range cs {
		order[i] = i
		switch {
		case time.Duration(c.failures)*round > c.waited:
			ranks[i] = 3
		case c.stranger && strange > 0:
			strange--
		case c.news:
			ranks[i] = 1
		default:
			ranks[i] = 2
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if d := ranks[a] - ranks[b]; d != 0 {
			return d
		}
		return int(max(min(cs[b].waited-cs[a].waited, 1), -1))
	})
	return order[:min(len(order), max(free, minPeers-running, 0))]
}
