package node

import (
	"errors"
	"strings"
	"time"

	"tocsin/ledger"
	"tocsin/node/inbox"
)

// comingWait is for how long, in elapsed time, what others ordered and what is of an exercise is kept for content that is still to come. It ends: what nobody
// holds any more never comes.
const comingWait = 7 * 24 * time.Hour

// bodiesToCome reports whether a member of a conversation said something, in a group that this device reads, of which the header is here and the content is
// not: a hold may be among it. What is sealed under an epoch that this device does not hold is not counted, because most of it is of groups that it is
// not in. n.mu is held and the device is unlocked.
func (n *Node) bodiesToCome(c *inbox.Conversation) bool {
	members := make(map[string]bool, len(c.Members))
	for _, m := range c.Members {
		members[m.Log] = true
	}
	err := n.cfg.Vault.Scan(prefixAbsent, func(key string, _ []byte) error {
		log, seq, err := parseMessageKey(prefixMessage + strings.TrimPrefix(key, prefixAbsent))
		if err != nil || !members[log.String()] {
			return err
		}
		e, err := n.logs.Entry(n.ctx, log, seq)
		if err != nil || e.Absent && e.Header.Kind == ledger.KindData && n.opens(e.Header.GroupTag) {
			return errFound // a damaged one is fetched again
		}
		return nil
	})
	if err != nil && !errors.Is(err, errFound) {
		n.log.Error("what is still to come cannot be told; nothing is erased on its account", "err", err)
	}
	return err != nil
}
