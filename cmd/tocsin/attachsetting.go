package main

import "tocsin/node"

// The settings of attachments.
const (
	keyAttachKeep  = "attachments.keep"
	keyAttachCarry = "attachments.carry"
	keyAttachFetch = "attachments.fetch"
)

func attachmentSettings() []setting {
	return []setting{
		{keyAttachKeep, "attachments-keep", "`room` on this disk for the attachments of one's own messages, such as 2G", textKind, upOnly,
			fixed("2G"), each(checkRoom)},
		{keyAttachCarry, "attachments-carry", "`room` for attachments that are carried for other devices, such as 256M, or none", textKind, upOnly,
			fixed("256M"), each(checkRoomOrNone)},
		{keyAttachFetch, "attachments-fetch", "how large attachments may be that are fetched without being asked for: a `size` such as 5M, all or none", textKind, upOnly,
			fixed("all"), each(checkFetch)},
	}
}

func checkRoom(s string) error {
	if n, err := parseSize(s); err != nil || n == 0 {
		return fail(exitInput, "Give a number with K, M or G behind it, such as 512M.", "%q is no size", s)
	}
	return nil
}

func checkRoomOrNone(s string) error {
	if s == "none" {
		return nil
	}
	return checkRoom(s)
}

func checkFetch(s string) error {
	if s == "all" {
		return nil
	}
	return checkRoomOrNone(s)
}

// attachmentLimits are the settings of attachments; they were checked when they
// were loaded.
func (c *config) attachmentLimits() (l node.AttachmentLimits) {
	size := func(key string) int64 {
		switch text := c.text(key); text {
		case "none":
			return -1
		case "all":
			return 0
		default:
			n, _ := parseSize(text)
			return n
		}
	}
	l.Keep, l.Carry, l.Auto = size(keyAttachKeep), size(keyAttachCarry), size(keyAttachFetch)
	return l
}
