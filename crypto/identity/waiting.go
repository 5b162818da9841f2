package identity

import (
	"bytes"
	"errors"
	"slices"
	"time"
)

// isOvertaken reports whether a statement was refused only because of what
// has been stated since: that is no fault of who hands it on.
func isOvertaken(err error) bool {
	return errors.Is(err, ErrRolledBack) || errors.Is(err, ErrRevoked) || errors.Is(err, ErrExpired) || errors.Is(err, ErrBeyond)
}

// waiting holds statements that may become good when a bundle or an order
// comes. It is bounded, and the oldest goes first.
type waiting [][]byte

func (w *waiting) add(raw []byte) {
	if slices.ContainsFunc(*w, func(o []byte) bool { return bytes.Equal(o, raw) }) {
		return
	}
	if len(*w) == maxWaiting {
		*w = slices.Delete(*w, 0, 1)
	}
	*w = append(*w, bytes.Clone(raw))
}

// mayWait reports whether a bundle or an order to come could make good what
// was refused.
func mayWait(err error) bool {
	return errors.Is(err, ErrEarly) || errors.Is(err, ErrForeign) && Reason(err) != string(checkStatementMesh)
}

// retry takes what has waited, again and again while something comes of it.
func (s *TrustStore) retry(now time.Time) []Effect {
	var out []Effect
	for again := true; again; {
		again = false
		todo := s.waiting
		s.waiting = nil
		for _, raw := range todo {
			e, err := s.take(raw, now)
			switch {
			case err == nil && !e.Known:
				out = append(out, e)
				again = true
			case mayWait(err):
				s.waiting.add(raw)
			}
		}
	}
	return out
}
