package node

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger"
)

// kept returns what a device takes itself to owe, as the vault has it.
func (o *owed) kept() map[string]string {
	all := make(map[string]string)
	for g, in := range o.in {
		for id, d := range in.debts {
			value := d.debt(id)
			all[receiptKey(g, id)] = string(value.marshal())
		}
	}
	return all
}

// owesAsStored checks that a node takes itself to owe what its vault says, so many receipts.
func owesAsStored(t *testing.T, n *Node, when string, want int) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	stored := make(map[string]string)
	check(t, n.cfg.Vault.Scan(prefixReceipt, func(key string, value []byte) error { stored[key] = string(value); return nil }))
	o, err := n.owes()
	check(t, err)
	if kept := o.kept(); !maps.Equal(kept, stored) || len(stored) != want {
		t.Fatalf("%s: %d receipts are owed, the vault has %d, expected are %d; the same: %v", when, len(kept), len(stored), want, maps.Equal(kept, stored))
	}
}

// TestOwedIsWhatTheVaultHas: through all that owes and pays, commits that fail, and restarts.
func TestOwedIsWhatTheVaultHas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	slow := func(cfg *Config) { cfg.ReceiptDelay = time.Hour }
	a := w.enrol("Amal", orgHospital).start(t, slow)
	m := w.enrol("Ben", orgAmbulance)
	store := m.onDisk(t)
	cfg, err := m.config()
	check(t, err)
	open := func() *Node {
		slow(&cfg)
		store(&cfg)
		knows(a)(&cfg)
		n, err := Open(t.Context(), cfg)
		check(t, err)
		check(t, n.Unlock(t.Context(), []byte(passphrase)))
		return n
	}
	b := open()
	defer func() { check(t, b.Close()) }()
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	inGroup(t, g, a, b)
	var sent []Sent
	for i := range 4 {
		sent = append(sent, say(t, a, g, fmt.Sprint("message ", i)))
	}
	eventually(t, "all are shown", func() bool { return len(mustMessages(t, b, g)) == len(sent) })
	owesAsStored(t, b, "delivered", 4)
	check(t, b.MarkRead(g))
	owesAsStored(t, b, "read", 4)
	_, err = b.EraseMessages(t.Context(), token(t, b), g, sent[0].ID)
	check(t, err)
	owesAsStored(t, b, "one was erased", 3)

	check(t, b.Close())
	cfg, err = m.config()
	check(t, err)
	b = open()
	owesAsStored(t, b, "after a restart", 3)

	// Another program writes to the journal: nothing is taken from then on until the next unlock.
	say(t, a, g, "one more")
	eventually(t, "it is shown", func() bool { return len(mustMessages(t, b, g)) == len(sent) })
	owesAsStored(t, b, "one more was delivered", 4)
	journal, err := os.OpenFile(filepath.Join(m.dir, "vault", "journal"), os.O_WRONLY|os.O_APPEND, 0)
	check(t, err)
	_, err = journal.Write([]byte{0})
	check(t, errors.Join(err, journal.Close()))
	if err := b.MarkRead(g); !errors.Is(err, ErrReadOnly) {
		t.Fatalf("a vault that is broken took it: %v", err)
	}
	b.mu.Lock()
	read := b.open.owed.stale
	b.mu.Unlock()
	if !read {
		t.Error("what is owed is not read again after a commit that failed")
	}
	owesAsStored(t, b, "a commit failed", 4)
	check(t, b.Lock())
	check(t, b.Unlock(t.Context(), []byte(passphrase)))
	owesAsStored(t, b, "after an unlock", 4)
	check(t, b.MarkRead(g))
	b.receiptsNow()
	for _, s := range mustMessages(t, a, g)[1:] {
		eventually(t, "it is known to be read", func() bool {
			it, _ := itemOf(t, a, Sent{ID: ledger.ID(s.ID).String()})
			return len(it.Read) == 1
		})
	}
	eventually(t, "nothing is owed", func() bool { return owes(t, b) == 0 })
	owesAsStored(t, b, "paid", 0)
	for _, it := range mustMessages(t, a, g) {
		if erased := ledger.ID(it.ID).String() == sent[0].ID; erased != (len(it.Delivered) == 0) {
			t.Errorf("message %d is delivered to %v", it.Seq, it.Delivered)
		}
	}
}

