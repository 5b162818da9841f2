package record

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"tocsin/ledger"
	"tocsin/node/message"
)

// ErrExercise refuses to put an exercise into the medical record.
var ErrExercise = errors.New("record: an exercise never goes into the medical record; export it to a file instead")

// Unit is what is stored together or not at all: a message with everything that arises from it, one person, one place, the page.
type unit struct {
	key   string    // the fullUrl of its first resource
	id    ledger.ID // of the message; zero for people, places and the page
	size  int       // resources at most
	bytes int64     // of its file
	needs []int     // units that it points at
	make  func() ([]Entry, error)
	last  bool // it waits for all others

	state  unitState
	alone  bool // sent by itself: in a batch it was refused
	tries  int
	reason string // of refused
}

// unitState is where a unit stands.
type unitState uint8

const (
	unitWaiting  unitState = iota
	unitSent               // a request with it is under way
	unitAccepted           // the endpoint says that it has it
	unitDone               // it was read back
	unitRefused
)

// plan lists the units of an export, each after everything that it points at.
func (x *Export) plan() ([]*unit, error) {
	p := &planner{x: x, at: make(map[string]int)}
	for _, e := range x.directory() {
		p.add(&unit{size: 1, make: func() ([]Entry, error) { return []Entry{e}, nil }}, e.FullURL, pointed(e)...)
	}
	seen := make(map[ledger.ID]bool, len(x.items))
	for _, it := range x.items {
		p.message(it, seen)
	}
	p.page()
	return p.units, p.err
}

type planner struct {
	x     *Export
	units []*unit
	at    map[string]int // fullUrl → place in units
	err   error
}

func (p *planner) add(u *unit, key string, needs ...string) {
	u.key = key
	for _, url := range needs {
		i, ok := p.at[url]
		if !ok {
			p.err = fmt.Errorf("record: %s points at %s, which is not in the plan", key, url)
			return
		}
		if !slices.Contains(u.needs, i) {
			u.needs = append(u.needs, i)
		}
	}
	p.at[key] = len(p.units)
	p.units = append(p.units, u)
}

// page adds the page, which goes last and lists what was taken by now.
func (p *planner) page() {
	refused := func(it *item) bool {
		return p.units[p.at[urn(firstKind(it.Message.Content), it.id.String())]].state == unitRefused
	}
	p.add(&unit{size: 1, last: true, make: func() ([]Entry, error) {
		e, err := p.x.part(refused)
		return []Entry{e}, err
	}}, urn("Composition", p.x.index.group),
		urn("PractitionerRole", staffKey(p.x.in.By.Person)), p.x.orgRef(p.x.in.Custodian).Reference)
}

// message adds a message after those that it points at: an entry can only name entries that were there before, so this ends.
func (p *planner) message(it *item, seen map[ledger.ID]bool) {
	if seen[it.id] || p.err != nil {
		return
	}
	seen[it.id] = true
	needs := []string{urn("PractitionerRole", staffKey(it.Author.Person)), p.x.orgRef(it.Author.Person.Org).Reference, p.x.orgRef(p.x.in.Custodian).Reference,
		urn("Practitioner", practitionerKey(it.Author.Person))}
	for _, who := range peopleOf(it.Message) {
		needs = append(needs, urn("PractitionerRole", staffKey(who)))
	}
	if ref := p.x.patientRef(it); ref != nil {
		needs = append(needs, ref.Reference)
	}
	for _, id := range pointers(it.Message.Content) {
		if to, ok := p.x.index.items[ledger.ID(id)]; ok && to != it {
			p.message(to, seen)
			needs = append(needs, urn(firstKind(to.Message.Content), to.id.String()))
		}
	}
	size, bytes := 4, int64(0)
	switch c := it.Message.Content.(type) {
	case *message.Attachment:
		size, bytes = 5, c.Size
	case *message.Receipt, *message.Transferred, *message.Disclosed:
		size = 1
	}
	p.add(&unit{id: it.id, size: size, bytes: bytes, make: func() ([]Entry, error) { return p.x.unit(it) }},
		urn(firstKind(it.Message.Content), it.id.String()), needs...)
}

// pointers are the entries that a content points at.
func pointers(c message.Content) []message.EntryID {
	var out []message.EntryID
	message.Redirect(message.Message{Content: c}, func(id message.EntryID) message.EntryID {
		if id != (message.EntryID{}) {
			out = append(out, id)
		}
		return id
	})
	return out
}

var localReference = regexp.MustCompile(`"reference":"(urn:uuid:[0-9a-f-]{36})"`)

// pointed are the resources that an entry points at by name, in order, each once.
func pointed(e Entry) []string {
	raw, err := encode(e.Resource)
	if err != nil {
		return nil // it fails again, and is reported, when it is sent
	}
	var out []string
	for _, m := range localReference.FindAllSubmatch(raw, -1) {
		if url := string(m[1]); !slices.Contains(out, url) {
			out = append(out, url)
		}
	}
	return out
}

// builder writes one transaction Bundle. Files are not in it but named in it: they are read when it is sent.
type builder struct {
	parts parts
	own   map[string]bool
}

func newTransaction() *builder {
	return &builder{own: make(map[string]bool), parts: parts{{raw: []byte(`{"resourceType":"Bundle","type":"transaction","entry":[`)}}}
}

// add writes the entries of one unit, or none of them. A file is read once, to see that it is what its message says.
func (b *builder) add(entries []Entry) error {
	var raw bytes.Buffer
	var made parts
	w := newBundleWriter(&raw)
	w.begun = len(b.own) > 0
	for _, e := range entries {
		if e.content.open == nil || e.content.size <= inlineContent {
			if err := w.entry(e); err != nil {
				return err
			}
			continue
		}
		before, after, err := around(e)
		if err == nil {
			err = e.content.check()
		}
		if err = errors.Join(err, w.separate(), w.raw(before), w.w.Flush()); err != nil {
			return err
		}
		made = append(made, part{raw: bytes.Clone(raw.Bytes())}, part{file: e.content})
		raw.Reset()
		if err := w.raw(after); err != nil {
			return err
		}
	}
	if err := w.w.Flush(); err != nil {
		return err
	}
	b.parts = append(append(b.parts, made...), part{raw: raw.Bytes()})
	for _, e := range entries {
		b.own[e.FullURL] = true
	}
	return nil
}

// body is the whole Bundle. What stands in earlier transactions is pointed at where the endpoint put it.
func (b *builder) body(resolved map[string]string) (parts, error) {
	var lost error
	out := append(b.parts, part{raw: []byte("\n]}\n")})
	for i := range out {
		out[i].raw = localReference.ReplaceAllFunc(out[i].raw, func(m []byte) []byte {
			url := string(localReference.FindSubmatch(m)[1])
			if b.own[url] {
				return m
			}
			to, ok := resolved[url]
			if !ok {
				lost = fmt.Errorf("record: %s is pointed at and was not sent", url)
			}
			return []byte(`"reference":"` + to + `"`)
		})
	}
	return out, lost
}
