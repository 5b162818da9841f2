package ledger

import (
	"context"
	"errors"
	"fmt"
)

// Report is what [Logs.VerifyAll] found.
type Report struct {
	Logs     []LogReport
	Entries  uint64 // checked and good
	Bytes    uint64 // of their frames
	Erased   uint64 // of Entries, those whose body was erased on this device
	Absent   uint64 // of Entries, those whose body never came
	Forks    int    // logs with evidence of a fork, which is no failure of the store
	Failures uint64
	First    []Failure // the first of them, at most 20
}

// OK reports whether nothing is wrong.
func (r *Report) OK() bool { return r.Failures == 0 }

// LogReport is one log's part of a [Report].
type LogReport struct {
	Head     Head
	Entries  uint64 // good ones; Head.Next of them if nothing is wrong
	Erased   uint64 // of Entries
	Absent   uint64 // of Entries
	Failures uint64
	Forked   bool
}

// Failure is one thing that is wrong. Seq may be one past the last entry where
// the end of a log does not fit its head.
type Failure struct {
	Log LogID
	Seq uint64
	Err error
}

// progressEvery is how many entries lie between two calls of progress.
const progressEvery = 256

// VerifyAll reads every entry that was held when it began and checks encoding,
// body hash, hash link and signature again, and that each log ends at its head.
// Of an entry without body it checks all the rest.
// progress, which may be nil, is told now and then how many of how many entries
// are done. Damage is reported, not returned: the error is the context's or the
// store's.
func (l *Logs) VerifyAll(ctx context.Context, progress func(done, total uint64)) (Report, error) {
	c := checker{l: l, progress: progress}
	f := l.Frontier()
	for _, h := range f {
		c.total += h.Next
	}
	for _, h := range f {
		if err := c.log(ctx, h); err != nil {
			return c.report, err
		}
	}
	c.tell()
	return c.report, nil
}

// checker is one run of VerifyAll.
type checker struct {
	l        *Logs
	progress func(done, total uint64)
	done     uint64
	total    uint64
	report   Report
	lr       *LogReport
}

func (c *checker) tell() {
	if c.progress != nil {
		c.progress(c.done, c.total)
	}
}

func (c *checker) fail(id LogID, seq uint64, err error) {
	c.report.Failures++
	c.lr.Failures++
	if len(c.report.First) < reportedFailures {
		c.report.First = append(c.report.First, Failure{Log: id, Seq: seq, Err: err})
	}
}

// log checks one log.
func (c *checker) log(ctx context.Context, h Head) error {
	c.report.Logs = append(c.report.Logs, LogReport{Head: h})
	c.lr = &c.report.Logs[len(c.report.Logs)-1]
	c.l.mu.RLock()
	c.lr.Forked = c.l.logs[h.Log].fork != nil
	c.l.mu.RUnlock()
	if c.lr.Forked {
		c.report.Forks++
	}
	var prev ID
	linked := true // prev is the id of the entry before
	next := uint64(0)
	err := c.l.store.Range(ctx, h.Log, 0, h.Next, func(seq uint64, value []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if seq != next {
			c.missing(h.Log, next, seq)
			linked = false
		}
		next = seq + 1
		e, err := c.entry(ctx, h.Log, seq, value)
		if err == nil && linked && e.Header.Prev != prev {
			err = damaged(h.Log, seq, "its hash link does not lead to the entry before")
		}
		if err != nil {
			c.fail(h.Log, seq, err)
		} else {
			c.good(e)
		}
		if linked = e != nil; linked {
			prev = e.id
		}
		c.step()
		return nil
	})
	if err != nil {
		return c.unreadable(ctx, h.Log, next, err)
	}
	if next != h.Next {
		c.missing(h.Log, next, h.Next)
	} else if linked && prev != h.ID {
		c.fail(h.Log, h.Next, damaged(h.Log, h.Next, "the newest entry is not the recorded head"))
	}
	return nil
}

// good counts an entry with which nothing is wrong.
func (c *checker) good(e *Entry) {
	c.lr.Entries++
	c.report.Entries++
	c.report.Bytes += uint64(e.size())
	if e.Erased {
		c.lr.Erased++
		c.report.Erased++
	}
	if e.Absent {
		c.lr.Absent++
		c.report.Absent++
	}
}

// entry checks one stored value by itself. It returns the entry with an error
// where at least its id could be read.
func (c *checker) entry(ctx context.Context, id LogID, seq uint64, value []byte) (*Entry, error) {
	e, err := readStored(id, seq, value)
	if err != nil {
		c.l.lose(id, seq, seq+1)
		if header, bad := storedHeader(id, seq, value); bad == nil {
			return header, err // the link can still be followed
		}
		return nil, err
	}
	if _, doubted := c.l.doubted(id, seq); doubted {
		// It came in a proved range: what is wrong with it is no damage of the disk.
		_, err := c.l.vouched(ctx, id, seq)
		return e, err
	}
	if err := e.verifySignature(); err != nil {
		return e, fmt.Errorf("%w: entry %d of log %s: %w", ErrDamaged, seq, id, err)
	}
	return e, nil
}

func (c *checker) missing(id LogID, from, to uint64) {
	c.fail(id, from, fmt.Errorf("%w: log %s: entries %d to %d are missing", ErrDamaged, id, from, to-1))
	c.l.lose(id, from, to)
	c.done += to - from
}

func (c *checker) step() {
	c.done++
	if c.done%progressEvery == 0 {
		c.tell()
	}
}

// unreadable tells damage, which belongs in the report, from errors that end
// the run.
func (c *checker) unreadable(ctx context.Context, id LogID, seq uint64, err error) error {
	if ctx.Err() != nil || errors.Is(err, ErrClosed) {
		return err
	}
	c.fail(id, seq, fmt.Errorf("%w: log %s cannot be read at %d: %w", ErrDamaged, id, seq, err))
	return nil
}
