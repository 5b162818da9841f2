package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"tocsin/node/api"
)

// killed is step 6: nothing happens between the acknowledgement and the kill.
func (d *demo) killed(ctx context.Context) error {
	dana := d.cast[3]
	sent, err := d.speak(ctx, dana, "stat", "Trauma call, resus one, two minutes out. Need anaesthetics now.")
	if err != nil {
		return err
	}
	if err := dana.node.kill(); err != nil {
		return err
	}
	if err := d.onDisk(ctx, dana, sent); err != nil {
		return err
	}
	d.checked("%s's node was killed as soon as it had said “saved”; her disk, read without a node, verifies and has the entry", dana.first())
	n, err := d.sealedOnDisk(ctx, dana)
	if err != nil {
		return err
	}
	d.checked("whoever takes that disk and the keys beside it reads %d entries, and in none of them a word", n)
	if dana.node, err = d.up(ctx, dana.dir, dana.secret, d.unsafe(), d.addresses(without(d.cast, dana), 3)); err != nil {
		return fmt.Errorf("%s's node does not start again: %w", dana.first(), err)
	}
	if err := d.reachEachOther(ctx, d.cast); err != nil {
		return err
	}
	if err := d.allRead(ctx, d.cast, sent); err != nil {
		return err
	}
	d.checked("it started again; all five have her message, once")
	next, err := d.speak(ctx, dana, "routine", "Node was down for a moment. Patient is in theatre.")
	if err != nil {
		return err
	}
	if next.Log != sent.Log || next.Seq <= sent.Seq {
		return fmt.Errorf("after the restart %s wrote entry %d, and %d was used already", dana.first(), next.Seq, sent.Seq)
	}
	if err := d.allRead(ctx, d.cast, next); err != nil {
		return err
	}
	d.checked("her next message continues the same log (entry %d after %d), and all accepted it", next.Seq, sent.Seq)
	return nil
}

// onDisk reads the data directory of a node that does not run.
func (d *demo) onDisk(ctx context.Context, c *clinician, s saying) error {
	var v verified
	if err := d.run(ctx, c.secret, &v, "log", "verify", "--data", c.dir); err != nil {
		return err
	}
	if !v.Offline || !v.Valid {
		return fmt.Errorf("the disk of %s does not verify: %+v", c.first(), v)
	}
	var own api.LogEntries
	err := d.run(ctx, c.secret, &own, "log", "show", "own", "--limit", "1000", "--data", c.dir)
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == exitNotFound) {
		return err
	}
	for _, e := range own.Entries {
		if e.Seq == s.Seq && e.ID == s.ID {
			return nil
		}
	}
	return fmt.Errorf("the message that was acknowledged as entry %d of %s is not on the disk, which has %d entries of that log",
		s.Seq, c.first(), len(own.Entries))
}
