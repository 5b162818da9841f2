package sim

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"tocsin/ledger"
	"tocsin/ledger/memstore"
)

// Disks that fail. The ledger of a simulated device lies in memory, behind the same contract as
// on a disk (ledger.Store); here the disk under it breaks in ways in which disks do. The
// vault, which holds keys and opened messages, is a file of the machine's own and does not.

// How a disk fails.
const (
	diskFull      = "full"      // nothing more fits; there is room again when the event ends
	diskFailing   = "failing"   // a sync fails, and after it the store takes nothing until a restart
	diskForgetful = "forgetful" // it says "saved" and is not: at the end the power goes, and with it all since
)

// diskState is the condition of one device's disk. It is safe for concurrent use.
type diskState struct {
	mu     sync.Mutex
	fault  string          // guarded by mu; empty is a sound disk
	torn   bool            // guarded by mu: the write whose sync fails is on the disk all the same
	failed bool            // guarded by mu: a sync has failed
	kept   *memstore.Store // guarded by mu: of a forgetful disk, what is really on it
	hits   uint64          // guarded by mu: writes that were refused, or not kept
}

// faultyStore is a ledger.Store on a disk that may fail.
type faultyStore struct {
	*memstore.Store
	disk *diskState
}

// Commit implements ledger.Store.
func (s faultyStore) Commit(ctx context.Context, batch []ledger.Record) error {
	return s.disk.write(func() error { return s.Store.Commit(ctx, batch) })
}

// CommitOwn implements ledger.Store.
func (s faultyStore) CommitOwn(ctx context.Context, batch []ledger.Record) error {
	return s.disk.write(func() error { return s.Store.CommitOwn(ctx, batch) })
}

// write has a commit go through, or not. What it answers is what badgerstore answers for
// the same fault (badgerstore/wal.go).
func (d *diskState) write(commit func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.fault == diskFull:
		d.hits++
		return fmt.Errorf("%w: %w: nothing fits on the rehearsal's disk", ledger.ErrReadOnly, ledger.ErrFull)
	case d.failed:
		d.hits++
		return fmt.Errorf("%w: a sync of the rehearsal's disk failed", ledger.ErrReadOnly)
	case d.fault == diskFailing:
		d.hits++
		d.failed = true
		err := fmt.Errorf("%w: the sync of the rehearsal's disk failed", ledger.ErrReadOnly)
		if d.torn {
			err = errors.Join(err, commit())
		}
		return err
	case d.fault == diskForgetful:
		d.hits++
	}
	return commit()
}

// spoil begins a fault. What is on the disk then is in store.
func (d *diskState) spoil(fault string, torn bool, store *memstore.Store) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault, d.torn, d.failed = fault, torn, false
	if fault == diskForgetful {
		d.kept = store.Copy()
	}
}

// mend ends the fault. A store that a failed sync has closed to writes stays so until its
// device starts again.
func (d *diskState) mend() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = ""
}

// restarted is what a device finds that starts again after its power went: store, or what of
// it was really kept.
func (d *diskState) restarted(store *memstore.Store) (found *memstore.Store, lost bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = false
	if d.kept == nil {
		return store, false
	}
	found, d.kept = d.kept, nil
	if d.fault == diskForgetful {
		d.kept = found.Copy() // it goes on forgetting
	}
	return found, true
}

// ill reports whether the device may answer that it cannot save.
func (d *diskState) ill() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed || d.fault == diskFull || d.fault == diskFailing
}

// refused takes how many writes were refused, or not kept, since the last call.
func (d *diskState) refused() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.hits
	d.hits = 0
	return n
}

// spoilDisks begins a fault of disks.
func (e *eventState) spoilDisks(s *Disk) {
	for _, i := range e.r.s.pick(s.Devices) {
		d := e.r.world.devices[i]
		d.disk.spoil(s.Fault, e.r.rng.IntN(2) == 0, d.store)
	}
}

// mendDisks ends it. But for a disk that was merely full the device has to start again, after
// its power went.
func (e *eventState) mendDisks(ctx context.Context, s *Disk) error {
	for _, i := range e.r.s.pick(s.Devices) {
		d := e.r.world.devices[i]
		e.hits += d.disk.refused()
		d.disk.mend()
		if s.Fault == diskFull || d.node == nil {
			continue
		}
		if err := d.crash(); err != nil {
			return err
		}
		if err := e.r.start(ctx, d); err != nil {
			return err
		}
	}
	return nil
}
