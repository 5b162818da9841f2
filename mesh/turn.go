package mesh

// turn is a lock to hold while the network is waited for. Whoever waits for it waits
// on a channel, which a simulation in virtual time sees as waiting; of a sync.Mutex it
// holds that somebody is at work, and time would stand still for ever. The zero value
// is not ready for use.
type turn struct{ taken chan struct{} }

func newTurn() turn { return turn{make(chan struct{}, 1)} }

func (t turn) Lock()   { t.taken <- struct{}{} }
func (t turn) Unlock() { <-t.taken }
