package node

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"tocsin/crypto/group"
	"tocsin/node/record"
)

// What is kept of the way into the record comes back as it was, in one encoding.
func FuzzTransferState(f *testing.F) {
	at := time.UnixMilli(1_800_000_000_000).UTC()
	r := &review{patient: record.Attribution{NHSNumber: "9434765919", Traced: true, Family: "Fisher", Born: "1951-02-03"}, by: "a/b/c", at: at, corrected: 2, signer: "a/b/c", signed: at, refused: "no"}
	d := &recorded{group: group.ID{1}, at: at, said: true, record: "https://x", location: "Communication/1", version: "1", by: "a/b/c"}
	g := &gone{group: group.ID{2}, at: at, why: goneOrdered}
	s := &sending{at: at, by: "a/b/c"}
	for _, marshal := range []func() ([]byte, error){r.marshal, d.marshal, g.marshal, s.marshal} {
		raw, err := marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	if raw, err := r.marshal(); err != nil {
		f.Fatal(err)
	} else if got, err := parseReview(raw); err != nil || !reflect.DeepEqual(got, r) {
		f.Fatalf("%+v, %v", got, err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		again := func(v interface{ marshal() ([]byte, error) }, err error) {
			if err != nil {
				return
			}
			out, err := v.marshal()
			if err != nil || !bytes.Equal(out, raw) {
				t.Fatalf("%x comes back as %x, %v", raw, out, err)
			}
		}
		again(parseReview(raw))
		again(parseRecorded(raw))
		again(parseGone(raw))
		again(parseSending(raw))
	})
}

func TestDigitsOf(t *testing.T) {
	for s, want := range map[string]string{" 943 476-5919": "9434765919", "９４３ ４７６ ５９１９": "9434765919", "٩٤٣٤٧٦٥٩١٩": "9434765919", "abc": "abc"} {
		if got := digitsOf(s); got != want {
			t.Errorf("%q is %q", s, got)
		}
	}
}
