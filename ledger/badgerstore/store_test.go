package badgerstore_test

import (
	"testing"

	"tocsin/ledger"
	"tocsin/ledger/badgerstore"
	"tocsin/ledger/storetest"
)

// testKey is any key but zeros.
var testKey = [32]byte{1, 2, 3}

func openDir(t testing.TB, dir string) *badgerstore.Store {
	t.Helper()
	s, err := badgerstore.Open(dir, badgerstore.Options{Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Open {
		dir := t.TempDir()
		return func(t *testing.T) ledger.Store { return openDir(t, dir) }
	})
}
