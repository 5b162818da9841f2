package ledger

import (
	"golang.org/x/crypto/cryptobyte"
)

// What the last byte of a header frame says of the body at whoever sent it.
const (
	bodyAbsent uint8 = 0
	bodyErased uint8 = 1
)

// HeaderFrame returns opaque signed_header<0..2^16-1> ‖ uint8 body, the form in
// which an entry travels without its body: body is 1 if it was erased here, so
// that nobody asks for it again, else 0. It can be had of every entry.
func (e *Entry) HeaderFrame() []byte {
	body := bodyAbsent
	if e.Erased {
		body = bodyErased
	}
	b := make([]byte, 0, 2+len(e.signed)+1)
	b = append(b, byte(len(e.signed)>>8), byte(len(e.signed)))
	return append(append(b, e.signed...), body)
}

// parseHeaderFrame reads a header frame, all of b.
func parseHeaderFrame(b []byte) (signed []byte, erased bool, err error) {
	s := cryptobyte.String(b)
	var header cryptobyte.String
	var body uint8
	if !s.ReadUint16LengthPrefixed(&header) || !s.ReadUint8(&body) {
		return nil, false, invalid("header frame is cut short")
	}
	if !s.Empty() {
		return nil, false, invalid("%d bytes follow the header frame", len(s))
	}
	if body > bodyErased {
		return nil, false, invalid("a header frame says %d of its body, not 0 or 1", body)
	}
	return header, body == bodyErased, nil
}

// VerifySigned is [VerifyHeader] for an entry that is to be appended: the log
// takes its header, and the body may come later ([Logs.Append] of the whole
// entry, or [Logs.Fill]).
func VerifySigned(signedHeader []byte) (Verified, error) {
	e, err := VerifyHeader(signedHeader)
	if err != nil {
		return Verified{}, err
	}
	return Verified{e}, nil
}

// VerifyHeaderFrame reads and checks what [Entry.HeaderFrame] wrote, all of b.
// erasedThere says that the sender erased the body and need not be asked for
// it; here the body is merely Absent. Errors match [ErrInvalid]. b is copied.
func VerifyHeaderFrame(b []byte) (v Verified, erasedThere bool, err error) {
	signed, erased, err := parseHeaderFrame(b)
	if err != nil {
		return Verified{}, false, err
	}
	v, err = VerifySigned(signed)
	return v, erased && err == nil, err
}
