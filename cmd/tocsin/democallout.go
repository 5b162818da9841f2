package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"tocsin/node"
	"tocsin/node/api"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// reply is what one person answers to the call-out.
type reply struct {
	answer message.Answer
	eta    int    // minutes, of who is coming
	skill  string // as which, "" for none of those asked for
}

// skillsAsked are those that the call-out asks for, in its order.
func skillsAsked() []string { return []string{"nurse", "surgeon", "anaesthetist"} }

// replies are what forty people answer: the cast but for who asks, and all who
// are on call.
func (d *demo) replies() map[string]reply {
	out := map[string]reply{
		d.cast[1].person(): {answer: message.AnswerComing, eta: 5, skill: "nurse"},
		d.cast[2].person(): {answer: message.AnswerCannot},
		d.cast[3].person(): {answer: message.AnswerLater},
		d.cast[4].person(): {answer: message.AnswerComing, eta: 20},
	}
	for i, c := range d.staff {
		switch i % 4 {
		case 0, 1:
			out[c.person()] = reply{message.AnswerComing, 5 + i, c.skill}
		case 2:
			out[c.person()] = reply{answer: message.AnswerLater, skill: c.skill}
		default:
			out[c.person()] = reply{answer: message.AnswerCannot}
		}
	}
	return out
}

// callOut is the step in which forty devices are asked once, and answer.
func (d *demo) callOut(ctx context.Context) error {
	amina := d.cast[0]
	d.staff = theStaff()
	if err := d.enrolStaff(ctx); err != nil {
		return err
	}
	if err := d.untilWithin(ctx, crowdPatience, func(ctx context.Context) (string, error) { return d.allReady(ctx, amina) }); err != nil {
		return err
	}
	d.checked("%d more devices were certified by their hospitals and joined; their %d nodes run in one process, each with vault, logs and ports of its own: with the five, %d nodes",
		len(d.staff), len(d.staff), len(d.staff)+len(d.cast))
	spec := node.GroupSpec{Kind: "team", Name: onCallName}
	for person := range d.replies() {
		spec.Members = append(spec.Members, person)
	}
	slices.Sort(spec.Members)
	g, err := amina.node.client.CreateGroup(ctx, spec)
	if err != nil {
		return err
	}
	prose := []string{"Can you come in for a major incident?", "Northgate, ambulance entrance"}
	args := append([]string{"callout", "ask", onCallName}, prose...)
	for _, s := range skillsAsked() {
		args = append(args, "-f", "skills="+s)
	}
	asked, err := d.sayBy(ctx, amina, prose, args...)
	if err != nil {
		return err
	}
	if err := d.untilWithin(ctx, crowdPatience, func(ctx context.Context) (string, error) { return d.allAsked(ctx, g.ID, asked.ID) }); err != nil {
		return err
	}
	d.checked("%s asked once; the question stands on forty other devices", amina.first())
	if err := d.answerAll(ctx, g.ID, asked.ID); err != nil {
		return err
	}
	return d.enough(ctx, g.ID, asked.ID)
}

// allReady says whom a device cannot seal a message to yet, and what it lacks of them.
func (d *demo) allReady(ctx context.Context, c *clinician) (string, error) {
	people, err := c.node.client.People(ctx)
	if err != nil {
		return "", err
	}
	lacks := make(map[string]string)
	for person := range d.replies() {
		lacks[person] = "never heard of"
	}
	for _, p := range people {
		person := p.Org + "/" + p.Regulator + "/" + p.Number
		switch _, asked := lacks[person]; {
		case !asked:
		case p.Valid && p.Ready:
			delete(lacks, person)
		case p.Valid:
			lacks[person] = "without keys"
		default:
			lacks[person] = p.Standing.State
		}
	}
	if len(lacks) == 0 {
		return "", nil
	}
	first := slices.Min(slices.Collect(maps.Keys(lacks)))
	return fmt.Sprintf("%s's node has no keys of %s, of them %s: %s", c.first(), plural(len(lacks), "device"), first, lacks[first]), nil
}

