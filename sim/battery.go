package sim

import (
	"fmt"
	"time"
)

// The battery of a device, by a model. What is drawn is assumed, of the order that makers of telephones
// state; it was not measured. What the device does is taken from the run.
const (
	batteryWh  = 15.0 // a telephone's
	idleWatts  = 0.3  // screen off, network listening
	workWatts  = 2.0  // more while the processor works
	radioWatts = 1.0  // more while the radio sends or takes
	radioRate  = 20e6 // bits a second on the air
)

// drain is what one device did in the mean, and what that takes.
type drain struct {
	work, radio float64 // share of the time that processor and radio are at it
	watts       float64
}

// drained works out what the mean device did between the first and the last sample.
func (r *Result) drained() (drain, bool) {
	if r.Scale != nil || len(r.Samples) < 2 || r.Devices == 0 {
		return drain{}, false
	}
	first, last := r.Samples[0], r.Samples[len(r.Samples)-1]
	seconds := (last.At - first.At).Seconds() * float64(r.Devices)
	if seconds <= 0 {
		return drain{}, false
	}
	var d drain
	// Each packet is sent by one device and taken by another, and is work for both.
	d.work = min(1, 2*float64(last.Packets-first.Packets)*r.scenario.Mesh.CPU.Seconds()/seconds)
	d.radio = min(1, 2*float64(last.Bytes-first.Bytes)*8/radioRate/seconds)
	d.watts = idleWatts + d.work*workWatts + d.radio*radioWatts
	return d, true
}

// batteryRow is the line of the report.
func (r *Result) batteryRow() (row, bool) {
	d, ok := r.drained()
	if !ok {
		return row{}, false
	}
	hours := func(watts float64) string {
		return fmt.Sprintf("%.0f h", (time.Duration(batteryWh / watts * float64(time.Hour))).Hours())
	}
	return row{"Battery — by a model, from assumed figures", fmt.Sprintf(
		"the processor is busy %.1f %% of the time, the radio %.1f %%: a battery of %.0f Wh lasts %s with the screen off, and %s without Tocsin (assumed: %.1f W idle, %.1f W more at work, %.1f W more on the air at %.0f Mbit/s)",
		100*d.work, 100*d.radio, batteryWh, hours(d.watts), hours(idleWatts), idleWatts, workWatts, radioWatts, radioRate/1e6)}, true
}
