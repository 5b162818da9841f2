package mesh

import (
	"bytes"
	"crypto/ed25519"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
)

// openedRecords remembers records that were verified, so that the same bytes from another neighbour
// are not verified again: in a mesh of N devices every one is told of every other by each of
// its neighbours. It holds one record for a key, the last. The zero value is ready; it is for one
// mesh and one device, and safe for concurrent use.
type openedRecords struct {
	mu    sync.Mutex
	known map[string]*record // guarded by mu: by key, at most maxOpened
}

// open is openRecord. What it returns is shared and must not be changed.
func (o *openedRecords) open(raw []byte, tag [tagSize]byte, self peer.ID) (*record, error) {
	body, err := parseRecordBody(raw[:max(len(raw)-ed25519.SignatureSize, 0)])
	if err != nil {
		return nil, err
	}
	key := string(body.key)
	o.mu.Lock()
	r := o.known[key]
	o.mu.Unlock()
	if r != nil && bytes.Equal(r.raw, raw) {
		return r, nil
	}
	if r, err = openRecord(raw, tag, self); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known == nil {
		o.known = make(map[string]*record)
	}
	if _, held := o.known[key]; !held && len(o.known) >= maxOpened {
		for other := range o.known { // any: who fills this has records verified again, no more
			delete(o.known, other)
			break
		}
	}
	o.known[key] = r
	return r, nil
}
