// Package badgerstore is the ledger.Store of real devices. In its directory:
//
//	own.wal   every record of this device's own log, appended and synced before
//	          anything leaves the device (FORMAT.md of package ledger)
//	index/    a Badger database with everything, others' entries and our own
//	lock      held while a process uses the directory
//
// own.wal is the truth for the own log and Badger an index of it that can be
// built again; the truth for others' logs is with the others. Badger is used
// with one synced transaction for each commit; the ledger groups commits. What
// Badger does wrong when disks fail or fill is guarded against here: tables
// without MANIFEST (it would delete them), a disk that runs full (it would be
// killed by SIGBUS), and writes after a failed sync.
package badgerstore
