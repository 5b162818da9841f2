package node

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// controlType says what the body of a control entry is. The body is
//
//	struct { uint8 type; opaque content<1..2^16-1>; } Control;
//
// in the TLS presentation language. Types are never reused; a node keeps and
// forwards types that it does not know.
type controlType uint8

const (
	controlCredential controlType = 1 // identity.Credential in wire form; seq 0 of a device's first log
	controlPreKeys    controlType = 2 // group's published prekeys
	controlStatement  controlType = 3 // a statement of identity, of whoever signed it: any device may carry it
	controlUnreadable controlType = 4 // group's request to seal anew what a member cannot open
	controlRestart    controlType = 5 // ledger.Closing ‖ identity.Credential; seq 0 of a later incarnation
	controlRoll       controlType = 6 // ledger.Closing ‖ identity.KeyRoll; seq 0 of the first log of another key
)

var errControl = errors.New("node: malformed control entry")

func marshalControl(t controlType, content []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(uint8(t))
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(content) })
	raw, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("node: control entry: %w", err)
	}
	return raw, nil
}

func parseControl(body []byte) (controlType, []byte, error) {
	s := cryptobyte.String(body)
	var t uint8
	var content cryptobyte.String
	if !s.ReadUint8(&t) || !s.ReadUint16LengthPrefixed(&content) || !s.Empty() || len(content) == 0 {
		return 0, nil, errControl
	}
	return controlType(t), content, nil
}
