package ledger

import (
	"time"

	"tocsin/crypto/identity"
)

// Limits of trees, testimony and proofs; those of entries are in limits.go.
const (
	// tileHeight and tileWidth are the shape of a stored tile, that of C2SP's
	// tlog-tiles: 256 hashes of one level, 8 KiB.
	tileHeight = 8
	tileWidth  = 1 << tileHeight
	// tilesABatch bounds the tiles of one commit: 64 of 8 KiB are half of
	// [MaxBatchBytes], and the levels above add two.
	tilesABatch = 64
	// treeTails bounds the logs whose last leaves are kept in memory, at most
	// 8 KiB each.
	treeTails = 1024

	// MaxNote bounds a checkpoint in the form of a note, cosignatures included.
	MaxNote = 32 << 10
	// MaxTestimony bounds an encoded [Testimony].
	MaxTestimony = 512
	// testimonyByRank and testimonyByOrg bound what is kept of one log and one
	// kind of testimony: the highest ones, and the highest of so many
	// organisations, because a witness of another site proves more.
	testimonyByRank = 16
	testimonyByOrg  = 8
	// testimonyABatch bounds the logs whose testimony changes in one commit.
	testimonyABatch = 32

	// DefaultWitnesses is how many witnesses a proof needs (protocol §3).
	DefaultWitnesses = 2
	// MaxProofWitnesses bounds the witnesses named in one proof.
	MaxProofWitnesses = 16
	// MaxProofFile bounds an exported proof: payload, credentials and proof, in
	// base64.
	MaxProofFile = 1 << 20
	// MaxKnownNotes and MaxKnownCredentials bound what a [ProofChecker] remembers.
	// A note is at most a checkpoint and [MaxProofWitnesses] cosignatures, about
	// 5 KiB; whoever makes a package can put any number of either into it.
	MaxKnownNotes       = 1024
	MaxKnownCredentials = 4096
	maxKnownLines       = 2048
	maxKnownLine        = 8 << 10 // bytes of base64
	// OpeningSize is the length of an opening, the random number that hides a
	// payload in its commitment.
	OpeningSize = 32
	// MaxProvedRange bounds the signed headers of one proved range.
	MaxProvedRange = 1 << 16
)

// MaxCustodyAhead is how far ahead a custody statement may reach and still be
// believed: nobody promises to keep a body for longer than credentials live.
const MaxCustodyAhead = identity.MaxLeafValidity + 24*time.Hour
