package badgerstore_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/ledger/badgerstore"
)

// Many headers in many logs stay usable: opening, the frontier, meeting somebody
// who differs in ten logs, reading single entries and appending do not walk
// everything. TOCSIN_HEADERS and TOCSIN_LOGS are how many of each there are (docs/
// performance.md), TOCSIN_STORE a directory that is filled by a first run, whose
// memory is not that of a second one:
//
//	export TOCSIN_HEADERS=10000000 TOCSIN_LOGS=100000 TOCSIN_STORE=/var/tmp/tocsin-headers
//	go test ./ledger/badgerstore -run '^TestManyHeaders$' -v -count 1 -timeout 2h    # twice
func TestManyHeaders(t *testing.T) {
	usual := 100_000
	if testing.Short() {
		usual /= 10
	}
	headers, logs := count(t, "TOCSIN_HEADERS", usual), count(t, "TOCSIN_LOGS", usual/10)
	dir := os.Getenv("TOCSIN_STORE")
	if dir == "" {
		dir = t.TempDir()
	}
	if _, err := os.Stat(dir + "/own.wal"); err != nil {
		fillHeaders(t, dir, logs, headers/logs)
	}
	began := time.Now()
	s, l := openHeaders(t, dir)
	opening := time.Since(began)
	anon, all := procValue("/proc/self/status", "RssAnon:")>>10, procValue("/proc/self/status", "VmRSS:")>>10
	if n, entries := l.Heads(); n < logs || entries < uint64(logs*(headers/logs)) {
		t.Fatalf("%d logs and %d headers, want %d and %d", n, entries, logs, headers)
	}
	t.Logf("opening %s: %d MiB of anonymous memory, %d MiB resident in all", opening.Round(time.Millisecond), anon, all)
	began = time.Now()
	frontier := l.Frontier()
	t.Logf("frontier of %d logs: %s", len(frontier), time.Since(began).Round(time.Microsecond))
	began = time.Now()
	l.Tree().Root()
	t.Logf("its fingerprint: %s", time.Since(began).Round(time.Microsecond))
	meetDifferent(t, l, 10)
	readSome(t, l, frontier)
	began = time.Now()
	rep, err := l.Scrub(t.Context(), 5000)
	if err != nil || rep.Lost > 0 || rep.Entries != 5000 {
		t.Fatal(rep, err)
	}
	t.Logf("scrub: %.0f entries/s", 5000/time.Since(began).Seconds())
	appendSome(t, l)
	began = time.Now()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("closing: %s; %d MiB on the disk", time.Since(began).Round(time.Millisecond), diskBytes(t, dir)>>20)
}

func count(t *testing.T, name string, short int) int {
	text := os.Getenv(name)
	if text == "" {
		return short
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, no number above 0", name, text)
	}
	return n
}

func openHeaders(t *testing.T, dir string) (*badgerstore.Store, *ledger.Logs) {
	t.Helper()
	s, err := badgerstore.Open(dir, badgerstore.Options{Key: testKey, Ballast: -1})
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), ledger.Config{Store: s, Authors: everyone{}, Limits: ledger.Limits{DayHeaders: 1 << 31, DayBytes: 1 << 62}})
	if err != nil {
		t.Fatal(err)
	}
	return s, l
}

// headerName names a log; all have keys of their own.
func headerName(i int) string { return fmt.Sprint("headers ", i) }

// checkedStore takes what the background check finds as done before: it keeps no
// notes of unchecked ranges.
type checkedStore struct{ *badgerstore.Store }

func (s checkedStore) Commit(ctx context.Context, batch []ledger.Record) error {
	batch = slices.DeleteFunc(slices.Clone(batch), func(r ledger.Record) bool { return r.Table == ledger.TableUnchecked })
	if len(batch) == 0 {
		return nil
	}
	return s.Store.Commit(ctx, batch)
}

