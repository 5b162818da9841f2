package node

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/message"
)

// What is owed comes back out of the runs, whatever it is, and nothing else.
func TestRunsNameWhatIsOwed(t *testing.T) {
	logs := []identity.LogID{{Author: identity.Key{1}}, {Author: identity.Key{2}}, {Author: identity.Key{1}, Incarnation: 3}}
	rapid.Check(t, func(t *rapid.T) {
		owed := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) debt {
			seq := rapid.Uint64Range(0, 3000).Draw(t, "seq")
			return debt{
				owed: byte(rapid.IntRange(1, 2).Draw(t, "owed")), priority: ledger.Priority(rapid.IntRange(0, 2).Draw(t, "priority")),
				log: rapid.SampledFrom(logs).Draw(t, "log"), seq: seq, id: ledger.ID{byte(seq), byte(seq >> 8), 9},
			}
		}), 1, 80).Draw(t, "debts")
		runs, paid, left := runsOf(slices.Clone(owed))
		if len(left) != 0 || len(paid) != len(owed) {
			t.Fatalf("%d of %d paid, %d left", len(paid), len(owed), len(left))
		}
		raw, err := marshalReceipts(runs)
		if err != nil {
			t.Fatal(err)
		}
		back, err := parseReceipts(raw)
		if err != nil {
			t.Fatal(err)
		}
		type name struct {
			owed byte
			log  [8]byte
			seq  uint64
		}
		want, got := make(map[name]bool), make(map[name]bool)
		for _, d := range owed {
			want[name{d.owed, d.log.Short(), d.seq}] = true
			again, err := parseDebt(d.id, d.marshal())
			if err != nil || again != d {
				t.Fatalf("a debt comes back as %+v, %v", again, err)
			}
		}
		for _, r := range back {
			for _, seq := range r.seqs {
				got[name{r.owed, r.log, seq}] = true
			}
			last := r.lastSeq()
			if !r.names(ledger.ID{byte(last), byte(last >> 8), 9}) || r.names(ledger.ID{0xff}) {
				t.Fatal("a run does not hold the id of its last entry")
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%d places named, %d owed", len(got), len(want))
		}
		for n := range want {
			if !got[n] {
				t.Fatalf("%+v is not named", n)
			}
		}
	})
}

// More than one entry holds is left for the next.
func TestRunsBeyondOneEntry(t *testing.T) {
	var owed []debt
	for i := range maxRuns + 10 {
		owed = append(owed, debt{owed: oweDelivered, log: identity.LogID{Author: identity.Key{byte(i), byte(i >> 8)}}, seq: uint64(i)})
	}
	runs, paid, left := runsOf(owed)
	raw, err := marshalReceipts(runs)
	if len(runs) != maxRuns || len(paid) != maxRuns || len(left) != 10 || err != nil {
		t.Fatalf("%d runs, %d paid, %d left, %v", len(runs), len(paid), len(left), err)
	}
	if _, err := parseReceipts(raw); err != nil {
		t.Error(err)
	}
	if _, err := message.Decode(raw); err == nil {
		t.Error("receipts are a message, too")
	}
}

// FuzzReceipts: what is read is written again to the same bytes.
func FuzzReceipts(f *testing.F) {
	for _, owed := range [][]debt{
		{{owed: oweDelivered, seq: 7, id: ledger.ID{1}}},
		{{owed: oweRead, seq: 1}, {owed: oweRead, seq: 500}, {owed: oweDelivered, log: identity.LogID{Incarnation: 2}, seq: 9}},
	} {
		runs, _, _ := runsOf(owed)
		raw, err := marshalReceipts(runs)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		f.Add(raw[:len(raw)-1])
		f.Add(append(slices.Clone(raw), 0))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		runs, err := parseReceipts(raw)
		if err != nil {
			return
		}
		for _, r := range runs {
			if len(r.seqs) == 0 || r.lastSeq()-r.seqs[0] >= maxRunSpan {
				t.Fatalf("a run of %d places", len(r.seqs))
			}
		}
		again, err := marshalReceipts(runs)
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("%x is written as %x, %v", raw, again, err)
		}
	})
}
