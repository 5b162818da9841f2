package main

import (
	"context"
	"fmt"
	"path/filepath"

	"tocsin/node"
)

// stick is step 7: one node has no network, and a file carries messages there
// and back.
func (d *demo) stick(ctx context.Context) error {
	ben, chidi := d.cast[1], d.cast[2]
	if _, err := chidi.node.client.SetOnline(ctx, false); err != nil {
		return err
	}
	there, err := d.speak(ctx, ben, "urgent", "The coach carried school children. Paediatric team is on its way to you.")
	if err != nil {
		return err
	}
	file := filepath.Join(d.dir, "stick.tocsin")
	out, err := d.carry(ctx, ben, chidi, file, there)
	if err != nil {
		return err
	}
	d.checked("a stick from %s brought %s, who has no network, %s in %s: the message is there", ben.first(), chidi.first(), plural(out.Entries, "entry"), size(out.Bytes))
	back, err := d.speak(ctx, chidi, "urgent", "Four children, all walking. Send the team to the school hall.")
	if err != nil {
		return err
	}
	in, err := d.carry(ctx, chidi, ben, file, back)
	if err != nil {
		return err
	}
	d.checked("the stick came back with the answer and nothing that %s had already: %s in %s", ben.first(), plural(in.Entries, "entry"), size(in.Bytes))
	if err := d.allRead(ctx, without(d.cast, chidi), back); err != nil {
		return err
	}
	d.checked("from %s's node it spread to the others, while %s stayed cut off", ben.first(), chidi.first())
	_, err = chidi.node.client.SetOnline(ctx, true)
	return err
}

// carry exports from one node, imports into another, and waits until a message
// has arrived there.
func (d *demo) carry(ctx context.Context, from, to *clinician, file string, s saying) (node.BundleInfo, error) {
	var info node.BundleInfo
	if err := d.run(ctx, from.secret, &info, "bundle", "export", "--data", from.dir, file, "--to", to.name); err != nil {
		return info, err
	}
	var report node.BundleReport
	if err := d.run(ctx, to.secret, &report, "bundle", "import", "--data", to.dir, file); err != nil {
		return info, err
	}
	if report.Refused > 0 || report.Cut || report.Damaged > 0 || report.Creator != from.name {
		return info, fmt.Errorf("the stick of %s brought %+v", from.first(), report)
	}
	return info, d.allRead(ctx, []*clinician{to}, s)
}
