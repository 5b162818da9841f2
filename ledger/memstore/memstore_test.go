package memstore_test

import (
	"testing"

	"tocsin/ledger"
	"tocsin/ledger/memstore"
	"tocsin/ledger/storetest"
)

func TestConformance(t *testing.T) { conform(t, memstore.New) }

// A store that holds what it can together with others keeps the same contract.
func TestSharesConformance(t *testing.T) {
	var shares memstore.Shares
	conform(t, shares.New)
}

func conform(t *testing.T, empty func() *memstore.Store) {
	storetest.Run(t, func(t *testing.T) storetest.Open {
		s := empty()
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
