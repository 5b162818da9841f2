package node

// Subject access and freedom of information, top to bottom:
//
//	AccessFind     what is about the subject in a scope, what hangs together with it, what may identify others; nothing is written
//	AccessExport   the page and the machine form, redacted, after every group concerned was told
//
// node/record holds the rules. What is redacted is in no byte of either form.

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
	"tocsin/node/record"
)

// AccessSpec is a request as records staff enter it. With no subject it is for everything in the scope.
type AccessSpec struct {
	Reference string `json:"reference"` // the organisation's number for it; every member of the groups concerned sees it
	Basis     string `json:"basis"`     // subject-access, freedom-of-information, court or other

	Groups []string  `json:"groups,omitempty"` // ids; none is all
	From   time.Time `json:"from,omitzero"`    // of what was said; zero is open
	To     time.Time `json:"to,omitzero"`      // not included

	People     []string `json:"people,omitempty"`      // org/regulator/number
	NHSNumbers []string `json:"nhs_numbers,omitempty"` // attributed or written
	Tags       []string `json:"tags,omitempty"`        // of casualties
	Words      []string `json:"words,omitempty"`       // what else the subject is known by

	Include    []string          `json:"include,omitempty"` // entry ids that a reviewer added
	Exclude    []string          `json:"exclude,omitempty"` // and took out
	Redactions []AccessRedaction `json:"redactions,omitempty"`
}

// AccessRedaction blacks words out.
type AccessRedaction struct {
	Entry string `json:"entry,omitempty"` // in one message; empty is in all
	Words string `json:"words"`
	Why   string `json:"why"` // stands in their place
}

// AccessFound is what a reviewer decides on.
type AccessFound struct {
	Searched    int                `json:"searched"` // messages that were looked through
	Found       int                `json:"found"`
	Messages    []AccessMessage    `json:"messages"`
	Related     []AccessRelated    `json:"related"`
	Suggestions []AccessSuggestion `json:"suggestions"`
	// Erased is how many messages of the groups were erased on this device, so that they cannot be found here.
	Erased int `json:"erased"`
	// Unread is how many are damaged on this device and were not looked through.
	Unread int    `json:"unread,omitempty"`
	Words  string `json:"words"`
}

// AccessMessage is one message that was found, or hangs together with one.
type AccessMessage struct {
	ID      string    `json:"id"`
	Group   string    `json:"group"`
	Name    string    `json:"name"` // of the group
	Kind    string    `json:"kind"`
	Summary string    `json:"summary"`
	From    string    `json:"from"` // display name
	Sent    time.Time `json:"sent"`
	Because string    `json:"because"` // why it was found
}

// AccessRelated is a message that answers, or is answered by, one that was found.
type AccessRelated struct {
	AccessMessage
	To string `json:"to"` // the one that was found
}

// AccessSuggestion is something that may identify somebody else.
type AccessSuggestion struct {
	Entry string `json:"entry"`
	Words string `json:"words"`
	Kind  string `json:"kind"`
}

// AccessExport is a request that was answered.
type AccessExport struct {
	Page          []byte   `json:"page"`    // HTML that fetches nothing and prints
	Machine       []byte   `json:"machine"` // JSON
	Messages      int      `json:"messages"`
	Redacted      int      `json:"redacted"`
	PageSHA256    string   `json:"page_sha256"`
	MachineSHA256 string   `json:"machine_sha256"`
	Entries       []string `json:"entries"` // the messages in the log that say so
	Words         string   `json:"words"`
}

// accessBasis are the bases that a request may have.
var accessBasis = map[string]message.DisclosedBasis{
	string(message.DisclosedSubjectAccess): message.DisclosedSubjectAccess, string(message.DisclosedFOI): message.DisclosedFOI,
	string(message.DisclosedCourt): message.DisclosedCourt, string(message.DisclosedOther): message.DisclosedOther,
}

