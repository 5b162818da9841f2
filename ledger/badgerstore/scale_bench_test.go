package badgerstore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tocsin/ledger"
	"tocsin/ledger/badgerstore"
)

// The figures of scale (docs/performance.md). TOCSIN_SCALE is the number of
// entries, in logs of 10 entries each: 1000000 makes the 100,000 logs of the
// design. They come in the order of logs, as a synchronisation brings them, or
// with TOCSIN_ORDER=random in any. Signing is not measured.
//
//	TOCSIN_SCALE=1000000 go test -run '^$' -bench Scale -benchtime 1x -timeout 30m ./ledger/badgerstore

// scaleEntries is how many entries the store has.
func scaleEntries(b *testing.B) int {
	n, err := strconv.Atoi(os.Getenv("TOCSIN_SCALE"))
	if err != nil || n < 1000 {
		n = 10_000
	}
	b.Logf("%d entries", n)
	return n
}

// scaleLog is the length of each log.
const scaleLog = 10

// BenchmarkScale imports, opens, and looks things up.
func BenchmarkScale(b *testing.B) {
	n := scaleEntries(b)
	dir := b.TempDir()
	importScale(b, dir, n)
	if b.N > 1 {
		b.Skip("the import is measured once: use -benchtime 1x")
	}
	ctx := context.Background()
	began := time.Now()
	s, err := badgerstore.Open(dir, badgerstore.Options{Key: testKey, Ballast: -1})
	if err != nil {
		b.Fatal(err)
	}
	l, err := ledger.Open(ctx, ledger.Config{Store: s, Authors: everyone{}, Limits: ledger.Limits{DayHeaders: 1 << 31, DayBytes: 1 << 62}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(began).Seconds(), "open-s")
	if logs, entries := l.Heads(); logs != n/scaleLog || entries != uint64(n) {
		b.Fatalf("%d logs, %d entries", logs, entries)
	}
	lookups(b, l, n)
	began = time.Now()
	if len(l.Frontier()) != n/scaleLog {
		b.Fatal("the frontier is short")
	}
	b.ReportMetric(float64(time.Since(began).Microseconds())/1000, "frontier-ms")
	began = time.Now()
	rep, err := l.Scrub(ctx, 10_000)
	if err != nil || rep.Lost > 0 {
		b.Fatal(rep, err)
	}
	b.ReportMetric(float64(rep.Entries)/time.Since(began).Seconds(), "scrub-entries/s")
	_, id := testDevice("late")
	late, vs := signChain(b, "late", 200)
	began = time.Now()
	for _, v := range vs {
		if o, err := l.Append(ctx, v, benchTime); err != nil || o != ledger.Appended {
			b.Fatal(o, err)
		}
	}
	b.ReportMetric(float64(len(vs))/time.Since(began).Seconds(), "appends/s")
	if late != id {
		b.Fatal("another log")
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(0, "ns/op")
}

// importScale fills a store in batches of 64 and reports rate, write
// amplification and memory.
func importScale(b *testing.B, dir string, n int) {
	ctx := context.Background()
	s, err := badgerstore.Open(dir, badgerstore.Options{Key: testKey, Ballast: -1})
	if err != nil {
		b.Fatal(err)
	}
	l, err := ledger.Open(ctx, ledger.Config{Store: s, Authors: everyone{}, Limits: ledger.Limits{DayHeaders: 1 << 31, DayBytes: 1 << 62}})
	if err != nil {
		b.Fatal(err)
	}
	var spent time.Duration
	var bytes, anon int64
	written := writtenBytes()
	var batch []ledger.Verified
	names := scaleNames(n)
	for i, name := range names {
		_, vs := signChain(b, name, scaleLog)
		batch = append(batch, vs...)
		if len(batch) < 64 && i+1 < len(names) {
			continue
		}
		for _, v := range batch {
			bytes += int64(len(v.Entry().Frame()))
		}
		began := time.Now()
		if _, err := l.AppendBatch(ctx, batch, benchTime); err != nil {
			b.Fatal(err)
		}
		spent += time.Since(began)
		batch = batch[:0]
		if i%100 == 0 {
			anon = max(anon, procValue("/proc/self/status", "RssAnon:"))
		}
	}
	began := time.Now()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(n)/(spent+time.Since(began)).Seconds(), "import-entries/s")
	if w := writtenBytes() - written; w > 0 {
		b.ReportMetric(float64(w)/float64(bytes), "write-amplification")
	}
	if peak := peakMemory(); peak > 0 {
		b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
		b.ReportMetric(float64(anon)/(1<<10), "peak-anon-MiB")
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "heap-MiB")
	b.ReportMetric(float64(diskBytes(b, dir))/float64(bytes), "disk/bytes")
}

// scaleNames returns the names of the logs in the order in which they come.
func scaleNames(n int) []string {
	names := make([]string, 0, n/scaleLog)
	ids := make(map[string]ledger.LogID)
	for i := 0; i < n; i += scaleLog {
		name := fmt.Sprint("scale ", i)
		names = append(names, name)
		_, ids[name] = testDevice(name)
	}
	if os.Getenv("TOCSIN_ORDER") != "random" {
		slices.SortFunc(names, func(a, b string) int { return ids[a].Compare(ids[b]) })
	}
	return names
}

// lookups reports how long the reading of one entry takes.
func lookups(b *testing.B, l *ledger.Logs, n int) {
	const count = 2000
	began := time.Now()
	for i := range count {
		_, id := testDevice(fmt.Sprint("scale ", i*7919%(n/scaleLog)*scaleLog))
		if _, err := l.Entry(context.Background(), id, uint64(i%scaleLog)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(time.Since(began).Microseconds())/count, "lookup-us")
}

// procValue reads a number of a file of Linux's /proc, 0 where there is none.
func procValue(file, field string) int64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err == nil {
				return n
			}
		}
	}
	return 0
}

// writtenBytes is what this process has handed to the system for writing: memory
// maps are counted when pages are first made dirty.
func writtenBytes() int64 { return procValue("/proc/self/io", "write_bytes:") }

// peakMemory is the highest resident size so far, in bytes. It counts pages of
// Badger's files that are mapped, which the system takes back when it needs them;
// peak-anon-MiB is without these.
func peakMemory() int64 { return procValue("/proc/self/status", "VmHWM:") << 10 }

func diskBytes(b testing.TB, dir string) (n int64) {
	err := filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return n
}
