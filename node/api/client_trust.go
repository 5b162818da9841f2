package api

import (
	"context"
	"net/url"
	"time"

	"tocsin/node"
)

// UnlockPIN unlocks the device with its PIN. A wrong one is ErrWrongPIN, one too soon after it ErrBackOff.
func (c *Client) UnlockPIN(ctx context.Context, pin string) (out node.Status, err error) {
	return out, c.do(ctx, "POST", "/v1/unlock", Unlock{PIN: pin}, &out)
}

// LockHard locks the device so that only the passphrase opens it.
func (c *Client) LockHard(ctx context.Context) (out node.Status, err error) {
	return out, c.do(ctx, "POST", "/v1/lock/hard", nil, &out)
}

// Reauth gives the secret once more, for a token that one sensitive request takes.
func (c *Client) Reauth(ctx context.Context, secret Unlock) (out node.Reauth, err error) {
	return out, c.do(ctx, "POST", "/v1/reauth", secret, &out)
}

// SetPIN sets the PIN, or changes it.
func (c *Client) SetPIN(ctx context.Context, token, pin string) (out node.Status, err error) {
	return out, c.doAs(ctx, token, "PUT", "/v1/pin", SetPIN{pin}, &out)
}

// ClearPIN takes the PIN away.
func (c *Client) ClearPIN(ctx context.Context, token string) (out node.Status, err error) {
	return out, c.doAs(ctx, token, "DELETE", "/v1/pin", nil, &out)
}

// ChangePassphrase changes the passphrase of the vault.
func (c *Client) ChangePassphrase(ctx context.Context, old, fresh string) error {
	return c.do(ctx, "POST", "/v1/passphrase", ChangePassphrase{old, fresh}, nil)
}

// Wipe destroys this device's keys. There is no way back.
func (c *Client) Wipe(ctx context.Context, token string) error {
	return c.doAs(ctx, token, "POST", "/v1/wipe", Wipe{wipeWord}, nil)
}

// Statements lists what authorities said that is in force.
func (c *Client) Statements(ctx context.Context) ([]node.StatementInfo, error) {
	var out Statements
	err := c.do(ctx, "GET", "/v1/statements", nil, &out)
	return out.Statements, err
}

// PublishStatement hands a statement to the node, which checks it, acts on it and carries it.
func (c *Client) PublishStatement(ctx context.Context, raw []byte) (out node.StatementInfo, err error) {
	return out, c.do(ctx, "POST", "/v1/statements", Statement{raw}, &out)
}

// VerifyPerson begins a meeting in person: the other device scans what is shown.
func (c *Client) VerifyPerson(ctx context.Context) (out Meeting, err error) {
	return out, c.do(ctx, "POST", "/v1/people/verify", nil, &out)
}

// VerifyScan hands over the code that the other device shows, and returns what to show next.
func (c *Client) VerifyScan(ctx context.Context, code string) (out Meeting, err error) {
	return out, c.do(ctx, "POST", "/v1/people/verify/scan", VerifyScan{code}, &out)
}

// Digits returns what both devices show.
func (c *Client) Digits(ctx context.Context, person string) (out node.PersonDigits, err error) {
	return out, c.do(ctx, "GET", "/v1/people/digits?"+url.Values{"person": {person}}.Encode(), nil, &out)
}

// VerifyDigits says that both devices show these digits.
func (c *Client) VerifyDigits(ctx context.Context, person, digits string) (out node.Person, err error) {
	return out, c.do(ctx, "POST", "/v1/people/verify/digits", VerifyDigits{person, digits}, &out)
}

// RawStatements returns the statements in force as they were signed.
func (c *Client) RawStatements(ctx context.Context) ([][]byte, error) {
	var out RawStatements
	err := c.do(ctx, "GET", "/v1/statements/raw", nil, &out)
	return out.Statements, err
}

// SponsorView says what a request to be vouched for asks.
func (c *Client) SponsorView(ctx context.Context, request []byte) (out node.SponsorView, err error) {
	return out, c.do(ctx, "POST", "/v1/sponsor/view", SponsorAsk{request}, &out)
}

// Sponsor vouches for a device.
func (c *Client) Sponsor(ctx context.Context, token string, request []byte, spec node.SponsorSpec) (out node.SponsorAnswer, err error) {
	return out, c.doAs(ctx, token, "POST", "/v1/sponsor", SponsorRequest{request, spec}, &out)
}

// RevokeSponsored takes a sponsorship back.
func (c *Client) RevokeSponsored(ctx context.Context, token, log string) (out node.StatementInfo, err error) {
	return out, c.doAs(ctx, token, "POST", "/v1/sponsor/revoke", SponsorRevoke{log}, &out)
}

// RemoveMember takes every device of a person out of a conversation.
func (c *Client) RemoveMember(ctx context.Context, group, member string) (out Group, err error) {
	return out, c.do(ctx, "POST", groupPath(group, "/members/remove"), AddMember{member}, &out)
}

// SetRole makes somebody an admin of a conversation, or no more.
func (c *Client) SetRole(ctx context.Context, group, member, role string) ([]node.Member, error) {
	var out Roster
	err := c.do(ctx, "POST", groupPath(group, "/role"), SetRole{member, role}, &out)
	return out.Members, err
}

// LeaveGroup takes this person's devices out of a conversation.
func (c *Client) LeaveGroup(ctx context.Context, group string) error {
	return c.do(ctx, "POST", groupPath(group, "/leave"), nil, nil)
}

// Roster lists the members of a conversation with their roles.
func (c *Client) Roster(ctx context.Context, group string) ([]node.Member, error) {
	var out Roster
	err := c.do(ctx, "GET", groupPath(group, "/roster"), nil, &out)
	return out.Members, err
}

// HandOver gives a member older messages, and returns how many.
func (c *Client) HandOver(ctx context.Context, group, member string, since time.Time) (int, error) {
	var out HandedOver
	err := c.do(ctx, "POST", groupPath(group, "/hand-over"), HandOver{member, since}, &out)
	return out.Messages, err
}

// Erase destroys messages on this device.
func (c *Client) Erase(ctx context.Context, token, group string, ids ...string) (out node.Erased, err error) {
	return out, c.doAs(ctx, token, "POST", groupPath(group, "/erase"), Erase{ids}, &out)
}

// Broadcast sends a text to everybody admitted.
func (c *Client) Broadcast(ctx context.Context, b Broadcast) (out node.Sent, err error) {
	return out, c.do(ctx, "POST", "/v1/broadcast", b, &out)
}
