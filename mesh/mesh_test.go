package mesh

import (
	"fmt"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTwoNodes(t *testing.T) {
	eachCarrier(t, func(t *testing.T, c carrier) {
		w := newWorld(t)
		a := w.start(t, c, nil)
		a.store.put([]byte("said before they met"))
		b := w.start(t, c, func(cfg *Config) { cfg.Static = a.Addrs() })
		b.store.awaitFrame(t, "said before they met")
		a.awaitPeer(t, b)

		for i := range 20 {
			text := fmt.Sprintf("from a %d", i)
			a.store.put([]byte(text))
			if err := a.Publish(t.Context(), []byte(text)); err != nil {
				t.Fatal(err)
			}
			b.store.awaitFrame(t, text)
		}
		for i := range 20 {
			text := fmt.Sprintf("from b %d", i)
			b.store.put([]byte(text))
			if err := b.Publish(t.Context(), []byte(text)); err != nil {
				t.Fatal(err)
			}
			a.store.awaitFrame(t, text)
		}
		p := a.Peers()
		if len(p) != 1 || p[0].ID != b.ID() || p[0].Org != "stmarys.nhs.example" || p[0].Transport != string(c) || !p[0].Inbound {
			t.Errorf("peers of a: %+v", p)
		}
		t.Logf("%+v", a.Stats())
		t.Logf("%+v", b.Stats())
	})
}
