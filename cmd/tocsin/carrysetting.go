package main

import "tocsin/ledger"

// How much a node carries of messages that it does not read itself.
const (
	keyCarryTotal  = "carry.total"
	keyCarryAuthor = "carry.author"
	keyCarryGroup  = "carry.group"
)

func carrySettings() []setting {
	return []setting{
		{keyCarryTotal, "carry-total", "`room` on this disk for sealed messages that are carried for other devices, such as 2G", textKind, upOnly,
			fixed("2G"), each(checkRoom)},
		{keyCarryAuthor, "carry-author", "`room` of that for the messages of one device, such as 256M", textKind, upOnly,
			fixed("256M"), each(checkRoom)},
		{keyCarryGroup, "carry-group", "`room` of that for the messages of one group, such as 256M", textKind, upOnly,
			fixed("256M"), each(checkRoom)},
	}
}

// carryQuota is what the settings say, which were checked when they were loaded.
func carryQuota(c *config) ledger.Quota {
	size := func(key string) uint64 {
		n, _ := parseSize(c.text(key))
		return uint64(n)
	}
	return ledger.Quota{Total: size(keyCarryTotal), Author: size(keyCarryAuthor), Group: size(keyCarryGroup)}
}
