package vault

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

func BenchmarkCommit(b *testing.B) {
	v, _ := newVault(b)
	value := make([]byte, 400)
	b.ResetTimer()
	for b.Loop() {
		if err := v.Commit(Change{Key: "k", Value: value}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareAppend is what a commit is held against: write and sync of as
// many bytes.
func BenchmarkBareAppend(b *testing.B) {
	f, err := osDisk{b.TempDir()}.create("bare")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	record, at := make([]byte, 400+2*sealOverhead+frameSize+52), int64(0)
	for b.Loop() {
		if _, err := f.WriteAt(record, at); err != nil {
			b.Fatal(err)
		}
		if err := f.sync(); err != nil {
			b.Fatal(err)
		}
		at += int64(len(record))
	}
}

// BenchmarkCommitErasable stores new erasable values: a commit costs what a
// plain one does.
func BenchmarkCommitErasable(b *testing.B) {
	v, _ := newVault(b)
	value := make([]byte, 400)
	for i := 0; b.Loop(); i++ {
		if err := v.Commit(Change{Key: fmt.Sprint("k", i), Value: value, Erasable: true}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCommitReplacing replaces one erasable value: a second sync, for the
// key that is destroyed.
func BenchmarkCommitReplacing(b *testing.B) {
	v, _ := newVault(b)
	value := make([]byte, 400)
	for b.Loop() {
		if err := v.Commit(Change{Key: "k", Value: value, Erasable: true}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkErase100 deletes a hundred erasable values in one commit.
func BenchmarkErase100(b *testing.B) {
	v, _ := newVault(b)
	put, drop := make([]Change, 100), make([]Change, 100)
	for i := range put {
		put[i] = erasable(fmt.Sprint("k", i), "a message of some length")
		drop[i] = Change{Key: put[i].Key}
	}
	for b.Loop() {
		b.StopTimer()
		if err := v.Commit(put...); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := v.Commit(drop...); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	for _, own := range []bool{false, true} {
		b.Run(fmt.Sprintf("erasable=%v", own), func(b *testing.B) {
			v, _ := newVault(b)
			if err := v.Commit(Change{Key: "k", Value: make([]byte, 400), Erasable: own}); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, _, err := v.Get("k"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// filled returns a locked vault with n erasable values of 1 KiB.
func filled(b *testing.B, p Params, n int) *Vault {
	b.Helper()
	v, err := Create(filepath.Join(b.TempDir(), "vault"), testPass, Options{Params: p})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := v.Close(); err != nil {
			b.Error(err)
		}
	})
	changes := make([]Change, 1000)
	for i := range n / len(changes) {
		for j := range changes {
			changes[j] = Change{Key: fmt.Sprintf("message/%d/%d", i, j), Value: make([]byte, 1024), Erasable: true}
		}
		if err := v.Commit(changes...); err != nil {
			b.Fatal(err)
		}
	}
	v.Lock()
	return v
}

// BenchmarkUnlock holds an unlock at the costs of the design against the
// derivation of its key alone, in turn in one run: the ratio is reported as
// x-KDF and has to stay under 1.2 (issue 3). The vault has 1,000 values.
func BenchmarkUnlock(b *testing.B) {
	v := filled(b, DefaultParams(), 1000)
	var kdf, unlock time.Duration
	for b.Loop() {
		start := b.Elapsed()
		clear(v.headers.current.kek(testPass))
		middle := b.Elapsed()
		if err := v.Unlock(testPass); err != nil {
			b.Fatal(err)
		}
		kdf, unlock = kdf+middle-start, unlock+b.Elapsed()-middle
		v.Lock()
	}
	b.ReportMetric(float64(unlock)/float64(kdf), "x-KDF")
	b.ReportMetric(float64(unlock.Milliseconds())/float64(b.N), "ms/unlock")
}

// BenchmarkLoad opens a vault of 20,000 erasable values of 1 KiB, without what
// argon2id costs.
func BenchmarkLoad(b *testing.B) {
	v := filled(b, testParams, 20_000)
	for b.Loop() {
		if err := v.Unlock(testPass); err != nil {
			b.Fatal(err)
		}
		v.Lock()
	}
}

// BenchmarkUnlockPIN is the unlock that happens many times a day.
func BenchmarkUnlockPIN(b *testing.B) {
	v := filled(b, DefaultParams(), 1000)
	if err := v.Unlock(testPass); err != nil {
		b.Fatal(err)
	}
	if err := v.SetPIN(testPIN); err != nil {
		b.Fatal(err)
	}
	v.Lock()
	for b.Loop() {
		if err := v.UnlockPIN(testPIN, noon); err != nil {
			b.Fatal(err)
		}
		v.Lock()
	}
}
