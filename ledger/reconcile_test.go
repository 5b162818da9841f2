package ledger_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tocsin/ledger"
)

// missing is what a node would ask of another with this frontier.
func missing(l *ledger.Logs, theirs ledger.Frontier, at time.Time) []ledger.Want {
	var marks []ledger.Mark
	for _, h := range theirs {
		marks = append(marks, ledger.Mark{Log: h.Log, Next: h.Next, ID: h.ID})
	}
	return l.Need(marks, at).Wants
}

func ranges(ws []ledger.Want) string {
	var b strings.Builder
	for _, w := range ws {
		fmt.Fprintf(&b, "%c[%d,%d) ", w.Log.Author[0], w.From, w.To)
	}
	return orNone(b.String())
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return strings.TrimSpace(s)
}

func TestFrontierRefuses(t *testing.T) {
	good := testFrontier()
	for name, f := range map[string]ledger.Frontier{
		"order":     {good[1], good[0]},
		"twice":     {good[0], good[0]},
		"empty log": {{Log: good[0].Log}},
		"too high":  {{Log: good[0].Log, Next: ledger.MaxSeq + 2}},
		"too many":  make(ledger.Frontier, ledger.MaxFrontierLogs+1),
	} {
		if _, err := f.Marshal(); err == nil {
			t.Errorf("%s: marshalled", name)
		}
		if len(f) < 3 {
			b := []byte{0, 0, byte(len(f) * ledger.HeadSize)}
			for _, h := range f {
				id := h.Log.Bytes()
				b = append(b, id[:]...)
				for i := range 8 {
					b = append(b, byte(h.Next>>(56-8*i)))
				}
				b = append(b, h.ID[:]...)
			}
			if got, err := ledger.ParseFrontier(b); err == nil || got != nil {
				t.Errorf("%s: parsed", name)
			}
		}
	}
	if _, err := ledger.ParseFrontier(append([]byte{0, 0, 0}, 0)); err == nil {
		t.Error("a trailing byte was taken")
	}
	if good.Hash() == (ledger.Frontier{}).Hash() || good.Hash() == good[:2].Hash() {
		t.Error("different frontiers have one hash")
	}
}
