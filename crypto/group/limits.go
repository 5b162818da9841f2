package group

import "time"

// Every limit of the package. What is received beyond one of them is refused
// with [ErrInvalid] (it can never be right) or [ErrLimit] (it is too much).
const (
	// MaxBody is the largest entry body, in bytes (protocol §3).
	MaxBody = 60 << 10
	// MaxPayload is the largest payload that Seal takes, in bytes: the largest
	// padded plaintext that fits a body is 59,392 bytes, of which opening and
	// length take 36.
	MaxPayload = maxPadded - plainPrefix

	// MaxMembers is the number of devices one epoch is announced to. A larger
	// audience is split into several epochs (protocol §4).
	MaxMembers = 256
	// PartSize is the number of devices of one part of a split audience. It
	// leaves a place for the announcer, who is on every list he makes.
	PartSize = MaxMembers - 1
	// MaxDevices is the number of devices beyond which admins are told that a
	// group is full. Those added at the same time elsewhere still count, up to
	// maxAbsent beside the members of an epoch.
	MaxDevices = 4096
	maxAbsent  = 2 * MaxDevices

	// MaxOps is the number of operations beyond which a group takes no more
	// from this device. What others did at the same time is still merged, up
	// to MaxMergedOps.
	MaxOps = 10_000
	// MaxMergedOps bounds the operations of one group that are held.
	MaxMergedOps = 16_384
	// maxOpBytes bounds their size, so that they fit an announce together with
	// its lists of members and successions.
	maxOpBytes = MaxStatePages*StateChunk - 37*(MaxMembers+maxAbsent) - 72*maxListed - 64
	// MaxMergeLooks bounds what merging the operations of one group may cost: a
	// look is at one operation, or at four words of a set of them, and takes some 5
	// to 15 ns. Ten thousand usual operations take a hundredth of it; what is
	// beyond it is made on purpose.
	MaxMergeLooks = 1 << 27
	// MaxSuccessions bounds the logs held that go on for others.
	MaxSuccessions = 65_536
	// maxListed bounds those that one announce lists.
	maxListed = MaxDevices
	// maxSelves bounds the logs of this device under which it looks for a wrap: its
	// own, and some of those before it, as many as a device opens in 35 days and more.
	maxSelves = 8
	// MaxDeps bounds the heads that one operation names.
	MaxDeps = 16
	// MaxName is the longest name of a group, in bytes of UTF-8.
	MaxName = 200
	// MaxSignedHeader bounds the signed header of an operation's entry; the
	// longest of protocol §3 has 625 bytes.
	MaxSignedHeader = 1024
	// MaxStatement bounds the authority's statement inside an appointment.
	MaxStatement = 3072
	// MaxOpPayload bounds an operation: 16 deps and the longest statement.
	MaxOpPayload = 4096

	// WrapsPerPage is the number of HPKE wraps on every page but the last.
	WrapsPerPage = 48
	// MaxWrapPages is what MaxMembers wraps fill.
	MaxWrapPages = (MaxMembers + WrapsPerPage - 1) / WrapsPerPage
	// StateChunk is the sealed state on every state page but the last, in
	// bytes of plaintext.
	StateChunk = 60_000
	// MaxStatePages is 7.7 MB of state: what MaxMergedOps operations of the
	// usual 420 bytes fill.
	MaxStatePages = 128

	// PublishedWeeks is the number of weekly prekeys a device publishes.
	PublishedWeeks = 4
	// MaxOwnPreKeys bounds the private prekeys held. Eight are alive in normal
	// use; more appear only when the clock is moved about.
	MaxOwnPreKeys = 64
	// MaxPreKeyDevices bounds the devices whose prekeys are held (4.9 KB each).
	MaxPreKeyDevices = 16384

	// maxParsed bounds the public keys kept ready to seal to, some 8 KB each:
	// groups rotate, and reading the keys is a third of an announce.
	maxParsed = 2 * MaxMembers

	// RotateGeneration is the generation of one's own chain at which a new
	// epoch is due.
	RotateGeneration = 1000
	// MaxGeneration is the first generation that does not exist. The slack
	// lets an urgent message leave while the rotation waits its 0-5 s.
	MaxGeneration = 1024
	// MaxSeeds bounds the skipped message seeds held over all chains; past it
	// a gap is kept as its first chain key.
	MaxSeeds = 16384
	// MaxEpochsPerCreator bounds the live epochs of one announcing device.
	MaxEpochsPerCreator = 1024

	// MaxGone bounds the tags that are remembered of epochs that were
	// destroyed.
	MaxGone = 4096
	// MaxAsked bounds the announcers whom one device asks within a day, as far as
	// others heed it and as it asks itself.
	MaxAsked = MaxMembers
	// maxHeeded bounds the requests of others that are remembered for a day: 64
	// devices would have to use up all their places.
	maxHeeded = 64 * MaxAsked
	// MaxHanded bounds the messages of one hand-over, and the entries of one
	// request.
	MaxHanded = 64

	// MaxPartialsPerLog bounds the announces of one log of which some pages
	// are missing. Pages of one announce stand together in a log, but bodies come
	// in any order: after a long absence each announce of a month may lack one. What
	// is crowded out is lost for good, so it is two a day for as long as they are kept.
	MaxPartialsPerLog = 70
	// MaxWaitingPerLog bounds the announces of one log that are whole and wait: two
	// a day for as long as they are kept.
	MaxWaitingPerLog = 70
	// MaxPartialBytes bounds the state pages of announces that are incomplete or wait.
	MaxPartialBytes = 32 << 20
)

const (
	// Week is the validity of one prekey. Weeks count from the Unix epoch.
	Week = 7 * 24 * time.Hour
	// SecretLife is how long a private prekey lives after its week began, and
	// an epoch after it was learnt, in elapsed time (see [Keyring.Expire]).
	// Delivery is promised for 28 days.
	SecretLife = 35 * 24 * time.Hour
	// RotateAge is the age at which a new epoch is due.
	RotateAge = 24 * time.Hour
	// AskAge is how long a request for another epoch of one announcer keeps the
	// next away.
	AskAge = 24 * time.Hour
	// MaxClockStep is the largest step of the wall clock that still counts as
	// time gone by.
	MaxClockStep = 24 * time.Hour
)
