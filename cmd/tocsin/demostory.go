package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"tocsin/mesh"
	"tocsin/node"
	"tocsin/node/api"
)

// meet is step 2: each node is started with an address of every node before it,
// by QUIC and TCP in turn.
func (d *demo) meet(ctx context.Context) error {
	for i, c := range d.cast {
		var err error
		if c.node, err = d.up(ctx, c.dir, c.secret, d.unsafe(), d.addresses(d.cast[:i], i)); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	d.checked("five processes run; each is locked to its own passphrase and listens on a port of its own")
	if err := d.reachEachOther(ctx, d.cast); err != nil {
		return err
	}
	by := make(map[string]int)
	for _, c := range d.cast {
		peers, err := c.node.client.Peers(ctx)
		if err != nil {
			return err
		}
		for _, p := range peers {
			by[p.Transport]++
		}
	}
	d.checked("every node admitted the four others in the handshake itself (connections by QUIC: %d, by TCP: %d)", by["quic"]/2, by["tcp"]/2)
	if err := d.until(ctx, func(ctx context.Context) (string, error) { return d.strangersAmong(ctx, d.cast) }); err != nil {
		return err
	}
	d.checked("every node holds the five credentials, and keys to seal to each of them")
	return nil
}

// addresses returns one address of each running node, transports in turn.
func (d *demo) addresses(of []*clinician, turn int) []string {
	var out []string
	for i, c := range of {
		out = append(out, c.node.address([]string{"quic-v1", "tcp"}[(i+turn)%2]))
	}
	return out
}

// reachEachOther waits until each node is connected to all others.
func (d *demo) reachEachOther(ctx context.Context, nodes []*clinician) error {
	return d.until(ctx, func(ctx context.Context) (string, error) {
		for _, c := range nodes {
			st, err := c.node.client.Status(ctx)
			if err != nil {
				return "", err
			}
			if st.Peers < len(nodes)-1 {
				return fmt.Sprintf("%s's node reaches %d of %d others", c.first(), st.Peers, len(nodes)-1), nil
			}
		}
		return "", nil
	})
}

// strangersAmong names a device that another does not know well enough to seal
// a message to it.
func (d *demo) strangersAmong(ctx context.Context, nodes []*clinician) (string, error) {
	for _, c := range nodes {
		people, err := c.node.client.People(ctx)
		if err != nil {
			return "", err
		}
		ready := 0
		for _, p := range people {
			if p.Valid && (p.Ready || p.Self) {
				ready++
			}
		}
		if ready < len(nodes) {
			return fmt.Sprintf("%s's node knows %d of %d devices", c.first(), ready, len(nodes)), nil
		}
	}
	return "", nil
}

// declare is step 3.
func (d *demo) declare(ctx context.Context) error {
	amina := d.cast[0]
	spec := node.GroupSpec{Kind: "incident", Name: incidentName}
	for _, c := range d.cast[1:] {
		spec.Members = append(spec.Members, c.person())
	}
	g, err := amina.node.client.CreateGroup(ctx, spec)
	if err != nil {
		return err
	}
	d.group = g.ID
	d.checked("%s made the incident “%s” with four others of both hospitals", amina.first(), spec.Name)
	sent, err := d.speak(ctx, amina, "urgent", "Coach on its side, forty aboard. Northgate takes the red casualties, St Mary's the yellow.")
	if err != nil {
		return err
	}
	if err := d.noReadableWord(ctx, amina); err != nil {
		return err
	}
	d.checked("%s sent an urgent message; it was on her disk before it left, and no file or metric of her node holds a readable word of it", amina.first())
	if err := d.allRead(ctx, d.cast, sent); err != nil {
		return err
	}
	d.checked("all five read the same words, once, from a verified sender")
	if err := d.delivered(ctx, amina, sent, len(d.cast)-1); err != nil {
		return err
	}
	d.checked("signed receipts of all four devices came back to %s", amina.first())
	return d.report(ctx)
}

// saying is a message that was acknowledged to its sender.
type saying struct {
	node.Sent
	from *clinician
	text string
}

// speak sends one message. It returns when the sender's node says it is saved.
func (d *demo) speak(ctx context.Context, c *clinician, priority, text string) (saying, error) {
	d.said = append(d.said, text)
	sent, err := c.node.client.Send(ctx, d.group, api.SendText{Text: text, Priority: priority})
	if err != nil {
		return saying{}, fmt.Errorf("%s could not send: %w", c.first(), err)
	}
	return saying{sent, c, text}, nil
}

// allRead waits until each of some holds the message, and checks what is shown.
func (d *demo) allRead(ctx context.Context, who []*clinician, s saying) error {
	return d.until(ctx, func(ctx context.Context) (string, error) {
		for _, c := range who {
			if missing, err := d.hasRead(ctx, c, s); missing != "" || err != nil {
				return missing, err
			}
		}
		return "", nil
	})
}

func (d *demo) hasRead(ctx context.Context, c *clinician, s saying) (missing string, err error) {
	found, err := d.find(ctx, c, s)
	if err != nil {
		return "", err
	}
	switch {
	case len(found) == 0:
		return fmt.Sprintf("%s does not have the message of %s", c.first(), s.from.first()), nil
	case len(found) > 1:
		return "", fmt.Errorf("%s was shown the message of %s %d times", c.first(), s.from.first(), len(found))
	}
	m := found[0]
	switch {
	case m.Text != s.text:
		return "", fmt.Errorf("%s was shown other words than %s sent", c.first(), s.from.first())
	case m.Log != s.Log || m.From.Name != s.from.name || !m.From.Verified:
		return "", fmt.Errorf("%s was shown the message of %s as coming from %q", c.first(), s.from.first(), m.From.Name)
	case !m.Provable:
		return "", fmt.Errorf("%s was shown a message of %s that cannot be proved", c.first(), s.from.first())
	}
	return "", nil
}

// find returns what is shown to c under the id of the message: once or not at
// all, if all is well.
func (d *demo) find(ctx context.Context, c *clinician, s saying) ([]api.Message, error) {
	page, err := c.node.client.Messages(ctx, d.group, -100, 100)
	if errors.Is(err, api.ErrNotFound) {
		return nil, nil // the group has not reached this node yet
	}
	if err != nil {
		return nil, err
	}
	var found []api.Message
	for _, m := range page.Messages {
		if m.ID == s.ID {
			found = append(found, m)
		}
	}
	return found, nil
}

// delivered waits for the signed receipts of so many devices.
func (d *demo) delivered(ctx context.Context, c *clinician, s saying, devices int) error {
	return d.until(ctx, func(ctx context.Context) (string, error) {
		found, err := d.find(ctx, c, s)
		if err != nil || len(found) != 1 {
			return "the message is not shown to its sender", err
		}
		if found[0].Delivered < devices {
			return fmt.Sprintf("%s has receipts of %d of %d devices", c.first(), found[0].Delivered, devices), nil
		}
		return "", nil
	})
}

// gossipMemory is how long a message may still come by gossip alone. Being cut
// off for longer leaves nothing but synchronisation.
func gossipMemory() time.Duration {
	p := mesh.GossipParams()
	return time.Duration(p.HistoryLength+1) * p.HeartbeatInterval
}

// cutOff is step 5.
func (d *demo) cutOff(ctx context.Context) error {
	chidi, ben := d.cast[2], d.cast[1]
	if _, err := chidi.node.client.SetOnline(ctx, false); err != nil {
		return err
	}
	rest := without(d.cast, chidi)
	if err := d.until(ctx, func(ctx context.Context) (string, error) {
		for _, c := range d.cast {
			st, err := c.node.client.Status(ctx)
			want := len(rest) - 1
			if c == chidi {
				want = 0
			}
			if err != nil || st.Peers != want {
				return fmt.Sprintf("%s's node still reaches %d others, not %d", c.first(), st.Peers, want), err
			}
		}
		return "", nil
	}); err != nil {
		return err
	}
	d.checked("%s's node is cut off: it reaches nobody, and nobody reaches it", chidi.first())
	missed, err := d.sayWhileApart(ctx, ben, chidi, rest)
	if err != nil {
		return err
	}
	if _, err := chidi.node.client.SetOnline(ctx, true); err != nil {
		return err
	}
	for _, s := range missed {
		if err := d.allRead(ctx, d.cast, s); err != nil {
			return err
		}
	}
	d.checked("back in reach, %s has what was missed, and the others have what %s wrote alone", chidi.first(), chidi.first())
	return nil
}

// sayWhileApart sends messages on both sides and checks that neither crosses.
func (d *demo) sayWhileApart(ctx context.Context, ben, chidi *clinician, rest []*clinician) ([]saying, error) {
	var all []saying
	for _, text := range []string{
		"Theatre two is ready at Northgate, send the crush injury first.",
		"Blood bank has twelve units of O negative left.",
	} {
		s, err := d.speak(ctx, ben, "routine", text)
		if err != nil {
			return nil, err
		}
		if err := d.allRead(ctx, rest, s); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	alone, err := d.speak(ctx, chidi, "urgent", "Last casualty is out of the coach. Two more walking wounded on the verge.")
	if err != nil {
		return nil, err
	}
	wait := gossipMemory()
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	for _, s := range all {
		if found, err := d.find(ctx, chidi, s); err != nil || len(found) > 0 {
			return nil, errors.Join(err, fmt.Errorf("a message of %s reached %s, who is cut off", ben.first(), chidi.first()))
		}
	}
	for _, c := range rest {
		if found, err := d.find(ctx, c, alone); err != nil || len(found) > 0 {
			return nil, errors.Join(err, fmt.Errorf("a message of %s, who is cut off, reached %s", chidi.first(), c.first()))
		}
	}
	d.checked("%s missed two messages and saved one; all of them are %.0f s old, longer than gossip remembers", chidi.first(), wait.Seconds())
	return append(all, alone), nil
}

func without(all []*clinician, one *clinician) []*clinician {
	var rest []*clinician
	for _, c := range all {
		if c != one {
			rest = append(rest, c)
		}
	}
	return rest
}

// verifyAll is the last step.
func (d *demo) verifyAll(ctx context.Context) error {
	if err := d.endStaff(); err != nil {
		return err
	}
	if err := d.until(ctx, d.differing); err != nil {
		return err
	}
	var last verified
	for _, c := range d.cast {
		if err := d.run(ctx, c.secret, &last, "log", "verify", "--data", c.dir); err != nil {
			return fmt.Errorf("%s: %w", c.first(), err)
		}
		if !last.Valid || last.Forks > 0 || last.Logs != len(d.cast)+len(d.staff) {
			return fmt.Errorf("the logs of %s do not verify: %+v", c.first(), last)
		}
	}
	d.checked("all five nodes hold the same %d entries in %d logs; every encoding, hash, link and signature verifies, and no log forked", last.Entries, last.Logs)
	for _, c := range d.cast {
		if err := d.noReadableWord(ctx, c); err != nil {
			return err
		}
	}
	d.checked("none of the %d messages is readable in any file, log or metric of any node, nor as base64, hexadecimal or UTF-16", len(d.said))
	return nil
}

// differing names a node whose logs end elsewhere than the first one's.
func (d *demo) differing(ctx context.Context) (string, error) {
	var first string
	for i, c := range d.cast {
		logs, err := c.node.client.Logs(ctx)
		if err != nil {
			return "", err
		}
		var heads []string
		for _, l := range logs {
			heads = append(heads, l.Log+" "+l.Head)
		}
		all := strings.Join(heads, "\n")
		if i == 0 {
			first = all
		}
		if all != first {
			return fmt.Sprintf("%s's node holds other entries than %s's", c.first(), d.cast[0].first()), nil
		}
	}
	return "", nil
}
