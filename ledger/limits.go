package ledger

import "time"

// Sizes fixed by the format, in bytes (FORMAT.md).
const (
	// MaxBody is the longest body.
	MaxBody = 60 << 10
	// MaxRefs is the largest number of refs in a header.
	MaxRefs = 8
	// RefSize is the encoded size of one Ref.
	RefSize = 8 + 8 + 32
	// MinHeader and MaxHeader bound an encoded header: without refs, and with 8.
	MinHeader = 177
	MaxHeader = MinHeader + MaxRefs*RefSize
	// SignatureSize is the length of an Ed25519 signature.
	SignatureSize = 64
	// MinSignedHeader and MaxSignedHeader bound a header with its signature.
	MinSignedHeader = MinHeader + SignatureSize
	MaxSignedHeader = MaxHeader + SignatureSize
	// MaxFrame bounds a frame: two length prefixes, signed header and body.
	MaxFrame = 2 + MaxSignedHeader + 3 + MaxBody
	// MaxSeq is the highest sequence number: 2^53-1, which every JSON reader
	// can hold exactly.
	MaxSeq = 1<<53 - 1
	// HeadSize is the encoded size of one Head in a frontier.
	HeadSize = 32 + 4 + 8 + 32
	// MaxFrontierLogs is the largest number of logs in one encoded frontier.
	MaxFrontierLogs = 200_000
)

// Batches that the store is asked to make durable at once.
const (
	// MaxBatchBytes bounds the values of one [Store.Commit].
	MaxBatchBytes = 1 << 20
	// MaxBatchRecords bounds the number of records of one [Store.Commit].
	MaxBatchRecords = 1024
	// maxBatchEntries bounds the entries of one commit; each may bring a state
	// and a fork record with it.
	maxBatchEntries = MaxBatchRecords / 4
	// maxRoundBytes bounds the entries of one commit. The rest of a batch is for
	// one entry that comes out of the pen, and the state and fork records.
	maxRoundBytes = MaxBatchBytes / 2
)

// MaxIncarnations is the number of logs beyond incarnation 0 that are held of
// one author, whichever come first. A device opens one when it was restored;
// without a limit its key could open thousands a day, each of which costs every
// device memory for good. How many it may open in a month is for [Authors] to
// say, who know its credential: the node begins three under one and takes 27 (protocol §3).
const MaxIncarnations = 256

// What is kept of each branch of a forked log, from the forked place on.
const (
	// MaxBranch is the largest number of entries.
	MaxBranch = 64
	// MaxBranchBytes bounds the bodies among those that are kept out of the log;
	// of entries beyond it the headers are kept.
	MaxBranchBytes = 512 << 10
)

// maxClockAhead is how far ahead of our clock a received hybrid time may be
// and still move ours (protocol §3).
const maxClockAhead = 24 * time.Hour

// refsSeen bounds the logs remembered as candidates for refs.
const refsSeen = 4096

// reportedFailures bounds the failures that a [Report] describes one by one.
const reportedFailures = 20

// Limits are the budgets of protocol §3, applied alike on every path in. What
// exceeds them is not wrong and is never held against the neighbour that
// brought it: it waits elsewhere. Zero fields take the value of [DefaultLimits].
type Limits struct {
	// DayHeaders and DayBytes bound what one author may add in one UTC day,
	// counted by our clock at receipt; bytes are bytes of frames.
	DayHeaders uint32
	DayBytes   uint64
	// AheadOfGap is how far beyond the next expected sequence number an entry
	// may lie and still be kept.
	AheadOfGap uint64
	// UnknownEntries bounds the waiting entries of one author who is not known
	// yet, UnknownAuthors the number of such authors and UnknownBytes the memory
	// for all of them. Beyond either of the last two the author who has waited
	// longest is forgotten.
	UnknownEntries int
	UnknownAuthors int
	UnknownBytes   int
	// GapBytes bounds the memory for entries of known authors ahead of a gap,
	// GapAuthorBytes the share of one author.
	GapBytes       int
	GapAuthorBytes int
}

// DefaultLimits returns the limits of the design.
func DefaultLimits() Limits {
	return Limits{
		DayHeaders:     5000,
		DayBytes:       64 << 20,
		AheadOfGap:     1000,
		UnknownEntries: 64,
		UnknownAuthors: 256,
		UnknownBytes:   8 << 20,
		GapBytes:       32 << 20,
		GapAuthorBytes: 4 << 20,
	}
}

// orDefault fills the zero fields of l.
func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	fill(&l.DayHeaders, d.DayHeaders)
	fill(&l.DayBytes, d.DayBytes)
	fill(&l.AheadOfGap, d.AheadOfGap)
	fill(&l.UnknownEntries, d.UnknownEntries)
	fill(&l.UnknownAuthors, d.UnknownAuthors)
	fill(&l.UnknownBytes, d.UnknownBytes)
	fill(&l.GapBytes, d.GapBytes)
	fill(&l.GapAuthorBytes, d.GapAuthorBytes)
	return l
}

func fill[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