// allAsked says on which device the question does not stand yet.
func (d *demo) allAsked(ctx context.Context, group, id string) (string, error) {
	for _, c := range d.cast[1:] {
		b, err := c.node.client.Board(ctx, group)
		if err != nil && !errors.Is(err, api.ErrNotFound) {
			return "", err
		}
		if len(b.CallOuts) != 1 || b.CallOuts[0].Message.ID != id {
			return c.first() + " was not asked", nil
		}
	}
	for _, c := range d.staff {
		_, err := c.node.CallOut(id)
		if errors.Is(err, node.ErrNotFound) {
			return c.name + " was not asked", nil
		}
		if err != nil {
			return "", err
		}
	}
	return "", nil
}

// answerAll answers in two waves, and looks at the tally after each. One person
// changes their mind.
func (d *demo) answerAll(ctx context.Context, group, id string) error {
	amina, plan := d.cast[0], d.replies()
	said := make(map[string]reply)
	half := len(d.staff) / 2
	if err := d.answerStaff(ctx, group, id, d.staff[:half], said); err != nil {
		return err
	}
	for _, c := range d.cast[1:] {
		r := plan[c.person()]
		args := []string{"callout", "answer", onCallName, id[:16], string(r.answer)}
		if r.answer == message.AnswerComing {
			args = append(args, strconv.Itoa(r.eta), "-f", "skill="+r.skill)
		}
		if _, err := d.sayBy(ctx, c, nil, args...); err != nil {
			return err
		}
		said[c.person()] = r
	}
	if err := d.tallies(ctx, group, id, said); err != nil {
		return err
	}
	d.checked("%d had answered; %s's tally had each of them, and %d to come", len(said), amina.first(), len(plan)-len(said))
	wavering := d.staff[half] // answers first what they do not keep to
	if err := d.answer(ctx, wavering, group, id, reply{answer: message.AnswerCannot}); err != nil {
		return err
	}
	if err := d.answerStaff(ctx, group, id, d.staff[half:], said); err != nil {
		return err
	}
	return d.tallies(ctx, group, id, said)
}

// answerStaff has some of the staff answer as planned.
func (d *demo) answerStaff(ctx context.Context, group, id string, who []*colleague, said map[string]reply) error {
	plan := d.replies()
	for _, c := range who {
		said[c.person()] = plan[c.person()]
	}
	return together(len(who), func(i int) error { return d.answer(ctx, who[i], group, id, plan[who[i].person()]) })
}

func (d *demo) answer(ctx context.Context, c *colleague, group, id string, r reply) error {
	content := new(message.CallOutAnswer)
	form := map[string][]string{"call-out": {id}, "answer": {string(r.answer)}, "skill": {r.skill}}
	if r.answer == message.AnswerComing {
		form["eta"] = []string{strconv.Itoa(r.eta)}
	}
	if err := message.Fill(content, form); err != nil {
		return err
	}
	_, err := c.node.Send(ctx, group, message.Message{Sent: d.now(), Content: content}, "urgent")
	return err
}

// tallies waits until the tally of who asked is exactly what was said.
func (d *demo) tallies(ctx context.Context, group, id string, said map[string]reply) error {
	return d.untilWithin(ctx, crowdPatience, func(ctx context.Context) (string, error) {
		b, err := d.cast[0].node.client.Board(ctx, group)
		if err != nil {
			return "", err
		}
		if len(b.CallOuts) != 1 || b.CallOuts[0].Message.ID != id {
			return "", errors.New("the call-out does not stand on the board of who asked")
		}
		return wrongTally(b.CallOuts[0], said, len(d.replies())), nil
	})
}

