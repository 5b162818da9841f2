package node

// A device's receipts share one entry. It names messages by their places in their
// authors' logs, which takes a bit for each where an id takes 32 bytes:
//
//	struct {
//	    uint8  type = 2;               /* payloadReceipts */
//	    Run    runs<36..2^16-1>;
//	} Receipts;
//	struct {
//	    uint8  state;                  /* 1 delivered, 2 read, which says delivered too */
//	    opaque log[8];                 /* as a Ref names one */
//	    uint48 first;                  /* a place in it */
//	    opaque named<1..64>;           /* bit i, the lowest of each byte first: the entry at first + i; the first bit and the last byte are set */
//	    opaque last[16];               /* the beginning of the id of the last entry named */
//	} Run;
//
// The id of the last holds those before it, too, because every entry names the one
// before by hash: a device that signed two entries for one place cannot pass the
// receipt for one of them off as one for the other.

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"slices"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/message"
)

// payloadReceipts begins a sealed payload that holds receipts.
const payloadReceipts = 0x02

const (
	// maxRunSpan is how many places one run spans at most.
	maxRunSpan = 512
	// maxRuns is how many runs one entry holds: they fit a payload at their longest.
	maxRuns = 500
	// runLast is how much of the id of a run's last entry it repeats.
	runLast = 16
)

var errReceipts = errors.New("node: malformed receipts")

// receiptRun is what a device says of messages in one log.
type receiptRun struct {
	owed byte // oweDelivered or oweRead
	log  [8]byte
	seqs []uint64 // ascending, spanning at most maxRunSpan
	last [runLast]byte
}

// The kinds of debt.
const (
	oweDelivered byte = 1
	oweRead      byte = 2 // which says delivered, too
)

// debt is a receipt that is owed: a value under "receipt/".
type debt struct {
	owed     byte
	priority ledger.Priority
	log      identity.LogID // of the author
	seq      uint64         // of the first of the message's entries
	id       ledger.ID      // of the message; the key of the debt, not in its value
}

func (d *debt) marshal() []byte {
	log := d.log.Bytes()
	b := append([]byte{d.owed, uint8(d.priority)}, log[:]...)
	return binary.BigEndian.AppendUint64(b, d.seq)
}

func parseDebt(id ledger.ID, raw []byte) (debt, error) {
	d := debt{id: id}
	var priority uint8
	var log [identity.LogIDSize]byte
	s := cryptobyte.String(raw)
	ok := s.ReadUint8(&d.owed) && s.ReadUint8(&priority) && s.CopyBytes(log[:]) && s.ReadUint64(&d.seq) && s.Empty()
	if !ok || d.owed != oweDelivered && d.owed != oweRead || priority > uint8(ledger.Stat) {
		return d, errRecord
	}
	d.priority = ledger.Priority(priority)
	var err error
	if d.log, err = identity.LogIDFromBytes(log[:]); err != nil {
		return d, errRecord
	}
	return d, nil
}

func stateOf(owed byte) message.State {
	if owed == oweRead {
		return message.Read
	}
	return message.Delivered
}

// runsOf puts debts into runs, and returns those that found no room.
func runsOf(debts []debt) (runs []receiptRun, paid, left []debt) {
	slices.SortFunc(debts, func(a, b debt) int {
		return cmp.Or(a.log.Compare(b.log), cmp.Compare(a.owed, b.owed), cmp.Compare(a.seq, b.seq), bytes.Compare(a.id[:], b.id[:]))
	})
	for i, d := range debts {
		short := d.log.Short()
		n := len(runs) - 1
		if n < 0 || runs[n].log != short || runs[n].owed != d.owed || d.seq-runs[n].seqs[0] >= maxRunSpan {
			if len(runs) == maxRuns {
				return runs, debts[:i], debts[i:]
			}
			runs = append(runs, receiptRun{owed: d.owed, log: short})
			n++
		}
		if k := len(runs[n].seqs); k == 0 || runs[n].seqs[k-1] != d.seq {
			runs[n].seqs = append(runs[n].seqs, d.seq)
		}
		copy(runs[n].last[:], d.id[:])
	}
	return runs, debts, nil
}

func marshalReceipts(runs []receiptRun) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(payloadReceipts)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, r := range runs {
			b.AddUint8(r.owed)
			b.AddBytes(r.log[:])
			b.AddUint48(r.seqs[0])
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) {
				span := r.seqs[len(r.seqs)-1] - r.seqs[0]
				named := make([]byte, span/8+1)
				for _, seq := range r.seqs {
					at := seq - r.seqs[0]
					named[at/8] |= 1 << (at % 8)
				}
				b.AddBytes(named)
			})
			b.AddBytes(r.last[:])
		}
	})
	return b.Bytes()
}

// isReceipts reports whether a payload holds receipts.
func isReceipts(payload []byte) bool { return len(payload) > 0 && payload[0] == payloadReceipts }

func parseReceipts(raw []byte) ([]receiptRun, error) {
	var kind uint8
	var body cryptobyte.String
	s := cryptobyte.String(raw)
	if !s.ReadUint8(&kind) || kind != payloadReceipts || !s.ReadUint16LengthPrefixed(&body) || !s.Empty() || body.Empty() {
		return nil, errReceipts
	}
	var runs []receiptRun
	for !body.Empty() {
		var r receiptRun
		var first uint64
		var named cryptobyte.String
		ok := body.ReadUint8(&r.owed) && body.CopyBytes(r.log[:]) && body.ReadUint48(&first) &&
			body.ReadUint8LengthPrefixed(&named) && body.CopyBytes(r.last[:])
		if !ok || r.owed != oweDelivered && r.owed != oweRead || len(runs) == maxRuns {
			return nil, errReceipts
		}
		if k := len(named); k == 0 || k > maxRunSpan/8 || named[0]&1 == 0 || named[k-1] == 0 {
			return nil, errReceipts
		}
		for i, bits := range named {
			for j := range 8 {
				if bits&(1<<j) != 0 {
					r.seqs = append(r.seqs, first+uint64(8*i+j))
				}
			}
		}
		runs = append(runs, r)
	}
	return runs, nil
}

// names reports whether a run is about an entry, when it is its last.
func (r *receiptRun) names(id ledger.ID) bool { return bytes.Equal(r.last[:], id[:runLast]) }

// lastSeq is the place of the last entry that a run names.
func (r *receiptRun) lastSeq() uint64 { return r.seqs[len(r.seqs)-1] }
