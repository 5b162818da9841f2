//go:build unix

package main

import (
	"syscall"
	"time"
)

// processorTime is about how long the machine has worked for this process, if it has two
// cores: within a bubble of virtual time the clock tells nothing about that.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano()+u.Stime.Nano()) / 2
}
