package sim

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"reflect"
	"testing"
	"testing/synctest"
	"time"
)

// Bubble runs f in virtual time: its clock stands still while anybody works and
// leaps when all wait. All that f starts must have ended when it returns. While it
// runs, os.Stdout leads nowhere, for the machinery that starts the clock would write
// there. It must be called from a program, once at a time; tests start a bubble of their
// own with testing/synctest.
//
// This is the one file of production code that imports testing, because only
// that package starts a virtual clock.
func Bubble(f func(ctx context.Context) error) error {
	if !flag.Parsed() {
		testing.Init()
		if err := flag.CommandLine.Parse(nil); err != nil {
			return fmt.Errorf("sim: preparing the virtual clock: %w", err)
		}
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("sim: preparing the virtual clock: %w", err)
	}
	stdout := os.Stdout
	os.Stdout = null
	failure := errors.New("sim: the simulation did not begin")
	m := testing.MainStart(noDeps{}, []testing.InternalTest{{Name: "sim", F: func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { failure = f(t.Context()) })
	}}}, nil, nil, nil)
	code := m.Run()
	os.Stdout = stdout
	if code != 0 && failure == nil {
		failure = errors.New("sim: the simulation ended in disorder; what it printed says why")
	}
	return errors.Join(failure, null.Close())
}

// noDeps is what package testing asks of the go command's test binaries and a
// program has no use for.
type noDeps struct{}

type corpusEntry = struct {
	Parent     string
	Path       string
	Data       []byte
	Values     []any
	Generation int
	IsSeed     bool
}

func (noDeps) ImportPath() string                          { return "tocsin/sim" }
func (noDeps) ModulePath() string                          { return "tocsin" }
func (noDeps) MatchString(_, _ string) (bool, error)       { return true, nil }
func (noDeps) SetPanicOnExit0(bool)                        {}
func (noDeps) StartCPUProfile(io.Writer) error             { return nil }
func (noDeps) StopCPUProfile()                             {}
func (noDeps) StartTestLog(io.Writer)                      {}
func (noDeps) StopTestLog() error                          { return nil }
func (noDeps) WriteProfileTo(string, io.Writer, int) error { return nil }
func (noDeps) CoordinateFuzzing(time.Duration, int64, time.Duration, int64, int, []corpusEntry, []reflect.Type, string, string) error {
	return nil
}
func (noDeps) RunFuzzWorker(func(corpusEntry) error) error { return nil }
func (noDeps) ReadCorpus(string, []reflect.Type) ([]corpusEntry, error) {
	return nil, nil
}
func (noDeps) CheckCorpus([]any, []reflect.Type) error { return nil }
func (noDeps) ResetCoverage()                          {}
func (noDeps) SnapshotCoverage()                       {}
func (noDeps) InitRuntimeCoverage() (mode string, tearDown func(string, string) (string, error), snapcov func() float64) {
	return "", nil, nil
}
