//go:build long

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestReplay: one seed is one trace, three times. It takes the programs that are built for it, minutes of
// processor, and therefore a tag: go test -tags long -run TestReplay ./cmd/tocsin-sim. TOCSIN_SIM_REPLAY names the folder that holds tocsin-replay and tocsin-sim.wasm.
func TestReplay(t *testing.T) {
	built := os.Getenv("TOCSIN_SIM_REPLAY")
	if built == "" {
		t.Fatal("set TOCSIN_SIM_REPLAY to the folder of tocsin-replay and tocsin-sim.wasm")
	}
	out, errs, code := command(t, "replay", write(t, "tiny.yaml", tiny), "-o", t.TempDir(), "--times", "3", "--json",
		"--sandbox", filepath.Join(built, sandboxName), "--program", filepath.Join(built, programName))
	var said struct {
		Identical bool
		Times     int
		Lines     int
	}
	if err := json.Unmarshal([]byte(out), &said); err != nil || code != 0 || !said.Identical || said.Times != 3 || said.Lines < 30 {
		t.Errorf("%d, %v: %s\n%s", code, err, out, errs)
	}
}
