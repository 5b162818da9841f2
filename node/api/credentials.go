package api

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"tocsin/node"
)

// keeper holds everything that opens the door: the bearer token, the one-time codes and the browser sessions. It keeps
// hashes only, so that a dump of memory opens nothing later.
type keeper struct {
	clock  node.Clock
	rand   io.Reader
	bearer [32]byte // SHA-256 of the bearer token

	mu          sync.Mutex
	codes       map[[32]byte]time.Time // hash of a code: when it ends
	sessions    map[[32]byte]*session  // by hash of the cookie
	codeTries   tries
	phraseTries tries
}

// session is one browser that is let in.
type session struct {
	token [32]byte // hash of the header token
	ends  time.Time
	used  time.Time
	ended chan struct{} // closed when the session is over
}

// tries counts wrong tries in a sliding minute. The holder's mutex guards it.
type tries struct{ at []time.Time }

func (t *tries) exhausted(now time.Time) bool {
	recent := t.at[:0]
	for _, at := range t.at {
		if age := now.Sub(at); age >= 0 && age < time.Minute {
			recent = append(recent, at)
		}
	}
	t.at = recent
	return len(t.at) >= triesPerMinute
}

func (t *tries) failed(now time.Time) { t.at = append(t.at, now) }

func newKeeper(clock node.Clock) *keeper {
	return &keeper{clock: clock, rand: rand.Reader, codes: map[[32]byte]time.Time{}, sessions: map[[32]byte]*session{}}
}

// secret returns n random bytes, hashed and in text.
func (k *keeper) secret(n int, text func([]byte) string) (string, [32]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(k.rand, b); err != nil {
		return "", [32]byte{}, fmt.Errorf("api: no randomness: %w", err)
	}
	s := text(b)
	return s, hash(s), nil
}

func hash(s string) [32]byte { return sha256.Sum256([]byte(s)) }

// writeToken makes a new bearer token and puts it into a file that only this user can read, replacing an older one.
func (k *keeper) writeToken(path string) error {
	token, sum, err := k.secret(32, hex.EncodeToString)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".token-*") // mode 0600
	if err != nil {
		return fmt.Errorf("api: the token file cannot be made: %w", err)
	}
	_, err = f.WriteString(token + "\n")
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name()) // best effort: the error to report is the first
		return fmt.Errorf("api: the token file cannot be written: %w", err)
	}
	k.bearer = sum
	return nil
}

// isBearer compares in constant time. Before a token is made nothing matches: no token hashes to zeros.
func (k *keeper) isBearer(token string) bool {
	sum := hash(token)
	return subtle.ConstantTimeCompare(sum[:], k.bearer[:]) == 1
}

// crockford has no letter that is mistaken for another when a code is read aloud or typed.
const crockford = "0123456789abcdefghjkmnpqrstvwxyz"

// newCode makes a one-time code of 50 random bits: with ten tries a minute over two minutes it is not guessed.
func (k *keeper) newCode() (code string, ends time.Time, err error) {
	code, sum, err := k.secret(10, func(b []byte) string {
		var out strings.Builder
		for i, v := range b {
			if i == 5 {
				out.WriteByte('-')
			}
			out.WriteByte(crockford[v%32])
		}
		return out.String()
	})
	if err != nil {
		return "", time.Time{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.clock.Now()
	ends = now.Add(codeLife)
	k.forgetCodes(now)
	k.codes[sum] = ends
	return code, ends, nil
}

// forgetCodes drops what has run out, and the oldest while there are too many.
func (k *keeper) forgetCodes(now time.Time) {
	for sum, ends := range k.codes {
		if !now.Before(ends) {
			delete(k.codes, sum)
		}
	}
	for len(k.codes) >= maxCodes {
		var oldest [32]byte
		for sum, ends := range k.codes {
			if oldest == [32]byte{} || ends.Before(k.codes[oldest]) {
				oldest = sum
			}
		}
		delete(k.codes, oldest)
	}
}

// plainCode undoes what people do to a code that they type: spaces, capitals, a missing hyphen, o for 0, i or l for 1.
func plainCode(typed string) string {
	s := strings.Map(func(r rune) rune {
		switch r {
		case ' ', '\t', '-', '\u2013', '\u00a0':
			return -1
		case 'o':
			return '0'
		case 'i', 'l':
			return '1'
		}
		return r
	}, strings.ToLower(typed))
	if len(s) == 10 {
		s = s[:5] + "-" + s[5:]
	}
	return s
}

// redeem uses up a code and opens a session.
func (k *keeper) redeem(code string) (cookie, token string, ends time.Time, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.clock.Now()
	if k.codeTries.exhausted(now) {
		return "", "", time.Time{}, ErrTooMany
	}
	sum := hash(plainCode(code))
	codeEnds, ok := k.codes[sum]
	delete(k.codes, sum)
	if !ok || !now.Before(codeEnds) {
		k.codeTries.failed(now)
		return "", "", time.Time{}, ErrCode
	}
	cookie, cookieSum, err := k.secret(32, base64.RawURLEncoding.EncodeToString)
	if err != nil {
		return "", "", time.Time{}, err
	}
	token, tokenSum, err := k.secret(32, base64.RawURLEncoding.EncodeToString)
	if err != nil {
		return "", "", time.Time{}, err
	}
	k.forgetSessions(now)
	ends = now.Add(sessionLife)
	k.sessions[cookieSum] = &session{token: tokenSum, ends: ends, used: now, ended: make(chan struct{})}
	return cookie, token, ends, nil
}

func (s *session) over(now time.Time) bool {
	return !now.Before(s.ends) || now.Sub(s.used) >= sessionIdle
}

// forgetSessions drops what is over, and the least recently used while there are too many.
func (k *keeper) forgetSessions(now time.Time) {
	for sum, s := range k.sessions {
		if s.over(now) {
			k.dropSession(sum)
		}
	}
	for len(k.sessions) >= maxSessions {
		var oldest [32]byte
		for sum, s := range k.sessions {
			if oldest == [32]byte{} || s.used.Before(k.sessions[oldest].used) {
				oldest = sum
			}
		}
		k.dropSession(oldest)
	}
}

func (k *keeper) dropSession(sum [32]byte) {
	if s := k.sessions[sum]; s != nil {
		close(s.ended)
		delete(k.sessions, sum)
	}
}

// session finds the session of a cookie and its header token, and counts as its use. Both must fit.
func (k *keeper) session(cookie, token string) *session {
	k.mu.Lock()
	defer k.mu.Unlock()
	sum := hash(cookie)
	s := k.sessions[sum]
	if s == nil {
		return nil
	}
	now := k.clock.Now()
	if s.over(now) {
		k.dropSession(sum)
		return nil
	}
	given := hash(token)
	if subtle.ConstantTimeCompare(given[:], s.token[:]) != 1 {
		return nil
	}
	s.used = now
	return s
}

// inUse keeps a session from idling out, and reports whether it still lives.
func (k *keeper) inUse(s *session) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	select {
	case <-s.ended:
		return false
	default:
	}
	now := k.clock.Now()
	if s.over(now) {
		return false
	}
	s.used = now
	return true
}

// endSession ends the session of a cookie.
func (k *keeper) endSession(cookie string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dropSession(hash(cookie))
}

// mayTryPassphrase and wrongPassphrase limit how fast a passphrase is guessed through this door.
func (k *keeper) mayTryPassphrase() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.phraseTries.exhausted(k.clock.Now())
}

func (k *keeper) wrongPassphrase() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.phraseTries.failed(k.clock.Now())
}