// request reads a spec.
func (s *AccessSpec) request() (record.AccessRequest, error) {
	req := record.AccessRequest{Reference: message.Clean(s.Reference), From: s.From, To: s.To}
	switch {
	case req.Reference == "" || len(req.Reference) > message.MaxLine || strings.ContainsAny(req.Reference, "\n\t"):
		return req, invalid("give the organisation's number for the request, in a line of at most %d bytes", message.MaxLine)
	case accessBasis[s.Basis] == "":
		return req, invalid("the basis of a request is subject-access, freedom-of-information, court or other, not %q", s.Basis)
	case !s.From.IsZero() && !s.To.IsZero() && !s.From.Before(s.To):
		return req, invalid("the time of the request ends before it begins")
	}
	for _, p := range s.People {
		person, err := identity.ParsePerson(p)
		if err != nil {
			return req, invalid("a person is named as organisation/regulator/number: %v", err)
		}
		req.Subject.People = append(req.Subject.People, person)
	}
	for _, number := range s.NHSNumbers {
		req.Subject.NHSNumbers = append(req.Subject.NHSNumbers, digitsOf(number))
	}
	for _, list := range [][]string{s.Tags, s.Words, s.NHSNumbers} {
		if slices.ContainsFunc(list, func(one string) bool { return strings.TrimSpace(one) == "" }) {
			return req, invalid("a tag, a number or a word of the subject is blank: write it or leave it out")
		}
	}
	for _, tag := range s.Tags {
		req.Subject.Tags = append(req.Subject.Tags, strings.ToUpper(message.FoldDigits(strings.TrimSpace(tag))))
	}
	req.Subject.Words = s.Words
	var err error
	if req.Include, err = parseEntryIDs(s.Include); err != nil {
		return req, err
	}
	if req.Exclude, err = parseEntryIDs(s.Exclude); err != nil {
		return req, err
	}
	for _, r := range s.Redactions {
		one := record.Redaction{Words: r.Words, Why: r.Why}
		if r.Entry != "" {
			if one.Entry, err = ledger.ParseID(r.Entry); err != nil {
				return req, invalid("%q is no message id", r.Entry)
			}
		}
		req.Redactions = append(req.Redactions, one)
	}
	return req, nil
}

func parseEntryIDs(list []string) (out []ledger.ID, err error) {
	for _, s := range list {
		id, err := ledger.ParseID(s)
		if err != nil {
			return nil, invalid("%q is no message id", s)
		}
		out = append(out, id)
	}
	return out, nil
}

// scope is what a request is looked for in.
type scope struct {
	incidents []record.Incident
	groups    map[ledger.ID]string // of each message
	names     map[string]string    // of each group
	items     map[ledger.ID]record.Item
	erased    int
	unread    int             // damaged on this device
	untold    map[string]bool // groups that this device cannot tell: it is in them no more
}

// accessScope collects the conversations of a request. n.mu is held and the device is unlocked.
func (n *Node) accessScope(ctx context.Context, groups []string) (*scope, error) {
	if err := n.drainAll(ctx); err != nil { // what was said a moment ago, too
		return nil, err
	}
	if n.open == nil {
		return nil, n.lockedError()
	}
	wanted := make(map[inbox.GroupID]bool)
	for _, s := range groups {
		g, err := parseGroupID(s)
		if err != nil {
			return nil, err
		}
		if _, err := n.conversation(g); err != nil {
			return nil, err
		}
		wanted[inbox.GroupID(g)] = true
	}
	out := &scope{groups: make(map[ledger.ID]string), names: make(map[string]string), items: make(map[ledger.ID]record.Item), untold: make(map[string]bool)}
	for _, c := range n.open.inbox.Conversations() {
		if len(wanted) > 0 && !wanted[c.ID] {
			continue
		}
		g := group.ID(c.ID)
		var ids []ledger.ID
		in, unread, err := n.recordOf(ctx, &c, n.track(&c), everyMessage, func(id ledger.ID, _ message.Kind) { ids = append(ids, id) })
		if err != nil {
			return nil, err
		}
		out.unread += unread
		for i, id := range ids {
			out.groups[id], out.items[id] = g.String(), in.Items[i]
		}
		out.names[g.String()] = in.Name
		if !n.isMember(g, n.self) {
			out.untold[g.String()] = true
		}
		out.incidents = append(out.incidents, in)
		for _, was := range n.open.queue.gone {
			if was.group == g {
				out.erased++
			}
		}
	}
	return out, nil
}

func (s *scope) message(id ledger.ID, because string) AccessMessage {
	it := s.items[id]
	g := s.groups[id]
	return AccessMessage{ID: id.String(), Group: g, Name: s.names[g], Kind: string(it.Message.Kind()), Summary: it.Message.Summary(),
		From: it.Author.Name, Sent: it.Message.Sent, Because: because}
}

