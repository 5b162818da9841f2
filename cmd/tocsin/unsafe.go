package main

import (
	"slices"
	"strings"

	"tocsin/ledger/badgerstore"
	"tocsin/node"
)

// The protections that a rehearsal can switch off, to show that it would
// notice. Only the hidden flag --unsafe of up sets them.
const (
	unsafeAdmission = "admission" // neighbours are not checked
	unsafeSync      = "sync"      // nothing is pulled from neighbours
	unsafeFsync     = "fsync"     // own entries leave before they are on the disk
	unsafeSeal      = "seal"      // messages leave in the clear

	unsafeRules      = "rules"      // what does not fit what stands is sent
	unsafeEscalation = "escalation" // nobody calls the next of an alert's list
)

func unsafeNames() []string {
	return []string{unsafeAdmission, unsafeSync, unsafeFsync, unsafeSeal, unsafeRules, unsafeEscalation}
}

// checkUnsafe refuses what is not among them; nothing is always allowed.
func checkUnsafe(flag, name string) error {
	if name != "" && !slices.Contains(unsafeNames(), name) {
		return usage("Choose "+strings.Join(unsafeNames(), ", ")+".", "%s knows no protection %q", flag, name)
	}
	return nil
}

// unsafeNode passes a protection that is off to the node.
func unsafeNode(name string) node.Unsafe {
	return node.Unsafe{
		NoAdmission: name == unsafeAdmission, NoSync: name == unsafeSync, NoSeal: name == unsafeSeal,
		NoRules: name == unsafeRules, NoEscalation: name == unsafeEscalation,
	}
}

// unsafeStore likewise to the store.
func unsafeStore(name string) badgerstore.Unsafe {
	return badgerstore.Unsafe{LoseOwnEntriesWhenKilled: name == unsafeFsync}
}
