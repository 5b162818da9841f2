package record

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"tocsin/ledger"
	"tocsin/node/message"
)

// incidentOf is an incident of n messages of two authors with real proofs, which are read from a file.
func incidentOf(b *testing.B, n int) (*world, Incident, Sources) {
	b.Helper()
	w := newWorld(b)
	one, two := w.nodes[0].writer, w.nodes[1].writer
	items := scenes(b, one, two)
	for i := len(items); i < n; i++ {
		who := []*writer{one, two}[i%2]
		items = append(items, who.say(&message.SBAR{Situation: fmt.Sprintf("Patient %d is short of breath and tachycardic", i), Background: "COPD, two admissions this year",
			Assessment: "Type 2 respiratory failure", Recommendation: "Senior review, blood gas and NIV"}, ledger.Urgent))
	}
	live := w.witnessed()
	path := filepath.Join(b.TempDir(), "proofs")
	f, err := os.Create(path)
	must(b, err)
	b.Cleanup(func() { f.Close() })
	type span struct{ at, size int64 }
	spans := make(map[ledger.ID]span, n)
	at := int64(0)
	for _, in := range items {
		proof, err := live.Proof(id(b, in))
		must(b, err)
		_, err = f.Write(proof)
		must(b, err)
		spans[id(b, in)] = span{at, int64(len(proof))}
		at += int64(len(proof))
	}
	for _, h := range w.nodes { // what made the proofs is not part of an export
		h.logs, h.trees, h.table, h.writer.said = nil, nil, nil, nil
	}
	s := files()
	s.Proof = func(id ledger.ID) ([]byte, error) {
		raw := make([]byte, spans[id].size)
		_, err := f.ReadAt(raw, spans[id].at)
		return raw, err
	}
	return w, incident(items...), s
}

// peak is the most heap that fn needs beyond what there was before, sampled at each write.
type peak struct {
	w    io.Writer
	n    int
	most uint64
}

func (p *peak) Write(b []byte) (int, error) {
	if p.n++; p.n%64 == 0 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		p.most = max(p.most, m.HeapInuse+m.StackInuse)
	}
	return p.w.Write(b)
}

// BenchmarkExport: an incident of 10,000 messages with their proofs, checked and written. The design allows 5 s and 150 MB.
func BenchmarkExport(b *testing.B) {
	const messages = 10_000
	_, in, sources := incidentOf(b, messages)
	runtime.GC()
	var most uint64
	var bytes int64
	for b.Loop() {
		x, err := New(in, sources)
		must(b, err)
		p := &peak{w: io.Discard}
		s, err := x.Document(p)
		must(b, err)
		most, bytes = max(most, p.most), s.Bytes
		if s.Messages != messages || s.Proofs < messages-10 {
			b.Fatalf("%+v", s)
		}
	}
	b.ReportMetric(float64(most)/1e6, "MB-heap-in-all")
	b.ReportMetric(float64(bytes)/1e6, "MB-written")
}

// BenchmarkVerifyPackage: the same incident read as JSON, every proof held against the authorities, and every resource made again from what was
// proved and compared. Beside it the bare work: for each proof one Ed25519 verification (its own), or four (what the file of one proof holds, if
// nothing were remembered), and SHA-256 of the package. The check of the proofs alone is package ledger's BenchmarkProofs.
func BenchmarkVerifyPackage(b *testing.B) {
	const messages = 10_000
	w, in, sources := incidentOf(b, messages)
	x, err := New(in, sources)
	must(b, err)
	var doc bytes.Buffer
	_, err = x.Document(&doc)
	must(b, err)
	pub, key, err := ed25519.GenerateKey(nil)
	must(b, err)
	text := make([]byte, 300)
	sig := ed25519.Sign(key, text)
	for name, signatures := range map[string]int{"bare-one": 1, "bare-four": 4} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				for range messages * signatures {
					if !ed25519.Verify(pub, text, sig) {
						b.Fatal("not verified")
					}
				}
				sha256.Sum256(doc.Bytes())
			}
			b.ReportMetric(float64(messages)*float64(b.N)/b.Elapsed().Seconds(), "proofs/s")
		})
	}
	b.Run("package", func(b *testing.B) {
		for b.Loop() {
			rep, err := VerifyPackage(bytes.NewReader(doc.Bytes()), w.trust)
			must(b, err)
			if rep.Proved < messages-10 || len(rep.Faults) > 0 {
				b.Fatalf("%+v", rep)
			}
		}
		b.ReportMetric(float64(messages)*float64(b.N)/b.Elapsed().Seconds(), "proofs/s")
	})
}
