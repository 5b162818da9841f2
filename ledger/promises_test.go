package ledger

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

// TestPromisesKept: however many promises are made, none that was made is
// forgotten before it ends: a body that one covers counts as promised at least so
// long.
func TestPromisesKept(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var made, list []Promise
		for range 120 {
			from := rnd.Uint64N(200)
			p := Promise{from, from + 1 + rnd.Uint64N(50), 1 + rnd.Uint64N(1000)}
			made = append(made, p)
			list = addPromise(list, p)
			if len(list) > maxPromises {
				t.Fatalf("%d are remembered", len(list))
			}
			again, err := parsePromises(LogID{}, marshalPromises(LogID{}, list))
			if err != nil || len(again) != len(list) {
				t.Fatalf("%v became %v: %v", list, again, err)
			}
		}
		for _, p := range made {
			for seq := p.From; seq < p.To; seq++ {
				if until := promisedUntil(list, seq); until.Before(time.Unix(int64(p.Until), 0)) {
					t.Fatalf("entry %d was promised until %d, and is remembered until %s", seq, p.Until, until)
				}
			}
		}
	}
	if until := promisedUntil([]Promise{{3, 5, 9}}, 5); !until.IsZero() {
		t.Fatal("what was not promised is")
	}
}

// FuzzPromises: a record of promises has one encoding.
func FuzzPromises(f *testing.F) {
	f.Add([]byte{})
	f.Add(marshalPromises(LogID{}, []Promise{{0, 1, 2}, {1, 2, 3}})[checkSize:])
	f.Add(marshalPromises(LogID{}, []Promise{{0, 1, 2}, {0, 1, 2}})[checkSize:])
	f.Fuzz(func(t *testing.T, data []byte) {
		value := append(promisesCheck(LogID{}, data), data...)
		list, err := parsePromises(LogID{}, value)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if again := marshalPromises(LogID{}, list); !bytes.Equal(again, value) {
			t.Fatalf("%x became %x", value, again)
		}
	})
}

// TestRelieve: a load that is counted elsewhere comes down by what is shown of it,
// and only in the parts that are too large.
func TestRelieve(t *testing.T) {
	now := time.Unix(1e9, 0)
	held := func(n, author int) Held {
		return Held{Log: testMark(author, 1, 0).Log, Seq: uint64(n), Bytes: 100, Expires: now.Add(-time.Duration(n) * time.Second)}
	}
	var all []Held
	for i := range 20 {
		all = append(all, held(i+1, i%2))
	}
	load := NewLoad(all)
	q := Quota{Total: 1 << 20, Author: 800, Group: 1 << 20}
	if !load.Over(q) || !load.Touches(q, &all[0]) {
		t.Fatal("ten bodies of an author are within a quota for eight")
	}
	gone := q.Low().Relieve(load, all[:10], now)
	if len(gone) != 6 || gone[0].Seq != 10 || load.Total() != 1400 || load.Over(q) {
		t.Fatalf("%d went, %d bytes are left", len(gone), load.Total())
	}
	urgent := Held{Log: all[0].Log, Bytes: 150, Priority: Urgent}
	routine := Held{Log: all[0].Log, Bytes: 150}
	if !q.Admits(load, &urgent) || q.Admits(load, &routine) {
		t.Fatal("what is urgent has a quarter more, and nothing else has")
	}
	if got := (Quota{Author: 7}).OrDefault(); got.Author != 7 || got.Total != DefaultQuota().Total {
		t.Fatalf("%+v", got)
	}
}
