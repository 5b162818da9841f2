package inbox

import "tocsin/node/message"

// Settle says where an incident stood when the messages that say so were erased: it was over, and what it was it stays. Without it a message
// that comes later would belong to no incident, and whoever runs the group could declare an exercise anew as live.
func (in *Inbox) Settle(id GroupID, mode message.Mode, state message.IncidentState) {
	in.mu.Lock()
	defer in.mu.Unlock()
	c := in.conversation(id)
	c.settled = Incident{Mode: mode, State: state}
	c.settle()
}
