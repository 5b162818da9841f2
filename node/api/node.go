package api

import (
	"context"

	"tocsin/node"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// Node is what the API needs of a node; *node.Node is one. Its errors wrap node.ErrLocked, node.ErrNotFound,
// node.ErrInvalid, node.ErrReadOnly or node.ErrPassphrase where one of these fits, with a sentence that says what to do.
type Node interface {
	Status() node.Status
	Unlock(ctx context.Context, passphrase []byte) error
	Lock() error
	SetOnline(online bool) error

	Peers() []node.Peer
	People() ([]node.Person, error)

	Conversations() ([]inbox.Conversation, error)
	CreateGroup(ctx context.Context, spec node.GroupSpec) (inbox.Conversation, error)
	AddMember(ctx context.Context, group, member string) error
	// Messages returns at most limit messages from position after on; a negative after counts from the end.
	Messages(group string, after, limit int) ([]inbox.Item, error)
	Send(ctx context.Context, group string, m message.Message, priority string) (node.Sent, error)
	// MarkRead notes that the user has seen the group's messages; signed receipts follow.
	MarkRead(group string) error

	// Subscribe returns events without content until ctx ends.
	Subscribe(ctx context.Context) <-chan node.Event

	Logs() ([]node.LogInfo, error)
	LogEntries(ctx context.Context, log string, from uint64, limit int) ([]node.EntryInfo, error)
	VerifyLogs(ctx context.Context, progress func(done, total uint64)) (node.VerifyReport, error)

	Metrics() node.Metrics
}