// wrongTally says where a tally is not exactly what was said by so many who
// were asked: one by one, by skill, and how many are silent.
func wrongTally(c api.CallOut, said map[string]reply, asked int) string {
	want, skills := make(map[message.Answer]int), make(map[string]int)
	for _, r := range said {
		want[r.answer]++
		if r.answer == message.AnswerComing {
			skills[r.skill]++
		}
	}
	got := map[message.Answer]int{message.AnswerComing: len(c.Coming), message.AnswerLater: len(c.Later), message.AnswerCannot: len(c.Cannot)}
	for answer, n := range got {
		if n != want[answer] {
			return fmt.Sprintf("the tally has %d %s, and %d said so", n, answer, want[answer])
		}
	}
	logs := make(map[string]bool)
	for _, a := range slices.Concat(c.Coming, c.Later, c.Cannot) {
		logs[a.From.Log] = true
	}
	if len(logs) != len(said) {
		return fmt.Sprintf("the answers are of %d devices, not %d", len(logs), len(said))
	}
	for _, s := range c.Skills {
		if s.Coming != skills[s.Skill] {
			return fmt.Sprintf("the tally has %d coming as %q, and %d said so", s.Coming, s.Skill, skills[s.Skill])
		}
		delete(skills, s.Skill)
	}
	if left := slices.Collect(maps.Keys(skills)); len(left) > 0 {
		return fmt.Sprintf("nobody is tallied as %s", strings.Join(left, ", "))
	}
	if c.Silent != asked-len(said) {
		return fmt.Sprintf("%d are silent, not %d", c.Silent, asked-len(said))
	}
	return ""
}

// enough closes the call-out: all stand by, and later answers are refused.
func (d *demo) enough(ctx context.Context, group, id string) error {
	amina := d.cast[0]
	g, err := amina.node.client.Group(ctx, group)
	if err != nil {
		return err
	}
	if g.Count != 1 || g.Unread != 0 {
		return fmt.Errorf("the answers stand in the conversation: %d messages, %d of them unread", g.Count, g.Unread)
	}
	b, err := amina.node.client.Board(ctx, group)
	if err != nil {
		return err
	}
	c := b.CallOuts[0]
	d.checked("forty devices answered with entries of their own; the tally has each person once, also who changed their mind: %d coming, %d later, %d cannot; none of it is chat",
		len(c.Coming), len(c.Later), len(c.Cannot))
	if _, err := d.sayBy(ctx, amina, nil, "callout", "close", onCallName, id[:16]); err != nil {
		return err
	}
	if err := d.untilWithin(ctx, crowdPatience, func(context.Context) (string, error) { return d.differingTally(id, c) }); err != nil {
		return err
	}
	late := d.staff[0]
	err = d.answer(ctx, late, group, id, reply{answer: message.AnswerLater})
	if !errors.Is(err, node.ErrInvalid) || !strings.Contains(err.Error(), "stand by") {
		return fmt.Errorf("an answer after “enough” was not refused: %w", errors.Join(err, errors.New("it was taken")))
	}
	d.checked("“enough” closed it on every device, with the same tally on all of them; whoever answers now is told to stand by")
	return nil
}

// differingTally names a device on which the call-out is open, or counted otherwise.
func (d *demo) differingTally(id string, want api.CallOut) (string, error) {
	for _, c := range d.staff {
		out, err := c.node.CallOut(id)
		if err != nil {
			return "", err
		}
		if missing := unlike(out, want); missing != "" {
			return fmt.Sprintf("on the device of %s: %s", c.name, missing), nil
		}
	}
	return "", nil
}

func unlike(out inbox.CallOut, want api.CallOut) string {
	switch {
	case out.Closed == nil:
		return "the call-out is open"
	case len(out.Coming) != len(want.Coming) || len(out.Later) != len(want.Later) || len(out.Cannot) != len(want.Cannot):
		return fmt.Sprintf("%d coming, %d later, %d cannot", len(out.Coming), len(out.Later), len(out.Cannot))
	}
	return ""
}
