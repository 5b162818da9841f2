package inbox

import (
	"cmp"
	"slices"

	"tocsin/node/message"
)

// Where those who run an incident's group say both that it is live and that it is an exercise, one of them settles which it is, by a message that names
// every one of the other mode that they have seen (message.Incident.Overrules). The rules err on the side of keeping:
//
//   - live is settled by one person, for good: whoever says something else later changes nothing;
//   - an exercise is settled by one person beside another who has said so, and only while it names every message that says live: one that comes later
//     contests it anew. What belongs to an exercise may be erased without being in any record, so that no single person can make it of a live incident.

// claim is one message that would move an incident.
type claim struct {
	it   *Item
	said *message.Incident
}

// claims are all such messages of a conversation, in order.
func (c *conversation) claims() (out []claim) {
	contents(&c.boards, message.KindIncident, func(it *Item, said *message.Incident) { out = append(out, claim{it, said}) })
	return out
}

// verdict is the first message that settles which of two modes an incident has; nil for none.
func (c *conversation) verdict(all []claim) *claim {
	of := make(map[EntryID]message.Mode)
	for _, one := range all {
		if c.ran(one.it.From) {
			of[one.it.ID] = one.said.Mode
		}
	}
	var exercise *claim
	for i := range all {
		one := &all[i]
		switch {
		case !c.ran(one.it.From) || !one.it.From.Verified || !overrules(one.said, of):
		case one.said.Mode == message.Live:
			return one
		case exercise == nil && c.secondVoice(one.it, all) && namesAll(one.said, of, message.Live):
			exercise = one
		}
	}
	return exercise
}

// overrules reports whether a message names one of the other mode, of those who may say so.
func overrules(said *message.Incident, of map[EntryID]message.Mode) bool {
	return slices.ContainsFunc(said.Overrules, func(id message.EntryID) bool {
		mode, known := of[EntryID(id)]
		return known && mode != said.Mode
	})
}

// namesAll reports whether a message names every one of a mode.
func namesAll(said *message.Incident, of map[EntryID]message.Mode, mode message.Mode) bool {
	for id, is := range of {
		if is == mode && !slices.Contains(said.Overrules, message.EntryID(id)) {
			return false
		}
	}
	return true
}

// secondVoice reports whether somebody else than the author of a message, who may say so, calls the incident an exercise.
func (c *conversation) secondVoice(it *Item, all []claim) bool {
	return slices.ContainsFunc(all, func(one claim) bool {
		return one.said.Mode == message.Exercise && c.ran(one.it.From) && one.it.From.Verified && !samePerson(one.it.From, it.From)
	})
}

func (c *conversation) incident() (out Incident, ok bool) {
	all := c.claims()
	return c.incidentAs(all, c.verdict(all))
}

// incidentAs is the incident by what is claimed of it, where one of the claims may settle its mode.
func (c *conversation) incidentAs(all []claim, settles *claim) (out Incident, ok bool) {
	out = c.settled
	if settles != nil {
		settled := *settles.it
		out.Mode, out.Settled = settles.said.Mode, &settled
	}
	for i := range all {
		it, said := all[i].it, all[i].said
		step := IncidentStep{Item: *it, Content: said}
		switch {
		case settles != nil && said.Mode != out.Mode:
			step.Refused = "it was settled otherwise whether the incident is live or an exercise"
		case out.State != "" && said.Mode != out.Mode:
			step.Refused = "live or exercise is fixed when an incident is made"
			out.Contested = out.Contested || c.ran(it.From)
		case !c.ran(it.From):
			step.Refused = "its author does not run the group"
		case settles != nil && it.ID == settles.it.ID && (out.State == said.State || out.State == ""):
			out.Name, out.State = said.Name, said.State
			if out.Since.IsZero() {
				out.By, out.Since = it.From, it.Sent
			}
		case !out.State.May(said.State):
			step.Refused = "the incident cannot go there from where it stood"
		default:
			if out.State == "" {
				out.Name, out.Mode = said.Name, said.Mode
			}
			out.State, out.By, out.Since = said.State, it.From, it.Sent
		}
		out.Steps = append(out.Steps, step)
	}
	return out, out.State != ""
}

// Settling is the message by which somebody settles that a contested incident is of a mode: as it stands by those who say the same, naming those who
// say otherwise. The reason is the caller's. False where nobody contests it.
func (in *Inbox) Settling(id GroupID, mode message.Mode) (out *message.Incident, ok bool) {
	in.board(id, func(c *conversation) {
		all := c.claims()
		now, made := c.incidentAs(all, c.verdict(all))
		if !made || !now.Contested {
			return
		}
		out, ok = &message.Incident{Name: now.Name, Mode: mode, State: now.State}, true
		for _, one := range all {
			if one.said.Mode != mode && c.ran(one.it.From) {
				out.Overrules = append(out.Overrules, message.EntryID(one.it.ID))
			}
		}
		if as, stands := c.incidentAs(all, &claim{&Item{}, out}); stands {
			out.Name, out.State = cmp.Or(as.Name, out.Name), as.State
		}
	})
	return out, ok
}

func (c *conversation) checkSettling(s Saying, m *message.Incident) error {
	all := c.claims()
	if now, _ := c.incidentAs(all, c.verdict(all)); !now.Contested {
		return refuse("nobody who runs the group says anything else, so that there is nothing to settle")
	}
	from := s.From
	from.Verified = true // whose credential does not count sends nothing
	said := &claim{&Item{From: from}, m}
	all = append(all, *said)
	switch v := c.verdict(all); {
	case v == nil && m.Mode == message.Exercise && !c.secondVoice(said.it, all):
		return refuse("what belongs to an exercise may be erased without being in the record, so that it takes two people who run the group to say that this is one, and only you do: have somebody else who runs it settle it, or settle it as live")
	case v == nil:
		return refuse("it does not name every message that says otherwise: synchronise, look again, and settle it anew")
	}
	now, _ := c.incidentAs(all, said)
	if last := now.Steps[len(now.Steps)-1]; last.Refused != "" {
		return refuse("an incident that is settled stays where it stands; it is %s", incidentWords(now.State))
	}
	return nil
}
