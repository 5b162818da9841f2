package vault

import "time"

// Every limit of the package. What is read from disk is held against them
// before anything is allocated.
const (
	// MaxKey is the longest key of a value, in bytes.
	MaxKey = 512
	// MaxValue is the longest value, in bytes.
	MaxValue = 1 << 20
	// MaxChanges is how many changes one commit may hold.
	MaxChanges = 4096
	// MaxCommit is how many bytes the values of one commit may have together.
	MaxCommit = 16 << 20
	// MinPassphrase and MaxPassphrase bound a passphrase, in bytes. Shorter
	// ones are guessed from a stolen disk whatever argon2id costs.
	MinPassphrase = 12
	MaxPassphrase = 1024

	// MinPIN and MaxPIN bound a PIN, in bytes.
	MinPIN = 6
	MaxPIN = 64
	// MaxTries is how many wrong PINs in a row destroy the warm slot.
	MaxTries = 10
	// freeTries is how many may be wrong before the next has to wait,
	// firstWait how long; each further one doubles it.
	freeTries = 5
	firstWait = 30 * time.Second
	// maxTriesTime bounds the time in the counter's file, in seconds: the
	// year 9999.
	maxTriesTime = 253402300799

	// maxManifest follows from MaxChanges and MaxKey, with room for framing.
	maxManifest = MaxChanges*(MaxKey+changeOverhead) + 1024
	// maxValues follows from MaxCommit, with the seal of each value.
	maxValues = MaxCommit + MaxChanges*sealOverhead

	// Bounds of argon2id's costs as read from a header. The upper ones keep a
	// tampered header from taking all memory, or the afternoon.
	maxMemoryKiB = 1 << 20 // 1 GiB
	maxTime      = 64
	maxThreads   = 64

	// compactAt is the size of a journal, in bytes, below which it is never
	// compacted unasked; compactRatio is how many times larger than what is
	// live it must be.
	compactAt    = 8 << 20
	compactRatio = 3
	// compactBatch is how many bytes of sealed values a record written by
	// compaction aims at.
	compactBatch = 1 << 20
)
