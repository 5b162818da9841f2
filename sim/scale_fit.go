package sim

import (
	"fmt"
	"time"

	"tocsin/sim/model"
)

// point is a run of real nodes that the scale model is held against.
type point struct {
	devices  int
	p50, p99 time.Duration
}

// frameBytes is the packet that a text of so many bytes travels in: the entry, its signature, the sealing
// and its padding (a text of 200 bytes took 1,1 kB).
func frameBytes(text int) int { return 900 + text }

// fitted are the parameters that runs of real nodes gave: see Calibration. Contact, Session,
// Nudge and Regraft are the program's own waits (mesh/limits.go).
func fitted() model.Params {
	return model.Params{
		Degree: 4, Work: 2, Show: 500 * time.Microsecond,
		Contact: 1500 * time.Millisecond, Session: 50 * time.Millisecond, Nudge: time.Second, Regraft: 10 * time.Second,
	}
}

// settled is from when on messages count for the fit: before, the first ones carry keys for
// everybody, of which the model knows nothing. Among 200 devices two of the 70 messages of the
// first minute waited for that, 130 ms in the mean; with them p99 is 127 ms.
const settled = 10 * time.Second

// points are real nodes in the first minute of a calm day as Calibration tells it, from settled on.
var points = []point{
	{50, 12_700 * time.Microsecond, 22_000 * time.Microsecond},
	{100, 15_500 * time.Microsecond, 23_500 * time.Microsecond},
	{200, 17_900 * time.Microsecond, 26_000 * time.Microsecond},
}

// Calibration is the calm day on which the scale model was fitted, for so many devices: what
// it says of real nodes and of the model is drawn on one plot.
func Calibration(devices int) *Scenario {
	text := fmt.Sprintf("a ward of %d", devices)
	s := &Scenario{
		Version: 1, Name: "calibration", Title: "Calm day: " + text, Duration: time.Minute, Heal: 30 * time.Second,
		Mesh:     MeshSpec{Sites: []Site{{Name: "ward", Devices: devices}}},
		Groups:   []GroupSpec{{Name: "incident", Members: []string{"all"}}},
		Workload: []Work{{Group: "incident", PerHour: 4000 / float64(devices)}},
	}
	s.fill()
	return s
}
