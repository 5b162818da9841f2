package sim

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Explain tells a scenario in plain English.
func (s *Scenario) Explain() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("%s", s.Title)
	say("")
	if s.About != "" {
		say("%s\n", strings.TrimSpace(s.About))
	}
	say("Who takes part")
	for _, site := range s.Mesh.Sites {
		say("  %s with %s.", site.Name, count(site.Devices, "device"))
	}
	for _, g := range s.Groups {
		say("  The group %q has %s as members.", g.Name, count(len(s.pick(g.Members)), "device"))
	}
	say("  Within a site: %s.", s.Mesh.Near.Words())
	if len(s.Mesh.Sites) > 1 {
		say("  Between sites: %s.", s.Mesh.Far.Words())
	}
	say("\nWhat is said")
	for _, w := range s.Workload {
		by := "each member"
		if len(w.By) > 0 {
			by = strings.Join(w.By, ", ")
		}
		say("  From minute %s to %s, %s sends %.4g %s messages an hour of %d bytes to %q.",
			minutes(w.From), minutes(w.To), by, w.PerHour, w.Priority, w.Bytes, w.Group)
	}
	say("\nWhat happens")
	if len(s.Timeline)+len(s.Adversaries) == 0 {
		say("  Nothing: a calm day.")
	}
	for i := range s.Timeline {
		e := &s.Timeline[i]
		say("  From minute %s to %s: %s.", minutes(e.At), minutes(e.Until), e.Words())
	}
	for _, a := range s.Adversaries {
		say("  From minute %s to %s: %s.", minutes(a.At), minutes(a.Until), a.Words())
	}
	say("  The story takes %s; then the mesh has %s to heal.", s.Duration, s.Heal)
	say("\nWhat must be so")
	for _, e := range s.Expect {
		say("  - %s.", e.Words())
	}
	for _, w := range invariantWords {
		say("  - %s (in every run).", w.words)
	}
	if len(s.Sometimes) > 0 {
		say("\nWithout this the run says nothing")
		for _, e := range s.Sometimes {
			say("  - %s.", e.Words())
		}
	}
	if len(s.Control) > 0 {
		say("\nA control run without %s must fail.", joined(s.Control))
	}
	return b.String()
}

func joined(defences []Defence) string {
	var out []string
	for _, d := range defences {
		out = append(out, d.Words())
	}
	return strings.Join(out, " and ")
}

// defenceWords say what defences are; what is none is not in it.
var defenceWords = map[Defence]string{
	DefenceSync:       "synchronisation between neighbours",
	DefenceAdmission:  "admission of neighbours by credential",
	DefenceConduct:    "cutting off neighbours for what they send",
	DefenceRevocation: "word of what the authority takes back",
	DefencePriority:   "urgency",
	DefenceSticks:     "what is carried on sticks",
	DefenceRelay:      "handing on by gossip what others said",
	DefenceHybrid:     "clocks that follow what was seen",
	DefenceRegistrar:  "an issuer that the mesh trusts",
}

// Words says what a defence is.
func (d Defence) Words() string { return defenceWords[d] }

func minutes(d time.Duration) string { return fmt.Sprintf("%.4g", d.Minutes()) }

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Words says what a link is like.
func (l Link) Words() string {
	var parts []string
	if l.Latency > 0 || l.Jitter > 0 {
		parts = append(parts, fmt.Sprintf("%s to %s one way", l.Latency, l.Latency+l.Jitter))
	}
	if l.Rate > 0 {
		parts = append(parts, fmt.Sprintf("%s a second", bits(l.Rate)))
	}
	if l.Loss > 0 {
		words := percent(l.Loss) + " lost"
		if l.Burst > 1 {
			words += fmt.Sprintf(", %.3g in a row", l.Burst)
		}
		parts = append(parts, words)
	}
	if l.Duplicate > 0 {
		parts = append(parts, percent(l.Duplicate)+" come twice")
	}
	if l.Corrupt > 0 {
		parts = append(parts, percent(l.Corrupt)+" spoilt")
	}
	if len(parts) == 0 {
		return "perfect"
	}
	return strings.Join(parts, ", ")
}

func bits(n int64) string {
	switch {
	case n >= 1_000_000:
		return fmt.Sprintf("%.4g Mbit", float64(n)/1e6)
	case n >= 1000:
		return fmt.Sprintf("%.4g kbit", float64(n)/1e3)
	}
	return fmt.Sprintf("%d bit", n)
}

