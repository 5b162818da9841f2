package ledger_test

import (
	"bytes"
	"errors"
	"testing"

	"tocsin/ledger"
)

// Each target checks that what is read is written back as the same bytes: there
// is one encoding, so nobody can make a second entry of the same meaning.

func FuzzHeader(f *testing.F) {
	for _, v := range readVectors(f).Entries {
		f.Add(unhex(f, v.Header))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ledger.ParseHeader(b)
		if err != nil {
			mustBeInvalid(t, err)
			return
		}
		again, err := h.Marshal()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("read %x, wrote %x: %v", b, again, err)
		}
	})
}

func FuzzSignedHeader(f *testing.F) {
	for _, v := range readVectors(f).Entries {
		f.Add(unhex(f, v.Header+v.Signature))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ledger.VerifyHeader(b)
		if err != nil {
			mustBeInvalid(t, err)
			return
		}
		header, err := e.Header.Marshal()
		if err != nil || !bytes.Equal(append(header, e.Signature[:]...), b) || !bytes.Equal(e.SignedHeader(), b) {
			t.Fatalf("read %x, wrote %x: %v", b, header, err)
		}
	})
}

func FuzzFrame(f *testing.F) {
	v := readVectors(f)
	for _, e := range v.Entries {
		f.Add(unhex(f, e.Frame))
	}
	for _, e := range v.Invalid {
		f.Add(unhex(f, e.Frame))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ledger.ParseFrame(b)
		if err != nil {
			mustBeInvalid(t, err)
			return
		}
		header, err := e.Header.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		signed := append(header, e.Signature[:]...)
		again := append([]byte{byte(len(signed) >> 8), byte(len(signed))}, signed...)
		again = append(again, byte(len(e.Body)>>16), byte(len(e.Body)>>8), byte(len(e.Body)))
		if again = append(again, e.Body...); !bytes.Equal(again, b) || !bytes.Equal(e.Frame(), b) {
			t.Fatalf("read %x, wrote %x", b, again)
		}
	})
}

func FuzzFrontier(f *testing.F) {
	f.Add([]byte{0, 0, 0})
	f.Add(unhex(f, readVectors(f).Frontier.Encoded))
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, err := ledger.ParseFrontier(b)
		if err != nil {
			return
		}
		again, err := fr.Marshal()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("read %x, wrote %x: %v", b, again, err)
		}
	})
}

func mustBeInvalid(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ledger.ErrInvalid) {
		t.Fatalf("error %v does not match ErrInvalid", err)
	}
}

func FuzzHeaderFrame(f *testing.F) {
	for _, v := range readVectors(f).Entries {
		e, err := ledger.VerifyHeader(unhex(f, v.Header+v.Signature))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(e.HeaderFrame())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, erased, err := ledger.VerifyHeaderFrame(b)
		if err != nil {
			mustBeInvalid(t, err)
			return
		}
		again := v.Entry().HeaderFrame()
		if erased {
			again[len(again)-1] = 1
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("read %x, wrote %x", b, again)
		}
	})
}
