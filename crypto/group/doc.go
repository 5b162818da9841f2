// Package group keeps the secrets of the groups a device belongs to: who is a
// member, which epochs exist, and the chains under which messages are sealed
// and opened (design, protocol §4; FORMAT.md beside this file has every byte).
//
// No server orders anything and a partition may last for days, so there is no
// agreement on the epoch. Epochs coexist: a device opens messages of every
// epoch it holds, and order only decides which epoch it sends under.
//
// # Trust
//
// The package is trusted with the private prekeys, the epoch secrets and the
// chain keys of this device. Whoever steals them reads what those keys still
// open: messages not yet opened, and what is sent until the group rotates.
// It relies on the caller for three things: entries handed in were verified
// (signature and hash, [OpProof] for operations), changes returned are made
// durable before anything derived from them leaves the device, and what a
// closed vault protects at rest.
//
// Who is a member follows from the group's operations alone (merge.go); who is
// revoked or wiped, and whose device is whose, the caller says (Config).
//
// # Use
//
// A [Keyring] is pure: no clock, no goroutine, no disk. Every method that
// would alter it returns the alteration as [Change] values and leaves the
// keyring as it was. The caller writes them in one durable record and then
// hands them to [Keyring.Apply]; [Load] rebuilds the same keyring from all
// the records. A Keyring is not safe for concurrent use.
package group
