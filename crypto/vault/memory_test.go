package vault

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"testing"
)

// TestKeysAreHKDF holds the derivations against the standard library's.
func TestKeysAreHKDF(t *testing.T) {
	master := bytes.Repeat([]byte{7}, keySize)
	k, err := deriveKeys(master)
	if err != nil {
		t.Fatal(err)
	}
	defer k.destroy()
	want, err := hkdf.Expand(sha256.New, master, labelErasable, keySize)
	if err != nil || !bytes.Equal(k.erasable(), want) {
		t.Fatalf("erasable: %v", err)
	}
	slotKey := [keySize]byte{9}
	if want, err = hkdf.Key(sha256.New, slotKey[:], k.erasable(), labelOwn, keySize); err != nil {
		t.Fatal(err)
	}
	theirs, err := newAEAD(want)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := k.own(&slotKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ours.Open(nil, nil, theirs.Seal(nil, nil, []byte("value"), nil), nil); err != nil {
		t.Fatalf("own: %v", err)
	}
}

// TestPageIsWiped: memory of secrets holds zeros when it is given back, and a
// second call does no harm.
func TestPageIsWiped(t *testing.T) {
	p, err := newPage()
	if err != nil {
		t.Fatal(err)
	}
	if len(p.b) < 2*keySize {
		t.Fatalf("a page of %d bytes", len(p.b))
	}
	copy(p.b, "a secret of some length")
	p.destroy()
	p.destroy()
	if p.b != nil {
		t.Fatal("the page is still there")
	}
	var none *page
	none.destroy()
}

// TestLockDestroysKeys: every way of locking gives the page of the keys back.
func TestLockDestroysKeys(t *testing.T) {
	for name, lock := range map[string]func(*Vault) error{
		"Lock":     func(v *Vault) error { v.Lock(); return nil },
		"LockHard": func(v *Vault) error { v.LockHard(); return nil },
		"Close":    (*Vault).Close,
		"Wipe":     (*Vault).Wipe,
	} {
		_, v := pinned(t)
		k := v.session.keys
		if err := lock(v); err != nil {
			t.Fatal(err)
		}
		if k.page.b != nil {
			t.Errorf("%s leaves the keys", name)
		}
		if (v.warm != nil) != (name == "Lock") {
			t.Errorf("%s: warm slot %v", name, v.warm != nil)
		}
	}
}
