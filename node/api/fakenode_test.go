package api

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tocsin/node"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// fakeNode stands in for a node where a test is about who is let in and how answers look. What a node does is tested with
// real ones, in browser_test.go and in package node.
type fakeNode struct {
	cards    []message.Card  // as they were set
	attached node.AttachSpec // of the last file

	mu         sync.Mutex
	locked     bool
	online     bool
	passphrase string
	unlocks    int
	pin        string // empty for none
	pinLeft    int
	token      string // of the last Reauth, until it is used
	touched    int
	wiped      bool
	inbox      *inbox.Inbox
	sent       int
	subs       []chan node.Event
	err        error // what the next calls fail with, if set
	transfers  fakeTransfers
}

var (
	born  = time.Date(2026, 3, 4, 9, 30, 0, 0, time.UTC)
	amara = inbox.Author{Log: "aa/0", Person: "stmarys.nhs.example/gmc/7654321", Name: "Amara Okafor", Org: "stmarys.nhs.example", Role: "Emergency registrar", Verified: true}
	ben   = inbox.Author{Log: "bb/0", Person: "ambulance.nhs.example/hcpc/PA123", Name: "Ben Carter", Org: "ambulance.nhs.example", Role: "Paramedic", Verified: true}
)

func groupID(n byte) inbox.GroupID { return inbox.GroupID{0: n} }

func hexGroup(n byte) string { id := groupID(n); return hex.EncodeToString(id[:]) }

func newFakeNode() *fakeNode {
	f := &fakeNode{online: true, passphrase: "correct horse battery staple", inbox: inbox.New()}
	runs := amara
	runs.Admin = true
	f.inbox.SetGroup(inbox.Group{ID: groupID(1), Name: "Ward 5 evacuation", Kind: "incident", Members: []inbox.Author{runs, ben}, HLC: 1})
	f.say(ben, "Lift B is out. Use the north stair.", "urgent")
	return f
}

func (f *fakeNode) say(from inbox.Author, body, priority string) inbox.EntryID {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent++
	id := inbox.EntryID{30: byte(f.sent >> 8), 31: byte(f.sent)}
	at := born.Add(time.Duration(f.sent) * time.Minute)
	f.inbox.Apply(inbox.Item{ID: id, Group: groupID(1), HLC: uint64(10 + f.sent), Seq: uint64(f.sent), From: from,
		Message: message.NewText(body, at), Sent: at, Received: at, Priority: priority, Own: from == amara, Provable: true})
	for _, s := range f.subs {
		s <- node.Event{Type: node.EventMessage, Group: hexGroup(1), ID: hex.EncodeToString(id[:])}
	}
	return id
}

func (f *fakeNode) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	if f.locked {
		return node.ErrLocked
	}
	return nil
}

func (f *fakeNode) Status() node.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return node.Status{Version: "test", Name: amara.Name, Org: amara.Org, Log: amara.Log, Locked: f.locked, Online: f.online, Peers: 1, Refused: map[string]uint64{"foreign": 2},
		HasPIN: f.pin != "", PINReady: f.locked && f.pin != "", PINAttempts: f.pinLeft, Wiped: f.wiped, IdleLockSeconds: 300,
		Standing: node.Standing{State: "valid"}, LowBandwidth: node.ThriftState{Mode: "auto"},
		Revocation: []node.RevocationAge{{Issuer: amara.Org, Number: 3, Updated: born, AgeSeconds: 7200, State: "fresh", Words: "two hours old"}},
		Declared:   []node.Declared{{Org: amara.Org, Incident: "Flood", Since: born, Until: born}}}
}

func (f *fakeNode) UnlockPIN(_ context.Context, pin []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.pin == "" || f.pinLeft == 0:
		return node.ErrNoPIN
	case string(pin) != f.pin:
		f.pinLeft--
		return fmt.Errorf("unlock: %w", &node.PINError{Left: f.pinLeft, Wait: map[bool]time.Duration{true: 29500 * time.Millisecond}[f.pinLeft == 4]})
	case f.pinLeft == 4:
		return &node.BackoffError{Wait: 90 * time.Second}
	}
	f.locked = false
	return nil
}

