package mesh

import (
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"pgregory.net/rapid"
)

func namesOf(n int) (out []BlobName) {
	for i := range n {
		out = append(out, BlobName{byte(i), byte(i >> 8)})
	}
	return out
}

func all(n int, v bool) []bool { return slices.Repeat([]bool{v}, n) }

func TestBlobPlanSharesOut(t *testing.T) {
	pl, names := newBlobPlan(), namesOf(4)
	pl.add(wants(names, 0))
	for _, p := range []peer.ID{"a", "b"} {
		if asked, hops := pl.ask(p, 256); len(asked) != 4 || hops != 0 || asked[0] != names[0] {
			t.Fatalf("asks for %d with %d hops", len(asked), hops)
		}
		pl.learn(p, names, all(4, true))
		if again, _ := pl.ask(p, 256); len(again) != 0 {
			t.Error("asks twice")
		}
	}
	var got []BlobName
	var parts []*blobPart
	for _, p := range []peer.ID{"a", "b", "a", "b"} {
		part := pl.claim(p)
		got, parts = append(got, part.name), append(parts, part)
	}
	if !slices.Equal(got, names) {
		t.Error("they were not shared out by rank")
	}
	// At the end each may be fetched from a second holder, and from no third.
	if part := pl.claim("a"); part == nil || part.name != names[1] {
		t.Error("nothing is fetched twice at the end")
	}
	pl.learn("c", names, all(4, true))
	for part := pl.claim("c"); part != nil; part = pl.claim("c") {
		if part.name == names[1] {
			t.Error("fetched from three")
		}
	}
	// What has come in part goes on with the same neighbour.
	pl.forget(names[1:])
	parts[0].data, parts[0].size = make([]byte, 100), 200
	pl.release("a", parts[0], true)
	pl.release("c", &blobPart{name: names[0]}, true)
	if part := pl.claim("b"); part == nil || len(part.data) != 0 {
		t.Error("another neighbour goes on with what it did not send")
	} else {
		pl.release("b", part, true)
	}
	if part := pl.claim("a"); part == nil || len(part.data) != 100 || part.issued != 100 {
		t.Errorf("does not go on: %+v", part)
	}
	pl.forget(names)
	if now, later := pl.work("a"); now || later {
		t.Error("there is work left")
	}
}

func TestBlobPlanBans(t *testing.T) {
	pl, names := newBlobPlan(), namesOf(2)
	pl.add(wants(names, 0))
	pl.learn("a", names, all(2, true))
	pl.ban("a")
	if asked, _ := pl.ask("a", 256); len(asked) != 0 || pl.claim("a") != nil {
		t.Error("asked all the same")
	}
	pl.leave("a") // coming again is no way out
	if now, _ := pl.work("a"); now {
		t.Error("a new connection lifts the ban")
	}
	pl.pardon("a")
	if now, _ := pl.work("a"); !now {
		t.Error("never asked again")
	}
}

// TestBlobPlanCarriers: neighbours are asked to fetch for us only what nobody has, and two at a time.
func TestBlobPlanCarriers(t *testing.T) {
	pl, names := newBlobPlan(), namesOf(2)
	pl.add(wants(names, 3))
	for _, p := range []peer.ID{"a", "b", "c"} {
		if _, hops := pl.ask(p, 256); hops != 0 {
			t.Errorf("%s is asked to carry before anybody lacked it", p)
		}
	}
	for _, p := range []peer.ID{"a", "b", "c"} {
		pl.learn(p, names, []bool{false, p == "c"})
		pl.meet(p)
	}
	pl.learn("c", names[1:], all(1, true))
	for p, want := range map[peer.ID]uint8{"a": 3, "b": 3} {
		if asked, hops := pl.ask(p, 256); hops != want || len(asked) != 1 || asked[0] != names[0] {
			t.Errorf("%s is asked for %d with %d hops", p, len(asked), hops)
		}
	}
	if _, hops := pl.ask("d", 256); hops != 0 {
		t.Error("a third is asked to carry")
	}
	pl.newcomer("e")
	pl.meet("d")
	if _, hops := pl.ask("e", 256); hops != 3 {
		t.Error("a newcomer is not asked to carry")
	}
}

func TestBlobPlanBounds(t *testing.T) {
	pl := newBlobPlan()
	if left := pl.add(wants(namesOf(maxBlobWants+5), 0)); left != 5 {
		t.Errorf("%d were left", left)
	}
	for i, name := range namesOf(maxBlobParts + 10) {
		p := peer.ID([]byte{byte(i)})
		pl.learn(p, []BlobName{name}, all(1, true))
		part := pl.claim(p)
		part.data = []byte{1}
		pl.release(p, part, true)
	}
	if n := pl.countParts(); n != maxBlobParts {
		t.Errorf("%d parts are kept", n)
	}
	// While those that are gone have all the places, what a neighbour that is here sent still finds one.
	last := namesOf(maxBlobParts + 11)[maxBlobParts+10:]
	pl.newcomer("here")
	pl.learn("here", last, all(1, true))
	part := pl.claim("here")
	part.data = []byte{1, 2}
	pl.release("here", part, true)
	if n := pl.countParts(); n != maxBlobParts || pl.peers["here"].parts[part.name] == nil {
		t.Errorf("%d parts, and not that of the neighbour that is here", n)
	}
	for _, b := range pl.peers {
		b.here = true
	}
	pl.learn("more", last, all(1, true))
	more := pl.claim("more")
	more.data = []byte{1, 2, 3}
	pl.release("more", more, true)
	if n := pl.countParts(); n != maxBlobParts || pl.peers["more"].parts[more.name] != nil {
		t.Errorf("%d parts: one of a neighbour that is here made way", n)
	}
	if asked, _ := pl.ask("z", maxBlobAsk); len(asked) != maxBlobAsk {
		t.Errorf("asks for %d", len(asked))
	}
}

