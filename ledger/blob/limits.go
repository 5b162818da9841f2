package blob

// Every bound of this package.
const (
	// MaxChunk is the longest chunk in bytes: 60 KiB and the tag of AES-256-GCM.
	MaxChunk = 60<<10 + 16
	// DefaultKeep is how many bytes of chunks are kept for messages of this device.
	DefaultKeep = 2 << 30
	// DefaultCarry is how many bytes of chunks are carried for others.
	DefaultCarry = 256 << 20
	// DefaultReserve is how many bytes stay free on the disk, for the logs.
	DefaultReserve = 512 << 20
	// maxChunks bounds the index in memory, at about 100 bytes a chunk. Chunks may be
	// small, so that a quota of bytes alone would not.
	maxChunks = 1 << 17
)
