package vault

import "golang.org/x/sys/unix"

// keepFromDumps leaves b out of core dumps, also where they are not turned
// off. Kernels without the call are older than any that Go runs on.
func keepFromDumps(b []byte) { _ = unix.Madvise(b, unix.MADV_DONTDUMP) }

// noDumps turns core dumps off: by the limit, and by making the process not
// dumpable, which also keeps other programs of the same user from reading its
// memory through ptrace.
func noDumps() []string {
	var could []string
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		could = append(could, "core dumps could not be limited to nothing: "+err.Error())
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		could = append(could, "the process could not be made undumpable: "+err.Error())
	}
	return could
}
