package mesh

import "testing"

// TestKilledDeviceIsBackAtOnce: a device that was killed leaves connections
// that look open. Its next run must not wait for them to time out: they are
// closed, and what it missed is pulled anew.
func TestKilledDeviceIsBackAtOnce(t *testing.T) {
	eachCarrier(t, func(t *testing.T, c carrier) {
		w := newWorld(t)
		dev := w.member(t)
		first := w.startAs(t, dev, c, nil)
		a := w.start(t, c, func(cfg *Config) { cfg.Static = fullAddrs(t, first.host) })
		a.awaitPeer(t, first)
		poll(t, "the first pull", func() bool { return a.Stats().Pulls == 1 })

		second := w.startAs(t, dev, c, func(cfg *Config) { cfg.Static = fullAddrs(t, a.host) })
		poll(t, "only the second run is connected", func() bool {
			open := a.links.snapshot()
			return len(open) == 1 && open[0].proof.run == second.links.desk.run
		})
		poll(t, "another pull", func() bool { return a.Stats().Pulls >= 2 })
		if n := a.Stats().Peers; n != 1 {
			t.Errorf("%d peers", n)
		}
	})
}
