// Package crypto is the map of Tocsin's cryptography. It holds no code: the
// folders below it do.
package crypto
