package group

import (
	"crypto/ed25519"
	"crypto/hpke"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"tocsin/crypto/identity"
)

// The benchmarks of this file hold the aims of trust, each beside what it is
// measured against, to be run together:
//
//	go test ./crypto/group -run '^$' -bench 'Announce200|OpenAndVerify|Recipient|Merge10000' -count 5
//
//	Announce200     an announce for 200 devices to 200 HPKE seals: a ratio of at most 1.3
//	OpenAndVerify   opening 1 KiB to one Ed25519 verification: at most 1.2
//	Recipient       at most 50 µs
//	Merge10000      below 1 s

func BenchmarkAnnounce200(b *testing.B) {
	b.Run("ready", func(b *testing.B) { benchAnnounce200(b, false) })
	// Before any Expire, when no public key was read yet.
	b.Run("unread", func(b *testing.B) { benchAnnounce200(b, true) })
}

func benchAnnounce200(b *testing.B, first bool) {
	d := newDevice(b, 1)
	d.publish(start)
	id := d.create(KindTeam, "Ward 7")
	private := must(hpke.MLKEM768X25519().GenerateKey())
	for i := range 199 {
		// A key of its own for each: no cache of the processor helps.
		var set PreKeys
		set.FirstWeek = d.k.published.week
		copy(set.Public[0][:], must(hpke.MLKEM768X25519().GenerateKey()).PublicKey().Bytes())
		for j := 1; j < PublishedWeeks; j++ {
			copy(set.Public[j][:], private.PublicKey().Bytes())
		}
		log := identity.LogID{Author: identity.Key{byte(i + 1)}}
		d.apply(must(d.k.LearnPreKeys(log, set.Marshal(), start)))
		d.learnOp(must(d.k.AddOp(id, log, RoleMember)))
	}
	var keys []hpke.PublicKey
	for _, m := range d.k.Audience(id) {
		public, _, err := d.k.recipientKey(m, start)
		if err != nil {
			b.Fatal(err)
		}
		keys = append(keys, public)
	}
	info, es := make([]byte, 113), make([]byte, 32)
	sideBySide(b, func() {
		if first {
			clear(d.k.parsed)
		}
		if a, err := d.k.Announce(id, start); err != nil || len(a.Missing) != 0 {
			b.Fatal(a, err)
		}
	}, func() {
		for _, key := range keys {
			must(hpke.Seal(key, hpke.HKDFSHA256(), hpke.AES256GCM(), info, es))
		}
	})
}

