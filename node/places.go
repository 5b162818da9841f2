package node

import (
	"slices"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// places are the messages that are shown here, by where their first entries stand:
// receipts name them so.
type places struct {
	logs  map[[8]byte]*placed
	early map[earlyPlace][]late   // receipts that name a message which is not here yet
	held  int                     // of early
	by    map[identity.LogID]int  // of early, by whose receipts they are
	from  map[ledger.ID]int       // of early, by the entry that brought them
	cut   map[identity.LogID]bool // whose receipts found no room
}

// late is what waits for the message of one place.
type late struct {
	from  *opened     // the entry of receipts, without its payload
	run   *receiptRun // of it
	whole bool        // the place is the run's last, by which it is judged; else one that it names, and it was
}

// placed are the messages of one log, in its order.
type placed struct {
	log  identity.LogID
	seqs []uint64
	ids  []ledger.ID
}

type earlyPlace struct {
	log [8]byte
	seq uint64
}

const (
	// maxEarly bounds the places of receipts that came before what they are about.
	// Those beyond are read from the vault again when there is room.
	maxEarly = 1 << 18
	// maxEarlyOf does so for the receipts of one device, so that none takes the room
	// of others.
	maxEarlyOf = 1 << 13
)

func newPlaces() *places {
	return &places{
		logs: make(map[[8]byte]*placed), early: make(map[earlyPlace][]late),
		by: make(map[identity.LogID]int), from: make(map[ledger.ID]int), cut: make(map[identity.LogID]bool),
	}
}

// put notes a message, and returns the receipts that waited for it.
func (p *places) put(log identity.LogID, seq uint64, id ledger.ID) []late {
	short := log.Short()
	at := p.logs[short]
	if at == nil {
		at = &placed{log: log}
		p.logs[short] = at
	}
	i, known := slices.BinarySearch(at.seqs, seq)
	if !known {
		at.seqs, at.ids = slices.Insert(at.seqs, i, seq), slices.Insert(at.ids, i, id)
	}
	key := earlyPlace{short, seq}
	waited := p.early[key]
	delete(p.early, key)
	p.held -= len(waited)
	for _, l := range waited {
		lessen(p.by, l.from.log)
		lessen(p.from, l.from.rec.id)
	}
	return waited
}

// get returns the message of which the first entry stands at a place.
func (p *places) get(log [8]byte, seq uint64) (ledger.ID, bool) {
	at := p.logs[log]
	if at == nil {
		return ledger.ID{}, false
	}
	i, ok := slices.BinarySearch(at.seqs, seq)
	if !ok {
		return ledger.ID{}, false
	}
	return at.ids[i], true
}

func lessen[K comparable](of map[K]int, key K) {
	if of[key]--; of[key] <= 0 {
		delete(of, key)
	}
}

// wait keeps a name of a run, or a whole one, until a message comes to a place.
func (p *places) wait(log [8]byte, seq uint64, l late) {
	if p.held >= maxEarly || p.by[l.from.log] >= maxEarlyOf {
		p.cut[l.from.log] = true
		return
	}
	key := earlyPlace{log, seq}
	p.early[key] = append(p.early[key], l)
	p.held++
	p.by[l.from.log]++
	p.from[l.from.rec.id]++
}

// room returns whose receipts found no room and would find some now, and forgets
// that they did not.
func (p *places) room() (of []identity.LogID) {
	for log := range p.cut {
		if p.held <= maxEarly/2 && p.by[log] <= maxEarlyOf/2 {
			of = append(of, log)
			delete(p.cut, log)
		}
	}
	return of
}

// tell gives an inbox what an entry of receipts says, and reports whether that
// changes anything. it says who wrote the entry, and where; at finds an entry that
// is held but of which no message is shown. What is about a message that is not here
// yet waits for it.
func (p *places) tell(in *inbox.Inbox, it inbox.Item, o opened, at func(log [8]byte, seq uint64) (ledger.ID, bool)) (changed bool) {
	runs, err := parseReceipts(o.rec.payload)
	if err != nil {
		return false // it was read when it was kept
	}
	again := p.from[o.rec.id] > 0 // what of it is not here waits already
	rec := *o.rec
	rec.payload = nil
	from := &opened{log: o.log, seq: o.seq, rec: &rec}
	for i := range runs {
		changed = showReceipts(in, it, &runs[i], p.named(&runs[i], from, again, at)) || changed
	}
	return changed
}

// tellLate is tell for what waited for one message, which is here now.
func (p *places) tellLate(in *inbox.Inbox, it inbox.Item, l late, id ledger.ID, at func(log [8]byte, seq uint64) (ledger.ID, bool)) (changed bool) {
	if l.whole {
		return showReceipts(in, it, l.run, p.named(l.run, l.from, false, at))
	}
	return showReceipts(in, it, l.run, []message.EntryID{message.EntryID(id)})
}

// showReceipts gives an inbox what a run says of some messages.
func showReceipts(in *inbox.Inbox, it inbox.Item, r *receiptRun, ids []message.EntryID) bool {
	if len(ids) == 0 {
		return false
	}
	it.Message = message.NewReceipt(stateOf(r.owed), ids, it.Received)
	return in.ApplyReceipt(it).New
}

// named returns the messages that a run names and that are here; the others wait,
// unless they do so already (again). It names none if its last entry is not what
// stands here: whoever signed the receipt has seen another branch of the log.
func (p *places) named(r *receiptRun, from *opened, again bool, at func(log [8]byte, seq uint64) (ledger.ID, bool)) []message.EntryID {
	wait := func(seq uint64, whole bool) {
		if !again {
			p.wait(r.log, seq, late{from, r, whole})
		}
	}
	last := r.lastSeq()
	id, here := p.get(r.log, last)
	if !here {
		if id, here = at(r.log, last); !here {
			wait(last, true)
			return nil
		}
	}
	if !r.names(id) {
		return nil
	}
	var ids []message.EntryID
	for _, seq := range r.seqs {
		if id, ok := p.get(r.log, seq); ok {
			ids = append(ids, message.EntryID(id))
		} else {
			wait(seq, false)
		}
	}
	return ids
}
