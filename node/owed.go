package node

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger"
)

// owed is what this device owes, in memory while it is unlocked: with every message
// that comes it is looked who is to be paid, and the vault would have to open every
// debt for it.
//
//	loadDebt    every debt that the vault has, at an unlock and at a reload
//	note        what a commit has changed
//	bills       who is owed something, and how soon
//	debtsTo     what, once it is paid
//
// The vault is what counts: whatever it is told under "receipt/" note is told, once
// it is on disk. Where a commit failed it is not known here what of it took place,
// and all is read again.
type owed struct {
	in      map[group.ID]*owedIn
	garbled []string // keys of debts that cannot be read
	stale   bool     // a commit failed

	// planned are those for whom receiptLoop has set its timer, by the priority up to
	// which that is soon enough; news says that something is owed beyond that.
	planned map[payee]ledger.Priority
	news    bool
}

// owedIn is what is owed in one group.
type owedIn struct {
	debts map[ledger.ID]owing          // by message
	count [int(ledger.Stat) + 1]uint64 // of each priority
}

// owing is a debt without its id.
type owing struct {
	log      identity.LogID
	seq      uint64
	owed     byte
	priority ledger.Priority
}

func (o owing) debt(id ledger.ID) debt {
	return debt{owed: o.owed, priority: o.priority, log: o.log, seq: o.seq, id: id}
}

func newOwed() *owed { return &owed{in: make(map[group.ID]*owedIn)} }

// add enters a debt in the place of what was owed for its message.
func (o *owed) add(g group.ID, d debt) {
	o.drop(g, d.id)
	in := o.in[g]
	if in == nil {
		in = &owedIn{debts: make(map[ledger.ID]owing)}
		o.in[g] = in
	}
	in.debts[d.id] = owing{log: d.log, seq: d.seq, owed: d.owed, priority: d.priority}
	in.count[d.priority]++
}

func (o *owed) drop(g group.ID, id ledger.ID) {
	in := o.in[g]
	if in == nil {
		return
	}
	d, ok := in.debts[id]
	if !ok {
		return
	}
	in.count[d.priority]--
	if delete(in.debts, id); len(in.debts) == 0 {
		delete(o.in, g)
	}
}

// note takes over what a commit has changed.
func (o *owed) note(changes []vault.Change) {
	for _, c := range changes {
		if !strings.HasPrefix(c.Key, prefixReceipt) {
			continue
		}
		g, id, err := parseReceiptKey(c.Key)
		if err == nil && c.Value != nil {
			var d debt
			if d, err = parseDebt(id, c.Value); err == nil {
				o.add(g, d)
				o.news = o.news || !o.awaited(g, &d)
			}
		} else if err == nil {
			o.drop(g, id)
		}
		if err != nil {
			o.stale = true // reading it says what is wrong
		}
	}
}

// awaited reports whether receiptLoop will come to a debt by itself in time.
func (o *owed) awaited(g group.ID, d *debt) bool {
	p, ok := o.planned[payee{group: g}]
	if !ok {
		p, ok = o.planned[payee{group: g, to: d.log}]
	}
	return ok && d.priority <= p
}

// tell reports whether receiptLoop has to be told of something that is owed.
func (o *owed) tell() bool {
	news := o.news
	o.news = false
	return news
}

// plan notes that receiptLoop looks again when the bills that are not paid now are due.
func (o *owed) plan(bills, paid []bill) {
	o.planned = make(map[payee]ledger.Priority, len(bills))
	for _, b := range bills {
		o.planned[b.payee] = b.highest
	}
	for _, b := range paid {
		delete(o.planned, b.payee)
	}
}

// has reports whether a debt is owed as it is.
func (o *owed) has(g group.ID, d debt) bool {
	in := o.in[g]
	if in == nil {
		return false
	}
	at, ok := in.debts[d.id]
	return ok && at.debt(d.id) == d
}

// debtsTo returns what is owed to a payee.
func (o *owed) debtsTo(to payee) []debt {
	in := o.in[to.group]
	if in == nil {
		return nil
	}
	debts := make([]debt, 0, len(in.debts))
	for id, d := range in.debts {
		if (to.to == identity.LogID{}) || d.log == to.to {
			debts = append(debts, d.debt(id))
		}
	}
	return debts
}

// bills puts together who is to be paid, in the order of groups and devices, where parts is
// the number of epochs of a group. void are the changes that end what nobody waits for.
func (o *owed) bills(parts func(group.ID) int) (bills []bill, void []vault.Change) {
	for _, key := range o.garbled {
		void = append(void, vault.Change{Key: key})
	}
	groups := slices.SortedFunc(maps.Keys(o.in), func(a, b group.ID) int { return bytes.Compare(a[:], b[:]) })
	for _, g := range groups {
		in := o.in[g]
		switch k := parts(g); {
		case k == 0: // a group that this device has left: nobody waits for it
			void = append(void, in.void(g)...)
		case k == 1:
			bills = append(bills, bill{payee: payee{group: g}, highest: in.highest()})
		default:
			bills = append(bills, in.byAuthor(g)...)
		}
	}
	return bills, void
}

func (in *owedIn) highest() ledger.Priority {
	for p := ledger.Stat; p > ledger.Routine; p-- {
		if in.count[p] > 0 {
			return p
		}
	}
	return ledger.Routine
}

// byAuthor is what is owed in a group of several parts: to each author.
func (in *owedIn) byAuthor(g group.ID) []bill {
	highest := make(map[identity.LogID]ledger.Priority)
	for _, d := range in.debts {
		highest[d.log] = max(highest[d.log], d.priority)
	}
	var bills []bill
	for _, log := range slices.SortedFunc(maps.Keys(highest), identity.LogID.Compare) {
		bills = append(bills, bill{payee: payee{group: g, to: log}, highest: highest[log]})
	}
	return bills
}

// void ends all debts of a group; what was read stays read.
func (in *owedIn) void(g group.ID) (changes []vault.Change) {
	for id, d := range in.debts {
		changes = append(changes, vault.Change{Key: receiptKey(g, id)})
		if d.owed == oweRead {
			changes = append(changes, vault.Change{Key: readKey(g, id), Value: []byte{1}})
		}
	}
	return changes
}

// owes returns what this device owes. n.mu is held and the device is unlocked.
func (n *Node) owes() (*owed, error) {
	if n.open.owed.stale {
		n.open.owed = newOwed()
		if err := n.cfg.Vault.Scan(prefixReceipt, n.readOwed); err != nil {
			n.open.owed.stale = true
			return nil, err
		}
	}
	return n.open.owed, nil
}

// readOwed takes in one debt of the vault. One that cannot be read is said and not
// paid: a receipt is not worth a device that cannot be unlocked.
func (n *Node) readOwed(key string, value []byte) error {
	g, id, err := parseReceiptKey(key)
	var d debt
	if err == nil {
		d, err = parseDebt(id, value)
	}
	if err != nil {
		n.log.Error("a receipt that is owed cannot be read and will not be sent", "key", key, "err", err)
		n.open.owed.garbled = append(n.open.owed.garbled, key)
		return nil
	}
	n.open.owed.add(g, d)
	return nil
}