func (f *fakeNode) LockHard() error {
	f.mu.Lock()
	f.pin = ""
	f.mu.Unlock()
	return f.Lock()
}

func (f *fakeNode) Touch() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.touched++
}

func (f *fakeNode) Reauth(_ context.Context, s node.Secret) (node.Reauth, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if string(s.Passphrase) != f.passphrase && (f.pin == "" || string(s.PIN) != f.pin) {
		return node.Reauth{}, fmt.Errorf("reauth: %w", node.ErrPassphrase)
	}
	f.unlocks++
	f.token = fmt.Sprintf("again-%d", f.unlocks)
	return node.Reauth{Token: f.token, Expires: born}, nil
}

// spend takes the token of the last Reauth, once.
func (f *fakeNode) spend(token string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.token == "" || token != f.token {
		return fmt.Errorf("node: %w", node.ErrReauth)
	}
	f.token = ""
	return nil
}

func (f *fakeNode) SetPIN(_ context.Context, token string, pin []byte) error {
	if err := f.spend(token); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pin, f.pinLeft = string(pin), 10
	return nil
}

func (f *fakeNode) ClearPIN(_ context.Context, token string) error {
	if err := f.spend(token); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pin = ""
	return nil
}

func (f *fakeNode) ChangePassphrase(_ context.Context, old, fresh []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if string(old) != f.passphrase {
		return node.ErrPassphrase
	}
	f.passphrase = string(fresh)
	return nil
}

func (f *fakeNode) WipeSelf(_ context.Context, token string) error {
	if err := f.spend(token); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wiped = true
	return nil
}

func (f *fakeNode) VerifyPersonStart(context.Context) (node.MeetingStep, error) {
	return node.MeetingStep{Show: "TOCSIN1", Words: "Let them scan this."}, f.failure()
}

func (f *fakeNode) VerifyPersonScan(_ context.Context, code string) (node.MeetingStep, error) {
	if code != "THEIRS" {
		return node.MeetingStep{}, fmt.Errorf("%w: this is no code of a meeting", node.ErrInvalid)
	}
	people, err := f.People()
	if err != nil {
		return node.MeetingStep{}, err
	}
	return node.MeetingStep{Words: "Done.", Done: true, Person: &people[1]}, f.failure()
}

func (f *fakeNode) PersonDigits(person string) (node.PersonDigits, error) {
	people, err := f.People()
	if person != ben.Log {
		return node.PersonDigits{}, fmt.Errorf("%w: nobody of that name", node.ErrNotFound)
	}
	return node.PersonDigits{Digits: "12345 67890", Person: people[1]}, err
}

func (f *fakeNode) VerifyPersonDigits(_ context.Context, person, digits string) (node.Person, error) {
	d, err := f.PersonDigits(person)
	if err == nil && digits != d.Digits {
		err = fmt.Errorf("%w: the digits are not those", node.ErrInvalid)
	}
	return d.Person, err
}

func (f *fakeNode) Statements() []node.StatementInfo {
	return []node.StatementInfo{{Hash: "00", Kind: "crl", Issuer: amara.Org, Time: born, Words: "It revokes one device.", Carried: true}}
}

func (f *fakeNode) PublishStatement(_ context.Context, raw []byte) (node.StatementInfo, error) {
	if string(raw) != "a statement" {
		return node.StatementInfo{}, fmt.Errorf("%w: this is no statement", node.ErrInvalid)
	}
	return f.Statements()[0], nil
}

func (f *fakeNode) RawStatements() [][]byte { return [][]byte{[]byte("a statement")} }

func (f *fakeNode) SponsorView(_ context.Context, request []byte) (node.SponsorView, error) {
	if string(request) != "a request" {
		return node.SponsorView{}, fmt.Errorf("%w: this is no request", node.ErrInvalid)
	}
	return node.SponsorView{Name: ben.Name, Kind: "break-glass", Groups: []string{hexGroup(1)}, Until: born, Log: ben.Log}, nil
}

