package api

import (
	"context"
	"io"
	"time"

	"tocsin/node"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// Node is what the API needs of a node; *node.Node is one. Its errors wrap node.ErrLocked, node.ErrNotFound,
// node.ErrInvalid, node.ErrReadOnly, node.ErrPassphrase, node.ErrPIN, node.ErrBackoff, node.ErrNoPIN, node.ErrReauth or node.ErrWiped where one of
// these fits, with a sentence that says what to do.
type Node interface {
	Status() node.Status
	Unlock(ctx context.Context, passphrase []byte) error
	UnlockPIN(ctx context.Context, pin []byte) error
	Lock() error
	// LockHard leaves only the passphrase.
	LockHard() error
	// Touch: a person did something, and the idle clock starts anew.
	Touch()
	// Reauth gives a token, short-lived and for one use, for what asks for the secret once more.
	Reauth(ctx context.Context, s node.Secret) (node.Reauth, error)
	SetPIN(ctx context.Context, token string, pin []byte) error
	ClearPIN(ctx context.Context, token string) error
	ChangePassphrase(ctx context.Context, old, fresh []byte) error
	WipeSelf(ctx context.Context, token string) error
	SetOnline(online bool) error
	// SetThrift sets low-bandwidth mode, "auto", "on" or "off", and Thrift says how it is.
	SetThrift(mode string) error
	Thrift() node.ThriftState

	Peers() []node.Peer
	// Cuts are the last neighbours that were cut off, newest first; PeersWarning says
	// what all neighbours have in common, or nothing.
	Cuts() []node.Cut
	PeersWarning() string
	People() ([]node.Person, error)
	// VerifyPersonStart and VerifyPersonScan are one meeting in person: three codes are shown and scanned in turn.
	VerifyPersonStart(ctx context.Context) (node.MeetingStep, error)
	VerifyPersonScan(ctx context.Context, code string) (node.MeetingStep, error)
	// PersonDigits are what both devices show; VerifyPersonDigits says that they agree.
	PersonDigits(person string) (node.PersonDigits, error)
	VerifyPersonDigits(ctx context.Context, person, digits string) (node.Person, error)

	Statements() []node.StatementInfo
	RawStatements() [][]byte
	// PublishStatement checks a statement, acts on it and carries it. It works while locked.
	PublishStatement(ctx context.Context, raw []byte) (node.StatementInfo, error)
	// SponsorView reads a request, and remembers its device so that it can be met in person.
	SponsorView(ctx context.Context, request []byte) (node.SponsorView, error)
	Sponsor(ctx context.Context, token string, request []byte, spec node.SponsorSpec) (node.SponsorAnswer, error)
	RevokeSponsored(ctx context.Context, token, log string) (node.StatementInfo, error)

	Conversations() ([]inbox.Conversation, error)
	CreateGroup(ctx context.Context, spec node.GroupSpec) (inbox.Conversation, error)
	AddMember(ctx context.Context, group, member string) error
	RemoveMember(ctx context.Context, group, member string) error
	SetRole(ctx context.Context, group, member, role string) error
	LeaveGroup(ctx context.Context, group string) error
	Roster(group string) ([]node.Member, error)
	HandOver(ctx context.Context, group, member string, since time.Time) (int, error)
	EraseMessages(ctx context.Context, token, group string, ids ...string) (node.Erased, error)
	// Acknowledge says that the reader has taken note of a message.
	Acknowledge(ctx context.Context, id string) (node.Sent, error)
	Board(group string) (node.Board, error)
	Search(q inbox.Query) ([]inbox.Item, error)
	// Timeline returns what happened in a conversation, by when it happened; texts and files only if all are asked for.
	Timeline(group string, all bool) ([]inbox.TimelineEvent, error)
	Cards() ([]message.Card, error)
	// SetCards replaces the action cards of this device.
	SetCards(text []byte) error
	// Draft says what in a text may identify a patient.
	Draft(text string) []message.Found
	Broadcast(ctx context.Context, m message.Message, priority, reason string) (node.Sent, error)
	// Messages returns at most limit messages from position after on; a negative after counts from the end.
	Messages(group string, after, limit int) ([]inbox.Item, error)
	Send(ctx context.Context, group string, m message.Message, priority string) (node.Sent, error)
	// Attach seals a file and sends the message that names its chunks; OpenAttachment returns a file that is here whole.
	Attach(ctx context.Context, group string, spec node.AttachSpec, r io.Reader) (node.Sent, error)
	Attachments(group string) ([]node.AttachmentInfo, error)
	FetchAttachment(ctx context.Context, id string) (node.AttachmentInfo, error)
	OpenAttachment(ctx context.Context, id string) (node.AttachmentInfo, io.ReadCloser, error)
	AttachmentThumb(ctx context.Context, id string) ([]byte, error)
	// MarkRead notes that the user has seen the group's messages; signed receipts follow.
	MarkRead(group string) error

	// Subscribe returns events without content until ctx ends.
	Subscribe(ctx context.Context) <-chan node.Event

	Logs() ([]node.LogInfo, error)
	LogEntries(ctx context.Context, log string, from uint64, limit int) ([]node.EntryInfo, error)
	// Forks returns the logs whose author signed two entries at one place, with both branches. It works while locked.
	Forks(ctx context.Context) ([]node.Fork, error)
	VerifyLogs(ctx context.Context, progress func(done, total uint64)) (node.VerifyReport, error)

	// ExportBundle and ImportBundle carry entries in a file on this machine.
	ExportBundle(ctx context.Context, path string, spec node.BundleSpec, progress func(done, total uint64)) (node.BundleInfo, error)
	ImportBundle(ctx context.Context, path string, progress func(done uint64)) (node.BundleReport, error)
	// ExportPaper and ImportPaper carry urgent messages on paper.
	ExportPaper(ctx context.Context, spec node.PaperSpec) (node.PaperInfo, error)
	ImportPaper(ctx context.Context, codes []string) (node.PaperReport, error)
	// Prove makes the file that proves a message to others.
	Prove(ctx context.Context, id string) ([]byte, error)

	Metrics() node.Metrics

	Transfers
	Accesses
}
