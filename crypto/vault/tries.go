package vault

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// tries is the counter of wrong PINs. Its file has two places a page apart,
// written in turn and synced, so that a write that is cut off leaves the other:
//
//	struct {
//	    opaque magic[16]; uint8 version = 1;
//	    uint64 sequence; uint32 failures; uint64 last;  /* seconds since 1970 */
//	    opaque checksum[32];                            /* SHA-256 of all before it */
//	} Tries;
//
// Nothing in it is secret. Somebody who can write to the disk can set it back,
// which gains him nothing without the memory of the process that holds the warm
// slot. Where no place is readable no PIN is tried until a passphrase was right.
type tries struct {
	sequence uint64
	failures int
	last     time.Time // of the newest failure
}

const (
	triesMagic    = "tocsin tries\r\n\x1a\x00" // 16 bytes
	triesVersion  = 1
	triesSize     = len(triesMagic) + 1 + 8 + 4 + 8 + sha256.Size
	triesSpacing  = 4096
	triesFileSize = triesSpacing + triesSize
)

func (t *tries) marshal() []byte {
	b := cryptobyte.NewFixedBuilder(make([]byte, 0, triesSize))
	b.AddBytes([]byte(triesMagic))
	b.AddUint8(triesVersion)
	b.AddUint64(t.sequence)
	b.AddUint32(uint32(t.failures))
	var last int64
	if !t.last.IsZero() {
		last = t.last.Unix()
	}
	b.AddUint64(uint64(last))
	out := b.BytesOrPanic()
	sum := sha256.Sum256(out)
	return append(out, sum[:]...)
}

func (t *tries) marshalFile() []byte {
	b := make([]byte, triesFileSize)
	copy(b, t.marshal())
	copy(b[triesSpacing:], t.marshal())
	return b
}

// parseTries reads what marshal wrote and refuses all else.
func parseTries(b []byte) (tries, bool) {
	var t tries
	if len(b) != triesSize || !bytes.HasPrefix(b, []byte(triesMagic)) || b[len(triesMagic)] != triesVersion {
		return t, false
	}
	body := b[:triesSize-sha256.Size]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], b[len(body):]) {
		return t, false
	}
	var failures uint32
	var last uint64
	s := cryptobyte.String(body[len(triesMagic)+1:])
	ok := s.ReadUint64(&t.sequence) && s.ReadUint32(&failures) && s.ReadUint64(&last) && s.Empty()
	if !ok || failures > MaxTries || last > maxTriesTime {
		return t, false
	}
	t.failures = int(failures)
	if last > 0 {
		t.last = time.Unix(int64(last), 0)
	}
	return t, true
}

// readTries returns the newest readable place.
func readTries(d disk) (tries, error) {
	spent := tries{failures: MaxTries}
	f, err := d.open(triesName)
	if errors.Is(err, fs.ErrNotExist) {
		return spent, nil
	}
	if err != nil {
		return spent, fmt.Errorf("vault: cannot open the counter of PINs: %w", err)
	}
	best, found := spent, false
	for place := range 2 {
		b := make([]byte, triesSize)
		n, readErr := f.ReadAt(b, int64(place)*triesSpacing)
		if readErr != nil && !errors.Is(readErr, io.EOF) {
			err = readErr
			break
		}
		if t, ok := parseTries(b[:n]); ok && (!found || t.sequence > best.sequence) {
			best, found = t, true
		}
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return spent, fmt.Errorf("vault: cannot read the counter of PINs: %w", err)
	}
	return best, nil
}

// save makes t durable in the place that does not hold the newest.
func (t *tries) save(d disk) error {
	f, err := d.open(triesName)
	if errors.Is(err, fs.ErrNotExist) { // lost, and now made anew
		if err := writeFile(d, triesName, t.marshalFile()); err != nil {
			return fmt.Errorf("vault: cannot write the counter of PINs: %w", err)
		}
		return d.syncDir()
	}
	if err == nil {
		_, err = f.WriteAt(t.marshal(), int64(t.sequence%2)*triesSpacing)
		if err == nil {
			err = f.sync()
		}
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("vault: cannot write the counter of PINs: %w", err)
	}
	return nil
}

// count enters a failure, of a try that is yet to be made.
func (t *tries) count(d disk, now time.Time) error {
	next := tries{t.sequence + 1, t.failures + 1, now}
	t.sequence++ // also where it fails: the file may hold it
	if err := next.save(d); err != nil {
		return err
	}
	*t = next
	return nil
}

// forgive starts from nothing after a right PIN or passphrase.
func (t *tries) forgive(d disk) error {
	if t.failures == 0 {
		return nil
	}
	next := tries{sequence: t.sequence + 1}
	t.sequence++
	if err := next.save(d); err != nil {
		return err
	}
	*t = next
	return nil
}

func (t *tries) spent() bool { return t.failures >= MaxTries }
func (t *tries) left() int   { return max(MaxTries-t.failures, 0) }

// wait is how long after now the next try may be made: nothing after the first
// failures, then firstWait, and twice as long after each further one. A clock
// that was set back starts the wait anew.
func (t *tries) wait(now time.Time) time.Duration {
	if t.failures < freeTries || t.spent() {
		return 0
	}
	if now.Before(t.last) {
		t.last = now
	}
	return max(firstWait<<(t.failures-freeTries)-now.Sub(t.last), 0)
}