func (f *fakeNode) Sponsor(_ context.Context, token string, request []byte, spec node.SponsorSpec) (node.SponsorAnswer, error) {
	if err := f.spend(token); err != nil {
		return node.SponsorAnswer{}, err
	}
	return node.SponsorAnswer{Answer: request, Words: spec.Kind}, nil
}

func (f *fakeNode) RevokeSponsored(_ context.Context, token, log string) (node.StatementInfo, error) {
	if err := f.spend(token); err != nil {
		return node.StatementInfo{}, err
	}
	return f.Statements()[0], nil
}

func (f *fakeNode) RemoveMember(ctx context.Context, group, member string) error {
	return f.AddMember(ctx, group, member)
}

func (f *fakeNode) SetRole(ctx context.Context, group, member, role string) error {
	if role != "admin" && role != "member" {
		return fmt.Errorf("%w: a role is admin or member", node.ErrInvalid)
	}
	return f.AddMember(ctx, group, member)
}

func (f *fakeNode) LeaveGroup(ctx context.Context, group string) error {
	return f.AddMember(ctx, group, "self")
}

func (f *fakeNode) Roster(group string) ([]node.Member, error) {
	people, err := f.People()
	if group != hexGroup(1) || err != nil {
		return nil, fmt.Errorf("%w: this device is in no group %s", node.ErrNotFound, group)
	}
	return []node.Member{{Person: people[0], Role: "admin"}, {Person: people[1], Role: "member", Excluded: true}}, f.failure()
}

func (f *fakeNode) HandOver(ctx context.Context, group, member string, _ time.Time) (int, error) {
	return 3, f.AddMember(ctx, group, member)
}

func (f *fakeNode) EraseMessages(_ context.Context, token, group string, ids ...string) (node.Erased, error) {
	if err := f.spend(token); err != nil {
		return node.Erased{}, err
	}
	if group != hexGroup(1) {
		return node.Erased{}, fmt.Errorf("%w: this device is in no group %s", node.ErrNotFound, group)
	}
	return node.Erased{Messages: len(ids), Words: "Erased here."}, nil
}

func (f *fakeNode) Broadcast(_ context.Context, m message.Message, priority, reason string) (node.Sent, error) {
	return node.Sent{ID: "00", Log: amara.Log, Seq: 2, Time: born, State: "saved"}, f.failure()
}

func (f *fakeNode) Unlock(_ context.Context, passphrase []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unlocks++
	if string(passphrase) != f.passphrase {
		return fmt.Errorf("unlock: %w", node.ErrPassphrase)
	}
	f.locked = false
	return nil
}

func (f *fakeNode) Lock() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.locked = true
	for _, s := range f.subs {
		s <- node.Event{Type: node.EventLock}
	}
	return nil
}

func (f *fakeNode) SetOnline(online bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.online = online
	return nil
}

func (f *fakeNode) Peers() []node.Peer {
	return []node.Peer{{Org: ben.Org, Addr: "/ip4/127.0.0.1/tcp/1", Transport: "tcp", Since: born, Latency: 1500 * time.Microsecond}}
}

func (f *fakeNode) Cuts() []node.Cut {
	return []node.Cut{{Peer: "p", Org: ben.Org, Reason: "flood", At: born, Until: born.Add(30 * time.Second)}}
}

func (f *fakeNode) PeersWarning() string { return "All neighbours are on one network." }

func (f *fakeNode) People() ([]node.Person, error) {
	return []node.Person{
		{Name: amara.Name, Org: amara.Org, Roles: []string{amara.Role}, Log: amara.Log, Self: true, Ready: true, Valid: true,
			Standing: node.Standing{State: "valid"}},
		{Name: ben.Name, Org: ben.Org, Roles: []string{ben.Role}, Log: ben.Log, Reachable: true, Ready: true, Valid: true,
			Standing: node.Standing{State: "provisional", Words: "vouched for by colleagues", Until: born}, Registrar: true, VerifiedAt: born,
			Sponsored: &node.Sponsored{Kind: "break-glass", Sponsors: []string{amara.Name}, Groups: []string{hexGroup(1)}, Until: born},
			Wipe:      &node.WipeState{Ordered: born, Receipt: born},
			Replaces:  "cc/0", ReplacedWhy: "forked", ReplacedAt: born, ReplacedBy: "dd/0", Cloned: true},
	}, nil
}