// fillHeaders fills a store as the synchronisation of long gaps does: the first
// entries of all logs, then a proved range of each, without bodies, several at
// once. Their own signatures are zeros, which nothing here looks at.
func fillHeaders(t *testing.T, dir string, logs, each int) {
	t.Helper()
	s, err := badgerstore.Open(dir, badgerstore.Options{Key: testKey, Ballast: -1})
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), ledger.Config{Store: checkedStore{s}, Authors: everyone{}, Limits: ledger.Limits{DayHeaders: 1 << 31, DayBytes: 1 << 62}})
	if err != nil {
		t.Fatal(err)
	}
	began, written := time.Now(), writtenBytes()
	for from := 0; from < logs; from += 256 {
		var firsts []ledger.Verified
		for i := from; i < min(from+256, logs); i++ {
			firsts = append(firsts, signHeaders(headerName(i), 1)...)
		}
		if _, err := l.AppendBatch(t.Context(), firsts, benchTime); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	var next, done atomic.Int64
	for range 8 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < logs && !t.Failed(); i = int(next.Add(1)) - 1 {
				p, err := provedHeaders(headerName(i), each)
				if err != nil {
					t.Error(err)
					return
				}
				out, err := l.AppendProved(t.Context(), p, nil, benchTime)
				if err != nil || len(out) != each-1 || out[each-2] != ledger.Appended {
					t.Error(out, err)
					return
				}
				if n := done.Add(1); n%10_000 == 0 {
					t.Logf("%d logs after %s", n, time.Since(began).Round(time.Second))
				}
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil || t.Failed() {
		t.Fatal(err)
	}
	t.Logf("%d headers in %d logs made and stored: %s, %d MiB written, highest resident memory %d MiB", logs*each, logs,
		time.Since(began).Round(time.Millisecond), (writtenBytes()-written)>>20, peakMemory()>>20)
}

// provedHeaders makes the entries of a log behind its first one, as a proved
// range.
func provedHeaders(name string, n int) (ledger.Proved, error) {
	key, id := testDevice(name)
	first := signHeaders(name, 1)[0].Entry()
	hashes, prev := []ledger.Hash{ledger.Hash(first.ID())}, first.ID()
	var signed [][]byte
	for seq := uint64(1); seq < uint64(n); seq++ {
		h := ledger.Header{Author: id.Author, Seq: seq, Prev: prev, HLC: uint64(benchTime.UnixMilli())<<16 + seq, Kind: ledger.KindControl, BodyLen: 400}
		raw, err := h.Marshal()
		if err != nil {
			return ledger.Proved{}, err
		}
		prev = sha256.Sum256(append([]byte{0}, raw...))
		hashes, signed = append(hashes, ledger.Hash(prev)), append(signed, append(raw, make([]byte, ledger.SignatureSize)...))
	}
	var mesh identity.MeshID
	cp, err := ledger.SignCheckpoint(key, mesh, id, uint64(n), rootOf(hashes))
	if err != nil {
		return ledger.Proved{}, err
	}
	edge := ledger.Edge{Log: id, Size: 1, Hashes: hashes[:1], Head: first.ID()}
	return ledger.VerifyRange(mesh, edge, signed, cp)
}

// rootOf is the tree's root (RFC 6962 §2.1).
func rootOf(hashes []ledger.Hash) ledger.Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	k := 1
	for 2*k < len(hashes) {
		k *= 2
	}
	return tlog.NodeHash(rootOf(hashes[:k]), rootOf(hashes[k:]))
}

func signHeaders(name string, n int) []ledger.Verified {
	key, _ := testDevice(name)
	out := make([]ledger.Verified, 0, n)
	var prev ledger.ID
	for seq := range uint64(n) {
		v, err := ledger.Sign(key, ledger.Header{Seq: seq, Prev: prev, HLC: uint64(benchTime.UnixMilli())<<16 + seq, Kind: ledger.KindControl}, nil)
		if err != nil {
			panic(err) // of a header that is always right
		}
		prev, out = v.Entry().ID(), append(out, v)
	}
	return out
}

