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
	early map[earlyPlace][]opened // receipts that name a message which is not here yet
	held  int                     // of early
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

// maxEarly bounds the places of receipts that came before what they are about.
// Those beyond are read from the vault at the next unlock.
const maxEarly = 1 << 16

func newPlaces() *places {
	return &places{logs: make(map[[8]byte]*placed), early: make(map[earlyPlace][]opened)}
}

// put notes a message, and returns the receipts that waited for it.
func (p *places) put(log identity.LogID, seq uint64, id ledger.ID) []opened {
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

// wait keeps receipts until a message comes to a place.
func (p *places) wait(log [8]byte, seq uint64, o opened) {
	if p.held >= maxEarly {
		return
	}
	key := earlyPlace{log, seq}
	if slices.ContainsFunc(p.early[key], func(e opened) bool { return e.rec.id == o.rec.id }) {
		return
	}
	p.early[key] = append(p.early[key], o)
	p.held++
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
	for i := range runs {
		if ids := p.named(&runs[i], o, at); len(ids) > 0 {
			it.Message = message.NewReceipt(stateOf(runs[i].owed), ids, it.Received)
			changed = in.ApplyReceipt(it).New || changed
		}
	}
	return changed
}

// named returns the messages that a run names and that are here. It names none if
// its last entry is not what stands here: whoever signed the receipt has seen
// another branch of the log.
func (p *places) named(r *receiptRun, o opened, at func(log [8]byte, seq uint64) (ledger.ID, bool)) []message.EntryID {
	last := r.lastSeq()
	id, here := p.get(r.log, last)
	if !here {
		if id, here = at(r.log, last); !here {
			p.wait(r.log, last, o)
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
			p.wait(r.log, seq, o)
		}
	}
	return ids
}
