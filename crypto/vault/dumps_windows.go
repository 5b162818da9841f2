package vault

import "golang.org/x/sys/windows"

// noDumps keeps the error reporter from a crash of ours. An administrator's
// setting to keep local dumps stands above it.
func noDumps() []string {
	windows.SetErrorMode(windows.SEM_FAILCRITICALERRORS | windows.SEM_NOGPFAULTERRORBOX | windows.SEM_NOOPENFILEERRORBOX)
	return []string{"Windows keeps crash dumps where its administrator turned LocalDumps on; see that it is off for tocsin"}
}
