package api

import (
	"context"

	"tocsin/node"
)

// ExportBundle has the node write a bundle to a path on its machine.
func (c *Client) ExportBundle(ctx context.Context, path string, spec node.BundleSpec) (out node.BundleInfo, err error) {
	return out, c.do(ctx, "POST", "/v1/bundles/export", ExportBundle{path, spec}, &out)
}

// ImportBundle has the node take what a bundle at a path on its machine brings.
func (c *Client) ImportBundle(ctx context.Context, path string) (out node.BundleReport, err error) {
	return out, c.do(ctx, "POST", "/v1/bundles/import", ImportBundle{path}, &out)
}

// Prove returns the proof of a message as a file.
func (c *Client) Prove(ctx context.Context, id string) ([]byte, error) {
	var out Proof
	err := c.do(ctx, "POST", "/v1/proofs", Prove{id}, &out)
	return out.Proof, err
}
