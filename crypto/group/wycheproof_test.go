package group

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"testing"

	"github.com/c2sp/wycheproof"
)

// Project Wycheproof's vectors for the primitives as this package calls them.

// wycheproofGroups reads the groups of tests of one file.
func wycheproofGroups[T any](t *testing.T, name string) []T {
	t.Helper()
	var v struct {
		TestGroups []T `json:"testGroups"`
	}
	if err := json.Unmarshal(must(fs.ReadFile(wycheproof.TestVectors, name)), &v); err != nil {
		t.Fatal(err)
	}
	return v.TestGroups
}

func TestWycheproofAESGCM(t *testing.T) {
	type group struct {
		KeySize, IvSize, TagSize int
		Tests                    []struct {
			TcID                       int
			Comment, Result            string
			Key, Iv, Aad, Msg, Ct, Tag text
		}
	}
	valid, bad := 0, 0
	for _, g := range wycheproofGroups[group](t, "aes_gcm_test.json") {
		if g.KeySize != 256 || g.IvSize != 96 || g.TagSize != 128 {
			continue // suite 1 has no other
		}
		for _, c := range g.Tests {
			message := must(messageAEAD(c.Key.bytes()))
			state := must(stateAEAD(secret(c.Key.bytes())))
			sealed := append(c.Ct.bytes(), c.Tag.bytes()...)
			for what, aead := range map[string]interface {
				Open(dst, nonce, ciphertext, aad []byte) ([]byte, error)
				Seal(dst, nonce, plaintext, aad []byte) []byte
			}{"message": message, "state": state} {
				plain, err := aead.Open(nil, c.Iv.bytes(), sealed, c.Aad.bytes())
				if ok := c.Result == "valid"; (err == nil) != ok || ok && !bytes.Equal(plain, c.Msg.bytes()) {
					t.Errorf("%s, test %d (%s), %s: %x, %v", what, c.TcID, c.Comment, c.Result, plain, err)
				}
				if c.Result == "valid" {
					valid++
					if got := aead.Seal(nil, c.Iv.bytes(), c.Msg.bytes(), c.Aad.bytes()); !bytes.Equal(got, sealed) {
						t.Errorf("%s, test %d: sealed to %x", what, c.TcID, got)
					}
				} else {
					bad++
				}
			}
		}
	}
	if valid < 70 || bad < 50 {
		t.Errorf("only %d valid and %d invalid vectors were tried", valid, bad)
	}
}

func TestWycheproofHKDF(t *testing.T) {
	type group struct {
		Tests []struct {
			TcID                 int
			Result               string
			Ikm, Salt, Info, Okm text
			Size                 int
		}
	}
	tried := 0
	for _, g := range wycheproofGroups[group](t, "hkdf_sha256_test.json") {
		for _, c := range g.Tests {
			if c.Result != "valid" || c.Size != secretSize {
				continue
			}
			tried++
			got, err := expandSecret(must(extract(c.Salt.bytes(), c.Ikm.bytes())), string(c.Info.bytes()))
			if err != nil || !bytes.Equal(got[:], c.Okm.bytes()) {
				t.Errorf("test %d: %x, %v", c.TcID, got, err)
			}
			// The ratchet is the same function in one block.
			prk := must(extract(c.Salt.bytes(), c.Ikm.bytes()))
			r := newRatchet(secret(prk))
			if got := r.expand(string(c.Info.bytes())); len(c.Info) > 0 && len(c.Info.bytes()) < 32 && !bytes.Equal(got[:], c.Okm.bytes()) {
				t.Errorf("ratchet, test %d: %x", c.TcID, got)
			}
		}
	}
	if tried < 5 {
		t.Errorf("only %d vectors were tried", tried)
	}
}

func TestWycheproofHMAC(t *testing.T) {
	type group struct {
		TagSize int
		Tests   []struct {
			TcID          int
			Result        string
			Key, Msg, Tag text
		}
	}
	tried := 0
	for _, g := range wycheproofGroups[group](t, "hmac_sha256_test.json") {
		for _, c := range g.Tests {
			if g.TagSize != 256 {
				continue
			}
			tried++
			if got := mac(c.Key.bytes(), c.Msg.bytes()); bytes.Equal(got[:], c.Tag.bytes()) != (c.Result == "valid") {
				t.Errorf("test %d (%s): %x", c.TcID, c.Result, got)
			}
		}
	}
	if tried < 20 {
		t.Errorf("only %d vectors were tried", tried)
	}
}
