// Package identity says who a device is and who vouches for it: the X.509
// profile of Tocsin's credentials, the trust bundles that name a mesh and its
// authorities, who may issue and revoke, and the checks that every device makes
// offline (design, protocol §1). Beside this file, PROFILE.md has the bytes and
// rules of certificates, STATEMENTS.md those of everything that changes trust.
//
// # From request to credential
//
// A new device makes [RelayKeys] and [VaultKeys], and a [Request] signed by
// each of them. The [Authority] of its organisation decides what to grant and
// answers with an [Enrolment]: an admission leaf that names no person, a
// credential that does, the trust [Bundle] of the mesh, and the mesh key sealed
// to the applicant. [Enrolment.Accept] checks all of it. An organisation that
// issues with openssl uses [Request.OpenSSLConfig] and [AssembleEnrolment].
//
// While no authority can be reached, a [Registrar] issues within what its
// authority has granted; and people vouch for each other ([SponsorRequest],
// [TrustStore.Sponsor], [AssembleSponsored]): one for a further device of their
// own, three for break-glass.
//
// # From bytes to trust
//
// A [TrustStore] holds whom one mesh believes. [TrustStore.VerifyAdmission] and
// [TrustStore.VerifyTicket] decide whether a neighbour may connect;
// [TrustStore.ReadCredential] decides who signs a log. The latter knows neither
// clock nor revocation: what it accepts is the same on every device and for
// ever, and [TrustStore.Standing] says how it stands now. A refusal names the
// rule ([Reason]).
//
// # Statements
//
// Trust changes by statements: CRLs, wipe orders and their receipts,
// declarations of incidents, withdrawn sponsorships, later bundles, new mesh
// keys, administrators of groups. Each has an inner signature, so that anybody
// may carry it. [TrustStore.Take] checks one and says what follows as an
// [Effect]; [TrustStore.Snapshot] goes to disk before anybody acts on it.
// Revocation subtracts: what was signed before stays as it was.
//
// # Errors
//
// [ErrRefused] (a rule is broken), [ErrForeign] (another mesh's), [ErrExpired]
// (not at this time), [ErrRevoked] (taken out), [ErrRolledBack], [ErrPostDated],
// [ErrBeyond], [ErrEarly] (of statements) and [ErrSignature]. Nothing here
// panics on input, asks the network, touches a disk or reads the time;
// randomness comes in as an argument, but for what the standard library draws
// itself (HPKE, ECDSA).
package identity
