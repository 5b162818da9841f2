package mesh

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// chunkStore is a BlobStore in memory.
type chunkStore struct {
	mu     sync.Mutex
	chunks map[BlobName][]byte
	from   map[peer.ID]int // chunks taken, by neighbour
	order  []BlobName      // in which they were taken
	asked  map[peer.ID][]BlobName
	lie    bool // serve wrong bytes
	full   bool // take nothing
	carry  func(from peer.ID, name BlobName, hops uint8)
	taken  func(name BlobName)
}

func newChunkStore() *chunkStore {
	return &chunkStore{chunks: make(map[BlobName][]byte), from: make(map[peer.ID]int), asked: make(map[peer.ID][]BlobName)}
}

// chunk makes the chunk of a number, and stores it.
func (s *chunkStore) make(n, size int) BlobName {
	data := bytes.Repeat([]byte{byte(n)}, size)
	binary.BigEndian.PutUint32(data, uint32(n))
	name := sha256.Sum256(data)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chunks[name] = data
	return name
}

func (s *chunkStore) HaveBlobs(from peer.ID, names []BlobName, hops uint8) []bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]bool, len(names))
	for i, name := range names {
		s.asked[from] = append(s.asked[from], name)
		_, out[i] = s.chunks[name]
		if !out[i] && hops > 0 && s.carry != nil {
			s.carry(from, name, hops)
		}
	}
	return out
}

func (s *chunkStore) ReadBlob(name BlobName) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data := s.chunks[name]
	if s.lie && len(data) > 0 {
		data = append(bytes.Clone(data[:len(data)-1]), data[len(data)-1]^1)
	}
	return data, nil
}

func (s *chunkStore) TakeBlob(from peer.ID, name BlobName, data []byte) error {
	s.mu.Lock()
	if s.full {
		s.mu.Unlock()
		return errors.New("full")
	}
	s.chunks[name] = data
	s.from[from]++
	s.order = append(s.order, name)
	taken := s.taken
	s.mu.Unlock()
	if taken != nil {
		taken(name)
	}
	return nil
}

func (s *chunkStore) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.order)
}

func with(s *chunkStore, others ...*station) func(*Config) {
	return func(c *Config) {
		c.Blobs = s
		for _, o := range others {
			c.Static = append(c.Static, o.Addrs()...)
		}
	}
}

func wants(names []BlobName, hops uint8) []BlobWant {
	out := make([]BlobWant, len(names))
	for i, name := range names {
		out[i] = BlobWant{Name: name, Rank: uint64(i), Hops: hops}
	}
	return out
}

func TestBlobsFetchedFromOneHolder(t *testing.T) {
	eachCarrier(t, func(t *testing.T, c carrier) {
		w, has, lacks := newWorld(t), newChunkStore(), newChunkStore()
		var names []BlobName
		for i := range 40 {
			names = append(names, has.make(i, 4+i*1500))
		}
		a := w.start(t, c, with(has))
		b := w.start(t, c, with(lacks, a))
		b.awaitPeer(t, a)
		b.WantBlobs(wants(names, 0))
		poll(t, "all chunks", func() bool { return lacks.count() == len(names) })
		if lacks.order[0] != names[0] {
			t.Error("what was ranked first did not come first")
		}
		if s := b.Stats(); s.BlobChunksIn != 40 || s.BlobsBad != 0 || s.BlobIn < 39*20*1500 {
			t.Errorf("counted %d chunks, %d bad, %d bytes", s.BlobChunksIn, s.BlobsBad, s.BlobIn)
		}
		if left, _ := b.blobs.plan.work(a.ID()); left {
			t.Error("there is work left")
		}
	})
}

