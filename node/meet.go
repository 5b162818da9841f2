package node

import (
	"context"
	"fmt"
	"strings"
	"time"

	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
)

// MeetingStep is one step of verifying a person face to face.
type MeetingStep struct {
	Show   string  `json:"show,omitempty"` // the code to show the other now, for a QR picture; empty when there is none
	Words  string  `json:"words"`          // what to do next
	Done   bool    `json:"done"`           // this device has verified the other
	Person *Person `json:"person,omitempty"`
}

// PersonDigits is what both people read out where no camera works.
type PersonDigits struct {
	Digits string `json:"digits"` // twelve groups of five
	Person Person `json:"person"`
}

// prefixVerified begins the keys of verifications: verified/<signing key>.
const prefixVerified = "verified/"

func verifiedKey(k identity.Key) string { return prefixVerified + k.String() }

// meetingLife is how long the codes of one meeting can be used.
const meetingLife = 5 * time.Minute

// meeting is the one that is going on.
type meeting struct {
	m        *identity.Meeting
	began    time.Time
	answered bool // the other side has shown first
}

// VerifyPersonStart begins a meeting: show the code to the other person's
// device. Errors: [ErrLocked].
func (n *Node) VerifyPersonStart(_ context.Context) (MeetingStep, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.newMeeting(); err != nil {
		return MeetingStep{}, err
	}
	return MeetingStep{Show: n.open.meeting.m.Show(), Words: "Let the other device scan this code. Then scan the one it shows."}, nil
}

func (n *Node) newMeeting() error {
	if n.open == nil {
		return n.lockedError()
	}
	m, err := identity.NewMeeting(n.trust.MeshID(), n.open.keys.Signing, n.rand)
	if err != nil {
		return fmt.Errorf("node: a meeting: %w", err)
	}
	n.open.meeting = &meeting{m: m, began: n.cfg.Clock.Now()}
	return nil
}

// VerifyPersonScan takes the code that the other device shows, whichever it is,
// and says what to show next. When it is done the verification is kept. Errors:
// [ErrLocked], [ErrInvalid] with the reason.
func (n *Node) VerifyPersonScan(_ context.Context, code string) (MeetingStep, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return MeetingStep{}, n.lockedError()
	}
	now, code := n.cfg.Clock.Now(), strings.TrimSpace(code)
	m := n.open.meeting
	if m != nil && now.Sub(m.began).Abs() > meetingLife {
		m, n.open.meeting = nil, nil
	}
	switch {
	case m != nil && m.answered:
		if v, err := m.m.Finish(code, now); err == nil {
			return n.haveMet(v, "")
		}
	case m != nil:
		if reply, v, err := m.m.Confirm(code, n.knownKeys(), now); err == nil {
			return n.haveMet(v, reply)
		}
	}
	return n.answerMeeting(code) // the other has begun
}

// answerMeeting takes the first code of a meeting that the other side began.
func (n *Node) answerMeeting(code string) (MeetingStep, error) {
	earlier := n.open.meeting
	if err := n.newMeeting(); err != nil {
		return MeetingStep{}, err
	}
	reply, err := n.open.meeting.m.Answer(code, n.knownKeys())
	if err != nil {
		n.open.meeting = earlier // a bad scan ends nothing
		return MeetingStep{}, invalid("%v", err)
	}
	n.open.meeting.answered = true
	return MeetingStep{Show: reply, Words: "Let the other device scan this code. Then scan the one it shows last."}, nil
}

// haveMet keeps a verification and ends the meeting. show is the last code, if it is
// ours to show.
func (n *Node) haveMet(v identity.Verification, show string) (MeetingStep, error) {
	if err := n.keepVerification(v); err != nil {
		return MeetingStep{}, err
	}
	n.open.meeting = nil
	p := n.personByKey(v.Key)
	words := "Verified in person."
	if show != "" {
		words = "Verified in person. Let the other device scan this last code, so that it has verified you too."
	}
	return MeetingStep{Show: show, Words: words, Done: true, Person: &p}, nil
}

func (n *Node) keepVerification(v identity.Verification) error {
	if err := n.cfg.Vault.Commit(vault.Change{Key: verifiedKey(v.Key), Value: v.Marshal()}); err != nil {
		return fmt.Errorf("%w: the vault's journal: %w", ErrReadOnly, err)
	}
	n.events.publish(Event{Type: EventPeople})
	return nil
}

// verification returns when and how a key was verified in person. n.mu is held
// and the device is unlocked.
func (n *Node) verification(k identity.Key) (identity.Verification, bool, error) {
	raw, ok, err := n.cfg.Vault.Get(verifiedKey(k))
	if err != nil || !ok {
		return identity.Verification{}, false, err
	}
	v, err := identity.ParseVerification(raw)
	return v, err == nil, err
}

// knownKeys are the keys that a person met may have: those of known devices and
// of newcomers whose requests were looked at.
func (n *Node) knownKeys() []identity.Key {
	var out []identity.Key
	for _, d := range n.people.devices() {
		if d.log.Author != n.cred.SigningKey {
			out = append(out, d.log.Author)
		}
	}
	for k := range n.open.newcomers {
		out = append(out, k)
	}
	return out
}

// PersonDigits returns the sixty digits that this device and one of person's
// show alike. Errors: [ErrLocked], [ErrInvalid].
func (n *Node) PersonDigits(person string) (PersonDigits, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return PersonDigits{}, n.lockedError()
	}
	k, err := n.oneKey(person)
	if err != nil {
		return PersonDigits{}, err
	}
	return PersonDigits{Digits: identity.Digits(n.trust.MeshID(), n.cred.SigningKey, k), Person: n.personByKey(k)}, nil
}

// VerifyPersonDigits keeps that a person has compared the digits: those that this
// device shows must be handed in, so that a page cannot skip showing them.
// Errors: [ErrLocked], [ErrInvalid], [ErrReadOnly].
func (n *Node) VerifyPersonDigits(_ context.Context, person, digits string) (Person, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return Person{}, n.lockedError()
	}
	k, err := n.oneKey(person)
	if err != nil {
		return Person{}, err
	}
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), "") }
	if squeeze(digits) != squeeze(identity.Digits(n.trust.MeshID(), n.cred.SigningKey, k)) {
		return Person{}, invalid("these are not the digits: somebody may be between you; do not rely on this device until you have met again")
	}
	if err := n.keepVerification(identity.VerifiedByDigits(k, n.cfg.Clock.Now())); err != nil {
		return Person{}, err
	}
	return n.personByKey(k), nil
}

// oneKey finds the one device that person means.
func (n *Node) oneKey(person string) (identity.Key, error) {
	if id, err := identity.ParseLogID(person); err == nil {
		_, newcomer := n.open.newcomers[id.Author]
		if newcomer || n.people.credential(id.Author) != nil {
			return id.Author, nil
		}
	}
	devices, err := n.people.resolve(person)
	if err != nil {
		return identity.Key{}, err
	}
	if len(devices) > 1 {
		return identity.Key{}, invalid("%q has %d devices: name one by its log, as `tocsin people` shows", person, len(devices))
	}
	return devices[0].Author, nil
}