// TestOwedByModel holds the bookkeeping against a plain map of what the vault was told, through what random commits change.
func TestOwedByModel(t *testing.T) {
	t.Parallel()
	for seed := range int64(20) {
		rng := rand.New(rand.NewSource(seed))
		model, o := make(map[string]debt), newOwed()
		groups := []group.ID{{1}, {2}, {3}, {4}}
		parts := func(g group.ID) int { return []int{1, 1, 3, 0}[g[0]-1] }
		for range 400 {
			var changes []vault.Change
			for range 1 + rng.Intn(4) {
				g, id := groups[rng.Intn(len(groups))], ledger.ID{byte(rng.Intn(40))}
				key := receiptKey(g, id)
				switch d, held := model[key]; {
				case rng.Intn(5) == 0:
					changes = append(changes, vault.Change{Key: messageKey(identity.LogID{}, 7), Value: []byte{1}})
				case rng.Intn(2) == 0:
					changes = append(changes, vault.Change{Key: key})
					delete(model, key)
				default:
					if !held {
						d = debt{log: identity.LogID{Author: identity.Key{byte(1 + rng.Intn(4))}}, id: id, seq: rng.Uint64() >> 20, priority: ledger.Priority(rng.Intn(3))}
					}
					d.owed = byte(1 + rng.Intn(2))
					changes = append(changes, vault.Change{Key: key, Value: d.marshal()})
					model[key] = d
				}
			}
			o.note(changes)
			bills, void := o.bills(parts)
			wantBills, wantTo, wantVoid := modelBills(model, groups, parts)
			if !slices.Equal(bills, wantBills) {
				t.Fatalf("seed %d: bills\n%v, not\n%v", seed, bills, wantBills)
			}
			for _, b := range bills {
				if got := keysOf(o.debtsTo(b.payee)); !maps.Equal(got, wantTo[b.payee]) {
					t.Fatalf("seed %d: what is owed to %v differs", seed, b.payee)
				}
			}
			if len(void) != wantVoid || o.stale {
				t.Fatalf("seed %d: %d changes end what nobody waits for, not %d", seed, len(void), wantVoid)
			}
			for key, d := range model {
				g, _, err := parseReceiptKey(key)
				check(t, err)
				other := d
				other.owed = oweDelivered + oweRead - d.owed
				if !o.has(g, d) || o.has(g, other) {
					t.Fatalf("seed %d: has tells something else", seed)
				}
			}
		}
	}
}

func keysOf(debts []debt) map[debt]bool {
	all := make(map[debt]bool)
	for _, d := range debts {
		all[d] = true
	}
	return all
}

// modelBills says the same of a plain map.
func modelBills(model map[string]debt, groups []group.ID, parts func(group.ID) int) (bills []bill, to map[payee]map[debt]bool, void int) {
	to = make(map[payee]map[debt]bool)
	highest := make(map[payee]ledger.Priority)
	for key, d := range model {
		i := slices.IndexFunc(groups, func(g group.ID) bool { return key == receiptKey(g, d.id) })
		p := payee{group: groups[i]}
		switch k := parts(p.group); {
		case k == 0:
			if void++; d.owed == oweRead {
				void++
			}
			continue
		case k > 1:
			p.to = d.log
		}
		if to[p] == nil {
			to[p] = make(map[debt]bool)
		}
		to[p][d], highest[p] = true, max(highest[p], d.priority)
	}
	for p, h := range highest {
		bills = append(bills, bill{payee: p, highest: h})
	}
	slices.SortFunc(bills, func(a, b bill) int {
		if c := bytes.Compare(a.group[:], b.group[:]); c != 0 {
			return c
		}
		return a.to.Compare(b.to)
	})
	return bills, to, void
}

// TestOwedReadsAgainWhatItCannotRead: what a commit says and cannot be read is looked at in the vault, said, and ended.
func TestOwedReadsAgainWhatItCannotRead(t *testing.T) {
	o := newOwed()
	o.note([]vault.Change{{Key: receiptKey(group.ID{1}, ledger.ID{1}), Value: []byte{9}}})
	if !o.stale || len(o.in) != 0 {
		t.Error("a debt that cannot be read is taken for one that can")
	}
	if _, err := parseDebt(ledger.ID{}, (&debt{owed: oweRead, priority: ledger.Stat + 1}).marshal()); err == nil {
		t.Error("a debt of a priority that does not exist is read")
	}
}