func (f *fakeNode) Conversations() ([]inbox.Conversation, error) {
	if err := f.failure(); err != nil {
		return nil, err
	}
	return f.inbox.Conversations(), nil
}

func (f *fakeNode) CreateGroup(_ context.Context, spec node.GroupSpec) (inbox.Conversation, error) {
	if err := f.failure(); err != nil {
		return inbox.Conversation{}, err
	}
	if spec.Kind == "" {
		return inbox.Conversation{}, fmt.Errorf("%w: a group is direct, team or incident", node.ErrInvalid)
	}
	f.inbox.SetGroup(inbox.Group{ID: groupID(2), Name: spec.Name, Kind: spec.Kind, Members: []inbox.Author{amara, ben}, HLC: 2})
	c, _ := f.inbox.Conversation(groupID(2))
	return c, nil
}

func (f *fakeNode) AddMember(_ context.Context, group, member string) error {
	if err := f.failure(); err != nil {
		return err
	}
	if group != hexGroup(1) || member == "" {
		return fmt.Errorf("%w: this device is in no group %s", node.ErrNotFound, group)
	}
	return nil
}

func (f *fakeNode) Messages(group string, after, limit int) ([]inbox.Item, error) {
	if err := f.failure(); err != nil {
		return nil, err
	}
	if group != hexGroup(1) && group != hexGroup(2) {
		return nil, fmt.Errorf("%w: this device is in no group %s", node.ErrNotFound, group)
	}
	b, err := hex.DecodeString(group)
	if err != nil {
		return nil, err
	}
	return f.inbox.Messages(inbox.GroupID(b), after, limit), nil
}

func (f *fakeNode) Send(_ context.Context, group string, m message.Message, priority string) (node.Sent, error) {
	if err := f.failure(); err != nil {
		return node.Sent{}, err
	}
	if group != hexGroup(1) {
		return node.Sent{}, fmt.Errorf("%w: this device is in no group %s", node.ErrNotFound, group)
	}
	if _, text := m.Content.(*message.Text); !text {
		return f.saidForm(m, priority), nil
	}
	id := f.say(amara, message.Words(m.Content), priority)
	return node.Sent{ID: hex.EncodeToString(id[:]), Log: amara.Log, Seq: 1, Time: born, State: "saved"}, nil
}

func (f *fakeNode) MarkRead(string) error { return f.failure() }

func (f *fakeNode) Subscribe(ctx context.Context) <-chan node.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	ch := make(chan node.Event, 2000)
	f.subs = append(f.subs, ch)
	return ch
}

func (f *fakeNode) Logs() ([]node.LogInfo, error) {
	return []node.LogInfo{{Log: amara.Log, Author: amara.Name, Entries: 4, Head: "00", Own: true}}, nil
}

func (f *fakeNode) LogEntries(_ context.Context, log string, from uint64, limit int) ([]node.EntryInfo, error) {
	if log != amara.Log {
		return nil, fmt.Errorf("%w: no log %s here", node.ErrNotFound, log)
	}
	return []node.EntryInfo{{ID: "00", Log: log, Seq: from, Kind: "data", Priority: "routine"}}, nil
}

func (f *fakeNode) SetThrift(mode string) error {
	if mode != "on" {
		return fmt.Errorf("%w: no such mode", node.ErrInvalid)
	}
	return nil
}

func (f *fakeNode) Thrift() node.ThriftState {
	return node.ThriftState{Mode: "on", On: true, Words: "Low-bandwidth mode: headers and urgent messages only."}
}

func (f *fakeNode) Forks(context.Context) ([]node.Fork, error) {
	entry := node.ForkEntry{EntryInfo: node.EntryInfo{ID: "00", Log: amara.Log, Seq: 3, Kind: "data", Priority: "routine"}, Summary: "one of them"}
	return []node.Fork{{
		Log: amara.Log, Author: amara.Name, Seq: 3, Words: "It was copied, or it lies.",
		Branches: [2]node.ForkBranch{{InLog: 1, Entries: []node.ForkEntry{entry}}, {Entries: []node.ForkEntry{entry}}},
	}}, nil
}

