// Package identity says who a device is and who vouches for it: the X.509
// profile of Tocsin's credentials, the trust bundle that names a mesh, the
// authority that issues, and the checks that every device makes offline
// (design, protocol §1). PROFILE.md beside this file has every byte and every
// rule.
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
// # From bytes to trust
//
// A [TrustStore] holds the authorities of one mesh. [TrustStore.VerifyAdmission]
// and [TrustStore.VerifyTicket] decide whether a neighbour may connect;
// [TrustStore.ReadCredential] decides who signs a log. The latter reads no
// clock: what it accepts is the same on every device and for ever, and
// [Credential.ValidAt] says when it held. A refusal names the rule ([Reason]).
//
// # Errors
//
// [ErrRefused] (the profile is broken), [ErrForeign] (another mesh's),
// [ErrExpired] (not at this time), [ErrSponsored] (a form of a later version)
// and [ErrSignature]. Nothing here panics on input, asks the network, keeps
// state or reads the time; randomness comes in as an argument, but for what the
// standard library draws itself (HPKE, ECDSA).
package identity
