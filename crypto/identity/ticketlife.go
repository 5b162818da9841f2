package identity

import "time"

// TicketNotAfter returns when a ticket of this device's own runs out. It checks
// the encoding and nothing else.
func TicketNotAfter(raw []byte) (time.Time, error) {
	t, err := parseTicket(raw)
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(int64(t.notAfter), 0), nil
}