// Words says in one clause what an event does.
func (e *Event) Words() string {
	list := func(names []string) string {
		if len(names) == 0 {
			return "all"
		}
		return strings.Join(names, ", ")
	}
	switch {
	case e.Partition != nil:
		var parts []string
		for _, p := range e.Partition.Parts {
			parts = append(parts, list(p))
		}
		switch e.Partition.Shape {
		case "one-way":
			return fmt.Sprintf("nothing passes from %s to %s, only back", parts[0], parts[1])
		case "ring":
			return fmt.Sprintf("each device of %s reaches only the two next to it", parts[0])
		}
		return "nothing passes between " + strings.Join(parts, " and ")
	case e.Degrade != nil:
		between := "the network of all"
		if len(e.Degrade.Between)+len(e.Degrade.And) > 0 {
			between = fmt.Sprintf("the network between %s and %s", list(e.Degrade.Between), list(e.Degrade.And))
		}
		return fmt.Sprintf("%s is worse: %s", between, e.Degrade.Link.Words())
	case e.Crash != nil:
		words := fmt.Sprintf("%s crash and start again afterwards", list(e.Crash.Devices))
		if e.Crash.Forget {
			words += ", without what they remembered of each other's addresses"
		}
		return words
	case e.Ransomware != nil:
		return fmt.Sprintf("ransomware takes up to %s of %s, one every %s, for good",
			percent(e.Ransomware.Share), list(e.Ransomware.Devices), e.Ransomware.Every)
	case e.Skew != nil:
		words := fmt.Sprintf("the clocks of %s are wrong by %s", list(e.Skew.Devices), e.Skew.By)
		if e.Skew.Strobe > 0 {
			words += fmt.Sprintf(", and right again, every %s", e.Skew.Strobe)
		}
		return words
	case e.Replay != nil:
		return fmt.Sprintf("packets of %s are recorded and sent once more at the end", list(e.Replay.Devices))
	case e.Surge != nil:
		return fmt.Sprintf("%.4g times as many messages", e.Surge.Times)
	case e.Revoke != nil:
		return fmt.Sprintf("the credentials of %s are taken back; the devices keep sending", list(e.Revoke.Devices))
	}
	return e.otherWords(list)
}

// otherWords are those of what is not of the network, nor of devices that only stop.
func (e *Event) otherWords(list func([]string) string) string {
	switch {
	case e.Clone != nil:
		return fmt.Sprintf("the disks of %s are copied; copies and originals both write", list(e.Clone.Devices))
	case e.Betray != nil && e.Betray.Into == liesCross:
		return fmt.Sprintf("%s go over to the enemy and say what others said as their own, in other groups", list(e.Betray.Devices))
	case e.Betray != nil:
		return fmt.Sprintf("%s go over to the enemy and sign two entries at each place of their logs", list(e.Betray.Devices))
	case e.Steal != nil:
		return fmt.Sprintf("%s are stolen unlocked; the thief reads and writes until they are revoked after %s", list(e.Steal.Devices), e.Steal.Noticed)
	case e.Rollback != nil:
		return fmt.Sprintf("%s brings an old list of revoked devices back", e.Rollback.By)
	case e.Expel != nil:
		return "the others take the partner organisation's authority, whose key was stolen, out of the mesh"
	case e.Churn != nil:
		return fmt.Sprintf("%s come and go: %s there and %s away in the mean", list(e.Churn.Devices), e.Churn.Up, e.Churn.Down)
	case e.Battery != nil:
		words := fmt.Sprintf("the batteries of %s last %s", list(e.Battery.Devices), e.Battery.Lasts)
		if e.Battery.Megabytes > 0 {
			words += fmt.Sprintf(" or %.3g MB of traffic", e.Battery.Megabytes)
		}
		return words + fmt.Sprintf(" and take %s to charge", e.Battery.Charge)
	case e.Contacts != nil:
		return fmt.Sprintf("%s walk about and reach only whom they meet", list(e.Contacts.Devices))
	case e.Carry != nil:
		return fmt.Sprintf("somebody carries a stick from %s to %s and back, every %s", e.Carry.From, e.Carry.To, e.Carry.Every)
	case e.Tamper != nil:
		return fmt.Sprintf("up to %s on each disk of %s are spoilt", strconv.Itoa(e.Tamper.Entries)+" entries", list(e.Tamper.Devices))
	case e.Disk != nil:
		return fmt.Sprintf(diskWords[e.Disk.Fault], list(e.Disk.Devices))
	case e.Enlist != nil:
		return fmt.Sprintf("%s come, admitted by the %s", count(e.Enlist.Count, "newcomer"), e.Enlist.By)
	}
	return "nothing"
}

// diskWords say how disks fail; what is none is not in it.
var diskWords = map[string]string{
	diskFull:      "the disks of %s are full: nothing more can be saved there",
	diskFailing:   "the disks of %s fail at the next write, and nothing can be saved there before a restart",
	diskForgetful: "the disks of %s say that they have saved and have not; then the power goes there",
}

// Words says in one clause what adversaries there are and what they do.
func (a Adversary) Words() string {
	words := fmt.Sprintf("%d %s", a.Count, adversaryKinds[a.Kind].words)
	switch {
	case a.Rate > 0:
		words += fmt.Sprintf(", %.4g a second each", a.Rate)
	case a.Delay > 0:
		words += fmt.Sprintf(", by %s", a.Delay)
	case a.Share > 0:
		words += fmt.Sprintf(": %s", percent(a.Share))
	case a.Turn > 0:
		words += fmt.Sprintf(", in minute %s", minutes(a.Turn))
	}
	if len(a.Victims) > 0 {
		words += "; they are after " + strings.Join(a.Victims, ", ")
	}
	return words
}