func (f *fakeNode) VerifyLogs(context.Context, func(done, total uint64)) (node.VerifyReport, error) {
	return node.VerifyReport{Entries: 4}, nil
}

func (f *fakeNode) ExportBundle(_ context.Context, path string, _ node.BundleSpec, _ func(done, total uint64)) (node.BundleInfo, error) {
	return node.BundleInfo{Path: path, Recipients: 2, Entries: 4, Bodies: 3, Bytes: 4096}, nil
}

func (f *fakeNode) ImportBundle(context.Context, string, func(done uint64)) (node.BundleReport, error) {
	return node.BundleReport{Creator: amara.Name, Created: born, New: 4, Words: "Everything in the file was taken."}, nil
}

func (f *fakeNode) ExportPaper(context.Context, node.PaperSpec) (node.PaperInfo, error) {
	return node.PaperInfo{Codes: []string{"TP1X"}, Messages: 1, Entries: 2}, nil
}

func (f *fakeNode) ImportPaper(_ context.Context, codes []string) (node.PaperReport, error) {
	return node.PaperReport{
		Sheets: []node.PaperSheet{{ID: "0123456789", Count: 2, Missing: []int{2}, Words: "1 of 2 codes are missing: 2"}},
		Wrong:  []node.WrongCode{{Number: len(codes), Begins: "TP1", Words: "no code of a sheet"}}, Words: "No sheet is whole yet.",
	}, nil
}

func (f *fakeNode) Prove(context.Context, string) ([]byte, error) { return []byte("a proof"), nil }

func (f *fakeNode) Metrics() node.Metrics { return node.Metrics{Opened: 7} }

// testClock is a clock that stands still until it is moved.
type testClock struct {
	mu      sync.Mutex
	now     time.Time
	waiting map[chan time.Time]time.Time
	asked   int // calls of After
	more    *sync.Cond
}

func newTestClock() *testClock {
	// Deadlines of connections are set by it, so it starts well after the machine's own.
	c := &testClock{now: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), waiting: map[chan time.Time]time.Time{}}
	c.more = sync.NewCond(&c.mu)
	return c
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan time.Time, 1)
	c.waiting[ch] = c.now.Add(d)
	c.asked++
	c.more.Broadcast()
	return ch
}

// waits returns once After was called n times in all.
func (c *testClock) waits(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.asked < n {
		c.more.Wait()
	}
}

func (c *testClock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for ch, at := range c.waiting {
		if !c.now.Before(at) {
			ch <- c.now
			delete(c.waiting, ch)
		}
	}
}

// bench is a running server over a fake node.
type bench struct {
	*Server
	node  *fakeNode
	clock *testClock
	token string
	log   *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{node: newFakeNode(), clock: newTestClock(), log: &lockedBuffer{}}
	var err error
	b.Server, err = New(Config{
		Node: b.node, Clock: b.clock, Logger: slog.New(slog.NewJSONHandler(b.log, nil)),
		Socket: filepath.Join(dir, "s.sock"), TokenFile: filepath.Join(dir, "token"),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- b.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	token, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		t.Fatal(err)
	}
	b.token = strings.TrimSpace(string(token))
	return b
}

// dial returns a client on the bench's socket.
func (b *bench) dial(t *testing.T) *Client {
	t.Helper()
	c, err := Dial(b.cfg.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// browser is a session as a page holds it.
type browser struct {
	cookie *http.Cookie
	token  string
}

// login takes a fresh code the way the page does.
func (b *bench) login(t *testing.T) browser {
	t.Helper()
	code, _, err := b.keys.newCode()
	if err != nil {
		t.Fatal(err)
	}
	req := b.request(t, "POST", "/v1/session", fmt.Sprintf(`{"code":%q}`, code))
	req.Header.Set("Origin", strings.TrimSuffix(b.URL(), "/"))
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	resp := b.do(t, req)
	var s Session
	if err := decode(resp, &s); err != nil || len(resp.Cookies()) != 1 {
		t.Fatalf("%s, %v", resp.Status, err)
	}
	return browser{resp.Cookies()[0], s.Token}
}
