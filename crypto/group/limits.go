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

	// MaxMembers is the number of devices an epoch can be announced to. A
	// larger audience would need several epochs (protocol §4), which this
	// version does not make.
	MaxMembers = 256
	// MaxOps bounds the operations of one group.
	MaxOps = 1024
	// MaxDeps bounds the heads that one operation names.
	MaxDeps = 16
	// MaxName is the longest name of a group, in bytes of UTF-8.
	MaxName = 200
	// MaxSignedHeader bounds the signed header of an operation's entry; the
	// longest of protocol §3 has 625 bytes.
	MaxSignedHeader = 1024
	// MaxOpPayload bounds an operation: 16 deps and the longest name.
	MaxOpPayload = 1024

	// WrapsPerPage is the number of HPKE wraps on every page but the last.
	WrapsPerPage = 48
	// MaxWrapPages is what MaxMembers wraps fill.
	MaxWrapPages = (MaxMembers + WrapsPerPage - 1) / WrapsPerPage
	// StateChunk is the sealed state on every state page but the last, in
	// bytes of plaintext.
	StateChunk = 60_000
	// MaxStatePages holds the state of MaxOps operations of the largest size.
	MaxStatePages = 32

	// PublishedWeeks is the number of weekly prekeys a device publishes.
	PublishedWeeks = 4
	// MaxOwnPreKeys bounds the private prekeys held. Eight are alive in normal
	// use; more appear only when the clock is moved about.
	MaxOwnPreKeys = 64
	// MaxPreKeyDevices bounds the devices whose prekeys are held (4.9 KB each).
	MaxPreKeyDevices = 16384

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

	// MaxPartialsPerLog bounds the announces of one log of which some pages
	// are missing. Pages of one announce stand together in a log, so one is
	// the normal number.
	MaxPartialsPerLog = 4
	// MaxPartialBytes bounds the state pages of incomplete announces.
	MaxPartialBytes = 16 << 20
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
	// MaxClockStep is the largest step of the wall clock that still counts as
	// time gone by.
	MaxClockStep = 24 * time.Hour
)
