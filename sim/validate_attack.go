package sim

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// defenceNames are all defences, for people.
func defenceNames() string {
	var out []string
	for _, d := range slices.Sorted(maps.Keys(defenceWords)) {
		out = append(out, string(d))
	}
	return strings.Join(out, ", ")
}

// attack checks an event of a device that goes astray, moves, comes or is spoilt.
func (c *checker) attack(path string, e *Event) {
	length := func(key string, d, most time.Duration) {
		if d <= 0 || d > most {
			c.add(path+"."+key, "it takes more than 0 and at most %s, not %s", most, d)
		}
	}
	switch {
	case e.Clone != nil:
		c.devices(path+".devices", e.Clone.Devices)
		c.site(path, e.Clone.Site, true)
	case e.Betray != nil:
		c.devices(path+".devices", e.Betray.Devices)
		c.site(path, e.Betray.Site, true)
		if e.Betray.Into != liesFork && e.Betray.Into != liesCross {
			c.add(path+".into", "%q is no way to lie: fork or cross", e.Betray.Into)
		}
		if e.Betray.Into == liesCross && e.Betray.Site != "" {
			c.add(path+".site", "only a fork is told at two sites")
		}
	case e.Steal != nil:
		c.devices(path+".devices", e.Steal.Devices)
		if e.Steal.Noticed <= 0 || e.At+e.Steal.Noticed >= e.Until {
			c.add(path+".noticed", "the loss must be noticed after it and before the event ends, not after %s", e.Steal.Noticed)
		}
	case e.Rollback != nil:
		c.one(path+".by", e.Rollback.By)
		before := 0
		for _, o := range c.s.Timeline {
			if o.Revoke != nil && o.At < e.At || o.Steal != nil && o.At+o.Steal.Noticed < e.At {
				before++
			}
		}
		if before < 2 {
			c.add(path, "there is an old list only after two events that revoke, not after %d", before)
		}
	case e.Expel != nil:
		if e.Expel.Authority != "partner" {
			c.add(path+".authority", "%q cannot be taken out: write partner", e.Expel.Authority)
		}
	case e.Churn != nil:
		c.devices(path+".devices", e.Churn.Devices)
		length("up", e.Churn.Up, maxDuration)
		length("down", e.Churn.Down, maxDuration)
	case e.Battery != nil:
		c.devices(path+".devices", e.Battery.Devices)
		length("lasts", e.Battery.Lasts, maxDuration)
		length("charge", e.Battery.Charge, maxDuration)
		if !(e.Battery.Megabytes >= 0 && e.Battery.Megabytes <= 1e6) {
			c.add(path+".megabytes", "a battery is good for 0 to 1000000 MB, not %v", e.Battery.Megabytes)
		}
	case e.Contacts != nil:
		c.contacts(path, e.Contacts)
	case e.Carry != nil:
		c.one(path+".from", e.Carry.From)
		c.one(path+".to", e.Carry.To)
		length("every", e.Carry.Every, maxDuration)
		if e.Carry.Walk < 0 || e.Carry.Walk > maxDuration {
			c.add(path+".walk", "a walk takes 0 to %s, not %s", maxDuration, e.Carry.Walk)
		}
		if e.Carry.From == e.Carry.To {
			c.add(path+".to", "a stick is carried to another device")
		}
	case e.Tamper != nil:
		c.devices(path+".devices", e.Tamper.Devices)
		if e.Tamper.Entries < 1 || e.Tamper.Entries > 10_000 {
			c.add(path+".entries", "1 to 10000 entries are spoilt, not %d", e.Tamper.Entries)
		}
	case e.Enlist != nil:
		c.enlist(path, e.Enlist)
	case e.Disk != nil:
		c.devices(path+".devices", e.Disk.Devices)
		if diskWords[e.Disk.Fault] == "" {
			c.add(path+".fault", "%q is no fault of a disk: full, failing or forgetful", e.Disk.Fault)
		}
	}
}

func (c *checker) contacts(path string, s *Contacts) {
	c.devices(path+".devices", s.Devices)
	if len(s.Plan) == 0 {
		c.add(path+".plan", "say whom they meet, and when")
	}
	end := maxDuration
	if s.Repeat > 0 {
		end = s.Repeat
	}
	for _, m := range s.Plan {
		c.devices(path+".plan", m.With)
		if m.At < 0 || m.Until <= m.At || m.Until > end {
			c.add(path+".plan", "a meeting from %s to %s lies not within %s", m.At, m.Until, end)
		}
	}
	if s.Repeat < 0 || s.Repeat > maxDuration {
		c.add(path+".repeat", "a plan begins anew after at most %s, not %s", maxDuration, s.Repeat)
	}
}

func (c *checker) enlist(path string, s *Enlist) {
	if !oneOf(s.By, "authority", "registrar") {
		c.add(path+".by", "%q admits nobody: authority or registrar", s.By)
	}
	if s.Count < 1 || s.Count+c.s.Devices() > MaxFull {
		c.add(path+".count", "at least one newcomer comes, and no more than %d devices are there, not %d more", MaxFull, s.Count)
	}
	c.site(path, s.Site, false)
}

// site checks the name of a site.
func (c *checker) site(path, name string, empty bool) {
	if empty && name == "" {
		return
	}
	if !slices.ContainsFunc(c.s.Mesh.Sites, func(s Site) bool { return s.Name == name }) {
		c.add(path+".site", "there is no site %q", name)
	}
}

// one checks the name of exactly one device.
func (c *checker) one(path, name string) {
	if found, err := c.s.find(name); err != nil || len(found) != 1 {
		c.add(path, "%q is not one device: write it as site/number", name)
	}
}
