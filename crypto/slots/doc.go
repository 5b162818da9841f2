// Package slots keeps random keys in a file that is overwritten in place, so
// that a value can be erased by destroying the key that it was sealed under
// (design, protocol §9: "erasing = destroying those keys").
//
// Whoever keeps erasable values, the owner, seals each under the key of a slot
// of its own and records the number of the slot beside the value. A slot is
// preallocated: it holds a random key that is on stable storage before it is
// handed out, so [Slots.Take] writes and syncs nothing but once in 1,024
// calls, when the file grows by a block. [Slots.Erase] writes new random bytes
// over the old ones, in the same place of the same file, and returns when they
// are on stable storage; however many slots it is given, it syncs once. The
// file never moves: a rewritten and renamed copy would leave the old one in
// free blocks of the disk.
//
// # Crashes
//
// Which slots are in use is the owner's to know, and its records say it:
//
//   - to keep a value: Take, seal, record with the slot's number, sync of the
//     record;
//   - to erase it: a record that names the slot no longer, sync of that record,
//     then Erase.
//
// After opening, [Slots.Claim] is told every slot that a record names. All
// others are overwritten before any is handed out: those that were taken for a
// record that never became durable, whose key may have sealed something that
// was half written, and those whose erasure a crash cut short. A crash between
// two steps therefore neither loses a value that was not erased nor brings one
// back that was.
//
// # The file
//
//	struct {
//	    opaque magic[16]; uint8 version = 1; opaque file_id[16];
//	    opaque zero[15]; opaque check[16];      /* SHA-256 of all before it, cut */
//	} Preamble;                                  /* 64 bytes, at 0 and again at 2048 */
//
//	struct { opaque key[32]; opaque check[32]; } Slot;  /* from 4096 on */
//
// check is SHA-256("tocsin/slot/v1" ‖ 0 ‖ file_id ‖ uint64 number ‖ key). A
// slot that was torn, flipped or moved does not agree with it: that is an
// [ErrDamaged] of this slot alone. The check is no secret and no protection
// against somebody who writes to the disk; he can destroy keys anyway. Slots
// are 64 bytes long so that none lies across a sector, and a batch of random
// keys costs nothing to carry: whoever reads the file alone learns keys of
// ciphertexts, so owners seal under a slot's key and a key of their own
// together where the disk's thief must read nothing (vault does), or keep
// there what is sealed already (ledger does).
//
// # What a disk remembers
//
// Overwriting in place is as good as what lies below the file:
//
//   - ext4 and XFS without reflinks, NTFS, FAT, on a magnetic disk: the old
//     bytes are gone. ext4 mounted with data=journal keeps a copy in its journal
//     until that is reused.
//   - File systems that write each change elsewhere (btrfs, ZFS, bcachefs,
//     APFS, F2FS) and snapshots of any volume keep the old block until it is
//     reused or the snapshot is deleted.
//   - Flash (SSD, eMMC, SD, USB sticks) writes each change elsewhere by itself.
//     The old cells answer no read through the interface but can be read from
//     the opened device until they are collected.
//   - A hibernated or swapped machine can hold a page of the file in its swap.
//
// We do it all the same, because it costs one sync and because nothing that a
// program can do does better on those, and we do not claim more than "not
// readable through the block device of a file system that overwrites in
// place". The remedy for the rest is an encrypted volume below, whose key dies
// with the device.
//
// A drive that loses power while it writes must keep sectors whole, as drives
// promise. One that does not loses, with the slots being erased, their
// neighbours in the sector: 7 others of 512 bytes, 63 of 4096.
package slots
