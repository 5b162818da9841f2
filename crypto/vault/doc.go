// Package vault keeps a device's keys and opened messages at rest (design,
// protocol §9).
//
// A vault is a folder of five files, all readable by their owner only:
//
//   - header: how the passphrase becomes a key, and the sealed master key,
//     twice, so that it can be overwritten in place;
//   - journal: everything that was committed, append-only, one authenticated
//     record a commit;
//   - head: how long the journal was when the last commit was acknowledged,
//     kept apart from it so that a journal cut short is noticed;
//   - slots: a random key for every erasable value (package crypto/slots);
//   - tries: how many wrong PINs there were since the last right one.
//
// # Keys
//
// The passphrase goes through argon2id to a key-encryption key, that opens the
// master key, and from the master key HKDF-SHA256 makes one key for each
// purpose under a label that begins "tocsin/1 ". Everything is sealed with
// AES-256-GCM. A record's associated data holds its number and the hash of the
// record before it, so that none can be dropped, swapped or replayed; a
// value's holds its key and version, so that none can stand in for another.
//
// An erasable value ([Change]) is sealed under HKDF of its slot's key and of a
// key from the master key together. The thief of a disk needs the passphrase
// for it as for any other; and when its slot is overwritten, nobody opens it
// any more, whoever knows the passphrase and whatever old journals and free
// blocks hold. The other values are sealed under one key, so that deleting
// them only takes them out of sight: what must be gone when it is deleted
// (messages, prekeys, epoch secrets, chain keys) has to be erasable.
//
// # Rules that callers build on
//
//   - When [Vault.Commit] returns nil, all of its changes survive a crash and
//     a power cut, and the keys of what it erases are destroyed. When it
//     returns an error, none of its changes is visible, but for the case that
//     is told there.
//   - A crash leaves no value readable whose erasure was acknowledged, and
//     destroys none whose deletion was not recorded.
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
// # Locking
//
// [Vault.Lock] overwrites the keys. Where a PIN is set it leaves the warm slot:
// the master key sealed under argon2id of the PIN and of 32 random bytes that
// are only in locked memory. [Vault.UnlockPIN] counts each try on stable storage
// before it makes it; five wrong ones are free, then each has to wait, and the
// tenth destroys the warm slot, so that the passphrase is needed: fumbling
// costs time and never a message. [Vault.LockHard], for the end of a lease,
// destroys it at once. A program that starts anew has none.
//
// What a PIN cannot do:
//
//   - It does not guard a disk. Nothing on the disk opens with it, and nothing
//     on the disk depends on it; a stolen disk is held by the passphrase alone.
//   - It does not guard memory. Who reads the memory of a running, locked
//     machine has the warm slot's secret and ciphertext, and tries all of 10^6
//     PINs in hours, past any counter. [Harden] keeps the memory out of dumps and
//     of the swap; nothing keeps it from an administrator, a debugger or a frozen
//     memory module.
//   - It does not outlast a restart, and it is not the person: it is short,
//     typed in public, and shown to whoever stands behind.
//
// # What this does not promise
//
// Overwriting in place is as good as the medium: crypto/slots states what
// flash, snapshots and file systems that write elsewhere remember.
//
// The master key stays for the life of a vault. A copy of the header from
// before a change of passphrase, together with the old passphrase, gives the
// master key, which opens what the vault holds later as far as its slots are
// copied too. A later copy of the disk holds no old header
// ([Vault.ChangePassphrase]).
//
// Go gives no way to overwrite the AES key schedules that the standard library
// holds, nor argon2id's memory: [Vault.Lock] overwrites our own copies of keys
// and drops those for the collector. The master key, which none of them shows,
// is nowhere in memory after it, which a test looks for. Keys, sizes and times
// of values are in the journal until the next compaction, and after it in
// whatever blocks the disk has not reused. Somebody who can replace the whole
// folder by an older copy of itself is not noticed here; a device notices by
// its peers' frontiers.
package vault
