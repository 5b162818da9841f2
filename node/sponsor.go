package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
)

// SponsorView is what a sponsor is shown of a request before vouching for it.
type SponsorView struct {
	Name        string    `json:"name"`
	Person      string    `json:"person"` // org/regulator/number, as the newcomer says
	Roles       []string  `json:"roles"`
	Kind        string    `json:"kind"` // own-device or break-glass
	Groups      []string  `json:"groups,omitempty"`
	Until       time.Time `json:"until"`
	Fingerprint string    `json:"fingerprint"` // to compare by voice
	Log         string    `json:"log"`         // what the new device will write; names it to PersonDigits
	Met         bool      `json:"met"`         // its code was scanned, or its digits compared, on this device
}

// SponsorSpec is what the sponsor was shown and agrees to. Zero fields agree to
// anything.
type SponsorSpec struct {
	Kind    string   `json:"kind"`             // own-device or break-glass
	Groups  []string `json:"groups,omitempty"` // exactly these
	Hours   int      `json:"hours,omitempty"`  // at most so long
	Scanned bool     `json:"scanned"`          // required: the newcomer was met in person
}

// agrees says where a request asks for something else.
func (s SponsorSpec) agrees(req *identity.SponsorRequest, now time.Time) error {
	kind, groups := sponsorOwnDevice, []string{}
	if req.BreakGlass() {
		kind = sponsorBreakGlass
	}
	for _, g := range req.Groups() {
		groups = append(groups, group.ID(g).String())
	}
	slices.Sort(groups)
	switch {
	case !s.Scanned:
		return invalid("vouch only for somebody whom you have met in person just now")
	case s.Kind != "" && s.Kind != kind:
		return invalid("the request is for %s, not for %s", kind, s.Kind)
	case len(s.Groups) > 0 && !slices.Equal(slices.Sorted(slices.Values(s.Groups)), groups):
		return invalid("the request names other groups")
	case s.Hours > 0 && req.NotAfter().After(now.Add(time.Duration(s.Hours)*time.Hour)):
		return invalid("the request lasts until %s, longer than %d hours", req.NotAfter().UTC().Format(time.RFC3339), s.Hours)
	}
	return nil
}

// SponsorAnswer is one sponsorship, for the newcomer's device.
type SponsorAnswer struct {
	Answer []byte `json:"answer"`
	Words  string `json:"words"`
}

// The kinds of sponsoring, as people are shown them.
const (
	sponsorOwnDevice  = "own-device"
	sponsorBreakGlass = "break-glass"
)

