// Package badgerstore is the ledger.Store of real devices. In its directory:
//
//	own.wal   the newest records of this device's own log
//	own-*.wal those before, for ever
//	in.wal    the newest records of others' logs, until the index has them
//	*.slots   the keys of bodies, one each, overwritten in place to erase one
//	index/    a Badger database with everything
//	heads.wal a copy of what the index says of each log
//	ballast   disk space that is given back in an emergency
//	lock      held while a process uses the directory
//
// A commit is one append to a wal and one real sync of it (FORMAT.md of package
// ledger); only then is it acknowledged, shown to readers, and allowed to leave
// the device. Badger follows in larger steps, so that its memory maps, whose
// syncs do nothing on Windows, carry no promise for what is new. own.wal is the
// truth for the own log and the index of it can be built again at any time; the
// truth for others' logs is with the others.
//
// What Badger does wrong when disks fail or fill is guarded against here: tables
// without MANIFEST (it would delete them), damaged tables (it would panic, or
// lose transactions in silence, which heads.wal tells), a disk that runs full (it
// would be killed by SIGBUS), and writes after a failed sync.
package badgerstore
