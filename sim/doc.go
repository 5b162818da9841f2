// Package sim rehearses attacks on Tocsin before they come: it runs the real
// node, mesh, ledger and cryptography of many devices over a simulated network
// in virtual time, with faults and adversaries from a scenario, holds what
// happened against invariants and objectives, and writes a report.
//
// SCENARIO.md is the reference of the file that a scenario is written in. A World
// holds the devices; the network's faults stand in network.go, hostile devices in
// adversary.go, the invariants in invariant.go, what an objective may ask in
// objective.go.
//
// Time is virtual, so an hour takes as long as its work does, and one seed fixes
// every choice that a scenario leaves open. It does not fix how the runtime
// schedules goroutines or what the system's random source gives: two runs of one
// seed tell the same story, and are not the same trace.
package sim
