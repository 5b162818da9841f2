package api

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"

	"tocsin/node"
)

// TestExportRecord: a document comes whole and says so, or the client says that it did not.
func TestExportRecord(t *testing.T) {
	b := newBench(t)
	c := b.dial(t)
	ctx := t.Context()
	var out bytes.Buffer
	export := func() (node.RecordExport, error) {
		granted, err := c.Reauth(ctx, Unlock{Passphrase: b.node.passphrase})
		must(t, err)
		out.Reset()
		return c.ExportRecord(ctx, granted.Token, hexGroup(1), &out)
	}
	made, err := export()
	must(t, err)
	if made.Messages != 1 || !strings.HasSuffix(out.String(), "}") || int64(out.Len()) != made.Bytes {
		t.Errorf("%+v: %s", made, out.String())
	}
	b.node.set(func() { b.node.transfers.breaks = true })
	if _, err := export(); err == nil || !strings.Contains(err.Error(), "whole") {
		t.Errorf("half a document was taken for one: %v", err)
	}
	if _, err := c.ExportRecord(ctx, "guess", hexGroup(1), &out); !errors.Is(err, ErrReauth) {
		t.Errorf("without a token: %v", err)
	}
}

// TestTransferBodies: what is left out of a request is asked for by name, and what is given arrives.
func TestTransferBodies(t *testing.T) {
	b := newBench(t)
	group := "/v1/groups/" + hexGroup(1)
	for path, body := range map[string]string{
		"POST " + group + "/transfer/attribute": `{"messages":[]}`,
		"POST " + group + "/transfer/withdraw":  `{"messages":[]}`,
		"PUT " + group + "/retention":           `{}`,
		"POST " + group + "/holds":              `{"basis":"legal","reason":" "}`,
		"POST " + group + "/holds/x/end":        `{"reason":""}`,
		"POST " + group + "/incident/settle":    `{"mode":"live","reason":" "}`,
		"POST " + group + "/messages":           `{"kind":"incident","priority":"urgent","fields":{"name":["x"],"mode":["live"],"state":["declared"],"reason":["x"],"overrules":["` + hexGroup(9) + `"]}}`,
		"POST " + group + "/erasure":            `{"messages":["x"],"reason":""}`,
	} {
		method, path, _ := strings.Cut(path, " ")
		if status, e := b.ask(t, method, path, body); status != http.StatusBadRequest || e.Message == "" {
			t.Errorf("%s %s %s: %d %+v", method, path, body, status, e)
		}
	}
	if status, _ := b.ask(t, "GET", group+"/transfer?limit=0", ""); status != http.StatusBadRequest {
		t.Errorf("a limit of 0: %d", status)
	}
	c := b.dial(t)
	_, err := c.Attribute(t.Context(), hexGroup(1), &node.Patient{NHSNumber: "9990000018", Traced: true, Family: "Test"}, hexGroup(9), hexGroup(8))
	must(t, err)
	if got := b.node.transfers; got.attributed.NHSNumber != "9990000018" || !got.attributed.Traced || got.attributed.Family != "Test" || len(got.named) != 2 {
		t.Errorf("%+v", got)
	}
	_, err = c.Attribute(t.Context(), hexGroup(1), nil, hexGroup(9))
	must(t, err)
	if got := b.node.transfers.attributed; got != (node.Patient{}) {
		t.Errorf("about nobody: %+v", got)
	}
	granted, err := c.Reauth(t.Context(), Unlock{Passphrase: b.node.passphrase})
	must(t, err)
	if sent, err := c.SettleIncident(t.Context(), granted.Token, hexGroup(1), "live", "x"); err != nil || sent.ID != hexGroup(7) || b.node.transfers.settled != "live" {
		t.Errorf("settled: %+v, %v, %q", sent, err, b.node.transfers.settled)
	}
	if _, err := c.SettleIncident(t.Context(), "guess", hexGroup(1), "live", "x"); !errors.Is(err, ErrReauth) {
		t.Errorf("settled without a token: %v", err)
	}
	items, err := c.TransferMessages(t.Context(), hexGroup(1), node.TransferFilter{State: node.TransferWaiting})
	if err != nil || len(items) != 0 {
		t.Errorf("%v, %v", items, err)
	}
}
