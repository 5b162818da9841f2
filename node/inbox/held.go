package inbox

import "fmt"

// Held says what of an attachment is on this device.
type Held struct {
	State        string // one of the Held constants
	Have, Chunks int    // chunks here, of so many
	Thumb        bool   // the thumbnail is here
}

// The states of an attachment.
const (
	HeldListed   = "listed"   // its message is here; the file is fetched when somebody asks for it
	HeldFetching = "fetching" // wanted from whoever has it
	HeldNoRoom   = "no-room"  // wanted, and there is no room
	HeldHere     = "here"     // all of it
)

// Words is the state for a reader.
func (h Held) Words() string {
	switch h.State {
	case HeldHere:
		return "On this device"
	case HeldFetching:
		return fmt.Sprintf("Fetching: %d of %d parts are here", h.Have, h.Chunks)
	case HeldNoRoom:
		return "No room for it on this device"
	default:
		return "Not fetched yet"
	}
}