// sideBySide takes turns, so that a busy machine slows both alike, and reports
// the median of the rounds' ratios.
func sideBySide(b *testing.B, ours, floor func()) {
	var ratios []float64
	var us, them time.Duration
	for b.Loop() {
		begin := b.Elapsed()
		ours()
		middle := b.Elapsed()
		floor()
		end := b.Elapsed()
		us, them = us+middle-begin, them+end-middle
		ratios = append(ratios, float64(middle-begin)/float64(end-middle))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(float64(us.Nanoseconds())/float64(b.N), "ns/ours")
	b.ReportMetric(float64(them.Nanoseconds())/float64(b.N), "ns/floor")
}

// Verify is of a header of the ledger's usual size.
func BenchmarkOpenAndVerify(b *testing.B) {
	alice, bob, id := benchPair(b)
	payload := string(make([]byte, benchPayload))
	rewind := bob.rewinder(id, alice)
	var messages []sent
	for range RotateGeneration {
		messages = append(messages, alice.seal(id, payload, start))
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		b.Fatal(err)
	}
	header := make([]byte, 16+193)
	signature := ed25519.Sign(private, header)
	i := 0
	sideBySide(b, func() {
		m := &messages[i]
		_, changes, err := bob.k.Open(m.at, m.tag, m.commit, m.body, start)
		if err != nil || bob.k.Apply(changes...) != nil {
			b.Fatal(err)
		}
		if i++; i == len(messages) {
			i = 0
			rewind()
		}
	}, func() {
		if !ed25519.Verify(public, header, signature) {
			b.Fatal("not verified")
		}
	})
}

// Is an entry for us? 64 epochs are held, and it is under none of them.
func BenchmarkRecipient(b *testing.B) {
	ds, id := meet(b, 2, start)
	for range 63 {
		ds[1].learn(ds[0], ds[0].announce(id, start).Pages, start)
	}
	if len(ds[1].k.epochs) != 64 {
		b.Fatalf("%d epochs", len(ds[1].k.epochs))
	}
	m := ds[0].seal(id, "x", start)
	m.tag[0] ^= 1
	for b.Loop() {
		if _, _, err := ds[1].k.Open(m.at, m.tag, m.commit, m.body, start); err != ErrUnknownTag {
			b.Fatal(err)
		}
	}
}

// bigGrove has n operations of forty admins, of whom none knows the last few of
// the others: adds, removals, role changes, many of them at the same time.
func bigGrove(n int, hostile bool) *grove {
	r := rand.New(rand.NewPCG(7, 7))
	draw := func(_ string, n int) int { return r.IntN(n) }
	g := &grove{set: make(opSet)}
	for i := range 1000 {
		g.devices = append(g.devices, identity.LogID{Author: identity.Key{byte(i), byte(i >> 8), 1}})
	}
	g.id = groupID(g.devices[0], [32]byte{1})
	put := func(by int, op *Op) [32]byte {
		op.Group = g.id
		slices.SortFunc(op.Deps, func(a, b [32]byte) int { return slices.Compare(a[:], b[:]) })
		op.Deps = slices.Compact(op.Deps)
		id := [32]byte{byte(r.IntN(256)), byte(len(g.ids)), byte(len(g.ids) >> 8)}
		g.set[id] = &knownOp{op: op, proof: OpProof{ID: id, Place: Place{Log: g.devices[by], Seq: uint64(len(g.ids))}}}
		g.ids = append(g.ids, id)
		return id
	}
	last := put(0, &Op{Create: &Create{Kind: KindTeam, Nonce: [32]byte{1}, Name: "Ward 7"}})
	heads := make([][32]byte, 40) // what each admin knows
	for i := range heads {
		if i > 0 {
			last = put(0, &Op{Deps: [][32]byte{last}, Add: &Add{Device: g.devices[i], Role: RoleAdmin}})
		}
	}
	for i := range heads {
		heads[i] = last
	}
	for i := 40; len(g.ids) < n; i++ {
		by := draw("", 40)
		op := &Op{Deps: [][32]byte{heads[by], heads[draw("", 40)]}}
		who := g.devices[40+draw("", 960)]
		switch kind := draw("", 10); {
		case hostile && kind < 5: // admins strike each other all the time
			op.Remove = &Remove{Device: g.devices[1+draw("", 39)]}
		case hostile && kind < 7:
			op.Add = &Add{Device: g.devices[1+draw("", 39)], Role: RoleAdmin}
		case kind < 6 || addings(g, op, who) == 0:
			op.Add = &Add{Device: who, Role: RoleMember}
		case kind < 8:
			op.Remove = &Remove{Device: who}
		default:
			op.Role = &RoleChange{Device: who, Role: RoleMember}
		}
		heads[by] = put(by, op)
	}
	return g
}

// addings counts the operations not far before op that add who: a removal
// knows one.
func addings(g *grove, op *Op, who identity.LogID) (n int) {
	seen := make(map[[32]byte]bool)
	var walk func(id [32]byte, left int)
	walk = func(id [32]byte, left int) {
		if seen[id] || left == 0 {
			return
		}
		seen[id] = true
		if a := g.set[id].op.Add; a != nil && a.Device == who {
			n++
			return
		}
		for _, d := range g.set[id].op.Deps {
			walk(d, left-1)
		}
	}
	for _, d := range op.Deps {
		walk(d, 40)
	}
	return n
}

func BenchmarkMerge10000(b *testing.B) {
	for name, hostile := range map[string]bool{"usual": false, "hostile": true} {
		g := bigGrove(10_000, hostile)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				v, err := g.set.evaluate(nil, g.id)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(len(v.Void)), "void")
				b.ReportMetric(float64(len(v.Members)), "members")
			}
		})
	}
}
