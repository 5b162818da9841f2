// Package crypto is the map of Tocsin's cryptography. It holds no code; the
// folders below do, and each has the bytes in its own documentation:
//
//   - identity: who a device is and who vouches for it (PROFILE.md, STATEMENTS.md);
//   - group: who reads a message, Seal and Open (FORMAT.md);
//   - vault: keys and opened messages at rest;
//   - slots: keys of single values, overwritten in place to erase them.
//
// # Suite 1
//
//	seal to a key    HPKE, RFC 9180 base mode: KEM 0x647a MLKEM768-X25519, HKDF-SHA256, AES-256-GCM
//	seal with a key  AES-256-GCM
//	sign             Ed25519, one verifier (identity.VerifySignature), no batches
//	hash, derive     SHA-256, HKDF-SHA256, HMAC-SHA256
//	passphrase       argon2id
//	certificates     X.509 with Ed25519, or ECDSA P-384 with SHA-384 for authorities and registrars
//
// Everything but argon2id is from the standard library, argon2id is from
// golang.org/x/crypto; the check that an Ed25519 key is canonical and not of
// small order uses filippo.io/edwards25519. A suite byte is signed, nothing is
// negotiated and nothing falls back.
//
// Claimed and not claimed: design, protocol §4. In short: confidentiality also
// against a later quantum computer, authorship that can be shown; no
// deniability, and signatures that a quantum computer could forge.
//
// # Labels
//
// A label belongs to one purpose and is used nowhere else. Labels of
// derivations are ASCII and begin "tocsin/1 ":
//
//	tocsin/1 mesh key                    identity   HPKE info of the mesh key at enrolment
//	tocsin/1 mesh key page               identity   HPKE info of a later mesh key
//	tocsin/1 group                       group      group id
//	tocsin/1 prekey                      group      id of a prekey
//	tocsin/1 wrap                        group      HPKE info of an epoch secret
//	tocsin/1 members                     group      HMAC over an epoch's members
//	tocsin/1 commitment                  group      commitment to an epoch secret
//	tocsin/1 state                       group      key of an epoch's sealed state
//	tocsin/1 tag                         group      group tag of an epoch
//	tocsin/1 chain                       group      first chain key of a sender
//	tocsin/1 seed, tocsin/1 next         group      one message's secret, the next chain key
//	tocsin/1 message                     group      message key, nonce and key commitment
//	tocsin/1 broadcast                   group      key, nonce and key commitment of a broadcast
//	tocsin/1 vault journal, value, head  vault      one key for each
//	tocsin/1 vault erasable              vault      salt of the keys of erasable values
//	tocsin/1 vault own key               vault      one erasable value's key, from its slot's
//	tocsin/1 vault warm slot             vault      associated data of the master key under a PIN
//
// Domains of signatures and hashes begin "tocsin/", name a version and end in
// a zero byte, which no domain has inside, so that none begins another:
//
//	tocsin/enrolment-request/v1  identity  signature: enrolment request
//	tocsin/ticket/v1             identity  signature: ticket
//	tocsin/ticket-key/v1         identity  hash: ticket key of an admission leaf
//	tocsin/device/v1             identity  hash: device id
//	tocsin/issuer-key/v1         identity  hash: name of an authority's or registrar's key
//	tocsin/sponsor/v1            identity  signature: sponsorship of a credential leaf
//	tocsin/sponsor-admission/v1  identity  signature: sponsorship of an admission leaf
//	tocsin/statement/v1          identity  signature: statement
//	tocsin/trust-bundle/v1       identity  signature: later trust bundle
//	tocsin/key-roll/v1           identity  signature: key roll, by the old key
//	tocsin/key-roll-back/v1      identity  signature: key roll, by the new key
//	tocsin/in-person/v1          identity  signature: codes of a meeting in person
//	tocsin/in-person-digits/v1   identity  hash: digits of a meeting in person
//	tocsin/mesh-key-hint/v1      identity  hash: hint of a wrap on a page of a mesh key
//	tocsin/trust-snapshot/v1     identity  hash: checksum of a snapshot of the trust state
//	tocsin/entry/v1              ledger    signature: entry header
//	tocsin/slot/v1               slots     hash: check of a slot
//	tocsin/commit/v1             group     hash: commitment of an entry to its payload
//
// Labels and domains of packages outside of crypto, of the same two kinds:
//
//	tocsin/1 bundle             ledger/bundle  HPKE info of a bundle's file key
//	tocsin/1 bundle key         ledger/bundle  hash: commitment to that key
//	tocsin/1 place              ledger         hash: place of a log in a comparison
//	tocsin/1 attachment chunk   node           key and nonce of a chunk; its associated data
//	tocsin/bundle/v1            ledger/bundle  signature: manifest of a bundle
//	tocsin/custody/v1           ledger         signature: promise to keep bodies
//	tocsin/closing/v1           ledger         signature: end of a log where another goes on
//	tocsin/testimony/v1         ledger         hash: testimony about a log
//	tocsin/frontier/v1          ledger         hash: a frontier
//
// Two keys sign texts that others define: the signing key a C2SP checkpoint,
// whose text begins "tocsin/" and 64 hexadecimal digits, and the witness key a
// C2SP cosignature, whose text begins "cosignature/v1". Neither begins like a
// domain above.
package crypto
