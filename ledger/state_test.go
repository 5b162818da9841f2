package ledger

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// TestStateVector holds the encoding of a state record to FORMAT.md: what is on
// disks has to be read by later programs.
func TestStateVector(t *testing.T) {
	st := &logState{next: 7, head: ID{1}, hlc: 9, use: usage{day: 20513, headers: 3, bytes: 1000}, rollback: true}
	const want = "01" + "0000000000000007" +
		"0100000000000000000000000000000000000000000000000000000000000000" +
		"0000000000000009" + "00005021" + "00000003" + "00000000000003e8" + "01"
	if got := hex.EncodeToString(st.marshal()); got != want {
		t.Fatalf("state record\n%s, want\n%s", got, want)
	}
}

func FuzzState(f *testing.F) {
	f.Add((&logState{}).marshal())
	f.Add((&logState{next: MaxSeq + 1, rollback: true}).marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := parseState(b)
		if err == nil && !bytes.Equal(st.marshal(), b) {
			t.Fatalf("read %x, wrote %x", b, st.marshal())
		}
	})
}
