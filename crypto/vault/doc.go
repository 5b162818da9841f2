// Package vault keeps a device's keys and opened messages at rest (design,
// protocol §9).
//
// A vault is a folder of three files, all readable by their owner only:
//
//   - header: how the passphrase becomes a key, and the sealed master key;
//   - journal: everything that was committed, append-only, one authenticated
//     record a commit;
//   - head: how long the journal was when the last commit was acknowledged,
//     kept apart from it so that a journal cut short is noticed.
//
// The passphrase goes through argon2id to a key-encryption key, that opens the
// master key, and from the master key HKDF-SHA256 makes one key for each
// purpose under a label that begins "tocsin/1 ". Everything is sealed with
// AES-256-GCM. A record's associated data holds its number and the hash of the
// record before it, so that none can be dropped, swapped or replayed; a
// value's holds its key and version, so that none can stand in for another.
//
// Rules that callers build on:
//
//   - When [Vault.Commit] returns nil, all of its changes survive a crash and
//     a power cut. When it returns an error, none of them is visible.
//   - Opening never yields fewer records than were acknowledged without saying
//     so: what was torn by a crash was never acknowledged and is cut, all else
//     is [ErrDamaged].
//   - Values are read from disk and opened when they are asked for; in memory
//     is only where they lie.
//
// A vault belongs to one process. The owner of the data directory sees to
// that; a journal that changes under a running vault is noticed at the next
// commit.
//
// What this does not promise: Go gives no way to overwrite the AES key
// schedules that the standard library holds, so [Vault.Lock] overwrites our own
// copies of keys and drops the schedules for the collector. A value that was
// replaced or deleted stays in the journal, sealed, until the next compaction,
// and after it in whatever blocks the disk has not reused. Somebody who can
// replace the whole folder by an older copy of itself is not noticed here; a
// device notices by its peers' frontiers.
package vault