// TestBlobPlanEverythingComes: whatever neighbours have, lose, cut off or leave, each chunk that somebody has comes, and none is fetched by more
// than two at once.
func TestBlobPlanEverythingComes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pl, names := newBlobPlan(), namesOf(rapid.IntRange(1, 12).Draw(t, "chunks"))
		peers := []peer.ID{"a", "b", "c"}
		pl.add(wants(names, 2))
		held := map[peer.ID][]bool{}
		for _, p := range peers {
			held[p] = rapid.SliceOfN(rapid.Bool(), len(names), len(names)).Draw(t, "held by "+string(p))
		}
		claims := map[peer.ID][]*blobPart{}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			p := rapid.SampledFrom(peers).Draw(t, "peer")
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				asked, _ := pl.ask(p, 5)
				answer(pl, p, asked, names, held[p])
			case 1:
				if part := pl.claim(p); part != nil {
					claims[p] = append(claims[p], part)
				}
			case 2: // the first of its chunks arrives
				if c := claims[p]; len(c) > 0 {
					pl.release(p, c[0], false)
					pl.forget([]BlobName{c[0].name})
					claims[p] = c[1:]
				}
			case 3: // its link breaks
				for _, part := range claims[p] {
					part.data = append(part.data, 1)
					pl.release(p, part, true)
				}
				claims[p] = nil
				pl.leave(p)
			case 4:
				pl.meet(p)
			}
			for _, w := range pl.wants {
				if len(w.claims) > maxBlobClaims {
					t.Fatalf("%d claims", len(w.claims))
				}
			}
		}
		for _, p := range peers {
			for _, part := range claims[p] {
				pl.release(p, part, true)
			}
		}
		for _, p := range peers {
			pl.meet(p)
			for asked, _ := pl.ask(p, 5); len(asked) > 0; asked, _ = pl.ask(p, 5) {
				answer(pl, p, asked, names, held[p])
			}
			for part := pl.claim(p); part != nil; part = pl.claim(p) {
				pl.forget([]BlobName{part.name})
			}
		}
		for i, name := range names {
			somebody := held["a"][i] || held["b"][i] || held["c"][i]
			if somebody && pl.wanted(name) {
				t.Fatalf("chunk %d never comes", i)
			}
		}
	})
}

func answer(pl *blobPlan, p peer.ID, asked, names []BlobName, held []bool) {
	out := make([]bool, len(asked))
	for i, name := range asked {
		out[i] = held[slices.Index(names, name)]
	}
	pl.learn(p, asked, out)
}

// TestBlobWindow runs the window over a link of a rate and a round trip: it uses the link, and what queues stays short.
func TestBlobWindow(t *testing.T) {
	for what, link := range map[string]struct {
		rate float64 // bytes a second
		trip time.Duration
		most time.Duration // of queue
		used float64       // share of the rate
	}{
		"64 kb/s, 800 ms": {8e3, 800 * time.Millisecond, 1500 * time.Millisecond, 0.5},
		"a LAN":           {50e6, time.Millisecond, 100 * time.Millisecond, 0.9},
		"DSL":             {250e3, 40 * time.Millisecond, 1200 * time.Millisecond, 0.9},
	} {
		w := blobWindow{size: blobMinWindow}
		queue, moved, elapsed := time.Duration(0), 0.0, 0.0
		for range 400 {
			// A window is sent at once and takes a round trip and its own length.
			took := link.trip + time.Duration(float64(w.size)/link.rate*float64(time.Second))
			queue = took - link.trip
			moved, elapsed = moved+float64(w.size), elapsed+max(took.Seconds(), float64(w.size)/link.rate)
			w.sample(w.size/2, took, false)
		}
		if queue > link.most {
			t.Errorf("%s: %v of queue", what, queue)
		}
		if used := moved / elapsed / link.rate; used < link.used && w.size < blobMaxWindow {
			t.Errorf("%s: %.2f of the rate is used", what, used)
		}
		w.sample(1, time.Millisecond, true)
		if w.size > blobBusyWindow {
			t.Errorf("%s: %d bytes while synchronisation is at work", what, w.size)
		}
	}
	w := blobWindow{size: blobMinWindow}
	w.sample(1, -time.Hour, false) // a clock that was set back
	if w.size < blobMinWindow || w.size > blobMaxWindow {
		t.Errorf("window %d", w.size)
	}
}