// TestBlobsFromSeveralHolders: two that hold half each, and one that holds all.
func TestBlobsFromSeveralHolders(t *testing.T) {
	w, left, right, lacks := newWorld(t), newChunkStore(), newChunkStore(), newChunkStore()
	var names []BlobName
	for i := range 60 {
		if i%3 != 0 {
			names = append(names, left.make(i, MaxBlob))
		}
		if i%3 != 1 {
			name := right.make(i, MaxBlob)
			if i%3 == 0 {
				names = append(names, name)
			}
		}
	}
	a, b := w.start(t, quicCarrier, with(left)), w.start(t, tcpCarrier, with(right))
	c := w.start(t, tcpCarrier, func(cfg *Config) {
		with(lacks, a, b)(cfg)
		cfg.Listen = []string{tcpCarrier.listen(), quicCarrier.listen()}
	})
	c.awaitPeer(t, a)
	c.awaitPeer(t, b)
	c.WantBlobs(wants(names, 0))
	poll(t, "all chunks", func() bool { return lacks.count() == len(names) })
	if lacks.from[a.ID()] < 20 || lacks.from[b.ID()] < 20 {
		t.Errorf("%d from one and %d from the other", lacks.from[a.ID()], lacks.from[b.ID()])
	}
}

// TestBlobsHostileHolder: one that sends wrong bytes is named, asked no more, and another asked.
func TestBlobsHostileHolder(t *testing.T) {
	w, bad, good, lacks := newWorld(t), newChunkStore(), newChunkStore(), newChunkStore()
	bad.lie = true
	var names []BlobName
	for i := range 30 {
		names = append(names, good.make(i, 20000))
		bad.make(i, 20000)
	}
	b := w.start(t, tcpCarrier, with(bad))
	c := w.start(t, tcpCarrier, with(lacks, b))
	c.awaitPeer(t, b)
	c.WantBlobs(wants(names, 0))
	poll(t, "the wrong bytes are seen", func() bool { return c.Stats().BlobsBad == 1 })
	g := w.start(t, tcpCarrier, with(good, c))
	poll(t, "all chunks", func() bool { return lacks.count() == len(names) })
	if lacks.from[g.ID()] != len(names) || lacks.from[b.ID()] != 0 {
		t.Errorf("%d from the honest holder, %d from the other", lacks.from[g.ID()], lacks.from[b.ID()])
	}
	if s := c.Stats(); s.BlobsBad != 1 || s.SyncRefused["wrong-bytes"] != 1 {
		t.Errorf("counted %d, %v", s.BlobsBad, s.SyncRefused)
	}
	if !strings.Contains(c.log.String(), b.ID().String()) {
		t.Error("the log does not name who sent them")
	}
}

// TestBlobsCarriedOverHops: A and C share no link; B, which lacks the chunks, is asked to fetch them, and says when it has.
func TestBlobsCarriedOverHops(t *testing.T) {
	w, has, middle, lacks := newWorld(t), newChunkStore(), newChunkStore(), newChunkStore()
	name := has.make(1, 50000)
	// The two ends are not to hear of each other.
	a := w.start(t, tcpCarrier, func(cfg *Config) {
		with(has)(cfg)
		hide(cfg)
	})
	var mid *station
	var waiting sync.Map
	middle.carry = func(from peer.ID, name BlobName, hops uint8) {
		waiting.Store(name, from)
		mid.WantBlobs([]BlobWant{{Name: name, Hops: hops - 1}})
	}
	middle.taken = func(name BlobName) {
		if from, ok := waiting.Load(name); ok {
			mid.TellBlobs(from.(peer.ID))
		}
	}
	cfg, mid0 := w.config(t, w.member(t), tcpCarrier)
	mid = mid0
	with(middle, a)(&cfg)
	var err error
	if mid.Mesh, err = New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mid.Close(); err != nil {
			t.Error(err)
		}
	})
	mid.awaitPeer(t, a)
	c := w.start(t, tcpCarrier, func(cfg *Config) {
		with(lacks, mid)(cfg)
		hide(cfg)
	})
	c.awaitPeer(t, mid)
	c.WantBlobs([]BlobWant{{Name: name, Hops: 2}})
	poll(t, "the chunk over two hops", func() bool { return lacks.count() == 1 })
	if lacks.from[mid.ID()] != 1 || middle.from[a.ID()] != 1 {
		t.Error("it came by another way")
	}
}

