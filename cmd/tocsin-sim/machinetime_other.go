//go:build !unix

package main

import "time"

// machineTime measures processor time: within a bubble of virtual time the clock tells
// nothing about how long anything takes. Here it cannot be told.
type machineTime struct{}

func (machineTime) since() time.Duration { return 0 }
