// Package identity says who a device is and who vouches for it: the X.509
// profile of Tocsin's credentials, the trust bundle that names a mesh, the
// authority that issues, and the checks that every device makes offline
// (design, protocol §1).
package identity
