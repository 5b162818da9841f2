// Package ledger holds the signed, append-only logs of every device: the
// encoding of an entry, the one way to check it, and the rules by which a log
// grows (design, protocol §3 and §6). FORMAT.md beside this file gives every
// byte, with vectors in testdata.
//
// The flow, in processing order:
//
//	bytes ── Verify ──► Verified ── Logs.Append ──► Store      (from others)
//	Log.Reserve ── Sign ──► Verified ── Log.Append ──► Store   (our own)
//
// [Verify] and [Sign] are the only makers of a [Verified], and a log takes
// nothing else, so that no path can bypass the checks. The package opens no
// socket, starts no goroutine and reads no clock: time comes in as an argument.
package ledger
