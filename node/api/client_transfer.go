package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"tocsin/node"
)

// The client's half of the routes of the record. A token is that of Reauth.

// TransferQueue lists what is not in the medical record yet, by conversation.
func (c *Client) TransferQueue(ctx context.Context) (out TransferQueue, err error) {
	return out, c.do(ctx, "GET", "/v1/transfer", nil, &out)
}

// TransferMessages lists the messages of a conversation as the record has them, at most 500 from the one after q.After on.
func (c *Client) TransferMessages(ctx context.Context, group string, q node.TransferFilter) ([]node.TransferItem, error) {
	query := url.Values{}
	for name, value := range map[string]string{"state": q.State, "nhs_number": q.NHSNumber, "tag": q.Tag, "after": q.After} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if q.Limit > 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	var out TransferMessages
	err := c.do(ctx, "GET", groupPath(group, "/transfer?"+query.Encode()), nil, &out)
	return out.Messages, err
}

// Attribute says which patient messages are about; nil: no single one.
func (c *Client) Attribute(ctx context.Context, group string, p *node.Patient, messages ...string) (out node.TransferCounts, err error) {
	return out, c.do(ctx, "POST", groupPath(group, "/transfer/attribute"), Attribute{messages, p}, &out)
}

// SignOff releases messages for the record; without any, all that were reviewed.
func (c *Client) SignOff(ctx context.Context, token, group string, messages ...string) (out node.TransferCounts, err error) {
	return out, c.doAs(ctx, token, "POST", groupPath(group, "/transfer/sign-off"), SignOff{messages}, &out)
}

// WithdrawSignOff takes a sign-off back.
func (c *Client) WithdrawSignOff(ctx context.Context, group string, messages ...string) (out node.TransferCounts, err error) {
	return out, c.do(ctx, "POST", groupPath(group, "/transfer/withdraw"), SignOff{messages}, &out)
}

// ExportRecord copies a whole conversation in FHIR's JSON to w. After an error what was written must not be used.
func (c *Client) ExportRecord(ctx context.Context, token, group string, w io.Writer) (out node.RecordExport, err error) {
	resp, err := c.send(ctx, "POST", groupPath(group, "/transfer/export"), nil, http.Header{reauthHeader: {token}})
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return out, fmt.Errorf("api: the export did not come whole: %w", err)
	}
	if err := json.Unmarshal([]byte(resp.Trailer.Get(exportTrailer)), &out); err != nil {
		return out, fmt.Errorf("api: the export does not say that it is whole: %w", err)
	}
	return out, nil
}

// SendRecord begins to send what was signed off, and returns at once.
func (c *Client) SendRecord(ctx context.Context, token, group string) (out node.TransferProgress, err error) {
	return out, c.doAs(ctx, token, "POST", groupPath(group, "/transfer/send"), nil, &out)
}

// TransferProgress says how far the sending of a conversation is.
func (c *Client) TransferProgress(ctx context.Context, group string) (out node.TransferProgress, err error) {
	return out, c.do(ctx, "GET", groupPath(group, "/transfer/send"), nil, &out)
}

// StopTransfer ends the sending of a conversation; what was taken stays taken.
func (c *Client) StopTransfer(ctx context.Context, group string) (out node.TransferProgress, err error) {
	return out, c.do(ctx, "DELETE", groupPath(group, "/transfer/send"), nil, &out)
}

// Retention says how long the messages of a conversation are kept, and why.
func (c *Client) Retention(ctx context.Context, group string) (out node.RetentionView, err error) {
	return out, c.do(ctx, "GET", groupPath(group, "/retention"), nil, &out)
}

// SetRetention sets it; 0 days keeps them until somebody erases them.
func (c *Client) SetRetention(ctx context.Context, token, group string, days int) (out node.RetentionView, err error) {
	return out, c.doAs(ctx, token, "PUT", groupPath(group, "/retention"), SetRetention{&days}, &out)
}

// Holds lists what keeps the messages of a conversation from being erased, ended ones too.
func (c *Client) Holds(ctx context.Context, group string) ([]node.HoldView, error) {
	var out Holds
	err := c.do(ctx, "GET", groupPath(group, "/holds"), nil, &out)
	return out.Holds, err
}

// PlaceHold keeps the messages of a conversation from being erased.
func (c *Client) PlaceHold(ctx context.Context, token, group, basis, reason string) (out node.Sent, err error) {
	return out, c.doAs(ctx, token, "POST", groupPath(group, "/holds"), PlaceHold{basis, reason}, &out)
}

// EndHold ends a hold.
func (c *Client) EndHold(ctx context.Context, token, group, hold, reason string) (out node.Sent, err error) {
	return out, c.doAs(ctx, token, "POST", groupPath(group, "/holds/"+url.PathEscape(hold)+"/end"), EndHold{reason}, &out)
}

// SettleIncident says for good whether an incident is live or an exercise.
func (c *Client) SettleIncident(ctx context.Context, token, group, mode, reason string) (out node.Sent, err error) {
	return out, c.doAs(ctx, token, "POST", groupPath(group, "/incident/settle"), SettleIncident{mode, reason}, &out)
}

// OrderErasure has every member's device erase messages.
func (c *Client) OrderErasure(ctx context.Context, token, group, reason string, messages ...string) (out node.Sent, err error) {
	return out, c.doAs(ctx, token, "POST", groupPath(group, "/erasure"), OrderErasure{messages, reason}, &out)
}

// Retain erases on this device what is due.
func (c *Client) Retain(ctx context.Context) (out node.Erased, err error) {
	return out, c.do(ctx, "POST", "/v1/retention", nil, &out)
}

// AccessFind looks for what a request for access is about, and discloses nothing.
func (c *Client) AccessFind(ctx context.Context, token string, spec node.AccessSpec) (out node.AccessFound, err error) {
	return out, c.doAs(ctx, token, "POST", "/v1/access/find", spec, &out)
}

// AccessExport makes a disclosure in both its forms, and an entry in the log that says so.
func (c *Client) AccessExport(ctx context.Context, token string, spec node.AccessSpec) (out node.AccessExport, err error) {
	return out, c.doAs(ctx, token, "POST", "/v1/access", spec, &out)
}