// SponsorView reads a newcomer's request and remembers its key until this device
// is locked, so that it can be met in person ([Node.VerifyPersonStart],
// [Node.VerifyPersonDigits]). Errors: [ErrLocked], [ErrInvalid].
func (n *Node) SponsorView(_ context.Context, request []byte) (SponsorView, error) {
	req, err := identity.ParseSponsorRequest(request)
	if err != nil {
		return SponsorView{}, invalid("%v", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return SponsorView{}, n.lockedError()
	}
	if len(n.open.newcomers) >= maxNewcomers {
		clear(n.open.newcomers)
	}
	n.open.newcomers[req.Signing()] = req
	return n.sponsorView(req)
}

// maxNewcomers bounds the requests that a session remembers.
const maxNewcomers = 16

func (n *Node) sponsorView(req *identity.SponsorRequest) (SponsorView, error) {
	wish := req.Wish()
	v := SponsorView{
		Name: wish.Claims.Name, Person: wish.Person.String(), Roles: wish.Claims.Roles, Kind: sponsorOwnDevice,
		Until: req.NotAfter(), Fingerprint: req.Fingerprint(), Log: identity.LogID{Author: req.Signing()}.String(),
	}
	if req.BreakGlass() {
		v.Kind = sponsorBreakGlass
	}
	for _, g := range req.Groups() {
		v.Groups = append(v.Groups, group.ID(g).String())
	}
	_, met, err := n.verification(req.Signing())
	v.Met = met
	return v, err
}

// Sponsor vouches for a newcomer: a further device of this person, or, with two
// other sponsors, a colleague whom no authority can reach now. The newcomer must
// have been met in person before. It needs a token of [Node.Reauth]. Errors:
// [ErrLocked], [ErrReauth], [ErrInvalid] with the rule that forbids it.
func (n *Node) Sponsor(_ context.Context, token string, request []byte, spec SponsorSpec) (SponsorAnswer, error) {
	req, err := identity.ParseSponsorRequest(request)
	if err != nil {
		return SponsorAnswer{}, invalid("%v", err)
	}
	if err := spec.agrees(req, n.cfg.Clock.Now()); err != nil {
		return SponsorAnswer{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.spend(token); err != nil {
		return SponsorAnswer{}, err
	}
	met, ok, err := n.verification(req.Signing())
	if err != nil {
		return SponsorAnswer{}, err
	}
	if !ok {
		return SponsorAnswer{}, invalid("meet the newcomer in person first: scan each other's codes, or compare the digits")
	}
	answer, err := n.trust.Sponsor(req, identity.SponsorWith{
		Credential: n.cfg.Credential, Admission: n.cfg.Admission, Relay: n.cfg.Relay, Vault: n.open.keys, Met: met, Now: n.cfg.Clock.Now(),
	})
	if err != nil {
		return SponsorAnswer{}, invalid("%v", err)
	}
	// The store has noted for whom this device vouches; that must outlive a crash
	// before anybody can use the answer.
	n.keeper.mu.Lock()
	err = n.saveTrust()
	n.keeper.mu.Unlock()
	if err != nil {
		return SponsorAnswer{}, fmt.Errorf("%w: what this device vouches for: %w", ErrReadOnly, err)
	}
	words := "This device vouches for a further device of yours. Take the answer to it."
	if req.BreakGlass() {
		words = fmt.Sprintf("You vouch for %s until %s. Take the answer to their device; it needs three, of three people.",
			req.Wish().Claims.Name, req.NotAfter().UTC().Format("2 January 2006 15:04 MST"))
	}
	return SponsorAnswer{Answer: answer, Words: words}, nil
}

// RevokeSponsored withdraws this person's sponsorship of a device, which ends its
// admission at once everywhere the statement reaches. It needs a token of
// [Node.Reauth]. Errors: [ErrLocked], [ErrReauth], [ErrNotFound], [ErrInvalid].
func (n *Node) RevokeSponsored(ctx context.Context, token, log string) (StatementInfo, error) {
	id, err := identity.ParseLogID(log)
	if err != nil {
		return StatementInfo{}, invalid("%v", err)
	}
	raw, err := n.sponsorRevoke(token, id)
	if err != nil {
		return StatementInfo{}, err
	}
	return n.PublishStatement(ctx, raw)
}

func (n *Node) sponsorRevoke(token string, id identity.LogID) ([]byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.spend(token); err != nil {
		return nil, err
	}
	c := n.people.credential(id.Author)
	if c == nil {
		return nil, fmt.Errorf("%w: no device %s is known", ErrNotFound, id)
	}
	if !slices.ContainsFunc(c.Sponsors, func(s identity.Sponsor) bool { return s.KeyHash == n.cred.KeyHash() }) {
		return nil, invalid("this device did not sponsor that one: ask one who did")
	}
	raw, err := identity.NewSponsorRevoke(n.cred, n.open.keys.Signing, c, n.trust.MeshID(), n.cfg.Clock.Now())
	if err != nil {
		return nil, invalid("%v", err)
	}
	return raw, nil
}

// mayAdd says why a device may not be added to a group, if so: a break-glass
// credential names its groups.
func (n *Node) mayAdd(id group.ID, d identity.LogID) error {
	c := n.people.credential(d.Author)
	if c == nil {
		return nil
	}
	if !c.MayJoin(id) {
		return invalid("%s was admitted by sponsors for other groups than this one", c.Claims.Name)
	}
	if n.excluded(d) {
		return invalid("%s was revoked or wiped, or their sponsors' time is over", c.Claims.Name)
	}
	return nil
}
