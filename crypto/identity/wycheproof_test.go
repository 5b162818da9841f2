package identity

import (
	"crypto/ed25519"
	"encoding/json"
	"io/fs"
	"testing"

	"github.com/c2sp/wycheproof"
)

// TestWycheproofEd25519 runs the vectors of Project Wycheproof through the one
// verifier. Nothing that they call invalid is accepted; what they call valid is,
// unless the key itself is one that we refuse.
func TestWycheproofEd25519(t *testing.T) {
	raw, err := fs.ReadFile(wycheproof.TestVectors, "ed25519_test.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		NumberOfTests int
		TestGroups    []struct {
			PublicKey struct{ Pk string }
			Tests     []struct {
				TcID             int
				Comment          string
				Flags            []string
				Msg, Sig, Result string
			}
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	ran, valid := 0, 0
	for _, g := range file.TestGroups {
		key := unhex(t, g.PublicKey.Pk)
		for _, tc := range g.Tests {
			ran++
			msg, sig := unhex(t, tc.Msg), unhex(t, tc.Sig)
			ours := len(key) == ed25519.PublicKeySize && VerifySignature(Key(key), "", msg, sig) == nil
			switch {
			case tc.Result != "valid" && tc.Result != "invalid":
				t.Errorf("case %d has the result %q, which this test does not know", tc.TcID, tc.Result)
			case ours && tc.Result == "invalid":
				t.Errorf("case %d (%s, %v): an invalid signature is accepted", tc.TcID, tc.Comment, tc.Flags)
			case !ours && tc.Result == "valid" && (len(key) != ed25519.PublicKeySize || CheckKey(Key(key)) == nil):
				t.Errorf("case %d (%s, %v): a valid signature is refused", tc.TcID, tc.Comment, tc.Flags)
			}
			if ours {
				valid++
			}
		}
	}
	t.Logf("%d cases, %d accepted", ran, valid)
	if ran != file.NumberOfTests || ran < 100 || valid < 50 {
		t.Errorf("%d of %d cases ran, %d accepted", ran, file.NumberOfTests, valid)
	}
}

// TestEd25519EdgeCases is our own table of what verifiers are known to disagree
// on (the CCTV vectors cover the same ground): low-order and mixed-order keys,
// low-order R, encodings that are not canonical, S that is not reduced.
func TestEd25519EdgeCases(t *testing.T) {
	const (
		identity  = "0100000000000000000000000000000000000000000000000000000000000000"
		order2    = "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"
		order4    = "0000000000000000000000000000000000000000000000000000000000000000"
		order4neg = "0000000000000000000000000000000000000000000000000000000000000080"
		order8a   = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"
		order8b   = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"
		order8c   = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"
		order8d   = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"
		// y = p, p+1 and the negative zero: second spellings of points above.
		spelled0 = "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"
		spelled1 = "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"
		negative = "0100000000000000000000000000000000000000000000000000000000000080"
		minusTwo = "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
	)
	zero := make([]byte, 32)
	for _, key := range []string{identity, order2, order4, order4neg, order8a, order8b, order8c, order8d, spelled0, spelled1, negative, minusTwo} {
		k := unhex(t, key)
		if CheckKey(Key(k)) == nil {
			t.Errorf("the key %s is accepted", key)
		}
		for _, r := range []string{identity, order2, order4, order8a, spelled1} {
			for _, msg := range []string{"", "stat", "stand down"} {
				if VerifySignature(Key(k), "", []byte(msg), append(unhex(t, r), zero...)) == nil {
					t.Errorf("key %s, R %s, S 0 verifies %q", key, r, msg)
				}
			}
		}
	}
	priv := ed25519.NewKeyFromSeed(make([]byte, 32))
	sig := Sign(priv, "", []byte("stat"))
	for _, r := range []string{identity, order2, order4, order8a, spelled0, spelled1, negative} {
		forged := append(unhex(t, r), sig[32:]...)
		if VerifySignature(KeyOf(priv), "", []byte("stat"), forged) == nil {
			t.Errorf("R %s is accepted", r)
		}
	}
	if VerifySignature(KeyOf(priv), "", []byte("stat"), plusOrder(sig)) == nil {
		t.Error("S that is not reduced is accepted")
	}
	if VerifySignature(KeyOf(priv), "", []byte("stat"), sig) != nil {
		t.Error("the good signature is refused")
	}
}
