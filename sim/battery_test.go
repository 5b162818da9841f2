package sim

import (
	"strings"
	"testing"
	"time"
)

// TestBattery: the battery model follows what the run did, and says that its figures are assumed.
func TestBattery(t *testing.T) {
	r := result(t)
	quiet, ok := r.drained()
	if !ok || quiet.watts < idleWatts || quiet.watts > idleWatts+0.01 {
		t.Fatalf("%v, %+v", ok, quiet)
	}
	last := &r.Samples[len(r.Samples)-1]
	seconds := (last.At - r.Samples[0].At).Seconds() * float64(r.Devices)
	// A tenth of the time at work: so many packets, each work for two.
	last.Packets = uint64(0.1 * seconds / r.scenario.Mesh.CPU.Seconds() / 2)
	busy, _ := r.drained()
	if busy.work < 0.099 || busy.work > 0.101 || busy.watts-quiet.watts < 0.19 || busy.watts-quiet.watts > 0.21 {
		t.Errorf("%+v after %+v", busy, quiet)
	}
	if row, ok := r.batteryRow(); !ok || !strings.Contains(row.Value, "assumed") || !strings.Contains(row.Value, "10.0 %") {
		t.Errorf("%+v", row)
	}
	r.Samples = []Sample{{At: time.Second}}
	if _, ok := r.batteryRow(); ok {
		t.Error("nothing was measured, and a battery is told of")
	}
}