// meetDifferent plays a synchronisation with somebody whose heads differ in some
// logs, spread over all.
func meetDifferent(t *testing.T, l *ledger.Logs, differ int) {
	t.Helper()
	theirs, n := ledger.NewTree(ledger.ScopeHeaders), 0
	frontier := l.Frontier()
	for i, h := range frontier {
		m, ok := l.Tree().Get(h.Log)
		if !ok {
			t.Fatal("a log of the frontier is not in the tree")
		}
		if i%(len(frontier)/differ) == 0 && n < differ {
			n++
			m.Next++
			binary.BigEndian.PutUint64(m.ID[:], uint64(i+1))
		}
		theirs.Set(m)
	}
	theirs.Root() // is kept up to date by whoever it belongs to
	began := time.Now()
	bytes, trips, found := compare(t, l.Tree(), theirs)
	t.Logf("%d of %d logs differ: %d bytes both ways, %d round trips, %s", differ, len(frontier), bytes, trips, time.Since(began).Round(time.Microsecond))
	if found != differ || bytes > 10<<10 {
		t.Errorf("%d of %d differences were found with %d bytes; at most 10 kB are allowed", found, differ, bytes)
	}
}

// compare counts what two nodes say to each other, with 6 bytes for each frame.
func compare(t *testing.T, mine, theirs *ledger.Tree) (bytes, trips, found int) {
	t.Helper()
	const frame = 6
	roots := ledger.MarshalRoots([]ledger.ScopeRoot{{Scope: ledger.ScopeHeaders, Root: mine.Root()}})
	parsed, err := ledger.ParseRoots(roots)
	if err != nil {
		t.Fatal(err)
	}
	reply := ledger.AnswerRoots(parsed, func(ledger.Scope) *ledger.Tree { return theirs })
	answers, err := ledger.ParseAnswers(reply, 1)
	if err != nil || answers[0].Equal {
		t.Fatal(answers, err)
	}
	bytes, trips = len(roots)+len(reply)+2*frame, 1
	c := ledger.Compare(mine, [ledger.SaltSize]byte{1, 2, 3}, answers[0].Count)
	server := ledger.NewAnswerer(theirs)
	for !c.Done() {
		q, ok := c.Ask()
		if !ok {
			t.Fatal("a comparison neither asks nor ends")
		}
		bytes, trips = bytes+len(q)+frame, trips+1
		err := server.Answer(q, func(part []byte) error {
			bytes += len(part) + frame
			return c.Take(part)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	marks, _ := c.Result()
	return bytes, trips, len(marks)
}

// readSome reads entries here and there.
func readSome(t *testing.T, l *ledger.Logs, frontier ledger.Frontier) {
	t.Helper()
	const reads = 2000
	began := time.Now()
	for i := range reads {
		h := frontier[i*7919%len(frontier)]
		seq := uint64(i*31) % h.Next
		e, err := l.Entry(t.Context(), h.Log, seq)
		if err != nil || e.Header.Seq != seq || e.Header.Log() != h.Log {
			t.Fatal(e, err)
		}
	}
	t.Logf("reading an entry: %s", (time.Since(began) / reads).Round(time.Microsecond))
}

// appendSome appends to a log that is new, one entry at a time and in one batch.
func appendSome(t *testing.T, l *ledger.Logs) {
	t.Helper()
	name := fmt.Sprint("late ", time.Now().UnixNano())
	vs := signHeaders(name, 500)
	began := time.Now()
	for _, v := range vs[:100] {
		if o, err := l.Append(t.Context(), v, benchTime); err != nil || o != ledger.Appended {
			t.Fatal(o, err)
		}
	}
	one := time.Since(began) / 100
	began = time.Now()
	if _, err := l.AppendBatch(t.Context(), vs[100:], benchTime); err != nil {
		t.Fatal(err)
	}
	t.Logf("appending: %s for one, %s for each of 400", one.Round(time.Microsecond), (time.Since(began) / 400).Round(time.Microsecond))
	_, author := testDevice(name)
	if h, ok := l.Head(identity.LogID{Author: author.Author}); !ok || h.Next != 500 {
		t.Fatalf("the new log has %d entries", h.Next)
	}
}
