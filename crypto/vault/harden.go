package vault

// Harden makes the process keep its secrets to itself as far as the system
// lets it, and returns a sentence for everything that could not be done, for
// the log and the doctor:
//
//   - core dumps are turned off (setrlimit, on Linux also PR_SET_DUMPABLE);
//   - it is tried whether memory can be locked, as every vault does with the
//     page that holds its master key and the secret of its warm slot.
//
// Locked and undumped is that page. What Go's standard library makes of keys
// (cipher schedules, argon2id's memory) lies in the heap, and a machine that
// hibernates writes all of it to disk: an encrypted swap is the remedy.
// Called once, when the process starts and before a vault is unlocked.
func Harden() []string {
	could := noDumps()
	if err := lockable(); err != nil {
		could = append(could, "memory cannot be locked, so keys can be swapped out ("+err.Error()+"); raise the limit of locked memory, or encrypt the swap")
	}
	return could
}
