package api

import (
	"context"
	"net/url"

	"tocsin/node"
)

// Kinds lists the kinds of message and their forms.
func (c *Client) Kinds(ctx context.Context) (out Kinds, err error) {
	return out, c.do(ctx, "GET", "/v1/kinds", nil, &out)
}

// Acknowledge says that the reader has taken note of a message.
func (c *Client) Acknowledge(ctx context.Context, id string) (out node.Sent, err error) {
	return out, c.do(ctx, "POST", "/v1/messages/"+url.PathEscape(id)+"/acknowledge", nil, &out)
}

// Board returns what stands in a conversation.
func (c *Client) Board(ctx context.Context, group string) (out Board, err error) {
	return out, c.do(ctx, "GET", groupPath(group, "/board"), nil, &out)
}

// Timeline returns what happened in a conversation, by when it happened.
func (c *Client) Timeline(ctx context.Context, group string, all bool) (out Timeline, err error) {
	path := groupPath(group, "/timeline")
	if all {
		path += "?all=true"
	}
	return out, c.do(ctx, "GET", path, nil, &out)
}

// Cards returns the action cards of the device, SetCards replaces them.
func (c *Client) Cards(ctx context.Context) (out Cards, err error) {
	return out, c.do(ctx, "GET", "/v1/cards", nil, &out)
}

// SetCards replaces the action cards of the device by those of a text.
func (c *Client) SetCards(ctx context.Context, text string) (out Cards, err error) {
	return out, c.do(ctx, "PUT", "/v1/cards", SetCards{text}, &out)
}

// Search finds messages, the newest first. The keys of q are words, person, kind, tag, group and limit.
func (c *Client) Search(ctx context.Context, q url.Values) (out Found, err error) {
	return out, c.do(ctx, "GET", "/v1/search?"+q.Encode(), nil, &out)
}

// Draft says what in a text may identify a patient.
func (c *Client) Draft(ctx context.Context, d Draft) (out DraftView, err error) {
	return out, c.do(ctx, "POST", "/v1/drafts", d, &out)
}
