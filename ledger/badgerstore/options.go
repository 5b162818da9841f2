package badgerstore

import (
	"errors"
	"fmt"
	"log/slog"
	"math"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// ErrInUse: another process holds the directory.
var ErrInUse = errors.New("badgerstore: data directory is in use by another tocsin")

// DefaultMinFree is the free disk space below which nothing is written any
// more: Badger writes through memory maps, and a full disk would kill the
// process instead of returning an error.
const DefaultMinFree = 64 << 20

// Options are what [Open] needs besides a directory.
type Options struct {
	// Key encrypts what is on the disk: metadata, since bodies are sealed
	// already. It must not be all zeros, and is the same at each opening.
	Key [32]byte
	// Logger receives warnings; nil discards them.
	Logger *slog.Logger
	// MinFree is the floor of free disk space in bytes; 0 means DefaultMinFree.
	MinFree uint64
	// Ballast is the disk space in bytes that is set aside for an emergency; 0
	// means DefaultBallast, a negative number none.
	Ballast int64
	// Free tells the free space for a directory; nil asks the system.
	Free func(dir string) (uint64, error)
	// Unsafe is for demonstrations that something is missed when it is gone.
	Unsafe Unsafe
}

// Unsafe switches protections off. The zero value is safe; anything else is
// logged loudly.
type Unsafe struct {
	// LoseOwnEntriesWhenKilled keeps own entries in this process's memory until
	// Close, although they are acknowledged: a kill loses them.
	LoseOwnEntriesWhenKilled bool
}

func (o *Options) validate() error {
	if o.Key == [32]byte{} {
		return errors.New("badgerstore: Options.Key is not set")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MinFree == 0 {
		o.MinFree = DefaultMinFree
	}
	if o.Ballast == 0 {
		o.Ballast = DefaultBallast
	}
	if o.Free == nil {
		o.Free = freeSpace
	}
	return nil
}

// memTableSize is Badger's write buffer. A transaction may take 15 % of it,
// which holds ledger.MaxBatchBytes and its keys.
const memTableSize = 8 << 20

// valueThreshold is the length from which a value goes to Badger's value log,
// in bytes: entries do, states do not. Entries come in any order of logs, and in
// the tables each would be written again by every compaction: with it a million
// entries in 100,000 logs were written 19.6 times, without it 3.0 times, and the
// memory for building tables is spared.
const valueThreshold = 192

// badgerOptions are the measured choices of the design (facts, "Store"): small
// caches, small files, one sync for each transaction, default checksums.
func badgerOptions(dir string, opt *Options) badger.Options {
	return badger.DefaultOptions(dir).
		WithLogger(badgerLogger{opt.Logger}).
		WithSyncWrites(true).
		WithEncryptionKey(opt.Key[:]).
		WithMemTableSize(memTableSize).
		WithNumMemtables(2).
		WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(6).
		WithNumCompactors(2).
		WithBlockCacheSize(8 << 20).
		WithIndexCacheSize(16 << 20).
		WithCompression(options.None).
		WithValueThreshold(valueThreshold).
		// A damaged value is an error; unchecked, Badger panics over it, and a
		// panic that is caught leaves a lock behind on which Close waits for ever.
		WithVerifyValueChecksum(true).
		WithValueLogFileSize(16 << 20).
		WithDetectConflicts(false).
		WithMetricsEnabled(false).
		WithNumVersionsToKeep(1)
}

// badgerLogger hands Badger's log on: its chatter is for debugging.
type badgerLogger struct{ log *slog.Logger }

func (l badgerLogger) Errorf(f string, a ...any)   { l.log.Error("badger", "message", line(f, a)) }
func (l badgerLogger) Warningf(f string, a ...any) { l.log.Warn("badger", "message", line(f, a)) }
func (l badgerLogger) Infof(f string, a ...any)    { l.log.Debug("badger", "message", line(f, a)) }
func (l badgerLogger) Debugf(f string, a ...any)   {}

func line(format string, args []any) string {
	s := fmt.Sprintf(format, args...)
	for len(s) > 0 && s[len(s)-1] == '\n' {
		s = s[:len(s)-1]
	}
	return s[:min(len(s), math.MaxInt16)]
}
