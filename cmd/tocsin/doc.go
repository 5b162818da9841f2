// Command tocsin is the program: the node that a clinician's device runs, the
// commands that talk to it over its socket, and the authority that admits
// staff. It holds flags, wording and wiring only; what it wires stands in
// package node and below.
//
// One file per group of commands. Configuration comes from config.go, files
// from datadir.go and authoritydir.go, exit codes from exit.go.
package main
