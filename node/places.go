package node

import (
	"slices"

	"tocsin/crypto/identity"
	"tocsin/ledger"
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