// access looks a request up. token is nil where nothing is written.
func (n *Node) access(ctx context.Context, token *string, spec *AccessSpec) (*record.Access, *scope, error) {
	req, err := spec.request()
	if err != nil {
		return nil, nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return nil, nil, n.lockedError()
	}
	if token != nil {
		if err := n.spend(*token); err != nil {
			return nil, nil, err
		}
		if _, err := n.reviewer(); err != nil {
			return nil, nil, err
		}
	}
	sc, err := n.accessScope(ctx, spec.Groups)
	if err != nil {
		return nil, nil, err
	}
	for _, id := range slices.Concat(req.Include, req.Exclude) {
		if sc.groups[id] == "" {
			return nil, nil, fmt.Errorf("%w: no message %s is in the scope of the request", ErrNotFound, id)
		}
	}
	req.By, req.Written = n.recordAuthor(n.cred), n.cfg.Clock.Now().UTC()
	a, err := record.NewAccess(req, sc.incidents)
	if err != nil {
		return nil, nil, recordError(err)
	}
	return a, sc, nil
}

// AccessFind looks for what is about a subject, for a reviewer. It writes nothing and tells nobody. Errors: [ErrLocked], [ErrNotFound], [ErrInvalid],
// also where a redaction blacks out nothing.
func (n *Node) AccessFind(ctx context.Context, spec AccessSpec) (AccessFound, error) {
	a, sc, err := n.access(ctx, nil, &spec)
	if err != nil {
		return AccessFound{}, err
	}
	out := AccessFound{Searched: a.Held(), Found: a.Found(), Messages: []AccessMessage{}, Related: []AccessRelated{}, Suggestions: []AccessSuggestion{}, Erased: sc.erased}
	why := a.Because()
	for _, id := range a.Entries() {
		out.Messages = append(out.Messages, sc.message(id, why[id]))
	}
	for _, r := range a.Related() {
		out.Related = append(out.Related, AccessRelated{sc.message(r.Entry, "hangs together with a message that was found"), r.To.String()})
	}
	for _, s := range a.Suggest() {
		out.Suggestions = append(out.Suggestions, AccessSuggestion{s.Entry.String(), s.Words, s.Kind})
	}
	out.Words = fmt.Sprintf("%d of %d messages on this device are about the subject.", out.Found, out.Searched)
	if out.Unread = sc.unread; out.Unread > 0 {
		out.Words += fmt.Sprintf(" %d could not be read on this device: synchronise, then look again.", out.Unread)
	}
	if out.Erased > 0 {
		out.Words += fmt.Sprintf(" %d were erased here: look for them in the record.", out.Erased)
	}
	return out, nil
}

// AccessExport answers a request: it tells every group of which messages are disclosed, and only then hands the two forms out. It needs a token of
// [Node.Reauth]. Errors: [ErrLocked], [ErrReauth], [ErrNotFound], [ErrInvalid], [ErrReadOnly]; nothing was disclosed then, though a group may have
// been told that it was.
func (n *Node) AccessExport(ctx context.Context, token string, spec AccessSpec) (AccessExport, error) {
	a, sc, err := n.access(ctx, &token, &spec)
	if err != nil {
		return AccessExport{}, err
	}
	var page, machine bytes.Buffer
	written, err := a.HTML(&page)
	if err != nil {
		return AccessExport{}, recordError(err)
	}
	forMachines, err := a.JSON(&machine)
	if err != nil {
		return AccessExport{}, recordError(err)
	}
	out := AccessExport{Messages: written.Messages, Redacted: written.Redacted, PageSHA256: hex.EncodeToString(written.SHA256[:]),
		MachineSHA256: hex.EncodeToString(forMachines.SHA256[:]), Entries: []string{}}
	told, unsaid := 0, 0
	concerned := make(map[string][]message.EntryID)
	for _, id := range a.Entries() {
		concerned[sc.groups[id]] = append(concerned[sc.groups[id]], message.EntryID(id))
	}
	for _, g := range slices.Sorted(maps.Keys(concerned)) {
		entries := concerned[g]
		if sc.untold[g] {
			unsaid += len(entries) // to everybody, or of a group that this device has left
			continue
		}
		ids, err := n.sayDisclosed(ctx, g, accessBasis[spec.Basis], message.Clean(spec.Reference), entries, []string{out.PageSHA256, out.MachineSHA256})
		if err != nil {
			return AccessExport{}, err
		}
		told++
		out.Entries = append(out.Entries, ids...)
	}
	out.Page, out.Machine = page.Bytes(), machine.Bytes()
	groups := "1 group was told"
	if told != 1 {
		groups = fmt.Sprintf("%d groups were told", told)
	}
	out.Words = fmt.Sprintf("Messages disclosed: %d; %s.", out.Messages, groups)
	if unsaid > 0 {
		out.Words += fmt.Sprintf(" Nobody could be told of %d of them: they were to everybody, or of a group that this device has left.", unsaid)
	}
	if sc.unread > 0 {
		out.Words += fmt.Sprintf(" %d messages could not be read on this device and were not looked through.", sc.unread)
	}
	return out, nil
}
