// Command tocsin-sim rehearses attacks on a mesh of Tocsin devices: it runs scenarios of
// package sim and writes reports, sweeps over seeds, compares two, soaks for hours, replays one run step
// for step and shrinks one that failed. `tocsin-sim --help` lists its commands; sim/SCENARIO.md is the
// reference of a scenario's file.
package main
