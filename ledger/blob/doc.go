// Package blob keeps the sealed chunks of attachments (design, protocol §7), each in a file of its own, named by the
// SHA-256 of its bytes. It cannot read what it keeps: chunks are sealed before they come here, and the keys are in the
// messages.
//
// A chunk is either kept, because a message of this device names it, or carried for others. Kept chunks are never
// dropped by the store; carried ones make room for others, the longest unused first. Both have a quota, and the disk
// keeps a reserve, so that attachments never fill the disk that the log is on.
//
// # On disk
//
//	<dir>/kept/<2 hex>/<64 hex>       one chunk, sealed
//	<dir>/carried/<2 hex>/<64 hex>    likewise
//	<dir>/new/<…>                     being written; removed at start
//
// [Store.Put] writes a file under new, syncs it and renames it, so that a crash leaves a whole chunk or none; names are
// durable after [Store.Sync]. What a disk changes afterwards is found by [Store.Get], which drops the chunk: it is
// fetched again. Nothing here needs to be erased with care, because the key of a chunk is erased with its message.
package blob
