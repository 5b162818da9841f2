package slots

const (
	// KeySize is the size of a key, in bytes (AES-256).
	KeySize = 32
	// MaxSlots is how many slots a file may have: 4 GiB.
	MaxSlots = 1 << 26

	// blockSlots is how many slots a file grows by: 64 KiB, so that one sync
	// serves so many takings.
	blockSlots = 1024
)