// cutter is a TCP proxy that cuts every connection after so many bytes.
type cutter struct {
	net.Listener
	to    string
	after int64
	cuts  int
	mu    sync.Mutex
	work  sync.WaitGroup
}

func newCutter(t *testing.T, to string, after int64) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: l, to: to, after: after}
	c.work.Go(c.run)
	t.Cleanup(func() {
		l.Close()
		c.work.Wait()
	})
	return c
}

func (c *cutter) run() {
	for {
		in, err := c.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", c.to)
		if err != nil {
			in.Close()
			continue
		}
		c.work.Go(func() {
			defer in.Close()
			io.Copy(out, in)
			out.Close()
		})
		c.work.Go(func() {
			defer out.Close()
			if n, _ := io.CopyN(in, out, c.after); n == c.after {
				c.mu.Lock()
				c.cuts++
				c.mu.Unlock()
			}
			in.Close()
		})
	}
}

// hostPort is the TCP address of a station.
func hostPort(t *testing.T, s *station) string {
	t.Helper()
	for _, text := range s.Addrs() {
		a, err := ma.NewMultiaddr(text)
		if err != nil {
			t.Fatal(err)
		}
		if port, err := a.ValueForProtocol(ma.P_TCP); err == nil {
			return "127.0.0.1:" + port
		}
	}
	t.Fatal("no TCP address")
	return ""
}

// through is the address of a station by way of a proxy.
func (c *cutter) through(s *station) string {
	_, port, _ := net.SplitHostPort(c.Addr().String())
	return "/ip4/127.0.0.1/tcp/" + port + "/p2p/" + s.ID().String()
}

// TestBlobsResumeWithinAChunk: on links that break before a whole chunk has passed everything still arrives, and little is sent twice.
func TestBlobsResumeWithinAChunk(t *testing.T) {
	w, has, lacks := newWorld(t), newChunkStore(), newChunkStore()
	var names []BlobName
	for i := range 4 {
		names = append(names, has.make(i, MaxBlob))
	}
	// Neither tells the other where it is, so that the proxy is the only way.
	hidden := []libp2p.Option{libp2p.AddrsFactory(func([]ma.Multiaddr) []ma.Multiaddr { return nil })}
	a := w.start(t, tcpCarrier, func(cfg *Config) {
		with(has)(cfg)
		cfg.HostOptions = hidden
	})
	proxy := newCutter(t, hostPort(t, a), 48<<10) // a handshake and identify take some 20 kB of it
	b := w.start(t, tcpCarrier, func(cfg *Config) {
		with(lacks)(cfg)
		cfg.HostOptions, cfg.Static = hidden, []string{proxy.through(a)}
		cfg.Unsafe.NoSync = true
	})
	b.WantBlobs(wants(names, 0))
	poll(t, "all chunks", func() bool { return lacks.count() == len(names) })
	proxy.mu.Lock()
	cuts := proxy.cuts
	proxy.mu.Unlock()
	if s := a.Stats(); cuts < 4 || s.BlobOut > 3*4*MaxBlob {
		t.Errorf("%d cuts, %d bytes served for %d", cuts, s.BlobOut, 4*MaxBlob)
	}
	t.Logf("%d cuts, %d bytes served for %d", cuts, a.Stats().BlobOut, 4*MaxBlob)
}

