package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tocsin/sim"
)

// BenchmarkWorld runs real devices through a calm day, each world in a process of its own, from
// nothing to the report: how they meet and form their group counts too. It reports processor
// seconds, the most memory in MiB, and how many times faster than real time the whole was by the
// clock on the wall and by the processor time if two cores had had nothing else to do.
// TOCSIN_SIM_WORLD says which worlds, as "50:10m 100:10m" (devices and length of the story);
// without it there is one small one.
func BenchmarkWorld(b *testing.B) {
	worlds := os.Getenv("TOCSIN_SIM_WORLD")
	if worlds == "" {
		worlds = "8:20s"
	}
	for _, world := range strings.Fields(worlds) {
		number, length, _ := strings.Cut(world, ":")
		devices, err := strconv.Atoi(number)
		if err != nil {
			b.Fatalf("%q is no world: write devices and length, as 50:10m", world)
		}
		story, err := time.ParseDuration(length)
		if err != nil {
			b.Fatalf("%q is no world: write devices and length, as 50:10m", world)
		}
		b.Run(world, func(b *testing.B) {
			for range b.N {
				benchWorld(b, devices, story)
			}
		})
	}
}

func benchWorld(b *testing.B, devices int, story time.Duration) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	dir, file := b.TempDir(), b.TempDir()+"/calm.yaml"
	text := fmt.Sprintf("version: 1\nname: calm\ntitle: A calm day\nduration: %s\nheal: 30s\n"+
		"mesh: {sites: [{name: ward, devices: %d}]}\ngroups: [{name: incident, members: [all]}]\n"+
		"workload: [{group: incident, rate: %g}]\nexpect: [{measure: delivery, at_least: 1}]\n", story, devices, 4000/float64(devices))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	c := exec.CommandContext(b.Context(), self, "run", file, "-o", dir, "--json", "--anyway")
	c.Env = append(os.Environ(), asProgram+"=1")
	began := time.Now()
	if out, err := c.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	took := time.Since(began)
	usage, ok := c.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		b.Fatal("the system does not say what the run took")
	}
	raw, err := os.ReadFile(dir + "/" + sim.JSONFile)
	if err != nil {
		b.Fatal(err)
	}
	var found sim.Result
	if err := json.Unmarshal(raw, &found); err != nil || found.Verdict != sim.Passed || found.Devices != devices {
		b.Fatalf("%v: %d devices, %s: %s", err, found.Devices, found.Verdict, found.Why)
	}
	processor := c.ProcessState.UserTime() + c.ProcessState.SystemTime()
	b.ReportMetric(processor.Seconds(), "cpu-s")
	b.ReportMetric(float64(usage.Maxrss)/1024, "MiB")
	b.ReportMetric(story.Seconds()/took.Seconds(), "x-wall")
	b.ReportMetric(2*story.Seconds()/processor.Seconds(), "x-two-cores")
}
