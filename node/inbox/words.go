package inbox

import (
	"encoding/hex"
	"fmt"
	"log/slog"
)

// StateWords is the state of the message for a reader, with the numbers behind it.
func (it Item) StateWords() string {
	k, m, r := len(it.Delivered), it.Recipients, len(it.Read)
	switch {
	case it.Broadcast && it.Own && k == 0:
		return "Saved on this device, for everybody"
	case k == 0 && it.Own && it.Carried == 1:
		return "Carried by one other device"
	case k == 0 && it.Own && it.Carried > 1:
		return fmt.Sprintf("Carried by %d other devices", it.Carried)
	case k == 0 && it.Own:
		return "Saved on this device"
	case k == 0:
		return "Saved on the sender's device"
	case len(it.Acknowledged) > 0 && m == 1:
		return "Acknowledged"
	case len(it.Acknowledged) > 0:
		return fmt.Sprintf("Acknowledged by %d of %d", len(it.Acknowledged), m)
	case r == m && m == 1:
		return "Read"
	case r == m:
		return fmt.Sprintf("Read by all %d", m)
	case r > 0:
		return fmt.Sprintf("Delivered to %d of %d, read by %d", k, m, r)
	default:
		return fmt.Sprintf("Delivered to %d of %d", k, m)
	}
}

// LogValue implements slog.LogValuer: where and when, never what.
func (it Item) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", short(it.ID)), slog.String("group", short(it.Group)), slog.Uint64("seq", it.Seq),
		slog.String("priority", it.Priority), slog.Bool("own", it.Own), slog.Any("message", it.Message))
}

// String names the message by its id: what was said, and why, is content.
func (it Item) String() string { return "message " + short(it.ID) }

// GoString does the same for %#v.
func (it Item) GoString() string { return it.String() }

// LogValue implements slog.LogValuer. A conversation's name is content.
func (c Conversation) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", short(c.ID)), slog.Int("count", c.Count), slog.Int("unread", c.Unread))
}

// String names the conversation by its id, so that a stray %v does not carry its name or its last message.
func (c Conversation) String() string { return "conversation " + short(c.ID) }

// GoString does the same for %#v.
func (c Conversation) GoString() string { return c.String() }

// LogValue implements slog.LogValuer.
func (g Group) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", short(g.ID)), slog.Int("members", len(g.Members)))
}

// String names the group by its id.
func (g Group) String() string { return "group " + short(g.ID) }

// GoString does the same for %#v.
func (g Group) GoString() string { return g.String() }

// short is the start of an id in hex: enough to find it, short enough to read out.
func short[T ~[32]byte](id T) string { return hex.EncodeToString(id[:4]) }