// TestBlobsBadRequests: what breaks the rules ends the session, and nothing else.
func TestBlobsBadRequests(t *testing.T) {
	w, has := newWorld(t), newChunkStore()
	name := has.make(1, 1000)
	a := w.start(t, tcpCarrier, with(has))
	b := w.start(t, tcpCarrier, func(cfg *Config) { cfg.Static = a.Addrs() })
	b.awaitPeer(t, a)
	stream := func() network.Stream {
		s, err := b.host.NewStream(t.Context(), a.ID(), BlobProtocol)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for what, raw := range map[string][]byte{
		"type 0":        {0, 0, 0},
		"type 9":        {9, 0, 0},
		"too long":      {1, 0xff, 0xff},
		"ask of none":   {1, 0, 3, 0, 0, 0},
		"ask, odd":      {1, 0, 4, 0, 0, 1, 7},
		"get, short":    {2, 0, 1, 7},
		"get of none":   append(append([]byte{2, 0, 40}, name[:]...), 0, 0, 0, 0, 0, 0, 0, 0),
		"get of all":    append(append([]byte{2, 0, 40}, name[:]...), 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff),
		"news and more": {3, 0, 1, 7},
	} {
		if got, err := answerTo(stream(), raw); !errors.Is(err, network.ErrReset) {
			t.Errorf("%s: answered %x, %v", what, got, err)
		}
		unserved(t, a) // the client may see the reset before the slot is free
	}
	s1, s2 := stream(), stream()
	defer s1.Reset()
	defer s2.Reset()
	for _, s := range []network.Stream{s1, s2} {
		req := blobRequest{kind: blobGet, name: name, length: 1000}
		raw, err := req.marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(raw); err != nil {
			t.Fatal(err)
		}
		if size, n, err := readBlobHead(s, 0, 1000); err != nil || size != 1000 || n != 1000 {
			t.Errorf("a good request is answered %d, %d, %v", size, n, err)
		}
	}
	third := stream()
	defer third.Reset()
	if _, err := third.Write([]byte{1}); err == nil {
		if _, err = io.ReadFull(third, make([]byte, 1)); err == nil {
			t.Error("a third session was served")
		}
	}
	poll(t, "the refusals are counted", func() bool {
		st := a.Stats()
		return st.BlobServesRefused == 1 && st.SyncRefused["blob"] == 9
	})
}

// answerTo sends all that a side has to say and returns what comes back. The other side may refuse before this one has said
// that it ends: then the refusal is the error of the end already.
func answerTo(s network.Stream, raw []byte) ([]byte, error) {
	if _, err := s.Write(raw); err != nil {
		return nil, err
	}
	if err := s.CloseWrite(); err != nil {
		return nil, err
	}
	return io.ReadAll(s)
}

// unserved waits until a station serves nobody.
func unserved(t *testing.T, s *station) {
	t.Helper()
	poll(t, "the session's slot is free", func() bool {
		s.blobs.serveMu.Lock()
		defer s.blobs.serveMu.Unlock()
		return s.blobs.serves == 0
	})
}

// TestBlobsGivenBackAreTakenUp: a neighbour whose turn passed while two others were fetching is asked when they are gone, at
// once; one that failed waits its time out, so that two that fail do not drive each other.
func TestBlobsGivenBackAreTakenUp(t *testing.T) {
	for what, lost := range map[string]func(b *blobs, p peer.ID, n *blobNeighbour){
		"gone, then ended": func(b *blobs, p peer.ID, n *blobNeighbour) {
			b.handle(blobEvent{kind: blobDown, peer: p})
			b.plan.release(p, &blobPart{name: BlobName{}}, true)
			b.handle(blobEvent{kind: blobEnded, peer: p, of: n, err: io.ErrUnexpectedEOF})
		},
		"ended": func(b *blobs, p peer.ID, n *blobNeighbour) {
			b.plan.release(p, &blobPart{name: BlobName{}}, true)
			b.handle(blobEvent{kind: blobEnded, peer: p, of: n, err: io.ErrUnexpectedEOF})
		},
		"banned": func(b *blobs, p peer.ID, n *blobNeighbour) {
			b.plan.release(p, &blobPart{name: BlobName{}}, false)
			b.plan.ban(p)
			b.handle(blobEvent{kind: blobBanned, peer: p})
			b.handle(blobEvent{kind: blobEnded, peer: p, of: n, err: errWrongBytes})
		},
	} {
		t.Run(what, func(t *testing.T) {
			b := newBlobs(nil, &Config{}, nil)
			names := namesOf(1)
			b.plan.add(wants(names, 0))
			for _, p := range []peer.ID{"a", "b", "c", "d"} {
				b.handle(blobEvent{kind: blobUp, peer: p})
				b.plan.learn(p, names, all(1, true))
			}
			for _, p := range []peer.ID{"a", "b"} { // as start has it
				b.peers[p].due, b.peers[p].running = false, true
				b.active++
				b.plan.claim(p)
			}
			b.task(t.Context(), blobTask{"c", taskFetch})
			b.peers["d"].failed = true
			b.peers["d"].due = false
			b.start(t.Context()) // nothing to fetch from c: two are at it
			if b.peers["c"].due || b.active != 2 {
				t.Fatalf("%d sessions, c is due: %v", b.active, b.peers["c"].due)
			}
			lost(b, "a", b.peers["a"])
			if now, _ := b.plan.work("c"); !now || !b.peers["c"].due {
				t.Errorf("something to fetch from it: %v; it is due: %v", now, b.peers["c"].due)
			}
			if b.peers["d"].due {
				t.Error("one that failed is asked before its time")
			}
			if n := b.peers["a"]; n != nil && n.due {
				t.Error("the one that failed just now is asked again at once")
			}
			b.task(t.Context(), blobTask{"d", taskFetch})
			if !b.peers["d"].due {
				t.Error("its time came, and it is not asked")
			}
		})
	}
}

// TestBlobsHostileAnswers: a holder whose answers break the rules costs its session.
func TestBlobsHostileAnswers(t *testing.T) {
	for what, head := range map[string][]byte{
		"a chunk too long":       {0, 1, 0, 0, 0, 0, 0, 16},
		"more than was asked":    {0, 0, 0x10, 0, 0xff, 0xff, 0xff, 0xff},
		"less than there is":     {0, 0, 0x10, 0, 0, 0, 0, 1},
		"bytes of no chunk":      {0, 0, 0, 0, 0, 0, 0, 1},
		"an answer that is cut":  {0, 0},
		"nothing of a long file": {0, 0, 0x10, 0, 0, 0, 0, 0},
	} {
		if _, _, err := readBlobHead(bytes.NewReader(head), 0, 4096); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	if _, err := readBlobAsked(bytes.NewReader([]byte{0, 2}), 2); err == nil {
		t.Error("an answer other than yes or no was taken")
	}
}

func FuzzBlobRequest(f *testing.F) {
	for _, r := range []blobRequest{
		{kind: blobAsk, hops: 3, names: []BlobName{{1}, {2}}},
		{kind: blobGet, name: BlobName{3}, offset: 7, length: 4096},
		{kind: blobNews},
	} {
		raw, err := r.marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := readBlobRequest(bytes.NewReader(raw))
		if err != nil {
			return
		}
		again, err := r.marshal()
		if err != nil || !bytes.HasPrefix(raw, again) {
			t.Fatalf("%x is read, and written as %x, %v", raw, again, err)
		}
	})
}

// BenchmarkBlobs fetches 20 MB in chunks from one holder on the same machine.
func BenchmarkBlobs(b *testing.B) {
	for _, c := range []carrier{tcpCarrier, quicCarrier} {
		b.Run(string(c), func(b *testing.B) {
			w, has := newWorld(b), newChunkStore()
			var names []BlobName
			for i := range 20_000_000 / MaxBlob {
				names = append(names, has.make(i, MaxBlob))
			}
			a := w.start(b, c, with(has))
			b.SetBytes(int64(len(names)) * MaxBlob)
			for b.Loop() {
				lacks := newChunkStore()
				d := w.start(b, c, with(lacks, a))
				d.awaitPeer(b, a)
				d.WantBlobs(wants(names, 0))
				poll(b, "all chunks", func() bool { return lacks.count() == len(names) })
			}
		})
	}
}
