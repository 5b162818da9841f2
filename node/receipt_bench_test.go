package node

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/message"
)

// receiptTraffic is some minutes of a group in which ten routine messages are said each second by some of the members in turn, in
// virtual time. It returns the bytes of the frames of both, and how many entries of receipts left, from the code that nodes run; of
// frames only the size is worked out.
func receiptTraffic(t testing.TB, members, authors, minutes int) (messages, receipts, entries int) {
	t.Helper()
	payload, err := message.Encode(message.Message{Sent: paceStart, Content: &message.Text{
		Body: "JS bed 4: BP 80/40 after the second litre, going to theatre now, two units cross-matched and on their way up",
	}})
	check(t, err)
	type device struct {
		log   identity.LogID
		next  uint64
		debts []debt
		paces *paces
		at    time.Time // looks again
	}
	devices := make([]*device, members)
	for i := range devices {
		devices[i] = &device{log: identity.LogID{Author: identity.Key{byte(i), byte(i >> 8), 1}}, paces: newPaces()}
	}
	const gap = 100 * time.Millisecond
	now := paceStart
	for tick := range int(time.Duration(minutes) * time.Minute / gap) {
		author := devices[tick%authors]
		messages += frameSize(t, len(payload))
		id := ledger.ID{byte(tick), byte(tick >> 8), byte(tick >> 16)}
		for _, d := range devices {
			if d != author {
				d.debts = append(d.debts, debt{owed: oweDelivered, log: author.log, seq: author.next, id: id})
			}
		}
		author.next++
		now = now.Add(gap)
		for _, d := range devices {
			if len(d.debts) == 0 || now.Before(d.at) {
				continue
			}
			pay, wait := d.paces.choose([]bill{{members: members}}, now, time.Minute)
			d.at = now.Add(wait)
			for _, b := range pay {
				runs, _, left := runsOf(d.debts)
				raw, err := marshalReceipts(runs)
				check(t, err)
				size := frameSize(t, len(raw))
				d.paces.paid(b, size, now, time.Minute)
				d.debts, d.at = left, time.Time{}
				d.next++ // an entry of its log
				receipts += size
				entries++
			}
		}
	}
	return messages, receipts, entries
}

// frameSize is the size of the frame of an entry with a payload, sealed and signed once for each length. Broadcasts are sealed to bodies
// of the same size as what is said in a group.
func frameSize(t testing.TB, payload int) int {
	if n, ok := frameSizes.Load(payload); ok {
		return n.(int)
	}
	_, key, err := ed25519.GenerateKey(nil)
	check(t, err)
	h := ledger.Header{Author: identity.KeyOf(key), Kind: ledger.KindData, Seq: 1, Prev: [32]byte{1}, HLC: 1 << 20, GroupTag: [16]byte{1}, LifetimeS: messageLifetime}
	s, err := group.SealBroadcast([32]byte{1}, 0, group.Place{Log: h.Log()}, make([]byte, payload), rand.Reader)
	check(t, err)
	h.Commit = s.Commit
	v, err := ledger.Sign(key, h, s.Body)
	check(t, err)
	n := len(v.Entry().Frame())
	frameSizes.Store(payload, n)
	return n
}

var frameSizes sync.Map

// TestReceiptsTakeTheirShare: with ten who write, receipts take about a tenth of what messages take, however many read: a little more here,
// where the first ones after a quiet time, which leave at once, are a third of all.
func TestReceiptsTakeTheirShare(t *testing.T) {
	for _, members := range []int{10, 50, 200} {
		messages, receipts, entries := receiptTraffic(t, members, 10, 12)
		if share := float64(receipts) / float64(messages); share > 0.15 {
			t.Errorf("%d members: %.1f %% of the bytes are receipts", members, 100*share)
		}
		if most := 13 * members; entries > most {
			t.Errorf("%d members: %d entries of receipts in twelve minutes", members, entries)
		}
	}
}

func BenchmarkReceiptBytes(b *testing.B) {
	for _, members := range []int{10, 50, 200} {
		for _, authors := range slices.Compact([]int{10, members}) {
			b.Run(fmt.Sprintf("members=%d/authors=%d", members, authors), func(b *testing.B) {
				for b.Loop() {
					messages, receipts, entries := receiptTraffic(b, members, authors, 30)
					b.ReportMetric(100*float64(receipts)/float64(messages), "%receipts")
					b.ReportMetric(float64(receipts)/30/1000, "receipt-kB/min")
					b.ReportMetric(float64(messages)/30/1000, "message-kB/min")
					b.ReportMetric(float64(entries)/30/float64(members), "entries/device/min")
				}
			})
		}
	}
}
