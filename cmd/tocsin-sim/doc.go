// Command tocsin-sim rehearses attacks on a mesh of Tocsin devices: it runs scenarios of
// package sim and writes reports, sweeps over seeds, compares, and replays one run step for step. `tocsin-sim --help` lists its commands; sim/SCENARIO.md
// is the reference of a scenario's file.
package main
