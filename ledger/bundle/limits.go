package bundle

import (
	"crypto/ed25519"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// Every limit of the package.
const (
	// MaxRecipients bounds the keys that one bundle is sealed to.
	MaxRecipients = 1024
	// BlockSize is the plaintext of a block, but for the last one.
	BlockSize = 64 << 10
	// MaxRecord bounds one record: the largest is a part of a frontier or a body
	// with its place.
	MaxRecord = 64 << 10
	// frontierPart is how many heads one frontier record holds.
	frontierPart = 512
	// MaxPaperCodes bounds the codes of a sheet: some ten pages.
	MaxPaperCodes = 240
	// paperPart is how many bytes of a sheet one code carries.
	paperPart = 60
	// maxTypedCode bounds a code as it was typed, with its spaces.
	maxTypedCode = 400
	// maxSheets bounds the sheets that are put together at once.
	maxSheets = 16
	// maxDamagedListed bounds the blocks that a report names one by one.
	maxDamagedListed = 64
)

// Sizes of the format.
const (
	wrapEnc     = 1120 // encapsulation of MLKEM768-X25519
	wrapSealed  = 32 + 16
	wrapSize    = wrapEnc + wrapSealed
	nonceSize   = 16
	keySize     = 32
	tagSize     = 16
	offsetSize  = 2 // at the start of each block: where its first record begins
	recordHead  = 1 + 3
	placeSize   = identity.LogIDSize + 8
	ed25519Size = ed25519.SignatureSize
	endSize     = 5 * 8
)

const _ = uint(MaxRecord - (placeSize + ledger.MaxBody))         // a body fits
const _ = uint(MaxRecord - (3 + frontierPart*ledger.HeadSize))   // a part of a frontier fits
const _ = uint(1<<16 - 2 - BlockSize + (BlockSize - offsetSize)) // an offset fits into 16 bits
