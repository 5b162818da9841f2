// Command replay runs a WebAssembly build of tocsin-sim in a sandbox in which nothing is left to chance:
// one thread, a clock that steps by itself, and a random source that starts from a fixed number. The
// same command line then does the same, instruction for instruction, whatever the machine.
//
// It is a module of its own: it knows no package of Tocsin, and nothing of Tocsin needs its sandbox.
// `tocsin-sim replay` calls it; see docs/resilience.md for how both are built.
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

const usage = "usage: tocsin-replay PROGRAM.wasm FOLDER ARGUMENTS…\n" +
	"Runs PROGRAM with ARGUMENTS; FOLDER is all that it sees of the disk, as /.\n"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code, err := replay(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "tocsin-replay: %v\n", err)
	}
	os.Exit(code)
}

// exitUsage is the exit code of what cannot be begun; others are those of the program.
const exitUsage = 3

func replay(ctx context.Context, args []string) (int, error) {
	if len(args) < 2 {
		return exitUsage, errors.New(usage)
	}
	binary, err := os.ReadFile(args[0])
	if err != nil {
		return exitUsage, fmt.Errorf("the program cannot be read: %w", err)
	}
	dev, err := os.MkdirTemp("", "tocsin-replay-")
	if err != nil {
		return exitUsage, err
	}
	defer os.RemoveAll(dev) // nothing of worth is in it
	if err := os.WriteFile(filepath.Join(dev, "null"), nil, 0o600); err != nil {
		return exitUsage, err
	}
	config, err := remembering()
	if err != nil {
		return exitUsage, err
	}
	runtime := wazero.NewRuntimeWithConfig(ctx, config.WithCloseOnContextDone(true))
	defer runtime.Close(ctx) // the process ends with it
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, runtime); err != nil {
		return exitUsage, err
	}
	program, err := runtime.CompileModule(ctx, binary)
	if err != nil {
		return exitUsage, fmt.Errorf("%s is no program for this sandbox: %w", args[0], err)
	}
	_, err = runtime.InstantiateModule(ctx, program, sandbox(args[1], dev, args[2:]))
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		return int(exit.ExitCode()), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

// remembering keeps what was compiled for the next time, where the system has a place for that:
// compiling takes half a minute.
func remembering() (wazero.RuntimeConfig, error) {
	config := wazero.NewRuntimeConfigCompiler()
	cache, err := os.UserCacheDir()
	if err != nil {
		return config, nil // then it is compiled each time
	}
	kept, err := wazero.NewCompilationCacheWithDir(filepath.Join(cache, "tocsin-replay"))
	if err != nil {
		return nil, fmt.Errorf("the cache of compiled programs: %w", err)
	}
	return config.WithCompilationCache(kept), nil
}

// sandbox leaves nothing to chance. Without clocks of its own wazero's stand in: they begin at a
// fixed time and step by themselves each time they are read; and nobody ever sleeps. dev holds
// an empty file null.
func sandbox(folder, dev string, args []string) wazero.ModuleConfig {
	return wazero.NewModuleConfig().
		WithArgs(append([]string{"tocsin-sim"}, args...)...).
		WithStdout(os.Stdout).WithStderr(os.Stderr).
		WithFSConfig(wazero.NewFSConfig().WithDirMount(folder, "/").WithDirMount(dev, "/dev")).
		WithRandSource(rand.NewChaCha8([32]byte{})).
		WithEnv("TMPDIR", "/")
}
