package memstore_test

import (
	"testing"

	"tocsin/ledger"
	"tocsin/ledger/memstore"
	"tocsin/ledger/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Open {
		s := memstore.New()
		first := true
		return func(t *testing.T) ledger.Store {
			if !first {
				s = s.Reopen()
			}
			first = false
			return s
		}
	})
}
